"""Patches: pieces of a surface that one sheet of strokes, seen from one direction, can serve."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.transforms import Array, unit

SCOUTS_MAX = 3_000
"""Points that candidate directions are tried on."""
LIFT_M = 0.003


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """Samples to be served from around one direction."""

    direction: Array
    """(3,) unit, from the patch towards the tool: the patch is a height field over the plane across it."""
    members: NDArray[np.int64]
    """(M,) indices of the samples."""


def sphere_directions(n: int) -> Array:
    """Return (n, 3) unit vectors spread evenly over the sphere (Fibonacci)."""
    k = np.arange(n) + 0.5
    z = 1.0 - 2.0 * k / n
    angle = np.pi * (1.0 + 5.0**0.5) * k
    r = np.sqrt(1.0 - z**2)
    return np.column_stack([r * np.cos(angle), r * np.sin(angle), z])


def split_patches(
    samples: SurfaceSamples,
    caster: RayCaster,
    *,
    reach_m: float,
    cone_rad: float = 1.15,
    limit_rad: float = 1.3,
    lowest_elevation_rad: float = -np.pi / 2,
    gap_m: float = 0.05,
    area_min_m2: float = 0.005,
) -> list[Patch]:
    """Split samples into patches, largest first, each a height field seen from its direction.

    Greedy cover: of directions spread over the sphere and moved to the mean normal of what they see (free for
    `reach_m`, normal within `cone_rad`), the one that sees most of what is left, head-on area counting more, is taken
    until less than `area_min_m2` would be gained. Every sample then goes to the direction it faces best among those
    that see it within `limit_rad`; a direction's samples are parted where they lie more than `gap_m` apart.
    Samples in no patch (too small, too steep) are left out.

    Args:
        lowest_elevation_rad: no patch is served from a direction lower than this above the xy plane.
    """
    step = max(1, len(samples) // SCOUTS_MAX)
    scouts = samples.select(np.arange(0, len(samples), step))
    directions = _candidates(scouts, caster, reach_m, cone_rad, lowest_elevation_rad)
    visible = [_sees(scouts, caster, d, reach_m, cone_rad) for d in directions]
    left = np.ones(len(scouts), bool)
    chosen: list[Array] = []
    while len(directions):
        worth = [float(np.sum((scouts.areas_m2 * (scouts.normals @ d) ** 4)[v & left])) * step
                 for d, v in zip(directions, visible, strict=True)]
        best = int(np.argmax(worth))
        gained = float(scouts.areas_m2[visible[best] & left].sum()) * step
        if gained < area_min_m2:
            break
        chosen.append(directions[best])
        left &= ~visible[best]
    return _assign(samples, caster, chosen, reach_m, limit_rad, gap_m, area_min_m2)


def _candidates(scouts: SurfaceSamples, caster: RayCaster, reach_m: float, cone_rad: float, lowest: float) -> Array:
    start = np.concatenate([unit(scouts.areas_m2 @ scouts.normals)[None], sphere_directions(48)])
    out = []
    for direction in start[np.linalg.norm(start, axis=1) > 0.5]:
        seen = _sees(scouts, caster, raise_to(direction, lowest), reach_m, cone_rad)
        if not seen.any():
            continue
        mean = unit(scouts.areas_m2[seen] @ scouts.normals[seen])
        out.append(raise_to(mean, lowest))
    return np.array(out).reshape(-1, 3)


def raise_to(direction: Array, elevation_rad: float) -> Array:
    """Return the unit direction turned upwards, where it must, to stand at least `elevation_rad` above the xy plane."""
    z = np.sin(elevation_rad)
    if direction[2] >= z:
        return direction
    flat = unit(np.r_[direction[:2], 0.0]) * np.cos(elevation_rad)
    return np.array([flat[0], flat[1], z]) if np.any(flat) else np.array([np.cos(elevation_rad), 0.0, z])


def _sees(
    samples: SurfaceSamples, caster: RayCaster, direction: Array, reach_m: float, cone_rad: float
) -> NDArray[np.bool_]:
    seen = samples.normals @ direction >= np.cos(cone_rad)
    at = np.flatnonzero(seen)
    points = samples.points_m[at]
    seen[at] = ~caster.blocked(points + reach_m * direction, points, LIFT_M)
    return seen


def _assign(
    samples: SurfaceSamples,
    caster: RayCaster,
    directions: list[Array],
    reach_m: float,
    limit_rad: float,
    gap_m: float,
    area_min_m2: float,
) -> list[Patch]:
    if not directions:
        return []
    facing = np.stack(
        [np.where(_sees(samples, caster, d, reach_m, limit_rad), samples.normals @ d, -1.0) for d in directions]
    )
    owner = np.where(facing.max(axis=0) > 0.0, facing.argmax(axis=0), -1)
    patches = []
    for k, direction in enumerate(directions):
        members = np.flatnonzero(owner == k)
        label = _components(samples.points_m[members], gap_m)
        for part in range(label.max() + 1 if len(label) else 0):
            own = members[label == part]
            if samples.areas_m2[own].sum() >= area_min_m2:
                patches.append(Patch(direction=direction, members=own))
    return sorted(patches, key=lambda p: -float(samples.areas_m2[p.members].sum()))


def _components(points_m: Array, gap_m: float) -> NDArray[np.int64]:
    """Label points connected through steps of at most `gap_m`, on cubes of that size (so to within a factor of 2)."""
    if len(points_m) == 0:
        return np.empty(0, np.int64)
    cube, index = np.unique(np.floor(points_m / gap_m).astype(np.int64), axis=0, return_inverse=True)
    index = index.reshape(-1)
    rank = {tuple(c): i for i, c in enumerate(cube.tolist())}
    pairs = [
        (i, rank[(x + dx, y + dy, z + dz)])
        for (x, y, z), i in rank.items()
        for dx in (0, 1) for dy in (-1, 0, 1) for dz in (-1, 0, 1)
        if (x + dx, y + dy, z + dz) in rank
    ]
    i, j = np.array(pairs).T
    graph = scipy.sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(len(cube), len(cube)))
    return connected_components(graph, directed=False)[1][index]
