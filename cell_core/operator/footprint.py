"""Footprints: how fast a tool pose changes the surface at each point around it."""

from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import beta as beta_function
from scipy.special import jn_zeros, jv

from cell_core.config import GunConfig
from cell_core.errors import ConfigurationError

Reals = NDArray[np.floating[Any]]
"""float32 or float64; answers have the precision of the question."""

NEAREST_M = 0.02
"""A gun's model says nothing closer to the nozzle than this [m]."""
FARTHEST_STANDOFFS = 2.5
"""Spray is followed to this many reference standoffs."""
FACING_MAX_RAD = np.pi / 3.0
"""A round face covers what is turned from it by no more than this [rad]."""
QUADRATURE_ERROR = 0.005
"""What halving the sample step may change, over the mean."""


class Footprint(Protocol):
    """Rates in tool coordinates: x along travel, y across it, z from the tool into the surface, origin the TCP."""

    @property
    def reach_m(self) -> float:
        """No point farther than this from the TCP gets anything [m]."""
        ...

    @property
    def occludes(self) -> bool:
        """True where the line from TCP to point must be free, as for guns."""
        ...

    def rates(self, local_points_m: Reals, local_normals: Reals, pose_index: NDArray[np.int64]) -> Reals:
        """Return the rate of change (P,) [m/s], >= 0, for the process at the value the footprint was made with.

        Points (P, 3) and their outward normals (P, 3) are each in the tool coordinates of sample `pose_index` (P,),
        float32 or float64. The coverage operator asks only about points that `may_reach` lets through as balls of
        radius 0. Work element by element, in the precision given: a sum over pairs or a call into BLAS would let the
        result depend on how pairs are grouped.
        """
        ...

    def may_reach(self, local_centres_m: Reals, radius_m: Reals) -> NDArray[np.bool_]:
        """Return whether balls (P, 3), radii (P,), in tool coordinates may hold a point with a rate; True if unsure."""
        ...


@runtime_checkable
class SweptFootprint(Footprint, Protocol):
    """A footprint that knows its mean over a short straight sweep: for sharp edges no number of poses is enough."""

    def swept_rates(
        self,
        local_points_m: Reals,
        local_normals: Reals,
        pose_index: NDArray[np.int64],
        behind_m: Reals,
        ahead_m: Reals,
    ) -> Reals:
        """Return the mean rate (P,) [m/s] while the tool moves along its x axis from -behind_m to +ahead_m (P,)."""
        ...


class EllipticDoubleBeta:
    """A spray gun's film growth: elliptic double-beta on the reference plane, carried to any surface.

    q = q0(x, y) (h0 / l)^2 cos(alpha) / cos^3(theta), with (x, y) the point's ray on the plane at the reference
    standoff h0, l its distance, theta its angle to the tool axis and alpha its incidence. Occlusion is left to the
    coverage operator. The peak rate follows from mass balance: the integral of q0 is flow * solids * efficiency.
    Source: Wu and Tang, Robotica 41 (2023) 1794, eqs 2-4; closed-form integral in PROCESS.md section 1.
    """

    occludes = True

    def __init__(self, gun: GunConfig) -> None:
        self.gun = gun
        area = gun.a_m * gun.b_m * beta_function(0.5, gun.beta_2) * beta_function(0.5, gun.beta_1 + 0.5)
        self.peak_rate_m_per_s = float(self.volume_rate_m3_per_s / area)
        """Film growth on the axis at the reference standoff [m/s]."""
        depth = FARTHEST_STANDOFFS * gun.reference_standoff_m
        self.reach_m = float(depth * np.hypot(1.0, gun.a_m / gun.reference_standoff_m))

    @property
    def volume_rate_m3_per_s(self) -> float:
        """Film volume a fully caught cone leaves per second [m3/s]."""
        return self.gun.transfer_efficiency * self.gun.solids_volume_fraction * self.gun.flow_m3_per_s

    def reference_rates(self, x_m: Reals, y_m: Reals) -> Reals:
        """Return q0 [m/s] on the reference plane at x along travel (minor axis) and y across it (major axis) [m]."""
        one, none = x_m.dtype.type(1.0), x_m.dtype.type(0.0)
        across = 1.0 - (y_m / self.gun.a_m) ** 2
        inside = across > 1e-12
        across = np.where(inside, across, one)
        along = 1.0 - (x_m / self.gun.b_m) ** 2 / across
        inside &= along > 0.0
        q = across ** (self.gun.beta_1 - 1.0) * np.where(inside, along, none) ** (self.gun.beta_2 - 1.0)
        return np.where(inside, self.peak_rate_m_per_s * q, none)

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
        """Return whether balls (P, 3) with radii (P,) may touch the elliptic cone; exact for radius 0."""
        x, y, z = local_centres_m.T
        gun = self.gun
        depth = z + radius_m
        # every point of the ball lies at least this near the axis, where the cone is at most as wide as at `depth`
        across = np.maximum(np.abs(y) - radius_m, 0.0) * (gun.reference_standoff_m / gun.a_m)
        along = np.maximum(np.abs(x) - radius_m, 0.0) * (gun.reference_standoff_m / gun.b_m)
        return (depth > 0.0) & (across * across + along * along <= depth * depth)

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
                sums.append((np.maximum(1.0 - u * u, 0.0) ** (self.gun.beta_2 - 1.0)).sum(axis=1) * 2.0 / steps)
            whole = float(beta_function(0.5, self.gun.beta_2))
            # a phase of the coarse grid is met by the fine one with any phase: take both at their worst
            worst = np.abs(sums[0] - whole).max() + np.abs(sums[1] - whole).max()
            if worst <= QUADRATURE_ERROR * whole:
                break
        nearest = min(self.gun.standoff_m.low / self.gun.reference_standoff_m, 1.0)
        return 2.0 * self.gun.b_m / n * nearest

    def spacing_m(self, order: int = 2) -> float:
        """Return the spacing [m] at which the fundamental ripple vanishes, flat at the reference standoff.

        It is 2 pi a over the `order`-th zero of the Bessel function J_beta1 (PROCESS.md section 1).
        """
        return 2.0 * np.pi * self.gun.a_m / _bessel_zero(self.gun.beta_1, order)


