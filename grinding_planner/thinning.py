"""Leave out what a plan is better without: even at top speed a needless pass removes, and nothing puts it back."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.transforms import Array

ROUNDS_MAX = 8
GAIN_MIN = 2e-3
"""A cut must lower the squared error by this share of what is left of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LeastSquares:
    """Minimise 1/2 sum w (B x - b)^2 + 1/2 |R x|^2 over low <= x <= high, b and x in any unit."""

    matrix: scipy.sparse.csr_matrix
    goal: Array
    weights: Array
    low: Array
    high: Array
    rough: scipy.sparse.csr_matrix | None = None
    """R; None: nothing."""

    def solve(self, start: Array, n_iterations: int = 150) -> Array:
        """Return an approximate minimiser by accelerated projected gradients with restart."""
        # in units in which every unknown bends the sum alike
        unit = self._units()
        matrix = scipy.sparse.csr_matrix(self.matrix @ scipy.sparse.diags(unit))
        transposed = matrix.T.tocsr()
        rough = None if self.rough is None else scipy.sparse.csr_matrix(self.rough @ scipy.sparse.diags(unit))
        bend = None if rough is None else scipy.sparse.csr_matrix(rough.T @ rough)
        low, high = self.low / unit, self.high / unit

        def slope(x: Array, goal: Array | float) -> Array:
            pull = transposed @ (self.weights * (matrix @ x - goal))
            return pull if bend is None else pull + bend @ x

        z, norm = np.ones(len(self.low)), 1.0
        for _ in range(12):
            z = slope(z, 0.0)
            norm = float(np.linalg.norm(z)) or 1.0
            z /= norm
        step = 1.0 / (1.05 * norm)
        x = np.clip(start / unit, low, high)
        y, momentum = x, 1.0
        for _ in range(n_iterations):
            gradient = slope(y, self.goal)
            new = np.clip(y - step * gradient, low, high)
            if gradient @ (new - x) > 0.0:
                momentum = 1.0
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            y = new + (momentum - 1.0) / following * (new - x)
            x, momentum = new, following
        return np.clip(x * unit, self.low, self.high)

    def _units(self) -> Array:
        """Return the size (N,) of each unknown that changes the sum as much as that of the others."""
        square = self.matrix.power(2).T @ self.weights
        if self.rough is not None:
            square = square + np.asarray(self.rough.power(2).sum(axis=0)).ravel()
        return 1.0 / np.sqrt(np.maximum(square, 1e-6 * float(square.max()) + 1e-300))


def needed_samples(
    problem: LeastSquares, line_of_column: NDArray[np.int64], n_min: int
) -> tuple[NDArray[np.bool_], Array]:
    """Return which samples (N,) to keep, and the solution: lines lose their ends, or go, where the plan gains by it.

    With x optimal, leaving out the samples J of one line changes the objective by -g.x + 1/2 |B_J x_J|^2 if the
    others stay as they are: a bound that re-optimising only improves. Each round cuts every line's best head, tail or
    whole where that pays, at most half of the lines at a time, and solves again.
    """
    keep = np.ones(len(line_of_column), bool)
    x = problem.solve(problem.low)
    for _ in range(ROUNDS_MAX):
        residual = problem.matrix @ x - problem.goal
        value = 0.5 * float(problem.weights @ residual**2)
        gradient = problem.matrix.T @ (problem.weights * residual)
        columns = problem.matrix.tocsc()
        cuts = []
        for line in np.unique(line_of_column[keep]):
            own = np.flatnonzero((line_of_column == line) & keep)
            gain, drop = _best_cut(
                columns[:, own] @ scipy.sparse.diags(x[own]), problem.weights, gradient[own] * x[own], n_min
            )
            if gain > GAIN_MIN * value:
                cuts.append((gain, own[drop]))
        if not cuts:
            break
        cuts.sort(key=lambda item: -item[0])
        for _, drop in cuts[: max(1, (len(cuts) + 1) // 2)]:
            keep[drop] = False
        problem = LeastSquares(
            matrix=problem.matrix,
            goal=problem.goal,
            weights=problem.weights,
            low=np.where(keep, problem.low, 0.0),
            high=np.where(keep, problem.high, 0.0),
        )
        x = problem.solve(x)
    return keep, x


def _best_cut(laid: scipy.sparse.csc_matrix, weights: Array, pull: Array, n_min: int) -> tuple[float, slice]:
    gram = np.asarray((laid.T @ laid.multiply(weights[:, None])).todense())
    square = np.cumsum(np.cumsum(gram, axis=0), axis=1)
    n = len(pull)
    head = np.cumsum(pull) - 0.5 * np.diag(square)
    total, last = square[-1, -1], np.arange(n)
    # samples after i: total - 2 (first i against all) + (first i against first i)
    tail = np.r_[
        pull.sum() - 0.5 * total,
        (pull.sum() - np.cumsum(pull)) - 0.5 * (total - 2.0 * square[last, -1] + np.diag(square)),
    ]
    options: list[tuple[float, slice]] = [(float(head[-1]), slice(0, n))]
    if n > 2 * n_min:
        i = int(np.argmax(head[n_min - 1 : n - n_min])) + n_min
        options.append((float(head[i - 1]), slice(0, i)))
        i = int(np.argmax(tail[n_min : n - n_min + 1])) + n_min
        options.append((float(tail[i]), slice(i, n)))
    return max(options, key=lambda item: item[0])
