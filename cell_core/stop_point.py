"""Where on a stroke a process stopped, told from what was executed, and a stroke cut there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array, apply, inverse, unit

NEAR_M = 0.06
"""The executed pose is looked for so far to both sides of where the path's clock says the tool was."""
PLATEAU_S = 0.25
"""So long before the stop the process value is averaged, as the measure of what comes after it."""
IDLE_SHARE = 0.02
READING_MAX_S = 0.02
"""A reading stands for no longer than this, however late the next one comes."""
CUT_SHARE = 0.25
"""A cut puts a sample so much of the local step to both sides of itself."""
CUT_MAX_M = 0.002
LEFT_MIN_M = 1e-3
"""Less than this of a stroke is none."""


@dataclass(frozen=True, kw_only=True)
class StopPoint:
    """Up to where a half-run stroke got what it was to get."""

    stroke: int
    """Index among the strokes of the tool path as run."""
    at_m: float
    """Length along that stroke [m]; 0 where the process had not come on."""
    source: Literal["log", "clock"]
    """Executed poses and process values, or the path's clock alone."""


def times_of(stroke: Stroke, times_s: Array) -> Array:
    """Return the path time of each sample of a stroke (N,), from those of its segment (M,) [s]."""
    if len(times_s) == len(stroke):
        return times_s
    # the trajectory is sampled otherwise: its segment lasts as long as the stroke, up to slowing
    return times_s[0] + stroke.times_s * (times_s[-1] - times_s[0]) / stroke.times_s[-1]


def lengths_of(stroke: Stroke) -> Array:
    """Return the length run at each sample of a stroke (N,) [m]."""
    return np.r_[0.0, np.cumsum(stroke.step_lengths_m)]


def stop_point(
    toolpath: ToolPath,
    trajectory: JointTrajectory,
    stop_s: float,
    *,
    zero_s: float | None = None,
    log: Mapping[str, NDArray] | None = None,
) -> StopPoint | None:
    """Return where the process stopped; None where no stroke was under way.

    The place is that of the tool at the moment the device went off, interpolated between executed poses and laid on the
    stroke. What still came out afterwards (a valve that closes late, a slide that lets go slowly) is counted as time at
    the full value: its share of the mean value before, so that a gauge that reads a little high shifts nothing. Values
    that merely repeat the last one while the process was on are readings that come late, and count for nothing.

    Args:
        toolpath: as run, what the trajectory's segments count.
        stop_s: path time at which the device went off [s].
        zero_s: the device's time at path time 0 [s]; without it, or without a log, the path's clock tells the place.
        log: rows of time_s (N,), T_base_tcp (N, 4, 4), on (N,), process_value (N,).
    """
    for segment in trajectory.segments:
        if segment.kind != "process" or segment.stroke is None or not 0 <= segment.stroke < len(toolpath.strokes):
            continue
        stroke = toolpath.strokes[segment.stroke]
        times = times_of(stroke, trajectory.time_s[segment.i0 : segment.i1 + 1])
        if not times[0] < stop_s < times[-1]:
            continue
        lengths = lengths_of(stroke)
        at_m = float(np.interp(stop_s, times, lengths))
        found = None
        if log is not None and zero_s is not None:
            found = _executed_m(stroke, lengths, at_m, trajectory.T_base_part, stop_s + zero_s, log)
        return StopPoint(
            stroke=segment.stroke,
            at_m=min(at_m if found is None else found, float(lengths[-1])),
            source="clock" if found is None else "log",
        )
    return None


def _executed_m(
    stroke: Stroke, lengths_m: Array, about_m: float, T_base_part: Array, off_s: float, log: Mapping[str, NDArray]
) -> float | None:
    """Return the length along the stroke up to which it is served, or None where the log does not hold the moment."""
    time_s = np.asarray(log["time_s"], float)
    after = int(np.searchsorted(time_s, off_s))
    if not 0 < after < len(time_s):
        return None
    position = apply(inverse(T_base_part), np.asarray(log["T_base_tcp"], float)[after - 1 : after + 1, :3, 3])
    share = (off_s - time_s[after - 1]) / max(time_s[after] - time_s[after - 1], 1e-9)
    place = position[0] + min(max(share, 0.0), 1.0) * (position[1] - position[0])
    at_m = _nearest_m(stroke, lengths_m, place, about_m)
    speed = float(np.interp(at_m, lengths_m, stroke.speed_m_per_s))
    return at_m + speed * _tail_s(log, time_s, off_s)


