"""Calibrate a gun: fit its numbers to thickness profiles of test stripes, with intervals, or say what is missing."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from scipy.optimize import least_squares
from scipy.stats import t

from cell_core.config import GunConfig
from cell_core.config.base import Interval
from cell_core.config.guns import CalibrationRecord, StripeRecord
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.transforms import Array
from spray_planner.calibration_checks import StripeFit, misfits, oriented, placed, refuse_loose, refuse_unseen
from spray_planner.calibration_problem import EFFICIENCY, Problem
from spray_planner.stripes import Stripe

CONFIDENCE = 0.95
CONDITION_MAX = 1e6
"""Of the Jacobian in shares of each number: beyond, some combination of numbers is not seen at all."""
RUN_SIGMAS = 4.0
"""Neighbouring residuals more alike than chance allows by so many standard deviations tell a wrong model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """A calibrated gun and how well its numbers are known."""

    gun: GunConfig
    """With `confidence` and `calibration` filled in."""
    standard_error: dict[str, float]
    """Of each identified number."""
    fits: list[StripeFit]
    rms_residual_m: float
    warnings: list[str]


def calibrate_gun(
    start: GunConfig, stripes: Sequence[Stripe], *, name: str | None = None, keep: Sequence[str] = ()
) -> Calibration:
    """Return the gun whose stripes fit the measured ones best, by least squares.

    Every number of the pattern and the transfer efficiency are fitted, each stripe with its own centre where it does
    not say that it is centred. Intervals are 95 %, from the Jacobian and the residual's own variance (Student's t),
    wider where neighbouring residuals are alike.

    Args:
        start: kind, solids, limits, and first guess; numbers kept are taken from it.
        name: of the calibrated gun; None: that of the start gun.
        keep: numbers not to be fitted; "gaussians.*.offset_x_m" names several.

    Raises:
        ConfigurationError: `keep` names no number of this gun, or leaves none.
        InputRefusedError: the stripes cannot tell a number, or contradict flow and solids; says which and why.
    """
    if not stripes:
        raise InputRefusedError("calibration: 0 stripes, at least 1 needed")
    names, warnings = list(start.numbers), []
    for pattern in keep:
        if not fnmatch.filter(names, pattern):
            known = ", ".join(names)
            raise ConfigurationError(f"keep: {pattern!r} is no number of gun {start.name}; there are {known}")
    free = [n for n in names if not any(fnmatch.fnmatch(n, pattern) for pattern in keep)]
    if not free:
        raise ConfigurationError("keep: nothing is left to be fitted")
    stripes = [oriented(start, stripe, warnings) for stripe in stripes]
    free = placed(start, stripes, free, warnings)
    refuse_unseen(start, stripes, free)
    problem = Problem(start=start, stripes=tuple(stripes), free=tuple(free))
    x = _best_fit(problem)
    residual = problem.residuals(x)
    spread = _spread(problem, x, residual, warnings)
    numbers = problem.numbers(x)
    efficiency = numbers[EFFICIENCY]
    if efficiency > 1.0:
        raise InputRefusedError(
            f"the stripes hold {efficiency:.3g} times the solids that were sprayed, transfer_efficiency must be <= 1: "
            f"check flow, speed, thickness and solids_volume_fraction {start.solids_volume_fraction}"
        )
    error = {n: float(np.sqrt(spread[k, k])) for k, n in enumerate(free)}
    quantile = float(t.ppf(0.5 + 0.5 * CONFIDENCE, max(len(residual) - len(x), 1)))
    refuse_loose(problem, numbers, {n: quantile * e for n, e in error.items()})
    warnings += problem.at_bounds(x)
    fits = [
        StripeFit(stripe=s, centre_m=centre, predicted_m=film)
        for s, centre, film in zip(stripes, problem.centres(x), problem.films(x), strict=True)
    ]
    warnings += [w for fit in fits for w in misfits(fit, problem)]
    rms = float(np.sqrt(np.mean(residual**2)))
    gun = _finished(start, name or start.name, problem, numbers, {n: quantile * e for n, e in error.items()})
    record = _record(start, gun, fits, free, rms, warnings)
    return Calibration(
        gun=gun.model_copy(update={"calibration": record}),
        standard_error=error,
        fits=fits,
        rms_residual_m=rms,
        warnings=warnings,
    )


