"""A run's stroke sampled so finely that speeds between its samples are those the tool really has.

A tool path says speeds at samples and constant acceleration between them. Rounded kinks and slower places are shorter
than the samples are apart; whoever reads the path as run would compute another dwell, and another film, there.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from cell_motion.run import Run

SPEED_TOLERANCE = 0.003
"""Speed between samples may be off by this share."""
STEP_M = 0.00005
"""No samples are added nearer to one another than this."""
SEEN_S = 0.001
"""Speed is looked at in steps of this time."""
ROUNDS = 16


def finely_sampled(run: Run, slowest_m_per_s: float) -> Run:
    """Return the run with samples added to its stroke wherever speed between them is not what they say.

    Samples stay where they were; switches stay half way between the same two places.

    Args:
        run: its stroke is as run, with process values and switches settled.
        slowest_m_per_s: what a tool path may name.
    """
    path, timing, stroke = run.course.path, run.timing, run.stroke
    time_s = np.arange(run.sample_times_s[0], run.sample_times_s[-1], SEEN_S)
    seen_m = timing.at(time_s)
    seen = np.maximum(run.course.stretch(seen_m) * timing.speed_at(time_s), slowest_m_per_s)
    at_m, speed = path.at_m, stroke.speed_m_per_s
    for _ in range(ROUNDS):
        more = _worst_places(at_m, speed, seen_m, seen)
        more = np.union1d(more, _mirrored(more, path.at_m, stroke.on))
        more = more[np.abs(more[:, None] - at_m).min(axis=1) >= STEP_M] if len(more) else more
        if len(more) == 0:
            break
        at_m, order = np.unique(np.r_[at_m, more], return_index=True)
        speed = np.r_[speed, np.interp(more, seen_m, seen)][order]
    if len(at_m) == len(path.at_m):
        return run
    times = timing.time_at(at_m)
    return replace(run, stroke=_resampled(run, at_m, speed), sample_times_s=times)


def _worst_places(at_m: Array, speed: Array, seen_m: Array, seen: Array) -> Array:
    """Return, for each step whose acceleration is not constant, the place where speed is off most."""
    said = np.sqrt(np.interp(seen_m, at_m, speed**2))
    off = np.abs(said / seen - 1.0)
    step = np.clip(np.searchsorted(at_m, seen_m, side="right") - 1, 0, len(at_m) - 2)
    off[off <= SPEED_TOLERANCE] = 0.0
    by_size = np.lexsort((off, step))
    last = np.flatnonzero(np.r_[np.diff(step[by_size]) > 0, True])
    worst = by_size[last]
    return seen_m[worst[off[worst] > 0.0]]


def _mirrored(places_m: Array, at_m: Array, on: NDArray[np.bool_]) -> Array:
    """Return places (K,) mirrored about the middle of their step where the process is switched there."""
    step = np.clip(np.searchsorted(at_m, places_m, side="right") - 1, 0, len(at_m) - 2)
    switches = on[step] != on[step + 1]
    return np.where(switches, at_m[step] + at_m[step + 1] - places_m, places_m)


def _resampled(run: Run, at_m: Array, speed: Array) -> Stroke:
    stroke, old_m = run.stroke, run.course.path.at_m
    frames = run.course.frames(at_m, np.zeros(len(at_m)))
    kept = np.isin(at_m, old_m)
    position, axis = frames[:, :3, 3].copy(), frames[:, :3, 2].copy()
    position[kept], axis[kept] = stroke.position_m, stroke.tool_axis
    travel = np.stack([np.interp(at_m, old_m, stroke.travel[:, k]) for k in range(3)], axis=1)
    step = np.clip(np.searchsorted(old_m, at_m, side="right") - 1, 0, len(old_m) - 2)
    later = at_m > 0.5 * (old_m[step] + old_m[step + 1])
    return replace(
        stroke,
        position_m=position,
        tool_axis=axis,
        travel=unit(travel),
        speed_m_per_s=speed,
        process_value=np.interp(at_m, old_m, stroke.process_value),
        on=stroke.on[step + later],
    )
