"""Coarser surfaces: one that keeps shape, edges and fields, and a rough one for pictures."""

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array

SHRINK = 1.25
AGGRESSIVENESS = 5.0
"""How fast the quadric threshold grows: 7, the library's own, folds thin walls; 3 stops before small targets."""


def decimated(surface: Surface, triangles_max: int) -> Surface:
    """Return the surface with about `triangles_max` triangles by quadric edge collapse, its fields carried along.

    Sharp edges and plane regions keep their shape, borders stay as they are; on planes the triangles may become long. A
    surface that is small enough is returned as it is. Linear in the number of triangles.

    Source: Garland & Heckbert 1997, in the threshold form of fast-simplification.
    """
    if triangles_max < 4:
        raise InputRefusedError(f"decimation to {triangles_max} triangles asked for, at least 4 needed")
    if len(surface.triangles) <= triangles_max:
        return surface
    import fast_simplification

    # copies: the library's binding takes no read-only arrays
    points, triangles = fast_simplification.simplify(
        surface.vertices_m.copy(),
        surface.triangles.astype(np.int32),
        target_count=triangles_max,
        agg=AGGRESSIVENESS,
        preserve_border=True,
    )[:2]
    coarse = Surface(vertices_m=points, triangles=triangles, frame=surface.frame)
    return coarse.with_fields(**carried_fields(surface, coarse.vertices_m))


def carried_fields(surface: Surface, points_m: Array) -> dict[str, Array]:
    """Return every field of the surface at the surface points nearest to `points_m`, linear within a triangle."""
    if not surface.fields:
        return {}
    nearest_m, triangle = RayCaster(surface).closest(points_m)
    corners = surface.triangles[triangle]
    weights = _barycentric(nearest_m, surface.vertices_m[corners])
    return {name: np.einsum("ij,ij->i", weights, values[corners]) for name, values in surface.fields.items()}


def _barycentric(points: Array, corners: Array) -> Array:
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    u, v, w = b - a, c - a, points - a
    uu, vv, uv = (np.einsum("ij,ij->i", x, y) for x, y in ((u, u), (v, v), (u, v)))
    wu, wv = np.einsum("ij,ij->i", w, u), np.einsum("ij,ij->i", w, v)
    det = np.maximum(uu * vv - uv * uv, 1e-300)
    s = np.clip((vv * wu - uv * wv) / det, 0.0, 1.0)
    t = np.clip((uu * wv - uv * wu) / det, 0.0, 1.0 - s)
    return np.stack([1.0 - s - t, s, t], axis=1)


def clustered(surface: Surface, triangles_max: int) -> Surface:
    """Return a surface of at most `triangles_max` triangles by merging the vertices of cubic cells.

    Vertices and fields are means over a cell; triangles that collapse are dropped. Topology is not kept: use it for
    pictures only. A surface that is small enough is returned as it is.
    """
    if len(surface.triangles) <= triangles_max:
        return surface
    cell_m = np.sqrt(surface.area_m2 / triangles_max)
    low = surface.bounds_m[0]
    while True:
        keys = np.floor((surface.vertices_m - low) / cell_m).astype(np.int64)
        _, index = np.unique(keys, axis=0, return_inverse=True)
        index = index.ravel()
        triangles = index[surface.triangles]
        a, b, c = triangles.T
        triangles = triangles[(a != b) & (b != c) & (c != a)]
        _, first = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
        if 0 < len(first) <= triangles_max:
            break
        cell_m *= SHRINK if len(first) else 1.0 / SHRINK
    n = np.bincount(index)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(index, values) / n

    vertices = np.stack([mean(surface.vertices_m[:, i]) for i in range(3)], axis=1)
    coarse = Surface(
        vertices_m=vertices,
        triangles=triangles[np.sort(first)],
        fields={k: mean(v) for k, v in surface.fields.items()},
        frame=surface.frame,
    )
    return coarse.select_triangles(np.ones(len(coarse.triangles), bool))
