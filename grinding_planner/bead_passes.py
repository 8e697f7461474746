"""Take a bead off in passes: the best of many possible ones each time, run in the model, until none is any good.

A pass is a line, a force and dwell times along it. Contact is taken as it is at its start for the dwell times (bounded
least squares), then the pass is run in short steps with the balance solved at each, on the surface as it goes down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.config import PadTool
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.bead_pass import Dwell, Track, plan_pass, strokes_of, track_of
from grinding_planner.bead_run import part_of, run_passes
from grinding_planner.bead_state import TOUCHED_M, BeadState, Care
from grinding_planner.samples import SurfaceSamples
from grinding_planner.strokes import Line

STROKES_MAX = 120
TRIES, GUARD_FACTOR = 4, 8.0
"""Where a pass would go too deep, it is planned again with that place weighing so much more, so many times."""
GAIN_MIN = 0.005
"""A pass must lower the cost of what is wrong by this share."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadRemoval:
    """Passes over one bead and what they leave."""

    strokes: tuple[Stroke, ...]
    removed_m: Array
    """(S,) depth removed along the sample's normal [m]."""
    visits: Array
    """(S,) passes that touched the sample."""


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
    tracks = [track_of(surface, line, tool) for line in lines]
    forces = sorted({tool.force_n.low, float(np.sqrt(tool.force_n.low * force_n)), force_n})
    nothing = np.zeros(len(surface))
    state = BeadState(
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
    while not state.done:
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


def _best(
    tracks: Sequence[Track], hoped: dict[tuple[int, float], float], state: BeadState, tool: PadTool
) -> tuple[tuple[int, float], Dwell] | None:
    """Return line, force and dwell of the pass that promises most, or None where none gains GAIN_MIN.

    `hoped` holds what each promised when last asked, and is brought up to date: gains fade from pass to pass, so those
    that promised less than the best does now are not asked again.
    """
    least = GAIN_MIN * state.cost
    found: tuple[tuple[int, float], Dwell] | None = None
    for key in sorted(hoped, key=lambda k: -hoped[k]):
        if hoped[key] <= least:
            break
        plan = plan_pass(tracks[key[0]], state, key[1], tool)
        hoped[key] = 0.0 if plan is None else state.cost - plan.cost
        if plan is not None and hoped[key] > least:
            found, least = (key, plan), hoped[key]
    return found


def _run_within_bounds(
    track: Track, plan: Dwell, state: BeadState, force_n: float, tool: PadTool, *, back: bool
) -> tuple[list[Stroke], BeadState]:
    """Return the pass as run in the model and the ground after it; no strokes where it is no good."""
    before = state
    for _ in range(TRIES):
        # there and back: a pad that takes much works with the side it moves towards, so the run goes the same way
        cut = strokes_of(track, plan, force_n, tool)[:: -1 if back else 1]
        passes = [stroke.reversed() if back else stroke for _, stroke in cut]
        under = [part_of(track.pairs, run, back=back) for run, _ in cut]
        over = list(zip(passes, under, strict=True))
        taken = run_passes(state.removed_m, over, tool)
        # were the bead as low as it may be, the parent would be met sooner
        worst = np.maximum(taken, run_passes(state.removed_m + state.doubt_m, over, tool))
        after = state.without(taken, np.where(state.wanted, 0.0, worst), force_n)
        deep = after.too_deep(state)
        if not passes or not deep.any():
            good = bool(passes) and after.cost < (1.0 - 0.5 * GAIN_MIN) * state.cost
            return (passes, after) if good else ([], state)
        state = replace(state, guard=np.where(deep, state.guard * GUARD_FACTOR, state.guard))
        again = plan_pass(track, state, force_n, tool)
        if again is None or again.cost > (1.0 - GAIN_MIN) * before.cost:
            break
        plan = again
    return [], state
