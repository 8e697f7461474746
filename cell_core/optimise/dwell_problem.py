"""The dwell problem in numbers: what slownesses along strokes leave, and what must not get too much."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.quadratic import Rows
from cell_core.optimise.slowness import Path
from cell_core.transforms import Array

CAP_NEAR = 0.3
"""Points above this share of their cap are watched once any is above its cap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Weighted squared error of what a path leaves, in units of the mean target."""

    matrix: Any
    """(R, N) csr float32, rows that count, over the mean target."""
    target: Array
    weights: Array
    """(R,) sum to 1."""
    path: Path
    over_weight: float

    @staticmethod
    def of(
        operator: CoverageOperator,
        path: Path,
        target_m: Array,
        weights: Array,
        rows: NDArray[np.int64],
        mean_target_m: float,
        over_weight: float = 1.0,
    ) -> "Fit":
        """Return the fit over these rows of the operator."""
        w = np.asarray(weights, float)[rows]
        return Fit(
            matrix=(operator.matrix[rows] * np.float32(1.0 / mean_target_m)).tocsr(),
            target=np.asarray(target_m, float)[rows] / mean_target_m,
            weights=w / w.sum(),
            path=path,
            over_weight=over_weight,
        )

    def error(self, slowness: Array) -> Array:
        """Return change minus target (R,)."""
        return self.matrix @ self.path.dwell(slowness).astype(np.float32) - self.target

    def row_weights(self, error: Array) -> Array:
        """Return the weights (R,) with `over_weight` on rows that exceed the target."""
        return self.weights if self.over_weight == 1.0 else self.weights * np.where(error > 0.0, self.over_weight, 1.0)

    def gradient(self, error: Array, slowness: Array) -> Array:
        """Return the gradient (K,) of the weighted squared error."""
        pull = self.matrix.T @ (2.0 * self.row_weights(error) * error).astype(np.float32)
        return self.path.pulled_back(np.asarray(pull, float), slowness)

    @cached_property
    def linear(self) -> Any:
        """(R, K) csr: change per slowness at the knots, linearised at one speed everywhere."""
        return self.linear_at(np.ones(len(self.path.on)))

    def linear_at(self, slowness: Array) -> Any:
        """Return the change per slowness at the knots (R, K), linearised at slownesses at the samples (N,)."""
        return (self.matrix @ self.path.jacobian(slowness).astype(np.float32)).tocsr()

    def curvature(self, linear: Any, row_weights: Array) -> Any:
        """Return the (K, K) curvature of the weighted squared error in the knots, of the change as linearised."""
        weighted = scipy.sparse.diags((2.0 * row_weights).astype(np.float32)) @ linear
        return (linear.T.tocsr() @ weighted.tocsr()).astype(float)

    def time_cost(self, price_per_s: float) -> "TimeCost":
        """Return the price of time with the process on, what lands where it is wanted credited at an even dwell's mean.

        Time alone would pull the whole change down; with the credit, time that misses is all that costs.
        """
        n = len(self.path.on)
        if price_per_s == 0.0:
            return TimeCost(per_s=np.zeros(n), constant=0.0)
        wanted = np.where(self.target > 0.0, self.weights, 0.0).astype(np.float32)
        landing = self.path.on * np.asarray(self.matrix.T @ wanted, float)
        even = self.path.dwell(np.ones(n))
        longest_s = float(even.sum()) / float(landing @ even)
        return TimeCost(per_s=price_per_s * (1.0 - longest_s * landing), constant=price_per_s * longest_s)

    def best_uniform(self) -> float:
        """Return the one slowness [s/m] for all samples that fits best."""
        change = self.linear @ np.ones(self.linear.shape[1], np.float32)
        power = float(self.weights @ change**2)
        return float(self.weights @ (change * self.target)) / power if power > 0.0 else self.path.highest


@dataclass(frozen=True, kw_only=True, eq=False)
class TimeCost:
    """What dwell adds to the objective."""

    per_s: Array
    """(N,) per second at each sample, below 0 where more lands than on average [1/s]."""
    constant: float

    def value(self, dwell_s: Array) -> float:
        """Return the cost of a dwell (N,)."""
        return self.constant + float(self.per_s @ dwell_s)


@dataclass(frozen=True, kw_only=True, eq=False)
class Caps:
    """Points that may get at most so much."""

    matrix: Any
    """(C, N) csr rates over each cap."""
    points: NDArray[np.int64]
    """(C,) row of the operator."""
    path: Path

    @staticmethod
    def of_none(path: Path) -> "Caps":
        """Return no caps."""
        return Caps(matrix=scipy.sparse.csr_matrix((0, len(path.on))), points=np.zeros(0, np.int64), path=path)

    @staticmethod
    def of(operator: CoverageOperator, path: Path, most_m: Array | None) -> "Caps":
        """Return the caps where `most_m` (V,) is finite and any sample changes the point.

        Raises:
            CoverageError: a point gets more even at the highest speed all along.
        """
        n_rows = operator.matrix.shape[0]
        if most_m is None:
            return Caps.of_none(path)
        most = np.asarray(most_m, float)
        if most.shape != (n_rows,) or np.isnan(most).any() or most.min() < 0.0:
            raise CoverageError(
                f"most_m has shape {most.shape} and least {np.min(most):.4g} m, needs ({n_rows},) >= 0 m"
            )
        points = np.flatnonzero(np.isfinite(most) & (np.diff(operator.matrix.indptr) > 0))
        own = operator.matrix[points].astype(float)
        least = own @ path.dwell(path.spread @ path.lowest)
        if np.any(least > most[points]):
            i = int(np.argmax(least - most[points]))
            raise CoverageError(
                f"point {points[i]} may get at most {most[points[i]]:.4g} m, but gets {least[i]:.4g} m even at "
                f"{path.limits.high_m_per_s:g} m/s all along: lay strokes clear of it or switch off there",
                point=int(points[i]),
                least_m=float(least[i]),
            )
        # caps of 0 with nothing there at the highest speed never bind
        sound = np.flatnonzero(most[points] > 0.0)
        return Caps(matrix=scipy.sparse.diags(1.0 / most[points[sound]]) @ own[sound], points=points[sound], path=path)

    def use(self, slowness: Array) -> Array:
        """Return the change over the cap (C,)."""
        return self.matrix @ self.path.dwell(slowness)

    def rows(self, slowness: Array, watched: NDArray[np.int64]) -> Rows:
        """Return rows over the knots that hold these caps.

        Dwell is concave in slowness, so that its tangent is on the safe side; and homogeneous, so that the tangent at
        `slowness` passes through the origin.
        """
        own = self.matrix[watched].tocsr()
        matrix = (own @ self.path.jacobian(slowness)).tocsr()
        return Rows(matrix=matrix, most=np.ones(len(watched)))


def served_rows(operator: CoverageOperator, target_m: Array, weights: Array, n_strokes: int) -> NDArray[np.int64]:
    """Return the rows with weight that any sample changes.

    Raises:
        CoverageError: none, or nothing is wanted there.
    """
    rows = np.flatnonzero((np.asarray(weights) > 0.0) & (np.diff(operator.matrix.indptr) > 0))
    if len(rows) == 0 or np.asarray(weights, float)[rows] @ np.asarray(target_m, float)[rows] <= 0.0:
        raise CoverageError(
            f"none of {n_strokes} strokes serves any of the {len(weights)} points with a target above 0 m"
        )
    return rows
