"""What a pose leaves unexplained: what was scanned in one piece with the part, but does not lie on it."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from cell_core.sampling import SurfaceSamples

SMOOTH_COS_MIN, LINKED_CELLS = 0.9, 3.0
"""Neighbouring cells, so many cells apart at most, are of one face within this cosine."""
FLAT = 0.98
"""A face whose mean normal is this long is a plane."""
TOUCHED_SHARE = 0.02
"""A piece is one with the part where this share of what lies on the target is of it."""


def strange_m2(scan: SurfaceSamples, on: NDArray[np.bool_], cell_m: float, diagonal_m: float) -> float:
    """Return the area of what hangs together with scanned cells on the target (`on`) and does not lie on it.

    Faces that are larger than the target, such as a table, are taken out first, with what lies in one plane with them.
    """
    a, b = scan.tree.query_pairs(LINKED_CELLS * cell_m, output_type="ndarray").T
    smooth = np.einsum("ij,ij->i", scan.normals[a], scan.normals[b]) > SMOOTH_COS_MIN
    face, n = _components(a[smooth], b[smooth], len(scan))
    low, high = np.full((n, 3), np.inf), np.full((n, 3), -np.inf)
    np.minimum.at(low, face, scan.points_m)
    np.maximum.at(high, face, scan.points_m)
    large = np.linalg.norm(high - low, axis=1) > diagonal_m
    own = ~_within_planes(scan, face, np.flatnonzero(large), cell_m) | on
    linked = own[a] & own[b]
    piece, n = _components(a[linked], b[linked], len(scan))
    on_m2 = np.bincount(piece[on], scan.areas_m2[on], minlength=n)
    joined = own & (on_m2 > TOUCHED_SHARE * on_m2.sum())[piece]
    return float(scan.areas_m2[joined & ~on].sum())


def _within_planes(
    scan: SurfaceSamples, face: NDArray[np.int32], large: NDArray[np.int64], cell_m: float
) -> NDArray[np.bool_]:
    # a large face's own cells, and where it is flat, islands of it seen through the part
    out = np.isin(face, large)
    for label in large:
        cells = scan.select(face == label)
        normal = cells.areas_m2 @ cells.normals / cells.areas_m2.sum()
        if np.linalg.norm(normal) < FLAT:
            continue
        height = (scan.points_m - np.median(cells.points_m, axis=0)) @ normal
        out |= (np.abs(height) < 1.5 * cell_m) & (scan.normals @ normal > SMOOTH_COS_MIN)
    return out


def _components(a: NDArray[np.int64], b: NDArray[np.int64], n: int) -> tuple[NDArray[np.int32], int]:
    links = scipy.sparse.coo_array((np.ones(len(a)), (a, b)), shape=(n, n))
    count, label = connected_components(links, directed=False)
    return label, int(count)
