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
    """Return (K, P): pose k sees patch p in its image, in range, within the incidence limit and unobstructed.

    Args:
        camera: intrinsics and limits.
        T_part_camera: (K, 4, 4) poses.
        patches: what to look at.
        caster: the surface that obstructs; None for nothing.
    """
    seen = np.zeros((len(T_part_camera), len(patches)), bool)
    near, far = camera.range_m[0], RANGE_SHARE_MAX * camera.range_m[1]
    cos_min = np.cos(camera.incidence_max_rad - INCIDENCE_MARGIN_RAD)
    margin = IMAGE_MARGIN_PX
    for k, T in enumerate(T_part_camera):
        to_eye = T[:3, 3] - patches.points_m
        distance = np.sqrt(np.einsum("ij,ij->i", to_eye, to_eye))
        T_camera_part = inverse(T)
        x, y, z = (patches.points_m @ T_camera_part[i, :3] + T_camera_part[i, 3] for i in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = camera.fx_px * x / z + camera.cx_px, camera.fy_px * y / z + camera.cy_px
        seen[k] = (
            (z > near)
            & (z < far)
            & (u > margin)
            & (u < camera.width_px - 1 - margin)
            & (v > margin)
            & (v < camera.height_px - 1 - margin)
            & (np.einsum("ij,ij->i", patches.normals, to_eye) > cos_min * distance)
        )
    if caster is None:
        return seen
    views, points = np.nonzero(seen)
    lifted = patches.points_m[points] + OFFSET_M * patches.normals[points]
    seen[views, points] = ~caster.blocked(lifted, np.asarray(T_part_camera)[views, :3, 3])
    return seen


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
