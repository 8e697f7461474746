"""Cuts and clean-up of fused triangle meshes."""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array


def merged_slivers(
    vertices_m: Array, triangles: NDArray[np.int64], distance_m: float
) -> tuple[Array, NDArray[np.int64]]:
    """Merge vertices joined by edges shorter than `distance_m`, drop triangles that collapse or repeat.

    Marching cubes puts vertices arbitrarily near to voxel corners; the needles between them have no usable normals.
    """
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    length = np.linalg.norm(vertices_m[edges[:, 0]] - vertices_m[edges[:, 1]], axis=1)
    short = edges[length < distance_m]
    n = len(vertices_m)
    graph = scipy.sparse.coo_matrix((np.ones(len(short), np.int8), short.T), shape=(n, n))
    n_merged, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    count = np.bincount(label, minlength=n_merged)
    merged = np.stack([np.bincount(label, vertices_m[:, i], n_merged) for i in range(3)], axis=1) / count[:, None]
    faces = label[triangles].astype(np.int64)
    sound = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[sound]
    low, middle, high = np.sort(faces, axis=1).T
    _, first = np.unique(low * n_merged + middle, return_inverse=True)
    # numbered anew, so that three indices fit one integer
    _, first, repeats = np.unique(first * n_merged + high, return_index=True, return_counts=True)
    # collapsing a fold leaves the same triangle twice, back to back: both go
    return merged, faces[np.sort(first[repeats == 1])]


def vertex_components(surface: Surface) -> NDArray[np.int64]:
    """Return the component number (V,) of each vertex; vertices joined by an edge share it."""
    n = len(surface.vertices_m)
    i, j = surface.triangles[:, [0, 1, 1, 2]].reshape(-1, 2).T
    graph = scipy.sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(n, n))
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def without_crumbs(surface: Surface, area_min_m2: float, area_share_min: float) -> tuple[Surface, int, float]:
    """Drop components smaller than both bounds say; returns the surface, how many went and their area [m2].

    A component stays when it has at least `area_min_m2` and at least `area_share_min` of the largest one. The
    largest stays in any case.
    """
    labels = vertex_components(surface)[surface.triangles[:, 0]]
    areas = np.bincount(labels, surface.triangle_areas_m2)
    keep = (areas >= area_min_m2) & (areas >= area_share_min * areas.max())
    keep[int(areas.argmax())] = True
    gone = np.bincount(labels) > 0
    n_gone = int((gone & ~keep).sum())
    if n_gone == 0:
        return surface, 0, 0.0
    return surface.select_triangles(keep[labels]), n_gone, float(areas[~keep].sum())
