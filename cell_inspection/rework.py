"""What is still to be done where the first pass fell short."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.regions import connected_regions, with_hysteresis

AREA_MIN_M2 = 1e-4


def rework_target(
    surface: Surface,
    field_m: Array,
    target_m: Array,
    mask: NDArray[np.bool_],
    *,
    tolerance_fraction: float,
    tolerance_m: float = 0.0,
    feather_m: float = 0.03,
    area_min_m2: float = AREA_MIN_M2,
) -> Array:
    """Return the change (V,) [m] still wanted: what is missing beyond the tolerance, feathered at borders.

    Regions short by more than the tolerance, the larger of `tolerance_fraction` of the target and `tolerance_m`, grow
    to where half of it is missing; specks below `area_min_m2` go.
    Around them the missing amount fades to zero over `feather_m`. Never more than target minus field, so nothing
    is overdone; zero outside the mask. Values that are not finite were not measured and ask for nothing.
    """
    missing = np.where(mask & np.isfinite(field_m), np.clip(target_m - np.nan_to_num(field_m), 0.0, None), 0.0)
    tolerance = np.maximum(tolerance_fraction * target_m, tolerance_m)
    short = missing > tolerance
    region = with_hysteresis(surface, short, missing > 0.5 * tolerance) if short.any() else short
    labels = connected_regions(surface, region)
    inside = labels >= 0
    if inside.any():
        area = np.bincount(labels[inside], surface.vertex_areas_m2[inside])
        region = inside & (area[np.maximum(labels, 0)] >= area_min_m2)
    if not region.any():
        return np.zeros(len(missing))
    distance, _ = KDTree(surface.vertices_m[region]).query(surface.vertices_m, distance_upper_bound=feather_m)
    nearness = np.clip(1.0 - distance / feather_m, 0.0, 1.0)
    return missing * nearness**2 * (3.0 - 2.0 * nearness)
