"""What stripes can and cannot tell of a gun: their orientation, what they leave open, what speaks against the kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import chi2

from cell_core.config import GunConfig
from cell_core.config.guns import GaussianSumGun
from cell_core.errors import InputRefusedError
from cell_core.transforms import Array
from spray_planner.calibration_problem import Problem
from spray_planner.stripes import Orientation, Stripe

LOOSE_SHARE = 0.5
"""A number is not identified when its interval is wider than this share of its size either way."""
SCATTER_RATIO = 1.5
"""Residuals larger than the scatter from point to point by this factor tell of a wrong kind."""
SURPRISE = 1e-3
"""So does a chi-square this unlikely, where the noise is known."""
WIDTHS_APART = 1.3
"""A stripe's width tells its orientation where the other one fits worse by this factor."""
# which numbers show across the fan and along it, by the endings of their names; the rest shows in both
_SEEN_BY: dict[Orientation, tuple[str, ...]] = {
    "across": ("a_m", "beta_1", "_y_m"),
    "along": ("b_m", "beta_2", "_x_m"),
}
_WAY = {"across": "the fan across the travel", "along": "the gun turned by a quarter, the fan along the travel"}


@dataclass(frozen=True, kw_only=True, eq=False)
class StripeFit:
    """One stripe and what the calibrated gun says it should be."""

    stripe: Stripe
    centre_m: float
    """Place of the spray axis on the stripe's position scale [m]."""
    predicted_m: Array
    """(N,) [m]."""

    @property
    def residual_m(self) -> Array:
        """(N,) measured less predicted [m]."""
        return self.stripe.thickness_m - self.predicted_m

    @property
    def rms_m(self) -> float:
        """Root mean square of the residual [m]."""
        return float(np.sqrt(np.mean(self.residual_m**2)))


def oriented(start: GunConfig, stripe: Stripe, warnings: list[str]) -> Stripe:
    """Return the stripe with its orientation, by its width where the file does not say."""
    if stripe.orientation is not None:
        return stripe
    if start.round:
        return replace(stripe, orientation="across")
    alike = {o: Problem.width_ratio(start, replace(stripe, orientation=o)) for o in _SEEN_BY}
    across, along = (abs(np.log(alike[o])) for o in ("across", "along"))
    if abs(across - along) < np.log(WIDTHS_APART):
        raise InputRefusedError(
            f"{stripe.name}: orientation is missing, and its width is {alike['across']:.2g} times the start gun's "
            f"across and {alike['along']:.2g} times that along: say '# orientation: across' or 'along'"
        )
    orientation = "across" if across < along else "along"
    warnings.append(f"{stripe.name}: orientation not given, taken as {orientation} by its width")
    return replace(stripe, orientation=orientation)


def placed(start: GunConfig, stripes: Sequence[Stripe], free: list[str], warnings: list[str]) -> list[str]:
    """Leave out the first offset along an axis on which no stripe says where the spray axis was."""
    if not isinstance(start, GaussianSumGun):
        return free
    for axis, orientation in (("y", "across"), ("x", "along")):
        first = f"gaussians.0.offset_{axis}_m"
        if first in free and not any(s.centred for s in stripes if s.orientation == orientation):
            free = [n for n in free if n != first]
            if any(s.orientation == orientation for s in stripes):
                warnings.append(f"{first} kept: no stripe {orientation} is centred, only distances between terms show")
    return free


def refuse_unseen(start: GunConfig, stripes: Sequence[Stripe], free: Sequence[str]) -> None:
    """Refuse numbers of which only a stripe the other way would tell."""
    if start.round:
        return
    for orientation, endings in _SEEN_BY.items():
        unseen = [n for n in free if n.endswith(endings)]
        if unseen and not any(s.orientation == orientation for s in stripes):
            raise InputRefusedError(
                f"no stripe tells {', '.join(unseen)}: add a stripe sprayed with {_WAY[orientation]} "
                f"(orientation: {orientation}), or keep the start gun's: --keep {','.join(unseen)}"
            )


def refuse_loose(problem: Problem, numbers: dict[str, float], half: dict[str, float]) -> None:
    """Refuse numbers whose intervals, `half` either way, say next to nothing."""
    loose = {n: h for n, h in half.items() if h > LOOSE_SHARE * problem.size_of(n, numbers)}
    if loose:
        said = ", ".join(f"{n} = {numbers[n]:.4g} +/- {h:.2g}" for n, h in loose.items())
        raise InputRefusedError(
            f"the stripes do not identify {said}: measure more points or less noise, or keep the start gun's: "
            f"--keep {','.join(loose)}",
            loose=loose,
        )


def misfits(fit: StripeFit, problem: Problem) -> list[str]:
    """Return what tells that this kind of gun does not fit a stripe."""
    stripe, found = fit.stripe, []
    residual = fit.residual_m
    if stripe.noise_m:
        square = float(residual @ residual) / stripe.noise_m**2
        surprise = float(chi2.sf(square, len(residual) - problem.n_unknowns / len(problem.stripes)))
        if surprise < SURPRISE:
            found.append(
                f"{stripe.name}: residual {1e6 * fit.rms_m:.3g} um rms against {1e6 * stripe.noise_m:.3g} um of noise "
                f"(chi-square, p = {surprise:.1g}): the kind {problem.start.kind} does not fit"
            )
    elif fit.rms_m > SCATTER_RATIO * stripe.scatter_m and fit.rms_m > 0.01 * stripe.peak_m:
        found.append(
            f"{stripe.name}: residual {1e6 * fit.rms_m:.3g} um rms against {1e6 * stripe.scatter_m:.3g} um of scatter "
            f"from point to point: the kind {problem.start.kind} does not fit"
        )
    return found
