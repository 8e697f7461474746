"""Carry per-vertex values from one surface to another that lies nearly on it."""

import numpy as np
from numpy.typing import NDArray

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array

NORMAL_COS_MIN = 0.5
"""Surfaces facing more than 60 degrees apart are not the same side."""


def map_field(from_surface: Surface, values: Array, to_surface: Surface, max_distance_m: float) -> Array:
    """Return values (V_to,) at the vertices of `to_surface`, from the nearest triangle that faces the same way.

    Where the nearest triangle faces elsewhere (the other side of a sheet), the one along the vertex normal is
    taken. NaN where nothing lies within `max_distance_m` [m].
    """
    values = np.asarray(values, float)
    if values.shape != (len(from_surface.vertices_m),):
        raise ValueError(f"values have shape {values.shape}, wanted ({len(from_surface.vertices_m)},)")
    points, triangles = matching_points(from_surface, to_surface.vertices_m, to_surface.vertex_normals, max_distance_m)
    found = triangles >= 0
    out = np.full(len(points), np.nan)
    corners = from_surface.triangles[triangles[found]]
    weights = _barycentric(points[found], *(from_surface.vertices_m[corners[:, i]] for i in range(3)))
    out[found] = np.sum(weights * values[corners], axis=1)
    return out


def height_over(from_surface: Surface, surface: Surface, max_distance_m: float) -> Array:
    """Return how far the vertices of `from_surface` (V,) stand over `surface` along their normals [m].

    Negative where they lie below; NaN where nothing lies within `max_distance_m` [m].
    """
    normals = from_surface.vertex_normals
    points, triangles = matching_points(surface, from_surface.vertices_m, normals, max_distance_m)
    height = np.sum((from_surface.vertices_m - points) * normals, axis=1)
    return np.where(triangles >= 0, height, np.nan)


def matching_points(
    surface: Surface, points_m: Array, normals: Array, max_distance_m: float, caster: RayCaster | None = None
) -> tuple[Array, NDArray[np.int64]]:
    """Return for each point (N, 3) its match on the surface (N, 3) and the triangle (N,), -1 where there is none."""
    caster = caster or RayCaster(surface)
    closest, triangles = caster.closest(points_m)
    triangles = triangles.copy()
    triangles[np.linalg.norm(closest - points_m, axis=1) > max_distance_m] = -1
    elsewhere = (triangles >= 0) & (np.sum(surface.triangle_normals[triangles] * normals, axis=1) < NORMAL_COS_MIN)
    again = np.flatnonzero(elsewhere)
    if len(again):
        triangles[again] = -1
        gap = np.full(len(again), np.inf)
        for sign in (1.0, -1.0):
            direction = sign * normals[again]
            distance, triangle = caster.first_hit(points_m[again], direction)
            facing = np.sum(surface.triangle_normals[triangle] * normals[again], axis=1) >= NORMAL_COS_MIN
            better = (triangle >= 0) & facing & (distance < gap) & (distance <= max_distance_m)
            rows = again[better]
            gap[better] = distance[better]
            triangles[rows] = triangle[better]
            closest[rows] = points_m[rows] + distance[better, None] * direction[better]
    return closest, triangles


def _barycentric(p: Array, a: Array, b: Array, c: Array) -> Array:
    u, v, w = b - a, c - a, p - a
    uu, uv, vv = np.sum(u * u, axis=1), np.sum(u * v, axis=1), np.sum(v * v, axis=1)
    wu, wv = np.sum(w * u, axis=1), np.sum(w * v, axis=1)
    scale = np.maximum(uu * vv - uv * uv, 1e-300)
    share_b, share_c = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    weights = np.clip(np.stack([1.0 - share_b - share_c, share_b, share_c], axis=1), 0.0, 1.0)
    return weights / weights.sum(axis=1, keepdims=True)
