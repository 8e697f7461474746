"""The kinds of guns: each a pattern of unit volume on the reference plane, and its integral along a pass."""

from functools import cached_property

import numpy as np
from scipy.special import beta as beta_function
from scipy.special import erf, hyp2f1, jn_zeros, jv

from cell_core.config import GunConfig
from cell_core.config.guns import AxisymmetricBetaGun, BellRingGun, EllipticDoubleBetaGun, GaussianSumGun
from cell_core.errors import ConfigurationError
from cell_core.operator.footprint_protocol import Reals
from cell_core.operator.gun_footprint import QUADRATURE_ERROR, Ellipse, GunFootprint
from cell_core.transforms import Array

CUT_SIGMAS = 4.0
"""Gaussians end here; what lies beyond (0.03 %) is made up for by scaling the rest."""
PLANNED_SIGMAS = 2.5
"""Planners take a Gaussian to be as wide as this."""
CHORD_NODES = 48


class EllipticDoubleBeta(GunFootprint):
    """A fan gun: elliptic double-beta on the reference plane; closed-form integrals in PROCESS.md section 1."""

    def __init__(self, gun: GunConfig) -> None:
        if isinstance(gun, EllipticDoubleBetaGun):
            self.a_m, self.b_m, self.beta_1, self.beta_2 = gun.a_m, gun.b_m, gun.beta_1, gun.beta_2
        elif isinstance(gun, AxisymmetricBetaGun):
            # (1 - r^2/R^2)^(beta - 1) is the fan with equal axes and exponents
            self.a_m, self.b_m, self.beta_1, self.beta_2 = gun.radius_m, gun.radius_m, gun.beta, gun.beta
        else:
            raise ConfigurationError(f"gun {gun.name}: kind {gun.kind} has no double-beta pattern")
        super().__init__(gun, (Ellipse(half_x_m=self.b_m, half_y_m=self.a_m),))
        area = self.a_m * self.b_m * beta_function(0.5, self.beta_2) * beta_function(0.5, self.beta_1 + 0.5)
        self._peak_per_m2 = float(1.0 / area)
        self.peak_rate_m_per_s = self.volume_rate_m3_per_s * self._peak_per_m2
        """Film growth on the axis at the reference standoff [m/s]."""

    @property
    def half_width_m(self) -> float:
        """Half width a of the fan across travel [m]."""
        return self.a_m

    @property
    def half_height_m(self) -> float:
        """Half height b of the fan along travel [m]."""
        return self.b_m

    @property
    def detail_m(self) -> float:
        """The smaller half axis [m]."""
        return min(self.a_m, self.b_m)

    def density(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return the share of the paint per area [1/m2] on the reference plane."""
        one, none = x_m.dtype.type(1.0), x_m.dtype.type(0.0)
        across = 1.0 - (y_m / self.a_m) ** 2
        inside = across > 1e-12
        across = np.where(inside, across, one)
        along = 1.0 - (x_m / self.b_m) ** 2 / across
        inside &= along > 0.0
        q = across ** (self.beta_1 - 1.0) * np.where(inside, along, none) ** (self.beta_2 - 1.0)
        return np.where(inside, self._peak_per_m2 * q, none)

    def stripe_across(self, y_m: Array) -> Array:
        """Return (1 - y^2/a^2)^(beta_1 - 1/2) over its integral [1/m]."""
        inside = np.maximum(1.0 - (y_m / self.a_m) ** 2, 0.0)
        return inside ** (self.beta_1 - 0.5) / (self.a_m * beta_function(0.5, self.beta_1 + 0.5))

    def stripe_along(self, x_m: Array) -> Array:
        """Return the pass along the fan's major axis [1/m].

        With s = 1 - x^2/b^2 it is s^(beta_2 - 1/2) F(beta_2 - beta_1, 1/2; beta_2 + 1/2; s), F the hypergeometric
        function, over its integral: Euler's integral of the chord.
        """
        s = np.maximum(1.0 - (x_m / self.b_m) ** 2, 0.0)
        chord = s ** (self.beta_2 - 0.5) * hyp2f1(self.beta_2 - self.beta_1, 0.5, self.beta_2 + 0.5, s)
        return chord / (self.b_m * beta_function(0.5, self.beta_1 + 0.5))

    @cached_property
    def step_m(self) -> float:
        """Longest pose step [m] that halving improves by no more than QUADRATURE_ERROR of a stripe's peak.

        Worst phase of the trapezoid rule over the profile along the fan's middle, at the shortest allowed standoff,
        where the fan is smallest. Strokes sampled coarser take sub-steps (`sweep.substeps_needed`).
        """
        phase = np.linspace(0.0, 1.0, 16, endpoint=False)[:, None]
        for n in range(2, 257):
            sums = []
            for steps in (n, 2 * n):
                u = (np.arange(steps + 1) + phase - 0.5) * 2.0 / steps - 1.0
                sums.append((np.maximum(1.0 - u * u, 0.0) ** (self.beta_2 - 1.0)).sum(axis=1) * 2.0 / steps)
            whole = float(beta_function(0.5, self.beta_2))
            # a phase of the coarse grid is met by the fine one with any phase: take both at their worst
            worst = np.abs(sums[0] - whole).max() + np.abs(sums[1] - whole).max()
            if worst <= QUADRATURE_ERROR * whole:
                break
        nearest = min(self.gun.standoff_m.low / self.gun.reference_standoff_m, 1.0)
        return 2.0 * self.b_m / n * nearest

    def spacing_m(self, order: int = 2) -> float:
        """Return the spacing [m] at which the fundamental ripple vanishes, flat at the reference standoff.

        It is 2 pi a over the `order`-th zero of the Bessel function J_beta1 (PROCESS.md section 1).
        """
        return 2.0 * np.pi * self.a_m / _bessel_zero(self.beta_1, order)


class GaussianSum(GunFootprint):
    """Elliptic Gaussians, each cut at CUT_SIGMAS and scaled to keep its share."""

    def __init__(self, gun: GaussianSumGun) -> None:
        self._terms = gun.gaussians
        supports = tuple(
            Ellipse(
                half_x_m=CUT_SIGMAS * g.sigma_x_m,
                half_y_m=CUT_SIGMAS * g.sigma_y_m,
                centre_x_m=g.offset_x_m,
                centre_y_m=g.offset_y_m,
            )
            for g in self._terms
        )
        super().__init__(gun, supports)
        self._kept = 1.0 - float(np.exp(-0.5 * CUT_SIGMAS**2))

    @property
    def half_width_m(self) -> float:
        """Half the width across travel that holds every term to PLANNED_SIGMAS [m]."""
        reach = [(g.offset_y_m, PLANNED_SIGMAS * g.sigma_y_m) for g in self._terms]
        return 0.5 * (max(c + r for c, r in reach) - min(c - r for c, r in reach))

    @property
    def half_height_m(self) -> float:
        """Half the height along travel that holds every term to PLANNED_SIGMAS [m]."""
        reach = [(g.offset_x_m, PLANNED_SIGMAS * g.sigma_x_m) for g in self._terms]
        return 0.5 * (max(c + r for c, r in reach) - min(c - r for c, r in reach))

    @property
    def detail_m(self) -> float:
        """PLANNED_SIGMAS of the narrowest term [m]."""
        return PLANNED_SIGMAS * min(min(g.sigma_x_m, g.sigma_y_m) for g in self._terms)

    def density(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return the share of the paint per area [1/m2] on the reference plane."""
        total = np.zeros_like(x_m)
        for g in self._terms:
            square = ((x_m - g.offset_x_m) / g.sigma_x_m) ** 2 + ((y_m - g.offset_y_m) / g.sigma_y_m) ** 2
            peak = g.share / (2.0 * np.pi * g.sigma_x_m * g.sigma_y_m * self._kept)
            total += np.where(square < CUT_SIGMAS**2, peak * np.exp(-0.5 * square), x_m.dtype.type(0.0))
        return total

    def stripe_across(self, y_m: Array) -> Array:
        """Return the sum of Gaussians in y, each times the part of its chord inside the cut [1/m]."""
        return sum((self._stripe(y_m, g.share, g.offset_y_m, g.sigma_y_m) for g in self._terms), np.zeros(len(y_m)))

    def stripe_along(self, x_m: Array) -> Array:
        """Return the sum of Gaussians in x, each times the part of its chord inside the cut [1/m]."""
        return sum((self._stripe(x_m, g.share, g.offset_x_m, g.sigma_x_m) for g in self._terms), np.zeros(len(x_m)))

    def _stripe(self, place_m: Array, share: float, offset_m: float, sigma_m: float) -> Array:
        square = ((place_m - offset_m) / sigma_m) ** 2
        chord = erf(np.sqrt(0.5 * np.maximum(CUT_SIGMAS**2 - square, 0.0)))
        return share / (np.sqrt(2.0 * np.pi) * sigma_m * self._kept) * np.exp(-0.5 * square) * chord


class BellRing(GunFootprint):
    """A rotary bell: a Gaussian ring cut at CUT_SIGMAS outside, its hollow filled to a share of the ring's height."""

    def __init__(self, gun: BellRingGun) -> None:
        self._ring_m, self._width_m, self._fill = gun.ring_radius_m, gun.ring_width_m, gun.hollow_fill
        outer = self._ring_m + CUT_SIGMAS * self._width_m
        super().__init__(gun, (Ellipse(half_x_m=outer, half_y_m=outer),))
        self._outer_m = outer
        r, weight = _gauss_legendre(np.array([0.0, self._ring_m]), np.array([self._ring_m, outer]))
        self._volume_m2 = float(2.0 * np.pi * (weight * r * self._height(r)).sum())

    def _height(self, radius_m: Reals) -> Reals:
        """Return the section of the ring (1 at its top), without the cut."""
        ring = np.exp(-0.5 * ((radius_m - self._ring_m) / self._width_m) ** 2)
        return np.where(radius_m < self._ring_m, self._fill + (1.0 - self._fill) * ring, ring)

    @property
    def half_width_m(self) -> float:
        """Radius of the ring and PLANNED_SIGMAS of its section [m]."""
        return self._ring_m + PLANNED_SIGMAS * self._width_m

    @property
    def half_height_m(self) -> float:
        """As the half width: the pattern is round [m]."""
        return self.half_width_m

    @property
    def detail_m(self) -> float:
        """PLANNED_SIGMAS of the ring's section [m]."""
        return min(PLANNED_SIGMAS * self._width_m, self.half_width_m)

    def density(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return the share of the paint per area [1/m2] on the reference plane."""
        radius = np.sqrt(x_m * x_m + y_m * y_m)
        return np.where(radius < self._outer_m, self._height(radius) / self._volume_m2, x_m.dtype.type(0.0))

    def stripe_across(self, y_m: Array) -> Array:
        """Return the integral along chords [1/m], by Gauss-Legendre on either side of the ring's top."""
        chord = np.sqrt(np.maximum(self._outer_m**2 - y_m**2, 0.0))
        inner = np.sqrt(np.maximum(self._ring_m**2 - y_m**2, 0.0))
        low, high = np.stack([np.zeros_like(y_m), inner]), np.stack([inner, chord])
        t, weight = _gauss_legendre(low, high)
        return 2.0 * (weight * self._height(np.hypot(t, y_m[:, None]))).sum(axis=(0, 2)) / self._volume_m2

    def stripe_along(self, x_m: Array) -> Array:
        """As across: the pattern is round."""
        return self.stripe_across(x_m)


def footprint_for(gun: GunConfig) -> GunFootprint:
    """Return the footprint of a gun of any kind."""
    if isinstance(gun, GaussianSumGun):
        return GaussianSum(gun)
    if isinstance(gun, BellRingGun):
        return BellRing(gun)
    return EllipticDoubleBeta(gun)


def _gauss_legendre(low: Array, high: Array) -> tuple[Array, Array]:
    """Return nodes and weights, each (..., CHORD_NODES), of the integrals from low to high (...)."""
    node, weight = np.polynomial.legendre.leggauss(CHORD_NODES)
    half = 0.5 * (high - low)[..., None]
    return low[..., None] + half * (node + 1.0), half * weight


def _bessel_zero(order: float, index: int) -> float:
    if float(order).is_integer():
        return float(jn_zeros(int(order), index)[-1])
    x = np.linspace(1e-3, 8.0 * (index + 2) + 2.0 * order, 20_000)
    y = jv(order, x)
    crossings = np.flatnonzero(np.sign(y[1:]) != np.sign(y[:-1]))
    i = crossings[index - 1]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
