"""Layouts for every patch, compared by the film they leave."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import CoverageError
from cell_core.operator.coverage import coverage_of_points
from cell_core.plan import Progress
from cell_core.strokes.layout import LayoutRequest, lay_lines, sheet_for, strokes_from_lines
from cell_core.strokes.patches import Patch, split_patches
from cell_core.strokes.sheet import Sheet
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.aim import aim_line
from spray_planner.clearance import BODY_LENGTH_M
from spray_planner.task import TIME_PRICE, TRANSITION_S, Task
from spray_planner.trimming import trimmed

SCORING_SAMPLES_MAX = 1_000
SHORTEST_DEPTHS = 1.5
"""Strokes shorter than this many half heights of the fan are left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """One way of laying strokes over a patch, and what it was worth."""

    strokes: list[Stroke]
    patch: Patch
    request: LayoutRequest
    sheet: Sheet
    score: float
    entry: dict[str, Any]


def lay_patches(
    task: Task, wanted: NDArray[np.bool_], progress: Progress, *, area_min_m2: float
) -> list[Layout]:
    """Return the best layout for each patch of the wanted samples."""
    served = np.flatnonzero(wanted)
    if len(served) < 3:
        return []
    patches = split_patches(
        task.samples.select(served),
        task.caster,
        reach_m=task.recipe.standoff_m + BODY_LENGTH_M,
        lowest_elevation_rad=task.surroundings.lowest_elevation_rad,
        gap_m=1.2 * task.depth_m,
        area_min_m2=area_min_m2,
    )
    layouts = []
    for k, patch in enumerate(patches):
        progress(0.1 + 0.5 * k / len(patches), f"strokes for patch {k + 1} of {len(patches)}")
        own = Patch(direction=patch.direction, members=served[patch.members])
        best = _best_layout(task, own, k)
        if best is not None:
            layouts.append(best)
    return layouts


def laid_again(task: Task, layout: Layout, **changes: Any) -> list[Stroke]:
    """Return the strokes of a layout's patch, laid with changes to its request; none where nothing fits."""
    return _strokes(task, layout.patch, replace(layout.request, **changes), layout.sheet)


def _best_layout(task: Task, patch: Patch, index: int) -> Layout | None:
    """Try both main directions on a smooth and a closer sheet, then, on large patches, field and offset of the best."""
    base = request_for(task, patch.direction)
    samples = task.samples.select(patch.members)
    best: Layout | None = None
    for wave in (1.0, 0.5):
        request = replace(base, wavelength_m=wave * base.wavelength_m)
        sheet = sheet_for(samples, request)
        for angle in (0.0, np.pi / 2):
            best = _better(best, _candidate(task, patch, replace(request, angle_rad=angle), sheet, index))
    large = samples.areas_m2.sum() > 10.0 * task.fan_m**2
    changes: list[dict[str, Any]] = [{"edge_offset_m": share * task.fan_m} for share in (-0.3, 0.35)]
    # a narrow patch is bent across the strokes as a rim is: closer strokes can each face another part of it
    changes.append({"field": "planar"} if large else {"spacing_m": 0.5 * task.spacing_m})
    for change in changes:
        if best is not None:
            best = _better(best, _candidate(task, patch, replace(best.request, **change), best.sheet, index))
    return best


def _better(a: Layout | None, b: Layout | None) -> Layout | None:
    if a is None or b is None:
        return a or b
    return b if b.score < a.score else a


def request_for(task: Task, direction: Array) -> LayoutRequest:
    """Return how strokes are laid over a patch seen from a direction (3,), before any choice."""
    return LayoutRequest(
        direction=direction,
        spacing_m=task.spacing_m,
        field="arc_length",
        step_m=task.step_m,
        wavelength_m=task.recipe.standoff_m,
        standoff_m=task.recipe.standoff_m,
        edge_offset_m=0.1 * task.fan_m,
        overtravel_m=task.recipe.overtravel_m,
        on_margin_m=min(task.recipe.overtravel_m, task.depth_m),
        gap_m=max(0.15, 4.0 * task.depth_m),
        speed_m_per_s=task.nominal_speed_m_per_s,
        process_value=task.gun.flow_m3_per_s,
        freedom=task.freedom,
    )


