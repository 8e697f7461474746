"""Take noise out of depth readings without touching what stands above it."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter1d

from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import FilteredDepth

HALF_WIDTHS_PX = (3, 2)
"""A quadratic is fitted over windows this wide to both sides; the widest one that fits counts."""
ROUGHNESS_MAX = 1.6
"""A window fits where its mean squared residual is below this many times the image's usual one at that incidence."""
INCIDENCE_CLASSES = 8
SAMPLES_MIN = 20
FILLED_MIN = 0.7
"""Lone missing readings are bridged for the fits where this share of the 3 x 3 around them is there."""
BRIDGE_SLOPE = 0.04
"""Neighbours whose depths differ by more than this share of the depth have nothing between them."""


def smoothed(filtered: FilteredDepth) -> FilteredDepth:
    """Return readings replaced by a local quadratic fit wherever it explains its window down to the noise.

    The noise is told from the image itself, by incidence: edges, steps and details that stand out of it keep their own
    readings.
    """
    z = filtered.depth_m
    rows, columns = np.flatnonzero(z.any(axis=1)), np.flatnonzero(z.any(axis=0))
    if len(rows) == 0:
        return filtered
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    out = z.copy()
    out[window] = _smoothed(z[window], filtered.cos_incidence[window])
    return FilteredDepth(depth_m=out, cos_incidence=filtered.cos_incidence)


def doubled(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return depth (2 H - 1, 2 W - 1) with the mean of neighbours in between, where both lie on one surface."""
    h, w = depth_m.shape
    out = np.zeros((2 * h - 1, 2 * w - 1), np.float32)
    out[::2, ::2] = depth_m
    out[::2, 1::2] = _between(depth_m[:, :-1], depth_m[:, 1:])
    out[1::2] = _between(out[:-2:2], out[2::2])
    return out


def doubled_camera(camera: Intrinsics) -> Intrinsics:
    """Return the camera whose image `doubled` makes."""
    return Intrinsics(
        width_px=2 * camera.width_px - 1,
        height_px=2 * camera.height_px - 1,
        fx_px=2.0 * camera.fx_px,
        fy_px=2.0 * camera.fy_px,
        cx_px=2.0 * camera.cx_px,
        cy_px=2.0 * camera.cy_px,
        range_m=camera.range_m,
        incidence_max_rad=camera.incidence_max_rad,
        axial_noise_at_1m_m=camera.axial_noise_at_1m_m,
    )


def _between(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    near = (np.abs(a - b) <= np.float32(BRIDGE_SLOPE) * np.minimum(a, b)) & (a > 0.0)
    return np.where(near, np.float32(0.5) * (a + b), np.float32(0.0))


def _smoothed(z: NDArray[np.float32], cos: NDArray[np.float32]) -> NDArray[np.float32]:
    valid = z > 0.0
    has = valid.astype(np.float32)
    share = _mean(has, 3)
    bridged = ~valid & (share > FILLED_MIN)
    filled = np.where(bridged, _mean(z, 3) / np.maximum(share, np.float32(FILLED_MIN)), z)
    has += bridged
    incidence = np.minimum((cos * INCIDENCE_CLASSES).astype(np.int8), INCIDENCE_CLASSES - 1)
    # axial noise grows with the square of range
    scale = np.maximum(filled, np.float32(1e-3)) ** -2
    out, done = z.copy(), np.zeros(z.shape, bool)
    for half in HALF_WIDTHS_PX:
        n = 2 * half + 1
        if min(z.shape) < n:
            continue
        fit = _quadratic_at_centre(filled, half)
        whole = valid & (_mean(has, n) > 1.0 - 0.5 / n**2)
        roughness = _mean(((filled - fit) * scale) ** 2, n)
        usual = _usual(roughness, whole, incidence)
        good = whole & (roughness < np.float32(ROUGHNESS_MAX) * usual[incidence])
        take = good & ~done
        out[take] = fit[take]
        done |= good
    return out


def _usual(
    roughness: NDArray[np.float32], whole: NDArray[np.bool_], incidence: NDArray[np.int8]
) -> NDArray[np.float32]:
    usual = np.zeros(INCIDENCE_CLASSES, np.float32)
    sample = whole[::3, ::3]
    values, classes = roughness[::3, ::3][sample], incidence[::3, ::3][sample]
    for k in range(INCIDENCE_CLASSES):
        own = values[classes == k]
        if len(own) >= SAMPLES_MIN:
            usual[k] = np.median(own)
    return usual


def _mean(image: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return _along(_along(image, n, 0), n, 1)


def _along(image: NDArray[np.float32], n: int, axis: int) -> NDArray[np.float32]:
    return np.asarray(uniform_filter1d(image, n, axis, mode="nearest"), np.float32)


def _quadratic_at_centre(z: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Return the value at its centre of the quadratic in x and y fitted to each window."""
    n = 2 * half + 1
    square = np.arange(-half, half + 1, dtype=float) ** 2
    m2, m4 = square.mean(), (square**2).mean()
    moments = np.array([[1.0, m2, m2], [m2, m4, m2 * m2], [m2, m2 * m2, m4]])
    level, bend, _ = np.linalg.solve(moments, [1.0, 0.0, 0.0])
    weights = (bend * square / n).astype(np.float32)
    across, along = _along(z, n, 0), _along(z, n, 1)
    fit = _along(across, n, 1) * np.float32(level)
    fit += correlate1d(across, weights, 1, mode="nearest")
    fit += correlate1d(along, weights, 0, mode="nearest")
    return fit
