"""Least squares over the poses of all views and the shape they saw: shape eliminated, the poses' scatter estimated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from cell_core.transforms import Array

SCATTER_ROUNDS_MAX = 40
SCATTER_CONVERGED = 0.02
SCATTER_START = (1e-4, 2e-4)
"""Standard deviations a view's pose starts with: [m], [rad]."""
SCATTER_FLOOR = (2e-6, 4e-6)
HUBER_SIGMAS = 2.0
IRLS_ROUNDS = 3
RATIO_FLOOR = 0.1
"""Readings are never taken for more than ten times as good as the camera's data say."""
PRIOR = 1.0
"""Standard deviation [m, rad, s, 1] of a common unknown before anything is seen: what is not told stays that wide."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewReadings:
    """What one view saw of each cell of the surface: residual + jacobian @ unknowns = height of the cell.

    One row per cell: within a cell the surface's slope is what the views themselves made it and ties none of them.
    """

    jacobian: Array
    """(N, 6 + E) change of the residual [m] with the view's twist (v, w) in the optical frame [m, rad] and E extras."""
    residual_m: Array
    """(N,) distance of the view's readings from the surface along its normal [m]."""
    sigma_m: Array
    """(N,) its standard deviation [m] by the camera's data."""
    cell: NDArray[np.int64]
    """(N,) which cell of the surface."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseSolution:
    """What all views say together."""

    theta: Array
    """(P,) common unknowns: twist of the hand-eye (v, w) [m, rad], then the extras."""
    covariance: Array
    """(P, P) of theta."""
    deviation: Array
    """(G, 6) each view's own twist beside the common one [m, rad]."""
    deviation_sigma: Array
    """(G, 6) its standard error [m, rad]."""
    scatter: tuple[float, float]
    """Standard deviations of the views' own twists: [m], [rad]."""
    noise_ratio: float
    """Readings' noise over what the camera's data say."""
    rms_before_m: Array
    """(G,) per view: rms [m] about the common surface as given."""
    rms_after_m: Array
    """(G,) per view: the same with theta and without the views' own twists."""


def solve_poses(views: Sequence[ViewReadings], design: Array, n_cells: int) -> PoseSolution:
    """Return the common twist and extras that make all views see one surface.

    Heights of the surface's cells are unknowns of their own and are eliminated, so what a common twist does to the
    surface itself is not held against it. Each view may deviate by a small twist, whose two standard deviations are
    estimated with the rest (restricted maximum likelihood by expectation and maximisation): views that agree weigh by
    their readings, views that do not weigh alike, and the covariance says which of the two it was.

    Args:
        views: readings per view.
        design: (G, 6, P - E) twist of each view per common unknown; the first six are the hand-eye's own.
        n_cells: number of cells.
    """
    system = _System(views, design, n_cells)
    weights = [1.0 / v.sigma_m**2 for v in views]
    scatter = SCATTER_START
    y = np.zeros(system.n)
    solved, ratio = None, _robust_ratio(system.centred(weights, y), views)
    for _ in range(IRLS_ROUNDS):
        H, b = system.reduced(weights)
        solved = system.mixed(H / ratio**2, b / ratio**2, scatter)
        scatter, y = solved.scatter, solved.y
        left = system.centred(weights, y)
        ratio = _robust_ratio(left, views)
        weights = [_huber(r / v.sigma_m / ratio) / v.sigma_m**2 for r, v in zip(left, views, strict=True)]
    assert solved is not None
    before = system.centred(weights, np.zeros(system.n))
    after = system.centred(weights, system.B @ solved.theta)
    return PoseSolution(
        theta=solved.theta,
        covariance=solved.covariance,
        deviation=solved.e.reshape(-1, 6),
        deviation_sigma=solved.e_sigma.reshape(-1, 6),
        scatter=scatter,
        noise_ratio=ratio,
        rms_before_m=np.array([_rms(r, w) for r, w in zip(before, weights, strict=True)]),
        rms_after_m=np.array([_rms(r, w) for r, w in zip(after, weights, strict=True)]),
    )


def _rms(residual_m: Array, weights: Array) -> float:
    return float(np.sqrt(weights @ residual_m**2 / weights.sum()))


def _robust_ratio(centred: Sequence[Array], views: Sequence[ViewReadings]) -> float:
    z = np.concatenate([r / v.sigma_m for r, v in zip(centred, views, strict=True)])
    cell = np.concatenate([v.cell for v in views])
    seen = np.bincount(cell)[cell]
    # the mean of n readings takes a share 1/n of their scatter with it
    z = z[seen > 1] / np.sqrt(1.0 - 1.0 / seen[seen > 1])
    return max(1.4826 * float(np.median(np.abs(z))), RATIO_FLOOR)


