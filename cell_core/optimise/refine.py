"""Poses and speeds of strokes refined together, so that what they leave comes closer to the target.

Outer steps after speeds are fitted: Levenberg-Marquardt on the residual, each step one bounded least-squares problem
in slowness, shift across, standoff and two tilts at knots along every stroke, accepted by recomputing the operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.operator.footprint import Footprint
from cell_core.optimise.refine_problem import RefineLimits, RefineProblem, RefineState, Valid
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

__all__ = ["RefineLimits", "RefineResult", "refine_strokes"]

DAMPING_FIRST, DAMPING_MAX = 3e-2, 1e3
GAIN_MIN = 0.03
"""Refinement ends when two steps in a row lower the cost by less than this share."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineResult:
    """Refined strokes, what they leave, and how they came about."""

    strokes: tuple[Stroke, ...]
    operator: CoverageOperator
    predicted_m: Array
    """(V,) change left by `strokes` [m]."""
    residual_rms_m: float
    """Weighted root mean square of predicted minus target [m]."""
    merit: float
    """Squared residual over the squared mean target, and the price of the time beyond the shortest."""
    history: tuple[float, ...]
    """Residual over the mean target, at the start and after every accepted step."""
    at_bound_fraction: dict[str, float]
    """Share of each unknown's coefficients at a bound."""
    held_strokes: tuple[int, ...]
    """Strokes whose last step was cut short to keep the path runnable and the tool clear."""
    stopped_by: str
    """"no further gain", "iterations" or "damping": no step lowers the cost any more."""


def refine_strokes(
    samples: SurfaceSamples,
    target_m: Array,
    weights: Array,
    strokes: Sequence[Stroke],
    footprint: Footprint,
    limits: RefineLimits,
    *,
    caster: RayCaster | None,
    pivot_m: float,
    speed_knot_m: float,
    pose_knot_m: float,
    valid: Valid | None = None,
    dwell_price_per_s: float = 0.0,
    iterations_max: int = 12,
    progress: Progress = no_progress,
) -> RefineResult:
    """Return strokes whose poses and speeds minimise sum w (A t - h)^2 and the price of time within the limits.

    Args:
        samples: (V,) points the change is predicted on.
        target_m: (V,) wanted change [m].
        weights: (V,) >= 0, usually areas [m2]; rows of weight 0 are ignored.
        footprint: made for the strokes' process value.
        caster: rays for occlusion; None: nothing occludes.
        pivot_m: distance from the tool centre point to the surface along its axis, about which tilts turn [m].
        speed_knot_m: distance of speed knots [m], about the footprint's half length along travel.
        pose_knot_m: distance of pose knots [m], two or three times that.
        valid: samples where it turns false hold their stroke back; those false at the start do not count.
        dwell_price_per_s: what a second with the process on costs; as for `optimise_speed`.
        iterations_max: operators built.

    Raises:
        CoverageError: nothing is wanted on any weighted row.
    """
    rows = np.flatnonzero(np.asarray(weights) > 0.0)
    wanted = float(np.average(target_m[rows], weights=weights[rows])) if len(rows) else 0.0
    if wanted <= 0.0:
        raise CoverageError(f"refinement: nothing is wanted on any of {len(weights)} points")
    problem = RefineProblem(
        samples,
        target_m,
        weights,
        strokes,
        footprint,
        limits,
        caster=caster,
        pivot_m=pivot_m,
        speed_knot_m=speed_knot_m,
        pose_knot_m=pose_knot_m,
        valid=valid,
        dwell_price_per_s=dwell_price_per_s,
    )
    state = best = problem.start()
    history = [state.residual]
    damping, slow, stopped, refused = DAMPING_FIRST, 0, "iterations", False
    linear = problem.linearise(state)
    for k in range(iterations_max):
        progress(k / iterations_max, f"refining {len(strokes)} strokes")
        trial, foreseen = problem.step(state, linear, damping)
        gain = state.cost - trial.cost
        if gain <= 0.0:
            damping, refused = 8.0 * damping, True
            if damping > DAMPING_MAX:
                stopped = "damping"
                break
            continue
        ratio = gain / max(foreseen, 1e-300)
        # a price pulls poses to their bounds, where strokes are held: what was just too far is not tried at once again
        if ratio > 0.7 and not (refused and dwell_price_per_s > 0.0):
            damping /= 5.0
        elif ratio < 0.25:
            damping *= 3.0
        refused = False
        slow = slow + 1 if gain < GAIN_MIN * state.cost else 0
        state = trial
        best = state if state.merit < best.merit else best
        history.append(state.residual)
        if slow >= 2:
            stopped = "no further gain"
            break
        if k + 1 < iterations_max:
            problem.stiffen(state)
            state = problem.recosted(problem.followed(state))
            linear = problem.linearise(state)
    return _result(problem, best, tuple(history), stopped)


def _result(problem: RefineProblem, state: RefineState, history: tuple[float, ...], stopped_by: str) -> RefineResult:
    x = np.r_[state.slowness, state.coefficients.ravel()]
    near = 1e-3 * (problem.high - problem.low)
    at = (x <= problem.low + near) | (x >= problem.high - near)
    names = ("speed", "shift", "standoff", "roll", "pitch")
    cuts = problem.n_speeds + problem.n_pose * np.arange(4)
    return RefineResult(
        strokes=state.strokes,
        operator=state.operator,
        predicted_m=state.film * problem.mean_target_m,
        residual_rms_m=state.residual * problem.mean_target_m,
        merit=state.merit,
        history=history,
        at_bound_fraction={n: float(part.mean()) for n, part in zip(names, np.split(at, cuts), strict=True)},
        held_strokes=state.held,
        stopped_by=stopped_by,
    )
