"""Speeds along strokes so that what they leave comes as close to a target as speed and acceleration bounds allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy.optimize import minimize

from cell_core.coverage import CoverageOperator
from cell_core.errors import CoverageError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

SMOOTHING_LENGTH_M = 0.05
ACCELERATION_WEIGHT = 1.0


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
    iterations: int
    converged: bool
    at_low_fraction: float
    """Share of the samples at the lowest speed: more dwell was wanted there than the bound gives only if film lacks."""
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
    smoothness: float = 2e-3,
    over_weight: float = 1.0,
    iterations_max: int = 150,
) -> DwellResult:
    """Return the strokes at speeds that minimise sum w (A t - h)^2 plus smoothness within the limits.

    Unknowns are the slownesses at the samples; t is exactly Stroke.dwell_s of them (constant acceleration between
    samples). Bounded quasi-Newton (L-BFGS-B) with a hinge on acceleration, then forward and backward passes that make
    the acceleration bound exact by slowing down only. Local: the problem is convex but for the small difference
    between mean slowness and mean speed over a step.

    Args:
        target_m: (V,) wanted change [m]; its weighted mean must be positive.
        weights: (V,) >= 0, usually areas [m2]; rows of weight 0 are ignored.
        smoothness: weight of squared relative slowness change per SMOOTHING_LENGTH_M.
        over_weight: factor on the squared error where the change exceeds the target; > 1 for "never more than".

    Raises:
        CoverageError: no stroke changes any weighted row, or nothing is wanted there.
    """
    problem = _Problem.of(operator, strokes, target_m, weights, limits, smoothness, over_weight)
    start = problem.best_uniform()
    lowest, highest = 1.0 / limits.high_m_per_s, 1.0 / limits.low_m_per_s
    answer = minimize(
        problem.value_and_gradient,
        np.full(problem.n, np.clip(start, lowest, highest) / problem.unit_slowness),
        jac=True,
        method="L-BFGS-B",
        bounds=[(lowest / problem.unit_slowness, highest / problem.unit_slowness)] * problem.n,
        options={"maxiter": iterations_max, "maxfun": 2 * iterations_max, "ftol": 1e-7, "gtol": 1e-7, "maxcor": 12},
    )
    speed = np.clip(1.0 / (answer.x * problem.unit_slowness), limits.low_m_per_s, limits.high_m_per_s)
    done, bound, start_at = [], 0, 0
    for stroke in strokes:
        own = speed[start_at : start_at + len(stroke)]
        own = limit_acceleration(own, stroke.step_lengths_m, limits.acceleration_m_per_s2)
        bound += int((_acceleration(own, stroke.step_lengths_m) > 0.99 * limits.acceleration_m_per_s2).sum())
        done.append(replace(stroke, speed_m_per_s=own))
        start_at += len(stroke)
    predicted = np.asarray(operator.predict(done), float)
    final = np.concatenate([s.speed_m_per_s for s in done])
    w = np.asarray(weights, float)
    return DwellResult(
        strokes=tuple(done),
        predicted_m=predicted,
        residual_rms_m=float(np.sqrt(w @ (predicted - target_m) ** 2 / w.sum())),
        iterations=int(answer.nit),
        converged=bool(answer.success),
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


def _acceleration(speed_m_per_s: Array, steps_m: Array) -> Array:
    return np.abs(np.diff(speed_m_per_s**2)) / (2.0 * np.maximum(steps_m, 1e-9))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    """The objective in slowness over `unit_slowness`, errors in units of the mean target."""

    matrix: scipy.sparse.csr_matrix
    transposed: scipy.sparse.csr_matrix
    target: Array
    weights: Array
    first: Array
    """(M,) sample each step starts at; strokes follow each other, no step joins two."""
    steps_m: Array
    on: Array
    n: int
    unit_slowness: float
    acceleration_m_per_s2: float
    smoothness: float
    over_weight: float

    @staticmethod
    def of(
        operator: CoverageOperator,
        strokes: Sequence[Stroke],
        target_m: Array,
        weights: Array,
        limits: SpeedLimits,
        smoothness: float,
        over_weight: float,
    ) -> "_Problem":
        rows = np.flatnonzero((np.asarray(weights) > 0.0) & (np.diff(operator.matrix.indptr) > 0))
        w = np.asarray(weights, float)[rows]
        mean_target = float(w @ np.asarray(target_m)[rows] / w.sum()) if len(rows) else 0.0
        if mean_target <= 0.0:
            raise CoverageError(
                f"none of {len(strokes)} strokes serves any of the {len(weights)} points with a target above 0 m"
            )
        matrix = (operator.matrix[rows] * np.float32(1.0 / mean_target)).tocsr()
        first, offset = [], 0
        for stroke in strokes:
            first.append(np.arange(offset, offset + len(stroke) - 1))
            offset += len(stroke)
        return _Problem(
            matrix=matrix,
            transposed=matrix.T.tocsr(),
            target=np.asarray(target_m, float)[rows] / mean_target,
            weights=w / w.sum(),
            first=np.concatenate(first),
            steps_m=np.concatenate([s.step_lengths_m for s in strokes]),
            on=np.concatenate([s.on for s in strokes]).astype(float),
            n=offset,
            unit_slowness=2.0 / (limits.low_m_per_s + limits.high_m_per_s),
            acceleration_m_per_s2=limits.acceleration_m_per_s2,
            smoothness=smoothness,
            over_weight=over_weight,
        )

    def dwell(self, duration_s: Array) -> Array:
        half = 0.5 * duration_s
        return self.on * (
            np.bincount(self.first, half, self.n) + np.bincount(self.first + 1, half, self.n)
        )

    def best_uniform(self) -> float:
        """Return the one slowness [s/m] for all samples that fits best."""
        change = self.matrix @ self.dwell(self.steps_m).astype(np.float32)
        power = float(self.weights @ change**2)
        return float(self.weights @ (change * self.target)) / power if power > 0.0 else self.unit_slowness

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        v = 1.0 / (x * self.unit_slowness)
        i, j = self.first, self.first + 1
        total = v[i] + v[j]
        change = self.matrix @ self.dwell(2.0 * self.steps_m / total).astype(np.float32)
        error = change - self.target
        pull = self.weights * error * np.where(error > 0.0, self.over_weight, 1.0)
        value = 0.5 * float(pull @ error)
        to_dwell = self.on * (self.transposed @ pull.astype(np.float32))
        to_step = -(to_dwell[i] + to_dwell[j]) * self.steps_m / total**2
        to_v = np.bincount(i, to_step, self.n) + np.bincount(j, to_step, self.n)

        # hinge: |v1^2 - v0^2| / (2 a ds) <= 1
        scale = 1.0 / (2.0 * self.acceleration_m_per_s2 * np.maximum(self.steps_m, 1e-9))
        rise = (v[j] ** 2 - v[i] ** 2) * scale
        excess = np.sign(rise) * np.maximum(np.abs(rise) - 0.9, 0.0)
        c = ACCELERATION_WEIGHT / max(len(i), 1)
        value += 0.5 * c * float(excess @ excess)
        to_rise = c * excess * scale
        to_v += np.bincount(j, 2.0 * v[j] * to_rise, self.n) - np.bincount(i, 2.0 * v[i] * to_rise, self.n)

        gradient = to_v * (-v / x)
        relative = np.log(x[j] / x[i]) * SMOOTHING_LENGTH_M / np.maximum(self.steps_m, 1e-4)
        c = self.smoothness / max(len(i), 1)
        value += 0.5 * c * float(relative @ relative)
        slope = c * relative * SMOOTHING_LENGTH_M / np.maximum(self.steps_m, 1e-4)
        gradient += (np.bincount(j, slope, self.n) - np.bincount(i, slope, self.n)) / x
        return value, gradient
