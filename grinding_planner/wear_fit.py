"""Least squares for the Preston coefficient along a job: levels, wear law, or every piece on its own."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from cell_core.config import WearLaw
from cell_core.transforms import Array

HUBER_SIGMAS = 1.5
ROBUST_ROUNDS = 5
ENERGY_DOUBT, FLOOR_DOUBT = 0.3, 0.15
"""Standard deviations of what a tool file says of its abrasive: of the logarithm of energy_j, and of the floor."""
UNKNOWN_ENERGY_DOUBT, UNKNOWN_FLOOR_DOUBT = 1.0, 0.3
"""The same where the file says nothing: starting from the job's own span and one half."""
LEARNT_SHARE = 0.5
"""A number counts as identified when the job has halved the doubt about it."""
GAIN_MIN = 16.0
"""Where the file knows no wear, a law must lower the weighted square sum by this much (4 standard deviations)."""
PIECE_BEND = 0.03
"""How much a piece may stand off the line through its neighbours, one standard deviation."""
PIECE_DOUBT = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Measured depths and what each piece of the job should take off there."""

    depth_m: Array
    """(M, B) depth with a new abrasive."""
    measured_m: Array
    """(M,) measured depth."""
    weights: Array
    """(M,) area, less for outliers; sums to M."""
    cell: NDArray[np.int64]
    """(M,) cell of a tool's width that each point lies in; residuals of different cells are taken as independent."""

    def robust(self, basis: Array) -> "Evidence":
        """Return the evidence with outliers of the fit in this basis (B, J) weighing less (Huber)."""
        evidence = self
        for _ in range(ROBUST_ROUNDS):
            left = np.abs(self.measured_m - self.depth_m @ (basis @ fit_levels(evidence, basis).value))
            bound = max(HUBER_SIGMAS * 1.4826 * float(np.median(left)), 1e-9)
            weights = self.weights * np.minimum(1.0, bound / np.maximum(left, 1e-12))
            evidence = replace(self, weights=weights * len(weights) / weights.sum())
        return evidence


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelFit:
    """Coefficients of a basis."""

    value: Array
    """(J,)"""
    covariance: Array
    """(J, J) from residuals summed over cells."""
    n_cells: int


def fit_levels(evidence: Evidence, basis: Array) -> LevelFit:
    """Return the factors (J,) whose basis (B, J) of the pieces' Preston factors fits best.

    Covariance: sandwich of cell sums (Liang and Zeger 1986), with the small-sample factor C / (C - J).
    """
    x, w = evidence.depth_m @ basis, evidence.weights
    inverse = np.linalg.pinv(x.T @ (w[:, None] * x), hermitian=True)
    value = inverse @ (x.T @ (w * evidence.measured_m))
    left = evidence.measured_m - x @ value
    score = (w * left)[:, None] * x
    n_cells = int(evidence.cell.max()) + 1
    sums = np.column_stack([np.bincount(evidence.cell, score[:, j], n_cells) for j in range(x.shape[1])])
    n_seen = int(np.count_nonzero(np.any(sums != 0.0, axis=1)))
    covariance = inverse @ (sums.T @ sums) @ inverse * (n_seen / max(n_seen - x.shape[1], 1))
    return LevelFit(value=value, covariance=covariance, n_cells=n_seen)


def variance_of(evidence: Evidence, basis: Array) -> float:
    """Return the variance [m2] of a point of weight 1 about the fit in this basis (B, J), likeness of neighbours in it.

    It is that of a point, times how much more sums of residuals over cells scatter than independent ones would.
    """
    w = evidence.weights
    left = evidence.measured_m - evidence.depth_m @ (basis @ fit_levels(evidence, basis).value)
    sums = np.bincount(evidence.cell, w * left)
    n = int(np.count_nonzero(sums))
    wider = float(sums @ sums) / float(np.sum((w * left) ** 2)) * n / max(n - basis.shape[1], 1)
    return float(np.average(left**2, weights=w)) * max(wider, 1.0)


