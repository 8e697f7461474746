"""Keep only depth readings worth fusing: in range, not grazing, away from depth edges."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter, uniform_filter1d

from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics

EDGE_PX = 2
"""Readings this near to a depth edge mix fore- and background."""
SMOOTHING_PX = 5
"""Window over which depth is averaged before slopes are taken."""
WINDOW_MARGIN_PX = 6
"""What lies this far outside a window has no influence on the filters inside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FilteredDepth:
    """Readings left of one depth image."""

    depth_m: NDArray[np.float32]
    """(H, W) depth [m]; 0 = none or dropped."""
    cos_incidence: NDArray[np.float32]
    """(H, W) cosine between ray and surface normal; 0 where depth is 0."""


def filter_depth(depth_m: NDArray[np.float32], camera: Intrinsics) -> FilteredDepth:
    """Drop readings out of range, near depth edges and holes, and seen at more than the camera's incidence limit."""
    near, far = camera.range_m
    z = np.where((depth_m >= near) & (depth_m <= far), depth_m, np.float32(0.0))
    z = np.where(_near_edge(z, camera), np.float32(0.0), z)
    cos = _cos_incidence(z, camera)
    keep = (z > 0.0) & (cos >= np.cos(camera.incidence_max_rad))
    return FilteredDepth(
        depth_m=np.ascontiguousarray(np.where(keep, z, 0.0), dtype=np.float32),
        cos_incidence=np.where(keep, cos, 0.0).astype(np.float32),
    )


def filtered_in_box(
    depth_m: NDArray[np.float32], camera: Intrinsics, T_part_camera: Array, box_m: Array | None
) -> FilteredDepth:
    """Return `filter_depth` of an image, cut to a box (2, 3) [m] of the part frame where one is given.

    Only the part of the image that sees the box is worked on.
    """
    if box_m is None:
        return filter_depth(depth_m, camera)
    depth_m = np.asarray(depth_m, np.float32)
    inside = _in_box(depth_m, camera, T_part_camera, box_m)
    window = _window(inside)
    if window is None:
        return FilteredDepth(depth_m=np.zeros_like(depth_m), cos_incidence=np.zeros_like(depth_m))
    rows, columns = window
    part = replace(
        camera,
        width_px=columns.stop - columns.start,
        height_px=rows.stop - rows.start,
        cx_px=camera.cx_px - columns.start,
        cy_px=camera.cy_px - rows.start,
    )
    filtered = filter_depth(depth_m[window], part)
    depth, cos = np.zeros_like(depth_m), np.zeros_like(depth_m)
    depth[window] = np.where(inside[window], filtered.depth_m, np.float32(0.0))
    cos[window] = np.where(inside[window], filtered.cos_incidence, np.float32(0.0))
    return FilteredDepth(depth_m=depth, cos_incidence=cos)


def _window(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the rows and columns that hold a mask, with what the filters need around it; None: it is empty."""
    found = []
    for axis, n in enumerate(mask.shape):
        hits = np.flatnonzero(mask.any(axis=1 - axis))
        if len(hits) == 0:
            return None
        low, high = max(hits[0] - WINDOW_MARGIN_PX, 0), min(hits[-1] + 1 + WINDOW_MARGIN_PX, n)
        # a camera has at least 16 pixels
        low = max(min(low, high - 16), 0)
        found.append(slice(int(low), int(max(high, min(low + 16, n)))))
    return found[0], found[1]


def cut_to_box(filtered: FilteredDepth, camera: Intrinsics, T_part_camera: Array, box_m: Array) -> FilteredDepth:
    """Drop readings whose point lies outside the box (2, 3) [m] of the part frame."""
    inside = _in_box(filtered.depth_m, camera, T_part_camera, box_m)
    return FilteredDepth(
        depth_m=np.where(inside, filtered.depth_m, np.float32(0.0)),
        cos_incidence=np.where(inside, filtered.cos_incidence, np.float32(0.0)),
    )


def _in_box(depth_m: NDArray[np.float32], camera: Intrinsics, T_part_camera: Array, box_m: Array) -> NDArray[np.bool_]:
    u, v = camera.ray_slopes()
    T = np.asarray(T_part_camera).astype(np.float32)
    inside = depth_m > 0.0
    for axis in range(3):
        slope = T[axis, 0] * u + (T[axis, 1] * v + T[axis, 2])
        x = depth_m * slope + T[axis, 3]
        inside &= (x >= box_m[0, axis]) & (x <= box_m[1, axis])
    return inside


def _near_edge(z: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.bool_]:
    # the steepest surface still trusted changes this much from pixel to pixel; noise adds its share
    slope = 1.5 * np.tan(camera.incidence_max_rad) / min(camera.fx_px, camera.fy_px)
    bound = np.float32(slope) * z + np.float32(4.0 * camera.axial_noise_at_1m_m) * z * z
    edge = np.zeros(z.shape, bool)
    for axis in (0, 1):
        a, b = (_shifted(z, axis, d) for d in (0, 1))
        jump = (np.abs(a - b) > np.minimum(_shifted(bound, axis, 0), _shifted(bound, axis, 1))) & (a > 0.0) & (b > 0.0)
        _shifted(edge, axis, 0)[...] |= jump
        _shifted(edge, axis, 1)[...] |= jump
    # single dropped pixels are no edge; regions without depth are
    void = uniform_filter((z == 0.0).astype(np.float32), 3, mode="nearest") > 0.99
    void = _grown(void)
    edge |= void
    for _ in range(EDGE_PX):
        edge = _grown(edge)
    return edge


def _shifted(image: NDArray, axis: int, offset: int) -> NDArray:
    n = image.shape[axis] - 1
    return image[offset : offset + n] if axis == 0 else image[:, offset : offset + n]


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    out = rows.copy()
    out[:, 1:] |= rows[:, :-1]
    out[:, :-1] |= rows[:, 1:]
    return out


def _cos_incidence(z: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    # weighted line fits over the window along rows and columns, so that missing readings do not bend the slopes
    has = (z > 0.0).astype(np.float32)
    steps = np.arange(SMOOTHING_PX, dtype=np.float32) - SMOOTHING_PX // 2
    n, total = (_summed(_summed(f, 0), 1) for f in (has, z))
    n = np.maximum(n, np.float32(1.0))
    slopes, offset = [], total / n
    for axis in (1, 0):
        has_across, z_across = _summed(has, 1 - axis), _summed(z, 1 - axis)
        s1, s2 = _weighted(has_across, steps, axis), _weighted(has_across, steps * steps, axis)
        spread = np.maximum(s2 - s1 * s1 / n, np.float32(1.0))
        slope = (_weighted(z_across, steps, axis) - s1 * total / n) / spread
        slopes.append(slope)
        offset = offset - slope * s1 / n
    u, v = camera.ray_slopes()
    a, b = np.float32(camera.fx_px) * slopes[0], np.float32(camera.fy_px) * slopes[1]
    along = offset + u * a + v * b
    # normal (-a, -b, along) times the ray (u, v, 1) is the depth itself
    length = np.sqrt((a * a + b * b + along * along) * (u * u + v * v + np.float32(1.0)))
    return (offset / np.maximum(length, np.float32(1e-6))).astype(np.float32)


def _summed(image: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    mean = np.asarray(uniform_filter1d(image, SMOOTHING_PX, axis, mode="constant"), np.float32)
    mean *= np.float32(SMOOTHING_PX)
    return mean


def _weighted(image: NDArray[np.float32], weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.asarray(correlate1d(image, weights, axis, mode="constant"), np.float32)
