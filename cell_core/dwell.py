"""Speeds along strokes so that what they leave comes as close to a target as speed and acceleration bounds allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from cell_core.coverage import CoverageOperator
from cell_core.errors import CoverageError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

SMOOTHING_LENGTH_M = 0.05
KNOTS_MAX = 2_500
STIFFER = 10.0
"""Growth per round of the smoothness of a step that breaks the acceleration bound."""


@dataclass(frozen=True, kw_only=True)
class SpeedLimits:
    """Bounds of the tool centre point's speed."""

    low_m_per_s: float
    high_m_per_s: float
    acceleration_m_per_s2: float


@dataclass(frozen=True, kw_only=True, eq=False)
class DwellResult:
    """Strokes with optimised speeds and what they leave, recomputed from the strokes as they are."""

    strokes: tuple[Stroke, ...]
    predicted_m: Array
    """(V,) change left by `strokes` [m]."""
    residual_rms_m: float
    """Weighted root mean square of predicted minus target [m]."""
    rounds: int
    converged: bool
    at_low_fraction: float
    """Share of the samples at the lowest speed."""
    at_high_fraction: float
    """Share of the samples at the highest speed."""
    acceleration_bound_fraction: float
    """Share of the steps at the acceleration bound."""


def optimise_speed(
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    target_m: Array,
    weights: Array,
    limits: SpeedLimits,
    *,
    knot_m: float = 0.02,
    smoothness: float = 1e-3,
    over_weight: float = 1.0,
    iterations_max: int = 40,
    rounds_max: int = 8,
) -> DwellResult:
    """Return the strokes at speeds that minimise sum w (A t - h)^2 plus smoothness within the limits.

    Unknowns are slownesses at knots along each stroke, linear between them. Each round solves the bounded quadratic
    problem around the exact dwell of the last (Stroke.dwell_s: constant acceleration between samples) by projected
    Newton steps, reweights the rows that exceed the target, and stiffens steps that break the acceleration bound; at
    the end forward and backward passes make that bound exact by slowing down only.

    Args:
        target_m: (V,) wanted change [m]; its weighted mean must be positive.
        weights: (V,) >= 0, usually areas [m2]; rows of weight 0 are ignored.
        knot_m: distance of knots [m], about a third of the footprint's length along travel; made longer where more
            than KNOTS_MAX would be needed.
        smoothness: weight of squared relative slowness change per SMOOTHING_LENGTH_M.
        over_weight: factor on the squared error where the change exceeds the target; > 1 for "never more than".
        iterations_max: Newton steps per round.
        rounds_max: rounds; one is enough to compare layouts.

    Raises:
        CoverageError: no stroke changes any weighted row, or nothing is wanted there.
    """
    problem = _Problem.of(operator, strokes, target_m, weights, limits, knot_m, smoothness)
    z = np.full(problem.spread.shape[1], np.clip(problem.best_uniform(), problem.lowest, problem.highest))
    stiffness = np.ones(len(problem.steps_m))
    row_weights, last, converged, rounds = problem.weights, np.inf, False, 0
    gram = problem.gram(row_weights)
    while rounds < rounds_max and not converged:
        rounds += 1
        if rounds > 1 and over_weight != 1.0:
            gram = problem.gram(row_weights)
        z = problem.step(z, gram, row_weights, stiffness, iterations_max)
        error = problem.matrix @ problem.dwell(problem.spread @ z).astype(np.float32) - problem.target
        row_weights = problem.weights * np.where(error > 0.0, over_weight, 1.0)
        broken = problem.acceleration(problem.spread @ z) > limits.acceleration_m_per_s2
        stiffness = np.where(broken, STIFFER * stiffness, stiffness)
        value = float(row_weights @ error**2)
        converged = abs(last - value) <= 2e-3 * value and not broken.any()
        last = value
    return _result(operator, strokes, problem.spread @ z, target_m, weights, limits, rounds, converged)


