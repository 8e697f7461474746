"""Sheets that touch in edges or vertices set apart: every vertex gets one fan of triangles, every edge two at most."""

import numpy as np
from numpy.typing import NDArray

from cell_core.meshes.subdivide import split_triangles
from cell_core.meshes.topology import Index, Joints, fans, half_edges
from cell_core.surface import Surface
from cell_core.transforms import Array, unit


def set_apart(
    vertices: Array, triangles: Index, found: Joints, step_m: float
) -> tuple[Array, Index, Index, int]:
    """Return vertices, triangles, the triangle each comes from, and how many vertices were added.

    Each fan of triangles gets a vertex of its own. The largest stays; the others are drawn back by `step_m`, into their
    own triangles, so that no reader that merges equal vertices joins them again.
    """
    middle = Surface(vertices_m=vertices, triangles=triangles).bounds_m.mean(axis=0)
    surface = Surface(vertices_m=vertices - middle, triangles=triangles)
    fan = fans(triangles, found)
    n_fans = int(fan.max()) + 1
    of_fan = np.empty(n_fans, np.int64)
    of_fan[fan.ravel()] = triangles.ravel()
    n_split = n_fans - len(np.unique(triangles))
    if n_split:
        weight = np.repeat(surface.triangle_areas_m2, 3)
        area = np.bincount(fan.ravel(), weight, n_fans)
        moment = [np.bincount(fan.ravel(), weight * np.repeat(x, 3), n_fans) for x in surface.centroids_m.T]
        moves = np.ones(n_fans, bool)
        moves[_largest_first(of_fan, area, again=False)] = False
        step = unit(np.stack(moment, axis=1) / area[:, None] - surface.vertices_m[of_fan])
        vertices, triangles = vertices[of_fan] + step_m * moves[:, None] * step, fan
    return _halved(vertices, triangles, found, step_m, surface, n_split)


def _largest_first(group: Index, size: NDArray, *, again: bool) -> Index:
    # indices of the largest member of each group, or of all others
    order = np.lexsort((-size, group))
    return order[(np.diff(group[order], prepend=-1) == 0) == again]


def _halved(
    vertices: Array, triangles: Index, found: Joints, step_m: float, surface: Surface, n_split: int
) -> tuple[Array, Index, Index, int]:
    # a sheet may touch itself along an edge whose ends have one fan each: the smaller joints there get a middle vertex
    start, end = half_edges(triangles)
    a, b = np.r_[found.first, found.open], np.r_[found.second, found.open]
    key = np.minimum(start, end)[a] * len(vertices) + np.maximum(start, end)[a]
    again = _largest_first(key, surface.triangle_areas_m2[a // 3] + surface.triangle_areas_m2[b // 3], again=True)
    if not len(again):
        return vertices, triangles, np.arange(len(triangles)), n_split
    a, b = a[again], b[again]
    ends = 0.5 * (vertices[start[a]] + vertices[end[a]])
    own = vertices[triangles].mean(axis=1)
    added = ends + step_m * unit(0.5 * (own[a // 3] + own[b // 3]) - ends)
    middle: NDArray[np.int64] = np.full(len(start), -1)
    middle[a] = middle[b] = len(vertices) + np.arange(len(again))
    middle = middle.reshape(-1, 3)
    cut = (middle >= 0).any(axis=1)
    vertices = np.vstack([vertices, added])
    pieces, origin = split_triangles(triangles[cut], middle[cut], vertices)
    origin = np.r_[np.flatnonzero(~cut), np.flatnonzero(cut)[origin]]
    return vertices, np.concatenate([triangles[~cut], pieces]), origin, n_split + len(again)
