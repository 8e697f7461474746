"""Which of a part's points a gun can see at all, by a test of its own: rays in fixed directions, no planner's."""

import numpy as np
from numpy.typing import NDArray
from scorer_spray import LIFT_M, Array, DensePoints, dense_points, scene_of

from cell_core.surface import Surface

INCIDENCE_MAX_RAD = np.pi / 3.0
DIRECTIONS = 240
"""Over the whole sphere, so that about 60 lie within 60 degrees of any normal."""
SKY_M = 5.0
GUN_RADIUS_M = 0.03
"""A nozzle this near the part or the table it lies on is no place for a gun: half the thickness of a slim one [m]."""


def sphere_directions(n: int = DIRECTIONS) -> Array:
    """Return n unit vectors spread evenly over the sphere by the golden angle (n, 3)."""
    k = np.arange(n)
    z = 1.0 - (2.0 * k + 1.0) / n
    turn = k * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - z * z)
    return np.column_stack([ring * np.cos(turn), ring * np.sin(turn), z])


def seen(
    points_m: Array,
    normals: Array,
    surface: Surface,
    standoff_m: float,
    *,
    hung: bool,
    outside: bool = False,
    incidence_max_rad: float = INCIDENCE_MAX_RAD,
) -> NDArray[np.bool_]:
    """Return whether each point (N, 3) has a free line of one standoff, within the incidence limit, to a free place.

    Args:
        hung: the part hangs free; else it lies on a table at its lowest point, and the nozzle stands above that.
        outside: the point must also see free sky along its normal for SKY_M.
    """
    scene = scene_of(surface.vertices_m, surface.triangles)
    lifted = points_m + LIFT_M * normals

    def free(at: NDArray[np.int64], ways_m: Array) -> NDArray[np.bool_]:
        rays = np.concatenate([lifted[at], ways_m], axis=1).astype(np.float32)
        return ~scene.test_occlusions(rays, tnear=0.0, tfar=1.0).numpy()

    wanted = np.linalg.norm(normals, axis=1) > 0.5
    if outside:
        at = np.flatnonzero(wanted)
        wanted[at] = free(at, SKY_M * normals[at])
    lowest = -np.inf if hung else float(surface.bounds_m[0, 2]) + GUN_RADIUS_M
    found = np.zeros(len(points_m), bool)
    for direction in sphere_directions():
        way = standoff_m * direction
        facing = normals @ direction >= np.cos(incidence_max_rad)
        at = np.flatnonzero(wanted & ~found & facing & (points_m[:, 2] + way[2] >= lowest))
        at = at[free(at, np.broadcast_to(way, (len(at), 3)))]
        found[at] = scene.compute_distance((points_m[at] + way).astype(np.float32)).numpy() >= GUN_RADIUS_M
    return found


def seen_points(surface: Surface, pitch_m: float, points_most: int, standoff_m: float, **how: bool) -> DensePoints:
    """Return evenly thinned dense points that are seen; those left stand for the area of those left out."""
    every = dense_points(surface.vertices_m, surface.triangles, pitch_m)
    stride = -(-len(every.points_m) // points_most)
    # thinned by a fixed shuffle: triangles come in mesh order, where every n-th could be one row of a grid
    some = np.sort(np.random.default_rng(0).permutation(len(every.points_m))[:: max(stride, 1)])
    points, normals, areas = every.points_m[some], every.normals[some], every.areas_m2[some]
    areas = areas * (every.areas_m2.sum() / areas.sum())
    keep = seen(points, normals, surface, standoff_m, **how)
    return DensePoints(points_m=points[keep], normals=normals[keep], areas_m2=areas[keep])
