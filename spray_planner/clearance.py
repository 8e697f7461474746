"""Where a gun can stand: clear of the part, of the plane the part lies on, with a free view ahead."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.transforms import Array, unit

BODY_LENGTH_M = 0.10
"""Free length wanted behind the nozzle, along the gun [m]."""
BODY_RADIUS_M = 0.04
"""Half the thickness of a gun's body [m]."""
FLOOR_CLEARANCE_M = 0.03
"""Distance of the gun's body from the plane the part lies on [m]."""
LOWEST_ELEVATION_RAD = 0.0
"""The gun may lie level, never point upwards."""
UPRIGHT_Z = 0.999
"""A direction raised no further keeps the way it turns."""
NEAREST_NOZZLE_M = 0.045
"""A nozzle stays at least this far from the surface [m]."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What limits gun poses besides the part: the plane it lies on."""

    floor_z_m: float | None
    """Height of that plane in the part's frame [m]; None: the part hangs free."""

    @property
    def lowest_nozzle_z_m(self) -> float:
        """Lowest z of a nozzle [m]."""
        return -np.inf if self.floor_z_m is None else self.floor_z_m + FLOOR_CLEARANCE_M + BODY_RADIUS_M

    @property
    def lowest_elevation_rad(self) -> float:
        """Lowest angle of the direction from part to gun above the xy plane [rad]."""
        return -np.pi / 2 if self.floor_z_m is None else LOWEST_ELEVATION_RAD

    def lowest_rise(self, points_m: Array, standoff_m: float | Array) -> Array:
        """Return the least z (N,) a unit direction from each point (N, 3) to its gun may have; above 1: none."""
        if self.floor_z_m is None:
            return np.full(len(points_m), -1.0)
        rise = (self.lowest_nozzle_z_m - points_m[:, 2]) / standoff_m
        return np.maximum(rise, np.sin(self.lowest_elevation_rad))


def raised(aim: Array, rise: Array) -> Array:
    """Return unit directions turned upwards to a z of at least `rise` (N,), nearly upright where that exceeds 1."""
    z = np.maximum(aim[:, 2], np.minimum(rise, UPRIGHT_Z))
    flat = unit(np.column_stack([aim[:, :2], np.zeros(len(aim))]))
    return np.column_stack([flat[:, :2] * np.sqrt(1.0 - np.minimum(z * z, 1.0))[:, None], z])


@dataclass(frozen=True, kw_only=True, eq=False)
class PartView:
    """The part as a gun may not touch it."""

    caster: RayCaster
    tree: KDTree
    """Nearest of points on the part that lie closer together than a gun's clearance."""
    triangle_normals: Array

    def clear(self, points_m: Array, distance_m: float) -> NDArray[np.bool_]:
        """Return whether each point (N, 3) keeps the distance from the part."""
        return np.isinf(self.tree.query(points_m, distance_upper_bound=distance_m)[0])


def gun_fits(
    surface_m: Array,
    aim: Array,
    part: PartView,
    standoff_m: float | Array,
    surroundings: Surroundings,
) -> NDArray[np.bool_]:
    """Return where a gun at its standoff, one or (N,), along `aim` (N, 3) from points (N, 3) is clear."""
    standoff = np.broadcast_to(standoff_m, len(aim))
    nozzle = surface_m + standoff[:, None] * aim
    fits = nozzle[:, 2] >= surroundings.lowest_nozzle_z_m - 1e-3
    fits &= part.clear(nozzle, NEAREST_NOZZLE_M)
    for behind in (0.5 * BODY_LENGTH_M, BODY_LENGTH_M):
        at = np.flatnonzero(fits)
        fits[at] = part.clear(nozzle[at] + behind * aim[at], BODY_RADIUS_M)
    at = np.flatnonzero(fits)
    distance, triangle = part.caster.first_hit(nozzle[at], -aim[at])
    # a first hit from behind means that the nozzle is inside the part or behind its shell
    behind = np.einsum("ij,ij->i", part.triangle_normals[triangle], -aim[at]) > 0.0
    fits[at] = ~((triangle >= 0) & (behind | (distance < 0.5 * standoff[at])) & (distance < standoff[at]))
    return fits
