"""Which surface patches a camera pose can measure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.raycast import RayCaster
from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics

IMAGE_MARGIN_PX = 12.0
"""Patches nearer than this to the image border do not count: depth edges are cut there."""
RANGE_SHARE_MAX = 0.95
"""Nor do patches beyond this share of the camera's range."""
INCIDENCE_MARGIN_RAD = 0.05
SURE_MARGIN_RAD = 0.15
"""Readings grow rare towards the incidence limit; this far below it they are sure."""
EDGE_CUT_PX = 3.5
"""The depth filter drops readings this near to a depth edge."""
OFFSET_M = 0.002
"""Sight lines end this far above the patch, so that it does not shade itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """Small pieces of known or supposed surface."""

    points_m: Array
    """(P, 3) positions in the part frame [m]."""
    normals: Array
    """(P, 3) unit outward normals."""

    def __len__(self) -> int:
        return len(self.points_m)


def measurable(
    camera: Intrinsics, T_part_camera: Array, patches: Patches, caster: RayCaster | None
) -> NDArray[np.bool_]:
    """Return (K, P): pose k sees patch p in its image, in range, within the incidence limits and unobstructed.

    Args:
        camera: intrinsics and limits.
        T_part_camera: (K, 4, 4) poses.
        patches: what to look at.
        caster: the surface that obstructs; None for nothing.
    """
    seen = np.zeros((len(T_part_camera), len(patches)), bool)
    near, far = camera.range_m[0], RANGE_SHARE_MAX * camera.range_m[1]
    cos_min = np.cos(camera.incidence_max_rad - INCIDENCE_MARGIN_RAD)
    cone = camera.specular_cone_rad
    # 2: no cosine is that large
    cos_max = np.cos(min(cone + INCIDENCE_MARGIN_RAD, camera.incidence_max_rad)) if cone > 0.0 else 2.0
    margin = IMAGE_MARGIN_PX
    for k, T in enumerate(T_part_camera):
        to_eye = T[:3, 3] - patches.points_m
        distance = np.sqrt(np.einsum("ij,ij->i", to_eye, to_eye))
        T_camera_part = inverse(T)
        x, y, z = (patches.points_m @ T_camera_part[i, :3] + T_camera_part[i, 3] for i in range(3))
        facing = np.einsum("ij,ij->i", patches.normals, to_eye)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = camera.fx_px * x / z + camera.cx_px, camera.fy_px * y / z + camera.cy_px
        seen[k] = (
            (z > near)
            & (z < far)
            & (u > margin)
            & (u < camera.width_px - 1 - margin)
            & (v > margin)
            & (v < camera.height_px - 1 - margin)
            & (facing > cos_min * distance)
            & (facing < cos_max * distance)
        )
    if caster is None:
        return seen
    views, points = np.nonzero(seen)
    lifted = patches.points_m[points] + OFFSET_M * patches.normals[points]
    seen[views, points] = ~caster.blocked(lifted, np.asarray(T_part_camera)[views, :3, 3])
    return seen


def surely_measurable(
    camera: Intrinsics, T_part_camera: Array, patches: Patches, caster: RayCaster, floor_z_m: float | None
) -> NDArray[np.bool_]:
    """Return (K, P) as `measurable`, but each patch counts only for the poses that see it best.

    Those are poses well within the incidence limit for which it lies clear of depth edges, where the depth filter
    cuts; for a patch that has none, those well within the limit; for a patch without these, all that see it. Edges
    are left out where `floor_z_m`, the height of the fixture plane, is None: the surface around is not known then.
    """
    seen = measurable(camera, T_part_camera, patches, caster)
    sure = seen & (_cosines(T_part_camera, patches) > np.cos(camera.incidence_max_rad - SURE_MARGIN_RAD))
    if floor_z_m is None:
        return np.where(sure.any(axis=0), sure, seen)
    clear = sure.copy()
    for side in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        views, points = np.nonzero(clear)
        poses, targets_m = T_part_camera[views], patches.points_m[points]
        clear[views, points] = ~_beside_edge(camera, poses, targets_m, caster, floor_z_m, side)
    return np.where(clear.any(axis=0), clear, np.where(sure.any(axis=0), sure, seen))


def _beside_edge(
    camera: Intrinsics,
    T_part_camera: Array,
    points_m: Array,
    caster: RayCaster,
    floor_z_m: float,
    side: tuple[float, float],
) -> NDArray[np.bool_]:
    """Return (N,) whether depth jumps within EDGE_CUT_PX of a point's pixel towards one side of the image."""
    f = min(camera.fx_px, camera.fy_px)
    eyes = T_part_camera[:, :3, 3]
    ways = points_m - eyes
    depth = np.einsum("ij,ij->i", ways, T_part_camera[:, :3, 2])
    for axis in (0, 1):
        ways = ways + (EDGE_CUT_PX / f * side[axis] * depth)[:, None] * T_part_camera[:, :3, axis]
    hit, _ = caster.first_hit(eyes, ways)
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = (floor_z_m - eyes[:, 2]) / ways[:, 2]
    hit = np.minimum(hit, np.where(floor > 0.0, floor, np.inf))
    # what the depth filter takes for a slope: 1.5 times the steepest one trusted
    return np.abs(hit - 1.0) > 1.5 * np.tan(camera.incidence_max_rad) * EDGE_CUT_PX / f


def _cosines(T_part_camera: Array, patches: Patches) -> Array:
    eyes = np.asarray(T_part_camera, float).reshape(-1, 4, 4)[:, :3, 3]
    square = (eyes**2).sum(axis=1)[:, None] - 2.0 * eyes @ patches.points_m.T + (patches.points_m**2).sum(axis=1)
    along = eyes @ patches.normals.T - np.einsum("ij,ij->i", patches.normals, patches.points_m)
    return along / np.sqrt(np.maximum(square, 1e-18))


def greedy_cover(
    seen: NDArray[np.bool_],
    weights: Array,
    n_wanted: int,
    repeat_worth: float,
    accept: Callable[[int], bool] | None = None,
) -> tuple[list[int], list[float]]:
    """Rank candidates by what each adds to those before it; returns indices and gains (in units of the weights).

    A patch seen k times before still counts `repeat_worth`**k, so that later ones can stand in for earlier ones
    that turn out to be unreachable. `accept` is asked about a candidate only when it would be taken.
    """
    worth = weights.astype(np.float32).copy()
    free = np.ones(len(seen), bool)
    order: list[int] = []
    gains: list[float] = []
    table = seen.astype(np.float32)
    while len(order) < n_wanted and free.any():
        gain = np.where(free, table @ worth, np.float32(-1.0))
        best = int(gain.argmax())
        if gain[best] <= 0.0:
            break
        free[best] = False
        if accept is not None and not accept(best):
            continue
        order.append(best)
        gains.append(float(gain[best]))
        worth[seen[best]] *= np.float32(repeat_worth)
    return order, gains
