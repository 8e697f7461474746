"""Plan one layer of paint: serviceable area, strokes chosen by what they leave, coats, speeds fitted to the target."""

import time
from dataclasses import dataclass, replace

import numpy as np

from cell_core.config import GunConfig, SprayRecipe
from cell_core.errors import ConfigurationError, CoverageError
from cell_core.operator.footprint import footprint_for
from cell_core.optimise.dwell import SpeedLimits
from cell_core.plan import Plan, Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.surface import Surface
from cell_core.transforms import Array
from spray_planner.bands import beside_bands, border_bands
from spray_planner.candidates import Layout, lay_patches
from spray_planner.clearance import Surroundings
from spray_planner.coats import Film, fit_coats, fitted, for_target, lay_coat, n_patterns
from spray_planner.even import Laid, even_film
from spray_planner.feasible import gun_for, line_spacing_m, refuse_speeds
from spray_planner.film_bounds import keep_bounds
from spray_planner.masks import masked_service, paint_share
from spray_planner.pool import Pool
from spray_planner.report import report
from spray_planner.robustness import Points, robust_figures
from spray_planner.service import Service, find_service
from spray_planner.task import Task
from spray_planner.triggers import sound_triggers

SAMPLES_MAX = 30_000
PATCH_LEAST_FANS = 2.0
"""Smallest patch that gets a layout, in areas of half the fan's width and height."""
TRIGGER_ROUNDS = 3


