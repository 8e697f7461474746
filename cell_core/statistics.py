"""Area-weighted statistics."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True)
class FieldStatistics:
    """Area-weighted figures of one field over one region."""

    area_m2: float
    mean_m: float
    cv: float
    """Standard deviation over mean."""
    min_m: float
    max_m: float
    p01_m: float
    p99_m: float
    in_tolerance_area_fraction: float
    """Share of the area within target * (1 +/- tolerance)."""
    covered_area_fraction: float
    """Share of the area with at least half the target."""

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def weighted_quantile(values: Array, weights: Array, q: float) -> float:
    """Return the value below which the weight fraction q lies."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(cumulative, q * cumulative[-1]), len(values) - 1)])


def field_statistics(
    values_m: Array,
    target_m: Array,
    areas_m2: Array,
    tolerance_fraction: float,
    mask: NDArray[np.bool_],
    tolerance_m: float = 0.0,
) -> FieldStatistics:
    """Return the figures of values (V,) against target (V,) over the masked vertices, weighted by their areas (V,).

    A difference below `tolerance_m` is in tolerance, and no gap in the cover, however small the target.

    Raises:
        ValueError: the mask selects no area.
    """
    values, target, w = values_m[mask], np.asarray(target_m)[mask], areas_m2[mask]
    if w.sum() <= 0.0:
        raise ValueError("no area to take statistics over")
    w = w / w.sum()
    mean = float(w @ values)
    std = float(np.sqrt(w @ (values - mean) ** 2))
    return FieldStatistics(
        area_m2=float(areas_m2[mask].sum()),
        mean_m=mean,
        cv=std / mean if mean > 0.0 else 0.0,
        min_m=float(values.min()),
        max_m=float(values.max()),
        p01_m=weighted_quantile(values, w, 0.01),
        p99_m=weighted_quantile(values, w, 0.99),
        in_tolerance_area_fraction=_share(
            w, np.abs(values - target) <= np.maximum(tolerance_fraction * target, tolerance_m)
        ),
        covered_area_fraction=_share(w, target - values <= np.maximum(0.5 * target, tolerance_m)),
    )


def _share(w: Array, mask: NDArray[np.bool_]) -> float:
    """Return the weight of what is in the mask: weights that sum to 1 may sum to a last digit more."""
    return min(float(w @ mask), 1.0)