def bending(known: Array, level: NDArray[np.int64], n_bends: int) -> Array:
    """Return a basis (B, J) that bends along the job: hats over the pieces and a step for each level, times `known`."""
    n = len(known)
    knots = np.linspace(0.0, n - 1.0, n_bends)
    hats = np.stack([np.interp(np.arange(n), knots, row) for row in np.eye(n_bends)], axis=1)
    steps = np.eye(int(level.max()) + 1)[level][:, 1:]
    return known[:, None] * np.concatenate([hats, steps], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LawFit:
    """Levels and a wear law, fitted together."""

    law: WearLaw
    levels: Array
    """(J,)"""
    covariance: Array
    """(J + 2, J + 2) of the levels, the logarithm of energy_j, and the floor."""
    factor: Array
    """(B,) of the pieces."""
    energy_identified: bool
    floor_identified: bool

    def now(self, level: int, energy_j: float) -> tuple[float, float]:
        """Return the factor of a level after friction work energy_j, and its standard error."""
        x = np.r_[self.levels, np.log(self.law.energy_j), self.law.floor_fraction]

        def value(x: Array) -> float:
            return float(x[level] * _law_factor(x[-2], x[-1], np.array([energy_j]))[0])

        slope = np.array([(value(x + step) - value(x - step)) / 2e-5 for step in 1e-5 * np.eye(len(x))])
        return value(x), float(np.sqrt(slope @ self.covariance @ slope))


def fit_law(
    evidence: Evidence, level_of: NDArray[np.int64], energy_j: Array, known: WearLaw | None, variance_m2: float
) -> LawFit | None:
    """Return levels and law that fit best, what the tool file says of the wear taken as one more measurement.

    None: the job tells no more of the wear than the file does.
    """
    a, b = _normal(evidence, variance_m2)
    root, shifted = _root(a, b)
    n = int(level_of.max()) + 1
    span = float(energy_j.max())
    start = WearLaw(floor_fraction=0.5, energy_j=max(span, 1e-6), energy_max_j=3.0 * max(span, 1e-6))
    prior = known or start
    doubt = (ENERGY_DOUBT, FLOOR_DOUBT) if known else (UNKNOWN_ENERGY_DOUBT, UNKNOWN_FLOOR_DOUBT)

    def factor(x: Array) -> Array:
        return x[level_of] * _law_factor(x[-2], x[-1], energy_j)

    def residual(x: Array) -> Array:
        told = [(x[-2] - np.log(prior.energy_j)) / doubt[0], (x[-1] - prior.floor_fraction) / doubt[1]]
        return np.r_[root @ factor(x) - shifted, told]

    x0 = np.r_[np.ones(n), np.log(prior.energy_j), prior.floor_fraction]
    bounds = (np.r_[np.full(n, 1e-3), np.log(1e-3 * prior.energy_j), 0.01], np.r_[np.full(n, 1e3), 50.0, 1.0])
    found = least_squares(residual, np.clip(x0, *bounds), bounds=bounds, x_scale="jac", xtol=1e-10, ftol=1e-10)
    covariance = np.linalg.pinv(found.jac.T @ found.jac, hermitian=True)
    learnt = [bool(np.sqrt(covariance[k, k]) < LEARNT_SHARE * d) for k, d in zip((-2, -1), doubt, strict=True)]
    flat = _least(root, shifted, np.eye(n)[level_of])
    if not any(learnt) or (known is None and flat - float(np.sum(found.fun**2)) < GAIN_MIN):
        return None
    energy = float(np.exp(found.x[-2]))
    lasts = known.energy_max_j if known else 3.0 * energy
    return LawFit(
        law=WearLaw(floor_fraction=float(found.x[-1]), energy_j=energy, energy_max_j=lasts),
        levels=found.x[:n],
        covariance=covariance,
        factor=factor(found.x),
        energy_identified=learnt[0],
        floor_identified=learnt[1],
    )


def fit_pieces(evidence: Evidence, fitted: Array, apart: NDArray[np.int64], variance_m2: float) -> tuple[Array, Array]:
    """Return every piece's factor (B,) with its standard error (B,), smooth between pieces that are not `apart` (B,).

    Where the surface tells nothing of a piece it lies on its neighbours, or on what was fitted.
    """
    a, b = _normal(evidence, variance_m2)
    bend = np.diff(np.eye(len(fitted)), n=2, axis=0)
    bend = bend[(apart[:-2] == apart[1:-1]) & (apart[1:-1] == apart[2:])] / PIECE_BEND
    doubt = np.eye(len(fitted)) / PIECE_DOUBT**2
    covariance = np.linalg.inv(a + bend.T @ bend + doubt)
    return covariance @ (b + doubt @ fitted), np.sqrt(np.diag(covariance))


def _law_factor(log_energy: float, floor: float, energy_j: Array) -> Array:
    return floor + (1.0 - floor) * np.exp(-energy_j / np.exp(log_energy))


def _normal(evidence: Evidence, variance_m2: float) -> tuple[Array, Array]:
    weighted = evidence.weights[:, None] * evidence.depth_m / variance_m2
    return weighted.T @ evidence.depth_m, weighted.T @ evidence.measured_m


def _root(a: Array, b: Array) -> tuple[Array, Array]:
    # x' A x - 2 b' x = |R x - s|^2 up to a constant, on what A sees
    value, vector = np.linalg.eigh(a)
    seen = value > 1e-10 * value[-1]
    root = np.sqrt(value[seen])[:, None] * vector[:, seen].T
    return root, (vector[:, seen].T @ b) / np.sqrt(value[seen])


def _least(root: Array, shifted: Array, basis: Array) -> float:
    x, *_ = np.linalg.lstsq(root @ basis, shifted, rcond=None)
    return float(np.sum((root @ basis @ x - shifted) ** 2))
