"""One pass over a bead: how long to dwell along a line at one force, by bounded least squares on the contact."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.config import PadTool
from cell_core.optimise.dwell import limit_acceleration
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from grinding_planner.bead_state import AIM_M, BeadState, cost_of, miss_weight
from grinding_planner.bounds import depth_per_pass_max_m
from grinding_planner.contact import PadContact, PadPairs, balance, pad_pairs, removal_rates
from grinding_planner.results import stroke_of
from grinding_planner.samples import SurfaceSamples
from grinding_planner.strokes import Line, runs_of
from grinding_planner.thinning import LeastSquares

DEPTH_PER_PASS_M, DEPTH_SHARE, DEPTH_LEAST_M = 0.30e-3, 0.6, 20e-6
"""Contact is taken as it is at the start of a pass; more than this, or than this share of what stands highest, would
change it too much."""
KNOT_RADII, KNOT_BOUNDS_M = 0.5, (0.003, 0.006)
"""Dwell is linear between knots so far apart: wide ones cannot stay at a bead's end, close ones follow noise."""
LIFT_SHARE = 0.5
"""Where even top speed takes more than 1 / LIFT_SHARE of what is wanted, the disc stays away."""
LEAST_M = 0.004
"""Shorter strokes are made this long."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """A line with all that stays the same from pass to pass."""

    line: Line
    pairs: PadPairs
    knots: scipy.sparse.csr_matrix
    """(N, K) seconds at each sample per slowness [s/m] at each knot."""


def track_of(surface: SurfaceSamples, line: Line, tool: PadTool) -> Track:
    """Return the line with the ground under it and its knots."""
    pairs = pad_pairs(surface, tool_frames(line.position_m, line.tool_axis, line.travel), tool.radius_m)
    reach = line.reach_m
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.position_m, axis=0), axis=1))]
    n = max(2, int(np.ceil(s[-1] / np.clip(KNOT_RADII * tool.radius_m, *KNOT_BOUNDS_M))) + 1)
    at = s / s[-1] * (n - 1)
    low = np.minimum(at.astype(int), n - 2)
    share = at - low
    rows = np.arange(len(s))
    knots = scipy.sparse.csr_matrix(
        (np.r_[(1 - share) * reach, share * reach], (np.r_[rows, rows], np.r_[low, low + 1])), shape=(len(s), n)
    )
    return Track(line=line, pairs=pairs, knots=knots)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dwell:
    """How long a pass dwells along its line."""

    slowness_s_per_m: Array
    """(N,)"""
    contact: PadContact
    cost: float
    """What the linear model promises."""


def plan_pass(track: Track, state: BeadState, force_n: float, tool: PadTool) -> Dwell | None:
    """Return the dwell of the best pass along a line at that force, or None where it touches nothing."""
    pairs = track.pairs
    contact, lower = (
        balance(pairs, force_n, tool.stiffness_pa_per_m, pairs.gap_m + gone[pairs.point] / pairs.cosine)
        for gone in (state.removed_m, state.removed_m + state.doubt_m)
    )
    # what the bead loses is what it surely does, the parent what it does at worst
    worst = np.where(state.wanted[pairs.point], contact.pressure_pa, np.maximum(contact.pressure_pa, lower.pressure_pa))
    rates = removal_rates(pairs, replace(contact, pressure_pa=worst), tool)
    seconds: Any = scipy.sparse.csr_matrix(rates @ track.knots)
    touched = np.flatnonzero(np.diff(seconds.indptr) > 0)
    if len(touched) == 0:
        return None
    surely = 1.0 + state.care.force_error_n / force_n
    left, areas = state.left_m, state.surface.areas_m2
    highest = max(DEPTH_SHARE * float(left[touched].max()), DEPTH_LEAST_M)
    deepest = min(DEPTH_PER_PASS_M, depth_per_pass_max_m(tool), highest)
    goal = np.clip((left[touched] - AIM_M) / surely, 0.0, deepest)
    own: Any = scipy.sparse.csr_matrix(seconds[touched])
    weights = (areas * miss_weight(left, state.wanted) * state.guard)[touched]
    n = track.knots.get_shape()[1]
    slow, fast = 1.0 / tool.speed_m_per_s.low, 1.0 / tool.speed_m_per_s.high
    problem = LeastSquares(
        matrix=own * (slow / deepest),
        goal=goal / deepest,
        weights=weights / weights.sum(),
        low=np.zeros(n),
        high=np.ones(n),
    )
    knots = problem.solve(np.full(n, fast / slow), 120) * slow
    slowness = track.knots @ knots / np.asarray(track.knots.sum(axis=1)).ravel()
    slowness = np.where(slowness > LIFT_SHARE * fast, np.clip(slowness, fast, slow), 0.0)
    taken = own @ np.where(knots > LIFT_SHARE * fast, np.maximum(knots, fast), 0.0)
    before, rest = left[touched], left[touched] - taken * surely
    change = cost_of(areas[touched], rest) - cost_of(areas[touched], before)
    return Dwell(slowness_s_per_m=slowness, contact=contact, cost=state.cost + change)


def strokes_of(track: Track, plan: Dwell, force_n: float, tool: PadTool) -> list[tuple[slice, Stroke]]:
    """Return the pass as strokes where the disc is down, each with the samples of the line it is made of."""
    line, keep = track.line, plan.slowness_s_per_m > 0.0
    raised = replace(line, position_m=line.position_m + plan.contact.advance_m[:, None] * line.tool_axis)
    speed = 1.0 / np.maximum(plan.slowness_s_per_m, 1.0 / tool.speed_m_per_s.high)
    n_min = max(3, int(np.ceil(LEAST_M / max(float(np.median(line.reach_m)), 1e-6))) + 1)
    keep = _lengthened(keep, min(n_min, len(keep)))
    strokes = []
    for run in runs_of(keep):
        part, own = raised.part(run), speed[run]
        steps = np.linalg.norm(np.diff(part.position_m, axis=0), axis=1)
        own = limit_acceleration(own, steps, tool.acceleration_m_per_s2)
        strokes.append((run, stroke_of(part, np.full(len(part), force_n), "bead", own, tool)))
    return strokes


def _lengthened(keep: NDArray[np.bool_], n_min: int) -> NDArray[np.bool_]:
    # runs shorter than n_min samples grow at both ends, within the line
    longer = keep.copy()
    for run in runs_of(keep):
        if run.stop - run.start < n_min:
            first = int(np.clip((run.start + run.stop - n_min) // 2, 0, len(keep) - n_min))
            longer[first : first + n_min] = True
    return longer
