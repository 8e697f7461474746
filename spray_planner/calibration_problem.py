"""The least-squares problem of a calibration: unknowns, bounds, starts, and the exact stripes of each kind of gun."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cell_core.config import GunConfig
from cell_core.operator.footprint import GunFootprint, footprint_for
from cell_core.transforms import Array
from spray_planner.stripes import Stripe

EFFICIENCY = "transfer_efficiency"
RESTARTS: dict[str, tuple[float, ...]] = {
    "beta_1": (1.5, 2.5, 5.0),
    "beta_2": (1.5, 2.5, 5.0),
    "beta": (1.5, 2.5, 5.0),
    "hollow_fill": (0.15, 0.5, 0.85),
}
"""Shapes from which a fit is begun anew; all of them together, not every pair."""
STRETCH_MAX = 6.0
"""Lengths are sought within this factor of the first guess."""
DIFFERENCE = 1e-5
"""Step of numerical derivatives, in scales of each unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Unknowns x: the free numbers in order, then a centre [m] for each stripe that is not centred."""

    start: GunConfig
    stripes: tuple[Stripe, ...]
    """Each with its orientation."""
    free: tuple[str, ...]

    @property
    def n_unknowns(self) -> int:
        """Free numbers and centres."""
        return len(self.free) + sum(not s.centred for s in self.stripes)

    def numbers(self, x: Array) -> dict[str, float]:
        """Return the gun's numbers with the free ones as in x."""
        return {**self.start.numbers, **dict(zip(self.free, x.tolist(), strict=False))}

    def centres(self, x: Array) -> list[float]:
        """Return the place of the spray axis on each stripe's position scale [m]."""
        own = iter(x[len(self.free) :].tolist())
        return [0.0 if stripe.centred else next(own) for stripe in self.stripes]

    def films(self, x: Array) -> list[Array]:
        """Return what the gun of x lays at each stripe's positions [m].

        On a flat plate at standoff h the pattern is that of the reference plane, h / h0 times as wide.
        """
        numbers = self.numbers(x)
        footprint = footprint_for(self._shaped(numbers))
        solids = self.start.solids_volume_fraction * numbers[EFFICIENCY]
        films = []
        for stripe, centre in zip(self.stripes, self.centres(x), strict=True):
            spread = stripe.standoff_m / self.start.reference_standoff_m
            place = (stripe.position_m - centre) / spread
            share = _profile(footprint, stripe, place)
            films.append(solids * stripe.flow_m3_per_s / (stripe.speed_m_per_s * spread) * share)
        return films

    def residuals(self, x: Array) -> Array:
        """Return measured less computed thickness of all stripes [m]."""
        films = self.films(x)
        return np.concatenate([s.thickness_m - film for s, film in zip(self.stripes, films, strict=True)])

    def jacobian(self, x: Array) -> Array:
        """Return the derivatives of the computed thickness by central differences, one-sided at a bound."""
        low, high = self.bounds
        columns = []
        for k, step in enumerate(DIFFERENCE * self.scales):
            ends = np.clip(x[k] + np.array([-step, step]), low[k], high[k])
            less, more = (self.residuals(np.where(np.arange(len(x)) == k, end, x)) for end in ends)
            columns.append((less - more) / (ends[1] - ends[0]))
        return np.stack(columns, axis=1)

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest of each unknown."""
        ends = [self._sought(name) for name in self.free]
        ends += [(s.position_m[0], s.position_m[-1]) for s in self.stripes if not s.centred]
        low, high = np.array(ends, float).T
        return low, high

    @cached_property
    def scales(self) -> Array:
        """Size of each unknown: what a relative step of it means."""
        numbers = self._guess
        widths = [_moments(s)[1] for s in self.stripes if not s.centred]
        return np.array([*(self.size_of(name, numbers) for name in self.free), *widths])

    def size_of(self, name: str, numbers: dict[str, float]) -> float:
        """Return what an error of this number is measured against: itself, or what it shifts or fills."""
        if "offset" in name:
            return 2.0 * numbers[name.replace("offset", "sigma")]
        return 1.0 if name.endswith(("share", "hollow_fill")) else abs(numbers[name])

    def starts(self) -> Iterator[Array]:
        """Yield first guesses: the start gun stretched to the stripes' widths, and the same for other shapes."""
        centres = [_moments(s)[0] for s in self.stripes if not s.centred]
        shapes = [name for name in self.free if name in RESTARTS]
        for k in range(-1, 3 if shapes else 0):
            guess = self._stretched({name: RESTARTS[name][k] for name in shapes} if k >= 0 else {})
            yield np.array([*(guess[name] for name in self.free), *centres])

    def allowed(self, name: str) -> tuple[float, float]:
        """Return what the kind allows of a number."""
        if name.startswith("beta"):
            return 1.0, 10.0
        if name == EFFICIENCY or name.endswith(("share", "hollow_fill")):
            return 0.0, 1.0
        return (-np.inf if "offset" in name else 0.0), np.inf

    def at_bounds(self, x: Array) -> list[str]:
        """Return what to say of numbers that ended at their bounds."""
        low, high = self.bounds
        near = 1e-4 * (high - low)
        return [
            f"{name} ended at {x[k]:.4g}, the {'least' if x[k] < low[k] + near[k] else 'most'} that is sought: its "
            "interval is one-sided"
            for k, name in enumerate(self.free)
            if not low[k] + near[k] <= x[k] <= high[k] - near[k]
        ]

    @staticmethod
    def width_ratio(start: GunConfig, stripe: Stripe) -> float:
        """Return the stripe's width (standard deviation) over that of the gun as it is."""
        footprint = footprint_for(start)
        place = np.linspace(-1.0, 1.0, 2001) * 2.0 * max(footprint.half_width_m, footprint.half_height_m)
        share = _profile(footprint, stripe, place)
        middle = float(share @ place / share.sum())
        own = float(np.sqrt(share @ (place - middle) ** 2 / share.sum()))
        return _moments(stripe)[1] / (own * stripe.standoff_m / start.reference_standoff_m)

    @cached_property
    def _guess(self) -> dict[str, float]:
        return self._stretched({})

    def _stretched(self, shape: dict[str, float]) -> dict[str, float]:
        """Return numbers with the stripes' widths and volume, for given shape numbers."""
        gun = self.start.with_numbers(shape)
        numbers = dict(gun.numbers)
        across = [Problem.width_ratio(gun, s) for s in self.stripes if s.orientation == "across" or gun.round]
        along = [Problem.width_ratio(gun, s) for s in self.stripes if s.orientation == "along" and not gun.round]
        for name in self.free:
            ratios = along if name in ("b_m",) or name.endswith("_x_m") else across
            if name.endswith("_m") and ratios:
                numbers[name] *= float(np.exp(np.mean(np.log(ratios))))
        if EFFICIENCY in self.free:
            numbers[EFFICIENCY] = float(np.mean([self._caught(stripe) for stripe in self.stripes]))
        return numbers

    def _caught(self, stripe: Stripe) -> float:
        """Return the share of the sprayed solids that the stripe holds."""
        area = float(np.trapezoid(stripe.thickness_m, stripe.position_m))
        return area * stripe.speed_m_per_s / (stripe.flow_m3_per_s * self.start.solids_volume_fraction)

    def _sought(self, name: str) -> tuple[float, float]:
        low, high = self.allowed(name)
        guess = self._guess[name]
        if name == EFFICIENCY:  # above 1 it is found, and refused with what it means
            return 0.01 * guess, 10.0 * guess
        if "offset" in name:
            width = 3.0 * self._guess[name.replace("offset", "sigma")]
            return guess - width, guess + width
        if name.endswith("share"):
            return 0.01, 0.99
        return (guess / STRETCH_MAX, guess * STRETCH_MAX) if name.endswith("_m") else (low, high)

    def _shaped(self, numbers: dict[str, float]) -> GunConfig:
        """Return the gun of these numbers, efficiency aside; shares that leave nothing for the last are scaled."""
        shape = {name: value for name, value in numbers.items() if name != EFFICIENCY}
        shares = [name for name in shape if name.endswith("share")]
        total = sum(shape[name] for name in shares)
        if total > 0.999:
            shape.update({name: 0.999 * shape[name] / total for name in shares})
        return self.start.with_numbers(shape)


def _profile(footprint: GunFootprint, stripe: Stripe, place_m: Array) -> Array:
    return footprint.stripe_along(place_m) if stripe.orientation == "along" else footprint.stripe_across(place_m)


def _moments(stripe: Stripe) -> tuple[float, float]:
    """Return mean and standard deviation of the film over position [m], noise outside the stripe left out."""
    film = np.where(stripe.thickness_m > 0.05 * stripe.peak_m + 2.0 * stripe.scatter_m, stripe.thickness_m, 0.0)
    weight = film * np.gradient(stripe.position_m)
    mean = float(weight @ stripe.position_m / weight.sum())
    return mean, float(np.sqrt(weight @ (stripe.position_m - mean) ** 2 / weight.sum()))
