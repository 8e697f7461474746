"""The dwell problem in numbers: what slownesses along strokes leave, its derivatives, and the rows that bound them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.quadratic import Rows
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

SMOOTHING_LENGTH_M = 0.05
KNOTS_MAX = 50_000
CAP_NEAR = 0.3
"""Points above this share of their cap are watched once any is above its cap."""


@dataclass(frozen=True, kw_only=True)
class SpeedLimits:
    """Bounds of the tool centre point's speed."""

    low_m_per_s: float
    high_m_per_s: float
    acceleration_m_per_s2: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """Slownesses along strokes: unknowns are those at knots [s/m], linear between them."""

    spread: Any
    """(N, K) csr: slowness at samples from slowness at knots."""
    first: NDArray[np.int64]
    """(M,) sample each step starts at; no step joins two strokes."""
    steps_m: Array
    on: Array
    """(N,) 1.0 with the process on."""
    knots: NDArray[np.int64]
    """(S,) knots of each stroke."""
    knot_m: Array
    """(S,) distance of each stroke's knots [m]."""
    limits: SpeedLimits
    floor: Array | None = None
    """(K,) least slowness of each knot, where it is not that of the highest speed everywhere [s/m]."""

    @staticmethod
    def of(
        strokes: Sequence[Stroke], limits: SpeedLimits, knot_m: float, fastest_m_per_s: Array | None = None
    ) -> "Path":
        """Return the path over the strokes with knots about `knot_m` apart, farther where KNOTS_MAX would not do.

        Args:
            fastest_m_per_s: (N,) highest speed at each sample, where it is less than that of the limits.
        """
        counts = np.array([len(s) for s in strokes])
        starts = np.cumsum(counts) - counts
        steps = np.concatenate([s.step_lengths_m for s in strokes])
        spread, knots, distance = _knots(strokes, max(knot_m, float(steps.sum()) / KNOTS_MAX))
        path = Path(
            spread=spread,
            first=np.concatenate([start + np.arange(n - 1) for start, n in zip(starts, counts, strict=True)]),
            steps_m=steps,
            on=np.concatenate([s.on for s in strokes]).astype(float),
            knots=knots,
            knot_m=distance,
            limits=limits,
        )
        return path if fastest_m_per_s is None else path._with_floor(fastest_m_per_s)

    def _with_floor(self, fastest_m_per_s: Array) -> "Path":
        """Return the path with knots held so slow that samples around them are, on average, no faster than they may be.

        Where the speed allowed changes within a knot's distance single samples may still be too fast.
        """
        own = np.clip(1.0 / np.asarray(fastest_m_per_s, float), 1.0 / self.limits.high_m_per_s, self.highest)
        floor = (self.spread.T @ own) / np.maximum(self.spread.T @ np.ones(len(own)), 1e-12)
        return replace(self, floor=np.minimum(self.accelerable(floor, slower=True), self.highest))

    @property
    def lowest(self) -> Array:
        """(K,) slowness of the knots at the highest speed [s/m]."""
        return np.full(self.spread.shape[1], 1.0 / self.limits.high_m_per_s) if self.floor is None else self.floor

    @property
    def highest(self) -> float:
        """Slowness at the lowest speed [s/m]."""
        return 1.0 / self.limits.low_m_per_s

    def dwell(self, slowness: Array) -> Array:
        """Return the dwell (N,) [s] of slownesses at the samples (N,): each step lasts 2 ds / (v0 + v1)."""
        s0, s1 = slowness[self.first], slowness[self.first + 1]
        return self._to_ends(self.steps_m * s0 * s1 / (s0 + s1))

    def _to_ends(self, half_s: Array) -> Array:
        n = len(self.on)
        return self.on * (np.bincount(self.first, half_s, n) + np.bincount(self.first + 1, half_s, n))

    def slopes(self, slowness: Array) -> tuple[Array, Array]:
        """Return d(half a step's duration) / d(slowness at its first, last sample) (M,) each [m]."""
        s0, s1 = slowness[self.first], slowness[self.first + 1]
        return self.steps_m * (s1 / (s0 + s1)) ** 2, self.steps_m * (s0 / (s0 + s1)) ** 2

    def pulled_back(self, at_samples: Array, slowness: Array) -> Array:
        """Return the gradient (K,) in the knots of a function whose gradient in the dwell is `at_samples` (N,)."""
        d0, d1 = self.slopes(slowness)
        p = self.on * at_samples
        p = p[self.first] + p[self.first + 1]
        n = len(self.on)
        return self.spread.T @ (np.bincount(self.first, p * d0, n) + np.bincount(self.first + 1, p * d1, n))

    def jacobian(self, slowness: Array) -> Any:
        """Return d(dwell) / d(knots) (N, K)."""
        d0, d1 = self.slopes(slowness)
        begin, end = self.spread[self.first], self.spread[self.first + 1]
        half = scipy.sparse.diags(d0) @ begin + scipy.sparse.diags(d1) @ end
        return scipy.sparse.diags(self.on) @ self._ends.T @ half

    @cached_property
    def _ends(self) -> Any:
        step = np.arange(len(self.first))
        entries = (np.ones(2 * len(step)), (np.r_[step, step], np.r_[self.first, self.first + 1]))
        return scipy.sparse.csr_matrix(entries, shape=(len(step), len(self.on)))

    @cached_property
    def _bending_weights(self) -> Array:
        share = self.steps_m / max(self.steps_m.sum(), 1e-12)
        return share * (SMOOTHING_LENGTH_M / np.maximum(self.steps_m, 1e-4)) ** 2

    def roughness(self, slowness: Array) -> float:
        """Return the mean squared change of slownesses at the samples (N,) per SMOOTHING_LENGTH_M."""
        return float(self._bending_weights @ (slowness[self.first + 1] - slowness[self.first]) ** 2)

    @cached_property
    def bending(self) -> Any:
        """(K, K) curvature of the roughness in the knots."""
        change = self.spread[self.first + 1] - self.spread[self.first]
        return 2.0 * change.T @ scipy.sparse.diags(self._bending_weights) @ change

    def acceleration(self, slowness: Array) -> Array:
        """Return the acceleration (M,) [m/s2] on each step."""
        square = 1.0 / slowness**2
        return np.abs(square[self.first + 1] - square[self.first]) / (2.0 * np.maximum(self.steps_m, 1e-9))

    @cached_property
    def boundable(self) -> NDArray[np.int64]:
        """Steps too short to go from the lowest to the highest speed."""
        low, high = self.limits.low_m_per_s, self.limits.high_m_per_s
        return np.flatnonzero(2.0 * self.limits.acceleration_m_per_s2 * self.steps_m < high**2 - low**2)

    def acceleration_rows(self, slowness: Array) -> Rows:
        """Return rows over the knots that hold |v1^2 - v0^2| <= 2 a ds on every step, exact at `slowness`.

        With k = 2 a ds the bound reads s1 <= phi(s0) = s0 / sqrt(1 - k s0^2), and the same with the ends swapped. phi
        is convex, so its tangent lies below it: whatever meets the rows meets the bound.
        """
        steps = self.boundable
        k = 2.0 * self.limits.acceleration_m_per_s2 * self.steps_m[steps]
        # where phi passes the highest slowness there is no bound, and its tangent there is as good as any beyond
        last = 1.0 / np.sqrt(self.highest**-2 + k)
        begin, end = self.first[steps], self.first[steps] + 1
        rows = Rows.none(self.spread.shape[1])
        for tail, head in ((begin, end), (end, begin)):
            at = np.minimum(slowness[tail], last)
            root = 1.0 / np.sqrt(1.0 - k * at * at)
            value, slope = at * root, root**3
            size = 1.0 / (1.0 + slope)
            matrix = scipy.sparse.diags(size) @ self.spread[head] - scipy.sparse.diags(size * slope) @ self.spread[tail]
            rows = rows.joined(Rows(matrix=matrix, most=size * (value - slope * at)))
        return rows

    def accelerable(self, z: Array, *, slower: bool = False) -> Array:
        """Return the highest knots' slownesses (K,) not above `z` that the acceleration bound allows.

        `slower`: the lowest not below it. Between knots D apart slowness is linear, so that
        |s1 - s0| <= a D min(s0, s1)^3 suffices.
        """
        out = np.array(z, float)
        start = 0
        for n, distance in zip(self.knots.tolist(), self.knot_m.tolist(), strict=True):
            rise = self.limits.acceleration_m_per_s2 * distance
            own = out[start : start + n].tolist()
            for _ in range(2):
                own.reverse()
                for i in range(1, n):
                    if slower:
                        own[i] = max(own[i], _least_next(own[i - 1], own[i], rise))
                    else:
                        own[i] = min(own[i], own[i - 1] + rise * own[i - 1] ** 3)
            out[start : start + n] = own
            start += n
        return out


