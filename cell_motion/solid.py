"""What lies behind a surface: voxels inside closed parts and under open scans, because a mesh alone is hollow."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

_BEHIND_FRACTION = 0.10
_VOXEL_BOUNDS_M = (0.006, 0.025)


@dataclass(frozen=True, kw_only=True, eq=False)
class Filling:
    """Voxels behind a surface."""

    index: NDArray[np.int64]
    """(P, 3) voxel indices."""
    voxel_m: float
    """Side of a voxel [m]."""
    origin_m: Array
    """(3,) lower corner of voxel (0, 0, 0) in the surface's frame [m]."""


def filling(surface: Surface, *, up: Array | None = None, n_voxels: int = 64) -> Filling:
    """Return the voxels that lie behind the surface.

    A voxel lies behind when at most a tenth of 26 directions lead out of the part's bounding box without meeting the
    surface (made a voxel thicker, so that holes of about two voxels count as closed). Voxels keep one to two sides away
    from the surface, so that a tool on it does not touch them. With `up`, only directions that do not point below the
    horizon count: the inside of a shell scanned from above, which nobody has seen, is then filled too.

    Args:
        surface: the part; orientation of its triangles does not matter.
        up: unit vector (3,) in the surface's frame, or None for a part seen from all sides.
        n_voxels: voxels along the longest side of the bounding box.
    """
    low, high = surface.bounds_m
    size = float(np.clip((high - low).max() / n_voxels, *_VOXEL_BOUNDS_M))
    origin = low - 2.0 * size
    shape = np.ceil((high - low) / size).astype(int) + 4
    occupied = np.zeros(shape, bool)
    occupied[tuple(((_surface_points(surface, 0.5 * size) - origin) / size).astype(int).T)] = True
    wall = _thicken(occupied)
    directions = [np.array(d) for d in product((-1, 0, 1), repeat=3) if any(d)]
    if up is not None:
        directions = [d for d in directions if d @ up >= -1e-6]
    escapes = sum((_escapes(wall, d).astype(np.int16) for d in directions), np.zeros(shape, np.int16))
    behind = ~wall & (escapes <= _BEHIND_FRACTION * len(directions))
    return Filling(index=np.argwhere(behind), voxel_m=size, origin_m=origin)


def merged_boxes(inside: Filling) -> tuple[Array, Array]:
    """Return centres and full sides (K, 3) [m] of boxes that fill the very same space as the voxels, few of them.

    Each box grows along x, then y, then z from the first voxel not yet taken, as far as voxels stand there.
    """
    if len(inside.index) == 0:
        return np.empty((0, 3)), np.empty((0, 3))
    low = inside.index.min(axis=0)
    free = np.zeros(inside.index.max(axis=0) - low + 1, bool)
    free[tuple((inside.index - low).T)] = True
    corners, counts = [], []
    for start in np.argwhere(free):
        if not free[tuple(start)]:
            continue
        end = start + 1
        for axis in range(3):
            while end[axis] < free.shape[axis]:
                ahead = [slice(a, b) for a, b in zip(start, end, strict=True)]
                ahead[axis] = slice(end[axis], end[axis] + 1)
                if not free[tuple(ahead)].all():
                    break
                end[axis] += 1
        free[tuple(slice(a, b) for a, b in zip(start, end, strict=True))] = False
        corners.append(start + low)
        counts.append(end - start)
    size = np.array(counts) * inside.voxel_m
    return inside.origin_m + np.array(corners) * inside.voxel_m + 0.5 * size, size


def _surface_points(surface: Surface, spacing_m: float) -> Array:
    """Return points (P, 3) on all triangles, no farther than about `spacing_m` apart."""
    corners = surface.vertices_m[surface.triangles]
    points = [surface.vertices_m]
    side = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    steps = np.maximum(np.ceil(side / spacing_m).astype(int), 1)
    for n in np.unique(steps):
        if n == 1:
            continue
        i, j = (x.ravel() for x in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
        i, j = i[i + j <= n] / n, j[i + j <= n] / n
        weights = np.stack([1.0 - i - j, i, j], axis=1)
        points.append(np.einsum("wc,tcd->twd", weights, corners[steps == n]).reshape(-1, 3))
    return np.concatenate(points)


def _thicken(occupied: NDArray[np.bool_]) -> NDArray[np.bool_]:
    out = occupied.copy()
    for axis in range(3):
        for shift in (-1, 1):
            out |= np.roll(occupied, shift, axis)
    return out


def _escapes(wall: NDArray[np.bool_], direction: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark voxels from which steps of `direction` leave the grid without entering the wall."""
    axis = int(np.argmax(np.abs(direction)))
    free = np.moveaxis(~wall, axis, 0)
    step = np.delete(direction, axis)
    order = range(len(free)) if direction[axis] < 0 else range(len(free) - 1, -1, -1)
    out = np.empty_like(free)
    ahead = np.ones(free.shape[1:], bool)
    for k in order:
        out[k] = free[k] & ahead
        ahead = _shifted(out[k], step)
    return np.moveaxis(out, 0, axis)


def _shifted(plane: NDArray[np.bool_], step: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return plane[i + step], True beyond its rim."""
    padded = np.pad(plane, 1, constant_values=True)
    return padded[1 + step[0] : 1 + step[0] + plane.shape[0], 1 + step[1] : 1 + step[1] + plane.shape[1]]
