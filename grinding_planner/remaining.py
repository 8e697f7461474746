"""What a job has left to do: the path tells the shape of what is gone, the rescan its depth and where it differs."""

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.identification import Identification
from grinding_planner.samples import SurfaceSamples, sample_surface

CELL_REACHES = 0.25
SMOOTH_REACHES = 0.75
"""Standard deviation of the smoothing of measured less computed: finer a tool removes nothing on its own."""
CUT_OFF = 2.5
FREE_FACES_MIN = 4.0
"""Ground that no stroke came to tells of the scans from so many faces of the tool on."""


def removed_so_far(before: Surface, found: Identification, reach_m: float) -> Array:
    """Return the depth gone at each vertex (V,) [m]: computed with what was identified, corrected by the rescan.

    The rescan's noise on single vertices is no removal. What measured and computed differ by is averaged over
    SMOOTH_REACHES of the tool, and trusted in the share by which it exceeds what noise leaves of it: that of single
    vertices, or what two scans differ by where no stroke came, which also tells noise that is alike over wide ground.

    Args:
        reach_m: radius of the tool's contact.
    """
    cells = sample_surface(before, CELL_REACHES * reach_m)
    measured = np.isfinite(found.measured_m) & (before.vertex_areas_m2 > 0.0)
    touched = measured & (found.fitted_m > 0.0)
    if not touched.any():
        return found.fitted_m
    mean, power, from_noise = _difference(before, found, cells, touched, reach_m)
    free = measured & ~touched
    if before.vertex_areas_m2[free].sum() >= FREE_FACES_MIN * np.pi * reach_m**2:
        from_noise = max(from_noise, _difference(before, found, cells, free, reach_m)[1])
    trust = max(0.0, 1.0 - from_noise / max(power, 1e-30))
    carry = cells.weights_at(before.vertices_m, before.vertex_normals)
    return np.maximum(found.fitted_m + trust * (carry @ mean), 0.0)


def _difference(
    before: Surface, found: Identification, cells: SurfaceSamples, told: NDArray[np.bool_], reach_m: float
) -> tuple[Array, float, float]:
    """Return measured less computed averaged round each cell (C,), its mean square, and that from noise of vertices."""
    _, cell = cells.tree.query(before.vertices_m[told])
    bound, area = 4.0 * found.noise_m, before.vertex_areas_m2[told]
    left = np.clip(found.measured_m[told] - found.fitted_m[told], -bound, bound)
    weight, square, total = (
        np.bincount(cell, values, len(cells)).astype(float) for values in (area, area**2, area * left)
    )
    mean, noise = _smoothed(cells, total, weight, square, SMOOTH_REACHES * reach_m)
    seen = weight > 0.0
    power, share = (float(np.average(values[seen], weights=weight[seen])) for values in (mean**2, noise))
    return mean, power, found.noise_m**2 * share


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
