"""Means over the mesh's own neighbourhoods, and masks grown along its edges."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

PASSES_MAX = 40
SPREAD_PER_PASS = 0.65
"""Standard deviation along an axis that a pass over a vertex and its six neighbours adds in quadrature, in edges."""


class Smoother:
    """Averages values per vertex over a length along the surface; values that are not finite do not count."""

    def __init__(self, surface: Surface) -> None:
        links = surface.adjacency
        ones = np.ones(links.nnz, np.float32)
        n = len(surface.vertices_m)
        own = scipy.sparse.csr_matrix((np.ones(n, np.float32), np.arange(n), np.arange(n + 1)), shape=(n, n))
        self._links = (scipy.sparse.csr_matrix((ones, links.indices, links.indptr), shape=(n, n)) + own).tocsr()
        self.edge_m = float(np.median(surface.adjacency.data))
        """Median edge [m]."""

    def n_passes(self, sigma_m: float) -> int:
        """Return how many passes spread a value by a standard deviation of `sigma_m` [m], at least 1, at most 40."""
        return int(np.clip(round((sigma_m / (SPREAD_PER_PASS * self.edge_m)) ** 2), 1, PASSES_MAX))

    def mean(self, values: Array, sigma_m: float) -> Array:
        """Return values (V,) or (V, k) averaged over a standard deviation [m]; NaN stays NaN."""
        known = np.isfinite(values)
        kept = np.where(known, values, 0.0).astype(np.float32)
        share = known.astype(np.float32)
        for _ in range(self.n_passes(sigma_m)):
            total = self._links @ share
            kept = np.where(known, (self._links @ kept) / np.maximum(total, 1e-9), 0.0).astype(np.float32)
        return np.where(known, kept, np.nan).astype(float)

    def grown(self, mask: NDArray[np.bool_], distance_m: float) -> NDArray[np.bool_]:
        """Return a mask (V,) grown by about a distance [m] along the edges."""
        out = mask.astype(np.float32)
        for _ in range(max(1, round(distance_m / (0.9 * self.edge_m)))):
            out = (self._links @ out > 0.0).astype(np.float32)
        return out > 0.0


def border_vertices(surface: Surface) -> NDArray[np.bool_]:
    """Return the vertices (V,) on open borders of the mesh."""
    n = len(surface.vertices_m)
    pairs = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    keys, count = np.unique(pairs[:, 0] * n + pairs[:, 1], return_counts=True)
    out = np.zeros(n, bool)
    lone = keys[count == 1]
    out[lone // n] = True
    out[lone % n] = True
    return out