def _candidate(task: Task, patch: Patch, request: LayoutRequest, sheet: Sheet, index: int) -> Layout | None:
    """Return a layout with its score: residual of a quick fit, plus prices on strokes and overspray."""
    strokes = _strokes(task, patch, request, sheet)
    if not strokes:
        return None
    own, scouted, weights = _scouts(task, patch)
    scouts = task.samples.select(scouted)
    coarse = [_thinned(s, 2) for s in strokes]
    operator = coverage_of_points(scouts.points_m, scouts.normals, coarse, task.footprint, caster=task.caster)
    target = task.target_m[scouted]
    goal = replace(task.goal_on(weights, target), knot_m=task.depth_m)
    try:
        fit = goal.fitted(operator, coarse, rounds_max=2)
    except CoverageError:
        return None
    if task.masking is not None:
        fit = trimmed(goal, fit, operator, task.depth_m)
    sprayed = task.footprint.volume_rate_m3_per_s * sum(float(s.dwell_s.sum()) for s in fit.strokes)
    overspray = 1.0 - float(weights[own] @ fit.predicted_m[own]) / sprayed
    residual = fit.residual_rms_m / task.recipe.target_thickness_m
    shortest_s = float(weights[own] @ target[own]) / task.footprint.volume_rate_m3_per_s
    spent_s = sum(float(s.times_s[-1]) for s in fit.strokes) + TRANSITION_S * len(strokes)
    score = goal.score(fit) + TIME_PRICE * spent_s / shortest_s
    entry = {
        "patch": index,
        "angle_rad": request.angle_rad,
        "field": request.field,
        "spacing_m": request.spacing_m,
        "edge_offset_m": request.edge_offset_m,
        "wavelength_m": request.wavelength_m,
        "n_strokes": len(strokes),
        "residual_fraction": residual,
        "overspray_fraction": overspray,
        "score": score,
    }
    return Layout(strokes=strokes, patch=patch, request=request, sheet=sheet, score=score, entry=entry)


def _scouts(task: Task, patch: Patch) -> tuple[slice, NDArray[np.int64], Array]:
    """Return samples to score on, the patch's own first, and their weights, as if they were all [m2]."""
    every = max(1, len(patch.members) // SCORING_SAMPLES_MAX)
    own, masked = patch.members[::every], task.masked_near(patch.members)[::every]
    areas = task.samples.areas_m2
    share = float(areas[patch.members].sum() / areas[own].sum())
    weights = [areas[own]] if task.masking is None else [areas[own], areas[masked] * task.masking.weights[masked]]
    return slice(len(own)), np.r_[own, masked], share * np.concatenate(weights)


def _strokes(task: Task, patch: Patch, request: LayoutRequest, sheet: Sheet) -> list[Stroke]:
    try:
        lines = lay_lines(task.samples.select(patch.members), request, sheet=sheet)
    except CoverageError:
        return []
    aimed = [
        piece
        for line in lines
        for piece in aim_line(
            line,
            task.part,
            direction=patch.direction,
            standoff_m=request.standoff_m,
            incidence_max_rad=task.gun.incidence_max_rad,
            surroundings=task.surroundings,
        )
    ]
    strokes = [s for s in strokes_from_lines(aimed, request) if s.length_m >= SHORTEST_DEPTHS * task.depth_m]
    return strokes


def _thinned(stroke: Stroke, every: int) -> Stroke:
    index = np.unique(np.r_[np.arange(0, len(stroke), every), len(stroke) - 1])
    arrays = ("position_m", "tool_axis", "travel", "speed_m_per_s", "process_value", "on")
    return replace(stroke, **{name: getattr(stroke, name)[index] for name in arrays})
