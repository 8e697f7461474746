"""Last step of a plan: gun poses and speeds refined together, within what the gun and its surroundings allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.operator.coverage import CoverageOperator, coverage_of_points
from cell_core.optimise.dwell import DwellResult
from cell_core.optimise.refine import RefineLimits, RefineResult, refine_strokes
from cell_core.optimise.stroke_limits import PathLimits
from cell_core.plan import Progress
from cell_core.sampling import SAME_SIDE_COS, SurfaceSamples, sample_surface
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.aim import BEND_MAX_PER_M, PartView, gun_fits
from spray_planner.candidates import STANDOFF_PLAY_M
from spray_planner.service import Service
from spray_planner.task import SPEED_KNOT_DEPTHS, Task

SAMPLE_DEPTHS = 0.33
"""Distance of samples in half heights of the fan: coarser than the plan's own, for speed."""
POSE_KNOT_DEPTHS = 3.0
SHIFT_SPACINGS = 0.45
"""Strokes may move aside by this share of the spacing."""
TURN_MAX_RAD_PER_M = 5.0
"""Largest turn of the gun per length of its path [rad/m]."""
LEVEL = 0.01
"""Sine of the angle by which a gun that is to lie level may point upwards."""
GROUP_LENGTH_M = 20.0
"""Strokes are refined in groups of about this length, the film of the others held: time grows with the path."""
ITERATIONS = 8
NEIGHBOURS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """The outcome, and what refinement did."""

    result: DwellResult
    operator: CoverageOperator
    steps: list[dict[str, object]]
    """Per group: residual fractions after each step, share of the freedoms at a bound, why it ended."""


def refine_plan(
    task: Task, surface: Surface, service: Service, result: DwellResult, operator: CoverageOperator, progress: Progress
) -> Refined:
    """Return the plan with refined poses and speeds fitted anew; as it was where that is no better."""
    samples = sample_surface(surface, max(SAMPLE_DEPTHS * task.depth_m, _pitch(task)))
    target, weights = _wanted(task, service, samples)
    strokes, steps = list(result.strokes), []
    groups = _groups(strokes)
    for k, group in enumerate(groups):
        progress(0.8 + 0.12 * k / len(groups), f"refining the poses of {len(group)} strokes")
        refined = _refine_group(task, samples, target, weights, strokes, group)
        if refined is None:
            continue
        steps.append(
            {
                "n_strokes": len(group),
                "residual_fraction": list(refined.history),
                "at_bound_fraction": refined.at_bound_fraction,
                "held_strokes": [int(group[i]) for i in refined.held_strokes],
                "stopped_by": refined.stopped_by,
            }
        )
        for index, stroke in zip(group.tolist(), refined.strokes, strict=True):
            strokes[index] = stroke
    better = _fitted(task, service, [_with_freedom(task, a, b) for a, b in zip(strokes, result.strokes, strict=True)])
    goal = task.goal(service)
    if goal.merit(better[0]) >= goal.merit(result):
        return Refined(result=result, operator=operator, steps=steps)
    return Refined(result=better[0], operator=better[1], steps=steps)


def _wanted(task: Task, service: Service, samples: SurfaceSamples) -> tuple[Array, Array]:
    """Return target [m] and weight [m2] of other samples: as the nearest of the plan's own on the same side."""
    _, index = task.samples.tree.query(samples.points_m, k=min(NEIGHBOURS, len(task.samples)))
    index = index.reshape(len(samples), -1)
    facing = np.einsum("vki,vi->vk", task.samples.normals[index], samples.normals) > SAME_SIDE_COS
    own = index[np.arange(len(index)), np.argmax(facing, axis=1)]
    per_area = task.weights(service) / task.samples.areas_m2
    return task.target_m[own], samples.areas_m2 * per_area[own] * facing.any(axis=1)


def _pitch(task: Task) -> float:
    """Return the distance of the plan's own samples [m]."""
    return float(np.sqrt(task.samples.areas_m2.mean()))


