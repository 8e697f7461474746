"""Take a bead off in passes: the best of many possible ones each time, run in the model, until none is any good.

A pass is a line, a force and dwell times along it. Contact is taken as it is at its start for the dwell times (bounded
least squares), then the pass is run in short steps with the balance solved at each, on the surface as it goes down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.config import PadTool
from cell_core.optimise.dwell import limit_acceleration
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from grinding_planner.contact import PadContact, PadPairs, balance, pad_pairs, relative_speed, removal_rates
from grinding_planner.results import stroke_of
from grinding_planner.samples import SurfaceSamples
from grinding_planner.strokes import Line, cut
from grinding_planner.thinning import LeastSquares

STROKES_MAX = 120
AIM_M = 8e-6
"""Passes aim this high above the parent: the middle between the 30 um that may be left and 15 um of undercut."""
DEPTH_PER_PASS_M, DEPTH_SHARE, DEPTH_LEAST_M = 0.30e-3, 0.6, 20e-6
"""Contact is taken as it is at the start of a pass; more than this, or than this share of what stands highest, would
change it too much."""
UNDERCUT_WEIGHT = 12.0
ENOUGH_M, ENOUGH_DOUBT = 3e-6, 0.2
"""No more passes once what surely is left above the aim comes down to this much, and this share of what is in doubt."""
TRIES, GUARD_FACTOR = 4, 8.0
"""Where a pass would, it is planned again with that place weighing so much more, so many times."""
KNOT_M = 0.006
"""Dwell is linear between knots so far apart: closer ones would follow the noise of the scan."""
SUBSTEP = 0.25
"""Removal per sub-step over the layer's compression, at most: the explicit step is stable up to 1."""
GAIN_MIN = 0.005
"""A pass must lower the cost of what is wrong by this share."""
LIFT_SHARE = 0.5
"""Where even top speed takes more than 1 / LIFT_SHARE of what is wanted, the disc stays away."""
TOUCHED_M = 1e-7
LEAST_M = 0.004
"""Shorter strokes are made this long."""


