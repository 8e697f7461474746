"""The plan as it is handed over: fields on the given surface, figures, what is not reached and why."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.plan import Plan
from cell_core.sampling import SurfaceSamples
from cell_core.statistics import FieldStatistics, field_statistics
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from spray_planner.coats import Film
from spray_planner.limits import find_limits
from spray_planner.masks import mask_figures
from spray_planner.service import Service
from spray_planner.task import TRANSITION_S, Task
from spray_planner.triggers import n_triggers, run_up_lack_m, shortest_on_s


def report(task: Task, service: Service, film: Film, surface: Surface, source: dict[str, str]) -> Plan:
    """Return the plan with fields at the vertices of `surface`; figures are taken over the serviceable samples."""
    samples, recipe = task.samples, task.recipe
    target = task.target_m
    change, strokes = film.predicted_m, film.strokes
    statistics = _statistics(task, service, change, target)
    material = _material(task, service, film)
    prediction = {
        "mean_m": statistics.mean_m,
        "cv": statistics.cv,
        "min_m": statistics.min_m,
        "max_m": statistics.max_m,
        "in_tolerance_area_fraction": statistics.in_tolerance_area_fraction,
        "coverage_area_fraction": statistics.covered_area_fraction,
        "overspray_fraction": 1.0 - material["catch_fraction"],
        "duration_s": float(sum(s.times_s[-1] for s in strokes)),
        "length_m": float(sum(s.length_m for s in strokes)),
    }
    toolpath = ToolPath(
        process="spray",
        strokes=strokes,
        tool=_tool_block(task),
        surface=source,
        prediction=prediction,
        unreached=_unreached(samples, service, change < 0.5 * target),
        frame=surface.frame,
    )
    visits = np.sum([o.visits(_dwell(c)) for o, c in zip(film.operators, film.coats, strict=True)], axis=0)
    (predicted,) = samples.spread(surface, change)
    wanted = np.where(task.weights(service) > 0.0, target, 0.0)
    flags = samples.spread(surface, service.mask.astype(float), visits, wanted, nearest=True)
    serviceable, visits, wanted = flags
    below, above = _beyond_bounds(task, service, change)
    unmet = below | above | (np.abs(change - target) > recipe.film_tolerance_fraction * target)
    figures = {
        **prediction,
        "p01_m": statistics.p01_m,
        "p99_m": statistics.p99_m,
        "tolerance_fraction": recipe.film_tolerance_fraction,
        **{k: v for k in ("min_thickness_m", "max_thickness_m") if (v := getattr(recipe, k)) is not None},
        "below_min_area_fraction": float(samples.areas_m2 @ below / statistics.area_m2),
        "above_max_area_fraction": float(samples.areas_m2 @ above / samples.areas_m2.sum()),
        **material,
        **_times(task, film),
        "n_coats": recipe.coats,
        "n_samples": int(sum(len(s) for s in strokes)),
        "surface_area_m2": float(samples.areas_m2.sum()),
        "serviceable_area_m2": statistics.area_m2,
        "speed_min_m_per_s": float(min(s.speed_m_per_s.min() for s in strokes)),
        "speed_max_m_per_s": float(max(s.speed_m_per_s.max() for s in strokes)),
        "spacing_m": task.spacing_m,
        "on_mask_fraction": task.on_mask_fraction(change, strokes),
        **mask_figures(samples, task.masking, change),
        **_solver(film),
        "coats": _coats(task, service, film),
        "limits": [limit.as_dict() for limit in find_limits(task, service, film, unmet)],
    }
    fields = {
        "predicted_change_m": predicted,
        "target_change_m": wanted,
        "visits": visits,
        "serviceable": serviceable,
    }
    return Plan(toolpath=toolpath, fields=fields, figures=figures)


def _statistics(task: Task, service: Service, change: Array, target: Array) -> FieldStatistics:
    tolerance = task.recipe.film_tolerance_fraction
    return field_statistics(change, target, task.samples.areas_m2, tolerance, service.mask)


def _dwell(coat: Any) -> Array:
    return np.concatenate([s.dwell_s for s in coat.strokes])


def _beyond_bounds(task: Task, service: Service, change: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return served samples (P,) below the film's least, and all above its most: sags show everywhere."""
    low, high = task.recipe.min_thickness_m or 0.0, task.recipe.max_thickness_m or np.inf
    return service.mask & (change < low), change > high


