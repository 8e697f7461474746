"""Keep only depth readings worth fusing: in range, not grazing, away from depth edges."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array, apply, inverse
from cell_scanning.camera import Intrinsics
from cell_scanning.windows import correlated, grown, squares_summed, strips, summed

EDGE_PX = 2
"""Readings this near to a depth edge mix fore- and background."""
SMOOTHING_PX = 5
"""Window over which depth is averaged before slopes are taken."""
WINDOW_MARGIN_PX = 6
"""What lies this far outside a window has no influence on the filters inside."""
BOX_NEAREST_M = 0.01
"""A box whose corners all lie this far in front of the camera has a window in its image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FilteredDepth:
    """Readings left of one depth image."""

    depth_m: NDArray[np.float32]
    """(H, W) depth [m]; 0 = none or dropped."""
    cos_incidence: NDArray[np.float32]
    """(H, W) cosine between ray and surface normal; 0 where depth is 0."""


def filter_depth(depth_m: NDArray[np.float32], camera: Intrinsics) -> FilteredDepth:
    """Drop readings out of range, near depth edges and holes, and seen at more than the camera's incidence limit."""
    depth = np.empty(depth_m.shape, np.float32)
    cos = np.empty(depth_m.shape, np.float32)
    columns = slice(0, depth_m.shape[1])
    for wide, own, inner in strips(len(depth_m), WINDOW_MARGIN_PX):
        z, c = _filtered(np.asarray(depth_m[wide], np.float32), _part_of(camera, (wide, columns)))
        depth[own], cos[own] = z[inner], c[inner]
    return FilteredDepth(depth_m=depth, cos_incidence=cos)


def _filtered(depth_m: NDArray[np.float32], camera: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    near, far = camera.range_m
    z = np.where((depth_m >= near) & (depth_m <= far), depth_m, np.float32(0.0))
    z[_near_edge(z, camera)] = 0.0
    cos = _cos_incidence(z, camera)
    drop = (z <= 0.0) | (cos < np.cos(camera.incidence_max_rad))
    z[drop] = 0.0
    cos[drop] = 0.0
    return z, cos


def filtered_in_box(
    depth_m: NDArray[np.float32], camera: Intrinsics, T_part_camera: Array, box_m: Array | None
) -> FilteredDepth:
    """Return `filter_depth` of an image, cut to a box (2, 3) [m] of the part frame where one is given.

    Only the part of the image that sees the box is worked on.
    """
    if box_m is None:
        return filter_depth(depth_m, camera)
    depth_m = np.asarray(depth_m, np.float32)
    depth, cos = np.zeros_like(depth_m), np.zeros_like(depth_m)
    ahead = _box_window(camera, T_part_camera, box_m)
    inside = _in_box(depth_m[ahead], _part_of(camera, ahead), T_part_camera, box_m)
    window = _window(inside, ahead, depth_m.shape)
    if window is not None:
        filtered = filter_depth(depth_m[window], _part_of(camera, window))
        kept = np.zeros(depth_m.shape, bool)
        kept[ahead] = inside
        np.copyto(depth[window], filtered.depth_m, where=kept[window])
        np.copyto(cos[window], filtered.cos_incidence, where=kept[window])
    return FilteredDepth(depth_m=depth, cos_incidence=cos)


def _part_of(camera: Intrinsics, window: tuple[slice, slice]) -> Intrinsics:
    """Return the camera of a window of its image."""
    rows, columns = window
    return replace(
        camera,
        width_px=columns.stop - columns.start,
        height_px=rows.stop - rows.start,
        cx_px=camera.cx_px - columns.start,
        cy_px=camera.cy_px - rows.start,
    )


def _box_window(camera: Intrinsics, T_part_camera: Array, box_m: Array) -> tuple[slice, slice]:
    """Return the rows and columns that see a box of the part frame; all of them where it reaches the camera's plane."""
    corners = np.stack(np.meshgrid(*np.asarray(box_m, float).T, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = apply(inverse(T_part_camera), corners)
    if seen[:, 2].min() < BOX_NEAREST_M:
        return slice(0, camera.height_px), slice(0, camera.width_px)
    pixels = camera.project(seen)
    low, high = np.floor(pixels.min(axis=0)).astype(int) - 1, np.ceil(pixels.max(axis=0)).astype(int) + 2
    return _span(low[1], high[1], camera.height_px), _span(low[0], high[0], camera.width_px)


def _span(low: int, high: int, n: int) -> slice:
    # a camera has at least 16 pixels
    low = int(np.clip(min(low, high - 16), 0, n - 16))
    return slice(low, int(np.clip(high, low + 16, n)))


def _window(mask: NDArray[np.bool_], at: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Return the image's rows and columns that hold a mask of its window `at`, with what the filters need around it.

    None: the mask is empty.
    """
    found = []
    for axis, n in enumerate(shape):
        hits = np.flatnonzero(mask.any(axis=1 - axis))
        if len(hits) == 0:
            return None
        start = at[axis].start
        found.append(_span(start + hits[0] - WINDOW_MARGIN_PX, start + hits[-1] + 1 + WINDOW_MARGIN_PX, n))
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
    for _, rows, _ in strips(len(depth_m), 0):
        z, kept = depth_m[rows], inside[rows]
        for axis in range(3):
            x = T[axis, 0] * u + (T[axis, 1] * v[rows] + T[axis, 2])
            x *= z
            x += T[axis, 3]
            kept &= x >= box_m[0, axis]
            kept &= x <= box_m[1, axis]
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
    edge |= grown(~grown(z != 0.0, 1), 1)
    return grown(edge, EDGE_PX)


def _shifted(image: NDArray, axis: int, offset: int) -> NDArray:
    n = image.shape[axis] - 1
    return image[offset : offset + n] if axis == 0 else image[:, offset : offset + n]


def _cos_incidence(z: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    # weighted line fits over the window along rows and columns, so that missing readings do not bend the slopes
    has = (z > 0.0).astype(np.float32)
    steps = np.arange(SMOOTHING_PX // 2 + 1, dtype=float)
    n, total = (squares_summed(f, SMOOTHING_PX, repeat=False) for f in (has, z))
    np.maximum(n, np.float32(1.0), out=n)
    per_n = np.float32(1.0) / n
    mean = total * per_n
    slopes, offset = [], mean.copy()
    for axis in (1, 0):
        has_across, z_across = (summed(f, SMOOTHING_PX, 1 - axis, repeat=False) for f in (has, z))
        s1 = correlated(has_across, steps.tolist(), axis, odd=True, repeat=False)
        s2 = correlated(has_across, (steps**2).tolist(), axis, repeat=False)
        slope = correlated(z_across, steps.tolist(), axis, odd=True, repeat=False)
        slope -= s1 * mean
        s2 -= s1 * s1 * per_n
        slope /= np.maximum(s2, np.float32(1.0), out=s2)
        slopes.append(slope)
        s1 *= per_n
        s1 *= slope
        offset -= s1
    u, v = camera.ray_slopes()
    a, b = np.float32(camera.fx_px) * slopes[0], np.float32(camera.fy_px) * slopes[1]
    along = offset + u * a + v * b
    # normal (-a, -b, along) times the ray (u, v, 1) is the depth itself
    length = a * a
    length += b * b
    along *= along
    length += along
    length *= u * u + v * v + np.float32(1.0)
    np.sqrt(length, out=length)
    offset /= np.maximum(length, np.float32(1e-6), out=length)
    return offset
