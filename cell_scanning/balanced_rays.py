"""A sample of an image's readings in which every way the surface faces has its say."""

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics

STEP_MAX_PX = 3
"""Readings are drawn from every so many pixels, or all where there are few."""
SLOPE_PX = 3
"""Slopes are taken over so many pixels to both sides."""
CLASSES = 8
"""Normals are told apart by so many steps along each of the image's axes."""
CLASS_MIN = 300
"""Classes with fewer readings than this get no more weight each for being rare."""
READINGS = 8000
SEED = 5


def balanced_readings(
    depth_m: NDArray[np.float32], camera: Intrinsics, n_readings: int = READINGS
) -> tuple[Array, Array]:
    """Return the rays (N, 3) with depth 1 and the depths (N,) [m] of about `n_readings` readings at most.

    They are drawn evenly over the surface's directions and not over the image: a wheel seen from above is nearly all
    face, and only its few readings on flanks tell where it lies sideways.
    """
    step = int(np.clip(np.sqrt(np.count_nonzero(depth_m) / n_readings), 1, STEP_MAX_PX))
    rows, columns = np.nonzero(depth_m[SLOPE_PX:-SLOPE_PX:step, SLOPE_PX:-SLOPE_PX:step])
    rows, columns = step * rows + SLOPE_PX, step * columns + SLOPE_PX
    z, left, right, above, below = (
        depth_m[rows + i, columns + j].astype(float)
        for i, j in ((0, 0), (0, -SLOPE_PX), (0, SLOPE_PX), (-SLOPE_PX, 0), (SLOPE_PX, 0))
    )
    whole = (left > 0.0) & (right > 0.0) & (above > 0.0) & (below > 0.0)
    z, across, down = z[whole], (right - left)[whole], (below - above)[whole]
    x = np.asarray((columns[whole] - camera.cx_px) / camera.fx_px, float)
    y = np.asarray((rows[whole] - camera.cy_px) / camera.fy_px, float)
    slopes = np.stack([x, y, np.ones(len(x))], axis=1).astype(float)
    bin_ = _direction_class(across * camera.fx_px / z, down * camera.fy_px / z, x, y)
    worth = 1.0 / np.maximum(np.bincount(bin_, minlength=1), CLASS_MIN)[bin_]
    drawn = np.random.default_rng(SEED).random(len(z)) * worth.sum() < n_readings * worth
    return slopes[drawn], z[drawn]


def _direction_class(across: Array, down: Array, x: Array, y: Array) -> NDArray[np.int64]:
    slope_x, slope_y = across / (2 * SLOPE_PX), down / (2 * SLOPE_PX)
    length = np.sqrt(slope_x**2 + slope_y**2 + (1.0 + x * slope_x + y * slope_y) ** 2)
    i, j = (np.minimum(0.5 * CLASSES * (1.0 - s / length), CLASSES - 1).astype(np.int64) for s in (slope_x, slope_y))
    return CLASSES * i + j