def plan_spray(
    surface: Surface,
    recipe: SprayRecipe,
    gun: GunConfig,
    *,
    surface_path: str = "",
    surface_sha256: str = "",
    table: bool = True,
    mask: Array | None = None,
    progress: Progress = no_progress,
) -> Plan:
    """Return strokes and speeds that coat what the gun can serve of a surface to the thickness of a recipe's one layer.

    The serviceable area is split into patches; for each, layouts (direction, field, offset) are scored by the film
    they leave and the best is kept; crossing or offset coats are laid over the same patches; then all speeds of a
    coat are fitted together, and strokes that add nothing are dropped. Unless the recipe says no, poses and speeds
    are refined together. At last speeds are fitted coat by coat, later coats mending what earlier ones left, and the
    last coat's once more where the film breaks its bounds.

    Args:
        surface: vertices in the part's frame, z up, outward normals. Earlier layers do not change it: their film is
            thousands of times thinner than the standoff.
        recipe: one layer; of a recipe of layers, `recipe.layer(name)`.
        table: the part lies on a plane through its lowest point, and guns stay above it, level or pointing down;
            False: it hangs free and is coated from all sides.
        mask: (V,) share of the target wanted at each vertex; 1: paint, 0: keep free. None: paint everywhere.

    Raises:
        ConfigurationError: a recipe of layers; standoff, or the speed the target needs, outside the gun's limits.
        CoverageError: no gun pose serves any of the surface, or no stroke fits.
        InputRefusedError: a mask of another length, with values outside 0..1, or that leaves nothing to paint.
    """
    progress = rising(progress)
    job = prepare(surface, recipe, gun, table=table, mask=mask, progress=progress)
    return finish(job, recipe, {"path": surface_path, "sha256": surface_sha256}, progress)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What plans of one surface at different prices share."""

    surface: Surface
    task: Task
    service: Service
    layouts: list[Layout]
    time_s: float
    """What preparing took."""


def prepare(
    surface: Surface, recipe: SprayRecipe, gun: GunConfig, *, table: bool, mask: Array | None, progress: Progress
) -> Prepared:
    """Return what is to be coated, and the lines for it."""
    started = time.monotonic()
    task = _task(surface, recipe, gun, table=table, progress=progress)
    service = _served(task)
    if mask is not None or recipe.masks:
        share = paint_share(surface, task.samples, task.caster, mask, recipe.masks)
        service, masking = masked_service(task.samples, service, *share)
        task = replace(task, masking=masking)
    area_min_m2 = PATCH_LEAST_FANS * task.fan_m * task.depth_m
    layouts = lay_patches(_coat(task), service.mask, progress, area_min_m2=area_min_m2)
    spent_s = time.monotonic() - started
    return Prepared(surface=surface, task=task, service=service, layouts=layouts, time_s=spent_s)


def finish(job: Prepared, recipe: SprayRecipe, source: dict[str, str], progress: Progress) -> Plan:
    """Return the plan at the price that the recipe puts on paint; all else in it is as it was prepared for."""
    started, surface, service = time.monotonic(), job.surface, job.service
    task = replace(job.task, recipe=recipe)
    patterns = _lay(task, surface, service, job.layouts, progress)
    progress(0.93, "fitting coats and film bounds")
    film = fit_coats(task, service, [(laid.result, laid.operator) for laid in patterns])
    film = _with_sound_triggers(task, service, film)
    film = keep_bounds(task, service, film)
    progress(0.95, "figures")
    plan = report(task, service, film, surface, source)
    robust: dict[str, float] = {}
    if recipe.robust:
        progress(0.97, "drawing the errors of a real cell")
        samples = task.samples
        weights = samples.areas_m2 * service.mask
        points = Points.thinned(samples.points_m, samples.normals, weights, task.target_m, task.caster)
        robust = robust_figures(points, film.strokes, task.gun).as_figures()
    table_rows = [layout.entry for layout in job.layouts]
    steps = [step for laid in patterns for step in laid.steps]
    extra = {"layouts": table_rows, "refinement": steps, "plan_time_s": job.time_s + time.monotonic() - started}
    return replace(plan, figures={**plan.figures, **robust, **extra})


def _task(surface: Surface, recipe: SprayRecipe, gun: GunConfig, *, table: bool, progress: Progress) -> Task:
    if recipe.layers:
        names = ", ".join(layer.name for layer in recipe.layers)
        raise ConfigurationError(f"recipe {recipe.name}: has layers ({names}); each is planned by itself: choose one")
    gun = gun_for(recipe, gun)
    footprint = footprint_for(gun)
    spacing = line_spacing_m(recipe, gun, footprint)
    refuse_speeds(recipe, gun, footprint, spacing)
    progress(0.0, "sampling the surface")
    detail = footprint.detail_m * recipe.standoff_m / gun.reference_standoff_m
    pitch = max(0.2 * detail, float(np.sqrt(surface.area_m2 / SAMPLES_MAX)))
    return Task(
        samples=sample_surface(surface, pitch, rims=True),
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


def _served(task: Task) -> Service:
    service = find_service(
        task.samples,
        task.part,
        standoff_m=task.recipe.standoff_m,
        incidence_max_rad=task.gun.incidence_max_rad,
        surroundings=task.surroundings,
    )
    if not service.mask.any():
        area = float(task.samples.areas_m2.sum())
        reasons = {k: float(task.samples.areas_m2[m].sum()) for k, m in service.reasons.items()}
        raise CoverageError(f"no gun pose serves any of {area:.4f} m2: {reasons} m2", areas_m2=reasons)
    return service


def _coat(task: Task) -> Task:
    """Return the task for an even part of the film."""
    return for_target(task, 1.0 / task.recipe.coats)


def _lay(
    task: Task, surface: Surface, service: Service, layouts: list[Layout], progress: Progress
) -> list[Laid]:
    """Return the strokes of all coats that differ, each by itself as even as it gets."""
    one = _coat(task)
    bands = border_bands(one, surface, service) if task.recipe.border else []
    pool = None if task.recipe.strategy == "offset" and task.recipe.coats > 1 else Pool.of(one, service)
    patterns = []
    for k in range(n_patterns(task)):
        progress(0.6, f"predicting the film of coat {k + 1}")
        strokes = beside_bands(one, bands, lay_coat(one, layouts, k))
        patterns.append(even_film(one, surface, service, pool, [*bands, *strokes], progress))
    return patterns


def _with_sound_triggers(task: Task, service: Service, film: Film) -> Film:
    """Return the film with stretches and gaps the valve can make; coats they change are fitted to what they left."""
    coats, operators = list(film.coats), list(film.operators)
    for k, coat in enumerate(film.coats):
        for _ in range(TRIGGER_ROUNDS):
            strokes = sound_triggers(coats[k].strokes, task.gun)
            if all(a is b for a, b in zip(strokes, coats[k].strokes, strict=True)):
                break
            kept = [i for i, s in enumerate(strokes) if s.on.any()]
            if not kept:
                break
            strokes[kept[0]] = replace(strokes[kept[0]], wait_before_s=strokes[0].wait_before_s)
            operators[k] = operators[k].columns_of(np.array(kept))
            coats[k] = fitted(task, service, operators[k], [strokes[i] for i in kept], coat.predicted_m)
    return Film(coats=tuple(coats), operators=tuple(operators))


def rising(progress: Progress) -> Progress:
    """Return a progress that never falls back when a step is run again."""
    reached = 0.0

    def report_progress(fraction: float, message: str) -> None:
        nonlocal reached
        reached = max(reached, fraction)
        progress(reached, message)

    return report_progress
