"""Smooth shapes in closed form: what layouts and coverage are tried and judged on."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from cell_core.surface import Surface
from cell_core.transforms import Array


def plane(length_m: float = 0.6, width_m: float = 0.4, edge_m: float = 0.01) -> Surface:
    """Return a flat rectangle in the xy plane, facing +z, its origin in the middle."""
    return _grid(lambda u, v: (length_m * (u - 0.5), width_m * (v - 0.5), 0.0 * u), length_m, width_m, edge_m)


def saddle(size_m: float = 0.6, radius_m: float = 0.3, edge_m: float = 0.01) -> Surface:
    """Return z = (x^2 - y^2) / (2 R) over a square, facing +z."""

    def at(u: Array, v: Array) -> tuple[Array, Array, Array]:
        x, y = size_m * (u - 0.5), size_m * (v - 0.5)
        return x, y, (x * x - y * y) / (2.0 * radius_m)

    return _grid(at, 1.2 * size_m, 1.2 * size_m, edge_m)


def half_cylinder(radius_m: float = 0.2, length_m: float = 0.5, edge_m: float = 0.01) -> Surface:
    """Return the upper half of a cylinder along x, facing outward."""

    def at(u: Array, v: Array) -> tuple[Array, Array, Array]:
        return length_m * (u - 0.5), -radius_m * np.cos(np.pi * v), radius_m * np.sin(np.pi * v)

    return _grid(at, length_m, np.pi * radius_m, edge_m)


def cylinder(radius_m: float = 0.15, length_m: float = 0.5, edge_m: float = 0.01) -> Surface:
    """Return an open tube along x, facing outward, without caps."""

    def at(u: Array, v: Array) -> tuple[Array, Array, Array]:
        a = 2.0 * np.pi * v
        return length_m * (u - 0.5), -radius_m * np.cos(a), radius_m * np.sin(a)

    return _grid(at, length_m, 2.0 * np.pi * radius_m, edge_m, wrap_v=True)


def torus(major_m: float = 0.3, minor_m: float = 0.1, edge_m: float = 0.01) -> Surface:
    """Return a torus about z, facing outward."""

    def at(u: Array, v: Array) -> tuple[Array, Array, Array]:
        a, b = 2.0 * np.pi * u, 2.0 * np.pi * v
        r = major_m + minor_m * np.cos(b)
        return r * np.cos(a), r * np.sin(a), minor_m * np.sin(b)

    return _grid(at, 2.0 * np.pi * major_m, 2.0 * np.pi * minor_m, edge_m, wrap_u=True, wrap_v=True)


def helix_tube(
    radius_m: float = 0.2, pitch_m: float = 0.25, tube_m: float = 0.05, turns: float = 1.5, edge_m: float = 0.01
) -> Surface:
    """Return an open tube of radius `tube_m` along a helix about z, facing outward."""

    def at(u: Array, v: Array) -> tuple[Array, Array, Array]:
        a, b = 2.0 * np.pi * turns * u, 2.0 * np.pi * v
        slope = pitch_m / (2.0 * np.pi)
        out = np.stack([np.cos(a), np.sin(a), 0.0 * a])
        up = np.stack([slope * np.sin(a), -slope * np.cos(a), radius_m + 0.0 * a]) / np.hypot(slope, radius_m)
        centre = np.stack([radius_m * np.cos(a), radius_m * np.sin(a), slope * a])
        x, y, z = centre + tube_m * (np.cos(b) * out + np.sin(b) * up)
        return x, y, z

    length_m = turns * np.hypot(2.0 * np.pi * radius_m, pitch_m)
    return _grid(at, length_m, 2.0 * np.pi * tube_m, edge_m, wrap_v=True)


def sphere(radius_m: float = 0.25, edge_m: float = 0.01) -> Surface:
    """Return a sphere of even triangles about the origin, facing outward."""
    n = max(2, round(1.1071 * radius_m / edge_m))
    t = (1.0 + 5.0**0.5) / 2.0
    corners = np.array(
        [[-1, t, 0], [1, t, 0], [-1, -t, 0], [1, -t, 0], [0, -1, t], [0, 1, t], [0, -1, -t], [0, 1, -t], [t, 0, -1],
         [t, 0, 1], [-t, 0, -1], [-t, 0, 1]]
    )  # fmt: skip
    faces = np.array(
        [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6],
         [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10],
         [8, 6, 7], [9, 8, 1]]
    )  # fmt: skip
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    inside = i + j <= n
    i, j = i[inside], j[inside]
    number = np.full((n + 2, n + 2), -1)
    number[i, j] = np.arange(len(i))
    up = [number[i, j], number[i + 1, j], number[i, j + 1]]
    down = [number[i + 1, j], number[i + 1, j + 1], number[i, j + 1]]
    local = np.concatenate([np.stack(t, axis=1) for t in (up, down)])
    local = local[(local >= 0).all(axis=1)]
    a, b, c = (corners[faces[:, k]][:, None, :] for k in range(3))
    points = a + (b - a) * (i / n)[None, :, None] + (c - a) * (j / n)[None, :, None]
    triangles = (local[None] + (len(i) * np.arange(20))[:, None, None]).reshape(-1, 3)
    points = points.reshape(-1, 3)
    points *= radius_m / np.linalg.norm(points, axis=1, keepdims=True)
    return _merged(points, triangles, 1e-6 * radius_m)


def holed_plate(
    length_m: float = 0.8, width_m: float = 0.5, hole_m: float = 0.012, edge_m: float = 0.008
) -> Surface:
    """Return a flat plate facing +z with 8 x 5 round holes of radius `hole_m`."""
    x = length_m * ((np.arange(8) + 0.5) / 8 - 0.5)
    y = width_m * ((np.arange(5) + 0.5) / 5 - 0.5)
    centres = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    n = max(12, int(2.0 * np.pi * hole_m / (0.6 * edge_m)))
    a = 2.0 * np.pi * np.arange(n) / n
    rims = (centres[:, None] + hole_m * np.stack([np.cos(a), np.sin(a)], axis=-1)).reshape(-1, 2)
    u = np.linspace(-0.5, 0.5, int(np.ceil(length_m / edge_m)) + 1) * length_m
    v = np.linspace(-0.5, 0.5, int(np.ceil(width_m / edge_m)) + 1) * width_m
    grid = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    away = np.linalg.norm(grid[:, None] - centres, axis=2).min(axis=1) > hole_m + 0.5 * edge_m
    points = np.concatenate([grid[away], rims])
    triangles = Delaunay(points).simplices
    middle = points[triangles].mean(axis=1)
    triangles = triangles[np.linalg.norm(middle[:, None] - centres, axis=2).min(axis=1) > hole_m]
    p, q = (points[triangles[:, k]] - points[triangles[:, 0]] for k in (1, 2))
    area = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    triangles = np.where(area[:, None] < 0.0, triangles[:, ::-1], triangles)[np.abs(area) > 1e-12]
    return Surface(vertices_m=np.column_stack([points, np.zeros(len(points))]), triangles=triangles)


def _grid(
    at: Callable[[Array, Array], tuple[Array, Array, Array]],
    length_m: float,
    width_m: float,
    edge_m: float,
    *,
    wrap_u: bool = False,
    wrap_v: bool = False,
) -> Surface:
    """Return the map of the unit square, about `edge_m` per cell, outward where u x v points."""
    n, m = (max(4, int(np.ceil(size / edge_m))) for size in (length_m, width_m))
    u = np.linspace(0.0, 1.0, n + 1)[: n if wrap_u else None]
    v = np.linspace(0.0, 1.0, m + 1)[: m if wrap_v else None]
    U, V = np.meshgrid(u, v, indexing="ij")
    points = np.stack(np.broadcast_arrays(*at(U, V)), axis=-1).reshape(-1, 3)
    number = np.arange(U.size).reshape(U.shape)
    number = np.concatenate([number, number[:1]]) if wrap_u else number
    number = np.concatenate([number, number[:, :1]], axis=1) if wrap_v else number
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    # diagonals alternate, so that the mesh has no preferred direction
    even = np.add.outer(np.arange(a.shape[0]), np.arange(a.shape[1])) % 2 == 0
    one = np.where(even[..., None], np.stack([a, b, c], -1), np.stack([a, b, d], -1)).reshape(-1, 3)
    two = np.where(even[..., None], np.stack([a, c, d], -1), np.stack([b, c, d], -1)).reshape(-1, 3)
    return Surface(vertices_m=points, triangles=np.concatenate([one, two]))


def _merged(points: Array, triangles: NDArray[np.int64], tolerance_m: float) -> Surface:
    _, first, inverse = np.unique(
        np.round(points / tolerance_m).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    return Surface(vertices_m=points[first], triangles=inverse.ravel()[triangles])
