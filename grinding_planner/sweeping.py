"""Sweep a pad over open ground: lay lines, drop what only harms, schedule speed and force. Area, target, spot."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.special import jn_zeros

from cell_core.config import GrindRecipe, GrindToolConfig
from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.plan import Progress
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.bounds import depth_per_pass_max_m, heat_j_per_m2
from grinding_planner.contact import nominal_speed, removal_rates
from grinding_planner.face import press, reach_m
from grinding_planner.filling import helping_lines
from grinding_planner.ground import Ground, ground_samples, survey
from grinding_planner.layout import Laid, firm_parts, lay, n_least
from grinding_planner.leaning import settled
from grinding_planner.results import Removal, Served, stroke_of
from grinding_planner.schedule import SMOOTHNESS, Schedule, Wish, lowest_shares, scheduled
from grinding_planner.seating import Seating
from grinding_planner.strokes import Line
from grinding_planner.task import GrindTask
from grinding_planner.thinning import LeastSquares, needed_samples
from grinding_planner.wanted import cautious, wanted_at

RIPPLE_ZERO = 6
MAP_RIPPLE_ZEROS = (12, 10, 8, 6)
"""Lines lie 2 pi R / j_{1,n} apart: there a sweeping flat round pad leaves no fundamental ripple. The zeros n = 4, 6, 8
are spacings of 0.47, 0.32 and 0.24 R, which leave 2.0, 1.2 and 0.7 % at any speeds; 0.5 R leaves 4.5 %. A map gets the
closest of its lines that need no more than MAP_POSES_MAX poses."""
STEP_RADII = 0.2
MAP_STEP_RADII = 0.15
MAP_POSES_MAX = 15_000
MAP_SMOOTHNESS = 1e-5
MAP_ITERATIONS = 600
FILL_ROUNDS = 2
MAPS = ("target", "spot")
"""Strategies with a depth of their own at every point."""
AIM_FRACTION = 0.09
"""Errors of an even depth above this share of it count for more, so that few are above half again as much."""
OUTSIDE_WEIGHT = 0.3
"""Weight of removal where none is asked for."""
TURNING = 1e-4
"""Weight of an even depth's uneven turns of the axis. Maps have none: their leans are bought by what they even out."""
ACCELERATION_SHARE = 0.6
"""An even depth keeps speeds to this share of the tool's acceleration: an arm that changes it all at once misses speeds
by more than 1 %, its jerk being bounded. What evenness needs beyond it the force does. Maps use all of it."""
PASSES_MAX = 20
CONTACT_MIN = 0.6
"""Lines are at most so much closer on bent ground, where the pad touches less of it."""
FORCE_BEFORE_SPACING = 0.8
"""Lines come closer at the cost of time: the force falls to this share before they are spaced wider."""
FASTEST = 0.9
"""Lines are spaced for a feed up to this share of the highest: where less is to go the force gives way."""


def plan_sweeps(task: GrindTask, tool: GrindToolConfig) -> tuple[Served, Removal]:
    """Return strokes over all that the pad can serve, and what they leave.

    Raises:
        CoverageError: no pad pose stands firmly, or nothing of the target is serviceable.
    """
    recipe, samples = task.recipe, ground_samples(task.surface, tool)
    wanted = wanted_at(task, samples)
    if wanted.forbidden.any():
        samples = replace(samples, forbidden=wanted.forbidden)
    ground = survey(task.surface, tool, recipe.force_n, samples=samples)
    area = samples.areas_m2
    if area[ground.serviceable] @ wanted.depth_m[ground.serviceable] <= 0.0:
        raise CoverageError(
            f"target: {area @ wanted.depth_m * 1e9:.4g} mm3 wanted, none of it where pad {tool_reach(ground)} can "
            "press",
            wanted_volume_m3=float(area @ wanted.depth_m),
        )
    is_map = recipe.strategy in MAPS
    target = wanted.depth_m if is_map else np.where(ground.serviceable, wanted.depth_m, 0.0)
    task.progress(0.4, "laying strokes")
    removal = sweep(ground, recipe, tool, target, task.progress)
    return ground, replace(removal, figures={**wanted.figures, **removal.figures})


