"""Speeds along strokes so that what they leave comes as close to a target as speed and acceleration bounds allow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell_causes import ResidualCauses, residual_causes
from cell_core.optimise.dwell_solver import DwellSolver
from cell_core.optimise.slowness import SMOOTHING_LENGTH_M, SpeedLimits
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

__all__ = ["SMOOTHING_LENGTH_M", "DwellResult", "SpeedLimits", "limit_acceleration", "optimise_speed"]


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
    """Bounds kept, and the gap closed or no round gained any more."""
    at_low_fraction: float
    """Share of the samples at the lowest speed."""
    at_high_fraction: float
    """Share of the samples at the highest speed."""
    acceleration_bound_fraction: float
    """Share of the steps at the acceleration bound."""
    optimality_gap: float
    """Objective (weighted squared error, smoothness, price of time) minus a lower bound of it, over the objective:
    0.01 says that no speeds at these knots do more than 1 % better. The bound takes the dwell as linear in slowness
    and the acceleration bound as linearised in the last round."""
    at_low_by_stroke: Array
    """(S,) share of each stroke's samples at the lowest speed."""
    at_high_by_stroke: Array
    """(S,) share of each stroke's samples at the highest speed."""
    acceleration_bound_by_stroke: Array
    """(S,) share of each stroke's steps at the acceleration bound."""
    at_most_points: NDArray[np.int64]
    """Points that get what they may get at most, within 0.1 %."""
    causes: ResidualCauses | None = None
    """Where the residual comes from; only where asked to `explain`."""


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
    most_m: Array | None = None,
    dwell_price_per_s: float = 0.0,
    fastest_m_per_s: Array | None = None,
    rounds_max: int = 20,
    explain: bool = False,
) -> DwellResult:
    """Return the strokes at speeds that minimise sum w (A t - h)^2 plus smoothness within the limits.

    Unknowns are slownesses at knots along each stroke, linear between them. Each round solves a sparse quadratic
    program around the exact dwell of the last (Stroke.dwell_s: constant acceleration between samples). Acceleration
    and caps enter it as rows that lie inside the true bounds (convex-concave procedure), so that every round's speeds
    can be driven and the last are a local optimum under the bounds; a pass at the end holds them to the last digit.

    Args:
        target_m: (V,) wanted change [m]; its weighted mean must be positive.
        weights: (V,) >= 0, usually areas [m2]; rows of weight 0 are ignored.
        knot_m: distance of knots [m], about a third of the footprint's length along travel; made longer where more
            than KNOTS_MAX would be needed.
        smoothness: weight of squared relative slowness change per SMOOTHING_LENGTH_M.
        over_weight: factor on the squared error where the change exceeds the target, to prefer "too little".
        most_m: (V,) change that no point may exceed [m], inf where there is no such bound; holds for weight 0 too.
        dwell_price_per_s: what a second with the process on adds to the mean squared error over the squared mean
            target [1/s]; what lands on points with a target is credited at the mean, so that only what misses costs.
        fastest_m_per_s: (N,) highest speed at each sample, where an arm cannot keep that of the limits; with a cap on
            points, or bounds that leave no room, it is the last to be kept.
        rounds_max: rounds; one is enough to compare layouts.
        explain: split the residual into its causes, at about the cost of five more rounds.

    Raises:
        CoverageError: no stroke changes any weighted row, nothing is wanted there, or a cap cannot be kept.
    """
    solver = DwellSolver.of(
        operator,
        strokes,
        target_m,
        weights,
        limits,
        knot_m,
        smoothness,
        over_weight,
        most_m,
        dwell_price_per_s,
        fastest_m_per_s,
    )
    state = solver.solve(rounds_max)
    path = solver.path
    slowness = path.spread @ state.z
    done = driven(strokes, slowness, limits, faster=len(solver.caps.points) > 0)
    predicted = np.asarray(operator.predict(done), float)
    final = np.concatenate([s.speed_m_per_s for s in done])
    low, high, bound = final < 1.001 * limits.low_m_per_s, final > 0.999 * limits.high_m_per_s, []
    for stroke in done:
        change = np.abs(np.diff(stroke.speed_m_per_s**2))
        bound.append(change > 1.98 * limits.acceleration_m_per_s2 * stroke.step_lengths_m)
    ends = np.cumsum([len(s) for s in done])[:-1]
    value = solver.value(1.0 / final)
    return DwellResult(
        strokes=done,
        predicted_m=predicted,
        residual_rms_m=float(np.sqrt(np.average((predicted - target_m) ** 2, weights=weights))),
        rounds=state.rounds,
        converged=state.converged,
        at_low_fraction=float(low.mean()),
        at_high_fraction=float(high.mean()),
        acceleration_bound_fraction=float(np.concatenate(bound).mean()),
        optimality_gap=solver.relative_gap(value, state.lower_bound),
        at_low_by_stroke=np.array([part.mean() for part in np.split(low, ends)]),
        at_high_by_stroke=np.array([part.mean() for part in np.split(high, ends)]),
        acceleration_bound_by_stroke=np.array([part.mean() for part in bound]),
        at_most_points=solver.caps.points[solver.caps.use(1.0 / final) > 0.999],
        causes=residual_causes(solver, 1.0 / final) if explain else None,
    )


def driven(strokes: Sequence[Stroke], slowness: Array, limits: SpeedLimits, *, faster: bool) -> tuple[Stroke, ...]:
    """Return the strokes at these slownesses (N,), bounds held exactly by going slower, or `faster`."""
    speeds = np.split(1.0 / slowness, np.cumsum([len(s) for s in strokes])[:-1])
    done = []
    for stroke, speed in zip(strokes, speeds, strict=True):
        own = np.clip(speed, limits.low_m_per_s, limits.high_m_per_s)
        hold = raise_to_acceleration if faster else limit_acceleration
        own = hold(own, stroke.step_lengths_m, limits.acceleration_m_per_s2)
        done.append(replace(stroke, speed_m_per_s=np.clip(own, limits.low_m_per_s, limits.high_m_per_s)))
    return tuple(done)


def limit_acceleration(speed_m_per_s: Array, steps_m: Array, acceleration_m_per_s2: float) -> Array:
    """Return the highest speeds (N,) not above those given with |v1^2 - v0^2| <= 2 a ds on every step."""
    square = (np.asarray(speed_m_per_s, float) ** 2).tolist()
    rise = (2.0 * acceleration_m_per_s2 * np.asarray(steps_m)).tolist()
    for i in range(1, len(square)):
        square[i] = min(square[i], square[i - 1] + rise[i - 1])
    for i in range(len(square) - 2, -1, -1):
        square[i] = min(square[i], square[i + 1] + rise[i])
    return np.sqrt(square)


def raise_to_acceleration(speed_m_per_s: Array, steps_m: Array, acceleration_m_per_s2: float) -> Array:
    """Return the lowest speeds (N,) not below those given with |v1^2 - v0^2| <= 2 a ds on every step."""
    square = (np.asarray(speed_m_per_s, float) ** 2).tolist()
    rise = (2.0 * acceleration_m_per_s2 * np.asarray(steps_m)).tolist()
    for i in range(1, len(square)):
        square[i] = max(square[i], square[i - 1] - rise[i - 1])
    for i in range(len(square) - 2, -1, -1):
        square[i] = max(square[i], square[i + 1] - rise[i])
    return np.sqrt(square)
