"""Double the vertices along sharp edges, so that each face has film, removal and normals of its own."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from cell_core.surface import Surface

SHARP_RAD = 0.87


@dataclass(frozen=True, kw_only=True, eq=False)
class CreasedSurface:
    """A surface whose smooth faces share no vertex across sharp edges."""

    surface: Surface
    source: NDArray[np.int64]
    """(V,) vertex of the given surface that each vertex is a copy of; the given vertices come first, in order."""


def split_creases(surface: Surface, sharp_rad: float = SHARP_RAD) -> CreasedSurface:
    """Return the surface with a vertex copy for each group of triangles that only sharp edges separate around it.

    Args:
        surface: any triangle surface; fields go to the copies.
        sharp_rad: two triangles whose normals differ by more meet in a sharp edge.
    """
    triangles, n = surface.triangles, len(surface.vertices_m)
    # corner 3t+i is vertex i of triangle t; side i runs from corner i to corner i+1
    a, b = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    key = np.minimum(a, b) * n + np.maximum(a, b)
    order = np.argsort(key, kind="stable")
    first, second = order[:-1], order[1:]
    same = key[first] == key[second]
    first, second = first[same], second[same]
    normals = surface.triangle_normals
    smooth = np.einsum("ij,ij->i", normals[first // 3], normals[second // 3]) >= np.cos(sharp_rad)
    first, second = first[smooth], second[smooth]
    start, end = [first, _next(first)], [second, _next(second)]
    crossed = a[first] != a[second]
    # consistently wound neighbours run along their common side in opposite directions
    rows = np.concatenate(start)
    columns = np.concatenate([np.where(crossed, end[1], end[0]), np.where(crossed, end[0], end[1])])
    links = scipy.sparse.coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(a), len(a)))
    n_groups, group = connected_components(links, directed=False)
    vertex_of_group = np.zeros(n_groups, np.int64)
    vertex_of_group[group] = a
    # the first group at each vertex keeps its index, the others are appended
    index = np.full(n_groups, -1, np.int64)
    kept_vertex, kept_group = np.unique(vertex_of_group, return_index=True)
    index[kept_group] = kept_vertex
    extra = np.flatnonzero(index < 0)
    index[extra] = n + np.arange(len(extra))
    source = np.concatenate([np.arange(n), vertex_of_group[extra]])
    creased = Surface(
        vertices_m=surface.vertices_m[source],
        triangles=index[group].reshape(-1, 3),
        fields={k: v[source] for k, v in surface.fields.items()},
        frame=surface.frame,
    )
    return CreasedSurface(surface=creased, source=source)


def _next(corner: NDArray[np.int64]) -> NDArray[np.int64]:
    return corner + np.where(corner % 3 == 2, -2, 1)
