"""Footprints: how fast a tool pose changes the surface at each point around it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import beta as beta_function
from scipy.special import jn_zeros, jv

from cell_core.config import GunConfig
from cell_core.transforms import Array

NEAREST_M = 0.02
"""A gun's model says nothing closer to the nozzle than this [m]."""
FARTHEST_STANDOFFS = 2.5
"""Spray is followed to this many reference standoffs."""


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

    def rates(self, local_points_m: Array, local_normals: Array, pose_index: NDArray[np.int64]) -> Array:
        """Return the rate of change (P,) [m/s], >= 0, for the process at the value the footprint was made with.

        Points (P, 3) and their outward normals (P, 3) are each in the tool coordinates of sample `pose_index` (P,).
        """
        ...

    def may_reach(self, local_centres_m: Array, radius_m: Array) -> NDArray[np.bool_]:
        """Return whether balls (P, 3), radii (P,), in tool coordinates may hold a point with a rate; True if unsure."""
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
        self.peak_rate_m_per_s = gun.transfer_efficiency * gun.solids_volume_fraction * gun.flow_m3_per_s / area
        """Film growth on the axis at the reference standoff [m/s]."""
        depth = FARTHEST_STANDOFFS * gun.reference_standoff_m
        self.reach_m = float(depth * np.hypot(1.0, gun.a_m / gun.reference_standoff_m))

    @property
    def volume_rate_m3_per_s(self) -> float:
        """Film volume a fully caught cone leaves per second [m3/s]."""
        return self.gun.transfer_efficiency * self.gun.solids_volume_fraction * self.gun.flow_m3_per_s

    def reference_rates(self, x_m: Array, y_m: Array) -> Array:
        """Return q0 [m/s] on the reference plane at x along travel (minor axis) and y across it (major axis) [m]."""
        across = 1.0 - (y_m / self.gun.a_m) ** 2
        inside = across > 1e-12
        across = np.where(inside, across, 1.0)
        along = 1.0 - (x_m / self.gun.b_m) ** 2 / across
        inside &= along > 0.0
        q = across ** (self.gun.beta_1 - 1.0) * np.where(inside, along, 0.0) ** (self.gun.beta_2 - 1.0)
        return np.where(inside, self.peak_rate_m_per_s * q, 0.0)

    def rates(self, local_points_m: Array, local_normals: Array, pose_index: NDArray[np.int64]) -> Array:
        """Return the film growth (P,) [m/s] without occlusion; 0 for faces turned away."""
        x, y, z = local_points_m[:, 0], local_points_m[:, 1], local_points_m[:, 2]
        h0 = self.gun.reference_standoff_m
        ahead = z > NEAREST_M
        z = np.where(ahead, z, 1.0)
        square = x * x + y * y + z * z
        length = np.sqrt(square)
        facing = -(local_points_m[:, 0] * local_normals[:, 0] + local_points_m[:, 1] * local_normals[:, 1])
        cos_alpha = (facing - z * local_normals[:, 2]) / length
        q0 = self.reference_rates(h0 * x / z, h0 * y / z)
        return np.where(ahead & (cos_alpha > 0.0), q0 * h0 * h0 * length * cos_alpha / z**3, 0.0)

    def may_reach(self, local_centres_m: Array, radius_m: Array) -> NDArray[np.bool_]:
        """Return whether balls (P, 3) with radii (P,) may touch the cone."""
        gun = self.gun
        z = local_centres_m[:, 2] + radius_m
        tan_y, tan_x = gun.a_m / gun.reference_standoff_m, gun.b_m / gun.reference_standoff_m
        # distance to the fan's side planes is at most (|y| - z tan) cos, so r / cos widens the test enough
        near_y = np.abs(local_centres_m[:, 1]) <= np.maximum(z, 0.0) * tan_y + radius_m
        near_x = np.abs(local_centres_m[:, 0]) <= np.maximum(z, 0.0) * tan_x + radius_m
        return (z > 0.0) & near_x & near_y

    def spacing_m(self, order: int = 2) -> float:
        """Return the spacing [m] at which the fundamental ripple vanishes, flat at the reference standoff.

        It is 2 pi a over the `order`-th zero of the Bessel function J_beta1 (PROCESS.md section 1).
        """
        return 2.0 * np.pi * self.gun.a_m / _bessel_zero(self.gun.beta_1, order)


def _bessel_zero(order: float, index: int) -> float:
    if float(order).is_integer():
        return float(jn_zeros(int(order), index)[-1])
    x = np.linspace(1e-3, 8.0 * (index + 2) + 2.0 * order, 20_000)
    y = jv(order, x)
    crossings = np.flatnonzero(np.sign(y[1:]) != np.sign(y[:-1]))
    i = crossings[index - 1]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))
