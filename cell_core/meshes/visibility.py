"""What can be seen from outside: escaping rays tell the outer side of a sheet and the faces nothing can reach."""

import numpy as np
from numpy.typing import NDArray

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

OFFSET = 2e-5
"""Rays start this far off the surface, in diagonals of the part: beyond the rounding of the caster's 32 bits."""
SAMPLES_PER_COMPONENT = (16, 256)
RAYS_PER_SAMPLE = 24
N_VOTES = 7
CROSSINGS_MAX = 100
RAY_ROUNDS = (4, 16, 64)
"""Rays per point and side, round by round; only triangles unseen so far take part in the next."""


def escape_fractions(surface: Surface, component: NDArray[np.int64], *, own_only: bool) -> Array:
    """Return for each component (C, 2) the share of cosine-weighted rays that escape from its front and its back.

    `component` (T,) numbers the triangles' components from 0 on. Points are taken evenly by area. With `own_only` a
    component's rays are stopped by itself alone, else by all.
    """
    n = int(component.max()) + 1
    by_component = np.split(np.argsort(component, kind="stable"), np.cumsum(np.bincount(component))[:-1])
    areas = surface.triangle_areas_m2
    whole = RayCaster(surface)
    shares = np.empty((n, 2))
    low, high = SAMPLES_PER_COMPONENT
    for k, members in enumerate(by_component):
        edge = np.cumsum(areas[members])
        count = int(np.clip(8 * high * edge[-1] / surface.area_m2, low, high))
        place = (np.arange(count) + 0.5) / count * edge[-1]
        triangle = members[np.minimum(np.searchsorted(edge, place), len(members) - 1)]
        caster = RayCaster(surface.select_triangles(members)) if own_only and n > 1 else whole
        for side, sign in enumerate((1.0, -1.0)):
            normals = sign * surface.triangle_normals[triangle]
            shares[k, side] = _escaped(
                caster, surface, surface.centroids_m[triangle], normals, RAYS_PER_SAMPLE
            ).mean()
    return shares


def unseen_triangles(surface: Surface) -> NDArray[np.bool_]:
    """Return which triangles (T,) no ray leaves to the outside, from either side, at any of four of their points."""
    caster = RayCaster(surface)
    corners = surface.vertices_m[surface.triangles]
    left = np.arange(len(corners))
    for n_rays in RAY_ROUNDS:
        for pull in (0.0, 0.8):  # the centroid first, then points near the corners
            centroid = surface.centroids_m[left]
            spots = [centroid] if pull == 0.0 else [(1 - pull) * centroid + pull * corners[left, i] for i in range(3)]
            seen = np.zeros(len(left), bool)
            for spot in spots:
                for sign in (1.0, -1.0):
                    normals = sign * surface.triangle_normals[left]
                    seen |= _escaped(caster, surface, spot, normals, n_rays).any(axis=1)
            left = left[~seen]
    unseen = np.zeros(len(corners), bool)
    unseen[left] = True
    return unseen


def inside_others(surface: Surface, triangle: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the triangles (N,) look with their front into a solid, one they bound or another.

    Rays that leave a solid cross more faces outward than inward; seven rays vote. Exact for closed, outward-wound
    components whose faces are 2e-5 diagonals apart.
    """
    diagonal = float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))
    step = OFFSET * diagonal
    start = surface.centroids_m[triangle] + step * surface.triangle_normals[triangle]
    caster = RayCaster(surface)
    votes = np.zeros(len(triangle))
    for direction in _hemisphere(N_VOTES):
        winding = np.zeros(len(triangle))
        origin, left = start, np.arange(len(triangle))
        for _ in range(CROSSINGS_MAX):
            if not len(left):
                break
            distance, hit = caster.first_hit(origin, np.broadcast_to(direction, origin.shape))
            goes_on = hit >= 0
            left, distance, hit = left[goes_on], distance[goes_on], hit[goes_on]
            winding[left] += np.sign(surface.triangle_normals[hit] @ direction)
            origin = origin[goes_on] + (distance[:, None] + step) * direction
        votes += winding > 0.5
    return votes > N_VOTES / 2


def _escaped(caster: RayCaster, surface: Surface, points: Array, normals: Array, n_rays: int) -> NDArray[np.bool_]:
    diagonal = float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = unit(np.cross(normals, helper))
    v = np.cross(normals, u)
    start = points + OFFSET * diagonal * normals
    escaped = np.empty((len(points), n_rays), bool)
    for k, (x, y, z) in enumerate(_hemisphere(n_rays)):
        escaped[:, k] = ~caster.blocked(start, start + 2.0 * diagonal * (x * u + y * v + z * normals))
    return escaped


def _hemisphere(n: int) -> Array:
    # cosine-weighted spiral
    r = np.sqrt((np.arange(n) + 0.5) / n)
    phi = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(n)
    return np.stack([r * np.cos(phi), r * np.sin(phi), np.sqrt(1.0 - r * r)], axis=1)
