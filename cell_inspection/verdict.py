"""Does the result meet the recipe? Figures, and where not, reasons a person can act on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.config.recipes import GrindAcceptance, GrindRecipe, SprayAcceptance, SprayRecipe
from cell_core.errors import InputRefusedError
from cell_core.statistics import field_statistics, weighted_quantile
from cell_core.transforms import Array
from cell_inspection.regions import place_text, worst_places

N_PLACES = 3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one part."""

    passed: bool
    figures: Mapping[str, float]
    """Area-weighted over the mask; keys carry units."""
    reasons: list[str]
    """Why it did not pass, one line each; empty when it did."""


def spray_verdict(
    recipe: SprayRecipe,
    field_m: Array,
    target_m: Array,
    mask: NDArray[np.bool_],
    areas_m2: Array,
    *,
    positions_m: Array | None = None,
) -> Verdict:
    """Judge a film (V,) [m] against its target (V,) over the masked vertices with areas (V,).

    Values that are not finite were not measured: they count as no film. With positions (V, 3) the reasons say where.

    Raises:
        InputRefusedError: the mask holds no area, or lengths differ.
    """
    bounds = recipe.acceptance
    figures, film = _figures(field_m, target_m, mask, areas_m2, bounds.tolerance_fraction)
    reasons = _shortfalls(bounds, figures, film, target_m, areas_m2 * mask, positions_m, ("film", "thin", "thick"))
    if figures["cv"] > bounds.cv_max:
        spread = areas_m2 * (film - figures["mean_m"]) ** 2 * mask
        reasons.append(
            f"film CV {100 * figures['cv']:.1f} % exceeds {100 * bounds.cv_max:.1f} %{_where(positions_m, spread)}"
        )
    return Verdict(passed=not reasons, figures=figures, reasons=reasons)


def grind_verdict(
    recipe: GrindRecipe,
    field_m: Array,
    target_m: Array,
    mask: NDArray[np.bool_],
    areas_m2: Array,
    *,
    positions_m: Array | None = None,
) -> Verdict:
    """Judge a removal (V,) [m] against its target (V,) over the masked vertices; else as `spray_verdict`."""
    bounds = recipe.acceptance
    figures, removed = _figures(field_m, target_m, mask, areas_m2, bounds.tolerance_fraction, bounds.tolerance_m)
    words = ("removal", "short", "too deep")
    reasons = _shortfalls(bounds, figures, removed, target_m, areas_m2 * mask, positions_m, words)
    spared = np.isfinite(field_m) & (np.asarray(target_m) <= 0.0) & (areas_m2 > 0.0)
    if bounds.undercut_max_m is not None and spared.any():
        undercut = weighted_quantile(field_m[spared], areas_m2[spared], 0.999)
        figures["undercut_p999_m"] = undercut
        if undercut > bounds.undercut_max_m:
            deep = np.where(spared, areas_m2 * np.nan_to_num(field_m), 0.0)
            reasons.append(
                f"undercut: {1e6 * undercut:.0f} um removed where nothing was to go, at most"
                f" {1e6 * bounds.undercut_max_m:.0f} um allowed{_where(positions_m, deep)}"
            )
    return Verdict(passed=not reasons, figures=figures, reasons=reasons)


def agreement(
    predicted_m: Array, field_m: Array, target_m: Array, mask: NDArray[np.bool_], areas_m2: Array
) -> dict[str, float]:
    """Return how far a planner's prediction (V,) is from the truth (V,) over the masked vertices that were measured.

    agreement_rms_m and agreement_bias_m (predicted minus true, mean), and the first over the mean target as
    agreement_rms_fraction.

    Raises:
        InputRefusedError: lengths differ, or no masked vertex was measured.
    """
    lengths = {len(predicted_m), len(field_m), len(target_m), len(mask), len(areas_m2)}
    known = np.asarray(mask, bool) & np.isfinite(field_m) if len(lengths) == 1 else np.zeros(0, bool)
    if len(lengths) != 1 or areas_m2[known].sum() <= 0.0:
        raise InputRefusedError(
            f"agreement: lengths of prediction, field, target, mask and areas are {sorted(lengths)}, "
            f"{known.sum()} masked vertices were measured; need one length and at least 1"
        )
    w = areas_m2[known] / areas_m2[known].sum()
    error = np.asarray(predicted_m, float)[known] - field_m[known]
    rms = float(np.sqrt(w @ error**2))
    return {
        "agreement_rms_m": rms,
        "agreement_bias_m": float(w @ error),
        "agreement_rms_fraction": rms / float(w @ np.asarray(target_m, float)[known]),
    }