def _result(
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    slowness: Array,
    target_m: Array,
    weights: Array,
    limits: SpeedLimits,
    rounds: int,
    converged: bool,
) -> DwellResult:
    speeds = np.split(1.0 / slowness, np.cumsum([len(s) for s in strokes])[:-1])
    done, bound = [], 0
    for stroke, speed in zip(strokes, speeds, strict=True):
        steps = stroke.step_lengths_m
        own = np.clip(speed, limits.low_m_per_s, limits.high_m_per_s)
        own = limit_acceleration(own, steps, limits.acceleration_m_per_s2)
        bound += int((np.abs(np.diff(own**2)) > 1.98 * limits.acceleration_m_per_s2 * steps).sum())
        done.append(replace(stroke, speed_m_per_s=own))
    predicted = np.asarray(operator.predict(done), float)
    final = np.concatenate([s.speed_m_per_s for s in done])
    return DwellResult(
        strokes=tuple(done),
        predicted_m=predicted,
        residual_rms_m=float(np.sqrt(np.average((predicted - target_m) ** 2, weights=weights))),
        rounds=rounds,
        converged=converged,
        at_low_fraction=float((final < 1.001 * limits.low_m_per_s).mean()),
        at_high_fraction=float((final > 0.999 * limits.high_m_per_s).mean()),
        acceleration_bound_fraction=bound / max(len(final) - len(done), 1),
    )


def limit_acceleration(speed_m_per_s: Array, steps_m: Array, acceleration_m_per_s2: float) -> Array:
    """Return the highest speeds (N,) not above those given with |v1^2 - v0^2| <= 2 a ds on every step."""
    square = np.array(speed_m_per_s, float) ** 2
    rise = 2.0 * acceleration_m_per_s2 * np.asarray(steps_m)
    for i in range(1, len(square)):
        square[i] = min(square[i], square[i - 1] + rise[i - 1])
    for i in range(len(square) - 2, -1, -1):
        square[i] = min(square[i], square[i + 1] + rise[i])
    return np.sqrt(square)


