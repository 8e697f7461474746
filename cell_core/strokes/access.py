"""Where a contact tool can stand: poses whose body is clear of the part, and what of the surface they reach."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, sample_surface
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

RING = 8
SAME_SIDE_COS = 0.3
SMOOTHING_RADII = 0.6
"""A pad lies along the mean normal of what is within this many radii."""


@dataclass(frozen=True, kw_only=True)
class RoundTool:
    """A tool with a round contact face and a cylindrical body behind it."""

    radius_m: float
    """Radius of the contact face [m]."""
    body_radius_m: float
    """Radius of what must stay clear of the part [m]; below `radius_m` where the face's rim may give way."""
    body_length_m: float = 0.1
    """Length of the body behind the face that must be free [m]."""
    lift_m: float
    """The body starts this far behind the contact plane [m]: how deep the face follows a hollow."""
    incidence_max_rad: float = np.deg2rad(60.0)
    """The face reaches points whose normal lies within this of the tool's axis [rad]."""

    @staticmethod
    def of_radius(radius_m: float) -> "RoundTool":
        """Return a tool whose body is 0.9 radii wide and starts a fifth of a radius behind the face."""
        return RoundTool(radius_m=radius_m, body_radius_m=0.9 * radius_m, lift_m=0.2 * radius_m)

    def as_block(self) -> dict[str, Any]:
        """Return the tool block of a tool path: all a stranger needs to count what was passed over."""
        return {
            "name": f"round_{2e3 * self.radius_m:.3g}mm",
            "kind": "round",
            "radius_m": self.radius_m,
            "depth_m": self.depth_m,
            "incidence_max_rad": self.incidence_max_rad,
            "body_radius_m": self.body_radius_m,
            "body_length_m": self.body_length_m,
            "lift_m": self.lift_m,
        }

    @property
    def depth_m(self) -> float:
        """How far before and behind the contact plane the face reaches [m]: what a ball of that radius sags."""
        return 0.5 * self.radius_m


def body_is_free(caster: RayCaster, contact_m: Array, outward: Array, tool: RoundTool) -> NDArray[np.bool_]:
    """Return where a tool standing on points (N, 3) with its body along `outward` (N, 3) is clear of the part.

    Rays run from the lifted centre to a ring on the body's rim and from there along the body; an obstacle thinner than
    an eighth of the rim can slip between them.
    """
    side = unit(np.cross(outward, np.where(np.abs(outward[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])))
    other = np.cross(outward, side)
    start = contact_m + tool.lift_m * outward
    free = ~caster.blocked(start, start + tool.body_length_m * outward)
    # a lifted point behind a thin wall has the surface between itself and its own contact
    free &= ~caster.blocked(start, contact_m, 0.5 * tool.lift_m)
    for k in range(RING):
        angle = 2.0 * np.pi * k / RING
        at = np.flatnonzero(free)
        rim = start[at] + tool.body_radius_m * (np.cos(angle) * side[at] + np.sin(angle) * other[at])
        clear = ~caster.blocked(start[at], rim)
        clear &= ~caster.blocked(rim, rim + tool.body_length_m * outward[at])
        free[at] = clear
    return free


def reached(
    points_m: Array, normals: Array, contact_m: Array, outward: Array, tool: RoundTool
) -> NDArray[np.bool_]:
    """Return which points (P, 3) with normals (P, 3) some pose on `contact_m` (N, 3) along `outward` (N, 3) reaches."""
    out = np.zeros(len(points_m), bool)
    if len(contact_m) == 0:
        return out
    reach = float(np.hypot(tool.radius_m, tool.depth_m))
    tree = KDTree(contact_m)
    # the nearest pose serves most points; only the others are tried against all poses around
    for k in (1, 4, 16, 64):
        left = np.flatnonzero(~out)
        if len(left) == 0 or k > 4 * len(contact_m):
            break
        k = min(k, len(contact_m))
        distance, index = tree.query(points_m[left], k=k, distance_upper_bound=reach)
        distance, index = distance.reshape(-1, k), index.reshape(-1, k)
        index = np.where(np.isfinite(distance), index, 0)
        step = points_m[left][:, None] - contact_m[index]
        hit = _touched(step, np.broadcast_to(normals[left][:, None], step.shape), outward[index], tool)
        out[left] = np.any(np.isfinite(distance) & hit, axis=1)
    return out


def touches(samples: SurfaceSamples, contact_m: Array, outward: Array, tool: RoundTool) -> Any:
    """Return which samples poses on `contact_m` (N, 3) along `outward` (N, 3) touch: a (P, N) csr matrix of ones."""
    reach = float(np.hypot(tool.radius_m, tool.depth_m))
    pairs = KDTree(contact_m).sparse_distance_matrix(samples.tree, reach, output_type="ndarray")
    pose, point = pairs["i"], pairs["j"]
    hit = _touched(samples.points_m[point] - contact_m[pose], samples.normals[point], outward[pose], tool)
    entries = (np.ones(int(hit.sum()), np.int8), (point[hit], pose[hit]))
    return scipy.sparse.csr_matrix(entries, shape=(len(samples), len(contact_m)))


def _touched(step_m: Array, normals: Array, outward: Array, tool: RoundTool) -> NDArray[np.bool_]:
    axial = np.einsum("...i,...i->...", step_m, outward)
    lateral2 = np.einsum("...i,...i->...", step_m, step_m) - axial**2
    facing = np.einsum("...i,...i->...", normals, outward)
    near = (lateral2 <= tool.radius_m**2) & (np.abs(axial) <= tool.depth_m)
    return near & (facing >= np.cos(tool.incidence_max_rad))


def seats(surface: Surface, caster: RayCaster, tool: RoundTool) -> tuple[NDArray[np.bool_], Array]:
    """Return which triangles (T,) of a fine surface the tool can stand on, and the directions (T, 3) it stands along.

    Args:
        surface: triangles much smaller than the tool, as `process_mesh` makes them.
        caster: rays on the part itself.
    """
    radius = SMOOTHING_RADII * tool.radius_m
    samples = sample_surface(surface, radius / 3.0)
    outward = unit(samples.mean_normals(surface.centroids_m, surface.triangle_normals, radius, SAME_SIDE_COS))
    return body_is_free(caster, surface.centroids_m, outward, tool), outward
