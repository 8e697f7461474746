"""Rounds of sparse quadratic programs that bring slownesses along strokes to an optimum under their bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell_problem import CAP_NEAR, Caps, Fit, TimeCost, served_rows
from cell_core.optimise.quadratic import Rows, improvement_bound, solve_quadratic
from cell_core.optimise.slowness import Path, SpeedLimits
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

GAP_MAX = 1e-3
"""Rounds end when no better objective is possible by more than this share of it."""
EVEN_ROUNDS = 3
"""Curvature at one speed all along is kept for so many rounds: enough unless speeds differ much from knot to knot."""
SETTLED = 1e-5
"""A round that gains less than this share ends the rounds: single precision may hide the last of the gap."""
SHORTEST_STEP = 0.05
BREACH = 1e-6
"""Bounds broken by less than this share are the solver's rounding; the pass at the end takes it away."""
FLOOR = 1e-8
"""Objective below which nothing is left to gain: an error of 0.01 % of the mean target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Where the rounds ended."""

    z: Array
    """(K,) slownesses at the knots [s/m]."""
    lower_bound: float
    """No slownesses within the bounds, as last linearised, have a lower objective."""
    rounds: int
    converged: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class DwellSolver:
    """A fit, the path it is over and what bounds it."""

    fit: Fit
    path: Path
    caps: Caps
    smoothness: float
    """Weight of the path's roughness."""
    time_cost: TimeCost
    start: float
    """Slowness [s/m] the rounds start at, all along."""
    mean_target_m: float
    served_share: float
    """Share of the weight on points that the fit covers."""
    unserved_square_m2: float
    """Part of the mean square error on points that no sample changes [m2]."""

    @staticmethod
    def of(
        operator: CoverageOperator,
        strokes: Sequence[Stroke],
        target_m: Array,
        weights: Array,
        limits: SpeedLimits,
        knot_m: float,
        smoothness: float,
        over_weight: float,
        most_m: Array | None,
        dwell_price_per_s: float = 0.0,
        fastest_m_per_s: Array | None = None,
    ) -> "DwellSolver":
        """Return the solver for the problem of `cell_core.optimise.dwell.optimise_speed`."""
        rows = served_rows(operator, target_m, weights, len(strokes))
        w = np.asarray(weights, float)[rows]
        mean_target = float(w @ np.asarray(target_m, float)[rows] / w.sum())
        unserved = np.array(weights, float)
        unserved[rows] = 0.0
        path = Path.of(strokes, limits, knot_m, fastest_m_per_s)
        fit = Fit.of(operator, path, target_m, weights, rows, mean_target, over_weight)
        start = float(np.clip(fit.best_uniform(), 1.0 / limits.high_m_per_s, path.highest))
        return DwellSolver(
            fit=fit,
            path=path,
            caps=Caps.of(operator, path, most_m),
            # relative to the typical slowness, so that the weight means the same for fast and slow processes
            smoothness=smoothness / start**2,
            time_cost=fit.time_cost(dwell_price_per_s),
            start=start,
            mean_target_m=mean_target,
            served_share=float(w.sum() / np.sum(weights)),
            unserved_square_m2=float(np.sum(unserved * np.asarray(target_m) ** 2) / np.sum(weights)),
        )

    def value(self, slowness: Array) -> float:
        """Return the objective of slownesses at the samples (N,)."""
        return self._value(slowness, self.fit.error(slowness))

    def _value(self, slowness: Array, error: Array) -> float:
        square = float(self.fit.row_weights(error) @ error**2) + self.smoothness * self.path.roughness(slowness)
        return square + self.time_cost.value(self.path.dwell(slowness))

    def square_m2(self, error: Array) -> float:
        """Return the weighted mean square of an error (R,) of the fit, unserved points included [m2]."""
        served = self.served_share * float(self.fit.weights @ error**2) * self.mean_target_m**2
        return served + self.unserved_square_m2

    def layout_z(self) -> Array:
        """Return the knots' slownesses, any >= 0, that fit best with the mean slowness over a step."""
        curvature = self.fit.curvature(self.fit.linear, self.fit.weights)
        pull = self.fit.linear.T @ (2.0 * self.fit.weights * self.fit.target).astype(np.float32)
        return solve_quadratic(curvature, -np.asarray(pull, float), 0.0, np.inf, Rows.none(len(pull))).x

    def solve(self, rounds_max: int) -> State:
        """Return slownesses after at most `rounds_max` rounds.

        Rows come in where a round's speeds show that they are needed; they are linearised at slownesses that keep
        the true bounds, so that the next program has a solution and only improves on them.
        """
        z, watch, lower = np.maximum(self.start, self.path.lowest), Watch(), -np.inf
        here = self._look(z)
        curvature, rows, converged, rounds = self._curvature(here), Rows.none(len(z)), False, 0
        while rounds < rounds_max and not converged:
            rounds += 1
            if rounds > 1 and (self.fit.over_weight != 1.0 or rounds > EVEN_ROUNDS):
                curvature = self._curvature(here, even=rounds <= EVEN_ROUNDS)
            rows = self.rows(here.slowness, watch)
            found = solve_quadratic(curvature, here.gradient - curvature @ z, *self.bounds, rows)
            before = here.value
            z, here = self._descended(z, here, found.x)
            lower = here.value - improvement_bound(z, here.gradient, *self.bounds, rows, found.multipliers)
            watch = self.watched(here.slowness, watch)
            if watch.broken and (rounds < rounds_max or len(self.caps.points)):
                z = self.allowed(z)
                here = self._look(z)
            settled = rounds > 1 and before - here.value <= SETTLED * here.value
            converged = not watch.broken and (settled or self.relative_gap(here.value, lower) <= GAP_MAX)
        return State(z=z, lower_bound=lower, rounds=rounds, converged=converged)

    def relative_gap(self, value: float, lower_bound: float) -> float:
        """Return how far a value is above a lower bound, over the value."""
        return max(0.0, value - max(lower_bound, 0.0)) / max(value, FLOOR)

    @property
    def bounds(self) -> tuple[Array, float]:
        """Lowest slowness of each knot (K,), and the highest [s/m]."""
        return self.path.lowest, self.path.highest

    def _look(self, z: Array) -> "_View":
        slowness = self.path.spread @ z
        error = self.fit.error(slowness)
        return _View(
            slowness=slowness,
            error=error,
            value=self._value(slowness, error),
            gradient=self.fit.gradient(error, slowness)
            + self.smoothness * (self.path.bending @ z)
            + self.path.pulled_back(self.time_cost.per_s, slowness),
        )

    def _curvature(self, here: "_View", *, even: bool = True) -> Any:
        linear = self.fit.linear if even else self.fit.linear_at(here.slowness)
        return self.fit.curvature(linear, self.fit.row_weights(here.error)) + self.smoothness * self.path.bending

    def _descended(self, z: Array, here: "_View", found: Array) -> tuple[Array, "_View"]:
        """Return the point found, or one nearer to z where the change of row weights makes it no better."""
        there = self._look(found)
        length = 1.0
        while there.value > here.value * (1.0 + 1e-9) and length > SHORTEST_STEP:
            length *= 0.5
            there = self._look(z + length * (found - z))
        return z + length * (found - z), there

    def rows(self, slowness: Array, watch: "Watch") -> Rows:
        """Return the rows watched, linearised at slownesses at the samples (N,)."""
        rows = Rows.none(self.path.spread.shape[1])
        if watch.acceleration:
            rows = rows.joined(self.path.acceleration_rows(slowness))
        if len(watch.caps):
            rows = rows.joined(self.caps.rows(slowness, watch.caps))
        return rows

    def watched(self, slowness: Array, before: "Watch") -> "Watch":
        """Return what the next round has to watch, and whether a bound is broken now."""
        most = self.path.limits.acceleration_m_per_s2 * (1.0 + BREACH)
        too_fast = bool((self.path.acceleration(slowness) > most).any())
        use = self.caps.use(slowness)
        too_much = bool((use > 1.0 + BREACH).any())
        return Watch(
            acceleration=before.acceleration or too_fast,
            caps=np.union1d(before.caps, np.flatnonzero(use > CAP_NEAR)) if too_much else before.caps,
            broken=too_fast or too_much,
        )

    def allowed(self, z: Array) -> Array:
        """Return knots' slownesses near z that keep acceleration and caps."""
        # the floor keeps the bound itself, and so does the larger of two that do
        faster = np.maximum(self.path.accelerable(z), self.path.lowest)
        if len(self.caps.points) == 0:
            slower = self.path.accelerable(z, slower=True)
            return min((faster, slower), key=lambda one: self.value(self.path.spread @ one))
        if self._caps_kept(faster):
            return faster
        low, high = 0.0, 1.0
        for _ in range(20):
            share = 0.5 * (low + high)
            kept = self._caps_kept(self._towards_fastest(z, share))
            low, high = (share, high) if kept else (low, share)
        return self._towards_fastest(z, low)

    def _towards_fastest(self, z: Array, share: float) -> Array:
        lowest = self.path.lowest
        return np.maximum(self.path.accelerable(lowest + share * (z - lowest)), lowest)

    def _caps_kept(self, z: Array) -> bool:
        return not (self.caps.use(self.path.spread @ z) > 1.0).any()


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    slowness: Array
    error: Array
    value: float
    gradient: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """Which bounds need rows."""

    acceleration: bool = False
    caps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    broken: bool = False
