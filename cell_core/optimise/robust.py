"""Speeds that serve not one calibration but all that may be true: fan width, flow, standoff, registration."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from cell_core.errors import InputRefusedError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import driven
from cell_core.optimise.dwell_problem import Fit
from cell_core.optimise.dwell_solver import GAP_MAX, DwellSolver, Watch
from cell_core.optimise.quadratic import Rows, improvement_bound, solve_quadratic
from cell_core.optimise.slowness import SpeedLimits
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

P95_TAIL = 0.05
SHORTEST_STEP = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """One calibration that may be true, as the operator of the same strokes over the same points."""

    name: str
    operator: CoverageOperator
    share: float = 1.0
    """How likely it is, relative to the others."""


@dataclass(frozen=True, kw_only=True)
class ScenarioScore:
    """What the speeds leave in one scenario."""

    name: str
    residual_rms_m: float
    """Weighted root mean square of change minus target [m]."""
    cv: float
    """Weighted standard deviation over mean of the change."""
    mean_m: float


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustResult:
    """Strokes with speeds for all scenarios; the first scenario is the nominal one."""

    strokes: tuple[Stroke, ...]
    scores: tuple[ScenarioScore, ...]
    """One per scenario, in the order given."""
    nominal: ScenarioScore
    worst: ScenarioScore
    """The scenario of largest residual."""
    p95_residual_rms_m: float
    """95 % of the scenarios, by share, leave no more [m]."""
    p95_cv: float
    optimality_gap: float
    """As in DwellResult, for the mean square error over the worst `tail` of the scenarios."""
    shares: Array
    """(S,) how much each scenario decides the speeds; they sum to 1."""
    rounds: int
    converged: bool


def scenario_box(
    build: Callable[[Mapping[str, float]], CoverageOperator], half_widths: Mapping[str, float], *, corners: bool = True
) -> list[Scenario]:
    """Return the nominal scenario, each deviation alone at both ends of its interval, and the corners of the box.

    Args:
        build: returns the operator for deviations by name, in the caller's units; a name left out is at 0.
        half_widths: largest deviation by name, > 0.
        corners: also all combinations of both ends: 2^n more operators.
    """
    for name, width in half_widths.items():
        if not (np.isfinite(width) and width > 0.0):
            raise InputRefusedError(f"scenario box: half width of {name} is {width:g}, must be > 0")
    cases: list[dict[str, float]] = [{}]
    cases += [{name: sign * width} for name, width in half_widths.items() for sign in (-1.0, 1.0)]
    if corners and len(half_widths) > 1:
        ends = [(-width, width) for width in half_widths.values()]
        cases += [dict(zip(half_widths, case, strict=True)) for case in itertools.product(*ends)]
    return [
        Scenario(name=", ".join(f"{k} {v:+g}" for k, v in case.items()) or "nominal", operator=build(case))
        for case in cases
    ]


def score_scenarios(
    scenarios: Sequence[Scenario], strokes: Sequence[Stroke], target_m: Array, weights: Array
) -> tuple[ScenarioScore, ...]:
    """Return what strokes as they are leave in every scenario."""
    scores = []
    for scenario in scenarios:
        change = np.asarray(scenario.operator.predict(strokes), float)
        mean = float(np.average(change, weights=weights))
        spread = float(np.sqrt(np.average((change - mean) ** 2, weights=weights)))
        scores.append(
            ScenarioScore(
                name=scenario.name,
                residual_rms_m=float(np.sqrt(np.average((change - target_m) ** 2, weights=weights))),
                cv=spread / max(mean, 1e-30),
                mean_m=mean,
            )
        )
    return tuple(scores)


def optimise_speed_robust(
    scenarios: Sequence[Scenario],
    strokes: Sequence[Stroke],
    target_m: Array,
    weights: Array,
    limits: SpeedLimits,
    *,
    tail: float = 0.0,
    knot_m: float = 0.02,
    smoothness: float = 1e-3,
    rounds_max: int = 40,
) -> RobustResult:
    """Return the strokes at speeds that minimise the mean square error of the worst scenario, plus smoothness.

    `tail` > 0 minimises the mean over that worst share of the scenarios instead: it bounds the quantile from above, so
    P95_TAIL is the convex way to a low P95 (Rockafellar and Uryasev, J. Risk 2 (2000) 21). Unknowns and bounds are
    those of optimise_speed. Each round solves the epigraph form: errors of all scenarios linearised below one level,
    curvature that of the scenarios that decided the last round.

    Args:
        scenarios: operators over the same points and samples; the first is the nominal one.

    Raises:
        InputRefusedError: no scenario, shapes differ, or `tail` outside 0..1.
        CoverageError: no stroke changes any weighted point, or nothing is wanted there.
    """
    if not scenarios or not 0.0 <= tail < 1.0:
        raise InputRefusedError(
            f"robust speeds: {len(scenarios)} scenarios, tail {tail:g}; need >= 1 and 0 <= tail < 1"
        )
    for scenario in scenarios:
        if scenario.operator.matrix.shape != scenarios[0].operator.matrix.shape:
            raise InputRefusedError(
                f"scenario {scenario.name}: operator {scenario.operator.matrix.shape}, that of "
                f"{scenarios[0].name} has {scenarios[0].operator.matrix.shape}"
            )
    problem = _Problem.of(scenarios, strokes, target_m, weights, limits, tail, knot_m, smoothness)
    z, found, rounds, gap = _minimise(problem, rounds_max)
    done = driven(strokes, problem.solver.path.spread @ z, limits, faster=False)
    scores = score_scenarios(scenarios, done, target_m, weights)
    share = np.array([s.share for s in scenarios]) / sum(s.share for s in scenarios)
    return RobustResult(
        strokes=done,
        scores=scores,
        nominal=scores[0],
        worst=max(scores, key=lambda s: s.residual_rms_m),
        p95_residual_rms_m=_quantile(np.array([s.residual_rms_m for s in scores]), share),
        p95_cv=_quantile(np.array([s.cv for s in scores]), share),
        optimality_gap=gap,
        shares=found,
        rounds=rounds,
        converged=gap <= GAP_MAX,
    )


@dataclass(frozen=True, kw_only=True)
class SpacingScore:
    """How one spacing does under all scenarios."""

    spacing_m: float
    result: RobustResult
    length_m: float
    duration_s: float


def robust_spacing(
    spacings_m: Sequence[float],
    build: Callable[[float], tuple[Sequence[Stroke], Sequence[Scenario]]],
    target_m: Array,
    weights: Array,
    limits: SpeedLimits,
    **options: Any,
) -> list[SpacingScore]:
    """Return the spacings, best worst case first: uneven film costs more than a longer path, so only it ranks.

    Args:
        build: lays strokes at a spacing and returns them with their scenarios.
        options: passed on to optimise_speed_robust.
    """
    scored = []
    for spacing in spacings_m:
        strokes, scenarios = build(spacing)
        result = optimise_speed_robust(scenarios, strokes, target_m, weights, limits, **options)
        scored.append(
            SpacingScore(
                spacing_m=spacing,
                result=result,
                length_m=sum(s.length_m for s in result.strokes),
                duration_s=float(sum(s.times_s[-1] for s in result.strokes)),
            )
        )
    return sorted(scored, key=lambda s: s.result.worst.residual_rms_m)


def _quantile(values: Array, share: Array) -> float:
    order = np.argsort(values)
    reached = np.cumsum(share[order]) >= 1.0 - P95_TAIL - 1e-12
    return float(values[order][np.argmax(reached)])


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    slowness: Array
    squares: Array
    """(S,) mean square error of each scenario."""
    gradients: Array
    """(S, K)."""
    roughness: float
    roughness_gradient: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class _Problem:
    solver: DwellSolver
    """The nominal problem: path, bounds and their rows."""
    fits: tuple[Fit, ...]
    most: Array
    """(S,) how much each scenario may decide: its share over the tail."""

    @staticmethod
    def of(
        scenarios: Sequence[Scenario],
        strokes: Sequence[Stroke],
        target_m: Array,
        weights: Array,
        limits: SpeedLimits,
        tail: float,
        knot_m: float,
        smoothness: float,
    ) -> "_Problem":
        nominal = scenarios[0].operator
        solver = DwellSolver.of(nominal, strokes, target_m, weights, limits, knot_m, smoothness, 1.0, None)
        # a point served in one scenario only counts in all
        served = np.any([np.diff(s.operator.matrix.indptr) > 0 for s in scenarios], axis=0)
        rows = np.flatnonzero((np.asarray(weights) > 0.0) & served)
        share = np.array([s.share for s in scenarios], float)
        if not (np.isfinite(share).all() and share.min() >= 0.0 and share.sum() > 0.0):
            raise InputRefusedError(f"scenarios: shares {share.min():g}..{share.max():g}, must be >= 0 and not all 0")
        mean = solver.mean_target_m
        return _Problem(
            solver=solver,
            fits=tuple(Fit.of(s.operator, solver.path, target_m, weights, rows, mean) for s in scenarios),
            most=np.ones(len(share)) if tail == 0.0 else np.minimum(1.0, share / share.sum() / tail),
        )

    def look(self, z: Array) -> _View:
        slowness = self.solver.path.spread @ z
        squares, gradients = [], []
        for fit in self.fits:
            error = fit.error(slowness)
            squares.append(float(fit.weights @ error**2))
            gradients.append(fit.gradient(error, slowness))
        smoothness = self.solver.smoothness
        return _View(
            slowness=slowness,
            squares=np.array(squares),
            gradients=np.array(gradients),
            roughness=smoothness * self.solver.path.roughness(slowness),
            roughness_gradient=smoothness * (self.solver.path.bending @ z),
        )

    def value(self, here: _View) -> float:
        """Return the mean over the tail of the squares, plus roughness."""
        left, total = 1.0, here.roughness
        for i in np.argsort(-here.squares):
            part = min(left, self.most[i])
            total += part * here.squares[i]
            left -= part
        return float(total)


def _minimise(problem: _Problem, rounds_max: int) -> tuple[Array, Array, int, float]:
    """Return knots' slownesses, what each scenario decides, rounds and relative gap."""
    solver = problem.solver
    start = np.array([fit.best_uniform() for fit in problem.fits]).mean()
    z = np.full(solver.path.spread.shape[1], np.clip(start, *solver.bounds))
    curvatures = [fit.curvature(fit.linear, fit.weights) for fit in problem.fits]
    decides, watch = problem.most / problem.most.sum(), Watch()
    here, gap, rounds = problem.look(z), np.inf, 0
    while rounds < rounds_max and gap > GAP_MAX:
        rounds += 1
        rows = solver.rows(here.slowness, watch)
        curvature = solver.smoothness * solver.path.bending
        for part, own in zip(decides, curvatures, strict=True):
            curvature = curvature + part * own
        target, decides, multipliers = _program(problem, here, z, curvature, rows)
        before, length = problem.value(here), 1.0
        there = problem.look(target)
        while problem.value(there) > before * (1.0 + 1e-9) and length > SHORTEST_STEP:
            length *= 0.5
            there = problem.look(z + length * (target - z))
        z, here = z + length * (target - z), there
        slope = decides @ here.gradients + here.roughness_gradient
        below = improvement_bound(z, slope, *solver.bounds, rows, multipliers)
        lower = float(decides @ here.squares) + here.roughness - below
        watch = solver.watched(here.slowness, watch)
        gap = np.inf if watch.broken else solver.relative_gap(problem.value(here), lower)
        if watch.broken and rounds < rounds_max:
            z = solver.allowed(z)
            here = problem.look(z)
    return z, decides, rounds, float(gap)


