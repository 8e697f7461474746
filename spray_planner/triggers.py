"""When the gun is on: no stretch shorter than the valve can make, no gap shorter than its delays allow."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cell_core.config import GunConfig
from cell_core.toolpath import Stroke
from cell_core.transforms import Array


def on_stretches(stroke: Stroke) -> list[tuple[int, int]]:
    """Return [first, last) samples of each stretch with the gun on."""
    edges = np.flatnonzero(np.diff(np.r_[False, stroke.on, False].astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def n_triggers(strokes: Sequence[Stroke]) -> int:
    """Return how often the gun opens."""
    return sum(len(on_stretches(s)) for s in strokes)


def shortest_on_s(strokes: Sequence[Stroke]) -> float:
    """Return the shortest time the gun is open at a stretch [s]; infinite where it never is."""
    times = [float(t[b] - t[a]) for s in strokes for t in [_switch_times(s)] for a, b in on_stretches(s)]
    return min(times, default=np.inf)


def run_up_lack_m(strokes: Sequence[Stroke], acceleration_m_per_s2: float) -> float:
    """Return by how much the longest run-up from rest exceeds the stroke's path before the gun opens [m].

    Above 0 the arm has to run up before the stroke's first sample, so that speed is there when the gun opens; motion
    planning leads in for that.
    """
    lack = [0.0]
    for stroke in strokes:
        for way in (stroke, stroke.reversed()):
            stretches = on_stretches(way)
            if stretches:
                first = stretches[0][0]
                run = float(way.step_lengths_m[:first].sum())
                lack.append(float(way.speed_m_per_s[first]) ** 2 / (2.0 * acceleration_m_per_s2) - run)
    return max(lack)


def sound_triggers(strokes: Sequence[Stroke], gun: GunConfig) -> list[Stroke]:
    """Return the strokes with gaps closed that the valve's delays leave no time for, and short stretches widened.

    A stretch widens to both sides as far as the stroke reaches; one that stays too short is left out, so that strokes
    may be left that never open.
    """
    return [_sound(s, gun) for s in strokes]


def _sound(stroke: Stroke, gun: GunConfig) -> Stroke:
    least_on_s = float(getattr(gun, "on_time_min_s", 0.0))
    least_off_s = gun.on_delay_s + gun.off_delay_s
    at, on = _switch_times(stroke), stroke.on.copy()
    for (_, gap), (end, _) in zip(on_stretches(stroke)[:-1], on_stretches(stroke)[1:], strict=True):
        if at[end] - at[gap] < least_off_s:
            on[gap:end] = True
    for first, last in on_stretches(replace(stroke, on=on)):
        while at[last] - at[first] < least_on_s and (first > 0 or last < len(on)):
            first, last = max(first - 1, 0), min(last + 1, len(on))
        on[first:last] = at[last] - at[first] >= least_on_s
    return stroke if np.array_equal(on, stroke.on) else replace(stroke, on=on)


def _switch_times(stroke: Stroke) -> Array:
    """Return (N + 1,) the time of a switch before each sample, and of one after the last [s]."""
    t = stroke.times_s
    return np.r_[t[0], 0.5 * (t[1:] + t[:-1]), t[-1]]
