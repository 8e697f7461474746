"""A spray gun's film growth on any surface, from its pattern on the reference plane."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GunConfig
from cell_core.operator.footprint_protocol import Reals
from cell_core.transforms import Array

NEAREST_M = 0.02
"""A gun's model says nothing closer to the nozzle than this [m]."""
FARTHEST_STANDOFFS = 2.5
"""Spray is followed to this many reference standoffs."""
QUADRATURE_ERROR = 0.005
"""What halving the sample step may change, over the mean."""
STRIPE_PLACES = 4_001
RIPPLE_OF_ORDER = (0.03, 0.01, 0.004)
"""Largest CV of a flat raster at the spacing of order 1, 2, 3: about what a double-beta fan's own zeros give."""
PHASES = 16
STEPS_MAX = 512


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """Part of the reference plane that a pattern, or a term of it, stays in; axes along x (travel) and y [m]."""

    half_x_m: float
    half_y_m: float
    centre_x_m: float = 0.0
    centre_y_m: float = 0.0


class GunFootprint(ABC):
    """A gun's pattern q0 on the reference plane, carried to any surface.

    q = q0(x, y) (h0 / l)^2 cos(alpha) / cos^3(theta), with (x, y) the point's ray on the plane at the reference
    standoff h0, l its distance, theta its angle to the tool axis and alpha its incidence. Occlusion is left to the
    coverage operator. The pattern's scale follows from mass balance: the integral of q0 is flow * solids * efficiency,
    on whatever surface catches the whole cone.

    Left out: droplets that bounce back or are carried off by the air where the jet stands or turns (corners, hollows,
    near edges) beyond the constant efficiency, a pattern that changes with flow, and gravity.
    Source: Wu and Tang, Robotica 41 (2023) 1794, eqs 2-4.
    """

    occludes = True

    def __init__(self, gun: GunConfig, supports: tuple[Ellipse, ...]) -> None:
        self.gun = gun
        self.supports = supports
        depth = FARTHEST_STANDOFFS * gun.reference_standoff_m
        corner = max(np.hypot(e.centre_x_m, e.centre_y_m) + max(e.half_x_m, e.half_y_m) for e in supports)
        self.reach_m = float(depth * np.hypot(1.0, corner / gun.reference_standoff_m))

    @property
    @abstractmethod
    def half_width_m(self) -> float:
        """Half width of the pattern across travel at the reference standoff [m]; Gaussian tails cut at 2.5 sigma."""

    @property
    @abstractmethod
    def half_height_m(self) -> float:
        """Half height of the pattern along travel at the reference standoff [m]; Gaussian tails cut at 2.5 sigma."""

    @property
    @abstractmethod
    def detail_m(self) -> float:
        """Half width of the smallest feature of the pattern [m]: samples and steps are fractions of it."""

    @abstractmethod
    def density(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return the share of the paint per area [1/m2] on the reference plane, x along travel, y across it."""

    @abstractmethod
    def stripe_across(self, y_m: Array) -> Array:
        """Return the share of the paint per width [1/m] that a pass along x lays at y (N,) on the reference plane."""

    @abstractmethod
    def stripe_along(self, x_m: Array) -> Array:
        """Return the share of the paint per width [1/m] that a pass along y, the fan's own way, lays at x (N,)."""

    @property
    def volume_rate_m3_per_s(self) -> float:
        """Film volume a fully caught cone leaves per second [m3/s]."""
        return self.gun.transfer_efficiency * self.gun.solids_volume_fraction * self.gun.flow_m3_per_s

    def reference_rates(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return q0 [m/s] on the reference plane at x along travel and y across it [m]."""
        return self.volume_rate_m3_per_s * self.density(x_m, y_m)

    def rates(self, local_points_m: Reals, local_normals: Reals, pose_index: NDArray[np.int64]) -> Reals:
        """Return the film growth (P,) [m/s] without occlusion; 0 for faces turned away."""
        x, y, z = local_points_m.T
        h0 = self.gun.reference_standoff_m
        ahead = z > NEAREST_M
        z = np.where(ahead, z, z.dtype.type(1.0))
        facing = -(x * local_normals[:, 0] + y * local_normals[:, 1] + z * local_normals[:, 2])
        scale = h0 / z
        q0 = self.reference_rates(scale * x, scale * y)
        # l cos(alpha) is `facing`, and (h0 / l)^2 cos(alpha) / cos^3(theta) = (h0 / z)^2 facing / z
        return np.where(ahead & (facing > 0.0), q0 * scale * scale * facing / z, z.dtype.type(0.0))

    def may_reach(self, local_centres_m: Reals, radius_m: Reals) -> NDArray[np.bool_]:
        """Return whether balls (P, 3) with radii (P,) may touch a cone over one of the ellipses; exact for radius 0."""
        x, y, z = local_centres_m.T
        h0 = self.gun.reference_standoff_m
        depth = z + radius_m
        meets = np.zeros(len(z), bool)
        for e in self.supports:
            # slid sideways with depth, so that the cone's axis stands upright; a ball's points slide by no more than
            # the second term
            slope_x, slope_y = e.centre_x_m / h0, e.centre_y_m / h0
            radius = radius_m * (1.0 + float(np.hypot(slope_x, slope_y)))
            # every point of the ball lies at least this near the axis, where the cone is at most as wide as at `depth`
            across = np.maximum(np.abs(y - slope_y * z) - radius, 0.0) * (h0 / e.half_y_m)
            along = np.maximum(np.abs(x - slope_x * z) - radius, 0.0) * (h0 / e.half_x_m)
            meets |= across * across + along * along <= depth * depth
        return (depth > 0.0) & meets

    @cached_property
    def step_m(self) -> float:
        """Longest pose step [m] that halving improves by no more than QUADRATURE_ERROR of a stripe's peak.

        Worst phase of the trapezoid rule along lines through the pattern, at the shortest allowed standoff, where the
        pattern is smallest. Strokes sampled coarser take sub-steps (`sweep.substeps_needed`).
        """
        low = min(e.centre_x_m - e.half_x_m for e in self.supports)
        span = max(e.centre_x_m + e.half_x_m for e in self.supports) - low
        y = np.linspace(-1.0, 1.0, 17) * self.half_width_m
        whole = self.stripe_across(y)

        def worst(steps: int) -> float:
            place = (np.arange(steps + 1) + np.arange(PHASES)[:, None] / PHASES - 0.5) / steps
            x, across = np.broadcast_arrays(low + span * place[..., None], y)
            sums = self.density(x, across).sum(axis=1) * span / steps
            return float(np.abs(sums - whole).max())

        n = 2
        # a phase of the coarse grid is met by the fine one with any phase: take both at their worst
        while worst(n) + worst(2 * n) > QUADRATURE_ERROR * whole.max() and n < STEPS_MAX:
            n += 1 + n // 16
        nearest = min(self.gun.standoff_m.low / self.gun.reference_standoff_m, 1.0)
        return float(span / n * nearest)

    def spacing_m(self, order: int = 2) -> float:
        """Return a spacing [m] with little ripple, flat at the reference standoff; higher orders: closer, smoother.

        The widest spacing at which the ripple of a flat raster is least nearby and within RIPPLE_OF_ORDER, or from
        which on every closer one is within it.
        """
        bound = RIPPLE_OF_ORDER[min(order, len(RIPPLE_OF_ORDER)) - 1]
        spacing = np.linspace(2.0, 0.1, 381) * self.half_width_m
        ripple = np.array([self.ripple(d) for d in spacing])
        least = np.flatnonzero((ripple[1:-1] <= ripple[:-2]) & (ripple[1:-1] < ripple[2:]) & (ripple[1:-1] <= bound))
        over = np.flatnonzero(ripple > bound)
        first_quiet = over[-1] + 1 if len(over) else 0
        return float(spacing[min([first_quiet, *(least + 1)])])

    @cached_property
    def _pass_profile(self) -> tuple[Array, Array]:
        """Places across a pass [m] and its film there, close enough to be taken as straight between them."""
        reach = max(abs(e.centre_y_m) + e.half_y_m for e in self.supports)
        across = np.linspace(-reach, reach, STRIPE_PLACES)
        return across, self.stripe_across(across)

    def ripple(self, spacing_m: float) -> float:
        """Return the CV of a flat raster of passes there and back, at the reference standoff."""
        y = (np.arange(128) + 0.5) / 64 * spacing_m
        across, stripe = self._pass_profile
        n = int(np.ceil(across[-1] / (2.0 * spacing_m))) + 1
        place = y[:, None] - 2.0 * spacing_m * np.arange(-n, n + 2)
        film = np.interp(place, across, stripe, 0.0, 0.0) + np.interp(spacing_m - place, across, stripe, 0.0, 0.0)
        film = film.sum(axis=1)
        return float(film.std() / film.mean())
