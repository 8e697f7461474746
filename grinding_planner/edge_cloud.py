"""A scan's triangles as points with smoothed normals: what crests and borders are found on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.meshes.topology import Joints
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

SMOOTHING = 1.3
"""Normals are means over so many mesh edges."""
NEIGHBOURS_MAX = 48
CHUNK = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """A scan's triangles as points."""

    points_m: Array
    normals: Array
    areas_m2: Array
    mesh_m: float
    """Typical length of a mesh edge [m]."""
    tree: KDTree
    caster: RayCaster


def cloud_of(surface: Surface, met: Joints) -> Cloud:
    """Return the triangles as points with smoothed normals."""
    ends = surface.vertices_m[surface.triangles]
    mesh_m = float(np.median(np.linalg.norm(ends - np.roll(ends, 1, axis=1), axis=2)))
    points, areas = surface.centroids_m, surface.triangle_areas_m2
    tree = KDTree(points)
    raw = surface.triangle_normals
    smooth = np.empty_like(raw)
    for part in chunks(len(points)):
        near, weight = around(tree, points[part], SMOOTHING * mesh_m, areas)
        # the far side of a thin plate is no neighbour
        facing = np.einsum("nki,ni->nk", raw[near], raw[part]) > -0.3
        smooth[part] = unit(np.einsum("nk,nki->ni", weight * facing, raw[near]))
    return Cloud(
        points_m=points, normals=smooth, areas_m2=areas, mesh_m=mesh_m, tree=tree, caster=RayCaster(surface)
    )  # fmt: skip


def chunks(n: int) -> list[slice]:
    """Return slices of at most CHUNK that make up n."""
    return [slice(a, min(a + CHUNK, n)) for a in range(0, n, CHUNK)]


def around(tree: KDTree, points: Array, radius_m: float, areas: Array) -> tuple[NDArray[np.int64], Array]:
    """Return neighbours (P, K) of points within a radius and their weights, areas that fade to 0 at it."""
    distance, near = tree.query(points, k=min(NEIGHBOURS_MAX, len(areas)), distance_upper_bound=radius_m)
    near = np.asarray(near)
    inside = np.isfinite(distance)
    near = np.where(inside, near, 0)
    weight = np.where(inside, areas[near] * (1.0 - np.where(inside, distance / radius_m, 1.0) ** 2), 0.0)
    return near, weight