def _nearest_m(stroke: Stroke, lengths_m: Array, place_m: Array, about_m: float) -> float:
    first = max(int(np.searchsorted(lengths_m, about_m - NEAR_M)) - 1, 0)
    last = min(int(np.searchsorted(lengths_m, about_m + NEAR_M)) + 1, len(stroke) - 1)
    start = stroke.position_m[first:last]
    step = np.diff(stroke.position_m[first : last + 1], axis=0)
    u = np.clip(np.einsum("ij,ij->i", place_m - start, step) / np.einsum("ij,ij->i", step, step), 0.0, 1.0)
    best = int(np.argmin(np.linalg.norm(start + u[:, None] * step - place_m, axis=1)))
    return float(lengths_m[first + best] + u[best] * (lengths_m[first + best + 1] - lengths_m[first + best]))


def _tail_s(log: Mapping[str, NDArray], time_s: Array, off_s: float) -> float:
    """Return how long the process would have had to go on at its full value to leave what came out after it was off."""
    value, on = np.asarray(log["process_value"], float), np.asarray(log["on"], bool)
    before = on & (time_s > off_s - PLATEAU_S) & (time_s <= off_s) & (value > IDLE_SHARE * value.max(initial=0.0))
    late = np.flatnonzero((time_s >= off_s) & ~on)
    if not before.any() or not len(late):
        return 0.0
    # one reading is as good as its first row; how long it is repeated tells of the readings, not of the process
    first = late[np.r_[True, np.diff(value[late]) != 0.0]]
    readings, times = value[first], time_s[first]
    if late[0] > 0 and readings[0] == value[late[0] - 1]:
        readings, times = readings[1:], times[1:]
    # only up to where it first is idle: what comes later belongs to something else
    acting = int(np.argmin(np.r_[readings > IDLE_SHARE * value.max(), False]))
    steps = np.minimum(np.diff(times), READING_MAX_S)[:acting]
    return float((0.5 * (readings[:-1] + readings[1:])[:acting] * steps).sum() / value[before].mean())


def cut(stroke: Stroke, at_m: float) -> tuple[Stroke, int]:
    """Return a stroke with two more samples close to both sides of a place, and the index of the one after it.

    A process that switches between those two switches at the place. Samples in their way are left out.

    Args:
        at_m: length along the stroke, more than LEFT_MIN_M from either end [m].
    """
    lengths = lengths_of(stroke)
    k = int(np.clip(np.searchsorted(lengths, at_m, side="right") - 1, 0, len(stroke) - 2))
    half = min(CUT_SHARE * (lengths[k + 1] - lengths[k]), CUT_MAX_M, 0.5 * at_m, 0.5 * (lengths[-1] - at_m))
    left, right = lengths < at_m - 1.5 * half, lengths > at_m + 1.5 * half
    left[0] = right[-1] = True
    wanted = np.r_[lengths[left], at_m - half, at_m + half, lengths[right]]
    n = int(left.sum())

    def between(values: Array) -> Array:
        columns = np.asarray(values, float).reshape(len(stroke), -1)
        out = np.column_stack([np.interp(wanted, lengths, column) for column in columns.T])
        out[:n], out[n + 2 :] = columns[left], columns[right]
        return out

    on = np.asarray(stroke.on, bool)
    return replace(
        stroke,
        position_m=between(stroke.position_m),
        tool_axis=unit(between(stroke.tool_axis)),
        travel=unit(between(stroke.travel)),
        speed_m_per_s=between(stroke.speed_m_per_s)[:, 0],
        process_value=between(stroke.process_value)[:, 0],
        on=np.r_[on[left], on[k], on[k + 1] if at_m > lengths[k] else on[k], on[right]],
    ), n + 1
