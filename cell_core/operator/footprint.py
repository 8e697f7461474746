"""Footprints: how fast a tool pose changes the surface at each point around it."""

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import ConfigurationError
from cell_core.operator.footprint_protocol import Footprint, Reals, SweptFootprint
from cell_core.operator.gun_footprint import GunFootprint
from cell_core.operator.gun_kinds import EllipticDoubleBeta, footprint_for

__all__ = [
    "EllipticDoubleBeta",
    "Footprint",
    "GunFootprint",
    "Reals",
    "RoundFootprint",
    "SweptFootprint",
    "footprint_for",
]

FACING_MAX_RAD = np.pi / 3.0
"""A round face covers what is turned from it by no more than this [rad]."""


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
