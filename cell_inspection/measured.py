"""Removal as two scans tell it: depth per vertex with its uncertainty, and where it is too small to be told at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.ground import GroundFit, lay_on_ground, near_rim, untouched_ground
from cell_inspection.regions import connected_regions
from cell_inspection.removal import removed_between

NEIGHBOURS = 32
SMOOTH_EDGES = 2.0
"""Depths are averaged over at least so many edges of the scan: its single vertices are noise."""
GROUND_SAMPLES_MAX = 20_000
SIGMAS = 2.0
"""A tolerance is measurable where it is at least so many standard deviations."""
CONTRADICTED_SIGMAS = 4.0
"""On ground to be spared the measurement counts where it is so far from the process model, over a whole region."""
REGION_AREA_MIN_M2 = 1e-4
SHAPE_DOUBT = 0.2
"""Of what the mean over neighbours hides of the expected shape, so much may be wrong, one standard deviation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredRemoval:
    """Scan before less scan after, on the vertices of the scan before."""

    removed_m: Array
    """(V,) averaged over the neighbourhood of each vertex; NaN where either scan lacks it."""
    raw_m: Array
    """(V,) of single vertices; NaN where either scan lacks it."""
    sigma_m: Array
    """(V,) standard deviation of `removed_m`: noise of both scans as seen on untouched ground, and the registration."""
    floor_m: float
    """Median of the noise on untouched ground: no scan of this kind tells less."""
    fit: GroundFit


def measure_removal(
    before: Surface, after: Surface, worked: NDArray[np.bool_], expected_m: Array, *, smooth_m: float = 0.0
) -> MeasuredRemoval:
    """Return the depth removed between two scans of a part that stands about where it stood.

    The later scan is laid on the earlier by ground that was not worked. The scatter there is what the depths may be
    off by; how it is shared among vertices the scans' own residuals and frame counts say, where they have them. What is
    averaged over neighbours is the difference from `expected_m`: finer than the width of the mean its shape counts,
    wider than that the scans do, whatever was expected.

    Args:
        before: scan before the process; fields residual_m and frame_count are used.
        after: scan after it.
        worked: (V,) vertices of the scan before that the process was to reach, or did.
        expected_m: (V,) depth that the process model expects, for the shape of what is narrower than the mean.
        smooth_m: depths are averaged over this width (standard deviation): finer a tool removes nothing on its own.

    Raises:
        InputRefusedError: too little untouched ground, or the later scan does not show it.
    """
    ground = untouched_ground(before, worked)
    fit = lay_on_ground(before, after, ground)
    laid = after.transformed(fit.T_before_after, before.frame)
    raw = removed_between(before, laid)
    raw[near_rim(before)] = np.nan
    width = max(smooth_m, SMOOTH_EDGES * float(np.median(before.adjacency.data)))
    expected = _expected_sigma(before, laid)
    rows = np.flatnonzero(ground & np.isfinite(raw))
    rows = rows[:: max(1, len(rows) // GROUND_SAMPLES_MAX)]
    told = _averaged(before, raw - expected_m, rows, width)
    known = np.isfinite(told) & np.isfinite(expected[rows])
    if known.sum() < 100:
        raise InputRefusedError(f"scan noise: {known.sum()} vertices on untouched ground were measured, 100 needed")
    over = told[known] / expected[rows][known]
    factor = 1.4826 * float(np.median(np.abs(over - np.median(over))))
    noise = factor * expected
    everywhere = np.arange(len(raw))
    hidden = expected_m - _averaged(before, np.asarray(expected_m, float), everywhere, width)
    return MeasuredRemoval(
        removed_m=expected_m + _averaged(before, raw - expected_m, everywhere, width),
        raw_m=raw,
        sigma_m=np.sqrt(noise**2 + fit.sigma_m**2 + (SHAPE_DOUBT * np.nan_to_num(hidden)) ** 2),
        floor_m=float(np.median(noise[rows][known])),
        fit=fit,
    )


def measurable(measured: MeasuredRemoval, tolerance_m: Array) -> NDArray[np.bool_]:
    """Return the vertices (V,) whose depth is known well enough to judge it by a tolerance (V,) [m]."""
    return np.isfinite(measured.removed_m) & (SIGMAS * measured.sigma_m <= tolerance_m)


def contradicted(surface: Surface, measured: MeasuredRemoval, model_m: Array) -> NDArray[np.bool_]:
    """Return the vertices (V,) in regions where the measurement cannot be squared with the process model (V,) [m]."""
    off = np.abs(measured.removed_m - model_m) > CONTRADICTED_SIGMAS * measured.sigma_m
    labels = connected_regions(surface, off & np.isfinite(measured.removed_m))
    inside = labels >= 0
    if not inside.any():
        return inside
    area = np.bincount(labels[inside], surface.vertex_areas_m2[inside])
    return inside & (area[np.maximum(labels, 0)] >= REGION_AREA_MIN_M2)


def _expected_sigma(before: Surface, after: Surface) -> Array:
    """Return the noise (V,) that both scans claim: residual over the root of the frames; 1 where they claim nothing."""
    names = ("residual_m", "frame_count")
    if not all(name in scan.fields for scan in (before, after) for name in names):
        return np.ones(len(before.vertices_m))
    _, nearest = after.tree.query(before.vertices_m)
    variance = np.zeros(len(before.vertices_m))
    for scan, at in ((before, slice(None)), (after, nearest)):
        residual, frames = (scan.fields[name] for name in names)
        least = max(0.3 * float(np.median(residual)), 1e-7)
        variance += (np.maximum(residual, least) ** 2 / np.maximum(frames, 1.0))[at]
    return np.sqrt(variance)


def _averaged(surface: Surface, values: Array, rows: NDArray[np.int64], width_m: float) -> Array:
    """Return the Gaussian mean of values (V,) about the vertices of `rows` (N,), over one side of the surface."""
    out = np.full(len(rows), np.nan)
    spacing = float(np.median(surface.adjacency.data))
    # where the width spans more neighbours than are asked for, a coarser choice of them will do
    stride = max(1, round((2.0 * width_m / spacing) ** 2 * np.pi / NEIGHBOURS))
    told = np.flatnonzero(np.isfinite(values) & (surface.vertex_areas_m2 > 0.0))[::stride]
    if len(told) == 0:
        return out
    k = min(NEIGHBOURS, len(told))
    distance, index = KDTree(surface.vertices_m[told]).query(
        surface.vertices_m[rows], k=k, distance_upper_bound=2.5 * width_m
    )
    distance, index = distance.reshape(-1, k), index.reshape(-1, k)
    found = np.isfinite(distance)
    at = told[np.where(found, index, 0)]
    facing = np.einsum("nki,ni->nk", surface.vertex_normals[at], surface.vertex_normals[rows]) > 0.5
    near = np.where(found, np.exp(-0.5 * (np.where(found, distance, 0.0) / width_m) ** 2), 0.0)
    weight = near * facing * surface.vertex_areas_m2[at]
    total = weight.sum(axis=1)
    some = (total > 0.0) & np.isfinite(values[rows])
    out[some] = np.einsum("nk,nk->n", weight[some], values[at[some]]) / total[some]
    return out