def _figures(
    field_m: Array,
    target_m: Array,
    mask: NDArray[np.bool_],
    areas_m2: Array,
    tolerance_fraction: float,
    tolerance_m: float = 0.0,
) -> tuple[dict[str, float], Array]:
    lengths = {len(field_m), len(target_m), len(mask), len(areas_m2)}
    if len(lengths) != 1:
        raise InputRefusedError(f"verdict: field, target, mask and areas have different lengths: {sorted(lengths)}")
    mask = np.asarray(mask, bool)
    if areas_m2[mask].sum() <= 0.0:
        raise InputRefusedError("verdict: the mask holds 0 m2: the tool could serve nothing")
    measured = np.isfinite(field_m)
    values = np.where(measured, field_m, 0.0)
    figures = field_statistics(values, target_m, areas_m2, tolerance_fraction, mask, tolerance_m).as_dict()
    covered = mask & (values >= 0.5 * np.asarray(target_m))
    if areas_m2[covered].sum() > 0.0:
        figures["cv_covered"] = field_statistics(values, target_m, areas_m2, tolerance_fraction, covered).cv
    figures["target_mean_m"] = float(areas_m2[mask] @ np.asarray(target_m)[mask] / areas_m2[mask].sum())
    figures["unmeasured_area_fraction"] = float(areas_m2[mask & ~measured].sum() / areas_m2[mask].sum())
    return figures, values


def _shortfalls(
    bounds: SprayAcceptance | GrindAcceptance,
    figures: Mapping[str, float],
    values: Array,
    target_m: Array,
    served_m2: Array,
    positions_m: Array | None,
    words: tuple[str, str, str],
) -> list[str]:
    what, low_word, high_word = words
    tolerance, area = bounds.tolerance_fraction, served_m2.sum()
    in_tolerance_min, covered_min = bounds.in_tolerance_area_fraction_min, bounds.covered_area_fraction_min
    slack_m = bounds.tolerance_m if isinstance(bounds, GrindAcceptance) else 0.0
    slack = np.maximum(tolerance * np.asarray(target_m), slack_m)
    low = served_m2 * (values < target_m - slack)
    high = served_m2 * (values > target_m + slack)
    or_slack = f" or {1e6 * slack_m:.0f} um" if slack_m else ""
    reasons = []
    if figures["in_tolerance_area_fraction"] < in_tolerance_min:
        reasons.append(
            f"{what} is within {100 * tolerance:.0f} %{or_slack} of the target on"
            f" {100 * figures['in_tolerance_area_fraction']:.1f} % of the area,"
            f" at least {100 * in_tolerance_min:.1f} % wanted;"
            f" {100 * low.sum() / area:.1f} % {low_word}{_where(positions_m, low)},"
            f" {100 * high.sum() / area:.1f} % {high_word}{_where(positions_m, high)}"
        )
    if figures["covered_area_fraction"] < covered_min:
        bare = served_m2 * (target_m - values > np.maximum(0.5 * np.asarray(target_m), slack_m))
        missing = figures["unmeasured_area_fraction"]
        reasons.append(
            f"{100 * figures['covered_area_fraction']:.1f} % of the area is covered (half the target), at least"
            f" {100 * covered_min:.1f} % wanted{_where(positions_m, bare)}"
            + (f"; {100 * missing:.1f} % could not be measured" if missing > 0.0 else "")
        )
    return reasons


def _where(positions_m: Array | None, badness: Array) -> str:
    if positions_m is None:
        return ""
    places = worst_places(positions_m, badness, N_PLACES)
    return " at " + ", ".join(place_text(centre) for centre, _ in places) if places else ""
