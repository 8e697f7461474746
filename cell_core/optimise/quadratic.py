"""Convex quadratic programs with bounds and linear rows, with a lower bound that needs no trust; or bounds alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import piqp
import scipy.linalg
import scipy.sparse

from cell_core.errors import CoverageError
from cell_core.transforms import Array

ACCURACY = 1e-9
ITERATIONS_MAX = 100
ACTIVE_ROUNDS = 5
ROWS_PER_BLOCK = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Linear rows matrix x <= most."""

    matrix: Any
    """(M, K) sparse."""
    most: Array
    """(M,) upper bounds."""

    @staticmethod
    def none(n: int) -> "Rows":
        """Return no rows over n unknowns."""
        return Rows(matrix=scipy.sparse.csr_matrix((0, n)), most=np.zeros(0))

    def joined(self, other: "Rows") -> "Rows":
        """Return these rows and the others."""
        return Rows(
            matrix=scipy.sparse.vstack([self.matrix, other.matrix], format="csr"),
            most=np.r_[self.most, other.most],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Minimum:
    """Where a quadratic program is least."""

    x: Array
    """(K,) inside the bounds."""
    multipliers: Array
    """(M,) >= 0, one per row."""


def solve_quadratic(H: Any, g: Array, low: Array | float, high: Array | float, rows: Rows) -> Minimum:
    """Return the x that minimises x H x / 2 + g x with low <= x <= high and the rows; H positive semidefinite, sparse.

    Proximal interior point method, so that singular H (duplicate columns) is no trouble. Source: Schwan, Jiang, Kuhn
    and Jones, CDC 2023 (PIQP).

    Raises:
        CoverageError: no x meets bounds and rows, or the solver does not get there.
    """
    n = len(g)
    # unknowns and objective of order 1 make the solver's absolute tolerances mean something
    together = float(H.sum())
    unit = abs(float(np.sum(g))) / together if together > 0.0 and np.any(g) else 1.0
    unit = unit if unit > 0.0 else 1.0
    scale = 1.0 / max(float(H.diagonal().mean()) * unit**2, 1e-300)
    solver = piqp.SparseSolver()
    settings = solver.settings
    settings.eps_abs = settings.eps_rel = ACCURACY
    settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = ACCURACY
    settings.max_iter = ITERATIONS_MAX
    curvature = scipy.sparse.csc_matrix(scale * unit**2 * H)
    curvature.sort_indices()
    arguments: dict[str, Any] = {
        "P": curvature,
        "c": scale * unit * np.asarray(g, float),
        "x_l": np.broadcast_to(np.asarray(low, float) / unit, n).copy(),
        "x_u": np.broadcast_to(np.asarray(high, float) / unit, n).copy(),
    }
    if len(rows.most):
        matrix = scipy.sparse.csc_matrix(rows.matrix)
        matrix.sort_indices()
        arguments |= {"G": matrix, "h_l": np.full(len(rows.most), -np.inf), "h_u": rows.most / unit}
    solver.setup(**arguments)
    status = solver.solve()
    info = solver.result.info
    close = info.primal_res < 1e-5 and info.duality_gap_rel < 1e-4
    if status != piqp.PIQP_SOLVED and not (close and status in (piqp.PIQP_MAX_ITER_REACHED, piqp.PIQP_NUMERICS)):
        raise CoverageError(
            f"quadratic program of {n} unknowns and {len(rows.most)} rows: {status.name.removeprefix('PIQP_').lower()} "
            f"after {info.iter} iterations, rows broken by {info.primal_res:.3g}"
        )
    return Minimum(
        x=np.clip(unit * solver.result.x, low, high),
        multipliers=np.maximum(solver.result.z_u, 0.0) / (scale * unit) if len(rows.most) else np.zeros(0),
    )


def improvement_bound(
    x: Array, gradient: Array, low: Array | float, high: Array | float, rows: Rows, multipliers: Array
) -> float:
    """Return by how much at most a convex function can fall below its value at x within the bounds and the rows.

    Convexity gives f(y) >= f(x) + gradient (y - x), and rows times multipliers >= 0 (M,) may be added to it for any y
    that meets them; the least of the sum over the bounds alone is at a corner. Holds for any multipliers, tight at the
    optimal ones.
    """
    slope = gradient + (rows.matrix.T @ multipliers if len(multipliers) else 0.0)
    reach = np.where(slope > 0.0, np.asarray(low) - x, np.asarray(high) - x)
    slack = float(multipliers @ (rows.matrix @ x - rows.most)) if len(multipliers) else 0.0
    return max(0.0, -float(slope @ reach) - slack)


def gram_of(jacobian: Any, weights: Array) -> Array:
    """Return J^T diag(w) J: rows with similar columns are multiplied together, densely."""
    rooted = (scipy.sparse.diags(np.sqrt(weights).astype(np.float32)) @ jacobian).tocsr()
    filled = np.flatnonzero(np.diff(rooted.indptr) > 0)
    rooted = rooted[filled]
    rooted = rooted[np.argsort(rooted.indices[rooted.indptr[:-1]], kind="stable")]
    gram = np.zeros(2 * (rooted.shape[1],))
    for start in range(0, rooted.shape[0], ROWS_PER_BLOCK):
        block = rooted[start : start + ROWS_PER_BLOCK]
        columns, index = np.unique(block.indices, return_inverse=True)
        shape = (block.shape[0], len(columns))
        dense = scipy.sparse.csr_matrix((block.data, index, block.indptr), shape=shape).toarray()
        gram[np.ix_(columns, columns)] += dense.T @ dense
    return gram


def bounded_step(H: Array, pull: Array, low: Array, high: Array) -> Array:
    """Return a move in [low, high] that nearly minimises move H move / 2 + pull move.

    Unknowns that the free solution carries outside go to their bound and the rest is solved again, a few times; what
    is held is let go where its gradient points inside. The caller's own test of the cost guards the step.
    """
    move = np.zeros_like(low)
    at_low, at_high = high - low <= 1e-12, np.zeros(len(low), bool)
    for _ in range(ACTIVE_ROUNDS):
        free = np.flatnonzero(~(at_low | at_high))
        move = np.where(at_low, low, np.where(at_high, high, 0.0))
        if len(free) == 0:
            break
        rest = pull[free] + H[free] @ move
        factor = scipy.linalg.cho_factor(H[np.ix_(free, free)], check_finite=False, overwrite_a=True)
        move[free] = -scipy.linalg.cho_solve(factor, rest, check_finite=False)
        gradient = H @ move + pull
        released = (at_low & (gradient < 0.0) & (high > low)) | (at_high & (gradient > 0.0))
        below, above = move < low - 1e-9, move > high + 1e-9
        if not (below.any() or above.any() or released.any()):
            break
        at_low = (at_low & ~released) | below
        at_high = (at_high & ~released) | above
    return np.clip(move, low, high)
