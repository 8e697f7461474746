"""Take noise out of depth readings without touching what stands above it."""

import numpy as np
from numpy.typing import NDArray

from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import FilteredDepth
from cell_scanning.windows import correlated, grown, squares_summed, strips, summed

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
    for _, rows, _ in strips(h, 0):
        # with the row above, which the last strip ended with
        start = max(rows.start - 1, 0)
        z, own = depth_m[start : rows.stop], out[2 * start : 2 * rows.stop - 1]
        own[::2, ::2] = z
        own[::2, 1::2] = _between(z[:, :-1], z[:, 1:])
        own[1::2] = _between(own[:-2:2], own[2::2])
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
    apart = a - b
    np.abs(apart, out=apart)
    bound = np.minimum(a, b)
    bound *= np.float32(BRIDGE_SLOPE)
    near = apart <= bound
    mean = a + b
    mean *= np.float32(0.5)
    mean *= near
    return mean


def _smoothed(z: NDArray[np.float32], cos: NDArray[np.float32]) -> NDArray[np.float32]:
    out, left = z.copy(), z > 0.0
    fit, roughness, whole = np.empty_like(z), np.empty_like(z), np.empty(z.shape, bool)
    incidence = np.minimum((cos * INCIDENCE_CLASSES).astype(np.int8), INCIDENCE_CLASSES - 1)
    for half in HALF_WIDTHS_PX:
        if min(z.shape) < 2 * half + 1:
            continue
        for wide, own, inner in strips(len(z), 2 * half + 1):
            for image, part in zip((fit, roughness, whole), _fitted(z[wide], half), strict=True):
                image[own] = part[inner]
        usual = _usual(roughness, whole, incidence) * np.float32(ROUGHNESS_MAX)
        for _, own, _ in strips(len(z), 0):
            take = (roughness[own] < usual.take(incidence[own])) & whole[own] & left[own]
            np.copyto(out[own], fit[own], where=take)
            left[own] &= ~take
    return out


def _fitted(z: NDArray[np.float32], half: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the fits, how rough the windows are about them, and where there is a reading whose window is whole."""
    valid = z > 0.0
    share = squares_summed(valid.astype(np.float32), 3, repeat=True)
    bridged = (share > 9.0 * FILLED_MIN) & ~valid
    filled = z.copy()
    if bridged.any():
        filled[bridged] = squares_summed(z, 3, repeat=True)[bridged] / share[bridged]
    fit = _quadratic_at_centre(filled, half)
    # axial noise grows with the square of range
    scale = np.maximum(filled, np.float32(1e-3))
    scale *= scale
    off = filled - fit
    off /= scale
    off *= off
    return fit, squares_summed(off, 2 * half + 1, repeat=True), valid & ~grown(~(valid | bridged), half)


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


def _quadratic_at_centre(z: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """Return the value at its centre of the quadratic in x and y fitted to each window."""
    n = 2 * half + 1
    square = np.arange(-half, half + 1, dtype=float) ** 2
    m2, m4 = square.mean(), (square**2).mean()
    moments = np.array([[1.0, m2, m2], [m2, m4, m2 * m2], [m2, m2 * m2, m4]])
    level, bend, _ = np.linalg.solve(moments, [1.0, 0.0, 0.0])
    bent = bend * square[half:] / n**2
    fit = correlated(summed(z, n, 0, repeat=True), (bent + level / n**2).tolist(), 1, repeat=True)
    fit += correlated(summed(z, n, 1, repeat=True), bent.tolist(), 0, repeat=True)
    return fit
