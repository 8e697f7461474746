"""Connected regions of a surface and the places they are at."""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

PLACE_CELL_M = 0.06


def connected_regions(surface: Surface, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the region number (V,) of each masked vertex, -1 elsewhere; edges of the mesh connect."""
    labels = np.full(len(surface.vertices_m), -1, np.int64)
    inside = np.flatnonzero(mask)
    if len(inside):
        part = surface.adjacency[inside][:, inside]
        labels[inside] = scipy.sparse.csgraph.connected_components(part, directed=False)[1]
    return labels


def with_hysteresis(surface: Surface, core: NDArray[np.bool_], rim: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the vertices of `rim` that connect to `core`, core included."""
    labels = connected_regions(surface, rim | core)
    touched = np.unique(labels[core])
    return np.isin(labels, touched[touched >= 0])


def worst_places(positions_m: Array, badness: Array, n: int) -> list[tuple[Array, float]]:
    """Return the centres (3,) [m] of the places with most badness (V,) and the share of it each holds, worst first."""
    bad = badness > 0.0
    if not bad.any():
        return []
    p, w = positions_m[bad], badness[bad]
    _, label = np.unique(np.floor(p / PLACE_CELL_M).astype(np.int64), axis=0, return_inverse=True)
    label = label.reshape(-1)
    total = np.bincount(label, w)
    order = np.argsort(-total)[:n]
    centres = [(p[label == k] * w[label == k, None]).sum(axis=0) / total[k] for k in order]
    return [(c, float(total[k] / total.sum())) for c, k in zip(centres, order, strict=True)]


def place_text(centre_m: Array) -> str:
    """Say where a place is: x, y, z in mm of the part frame."""
    return "(" + ", ".join(f"{1e3 * x:.0f}" for x in centre_m) + ") mm"
