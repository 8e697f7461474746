"""Where a gun can serve a surface at all: some pose at the standoff, above the part's plane, sees the point."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.sampling import SurfaceSamples
from cell_core.transforms import Array, unit
from spray_planner.clearance import BODY_LENGTH_M, PartView, Surroundings, gun_fits

LIFT_M = 0.003


@dataclass(frozen=True, kw_only=True, eq=False)
class Service:
    """Which samples a gun can serve, and why not the others."""

    mask: NDArray[np.bool_]
    """(P,) some pose serves the sample."""
    reasons: dict[str, NDArray[np.bool_]]
    """(P,) samples not served, by reason."""


def find_service(
    samples: SurfaceSamples,
    part: PartView,
    *,
    standoff_m: float,
    incidence_max_rad: float,
    surroundings: Surroundings,
) -> Service:
    """Return the samples that some gun pose at the standoff sees within the incidence limit.

    Tried are the normal and rings of directions around it; a direction counts when the gun stands above the plane the
    part lies on, is clear of the part, and the line to it, and on for the length of its body, is free.
    """
    served = np.zeros(len(samples), bool)
    allowed_any, seen = np.zeros(len(samples), bool), np.zeros(len(samples), bool)
    rise = surroundings.lowest_rise(samples.points_m, standoff_m)
    for direction in _rings(samples.normals, incidence_max_rad):
        allowed = direction[:, 2] >= rise
        allowed_any |= allowed
        at = np.flatnonzero(allowed & ~served)
        far = samples.points_m[at] + (standoff_m + BODY_LENGTH_M) * direction[at]
        at = at[~part.caster.blocked(far, samples.points_m[at], LIFT_M)]
        seen[at] = True
        served[at] = gun_fits(samples.points_m[at], direction[at], part, standoff_m, surroundings)
    return Service(
        mask=served,
        reasons={
            "gun would stand below the part": ~allowed_any,
            "hidden from every gun pose": allowed_any & ~seen,
            "recess: the gun's body would touch": seen & ~served,
        },
    )


def _rings(normals: Array, incidence_max_rad: float) -> list[Array]:
    """Return the directions to try, each (P, 3): the normal, then rings at a half and nearly all of the limit."""
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    s = unit(np.cross(normals, helper))
    t = np.cross(normals, s)
    out = [normals]
    for angle, n in ((0.5 * incidence_max_rad, 8), (0.95 * incidence_max_rad, 16)):
        for phi in 2.0 * np.pi * np.arange(n) / n:
            side = np.cos(phi) * s + np.sin(phi) * t
            out.append(np.cos(angle) * normals + np.sin(angle) * side)
    up = np.array([0.0, 0.0, 1.0]) - normals[:, 2:] * normals
    upward = unit(np.where(np.linalg.norm(up, axis=1, keepdims=True) > 1e-6, up, s))
    for angle in (0.5 * incidence_max_rad, 0.98 * incidence_max_rad):
        out.append(np.cos(angle) * normals + np.sin(angle) * upward)
    return out