@dataclass(frozen=True, kw_only=True)
class Care:
    """What passes are careful about."""

    force_error_n: float
    """Force control may be off by this much: what a pass could take too much stays standing."""
    undercut_max_m: float
    """No pass is run that goes deeper below the parent in the model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadRemoval:
    """Passes over one bead and what they leave."""

    strokes: tuple[Stroke, ...]
    removed_m: Array
    """(S,) depth removed along the sample's normal [m]."""
    visits: Array
    """(S,) passes that touched the sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Track:
    """A line with all that stays the same from pass to pass."""

    line: Line
    pairs: PadPairs
    knots: scipy.sparse.csr_matrix
    """(N, K) seconds at each sample per slowness [s/m] at each knot."""


def grind_down(
    surface: SurfaceSamples,
    height_m: Array,
    doubt_m: Array,
    wanted: NDArray[np.bool_],
    lines: Sequence[Line],
    tool: PadTool,
    force_n: float,
    care: Care,
) -> BeadRemoval:
    """Return passes that bring `wanted` samples down to AIM_M above the parent and leave the others alone.

    What is in doubt is kept standing, and the next scan shows how much of it is there: `doubt_m` from the start, and
    what force errors may take too much, which adds up over passes (depth times force error over force).

    Args:
        surface: the ground as it is.
        height_m: (S,) its height over the parent.
        doubt_m: (S,) how far that may be wrong.
        force_n: highest force; smaller ones down to the tool's lowest are tried too.
        care: what must not happen.
    """
    tracks = [_track(surface, line, tool) for line in lines]
    forces = sorted({tool.force_n.low, float(np.sqrt(tool.force_n.low * force_n)), force_n})
    nothing = np.zeros(len(surface))
    state = _State(
        surface=surface,
        height_m=height_m,
        wanted=wanted,
        removed_m=nothing,
        doubt_m=doubt_m,
        harmed_m=nothing,
        guard=np.ones(len(surface)),
        care=care,
    )
    strokes: list[Stroke] = []
    visits, turn, revived_at = nothing, 0, -1
    hoped = dict.fromkeys(((i, force) for i in range(len(tracks)) for force in forces), np.inf)
    while state.cost > state.enough:
        best = _best(tracks, hoped, state, tool)
        if best is None:
            if revived_at == turn or -np.inf not in hoped.values():
                break
            # what failed before may do now
            hoped.update({key: np.inf for key, gain in hoped.items() if gain == -np.inf})
            revived_at = turn
            continue
        key, plan = best
        passes, after = _run_within_bounds(tracks[key[0]], plan, state, key[1], tool, back=turn % 2 == 1)
        if not passes:
            state = replace(state, guard=after.guard)
            hoped[key] = -np.inf
            continue
        if len(strokes) + len(passes) > STROKES_MAX:
            break
        visits = visits + len(passes) * (after.removed_m - state.removed_m > TOUCHED_M)
        state, turn = after, turn + 1
        strokes += passes
    return BeadRemoval(strokes=tuple(strokes), removed_m=state.removed_m, visits=visits)


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """The ground between two passes; arrays are (S,)."""

    surface: SurfaceSamples
    height_m: Array
    wanted: NDArray[np.bool_]
    removed_m: Array
    doubt_m: Array
    harmed_m: Array
    """What the parent lost at worst."""
    guard: Array
    """How much more than others a sample's undercut weighs."""
    care: Care

    @property
    def left_m(self) -> Array:
        """What surely stands above the parent, or is missing of it."""
        return np.where(
            self.wanted, self.height_m - self.removed_m - self.doubt_m, np.minimum(self.height_m - self.harmed_m, 0.0)
        )

    @property
    def cost(self) -> float:
        return _cost(self.surface.areas_m2, self.left_m)

    @property
    def enough(self) -> float:
        own = self.wanted
        return float(self.surface.areas_m2[own] @ (ENOUGH_M + ENOUGH_DOUBT * self.doubt_m[own]) ** 2)

    def without(self, taken_m: Array, harm_m: Array, force_n: float) -> "_State":
        return replace(
            self,
            removed_m=self.removed_m + taken_m,
            doubt_m=self.doubt_m + np.where(self.wanted, taken_m, 0.0) * (self.care.force_error_n / force_n),
            harmed_m=self.harmed_m + harm_m,
        )

    def too_deep(self, before: "_State") -> NDArray[np.bool_]:
        """Return where the last pass took what it must not."""
        low = np.where(self.wanted, self.height_m - self.removed_m, np.minimum(self.height_m, 0.0) - self.harmed_m)
        changed = (self.removed_m - before.removed_m) + (self.harmed_m - before.harmed_m)
        return (low < -self.care.undercut_max_m) & (changed > TOUCHED_M)


def _best(
    tracks: Sequence[_Track], hoped: dict[tuple[int, float], float], state: _State, tool: PadTool
) -> tuple[tuple[int, float], "_Dwell"] | None:
    """Return line, force and dwell of the pass that promises most, or None where none gains GAIN_MIN.

    `hoped` holds what each promised when last asked, and is brought up to date: gains fade from pass to pass, so those
    that promised less than the best does now are not asked again.
    """
    least = GAIN_MIN * state.cost
    found: tuple[tuple[int, float], _Dwell] | None = None
    for key in sorted(hoped, key=lambda k: -hoped[k]):
        if hoped[key] <= least:
            break
        plan = _plan(tracks[key[0]], state, key[1], tool)
        hoped[key] = 0.0 if plan is None else state.cost - plan.cost
        if plan is not None and hoped[key] > least:
            found, least = (key, plan), hoped[key]
    return found


