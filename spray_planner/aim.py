"""Where the gun points along a line: square to the sheet, turned away from the floor and from what it would hit."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.strokes.layout import Line
from cell_core.transforms import Array, unit
from spray_planner.service import BODY_LENGTH_M, BODY_RADIUS_M, Surroundings

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the patch's direction mixed into the sheet's normal, least first."""
SMOOTH_M = 0.04
BEND_MAX_PER_M = 20.0
"""Largest curvature of the nozzle's path [1/m]."""
POST_M = 0.015
"""Distance at which poses are tried along a line [m]."""
NEAREST_NOZZLE_M = 0.045
"""A nozzle stays at least this far from the surface [m]."""


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


def aim_line(
    line: Line,
    part: PartView,
    *,
    direction: Array,
    standoff_m: float,
    incidence_max_rad: float,
    surroundings: Surroundings,
    min_samples: int = 4,
) -> list[Line]:
    """Return the line with `normal` as the direction from the surface to the gun, cut where no gun can stand.

    The direction is the sheet's normal, blended towards the patch's own where the gun would come near the part, and
    raised where it would come near the floor, never beyond the incidence limit from the normal; smooth along the
    line. A line whose nozzle path still bends more than BEND_MAX_PER_M is left out.
    """
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1))]
    pitch = max(along[-1] / max(len(along) - 1, 1), 1e-6)
    every = np.arange(len(line.normal))
    posts = np.unique(np.r_[every[:: max(int(POST_M / pitch), 1)], every[-1]])
    at, blends = posts, np.full(len(posts), BLENDS[-1])
    for share in BLENDS:
        if len(at) == 0:
            break
        aim = _blended(line.normal[at], direction, share)
        aim = _raised(aim, line, at, standoff_m, incidence_max_rad, surroundings)
        lifted = _lifted(line.surface_m[at], aim, standoff_m, surroundings)
        free = gun_fits(lifted, aim, part, standoff_m, surroundings)
        blends[np.isin(posts, at[free])] = share
        at = at[~free]
    reach = max(int(SMOOTH_M / pitch), 1)
    blend = np.interp(every, posts, blends)
    blend = gaussian_filter1d(maximum_filter1d(blend, 2 * reach + 1, mode="nearest"), reach, mode="nearest")
    aim = _blended(line.normal, direction, blend[:, None])
    for widen in (1.0, 2.0, 4.0):
        aim = _raised(aim, line, every, standoff_m, incidence_max_rad, surroundings)
        aim = unit(gaussian_filter1d(aim, widen * reach, axis=0, mode="nearest"))
        aim = _raised(aim, line, every, standoff_m, incidence_max_rad, surroundings)
        aimed = replace(line, normal=aim, surface_m=_lifted(line.surface_m, aim, standoff_m, surroundings))
        if _sharpest_bend(aimed.surface_m + standoff_m * aim) <= BEND_MAX_PER_M:
            break
    else:
        return []
    fits = gun_fits(aimed.surface_m[posts], aim[posts], part, standoff_m, surroundings)
    fits = np.interp(every, posts, fits.astype(float)) > 0.999
    if fits.all():
        return [aimed]
    edges = np.flatnonzero(np.diff(np.r_[False, fits, False].astype(int)))
    pieces = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [
        Line(surface_m=aimed.surface_m[i:j], normal=aim[i:j], on=aimed.on[i:j])
        for i, j in pieces
        if j - i >= min_samples and aimed.on[i:j].any()
    ]


def _sharpest_bend(path_m: Array) -> float:
    """Return the largest curvature [1/m] of a path (N, 3), measured over POST_M."""
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path_m, axis=0), axis=1))]
    n = int(along[-1] / POST_M)
    if n < 2:
        return 0.0
    at = np.linspace(0.0, along[-1], n + 1)
    steps = unit(np.diff(np.column_stack([np.interp(at, along, path_m[:, i]) for i in range(3)]), axis=0))
    turn = np.arccos(np.clip(np.einsum("ij,ij->i", steps[1:], steps[:-1]), -1.0, 1.0))
    return float(turn.max() * n / along[-1])


def _lifted(surface_m: Array, aim: Array, standoff_m: float, surroundings: Surroundings) -> Array:
    """Return the points moved straight up where turning the gun did not bring it above the floor.

    Lines beyond a border near the floor then run along it.
    """
    short = surroundings.lowest_nozzle_z_m - (surface_m[:, 2] + standoff_m * aim[:, 2])
    return surface_m + np.maximum(short, 0.0)[:, None] * np.array([0.0, 0.0, 1.0])


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


def _blended(normal: Array, direction: Array, share: float | Array) -> Array:
    return unit((1.0 - share) * normal + share * direction)


def _raised(
    aim: Array,
    line: Line,
    at: NDArray[np.int64],
    standoff_m: float,
    incidence_max_rad: float,
    surroundings: Surroundings,
) -> Array:
    """Return the aim with its z raised to what the floor asks for, as far as the incidence limit lets it."""
    if surroundings.floor_z_m is None:
        return aim
    z = np.maximum(aim[:, 2], np.minimum(surroundings.lowest_rise(line.surface_m[at], standoff_m), 0.999))
    flat = unit(np.column_stack([aim[:, :2], np.zeros(len(aim))]))
    raised = flat * np.sqrt(1.0 - np.minimum(z * z, 1.0))[:, None]
    raised[:, 2] = z
    normal = line.normal[at]
    cos = np.einsum("ij,ij->i", raised, normal)
    limit = np.cos(0.95 * incidence_max_rad)
    side = unit(raised - cos[:, None] * normal)
    bounded = limit * normal + np.sqrt(1.0 - limit**2) * side
    return np.where((cos < limit)[:, None], bounded, raised)