def tool_reach(ground: Ground) -> str:
    """Say how much of the part the pad can serve."""
    return f"(serves {ground.serviceable_area_m2:.4g} of {ground.surface.area_m2:.4g} m2)"


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How an even depth is shared out."""

    spacing_m: float
    speed_m_per_s: float
    """Of every pass where lines alone cover the ground, before they are scheduled."""
    force_n: float
    n_passes: int


def sweep(ground: Ground, recipe: GrindRecipe, tool: GrindToolConfig, target_m: Array, progress: Progress) -> Removal:
    """Lay lines over the ground where removal is wanted, and find speeds and forces that leave the target (S,).

    Every pass is planned for its share of the depth; with `cross_hatch` every other one runs across.
    """
    areas = ground.samples.areas_m2
    wanted = ground.serviceable & (target_m > 0.05 * target_m.max())
    depth = float(areas[wanted] @ target_m[wanted] / areas[wanted].sum())
    feed = feed_for(
        recipe,
        tool,
        depth,
        ground.contact_share,
        area_m2=float(areas[wanted].sum()),
        deepest_m=float(target_m[wanted].max()),
    )
    planned = cautious(target_m, recipe, tool) if recipe.strategy in MAPS else target_m
    goal = np.where(ground.serviceable, planned, 0.0) / feed.n_passes
    kinds = [
        _one_pass(ground, recipe, tool, feed, goal, wanted, progress, across=across)
        for across in ([False, True] if recipe.cross_hatch and feed.n_passes > 1 else [False])
    ]
    order = [kinds[k % len(kinds)] for k in range(feed.n_passes)]
    return Removal(
        strokes=tuple(stroke for one in order for stroke in one.strokes),
        removed_m=np.sum([one.removed_m for one in order], axis=0),
        visits=np.sum([one.visits for one in order], axis=0),
        target_m=target_m,
        # a map is judged where it asks for something, an area where the pad can press
        judged=wanted,
        figures={
            "n_passes": float(feed.n_passes),
            "held_back_max_m": float(np.max((target_m - planned)[wanted])),
            "heat_max_j_per_m2": heat_j_per_m2(tool, float(max(one.removed_m.max() for one in order))),
            "pressure_max_pa": max(one.figures["pressure_max_pa"] for one in order),
        },
    )


def feed_for(
    recipe: GrindRecipe, tool: GrindToolConfig, depth_m: float, contact: float, *, area_m2: float, deepest_m: float
) -> Feed:
    """Return spacing, speed, force and number of passes with which lines take off a depth.

    Where the tool cannot go fast enough the force falls a little, then the spacing grows, unless the recipe
    gives it, then the force falls further.

    Args:
        contact: share of its face with which the pad touches the ground; bent ground needs closer lines.
        area_m2: where anything is to go: a map over much of it gets lines further apart.
        deepest_m: where most is to go: no pass takes off more than the tool may.

    Raises:
        CoverageError: even so too much or too little would go.
    """
    force = recipe.force_n
    spacing = recipe.spacing_m or max(contact, CONTACT_MIN) * _ripple_free_m(recipe, tool, area_m2)
    # a pass of parallel lines at speed v takes off k_p F v_rel / (v spacing) on flat ground
    speed = tool.preston_per_pa * force * nominal_speed(tool) / (spacing * depth_m) * (recipe.n_passes or 1)
    fastest = FASTEST * tool.speed_m_per_s.high
    if speed > fastest:
        lower = max(tool.force_n.low, FORCE_BEFORE_SPACING * force, force * fastest / speed)
        speed, force = speed * lower / force, lower
    if speed > fastest and recipe.spacing_m is None:
        widest = min(0.75 * reach_m(tool), spacing * speed / fastest)
        speed, spacing = speed * spacing / widest, widest
    if speed > fastest:
        lower = max(tool.force_n.low, force * fastest / speed)
        speed, force = speed * lower / force, lower
    if speed > 1.5 * tool.speed_m_per_s.high:
        passes = f" in {recipe.n_passes} passes" if recipe.n_passes else ""
        raise CoverageError(
            f"recipe {recipe.name}: target {depth_m * 1e6:.3g} um{passes} is less than tool {tool.name} takes off at "
            f"its lowest force {force:g} N and highest speed {tool.speed_m_per_s.high:g} m/s",
            depth_m=depth_m,
        )
    needed = int(np.ceil(2.0 * tool.speed_m_per_s.low / speed)) * (recipe.n_passes or 1)
    # the last per cent is what a plan misses its target by
    needed = max(needed, int(np.ceil(deepest_m / (0.95 * depth_per_pass_max_m(tool)))))
    allowed = recipe.n_passes or PASSES_MAX
    if needed > allowed:
        raise CoverageError(
            f"recipe {recipe.name}: target {depth_m * 1e6:.3g} um needs {needed} passes of tool {tool.name} "
            f"at {force:g} N, at most {allowed} {'given' if recipe.n_passes else 'planned'}",
            depth_m=depth_m,
        )
    n_passes = recipe.n_passes or max(needed, 2 if recipe.cross_hatch else 1)
    share = n_passes / (recipe.n_passes or 1)
    return Feed(spacing_m=spacing, speed_m_per_s=speed * share, force_n=force, n_passes=n_passes)


def _ripple_free_m(recipe: GrindRecipe, tool: GrindToolConfig, area_m2: float) -> float:
    spacings = 2.0 * np.pi * reach_m(tool) / jn_zeros(1, max(MAP_RIPPLE_ZEROS))
    if recipe.strategy not in MAPS:
        return float(spacings[RIPPLE_ZERO - 1])
    most = area_m2 / (MAP_POSES_MAX * MAP_STEP_RADII * reach_m(tool))
    return float(
        next((spacings[n - 1] for n in MAP_RIPPLE_ZEROS if spacings[n - 1] >= most), spacings[RIPPLE_ZERO - 1])
    )


def _one_pass(
    ground: Ground,
    recipe: GrindRecipe,
    tool: GrindToolConfig,
    feed: Feed,
    goal_m: Array,
    wanted: NDArray[np.bool_],
    progress: Progress,
    *,
    across: bool,
) -> Removal:
    is_map = recipe.strategy in MAPS
    step = (MAP_STEP_RADII if is_map else STEP_RADII) * reach_m(tool)
    areas = ground.samples.areas_m2
    weights = np.where(ground.serviceable, areas, OUTSIDE_WEIGHT * areas)
    laid = lay(ground, tool, feed.force_n, feed.spacing_m, wanted, step_m=step, across=across, exact=is_map)
    for round_ in range(FILL_ROUNDS + 1):
        progress(0.45 + 0.05 * round_, "leaving out needless passes")
        laid, removed = thinned(laid, tool, goal_m, weights, n_least(tool, step))
        if round_ == FILL_ROUNDS:
            break
        extra = helping_lines(ground, tool, removed, goal_m, weights, step)
        more = firm_parts(ground, tool, feed.force_n, extra, step, exact=is_map)
        if more is None:
            break
        laid = laid.joined(more)
    progress(0.55, "scheduling speeds and forces")
    aim = None if is_map else min(AIM_FRACTION, 0.6 * recipe.acceptance.tolerance_fraction)
    forbidden = ground.samples.forbidden
    wish = Wish(
        goal_m=goal_m,
        weights=weights,
        aim_fraction=aim,
        brushed=~ground.serviceable if forbidden is None else ~(ground.serviceable | forbidden),
        rim=ground.samples.rim,
        smoothness=MAP_SMOOTHNESS if is_map else SMOOTHNESS,
        turning=0.0 if is_map else TURNING,
        acceleration_share=1.0 if is_map else ACCELERATION_SHARE,
    )
    plan = scheduled(laid, wish, tool, **({"iterations": MAP_ITERATIONS} if is_map else {}))
    progress(0.6, "leaning the pad")
    laid, plan = settled(ground, tool, feed.force_n, laid, plan, wish, step)
    return _left_by(ground, tool, laid.lines, laid.seats, plan)


def _left_by(ground: Ground, tool: GrindToolConfig, lines: list[Line], seats: Seating, plan: Schedule) -> Removal:
    """Return the lines as strokes and what they leave, the pad pressed anew at the scheduled forces."""
    force, speeds = seats.force_n * plan.force_share, plan.speed_m_per_s
    forces = np.split(force, np.cumsum([len(line) for line in lines])[:-1])
    strokes = [stroke_of(line, f, "area", v, tool) for line, f, v in zip(lines, forces, speeds, strict=True)]
    contact = press(seats.pairs, force, tool)
    rates = removal_rates(seats.pairs, contact, tool, float(np.mean(np.concatenate(speeds))))
    return Removal(
        strokes=tuple(strokes),
        removed_m=rates @ plan.dwell_s,
        visits=_visits(rates, strokes),
        target_m=np.zeros(len(ground.samples)),
        judged=ground.serviceable,
        figures={"pressure_max_pa": float(contact.pressure_max_pa.max())},
    )


def _visits(rates: scipy.sparse.csr_matrix, strokes: list[Stroke]) -> Array:
    stroke_of_column = np.repeat(np.arange(len(strokes)), [len(s) for s in strokes])
    operator = CoverageOperator(matrix=rates.astype(np.float32), stroke_of_column=stroke_of_column)
    return operator.visits(np.concatenate([s.dwell_s for s in strokes]))


def thinned(laid: Laid, tool: GrindToolConfig, goal_m: Array, weights: Array, n_min: int) -> tuple[Laid, Array]:
    """Return the lines without what only harms, and about what they can take off (S,) [m]."""
    lines, seats = laid.lines, laid.seats
    length = np.concatenate([line.reach_m for line in lines])
    scale = float(weights @ goal_m / weights.sum())
    rates = removal_rates(seats.pairs, seats.contact, tool)
    rows = np.flatnonzero((weights > 0.0) & (np.diff(rates.indptr) > 0))
    problem = LeastSquares(
        matrix=rates[rows] / scale,
        goal=goal_m[rows] / scale,
        weights=weights[rows] / weights.sum(),
        low=lowest_shares(tool, seats.force_n) * length / tool.speed_m_per_s.high,
        high=length / tool.speed_m_per_s.low,
    )
    keep, dwell = needed_samples(problem, np.repeat(np.arange(len(lines)), [len(line) for line in lines]), n_min)
    kept = laid.cut(keep, n_min)
    if kept is None:
        raise CoverageError("no stroke brings the target closer: every pass takes more than is wanted")
    return kept, rates @ np.where(keep, dwell, 0.0)
