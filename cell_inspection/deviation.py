"""Signed distance of a scan from a reference shape, and where it is significant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.statistics import weighted_quantile
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.defects import DefectMap
from cell_inspection.regions import connected_regions, with_hysteresis
from cell_inspection.transfer import matching_points

MAX_DISTANCE_M = 0.02
SIGMAS = 3.0
REGION_AREA_MIN_M2 = 20e-6
SIGNIFICANT_MIN_M = 1e-4


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected region whose deviation is significant."""

    side: str
    """above: material too much; below: too little."""
    centre_m: tuple[float, float, float]
    area_m2: float
    peak_m: float
    """Largest deviation, signed [m]."""
    volume_m3: float
    """Deviation times area, summed, signed [m3]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Deviation:
    """How a scan lies to a reference."""

    surface: Surface
    """The scan, in the reference's frame."""
    deviation_m: Array
    """(V,) signed distance to the reference [m]: positive outside it (too much); NaN where nothing compares."""
    regions: tuple[Region, ...]
    """Significant regions, largest volume first."""
    figures: Mapping[str, Any]
    """Area-weighted numbers; keys carry units."""
    found: DefectMap | None = None
    """The defects, where they were looked for."""


def inspect(
    scan: Surface, reference: Surface, *, max_distance_m: float = MAX_DISTANCE_M, significant_m: float | None = None
) -> Deviation:
    """Return the signed deviation of every scan vertex from the reference, both in one frame.

    Args:
        scan: measured surface.
        reference: nominal or earlier surface.
        max_distance_m: vertices farther away, or facing elsewhere, do not compare.
        significant_m: deviation that counts as a defect; None: three robust standard deviations about the median,
            at least 0.1 mm. Regions grow to half of it.

    Raises:
        InputRefusedError: less than 1 % of the scan lies near the reference.
    """
    points, triangles = matching_points(reference, scan.vertices_m, scan.vertex_normals, max_distance_m)
    found = triangles >= 0
    area = scan.vertex_areas_m2
    share = float(area[found].sum() / area.sum())
    if share < 0.01:
        raise InputRefusedError(
            f"inspection: {100 * share:.1f} % of the scan lies within {1e3 * max_distance_m:g} mm of the reference:"
            " not aligned, or units that disagree"
        )
    gap = scan.vertices_m - points
    side = np.sign(np.sum(gap * reference.triangle_normals[triangles], axis=1))
    deviation = np.where(found, side * np.linalg.norm(gap, axis=1), np.nan)
    values, weights = deviation[found], area[found] / area[found].sum()
    median = weighted_quantile(values, weights, 0.5)
    sigma = 1.4826 * weighted_quantile(np.abs(values - median), weights, 0.5)
    if significant_m is None:
        significant_m = max(SIGMAS * sigma + abs(median), SIGNIFICANT_MIN_M)
    regions = _regions(scan, deviation, significant_m)
    mean = float(weights @ values)
    magnitude = np.abs(values)
    figures = {
        "compared_area_fraction": share,
        "compared_area_m2": float(area[found].sum()),
        "mean_m": mean,
        "rms_m": float(np.sqrt(weights @ values**2)),
        "std_m": float(np.sqrt(weights @ (values - mean) ** 2)),
        "robust_sigma_m": sigma,
        "median_abs_m": weighted_quantile(magnitude, weights, 0.5),
        "p95_abs_m": weighted_quantile(magnitude, weights, 0.95),
        "min_m": float(values.min()),
        "max_m": float(values.max()),
        "significant_m": significant_m,
        "n_regions": len(regions),
        "significant_area_m2": sum(r.area_m2 for r in regions),
    }
    return Deviation(surface=scan, deviation_m=deviation, regions=regions, figures=figures)


def _regions(scan: Surface, deviation_m: Array, significant_m: float) -> tuple[Region, ...]:
    found = []
    for side, sign in (("above", 1.0), ("below", -1.0)):
        value = np.nan_to_num(sign * deviation_m, nan=0.0)
        labels = connected_regions(scan, with_hysteresis(scan, value > significant_m, value > 0.5 * significant_m))
        inside = np.flatnonzero(labels >= 0)
        area = np.bincount(labels[inside], scan.vertex_areas_m2[inside])
        for k in np.flatnonzero(area >= REGION_AREA_MIN_M2):
            members = inside[labels[inside] == k]
            w = scan.vertex_areas_m2[members]
            centre = w @ scan.vertices_m[members] / w.sum()
            found.append(
                Region(
                    side=side,
                    centre_m=(float(centre[0]), float(centre[1]), float(centre[2])),
                    area_m2=float(area[k]),
                    peak_m=float(sign * value[members].max()),
                    volume_m3=float(sign * (w @ value[members])),
                )
            )
    return tuple(sorted(found, key=lambda r: -abs(r.volume_m3)))