def _program(problem: _Problem, here: _View, z: Array, curvature: Any, rows: Rows) -> tuple[Array, Array, Array]:
    """Solve the epigraph form round z: knots, level above which scenarios count, and by how much each exceeds it."""
    n, s = len(z), len(here.squares)
    size = max(float(here.squares.max()), 1e-12)
    H = scipy.sparse.block_diag([curvature, scipy.sparse.csc_matrix((1 + s, 1 + s))], format="csc")
    g = np.r_[here.roughness_gradient - curvature @ z, size, size * problem.most]
    # errors over their largest, so that level and excess are of order 1
    level = scipy.sparse.csr_matrix(-np.ones((s, 1)))
    epigraph = scipy.sparse.hstack([scipy.sparse.csr_matrix(here.gradients / size), level, -scipy.sparse.eye(s)])
    above = Rows(matrix=epigraph.tocsr(), most=here.gradients @ z / size - here.squares / size)
    bounds = Rows(
        matrix=scipy.sparse.hstack([rows.matrix, scipy.sparse.csr_matrix((len(rows.most), 1 + s))]), most=rows.most
    )
    low, high = problem.solver.bounds
    found = solve_quadratic(
        H,
        g,
        np.r_[np.full(n, low), -np.inf, np.zeros(s)],
        np.r_[np.full(n, high), np.inf, np.full(s, np.inf)],
        above.joined(bounds),
    )
    decides = found.multipliers[:s] / max(float(found.multipliers[:s].sum()), 1e-300)
    return found.x[:n], decides, found.multipliers[s:]
