"""Sweep a pad over open ground: lay lines, drop what only harms, optimise speeds. Strategies area, target, spot."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.special import jn_zeros

from cell_core.config import GrindRecipe, PadTool
from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import SMOOTHING_LENGTH_M, SpeedLimits, optimise_speed
from cell_core.plan import Progress
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from grinding_planner.contact import nominal_speed, removal_rates
from grinding_planner.filling import helping_lines
from grinding_planner.ground import Ground, survey
from grinding_planner.results import Removal, Served, stroke_of
from grinding_planner.samples import linear_fit
from grinding_planner.seating import Seating, pad_axes, seat
from grinding_planner.strokes import Line, Sheet, border_lines, clear_of, cut, parallel_lines, patches_of, turned
from grinding_planner.task import GrindTask
from grinding_planner.thinning import LeastSquares, needed_samples

SPACING_RADII = 0.5
STEP_RADII = 0.2
MAP_RIPPLE_ZERO = 8
"""Lines for a map lie 2 pi R / j_{1,n} apart, 0.243 R: there a sweeping flat round pad leaves no fundamental ripple.
At 0.5 R it leaves 4.5 % at any speeds, at the zeros n = 4, 6, 8 it leaves 2.0, 1.2 and 0.7 %."""
MAP_STEP_RADII = 0.1
MAP_EDGE_POWER = 12
"""Map samples weigh by this power of their exposure: where no pose has the whole pad on the ground least squares cannot
win, and would pay for trying with waves of 1.64 R, to which a round pad is blind, all over the part."""
SHORTEST_STROKE_RADII = 0.4
FILL_ROUNDS = 2
MAP_REACH = 0.6
"""Values of a map count towards a sample within about this many sample spacings."""
LAG = 1.1
"""Points that lack more than this many tolerances count for more in the end, up to RAISED_MAX times."""
LAG_ROUNDS = 3
RAISED_MAX = 2.0
OUTSIDE_WEIGHT = 0.3
"""Weight of removal where none is asked for."""
PASSES_MAX = 20
BORDER_INSET_RADII = 0.4
"""Parallel lines end this far from a line along the border."""
SMOOTHNESS = 1e-4
KNOT_RADII = 0.3


def plan_sweeps(task: GrindTask, tool: PadTool) -> tuple[Served, Removal]:
    """Return strokes over all that the pad can serve, and what they leave.

    Raises:
        CoverageError: no pad pose stands firmly, or nothing of the target is serviceable.
    """
    ground = survey(task.surface, tool, task.recipe.force_n)
    target = _target_at_samples(ground, task.recipe, task.wanted_m)
    task.progress(0.4, "laying strokes")
    return ground, sweep(ground, task.recipe, tool, target, task.progress)


def _target_at_samples(ground: Ground, recipe: GrindRecipe, wanted: Array | None) -> Array:
    if wanted is None:
        return np.where(ground.serviceable, recipe.target_depth_m, 0.0)
    surface, samples = ground.surface, ground.samples
    carry = linear_fit(
        surface.vertices_m, surface.vertex_normals, samples.points_m, samples.normals, MAP_REACH * samples.spacing_m
    )
    # a plane through a map's rim dips below 0 and stands above its highest value
    target = np.clip(carry @ wanted, 0.0, wanted.max())
    area = ground.samples.areas_m2
    if area[ground.serviceable] @ target[ground.serviceable] <= 0.0:
        raise CoverageError(
            f"target: {area @ target * 1e9:.4g} mm3 wanted, none of it where pad {tool_reach(ground)} can press",
            wanted_volume_m3=float(area @ target),
        )
    return target


def tool_reach(ground: Ground) -> str:
    """Say how much of the part the pad can serve."""
    return f"(serves {ground.serviceable_area_m2:.4g} of {ground.surface.area_m2:.4g} m2)"


def sweep(ground: Ground, recipe: GrindRecipe, tool: PadTool, target_m: Array, progress: Progress) -> Removal:
    """Lay lines over the ground where removal is wanted, and find speeds that leave the target (S,).

    Spacing, number of passes and force adapt until the target lies between what the slowest and the fastest feed take
    off.
    """
    areas = ground.samples.areas_m2
    wanted = ground.serviceable & (target_m > 0.05 * target_m.max())
    depth = float(areas[wanted] @ target_m[wanted] / areas[wanted].sum())
    force = recipe.force_n
    is_map = recipe.strategy == "target"
    step = (MAP_STEP_RADII if is_map else STEP_RADII) * tool.radius_m
    finest = 2.0 * np.pi / jn_zeros(1, MAP_RIPPLE_ZERO)[-1] if is_map else SPACING_RADII
    spacing = recipe.spacing_m or finest * tool.radius_m
    # a pass of parallel lines at speed v takes off k_p F v_rel / (v spacing) on flat ground
    speed = tool.preston_per_pa * force * nominal_speed(tool) / (spacing * depth)
    fastest = 0.6 * tool.speed_m_per_s.high
    if speed > fastest and recipe.spacing_m is None:
        widest = min(0.75 * tool.radius_m, spacing * speed / fastest)
        speed, spacing = speed * spacing / widest, widest
    if speed > fastest:
        lower = max(tool.force_n.low, force * fastest / speed)
        speed, force = speed * lower / force, lower
    if speed > 1.5 * tool.speed_m_per_s.high:
        raise CoverageError(
            f"recipe {recipe.name}: target {depth * 1e6:.3g} um is less than tool {tool.name} takes off at its "
            f"lowest force {force:g} N and highest speed {tool.speed_m_per_s.high:g} m/s",
            depth_m=depth,
        )
    n_passes = int(np.ceil(2.0 * tool.speed_m_per_s.low / speed))
    if n_passes > PASSES_MAX:
        raise CoverageError(
            f"recipe {recipe.name}: target {depth * 1e6:.3g} um needs {n_passes} passes of tool {tool.name} "
            f"at {force:g} N, at most {PASSES_MAX} planned",
            depth_m=depth,
        )
    weights = np.where(ground.serviceable, areas, OUTSIDE_WEIGHT * areas)
    goal = np.where(ground.serviceable, target_m, 0.0)
    if is_map:
        weights = weights * np.clip(ground.exposure, 0.0, 1.0) ** MAP_EDGE_POWER
    lines = lay(ground, tool, force, spacing, wanted, step_m=step, exact=is_map)
    for round_ in range(FILL_ROUNDS + 1):
        progress(0.45 + 0.05 * round_, "leaving out needless passes")
        lines, seats, removed = thinned(ground, tool, force, lines, goal / n_passes, weights, step)
        if round_ == FILL_ROUNDS:
            break
        extra = helping_lines(ground, tool, removed, goal / n_passes, weights, step)
        extra = firm_parts(ground, tool, force, extra, step)
        if not extra:
            break
        lines = lines + extra
    forces = np.split(seats.force_n, np.cumsum([len(line) for line in lines])[:-1])
    start = float(np.clip(speed * n_passes, tool.speed_m_per_s.low, tool.speed_m_per_s.high))
    strokes = [stroke_of(line, f, "area", start, tool) for line, f in zip(lines, forces, strict=True)]
    rates = removal_rates(seats.pairs, seats.contact, tool, start)
    operator = CoverageOperator(
        matrix=scipy.sparse.csr_matrix(rates, dtype=np.float32),
        stroke_of_column=np.repeat(np.arange(len(strokes)), [len(s) for s in strokes]),
    )
    progress(0.6, "optimising speeds")
    limits = SpeedLimits(
        low_m_per_s=tool.speed_m_per_s.low,
        high_m_per_s=tool.speed_m_per_s.high,
        acceleration_m_per_s2=tool.acceleration_m_per_s2,
    )
    # every pass is the same: it gets its share of the depth
    result = optimise_speed(
        operator,
        strokes,
        goal / n_passes,
        lagging_raised(operator, strokes, goal / n_passes, weights, limits, recipe.acceptance.tolerance_fraction),
        limits,
        smoothness=SMOOTHNESS * max(0.2, tool.radius_m / SMOOTHING_LENGTH_M) ** 2,
        knot_m=KNOT_RADII * tool.radius_m,
    )
    dwell = np.concatenate([s.dwell_s for s in result.strokes])
    return Removal(
        strokes=result.strokes * n_passes,
        removed_m=result.predicted_m * n_passes,
        visits=operator.visits(dwell) * n_passes,
        target_m=target_m,
        # a map is judged where it asks for something, an area where the pad can press
        judged=wanted,
    )


def lagging_raised(
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    goal_m: Array,
    weights: Array,
    limits: SpeedLimits,
    tolerance_fraction: float,
) -> Array:
    """Return weights (S,) raised where least squares leaves less than tolerated, at the others' slight cost."""
    length = np.concatenate([np.convolve(stroke.step_lengths_m, [0.5, 0.5]) for stroke in strokes])
    scale = float(goal_m.max())
    matrix = operator.matrix.astype(float) / scale
    low, high = length / limits.high_m_per_s, length / limits.low_m_per_s
    factor, x = np.ones(len(weights)), low
    share = weights / weights.sum()
    lag = LAG * tolerance_fraction * np.maximum(goal_m / scale, 0.2)
    for _ in range(LAG_ROUNDS):
        x = LeastSquares(matrix=matrix, goal=goal_m / scale, weights=share * factor, low=low, high=high).solve(x, 80)
        lacking = (goal_m / scale - matrix @ x) / lag
        factor = np.minimum(factor * np.clip(lacking, 1.0, 1.3), RAISED_MAX)
    return weights * factor