class RoundFootprint:
    """A contact tool counted geometrically: 1/s where its round face covers the surface, so A t is time covered [s].

    A point is covered when it lies within the radius of the tool axis, within the depth of the contact plane on
    either side, and its normal faces the tool within the angle. Nothing occludes.
    """

    occludes = False

    def __init__(self, radius_m: float, *, depth_m: float, facing_max_rad: float = FACING_MAX_RAD) -> None:
        if not (radius_m > 0.0 and depth_m > 0.0 and 0.0 < facing_max_rad <= 0.5 * np.pi):
            raise ConfigurationError(
                f"round footprint: radius {radius_m:.6g} m and depth {depth_m:.6g} m must be > 0 m, "
                f"facing angle {facing_max_rad:.6g} rad in (0, pi/2]"
            )
        self.radius_m, self.depth_m, self.facing_max_rad = float(radius_m), float(depth_m), float(facing_max_rad)
        self.reach_m = float(np.hypot(radius_m, depth_m))

    def rates(self, local_points_m: Reals, local_normals: Reals, pose_index: NDArray[np.int64]) -> Reals:
        """Return 1/s (P,) for covered points, 0 for others."""
        standing = np.zeros(len(local_points_m), local_points_m.dtype)
        return self.swept_rates(local_points_m, local_normals, pose_index, standing, standing)

    def swept_rates(
        self,
        local_points_m: Reals,
        local_normals: Reals,
        pose_index: NDArray[np.int64],
        behind_m: Reals,
        ahead_m: Reals,
    ) -> Reals:
        """Return the share (P,) [1/s] of the sweep during which each point is covered."""
        x, y, z = local_points_m.T
        open_to_tool = (np.abs(z) <= self.depth_m) & (local_normals[:, 2] <= -float(np.cos(self.facing_max_rad)))
        half_chord = np.sqrt(np.maximum(self.radius_m**2 - y * y, 0.0))
        span = behind_m + ahead_m
        under = np.minimum(ahead_m, x + half_chord) - np.maximum(-behind_m, x - half_chord)
        moving = span > 0.0
        share = np.where(moving, np.maximum(under, 0.0) / np.where(moving, span, 1.0), np.abs(x) <= half_chord)
        return np.where(open_to_tool & (np.abs(y) <= self.radius_m), share, 0.0).astype(x.dtype)

    def may_reach(self, local_centres_m: Reals, radius_m: Reals) -> NDArray[np.bool_]:
        """Return whether balls (P, 3) with radii (P,) may touch the cylinder that the face covers."""
        x, y, z = local_centres_m.T
        limit = radius_m + self.radius_m
        return (x * x + y * y <= limit * limit) & (np.abs(z) <= self.depth_m + radius_m)


def _bessel_zero(order: float, index: int) -> float:
    if float(order).is_integer():
        return float(jn_zeros(int(order), index)[-1])
    x = np.linspace(1e-3, 8.0 * (index + 2) + 2.0 * order, 20_000)
    y = jv(order, x)
    crossings = np.flatnonzero(np.sign(y[1:]) != np.sign(y[:-1]))
    i = crossings[index - 1]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
