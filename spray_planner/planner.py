"""Plan a coat of paint: serviceable area, patches, strokes chosen by what they leave, speeds fitted to the target."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GunConfig, SprayRecipe
from cell_core.coverage import CoverageOperator, coverage_of_points
from cell_core.dwell import DwellResult, SpeedLimits, optimise_speed
from cell_core.errors import ConfigurationError, CoverageError
from cell_core.footprint import EllipticDoubleBeta
from cell_core.layout import LayoutRequest, lay_lines, sheet_for, strokes_from_lines
from cell_core.patches import Patch, split_patches
from cell_core.plan import Plan, Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, sample_surface
from cell_core.sheet import Sheet
from cell_core.statistics import field_statistics
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.transforms import Array
from spray_planner.aim import PartView, aim_line
from spray_planner.service import BODY_LENGTH_M, Service, Surroundings, find_service

SAMPLES_MAX = 30_000
SCORING_SAMPLES_MAX = 1_000
THIN_FRACTION = 0.7
"""Samples that got less than this of the target after a first fit get strokes of their own."""
STANDOFF_PLAY_M = 0.01
"""Motion planning may shift the gun by this along its axis; the film changes by (1 +/- play / standoff)^-2 [m]."""
TRANSITION_S = 2.0
"""What a move from stroke to stroke costs when layouts are compared [s]."""
TIME_PRICE = 0.01
"""Residual fraction that a layout must gain to take as long again as the paint needs at full catch."""
PRUNINGS_MAX = 5
RUSHED = 0.5
"""Strokes with more than this share of their paint at nearly the highest speed may be dropped."""
PRUNING_LOSS = 1.01
"""They are, when the residual grows by no more than this factor."""
SHORTEST_DEPTHS = 1.5
"""Strokes shorter than this many half heights of the fan are left out."""
CATCH_MIN = 0.02
"""The gun stays off at a stroke's ends while less than this of its paint would land on what is to be coated."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Task:
    """What every step of one plan needs."""

    samples: SurfaceSamples
    caster: RayCaster
    triangle_normals: Array
    footprint: EllipticDoubleBeta
    recipe: SprayRecipe
    gun: GunConfig
    surroundings: Surroundings
    limits: SpeedLimits
    spacing_m: float

    @property
    def fan_m(self) -> float:
        """Half width of the fan at the recipe's standoff [m]."""
        return self.gun.a_m * self.recipe.standoff_m / self.gun.reference_standoff_m

    @property
    def depth_m(self) -> float:
        """Half height of the fan at the recipe's standoff [m]."""
        return self.gun.b_m * self.recipe.standoff_m / self.gun.reference_standoff_m

    @property
    def step_m(self) -> float:
        """Distance between samples along a stroke [m]."""
        return self.depth_m / 7.0

    @property
    def nominal_speed_m_per_s(self) -> float:
        """Speed of a flat raster at the target."""
        return self.footprint.volume_rate_m3_per_s / (self.recipe.target_thickness_m * self.spacing_m)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """One way of laying strokes over a patch, and what it was worth."""

    strokes: list[Stroke]
    request: LayoutRequest
    sheet: Sheet
    score: float
    entry: dict[str, Any]


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

    Args:
        surface: vertices in the part's frame, z up, outward normals.
        table: the part lies on a plane through its lowest point, and guns stay above it, level or pointing down;
            False: it hangs free and is coated from all sides.

    Raises:
        ConfigurationError: standoff, or the speed the target needs, outside the gun's limits.
        CoverageError: no gun pose serves any of the surface, or no stroke fits.
    """
    started = time.monotonic()
    gun = _throttled(gun, recipe)
    footprint = EllipticDoubleBeta(gun)
    spacing = recipe.spacing_m or footprint.spacing_m() * recipe.standoff_m / gun.reference_standoff_m
    _refuse(recipe, gun, footprint, spacing)
    progress(0.0, "sampling the surface")
    depth = gun.b_m * recipe.standoff_m / gun.reference_standoff_m
    pitch = max(0.2 * depth, float(np.sqrt(surface.area_m2 / SAMPLES_MAX)))
    task = _Task(
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
    layouts = _lay_patches(task, service.mask, progress, area_min_m2=task.fan_m * task.depth_m)
    if not layouts:
        area = float(task.samples.areas_m2[service.mask].sum())
        raise CoverageError(f"no stroke fits the {area:.5f} m2 that the gun could serve", area_m2=area)
    progress(0.6, "predicting the film")
    result, operator = _fit(task, service, [s for layout in layouts for s in layout.strokes], progress)
    thin = service.mask & (result.predicted_m < THIN_FRACTION * recipe.target_thickness_m)
    more = _lay_patches(task, thin, progress, area_min_m2=0.25 * task.fan_m * task.depth_m)
    if more:
        layouts += more
        strokes = [*result.strokes, *(s for layout in more for s in layout.strokes)]
        result, operator = _fit(task, service, strokes, progress)
    progress(0.95, "figures")
    plan = _plan(task, service, result, operator, surface, {"path": surface_path, "sha256": surface_sha256})
    table_rows = [layout.entry for layout in layouts]
    return replace(plan, figures={**plan.figures, "layouts": table_rows, "plan_time_s": time.monotonic() - started})


def _throttled(gun: GunConfig, recipe: SprayRecipe) -> GunConfig:
    flow = recipe.flow_m3_per_s or gun.flow_m3_per_s
    if flow > gun.flow_m3_per_s:
        raise ConfigurationError(
            f"recipe {recipe.name}: flow_m3_per_s {flow:.3g} exceeds {gun.flow_m3_per_s:.3g} of gun {gun.name}"
        )
    return gun.model_copy(update={"flow_m3_per_s": flow})


def _refuse(recipe: SprayRecipe, gun: GunConfig, footprint: EllipticDoubleBeta, spacing_m: float) -> None:
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


def _lay_patches(
    task: _Task, wanted: NDArray[np.bool_], progress: Progress, *, area_min_m2: float
) -> list[_Layout]:
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


def _best_layout(task: _Task, patch: Patch, index: int) -> _Layout | None:
    """Try both main directions on a smooth and a closer sheet, then, on large patches, field and offset of the best."""
    base = _request(task, patch)
    samples = task.samples.select(patch.members)
    best: _Layout | None = None
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


def _better(a: _Layout | None, b: _Layout | None) -> _Layout | None:
    if a is None or b is None:
        return a or b
    return b if b.score < a.score else a


def _request(task: _Task, patch: Patch) -> LayoutRequest:
    low, high = (limit - task.recipe.standoff_m for limit in (task.gun.standoff_m.low, task.gun.standoff_m.high))
    return LayoutRequest(
        direction=patch.direction,
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
        freedom=Freedom(
            spin="fixed",
            tilt_rad=task.gun.tilt_max_rad,
            standoff_m=(max(low, -STANDOFF_PLAY_M), min(high, STANDOFF_PLAY_M)),
        ),
    )


def _candidate(task: _Task, patch: Patch, request: LayoutRequest, sheet: Sheet, index: int) -> _Layout | None:
    """Return a layout with its score: residual of a quick fit, plus prices on strokes and overspray."""
    strokes = _strokes(task, patch, request, sheet)
    if not strokes:
        return None
    scouts = task.samples.select(patch.members[:: max(1, len(patch.members) // SCORING_SAMPLES_MAX)])
    coarse = [_thinned(s, 2) for s in strokes]
    operator = coverage_of_points(scouts.points_m, scouts.normals, coarse, task.footprint, caster=task.caster)
    target = np.full(len(scouts), task.recipe.target_thickness_m)
    try:
        fit = optimise_speed(operator, coarse, target, scouts.areas_m2, task.limits, knot_m=task.depth_m, rounds_max=2)
    except CoverageError:
        return None
    share = float(task.samples.areas_m2[patch.members].sum() / scouts.areas_m2.sum())
    sprayed = task.footprint.volume_rate_m3_per_s * sum(float(s.dwell_s.sum()) for s in fit.strokes)
    overspray = 1.0 - share * float(scouts.areas_m2 @ fit.predicted_m) / sprayed
    residual = fit.residual_rms_m / task.recipe.target_thickness_m
    shortest_s = share * float(scouts.areas_m2 @ target) / task.footprint.volume_rate_m3_per_s
    spent_s = sum(float(s.times_s[-1]) for s in fit.strokes) + TRANSITION_S * len(strokes)
    score = residual + TIME_PRICE * spent_s / shortest_s
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
    return _Layout(strokes=strokes, request=request, sheet=sheet, score=score, entry=entry)


def _strokes(task: _Task, patch: Patch, request: LayoutRequest, sheet: Sheet) -> list[Stroke]:
    try:
        lines = lay_lines(task.samples.select(patch.members), request, sheet=sheet)
    except CoverageError:
        return []
    aimed = [
        piece
        for line in lines
        for piece in aim_line(
            line,
            PartView(caster=task.caster, tree=task.samples.tree, triangle_normals=task.triangle_normals),
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


def _fit(
    task: _Task, service: Service, strokes: Sequence[Stroke], progress: Progress
) -> tuple[DwellResult, CoverageOperator]:
    """Return optimised strokes, those dropped that are only rushed through, and their operator over all samples."""
    samples = task.samples
    operator = coverage_of_points(samples.points_m, samples.normals, strokes, task.footprint, caster=task.caster)
    weights = samples.areas_m2 * service.mask
    target = np.full(len(samples), task.recipe.target_thickness_m)
    catch = operator.adjoint(weights) / task.footprint.volume_rate_m3_per_s
    own = np.split(catch, np.cumsum([len(s) for s in strokes])[:-1])
    strokes = [_triggered(s, c) for s, c in zip(strokes, own, strict=True)]
    keep = np.array([k for k, s in enumerate(strokes) if s.on.any()])
    operator = operator.columns_of(keep)
    knot = 0.8 * task.depth_m
    result = optimise_speed(operator, [strokes[k] for k in keep], target, weights, task.limits, knot_m=knot)
    for attempt in range(PRUNINGS_MAX):
        progress(0.65 + 0.05 * attempt, f"fitting the speed of {len(result.strokes)} strokes")
        haste = np.array([_haste(s, task.limits) for s in result.strokes])
        rushed = np.flatnonzero(haste > RUSHED)
        if len(rushed) == 0 or len(rushed) == len(haste):
            break
        worst = rushed[np.argsort(-haste[rushed], kind="stable")][: max(1, len(rushed) // 2)]
        keep = np.setdiff1d(np.arange(len(haste)), worst)
        fewer = operator.columns_of(keep)
        trial = optimise_speed(fewer, [result.strokes[k] for k in keep], target, weights, task.limits, knot_m=knot)
        if trial.residual_rms_m > PRUNING_LOSS * result.residual_rms_m:
            break
        result, operator = trial, fewer
    return result, operator


def _triggered(stroke: Stroke, catch: Array) -> Stroke:
    """Switch the gun off at both ends while it would miss, and all along where it always would."""
    useful = np.flatnonzero((catch >= CATCH_MIN) & stroke.on)
    on = np.zeros(len(stroke), bool)
    if len(useful):
        on[useful[0] : useful[-1] + 1] = stroke.on[useful[0] : useful[-1] + 1]
    return replace(stroke, on=on)


def _haste(stroke: Stroke, limits: SpeedLimits) -> float:
    """Return the share of the painting samples near the highest speed: paint that is hardly wanted."""
    return float((stroke.speed_m_per_s[stroke.on] > 0.9 * limits.high_m_per_s).mean())


def _plan(
    task: _Task,
    service: Service,
    result: DwellResult,
    operator: CoverageOperator,
    surface: Surface,
    source: dict[str, str],
) -> Plan:
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


def _tool_block(task: _Task) -> dict[str, Any]:
    gun = task.gun
    return {
        "name": gun.name,
        "kind": gun.kind,
        "a_m": gun.a_m,
        "b_m": gun.b_m,
        "beta_1": gun.beta_1,
        "beta_2": gun.beta_2,
        "reference_standoff_m": gun.reference_standoff_m,
        "standoff_m": task.recipe.standoff_m,
        "flow_m3_per_s": gun.flow_m3_per_s,
        "solids_volume_fraction": gun.solids_volume_fraction,
        "transfer_efficiency": gun.transfer_efficiency,
        "on_delay_s": gun.on_delay_s,
        "off_delay_s": gun.off_delay_s,
        "incidence_max_rad": gun.incidence_max_rad,
        "speed_m_per_s": [gun.speed_m_per_s.low, gun.speed_m_per_s.high],
        "acceleration_m_per_s2": gun.acceleration_m_per_s2,
        "target_thickness_m": task.recipe.target_thickness_m,
    }
