"""Where the gun points along a line: square to the sheet, turned away from the floor and from what it would hit."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from cell_core.strokes.layout import Line
from cell_core.transforms import Array, unit
from spray_planner.clearance import PartView, Surroundings, gun_fits, raised

BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the patch's direction mixed into the sheet's normal, least first."""
SMOOTH_M = 0.04
BEND_MAX_PER_M = 20.0
"""Largest curvature of the nozzle's path [1/m]."""
POST_M = 0.015
"""Distance at which poses are tried along a line [m]."""


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
    upward = raised(aim, surroundings.lowest_rise(line.surface_m[at], standoff_m))
    normal = line.normal[at]
    cos = np.einsum("ij,ij->i", upward, normal)
    limit = np.cos(0.95 * incidence_max_rad)
    side = unit(upward - cos[:, None] * normal)
    bounded = limit * normal + np.sqrt(1.0 - limit**2) * side
    return np.where((cos < limit)[:, None], bounded, upward)