def _least_next(s0: float, s1: float, rise: float) -> float:
    """Return the least s >= s1 with s0 <= s + rise s^3."""
    if s0 <= s1 + rise * s1**3:
        return s1
    s = s0
    # convex and increasing: Newton's method comes down to the root from above
    for _ in range(60):
        step = (s + rise * s**3 - s0) / (1.0 + 3.0 * rise * s * s)
        s -= step
        if step <= 1e-12 * s:
            break
    return s


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


def _knots(strokes: Sequence[Stroke], knot_m: float) -> tuple[Any, NDArray[np.int64], Array]:
    rows, columns, values, row, column = [], [], [], 0, 0
    counts, distances = [], []
    for stroke in strokes:
        along = np.r_[0.0, np.cumsum(stroke.step_lengths_m)]
        n = min(max(int(np.ceil(along[-1] / knot_m)), 1) + 1, len(stroke))
        at = along / max(along[-1], 1e-12) * (n - 1)
        low = np.minimum(at.astype(np.int64), n - 2)
        share = at - low
        index = row + np.arange(len(stroke))
        rows += [index, index]
        columns += [column + low, column + low + 1]
        values += [1.0 - share, share]
        row, column = row + len(stroke), column + n
        counts.append(n)
        distances.append(along[-1] / (n - 1))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(row, column)), np.array(counts), np.array(distances)