def _groups(strokes: Sequence[Stroke]) -> list[NDArray[np.int64]]:
    """Return runs of neighbouring strokes of about equal length."""
    along = np.cumsum([s.length_m for s in strokes])
    n = max(int(np.ceil(along[-1] / GROUP_LENGTH_M)), 1)
    middle = along - 0.5 * np.array([s.length_m for s in strokes])
    owner = np.minimum((middle / along[-1] * n).astype(np.int64), n - 1)
    return [np.flatnonzero(owner == k) for k in range(n) if (owner == k).any()]


def _refine_group(
    task: Task,
    samples: SurfaceSamples,
    target: Array,
    weights: Array,
    strokes: Sequence[Stroke],
    group: NDArray[np.int64],
) -> RefineResult | None:
    """Return the group refined for what the other strokes leave to it; None where they leave nothing."""
    own = [strokes[i] for i in group]
    rest = [s for i, s in enumerate(strokes) if i not in set(group.tolist())]
    if rest:
        mine = coverage_of_points(samples.points_m, samples.normals, own, task.footprint, caster=task.caster)
        served = samples.points_m[np.diff(mine.matrix.indptr) > 0]
        if len(served) == 0:
            return None
        reached = KDTree(served).query(samples.points_m, distance_upper_bound=task.depth_m)[0]
        touched = np.flatnonzero(np.isfinite(reached))
        samples, weights, target = samples.select(touched), weights[touched], target[touched]
        others = coverage_of_points(samples.points_m, samples.normals, rest, task.footprint, caster=task.caster)
        target = target - np.asarray(others.predict(rest), float)
    if float(weights @ target) <= 0.0:
        return None
    part = PartView(caster=task.caster, tree=task.samples.tree, triangle_normals=task.triangle_normals)
    standoff = task.recipe.standoff_m

    def valid(frames: Array) -> NDArray[np.bool_]:
        aim = -frames[:, :3, 2]
        level = aim[:, 2] >= np.sin(task.surroundings.lowest_elevation_rad) - LEVEL
        return level & gun_fits(frames[:, :3, 3] - standoff * aim, aim, part, standoff, task.surroundings)

    gun = task.gun
    limits = RefineLimits(
        speed=task.limits,
        shift_m=SHIFT_SPACINGS * task.spacing_m,
        standoff_m=(min(gun.standoff_m.low - standoff, 0.0), max(gun.standoff_m.high - standoff, 0.0)),
        tilt_rad=gun.tilt_max_rad,
        path=PathLimits(bend_per_m=BEND_MAX_PER_M, turn_rad_per_m=TURN_MAX_RAD_PER_M),
    )
    return refine_strokes(
        samples,
        target,
        weights,
        own,
        task.footprint,
        limits,
        caster=task.caster,
        pivot_m=standoff,
        speed_knot_m=SPEED_KNOT_DEPTHS * task.depth_m,
        pose_knot_m=POSE_KNOT_DEPTHS * task.depth_m,
        valid=valid,
        dwell_price_per_s=task.goal_on(weights, target).price_per_s,
        iterations_max=ITERATIONS,
    )


def _with_freedom(task: Task, stroke: Stroke, given: Stroke) -> Stroke:
    """Return the stroke with the shift that motion may still make within the gun's standoff."""
    # distance of the new nozzle from the point the old one aimed at, along the new axis
    aimed = given.position_m + task.recipe.standoff_m * given.tool_axis
    standoff = np.einsum("ij,ij->i", aimed - stroke.position_m, stroke.tool_axis)
    low = min(max(task.gun.standoff_m.low - float(standoff.min()), -STANDOFF_PLAY_M), 0.0)
    high = max(min(task.gun.standoff_m.high - float(standoff.max()), STANDOFF_PLAY_M), 0.0)
    return replace(stroke, freedom=replace(stroke.freedom, standoff_m=(low, high)))


def _fitted(task: Task, service: Service, strokes: Sequence[Stroke]) -> tuple[DwellResult, CoverageOperator]:
    samples = task.samples
    operator = coverage_of_points(samples.points_m, samples.normals, strokes, task.footprint, caster=task.caster)
    goal = task.goal(service)
    return goal.fitted(operator, strokes), operator
