"""Plan a coat of paint: serviceable area, patches, strokes chosen by what they leave, speeds fitted to the target."""

import time
from dataclasses import replace

import numpy as np

from cell_core.config import GunConfig, SprayRecipe
from cell_core.errors import ConfigurationError, CoverageError
from cell_core.operator.footprint import GunFootprint, footprint_for
from cell_core.optimise.dwell import SpeedLimits
from cell_core.plan import Plan, Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.surface import Surface
from spray_planner.candidates import lay_patches
from spray_planner.refined import refine_plan
from spray_planner.report import report
from spray_planner.service import Surroundings, find_service
from spray_planner.speeds import fit_speeds
from spray_planner.task import Task

SAMPLES_MAX = 30_000
THIN_FRACTION = 0.7
"""Samples that got less than this of the target after a first fit get strokes of their own."""


def plan_spray(
    surface: Surface,
    recipe: SprayRecipe,
    gun: GunConfig,
    *,
    surface_path: str = "",
    surface_sha256: str = "",
    table: bool = True,
    progress: Progress = no_progress,
) -> Plan:
    """Return strokes and speeds that coat what the gun can serve of a surface to the recipe's thickness.

    The serviceable area is split into patches; for each, layouts (direction, field, offset) are scored by the film
    they leave and the best is kept; then all speeds are fitted together, and strokes that add nothing are dropped.
    At last, unless the recipe says no, poses and speeds are refined together.

    Args:
        surface: vertices in the part's frame, z up, outward normals.
        table: the part lies on a plane through its lowest point, and guns stay above it, level or pointing down;
            False: it hangs free and is coated from all sides.

    Raises:
        ConfigurationError: standoff, or the speed the target needs, outside the gun's limits.
        CoverageError: no gun pose serves any of the surface, or no stroke fits.
    """
    started = time.monotonic()
    progress = _rising(progress)
    gun = _throttled(gun, recipe)
    footprint = footprint_for(gun)
    spacing = recipe.spacing_m or footprint.spacing_m() * recipe.standoff_m / gun.reference_standoff_m
    _refuse(recipe, gun, footprint, spacing)
    progress(0.0, "sampling the surface")
    detail = footprint.detail_m * recipe.standoff_m / gun.reference_standoff_m
    pitch = max(0.2 * detail, float(np.sqrt(surface.area_m2 / SAMPLES_MAX)))
    task = Task(
        samples=sample_surface(surface, pitch),
        caster=RayCaster(surface),
        triangle_normals=surface.triangle_normals,
        footprint=footprint,
        recipe=recipe,
        gun=gun,
        surroundings=Surroundings(floor_z_m=float(surface.bounds_m[0, 2]) if table else None),
        limits=SpeedLimits(
            low_m_per_s=gun.speed_m_per_s.low,
            high_m_per_s=gun.speed_m_per_s.high,
            acceleration_m_per_s2=gun.acceleration_m_per_s2,
        ),
        spacing_m=spacing,
    )
    service = find_service(
        task.samples,
        task.caster,
        standoff_m=recipe.standoff_m,
        incidence_max_rad=gun.incidence_max_rad,
        surroundings=task.surroundings,
    )
    if not service.mask.any():
        reasons = {k: float(task.samples.areas_m2[m].sum()) for k, m in service.reasons.items()}
        raise CoverageError(f"no gun pose serves any of {surface.area_m2:.4f} m2: {reasons} m2", areas_m2=reasons)
    layouts = lay_patches(task, service.mask, progress, area_min_m2=task.fan_m * task.depth_m)
    if not layouts:
        area = float(task.samples.areas_m2[service.mask].sum())
        raise CoverageError(f"no stroke fits the {area:.5f} m2 that the gun could serve", area_m2=area)
    progress(0.6, "predicting the film")
    result, operator = fit_speeds(task, service, [s for layout in layouts for s in layout.strokes], progress)
    thin = service.mask & (result.predicted_m < THIN_FRACTION * recipe.target_thickness_m)
    more = lay_patches(task, thin, progress, area_min_m2=0.25 * task.fan_m * task.depth_m)
    if more:
        layouts += more
        strokes = [*result.strokes, *(s for layout in more for s in layout.strokes)]
        result, operator = fit_speeds(task, service, strokes, progress)
    steps: list[dict[str, object]] = []
    if recipe.refine:
        refined = refine_plan(task, surface, service, result, operator, progress)
        result, operator, steps = refined.result, refined.operator, refined.steps
    progress(0.95, "figures")
    plan = report(task, service, result, operator, surface, {"path": surface_path, "sha256": surface_sha256})
    table_rows = [layout.entry for layout in layouts]
    extra = {"layouts": table_rows, "refinement": steps, "plan_time_s": time.monotonic() - started}
    return replace(plan, figures={**plan.figures, **extra})


def _rising(progress: Progress) -> Progress:
    """Return a progress that never falls back when a step is run again."""
    reached = 0.0

    def report_progress(fraction: float, message: str) -> None:
        nonlocal reached
        reached = max(reached, fraction)
        progress(reached, message)

    return report_progress


def _throttled(gun: GunConfig, recipe: SprayRecipe) -> GunConfig:
    flow = recipe.flow_m3_per_s or gun.flow_m3_per_s
    if flow > gun.flow_m3_per_s:
        raise ConfigurationError(
            f"recipe {recipe.name}: flow_m3_per_s {flow:.3g} exceeds {gun.flow_m3_per_s:.3g} of gun {gun.name}"
        )
    return gun.model_copy(update={"flow_m3_per_s": flow})


def _refuse(recipe: SprayRecipe, gun: GunConfig, footprint: GunFootprint, spacing_m: float) -> None:
    if not gun.standoff_m.low <= recipe.standoff_m <= gun.standoff_m.high:
        raise ConfigurationError(
            f"recipe {recipe.name}: standoff_m {recipe.standoff_m} m outside "
            f"{gun.standoff_m.low}..{gun.standoff_m.high} m of gun {gun.name}"
        )
    speed = footprint.volume_rate_m3_per_s / (recipe.target_thickness_m * spacing_m)
    if not gun.speed_m_per_s.low <= speed <= gun.speed_m_per_s.high:
        raise ConfigurationError(
            f"recipe {recipe.name}: target_thickness_m {recipe.target_thickness_m} m at {spacing_m:.4f} m spacing "
            f"needs {speed:.4f} m/s, gun {gun.name} allows {gun.speed_m_per_s.low}..{gun.speed_m_per_s.high} m/s"
        )
