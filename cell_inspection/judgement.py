"""A part judged by what was measured where that can be told, by the process model elsewhere; and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.config.recipes import GrindRecipe, SprayRecipe
from cell_core.statistics import weighted_quantile
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.measured import SIGMAS, MeasuredRemoval, contradicted, measurable
from cell_inspection.rework import AREA_MIN_M2, rework_target
from cell_inspection.verdict import Verdict, grind_verdict, spray_verdict

Reason = Literal["tolerance", "scan_noise", "cycles_max", "nothing_missing", "not_plannable"]
MEASURED_MIN = 0.5
"""Share of the judged area that must be measurable for a verdict to be called measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """A verdict and what it rests on."""

    verdict: Verdict
    change_m: Array
    """(V,) change judged: measured where `by_measurement`, by the process model elsewhere."""
    by_measurement: NDArray[np.bool_]
    """(V,) vertices where the measurement counts."""
    by: Literal["measurement", "process model", "measurement and process model"]
    text: str
    """What was measured and what not, and why."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of the measurement; keys carry units."""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why no further cycle follows."""

    reason: Reason
    text: str


def judge_removal(
    recipe: GrindRecipe,
    surface: Surface,
    target_m: Array,
    mask: NDArray[np.bool_],
    model_m: Array,
    measured: MeasuredRemoval | None,
    why_not: str = "",
) -> Judgement:
    """Judge a removal by the recipe's acceptance.

    A depth is judged by its measurement where SIGMAS standard deviations of it lie within the tolerance. On ground that
    was to be spared the process model counts unless a whole region contradicts it.

    Args:
        recipe: acceptance.
        surface: scan before the process, on whose vertices all fields are given.
        target_m: (V,) depth wanted.
        mask: (V,) what is judged.
        model_m: (V,) depth by the process model, as executed.
        measured: None where two scans could not be compared; `why_not` then says why.
    """
    bounds, areas = recipe.acceptance, surface.vertex_areas_m2
    tolerance = np.maximum(bounds.tolerance_fraction * np.asarray(target_m), bounds.tolerance_m)
    if measured is None:
        verdict = grind_verdict(recipe, model_m, target_m, mask, areas, positions_m=surface.vertices_m)
        told = np.zeros(len(areas), bool)
        text = f"judged by the process model: {why_not}"
        return Judgement(verdict=verdict, change_m=model_m, by_measurement=told, by="process model", text=text)
    told = mask & measurable(measured, tolerance)
    told |= ~mask & contradicted(surface, measured, model_m)
    change = np.where(told, measured.removed_m, model_m)
    verdict = grind_verdict(recipe, change, target_m, mask, areas, positions_m=surface.vertices_m)
    share = float(areas[told & mask].sum() / areas[mask].sum())
    seen = mask & np.isfinite(measured.removed_m)
    noise = _quantile(measured.sigma_m, areas, seen)
    by = "measurement" if share > 0.99 else "process model" if share < 0.01 else "measurement and process model"
    figures = {
        "measured_area_fraction": share,
        "seen_area_fraction": float(areas[seen].sum() / areas[mask].sum()),
        "scan_noise_m": measured.floor_m,
        "measurement_sigma_m": noise,
        "tolerance_m": _quantile(tolerance, areas, mask),
        "ground_area_m2": measured.fit.area_m2,
        "ground_rms_m": measured.fit.rms_m,
        "part_shift_m": measured.fit.shift_m,
    }
    if seen.any():
        weight = areas[seen] / areas[seen].sum()
        figures["measured_mean_m"] = float(weight @ measured.removed_m[seen])
        figures["model_mean_m"] = float(weight @ np.asarray(model_m)[seen])
    return Judgement(
        verdict=verdict, change_m=change, by_measurement=told, by=by, text=_basis(share, figures), figures=figures
    )


def judge_film(
    recipe: SprayRecipe, surface: Surface, target_m: Array, mask: NDArray[np.bool_], model_m: Array
) -> Judgement:
    """Judge a film by the process model: a depth camera does not see it."""
    verdict = spray_verdict(recipe, model_m, target_m, mask, surface.vertex_areas_m2, positions_m=surface.vertices_m)
    text = "film by the process model: no camera measures it"
    none = np.zeros(len(surface.vertices_m), bool)
    return Judgement(verdict=verdict, change_m=model_m, by_measurement=none, by="process model", text=text)


def still_wanted(
    recipe: GrindRecipe | SprayRecipe, surface: Surface, change_m: Array, target_m: Array, mask: NDArray[np.bool_]
) -> Array:
    """Return the change (V,) [m] that a further cycle is to bring, feathered; all zero where nothing is short."""
    slack = recipe.acceptance.tolerance_m if isinstance(recipe, GrindRecipe) else 0.0
    return rework_target(
        surface, change_m, target_m, mask, tolerance_fraction=recipe.acceptance.tolerance_fraction, tolerance_m=slack
    )


def stop_after(accepted: bool, judgement: Judgement, wanted_m: Array, *, cycle: int, cycles_max: int) -> Stop | None:
    """Return why the job stops after this cycle; None: another one follows.

    Args:
        accepted: the recipe's acceptance holds.
        judgement: what that rests on.
        wanted_m: (V,) from `still_wanted`.
        cycle: counted from 1.
        cycles_max: of the recipe.
    """
    unmeasured = judgement.by == "process model" and "scan_noise_m" in judgement.figures
    limit = judgement.text if unmeasured else ""
    if accepted and unmeasured:
        return Stop(reason="scan_noise", text=f"accepted, as far as can be told: {limit}")
    if accepted:
        return Stop(reason="tolerance", text=f"within tolerance by the {judgement.by}")
    if not np.any(wanted_m > 0.0):
        if unmeasured:
            return Stop(reason="scan_noise", text=f"what is missing cannot be told: {limit}")
        text = f"no {1e6 * AREA_MIN_M2:.0f} mm2 in one piece have too little: a further cycle could only make it worse"
        return Stop(reason="nothing_missing", text=text)
    if cycle >= cycles_max:
        return Stop(reason="cycles_max", text=f"{cycle} of {cycles_max} cycles done, part not accepted")
    return None


def _quantile(values: Array, areas: Array, chosen: NDArray[np.bool_]) -> float:
    return weighted_quantile(values[chosen], areas[chosen], 0.5) if chosen.any() else 0.0


def _basis(share: float, figures: Mapping[str, float]) -> str:
    sigma, tolerance = 1e6 * figures["measurement_sigma_m"], 1e6 * figures["tolerance_m"]
    floor = (
        f"{SIGMAS:g} x {sigma:.0f} um of the scans against a tolerance of {tolerance:.0f} um (medians); "
        f"noise on untouched ground {1e6 * figures['scan_noise_m']:.0f} um"
    )
    if share > 0.99:
        return f"judged by measurement: {floor}"
    if share < 0.01:
        return f"not measurable, judged by the process model: {floor}"
    return f"judged by measurement on {100.0 * share:.0f} % of the area, by the process model on the rest: {floor}"
