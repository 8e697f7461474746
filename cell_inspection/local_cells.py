"""A surface thinned to even cells, and which cells lie around which: the support of local fits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit

SIDE_WEIGHT = 0.5
"""How many reaches away a normal turned by a radian counts: the far face of a sheet and what bends off fall out."""
SIDES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Points that stand for about a square of `size_m` each, one side of the surface apart from the other."""

    size_m: float
    """Edge of a cell [m]."""
    points_m: Array
    """(C, 3) mean of the vertices of each cell [m]."""
    normals: Array
    """(C, 3) their mean normal, unit."""
    of_vertex: NDArray[np.int64]
    """(V,) cell of each vertex."""
    n_vertices: NDArray[np.int64]
    """(C,) vertices of each cell."""

    def mean(self, values: Array) -> Array:
        """Return the mean (C,) of a value per vertex (V,) over each cell."""
        return np.bincount(self.of_vertex, values, len(self.points_m)).astype(float) / self.n_vertices

    def around(self, at_m: Array, facing: Array, reach_m: float, n_max: int) -> tuple[Array, NDArray[np.int64]]:
        """Return distance in space and side (N, up to n_max) and number of the cells around points; infinite: none."""
        weight = SIDE_WEIGHT * reach_m
        tree = KDTree(np.concatenate([self.points_m, weight * self.normals], axis=1))
        query = np.concatenate([at_m, weight * facing], axis=1)
        distance, index = tree.query(query, k=min(n_max, len(self.points_m)), distance_upper_bound=reach_m)
        distance, index = distance.reshape(len(query), -1), index.reshape(len(query), -1)
        found = np.isfinite(distance)
        return np.where(found, distance, np.inf), np.where(found, index, 0)


def cells_of(surface: Surface, size_m: float) -> Cells:
    """Return the vertices of a surface grouped by cubes of `size_m` and by the axis their normal lies nearest to."""
    normals = surface.vertex_normals
    axis = np.argmax(np.abs(normals), axis=1)
    side = 2 * axis + (normals[np.arange(len(axis)), axis] > 0.0)
    key = np.floor((surface.vertices_m - surface.bounds_m[0]) / size_m).astype(np.int64)
    n = key.max(axis=0) + 1
    key = ((key[:, 0] * n[1] + key[:, 1]) * n[2] + key[:, 2]) * SIDES + side
    _, of_vertex, count = np.unique(key, return_inverse=True, return_counts=True)

    def total(values: Array) -> Array:
        return np.stack([np.bincount(of_vertex, values[:, i], len(count)).astype(float) for i in range(3)], axis=1)

    return Cells(
        size_m=size_m,
        points_m=total(surface.vertices_m) / count[:, None],
        normals=unit(total(normals)),
        of_vertex=of_vertex.reshape(-1),
        n_vertices=count,
    )
