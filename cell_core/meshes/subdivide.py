"""Triangles cut at the middles of their edges, conforming."""

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array


def triangle_edges(triangles: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return unique edges (E, 2), lower index first, and per triangle the indices (T, 3) of edges ab, bc, ca."""
    pairs = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    n = int(pairs.max(initial=0)) + 1
    key, inverse = np.unique(pairs[:, 0] * n + pairs[:, 1], return_inverse=True)
    return np.stack([key // n, key % n], axis=1), inverse.reshape(-1, 3)


def split_triangles(
    triangles: NDArray[np.int64], middle: NDArray[np.int64], points: Array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut triangles (T, 3) at the vertices `middle` (T, 3) on their edges ab, bc, ca (-1: none).

    Returns the pieces and which triangle each comes from; one that has nothing to be cut at is not among them.
    """
    # each triangle turned so that its case has one form
    n_split = (middle >= 0).sum(axis=1)
    first = np.where(n_split == 1, np.argmax(middle >= 0, axis=1), (np.argmin(middle >= 0, axis=1) + 1) % 3)
    turn = (first[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(triangles, turn, axis=1).T
    ab, bc, ca = np.take_along_axis(middle, turn, axis=1).T
    one, two, three = (n_split == k for k in (1, 2, 3))
    # two halved edges ab, bc leave the quadrangle a, ab, bc, c: cut along its shorter diagonal
    across = np.linalg.norm(points[a] - points[bc], axis=1) < np.linalg.norm(points[ab] - points[c], axis=1)
    two_a, two_c = two & across, two & ~across
    cases = (
        (one, [(a, ab, c), (ab, b, c)]),
        (two, [(ab, b, bc)]),
        (two_a, [(a, ab, bc), (a, bc, c)]),
        (two_c, [(a, ab, c), (ab, bc, c)]),
        (three, [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]),
    )
    pieces = [np.stack(piece, axis=1)[case] for case, pieces in cases for piece in pieces]
    origin = [np.flatnonzero(case) for case, pieces in cases for _ in pieces]
    return np.concatenate(pieces), np.concatenate(origin)