def bounded_quadratic(H: Array, g: Array, low: float, high: float, start: Array, iterations_max: int) -> Array:
    """Return the x in [low, high]^n that minimises x H x / 2 - g x, H symmetric positive definite.

    Projected Newton: the unknowns at a bound that the gradient presses against it stay, the others take the Newton
    step, shortened until the projected point descends. Source: Bertsekas, SIAM J. Control 20 (1982) 221.
    """
    x = np.clip(start, low, high)
    gradient = H @ x - g
    for _ in range(iterations_max):
        held = ((x <= low) & (gradient > 0.0)) | ((x >= high) & (gradient < 0.0))
        free = np.flatnonzero(~held)
        if len(free) == 0:
            break
        factor = scipy.linalg.cho_factor(H[np.ix_(free, free)], check_finite=False)
        step = np.zeros_like(x)
        step[free] = -scipy.linalg.cho_solve(factor, gradient[free], check_finite=False)
        length = 1.0
        while True:
            moved = np.clip(x + length * step, low, high) - x
            push = H @ moved
            drop = float(gradient @ moved + 0.5 * moved @ push)
            if drop <= 1e-4 * float(gradient @ moved) or length < 1e-6:
                break
            length *= 0.5
        x, gradient = x + moved, gradient + push
        if np.abs(moved).max() <= 1e-6 * (high - low):
            break
    return x


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """The problem in slownesses [s/m], errors in units of the mean target."""

    matrix: Any
    """(R, N) csr float32, rows that count, over the mean target."""
    linear: Any
    """(R, K) csr: change per slowness at the knots, with the mean slowness over a step."""
    target: Array
    weights: Array
    spread: Any
    """(N, K) csr: slowness at samples from slowness at knots."""
    first: NDArray[np.int64]
    """(M,) sample each step starts at; no step joins two strokes."""
    steps_m: Array
    on: Array
    lowest: float
    highest: float
    smoothness: float

    @staticmethod
    def of(
        operator: CoverageOperator,
        strokes: Sequence[Stroke],
        target_m: Array,
        weights: Array,
        limits: SpeedLimits,
        knot_m: float,
        smoothness: float,
    ) -> "_Problem":
        rows = np.flatnonzero((np.asarray(weights) > 0.0) & (np.diff(operator.matrix.indptr) > 0))
        w = np.asarray(weights, float)[rows]
        mean_target = float(w @ np.asarray(target_m)[rows] / w.sum()) if len(rows) else 0.0
        if mean_target <= 0.0:
            raise CoverageError(
                f"none of {len(strokes)} strokes serves any of the {len(weights)} points with a target above 0 m"
            )
        matrix = (operator.matrix[rows] * np.float32(1.0 / mean_target)).tocsr()
        counts = np.array([len(s) for s in strokes])
        starts = np.cumsum(counts) - counts
        first = np.concatenate([start + np.arange(n - 1) for start, n in zip(starts, counts, strict=True)])
        steps = np.concatenate([s.step_lengths_m for s in strokes])
        on = np.concatenate([s.on for s in strokes]).astype(float)
        spread = _knots(strokes, max(knot_m, float(steps.sum()) / KNOTS_MAX))
        n = int(counts.sum())
        # each step lasts ds times its ends' mean slowness, and half of it belongs to either end
        step = np.arange(len(first))
        ends = scipy.sparse.csr_matrix(
            (np.ones(2 * len(first)), (np.r_[step, step], np.r_[first, first + 1])), shape=(len(first), n)
        )
        to_dwell = scipy.sparse.diags(on) @ ends.T @ scipy.sparse.diags(0.25 * steps) @ ends @ spread
        return _Problem(
            matrix=matrix,
            linear=(matrix @ to_dwell.astype(np.float32)).tocsr(),
            target=np.asarray(target_m, float)[rows] / mean_target,
            weights=w / w.sum(),
            spread=spread,
            first=first,
            steps_m=steps,
            on=on,
            lowest=1.0 / limits.high_m_per_s,
            highest=1.0 / limits.low_m_per_s,
            smoothness=smoothness,
        )

    def dwell(self, slowness: Array) -> Array:
        """Return the exact dwell (N,) [s] of slownesses at the samples (N,) [s/m]."""
        v = 1.0 / slowness
        half = self.steps_m / (v[self.first] + v[self.first + 1])
        n = len(v)
        return self.on * (np.bincount(self.first, half, n) + np.bincount(self.first + 1, half, n))

    def acceleration(self, slowness: Array) -> Array:
        """Return the acceleration (M,) [m/s2] on each step."""
        square = 1.0 / slowness**2
        return np.abs(square[self.first + 1] - square[self.first]) / (2.0 * np.maximum(self.steps_m, 1e-9))

    def best_uniform(self) -> float:
        """Return the one slowness [s/m] for all samples that fits best."""
        change = self.linear @ np.ones(self.linear.shape[1], np.float32)
        power = float(self.weights @ change**2)
        return float(self.weights @ (change * self.target)) / power if power > 0.0 else self.highest

    def gram(self, row_weights: Array) -> Array:
        """Return the (K, K) curvature of the weighted squared error in the knots' slownesses."""
        weighted = scipy.sparse.diags(row_weights.astype(np.float32)) @ self.linear
        return (self.linear.T.tocsr() @ weighted.tocsr()).toarray().astype(float)

    def step(self, z: Array, gram: Array, row_weights: Array, stiffness: Array, iterations_max: int) -> Array:
        """Return the knots' slownesses that are best for the change linearised at `z`."""
        slowness = self.spread @ z
        exact = self.matrix @ self.dwell(slowness).astype(np.float32)
        wanted = self.target - exact + self.linear @ z.astype(np.float32)
        g = self.linear.T @ (row_weights * wanted).astype(np.float32)
        # relative to the mean slowness, so that the weight means the same for fast and slow processes
        change = self.spread[self.first + 1] - self.spread[self.first]
        per_step = SMOOTHING_LENGTH_M / np.maximum(self.steps_m, 1e-4) / float(slowness.mean())
        share = self.steps_m / self.steps_m.sum()
        bending = change.T @ scipy.sparse.diags(self.smoothness * stiffness * share * per_step**2) @ change
        H = gram + bending.toarray()
        H[np.diag_indices_from(H)] += 1e-9 * H.diagonal().max()
        return bounded_quadratic(H, np.asarray(g, float), self.lowest, self.highest, z, iterations_max)


def _knots(strokes: Sequence[Stroke], knot_m: float) -> Any:
    rows, columns, values, row, column = [], [], [], 0, 0
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
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(row, column))