def _huber(z: Array) -> Array:
    return np.minimum(1.0, HUBER_SIGMAS / np.maximum(np.abs(z), 1e-12))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mixed:
    theta: Array
    covariance: Array
    e: Array
    e_sigma: Array
    y: Array
    scatter: tuple[float, float]


class _System:
    """The normal equations of all views' twists and extras, cell heights eliminated."""

    def __init__(self, views: Sequence[ViewReadings], design: Array, n_cells: int) -> None:
        self._views, self._n_cells = views, n_cells
        self.n_d = 6 * len(views)
        self.n_e = views[0].jacobian.shape[1] - 6
        self.n = self.n_d + self.n_e
        n_common = design.shape[2]
        self.B = np.zeros((self.n, n_common + self.n_e))
        self.B[: self.n_d, :n_common] = design.reshape(self.n_d, n_common)
        self.B[self.n_d :, n_common:] = np.eye(self.n_e)

    def _columns(self, view: int) -> NDArray[np.int64]:
        return np.r_[6 * view : 6 * view + 6, self.n_d : self.n]

    def reduced(self, weights: Sequence[Array]) -> tuple[Array, Array]:
        """Return matrix and right side of H y = -b."""
        H, b = np.zeros((self.n, self.n)), np.zeros(self.n)
        sums = np.zeros((self._n_cells, 2))
        blocks, rows, columns = [], [], []
        for g, (v, w) in enumerate(zip(self._views, weights, strict=True)):
            own = self._columns(g)
            wJ = w[:, None] * v.jacobian
            H[np.ix_(own, own)] += v.jacobian.T @ wJ
            b[own] += wJ.T @ v.residual_m
            cells, inverse = np.unique(v.cell, return_inverse=True)
            block = np.stack([np.bincount(inverse, column, len(cells)) for column in wJ.T], axis=1)
            sums[cells, 0] += np.bincount(inverse, w, len(cells))
            sums[cells, 1] += np.bincount(inverse, w * v.residual_m, len(cells))
            blocks.append(block.ravel())
            rows.append(np.repeat(cells, len(own)))
            columns.append(np.tile(own, len(cells)))
        G = scipy.sparse.csr_matrix(
            (np.concatenate(blocks), (np.concatenate(rows), np.concatenate(columns))), (self._n_cells, self.n)
        )
        per_weight = np.divide(1.0, sums[:, 0], out=np.zeros(self._n_cells), where=sums[:, 0] > 0.0)
        scaled = G.multiply(np.sqrt(per_weight)[:, None]).tocsr()
        return H - (scaled.T @ scaled).toarray(), b - G.T @ (per_weight * sums[:, 1])

    def centred(self, weights: Sequence[Array], y: Array) -> list[Array]:
        """Return residuals (N,) [m] per view at unknowns y, the mean of their cell taken out."""
        left = [v.residual_m + v.jacobian @ y[self._columns(g)] for g, v in enumerate(self._views)]
        cell, w, r = (np.concatenate(x) for x in ([v.cell for v in self._views], weights, left))
        total = np.bincount(cell, w, self._n_cells)
        mean = np.bincount(cell, w * r, self._n_cells) / np.maximum(total, 1e-300)
        return [x - mean[v.cell] for x, v in zip(left, self._views, strict=True)]

    def mixed(self, H: Array, b: Array, scatter: tuple[float, float]) -> _Mixed:
        """Solve for common unknowns and views' own twists with their scatter."""
        d = slice(0, self.n_d)
        kind = np.tile([0, 0, 0, 1, 1, 1], self.n_d // 6)
        HB = H @ self.B
        for _ in range(SCATTER_ROUNDS_MAX):
            C = scipy.linalg.inv(H[d, d] + np.diag(1.0 / np.array(scatter)[kind] ** 2), check_finite=False)
            CHB = C @ HB[d]
            information = self.B.T @ HB - HB[d].T @ CHB + np.eye(self.B.shape[1]) / PRIOR**2
            right = -self.B.T @ b + HB[d].T @ (C @ b[d])
            covariance = _inverse(information)
            theta = covariance @ right
            e = -C @ b[d] - CHB @ theta
            variance = np.diag(C) + np.einsum("ij,jk,ik->i", CHB, covariance, CHB)
            square = e**2 + variance
            new = [max(float(np.sqrt(square[kind == k].mean())), SCATTER_FLOOR[k]) for k in (0, 1)]
            change = max(abs(np.log(n / o)) for n, o in zip(new, scatter, strict=True))
            scatter = (new[0], new[1])
            if change < SCATTER_CONVERGED:
                break
        y = self.B @ theta
        y[d] += e
        return _Mixed(theta=theta, covariance=covariance, e=e, e_sigma=np.sqrt(variance), y=y, scatter=scatter)


def _inverse(matrix: Array) -> Array:
    scale = 1.0 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    return scale[:, None] * scipy.linalg.inv(matrix * scale * scale[:, None], check_finite=False) * scale