def _run_within_bounds(
    track: _Track, plan: "_Dwell", state: _State, force_n: float, tool: PadTool, *, back: bool
) -> tuple[list[Stroke], _State]:
    """Return the pass as run in the model and the ground after it; no strokes where it is no good."""
    before = state
    for _ in range(TRIES):
        # there and back: a pad that takes much works with the side it moves towards, so the run goes the same way
        passes = _strokes(track, plan, force_n, tool)
        passes = [_reversed(stroke) for stroke in reversed(passes)] if back else passes
        taken = _run(state.surface, state.removed_m, passes, tool)
        # were the bead as low as it may be, the parent would be met sooner
        worst = np.maximum(taken, _run(state.surface, state.removed_m + state.doubt_m, passes, tool))
        after = state.without(taken, np.where(state.wanted, 0.0, worst), force_n)
        deep = after.too_deep(state)
        if not passes or not deep.any():
            good = bool(passes) and after.cost < (1.0 - 0.5 * GAIN_MIN) * state.cost
            return (passes, after) if good else ([], state)
        state = replace(state, guard=np.where(deep, state.guard * GUARD_FACTOR, state.guard))
        again = _plan(track, state, force_n, tool)
        if again is None or again.cost > (1.0 - GAIN_MIN) * before.cost:
            break
        plan = again
    return [], state


def _track(surface: SurfaceSamples, line: Line, tool: PadTool) -> _Track:
    pairs = pad_pairs(surface, tool_frames(line.position_m, line.tool_axis, line.travel), tool.radius_m)
    reach = line.reach_m
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.position_m, axis=0), axis=1))]
    n = max(2, int(np.ceil(s[-1] / KNOT_M)) + 1)
    at = s / s[-1] * (n - 1)
    low = np.minimum(at.astype(int), n - 2)
    share = at - low
    rows = np.arange(len(s))
    knots = scipy.sparse.csr_matrix(
        (np.r_[(1 - share) * reach, share * reach], (np.r_[rows, rows], np.r_[low, low + 1])), shape=(len(s), n)
    )
    return _Track(line=line, pairs=pairs, knots=knots)