def lay(
    ground: Ground,
    tool: PadTool,
    force_n: float,
    spacing_m: float,
    wanted: NDArray[np.bool_],
    *,
    step_m: float,
    exact: bool = False,
) -> list[Line]:
    """Return lines over the seats that press wanted samples (S,), cut to the poses that stand firmly.

    Raises:
        CoverageError: no line of SHORTEST_STROKE_RADII fits.
    """
    seats = ground.seats
    on_wanted = (seats.contact.pressure_pa > 0.0) & wanted[seats.pairs.point]
    use = seats.valid & (np.bincount(seats.pairs.pose, on_wanted, seats.pairs.n_poses) > 0)
    points, axes = seats.frames[use, :3, 3], seats.frames[use, :3, 2]
    lines: list[Line] = []
    for patch in patches_of(points, axes, ground.seat_spacing_m):
        sheet = Sheet(points[patch], axes[patch], ground.seat_spacing_m)
        border = border_lines(sheet, step_m)
        inner = parallel_lines(sheet, spacing_m, step_m, exact=exact)
        # a map's lines are as close as the border's: they end a line away from it
        inset = spacing_m if exact else BORDER_INSET_RADII * tool.radius_m
        lines += border + clear_of(border, inner, inset)
    lines = firm_parts(ground, tool, force_n, lines, step_m)
    if not lines:
        raise CoverageError(
            f"pad {tool.name}: no stroke of at least {SHORTEST_STROKE_RADII * tool.radius_m:.3g} m fits on the ground "
            f"it can serve, though {int(use.sum())} single poses do"
        )
    return lines


