"""The plan as it is handed over: fields on the given surface, figures, what is not reached and why."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult
from cell_core.plan import Plan
from cell_core.sampling import SurfaceSamples
from cell_core.statistics import field_statistics
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from spray_planner.service import Service
from spray_planner.task import Task


def report(
    task: Task,
    service: Service,
    result: DwellResult,
    operator: CoverageOperator,
    surface: Surface,
    source: dict[str, str],
) -> Plan:
    """Return the plan with fields at the vertices of `surface`; figures are taken over the serviceable samples."""
    samples, recipe = task.samples, task.recipe
    target = np.full(len(samples), recipe.target_thickness_m)
    film = result.predicted_m
    statistics = field_statistics(
        film, target, samples.areas_m2, recipe.acceptance.tolerance_fraction, service.mask
    )
    dwell = np.concatenate([s.dwell_s for s in result.strokes])
    sprayed = task.footprint.volume_rate_m3_per_s * float(dwell.sum())
    landed = float(samples.areas_m2 @ film)
    prediction = {
        "mean_m": statistics.mean_m,
        "cv": statistics.cv,
        "min_m": statistics.min_m,
        "max_m": statistics.max_m,
        "in_tolerance_area_fraction": statistics.in_tolerance_area_fraction,
        "coverage_area_fraction": statistics.covered_area_fraction,
        "overspray_fraction": 1.0 - landed / sprayed,
        "duration_s": float(sum(s.times_s[-1] for s in result.strokes)),
        "length_m": float(sum(s.length_m for s in result.strokes)),
    }
    toolpath = ToolPath(
        process="spray",
        strokes=result.strokes,
        tool=_tool_block(task),
        surface=source,
        prediction=prediction,
        unreached=_unreached(samples, service, film < 0.5 * target),
        frame=surface.frame,
    )
    visits = operator.visits(dwell)
    (predicted,) = samples.spread(surface, film)
    serviceable, visits = samples.spread(surface, service.mask.astype(float), visits, nearest=True)
    figures = {
        **prediction,
        "p01_m": statistics.p01_m,
        "p99_m": statistics.p99_m,
        "n_strokes": len(result.strokes),
        "n_samples": len(dwell),
        "surface_area_m2": float(samples.areas_m2.sum()),
        "serviceable_area_m2": statistics.area_m2,
        "sprayed_volume_m3": sprayed / task.gun.transfer_efficiency / task.gun.solids_volume_fraction,
        "speed_min_m_per_s": float(min(s.speed_m_per_s.min() for s in result.strokes)),
        "speed_max_m_per_s": float(max(s.speed_m_per_s.max() for s in result.strokes)),
        "spacing_m": task.spacing_m,
        "dwell_rounds": result.rounds,
        "dwell_converged": result.converged,
        "at_lowest_speed_fraction": result.at_low_fraction,
        "at_highest_speed_fraction": result.at_high_fraction,
        "acceleration_bound_fraction": result.acceleration_bound_fraction,
    }
    fields = {
        "predicted_change_m": predicted,
        "target_change_m": recipe.target_thickness_m * serviceable,
        "visits": visits,
        "serviceable": serviceable,
    }
    return Plan(toolpath=toolpath, fields=fields, figures=figures)


def _unreached(samples: SurfaceSamples, service: Service, bare: NDArray[np.bool_]) -> dict[str, Any]:
    total = float(samples.areas_m2.sum())
    masks = {**service.reasons, "less than half the target": service.mask & bare}
    shares = {name: float(samples.areas_m2[mask].sum()) / total for name, mask in masks.items()}
    return {"area_fraction": float(sum(shares.values())), "reasons": {k: v for k, v in shares.items() if v > 0.0}}


def _tool_block(task: Task) -> dict[str, Any]:
    recipe = task.recipe
    own = {"standoff_m": recipe.standoff_m, "target_thickness_m": recipe.target_thickness_m}
    return {**task.gun.as_block(), **own}
