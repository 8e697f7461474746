"""Where droplets go: each kind of gun throws them by the inverse of its own distribution.

Written apart from the planners' footprints: here a pattern is a way to turn two even numbers into a place on the
reference plane, never a density. Gaussian tails are not cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.stats import beta as beta_distribution

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array

TABLE = 1 << 16
RING_TAIL_WIDTHS = 6.0
"""A ring's section is followed this many standard deviations out."""


class Pattern(Protocol):
    """Places of droplets on the reference plane."""

    def places(self, even: Array) -> tuple[Array, Array]:
        """Return x along travel and y across it (N,) [m] for points (N, 2) that fill the unit square evenly."""
        ...


@dataclass(frozen=True, kw_only=True)
class FanPattern:
    """A fan: the marginal of y/a, and x/(b sqrt(1 - y2/a2)) given y, are symmetric beta distributions on -1..1."""

    a_m: float
    b_m: float
    beta_1: float
    beta_2: float

    @cached_property
    def _tables(self) -> tuple[Array, Array]:
        return _symmetric_beta_quantiles(self.beta_1 + 0.5), _symmetric_beta_quantiles(self.beta_2)

    def places(self, even: Array) -> tuple[Array, Array]:
        """Return places by two tables of quantiles."""
        cell = (even * TABLE).astype(np.int64)
        major, minor = (table[cell[:, k]] for k, table in enumerate(self._tables))
        return self.b_m * minor * np.sqrt(1.0 - major**2), self.a_m * major


@dataclass(frozen=True, kw_only=True)
class RoundPattern:
    """A round jet: the paint outside radius r is (1 - r2/R2)^beta of the whole."""

    radius_m: float
    beta: float

    def places(self, even: Array) -> tuple[Array, Array]:
        """Return places by radius and angle."""
        radius = self.radius_m * np.sqrt(1.0 - (1.0 - even[:, 0]) ** (1.0 / self.beta))
        return _polar(radius, even[:, 1])


@dataclass(frozen=True, kw_only=True)
class GaussianPattern:
    """A mixture: the first number picks the term, and where it fell within the term's share gives the radius."""

    share: Array
    offset_m: Array
    """(K, 2) x and y."""
    sigma_m: Array
    """(K, 2) x and y."""

    def places(self, even: Array) -> tuple[Array, Array]:
        """Return places by Rayleigh radius and angle, stretched and shifted."""
        upto = np.cumsum(self.share)
        term = np.minimum(np.searchsorted(upto, even[:, 0], side="right"), len(upto) - 1)
        within = np.clip((even[:, 0] - (upto - self.share)[term]) / self.share[term], 0.0, 1.0 - 1e-12)
        x, y = _polar(np.sqrt(-2.0 * np.log1p(-within)), even[:, 1])
        return (
            self.offset_m[term, 0] + self.sigma_m[term, 0] * x,
            self.offset_m[term, 1] + self.sigma_m[term, 1] * y,
        )


@dataclass(frozen=True, kw_only=True)
class RingPattern:
    """A bell: radii by the cumulated paint of rings."""

    ring_radius_m: float
    ring_width_m: float
    hollow_fill: float

    @cached_property
    def _radii(self) -> Array:
        edge = np.linspace(0.0, self.ring_radius_m + RING_TAIL_WIDTHS * self.ring_width_m, 8193)
        r = 0.5 * (edge[1:] + edge[:-1])
        height = np.exp(-((r - self.ring_radius_m) ** 2) / (2.0 * self.ring_width_m**2))
        hollow = r < self.ring_radius_m
        height[hollow] += self.hollow_fill * (1.0 - height[hollow])
        paint = np.r_[0.0, np.cumsum(r * height)]
        # a ring's paint grows with the square of its radius
        return np.sqrt(np.interp((np.arange(TABLE) + 0.5) / TABLE, paint / paint[-1], edge**2))

    def places(self, even: Array) -> tuple[Array, Array]:
        """Return places by a table of radii and an angle."""
        return _polar(self._radii[(even[:, 0] * TABLE).astype(np.int64)], even[:, 1])


def pattern_from(tool: Mapping[str, Any]) -> Pattern:
    """Return the pattern that a tool path's tool block describes; without a kind it is a fan.

    Raises:
        InputRefusedError: an unknown kind, or a number missing or out of bounds; says which.
    """
    kind = tool.get("kind", "elliptic_double_beta")
    if kind == "elliptic_double_beta":
        return FanPattern(**{k: _number(tool, k, "tool") for k in ("a_m", "b_m", "beta_1", "beta_2")})
    if kind == "axisymmetric_beta":
        return RoundPattern(**{k: _number(tool, k, "tool") for k in ("radius_m", "beta")})
    if kind == "bell_ring":
        return RingPattern(
            ring_radius_m=_number(tool, "ring_radius_m", "tool"),
            ring_width_m=_number(tool, "ring_width_m", "tool"),
            hollow_fill=_number(tool, "hollow_fill", "tool", low=0.0, high=1.0),
        )
    if kind == "gaussian_sum":
        return _gaussians(tool.get("gaussians"))
    raise InputRefusedError(
        f"tool path: tool.kind is {kind!r}, the simulator knows elliptic_double_beta, axisymmetric_beta, bell_ring and "
        "gaussian_sum"
    )


def _gaussians(terms: Any) -> GaussianPattern:
    if not isinstance(terms, list | tuple) or not terms or not all(isinstance(t, Mapping) for t in terms):
        raise InputRefusedError(f"tool path: tool.gaussians is {terms!r}, wanted a list of terms")
    where = [(term, f"tool.gaussians.{k}") for k, term in enumerate(terms)]
    share = np.array([_number(term, "share", place) for term, place in where])
    if abs(share.sum() - 1.0) > 1e-3:
        raise InputRefusedError(f"tool path: tool.gaussians have shares of {share.sum():.6g} together, must be 1")
    offset = [[_number(t, f"offset_{i}_m", place, low=-np.inf) for i in "xy"] for t, place in where]
    sigma = [[_number(t, f"sigma_{i}_m", place) for i in "xy"] for t, place in where]
    return GaussianPattern(share=share / share.sum(), offset_m=np.array(offset), sigma_m=np.array(sigma))


def _number(tool: Mapping[str, Any], name: str, place: str, low: float | None = None, high: float = np.inf) -> float:
    """Return a finite number within low..high; without `low`, one above 0."""
    value = tool.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InputRefusedError(f"tool path: {place}.{name} is {value!r}, wanted a number")
    if (value <= 0.0 if low is None else value < low) or value > high:
        wanted = "> 0" if low is None else f"within {low:g}..{high:g}"
        raise InputRefusedError(f"tool path: {place}.{name} is {value!r}, must be {wanted}")
    return float(value)


def _polar(radius: Array, turn: Array) -> tuple[Array, Array]:
    angle = 2.0 * np.pi * turn
    return radius * np.cos(angle), radius * np.sin(angle)


def _symmetric_beta_quantiles(shape: float) -> Array:
    """Return the quantiles of the symmetric beta distribution on -1..1 at the middles of TABLE equal cells."""
    coarse = np.linspace(0.0, 1.0, 4097)
    exact = 2.0 * beta_distribution.ppf(coarse, shape, shape) - 1.0
    return np.interp((np.arange(TABLE) + 0.5) / TABLE, coarse, exact)
