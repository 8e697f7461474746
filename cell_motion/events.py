"""Process events on path time: set-points, and switches that lead the path by the tool's delay."""

from dataclasses import dataclass, replace

import numpy as np

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.toolpath import Stroke
from cell_core.trajectory import ProcessEvent
from cell_core.transforms import Array

SET_BEFORE_S = 0.02
STEP_FRACTION = 0.01
"""A set-point is commanded again when it has changed by this much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A stroke on the trajectory's clock."""

    stroke: Stroke
    sample_times_s: Array
    """(N,) when each sample is passed [s]."""
    clear_s: float
    """When the tool has left the part after the stroke [s]."""


def spray_events(passages: list[Passage], gun: GunConfig) -> list[ProcessEvent]:
    """Return flow set-points and trigger switches, each led by its own delay of the valve.

    A switch of `on` lies half way between two samples. Where the gun is off for less than the delays leave room for,
    so that "on" would have to be said before "off", it stays on.
    """
    events: list[ProcessEvent] = []
    last_off: ProcessEvent | None = None
    for passage in passages:
        for on_s, off_s, values in _intervals(passage):
            start = max(on_s - gun.on_delay_s, 0.0)
            first = ProcessEvent(time_s=max(start - SET_BEFORE_S, 0.0), name="set_flow_m3_per_s", value=values[0][1])
            if last_off is not None and start <= last_off.time_s:
                events.remove(last_off)
                events.append(replace(first, time_s=on_s))
            else:
                events += [first, ProcessEvent(time_s=start, name="on")]
            events += [ProcessEvent(time_s=t, name="set_flow_m3_per_s", value=v) for t, v in values[1:]]
            last_off = ProcessEvent(time_s=max(off_s - gun.off_delay_s, start), name="off")
            events.append(last_off)
    return _sorted(events)


def grind_events(passages: list[Passage], tool: GrindToolConfig) -> list[ProcessEvent]:
    """Return spindle switches and force set-points.

    The spindle turns at full speed before the pad touches and stops once the pad is clear; between neighbouring strokes
    it keeps turning where it could not stop and start again. Force 0 lifts the slide. A force is set earlier by the
    slide's lag: what it lacks after its time it has pressed before, so that even a short stroke gets its whole impulse.
    """
    events: list[ProcessEvent] = []
    stopped_s = -np.inf
    for passage in passages:
        spans = _intervals(passage)
        if not spans:
            continue
        start = max(spans[0][0] - tool.force_lag_s - tool.spin_up_s, 0.0)
        if start > stopped_s + tool.spin_down_s:
            if np.isfinite(stopped_s):
                events.append(ProcessEvent(time_s=stopped_s, name="off"))
            events.append(ProcessEvent(time_s=start, name="on"))
        lifted_s = 0.0
        for on_s, off_s, values in spans:
            led = [(max(t - tool.force_lag_s, lifted_s), v) for t, v in [(on_s, values[0][1]), *values[1:]]]
            lifted_s = off_s
            events += [ProcessEvent(time_s=t, name="set_force_n", value=v) for t, v in led]
            events.append(ProcessEvent(time_s=off_s, name="set_force_n", value=0.0))
        stopped_s = passage.clear_s
    if np.isfinite(stopped_s):
        events.append(ProcessEvent(time_s=stopped_s, name="off"))
    return _sorted(events)


def _intervals(passage: Passage) -> list[tuple[float, float, list[tuple[float, float]]]]:
    """Return when the process is on: start, end, and set-points (time, value) in between, the first at the start."""
    on, times, value = passage.stroke.on, passage.sample_times_s, passage.stroke.process_value
    middles = np.r_[times[0], 0.5 * (times[1:] + times[:-1]), times[-1]]
    edges = np.flatnonzero(np.diff(np.r_[False, on, False].astype(int)))
    found = []
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        points = [(float(middles[a]), float(value[a]))]
        for i in range(a + 1, b):
            if abs(value[i] - points[-1][1]) > STEP_FRACTION * max(abs(points[-1][1]), 1e-12):
                points.append((float(middles[i]), float(value[i])))
        found.append((float(middles[a]), float(middles[b]), points))
    return found


def _sorted(events: list[ProcessEvent]) -> list[ProcessEvent]:
    return sorted(events, key=lambda e: e.time_s)