def firm_parts(ground: Ground, tool: PadTool, force_n: float, lines: list[Line], step_m: float) -> list[Line]:
    """Return the lines with the axis that lays the pad flat along them, cut to where it then stands firmly."""
    if not lines:
        return []
    ends = np.cumsum([len(line) for line in lines])[:-1]
    points, axes = (np.concatenate([getattr(line, n) for line in lines]) for n in ("position_m", "tool_axis"))
    flat = np.split(pad_axes(ground.samples, points, -axes, tool.radius_m, n_rounds=1), ends)
    lines = [turned(line, axis) for line, axis in zip(lines, flat, strict=True)]
    valid = seat_lines(ground, tool, force_n, lines).valid
    parts = np.split(valid, np.cumsum([len(line) for line in lines])[:-1])
    return [part for line, ok in zip(lines, parts, strict=True) for part in cut(line, ok, _n_min(tool, step_m))]


def _n_min(tool: PadTool, step_m: float) -> int:
    return 1 + round(SHORTEST_STROKE_RADII * tool.radius_m / step_m)


def thinned(
    ground: Ground,
    tool: PadTool,
    force_n: float,
    lines: list[Line],
    goal_m: Array,
    weights: Array,
    step_m: float,
) -> tuple[list[Line], Seating, Array]:
    """Return the lines without what only harms, the contact along them, and about what they can take off (S,) [m]."""
    seats = seat_lines(ground, tool, force_n, lines)
    n_min = _n_min(tool, step_m)
    line_of_column = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    length = np.concatenate([line.reach_m for line in lines])
    scale = float(weights @ goal_m / weights.sum())
    rates = removal_rates(seats.pairs, seats.contact, tool)
    rows = np.flatnonzero((weights > 0.0) & (np.diff(rates.indptr) > 0))
    problem = LeastSquares(
        matrix=rates[rows] / scale,
        goal=goal_m[rows] / scale,
        weights=weights[rows] / weights.sum(),
        low=length / tool.speed_m_per_s.high,
        high=length / tool.speed_m_per_s.low,
    )
    keep, dwell = needed_samples(problem, line_of_column, n_min)
    parts = np.split(keep, np.cumsum([len(line) for line in lines])[:-1])
    kept = [part for line, ok in zip(lines, parts, strict=True) for part in cut(line, ok, n_min)]
    if not kept:
        raise CoverageError("no stroke brings the target closer: every pass takes more than is wanted")
    removed = rates @ np.where(keep, dwell, 0.0)
    return kept, seat_lines(ground, tool, force_n, kept), removed


def seat_lines(ground: Ground, tool: PadTool, force_n: float, lines: list[Line]) -> Seating:
    """Press the pad at every sample of the lines."""
    frames = np.concatenate([tool_frames(line.position_m, line.tool_axis, line.travel) for line in lines])
    return seat(ground.samples, ground.caster, frames, tool, force_n)
