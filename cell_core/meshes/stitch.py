"""T-junctions: vertices that lie on another triangle's open edge without being in it."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.meshes.topology import half_edges
from cell_core.transforms import Array

SAFE_SHARE = 0.01
"""A vertex is put into an edge only where it is nearer to it than this share of either part of the edge."""


def insert_on_open_edges(
    vertices: Array, triangles: NDArray[np.int64], open_edges: NDArray[np.int64], tolerance_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return triangles with border vertices put into the open edges they lie on, where each comes from, and how many.

    `open_edges` are half-edges 3 t + i. A triangle takes vertices on one of its edges per call.
    """
    start, end = half_edges(triangles)
    border = np.unique(np.r_[start[open_edges], end[open_edges]])
    edge, vertex, at = _near(vertices, start[open_edges], end[open_edges], border, tolerance_m)
    if not len(edge):
        return triangles, np.arange(len(triangles)), 0
    h = open_edges[edge]
    apex = triangles.ravel()[h // 3 * 3 + (h + 2) % 3]
    sound = vertex != apex
    # one edge per triangle: its lowest half-edge that has a vertex on it
    chosen = np.full(len(triangles), len(start))
    np.minimum.at(chosen, h[sound] // 3, h[sound])
    sound &= h == chosen[h // 3]
    h, vertex, at = h[sound], vertex[sound], at[sound]
    order = np.lexsort((at, h))
    h, vertex = h[order], vertex[order]
    first = np.flatnonzero(np.diff(h, prepend=-1))
    opened = h[first] // 3
    last = np.r_[first[1:], len(h)] - 1
    apex = triangles.ravel()[h // 3 * 3 + (h + 2) % 3]
    following = np.r_[vertex[1:], 0]
    following[last] = end[h[last]]
    slices = np.concatenate([
        np.stack([start[h[first]], vertex[first], apex[first]], axis=1), np.stack([vertex, following, apex], axis=1)
    ])
    kept = np.ones(len(triangles), bool)
    kept[opened] = False
    origin = np.r_[np.flatnonzero(kept), opened, h // 3]
    return np.concatenate([triangles[kept], slices]), origin, len(h)


def _near(
    vertices: Array, start: NDArray[np.int64], end: NDArray[np.int64], border: NDArray[np.int64], tolerance_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    a, b = vertices[start], vertices[end]
    length = np.linalg.norm(b - a, axis=1)
    tree = KDTree(vertices[border])
    # a ball around the edge's middle that ends just short of its ends
    counts = tree.query_ball_point(0.5 * (a + b), (0.5 - SAFE_SHARE) * length, return_length=True)
    busy = np.flatnonzero(counts)
    found = tree.query_ball_point(0.5 * (a + b)[busy], (0.5 - SAFE_SHARE) * length[busy])
    edge = np.repeat(busy, counts[busy])
    vertex = border[np.fromiter((i for ball in found for i in sorted(ball)), np.int64, len(edge))]
    along = (b - a)[edge] / length[edge, None]
    offset = vertices[vertex] - a[edge]
    at = np.einsum("ij,ij->i", offset, along)
    away = np.linalg.norm(offset - at[:, None] * along, axis=1)
    shorter = np.minimum(at, length[edge] - at)
    near = (away < tolerance_m) & (away < SAFE_SHARE * shorter)
    return edge[near], vertex[near], at[near]
