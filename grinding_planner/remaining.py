"""What a job has left to do: the path tells the shape of what is gone, the rescan its depth and where it differs."""

import numpy as np

from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.identification import Identification
from grinding_planner.samples import SurfaceSamples, sample_surface

CELL_REACHES = 0.25
SMOOTH_REACHES = 0.75
"""Standard deviation of the smoothing of measured less computed: finer a tool removes nothing on its own."""
CUT_OFF = 2.5


def removed_so_far(before: Surface, found: Identification, reach_m: float) -> Array:
    """Return the depth gone at each vertex (V,) [m]: computed with what was identified, corrected by the rescan.

    The rescan's noise on single vertices is no removal. What measured and computed differ by is averaged over
    SMOOTH_REACHES of the tool, and trusted in the share by which it exceeds what noise alone would leave of it.

    Args:
        reach_m: radius of the tool's contact.
    """
    cells = sample_surface(before, CELL_REACHES * reach_m)
    told = np.isfinite(found.measured_m) & (found.fitted_m > 0.0) & (before.vertex_areas_m2 > 0.0)
    if not told.any():
        return found.fitted_m
    _, cell = cells.tree.query(before.vertices_m[told])
    left = found.measured_m[told] - found.fitted_m[told]
    bound = 4.0 * found.noise_m
    area = before.vertex_areas_m2[told]
    sums = (area, area**2, area * np.clip(left, -bound, bound))
    weight, square, total = (np.bincount(cell, values, len(cells)).astype(float) for values in sums)
    mean, noise = _smoothed(cells, total, weight, square, SMOOTH_REACHES * reach_m)
    seen = weight > 0.0
    power = float(np.average(mean[seen] ** 2, weights=weight[seen]))
    from_noise = found.noise_m**2 * float(np.average(noise[seen], weights=weight[seen]))
    trust = max(0.0, 1.0 - from_noise / max(power, 1e-30))
    carry = cells.weights_at(before.vertices_m, before.vertex_normals)
    return np.maximum(found.fitted_m + trust * (carry @ mean), 0.0)


def _smoothed(cells: SurfaceSamples, total: Array, weight: Array, square: Array, width_m: float) -> tuple[Array, Array]:
    """Return the Gaussian mean of each cell (C,), and the variance noise of one vertex of variance 1 leaves in it."""
    pairs = cells.tree.query_pairs(CUT_OFF * width_m, output_type="ndarray")
    same_side = np.einsum("ij,ij->i", cells.normals[pairs[:, 0]], cells.normals[pairs[:, 1]]) > 0.5
    i, j = pairs[same_side].T
    i, j = np.r_[i, j, np.arange(len(cells))], np.r_[j, i, np.arange(len(cells))]
    near = np.exp(-0.5 * np.sum((cells.points_m[i] - cells.points_m[j]) ** 2, axis=1) / width_m**2)
    n = len(cells)
    below = np.maximum(np.bincount(i, near * weight[j], n), 1e-30)
    return np.bincount(i, near * total[j], n) / below, np.bincount(i, near**2 * square[j], n) / below**2
