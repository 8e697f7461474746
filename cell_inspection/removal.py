"""Material removed, measured as scan before minus scan after."""

import numpy as np
from numpy.typing import NDArray

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.transfer import NORMAL_COS_MIN


def removed_between(before: Surface, after: Surface, max_distance_m: float = 0.005) -> Array:
    """Return the depth (V,) [m] removed at each vertex of `before`, along its normal; NaN where `after` has no surface.

    Positive: material gone; negative: material added. Both surfaces are in one frame; the deeper of two crossings
    of the normal never counts, and a surface facing more than 60 degrees elsewhere is another one.
    """
    caster = RayCaster(after)
    normals = before.vertex_normals
    start = before.vertices_m + max_distance_m * normals
    out = np.full(len(start), np.nan)
    rows = np.flatnonzero(np.linalg.norm(normals, axis=1) > 0.5)
    for _ in range(2):
        if len(rows) == 0:
            break
        distance, triangle = caster.first_hit(start[rows], -normals[rows])
        depth = distance - np.sum((start[rows] - before.vertices_m[rows]) * normals[rows], axis=1)
        hit = (triangle >= 0) & (depth <= max_distance_m)
        same = hit & (np.sum(after.triangle_normals[triangle] * normals[rows], axis=1) >= NORMAL_COS_MIN)
        out[rows[same]] = depth[same]
        # a back face or a wall in the way: look once more from behind it
        blocked = hit & ~same
        rows, distance = rows[blocked], distance[blocked]
        start[rows] -= (distance[:, None] + 1e-6) * normals[rows]
    return out


def scan_noise_m(removed_m: Array, untouched: NDArray[np.bool_]) -> float:
    """Return the robust standard deviation [m] of what seems removed where nothing was: the floor of the measurement.

    Raises:
        ValueError: fewer than 10 measured vertices are untouched.
    """
    values = removed_m[untouched & np.isfinite(removed_m)]
    if len(values) < 10:
        raise ValueError(f"{len(values)} untouched vertices were measured, at least 10 needed")
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
