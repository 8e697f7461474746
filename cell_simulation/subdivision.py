"""Split long edges of a mesh without moving its surface, so that fields on vertices resolve what the process leaves."""

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

ROUNDS_MAX = 24


def subdivide(surface: Surface, edge_max_m: float, triangles_max: int = 600_000) -> Surface:
    """Return the surface with every edge at most `edge_max_m` long.

    Edges are halved, and neighbours split together, so no T-junction arises. The original vertices keep their indices;
    new ones follow. Where `edge_max_m` would need more than `triangles_max` triangles, longer edges are allowed. Fields
    are interpolated linearly.

    Args:
        surface: any triangle surface.
        edge_max_m: wanted longest edge [m], > 0.
        triangles_max: bound on memory.
    """
    # equilateral triangles with edges between L/2 and L need about area / (0.22 L^2) triangles
    edge_max_m = max(edge_max_m, float(np.sqrt(surface.area_m2 / (0.22 * triangles_max))))
    vertices, triangles = np.asarray(surface.vertices_m), np.asarray(surface.triangles)
    fields = {k: np.asarray(v) for k, v in surface.fields.items()}
    for _ in range(ROUNDS_MAX):
        pairs = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        keys, edge_of = np.unique(pairs[:, 0] * len(vertices) + pairs[:, 1], return_inverse=True)
        edges = np.column_stack(np.divmod(keys, len(vertices)))
        length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
        split = length > edge_max_m
        if not split.any() or len(triangles) > 2 * triangles_max:
            break
        middle = np.full(len(edges), -1, np.int64)
        middle[split] = len(vertices) + np.arange(int(split.sum()))
        a, b = edges[split].T
        vertices = np.concatenate([vertices, 0.5 * (vertices[a] + vertices[b])])
        fields = {k: np.concatenate([v, 0.5 * (v[a] + v[b])]) for k, v in fields.items()}
        triangles = _split_triangles(vertices, triangles, middle[edge_of.reshape(-1, 3)])
    return Surface(vertices_m=vertices, triangles=triangles, fields=fields, frame=surface.frame)


def _split_triangles(vertices: Array, triangles: NDArray[np.int64], middle: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the triangles after inserting the mid-points `middle` (T, 3) of edges 01, 12, 20 (-1: not split)."""
    count = (middle >= 0).sum(axis=1)
    out = [triangles[count == 0]]
    one = count == 1
    if one.any():
        (a, b, c), (m, _, _) = _turned(triangles[one], middle[one], np.argmax(middle[one] >= 0, axis=1))
        out += [_columns(a, m, c), _columns(m, b, c)]
    two = count == 2
    if two.any():
        # turned so that edge 20 is whole: mid-points on 01 and 12; a m n c is cut along its shorter diagonal
        (a, b, c), (m, n, _) = _turned(triangles[two], middle[two], (np.argmin(middle[two], axis=1) + 1) % 3)
        short = np.linalg.norm(vertices[a] - vertices[n], axis=1) < np.linalg.norm(vertices[m] - vertices[c], axis=1)
        out += [
            _columns(m, b, n),
            np.where(short[:, None], _columns(a, m, n), _columns(a, m, c)),
            np.where(short[:, None], _columns(a, n, c), _columns(m, n, c)),
        ]
    three = count == 3
    if three.any():
        (a, b, c), (m, n, k) = triangles[three].T, middle[three].T
        out += [_columns(a, m, k), _columns(m, b, n), _columns(k, n, c), _columns(m, n, k)]
    return np.concatenate(out)


def _columns(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack(columns, axis=1)


def _turned(
    triangles: NDArray[np.int64], middle: NDArray[np.int64], start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rotate each triangle so that edge `start` comes first; return vertex and mid-point columns."""
    order = (start[:, None] + np.arange(3)) % 3
    return np.take_along_axis(triangles, order, 1).T, np.take_along_axis(middle, order, 1).T
