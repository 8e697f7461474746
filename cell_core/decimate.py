"""A coarser stand-in for a surface, for showing it."""

import numpy as np

from cell_core.surface import Surface

SHRINK = 1.25


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