def _material(task: Task, service: Service, film: Film) -> dict[str, float]:
    """Return where the paint goes. Catch is geometric, of what would stick; transfer efficiency comes on top."""
    gun, recipe = task.gun, task.recipe
    on_s = float(sum(_dwell(coat).sum() for coat in film.coats))
    sprayed_m3 = task.footprint.volume_rate_m3_per_s * on_s
    landed_m3 = float(task.samples.areas_m2 @ film.predicted_m)
    wanted_m3 = recipe.target_thickness_m * float(task.samples.areas_m2 @ service.mask)
    paint_m3 = gun.flow_m3_per_s * on_s
    catch = landed_m3 / sprayed_m3
    figures = {
        "catch_fraction": catch,
        "transfer_efficiency_fraction": gun.transfer_efficiency,
        "paint_on_part_fraction": catch * gun.transfer_efficiency,
        "sprayed_volume_m3": paint_m3,
        "solids_volume_m3": paint_m3 * gun.solids_volume_fraction,
        "film_volume_m3": landed_m3,
        "process_time_s": on_s,
        # the bound: film volume over transfer x solids x flow x catch
        "process_time_over_bound": on_s * task.footprint.volume_rate_m3_per_s * catch / wanted_m3,
    }
    if recipe.density_kg_per_m3 is not None:
        figures["paint_mass_kg"] = paint_m3 * recipe.density_kg_per_m3
    if recipe.voc_kg_per_m3 is not None:
        figures["voc_mass_kg"] = paint_m3 * recipe.voc_kg_per_m3
    return figures


def _times(task: Task, film: Film) -> dict[str, float]:
    """Return counts and times; moves between strokes are an estimate until motion is planned."""
    strokes = film.strokes
    rest_s = sum(s.wait_before_s for s in strokes)
    moves_s = TRANSITION_S * (len(strokes) - 1)
    return {
        "n_strokes": len(strokes),
        "n_border_strokes": sum(s.kind == "border" for s in strokes),
        "n_triggers": n_triggers(strokes),
        "shortest_on_s": shortest_on_s(strokes),
        "run_up_lack_m": run_up_lack_m(strokes, task.limits.acceleration_m_per_s2),
        "rest_time_s": rest_s,
        "estimated_total_time_s": float(sum(s.times_s[-1] for s in strokes)) + rest_s + moves_s,
    }


def _solver(film: Film) -> dict[str, Any]:
    """Return how the speeds came about, over all coats; shares are of samples."""
    size = np.array([sum(len(s) for s in coat.strokes) for coat in film.coats], float)

    def mean(name: str) -> float:
        return float(size @ [getattr(coat, name) for coat in film.coats] / size.sum())

    return {
        "dwell_rounds": sum(coat.rounds for coat in film.coats),
        "dwell_converged": all(coat.converged for coat in film.coats),
        "at_lowest_speed_fraction": mean("at_low_fraction"),
        "at_highest_speed_fraction": mean("at_high_fraction"),
        "acceleration_bound_fraction": mean("acceleration_bound_fraction"),
    }


def _coats(task: Task, service: Service, film: Film) -> list[dict[str, Any]]:
    """Return the figures of each coat's own film."""
    even = task.target_m / task.recipe.coats
    rows = []
    for k, coat in enumerate(film.coats):
        own = _statistics(task, service, coat.predicted_m, even)
        film_m = {"mean_m": own.mean_m, "cv": own.cv, "min_m": own.min_m, "p01_m": own.p01_m, "p99_m": own.p99_m}
        counts = {"n_strokes": len(coat.strokes), "n_triggers": n_triggers(coat.strokes)}
        wait_s = coat.strokes[0].wait_before_s
        rows.append({"coat": k + 1, **film_m, "max_m": own.max_m, **counts, "wait_before_s": wait_s})
    return rows


def _unreached(samples: SurfaceSamples, service: Service, bare: NDArray[np.bool_]) -> dict[str, Any]:
    total = float(samples.areas_m2.sum())
    masks = {**service.reasons, "less than half the target": service.mask & bare}
    shares = {name: float(samples.areas_m2[mask].sum()) / total for name, mask in masks.items()}
    return {"area_fraction": float(sum(shares.values())), "reasons": {k: v for k, v in shares.items() if v > 0.0}}


def _tool_block(task: Task) -> dict[str, Any]:
    recipe = task.recipe
    own = {"standoff_m": recipe.standoff_m, "target_thickness_m": recipe.target_thickness_m}
    return {**task.gun.as_block(), **own}