def _cost(areas_m2: Array, left_m: Array) -> float:
    over = np.maximum(left_m - AIM_M, 0.0)
    return float(areas_m2 @ (over**2 + UNDERCUT_WEIGHT * np.minimum(left_m, 0.0) ** 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Dwell:
    slowness_s_per_m: Array
    """(N,)"""
    contact: PadContact
    cost: float
    """What the linear model promises."""


def _plan(track: _Track, state: _State, force_n: float, tool: PadTool) -> _Dwell | None:
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
    deepest = min(DEPTH_PER_PASS_M, tool.depth_per_pass_max_m or np.inf, highest)
    goal = np.clip((left[touched] - AIM_M) / surely, 0.0, deepest)
    own: Any = scipy.sparse.csr_matrix(seconds[touched])
    on_bead = (left > AIM_M) & state.wanted
    weights = (areas * np.where(on_bead, 1.0, UNDERCUT_WEIGHT) * state.guard)[touched]
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
    rest = left.copy()
    rest[touched] -= taken * surely
    return _Dwell(slowness_s_per_m=slowness, contact=contact, cost=_cost(areas, rest))


def _strokes(track: _Track, plan: _Dwell, force_n: float, tool: PadTool) -> list[Stroke]:
    line, keep = track.line, plan.slowness_s_per_m > 0.0
    raised = replace(line, position_m=line.position_m + plan.contact.advance_m[:, None] * line.tool_axis)
    speed = 1.0 / np.maximum(plan.slowness_s_per_m, 1.0 / tool.speed_m_per_s.high)
    n_min = max(3, int(np.ceil(LEAST_M / max(float(np.median(line.reach_m)), 1e-6))) + 1)
    keep = _lengthened(keep, min(n_min, len(keep)))
    strokes = []
    for part, own in zip(cut(raised, keep, n_min), cut_values(speed, keep, n_min), strict=True):
        steps = np.linalg.norm(np.diff(part.position_m, axis=0), axis=1)
        own = limit_acceleration(own, steps, tool.acceleration_m_per_s2)
        strokes.append(stroke_of(part, np.full(len(part), force_n), "bead", own, tool))
    return strokes


def _lengthened(keep: NDArray[np.bool_], n_min: int) -> NDArray[np.bool_]:
    # runs shorter than n_min samples grow at both ends, within the line
    longer = keep.copy()
    edges = np.flatnonzero(np.diff(np.r_[False, keep, False].astype(np.int8)))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if end - first < n_min:
            first = int(np.clip((first + end - n_min) // 2, 0, len(keep) - n_min))
            longer[first : first + n_min] = True
    return longer


def _run(surface: SurfaceSamples, removed_m: Array, strokes: Sequence[Stroke], tool: PadTool) -> Array:
    taken = np.zeros(len(surface))
    for stroke in strokes:
        taken += run_stroke(surface, removed_m + taken, stroke, tool)
    return taken


def run_stroke(samples: SurfaceSamples, removed_m: Array, stroke: Stroke, tool: PadTool) -> Array:
    """Return what one stroke takes off every sample (S,), the balance solved anew as the surface goes down under it."""
    now = lowered(samples, removed_m)
    pairs = pad_pairs(now, stroke.frames, tool.radius_m)
    taken = np.zeros(len(samples))
    bounds = pairs.bounds
    dwell = stroke.dwell_s
    factor = tool.preston_per_pa * relative_speed(tool, pairs.x_m, pairs.y_m, stroke.speed_m_per_s[pairs.pose])
    for k in range(len(stroke)):
        own = slice(bounds[k], bounds[k + 1])
        point, area, cosine = pairs.point[own], pairs.area_m2[own], pairs.cosine[own]
        if len(point) == 0:
            continue
        fastest = float(factor[own].max()) * tool.stiffness_pa_per_m
        n_steps = max(1, int(np.ceil(dwell[k] * fastest / SUBSTEP)))
        for _ in range(n_steps):
            gap = pairs.gap_m[own] + taken[point] / cosine
            pressure = _pressure(gap, area, float(stroke.process_value[k]), tool.stiffness_pa_per_m)
            taken[point] += factor[own] * pressure * pairs.share[own] * (dwell[k] / n_steps)
    return taken


def _pressure(gap_m: Array, area_m2: Array, force_n: float, stiffness_pa_per_m: float) -> Array:
    # exact balance of one pose: the advance with the n smallest gaps in contact lies between the n-th and the next
    order = np.argsort(gap_m)
    area = np.cumsum(area_m2[order])
    advance = (force_n / stiffness_pa_per_m + np.cumsum(area_m2[order] * gap_m[order])) / np.maximum(area, 1e-15)
    upper = np.r_[gap_m[order][1:], np.inf]
    n = int(np.argmax(advance <= upper))
    return stiffness_pa_per_m * np.maximum(0.0, advance[n] - gap_m)


def lowered(samples: SurfaceSamples, removed_m: Array) -> SurfaceSamples:
    """Return the samples moved inwards by the depth removed."""
    return replace(samples, points_m=samples.points_m - removed_m[:, None] * samples.normals)


def cut_values(values: Array, keep: NDArray[np.bool_], n_min: int) -> list[Array]:
    """Return the runs of values kept, as `strokes.cut` does for lines."""
    edges = np.flatnonzero(np.diff(np.r_[False, keep, False].astype(np.int8)))
    return [values[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= n_min]


def _reversed(stroke: Stroke) -> Stroke:
    return replace(
        stroke,
        position_m=stroke.position_m[::-1],
        tool_axis=stroke.tool_axis[::-1],
        travel=-stroke.travel[::-1],
        speed_m_per_s=stroke.speed_m_per_s[::-1],
        process_value=stroke.process_value[::-1],
    )