def _best_fit(problem: Problem) -> Array:
    """Return the unknowns of the least squares, from the best of several starts."""
    best, cost = None, np.inf
    low, high = problem.bounds
    for x0 in problem.starts():
        found = least_squares(
            # in micrometres: the solver's tolerance of the gradient is absolute
            lambda x: 1e6 * problem.residuals(x),
            np.clip(x0, low, high),
            bounds=(low, high),
            x_scale=problem.scales,
            xtol=1e-10,
            ftol=1e-10,
        )
        if found.cost < cost * (1.0 - 1e-9):
            best, cost = found.x, found.cost
    assert best is not None
    return best


def _spread(problem: Problem, x: Array, residual: Array, warnings: list[str]) -> Array:
    """Return the covariance of the unknowns; refuse where a combination of them leaves no trace."""
    jacobian = problem.jacobian(x)
    scaled = jacobian * problem.scales
    _, singular, right = np.linalg.svd(scaled, full_matrices=False)
    if len(residual) <= len(x) or singular[-1] * CONDITION_MAX < singular[0]:
        mixed = [problem.free[k] for k in np.flatnonzero(np.abs(right[-1]) > 0.3) if k < len(problem.free)]
        raise InputRefusedError(
            f"the stripes cannot tell {', '.join(mixed)} apart: keep some of them (--keep NAME,...) or start from a "
            "gun of another kind"
        )
    variance = float(residual @ residual) / (len(residual) - len(x))
    alike = _likeness(problem, residual)
    if alike > RUN_SIGMAS / np.sqrt(len(residual)):
        warnings.append(f"neighbouring residuals are alike (correlation {alike:.2f}): the intervals are widened")
        variance *= (1.0 + alike) / (1.0 - alike)
    inverse = (right.T / singular**2) @ right
    return variance * inverse * np.outer(problem.scales, problem.scales)


def _likeness(problem: Problem, residual: Array) -> float:
    """Return the correlation of neighbouring residuals within stripes."""
    parts = np.split(residual, np.cumsum([len(s.position_m) for s in problem.stripes])[:-1])
    return float(min(sum(p[1:] @ p[:-1] for p in parts) / max(float(residual @ residual), 1e-300), 0.98))


def _finished(
    start: GunConfig, name: str, problem: Problem, numbers: dict[str, float], half: dict[str, float]
) -> GunConfig:
    """Return the start gun with the fitted numbers and their intervals, within what the kind allows."""
    fitted = {n: float(f"{numbers[n]:.6g}") for n in problem.free}
    try:
        gun = start.model_copy(update={"name": name}).with_numbers(fitted)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InputRefusedError(f"the stripes ask for {where} = {fault['input']}: {fault['msg']}") from error
    held = {n: _interval(n, gun.numbers[n], half[n], problem) for n in problem.free}
    return gun.model_copy(update={"confidence": held})


def _interval(name: str, value: float, half: float, problem: Problem) -> Interval:
    low, high = problem.allowed(name)
    ends = max(value - half, low), min(value + half, high)
    low, high = (float(f"{end:.6g}") for end in ends)
    return Interval(low=min(low, value), high=max(high, value))


def _record(
    start: GunConfig,
    gun: GunConfig,
    fits: Sequence[StripeFit],
    free: Sequence[str],
    rms: float,
    warnings: Sequence[str],
) -> CalibrationRecord:
    return CalibrationRecord(
        start=start.name,
        stripes=tuple(
            StripeRecord(
                file=Path(fit.stripe.name).name,
                sha256=fit.stripe.sha256,
                orientation=fit.stripe.orientation or "across",
                speed_m_per_s=fit.stripe.speed_m_per_s,
                standoff_m=fit.stripe.standoff_m,
                flow_m3_per_s=fit.stripe.flow_m3_per_s,
                centre_m=float(f"{fit.centre_m:.6g}"),
                rms_residual_m=float(f"{fit.rms_m:.4g}"),
            )
            for fit in fits
        ),
        identified=tuple(free),
        not_identified=tuple(n for n in gun.numbers if n not in free),
        rms_residual_m=float(f"{rms:.4g}"),
        warnings=tuple(warnings),
    )
