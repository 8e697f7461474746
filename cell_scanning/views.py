"""Where to look from: a first look around an unknown part, then the next best views of what is still missing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from cell_core.config.models import CameraConfig
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.frontier import find_frontier, surface_patches
from cell_scanning.measurability import Patches, greedy_cover, measurable, surely_measurable

FIRST_LOOK_CLEARANCE_M = 0.10
"""Distance of the camera from the sides of the work volume before anything is known of what stands in it."""
FIRST_LOOK_HEIGHT_M = 0.20
"""Its distance from the top: high enough for one image to take in most of a part."""
FIRST_LOOK_RANGE_MIN_M = 0.60
N_OBLIQUE = 6
"""Oblique views of a whole first look."""
RANGES_M = (0.45, 0.60)
"""Distances at which candidates look at what is missing."""
CLEARANCE_M = 0.30
"""Nearest a camera may come to the known surface."""
CAMERA_Z_MIN_M = 0.10
"""Lowest camera above the fixture plane."""
PATCH_M = 0.015
N_TARGETS_MAX = 120
CONFIDENCE_MIN = 2.0
"""Below this a patch is poorly measured: seen from far, at a slant or seldom."""
POOR_WORTH = 0.05
"""Share of its area that a poorly measured patch counts for, so that views also sharpen what is there."""
REPEAT_WORTH = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class NextViews:
    """Ranked views and what they are expected to bring."""

    T_part_camera: Array
    """(K, 4, 4) poses, best first; each ranked after those before it, later ones also stand in for them."""
    gain_m2: Array
    """(K,) expected area gained [m2]."""
    measured_fraction: float
    """Share of the measurable surface measured so far, estimated: see `measured_fraction`."""


def looking_at(eye_m: ArrayLike, target_m: ArrayLike) -> Array:
    """Return T_part_camera (4, 4) from `eye_m` towards `target_m`, image x level (along part y when looking down)."""
    eye, target = np.asarray(eye_m, float), np.asarray(target_m, float)
    z = unit(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x = np.array([0.0, 1.0, 0.0]) if np.linalg.norm(x) < 0.02 else unit(x)
    x = unit(x - (x @ z) * z)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = eye
    return T


def plan_first_look(camera: Intrinsics | CameraConfig, centre_m: ArrayLike, size_m: ArrayLike) -> Array:
    """Return poses (K, 4, 4) from which the inside of a box is roughly seen while the camera stays outside it.

    A row looking down along the box's longer side, then N_OBLIQUE oblique ones: opposite corners in turn, both ends.
    The box is given by centre (3,) and size (3,) [m] in the part frame; its lowest face is the fixture plane.
    """
    camera = as_intrinsics(camera)
    centre, half = np.asarray(centre_m, float), 0.5 * np.asarray(size_m, float)
    floor, top = centre[2] - half[2], centre[2] + half[2]
    long, short = (1, 0) if half[1] >= half[0] else (0, 1)
    aim_z = floor + min(0.1, half[2])
    eye_z = max(top + FIRST_LOOK_HEIGHT_M, aim_z + FIRST_LOOK_RANGE_MIN_M)
    # neighbouring images overlap by a third at the height of the aim
    width = (eye_z - aim_z) * camera.width_px / camera.fx_px
    n_row = max(1, int(np.ceil((2.0 * half[long] - 0.5 * width) / (0.67 * width))))
    views = []
    for offset in np.linspace(-1.0, 1.0, n_row) if n_row > 1 else [0.0]:
        eye = centre.copy()
        eye[long] += offset * max(half[long] - 0.35 * width, 0.0)
        eye[2] = eye_z
        view = looking_at(eye, [eye[0], eye[1], aim_z])
        views.append(view if long == 1 else _rolled(view, np.pi / 2))
    for along, across in ((1, -1), (-1, 1), (-1, -1), (1, 1), (1, 0), (-1, 0)):
        eye, aim = centre.copy(), centre.copy()
        eye[long] += along * (0.55 if across else 1.0) * half[long]
        eye[short] += across * half[short]
        side = long if across == 0 else short
        eye[side] += np.sign(eye[side] - centre[side]) * FIRST_LOOK_CLEARANCE_M
        eye[2] = floor + 0.85 * (top - floor)
        aim[long] += along * 0.35 * half[long]
        aim[short] += across * 0.35 * half[short]
        aim[2] = aim_z
        back = max(FIRST_LOOK_RANGE_MIN_M / float(np.linalg.norm(eye - aim)), 1.0)
        views.append(looking_at(aim + back * (eye - aim), aim))
    return np.asarray(views)


def plan_next_views(
    camera: Intrinsics | CameraConfig,
    surface: Surface,
    work_volume_m: ArrayLike,
    taken: ArrayLike,
    *,
    n_views: int = 12,
    reachable: Callable[[Array], bool] | None = None,
) -> NextViews:
    """Rank views that show what the surface so far lacks: beyond its borders, and where it was measured poorly.

    Args:
        camera: intrinsics and limits.
        surface: fused so far, with the field confidence.
        work_volume_m: (2, 3) box in the part frame; its lowest face is the fixture plane.
        taken: (K, 4, 4) T_part_camera of the views taken.
        n_views: how many to return at most.
        reachable: asked with T_part_camera (4, 4) before a candidate is taken into the ranking.
    """
    camera = as_intrinsics(camera)
    box = np.asarray(work_volume_m, float)
    gaps, caster = _Gaps.of(camera, surface, float(box[0, 2]), np.asarray(taken, float).reshape(-1, 4, 4))
    patches, areas = gaps.targets(surface)
    candidates = candidates_for(patches, areas, surface, box)
    if len(candidates) == 0 or len(patches) == 0:
        return NextViews(
            T_part_camera=np.zeros((0, 4, 4)), gain_m2=np.zeros(0), measured_fraction=gaps.fraction(surface, None)
        )
    seen = surely_measurable(camera, candidates, patches, caster, None)
    accept = None if reachable is None else lambda k: reachable(candidates[k])
    order, gains = greedy_cover(seen, areas, n_views, REPEAT_WORTH, accept)
    showable = np.any(seen[:, : len(gaps.areas_m2)], axis=0)
    return NextViews(
        T_part_camera=candidates[order], gain_m2=np.asarray(gains), measured_fraction=gaps.fraction(surface, showable)
    )


def measured_fraction(
    camera: Intrinsics | CameraConfig, surface: Surface, work_volume_m: ArrayLike, taken: ArrayLike
) -> float:
    """Estimate which share of the measurable surface has been measured, without knowing the part.

    A border of the surface counts as the part's own edge when some view taken would have measured a continuation
    there, flat or bent; otherwise a strip of 20 mm is supposed missing, if any allowed view could show it.
    """
    return plan_next_views(camera, surface, work_volume_m, taken, n_views=0).measured_fraction


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gaps:
    """Supposed continuations that no view taken would have shown."""

    patches: Patches
    areas_m2: Array

    @staticmethod
    def of(camera: Intrinsics, surface: Surface, floor_z_m: float, taken: Array) -> "tuple[_Gaps, RayCaster]":
        caster = RayCaster(surface)
        frontier = find_frontier(surface, floor_z_m)
        unseen = ~measurable(camera, taken, frontier.patches, caster).any(axis=0)
        patches = Patches(points_m=frontier.patches.points_m[unseen], normals=frontier.patches.normals[unseen])
        return _Gaps(patches=patches, areas_m2=frontier.areas_m2[unseen]), caster

    def fraction(self, surface: Surface, showable: NDArray[np.bool_] | None) -> float:
        missing = 0.0 if showable is None else float(self.areas_m2[showable].sum())
        return surface.area_m2 / (surface.area_m2 + missing)

    def targets(self, surface: Surface) -> tuple[Patches, Array]:
        """Gaps first, then poorly measured patches of the surface."""
        known, area, label = surface_patches(surface, PATCH_M)
        confidence = surface.fields.get("confidence")
        if confidence is None:
            return self.patches, self.areas_m2
        poor = np.bincount(label, confidence, len(area)) / np.bincount(label, minlength=len(area)) < CONFIDENCE_MIN
        points = np.concatenate([self.patches.points_m, known.points_m[poor]])
        normals = np.concatenate([self.patches.normals, known.normals[poor]])
        return Patches(points_m=points, normals=normals), np.r_[self.areas_m2, POOR_WORTH * area[poor]]


def candidates_for(patches: Patches, areas: Array, surface: Surface, box: Array) -> Array:
    """Return poses (K, 4, 4) that look at patches from several sides, clear of the surface and about the box (2, 3)."""
    if len(patches) == 0:
        return np.zeros((0, 4, 4))
    order = np.argsort(-areas, kind="stable")
    heavy = order[np.cumsum(areas[order]) <= 0.999 * areas.sum() + areas[order[0]]]
    # spread over the part, not over the ranking
    place = np.lexsort(np.floor(patches.points_m[heavy] / 0.06).T)
    chosen = heavy[place[np.linspace(0, len(heavy) - 1, min(N_TARGETS_MAX, len(heavy))).astype(int)]]
    p, n = patches.points_m[chosen], patches.normals[chosen]
    side = unit(np.cross(n, np.where(np.abs(n[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])))
    up = np.array([0.0, 0.0, 1.0])
    eyes, aims = [], []
    middle = surface.vertices_m.mean(axis=0)
    inward = middle - p
    reach = np.linalg.norm(inward, axis=1, keepdims=True)
    pulled = p + inward * np.minimum(0.12 / np.maximum(reach, 1e-9), 1.0)
    for tilt in (0.0 * n, 0.7 * up + 0.0 * n, 1.5 * up + 0.0 * n, 0.6 * side, -0.6 * side):
        direction = unit(n + tilt)
        for distance in RANGES_M:
            eye = p + distance * direction
            eye[:, 2] = np.maximum(eye[:, 2], box[0, 2] + CAMERA_Z_MIN_M)
            for aim in (p, pulled):
                eyes.append(eye)
                aims.append(aim)
    eye, aim = np.concatenate(eyes), np.concatenate(aims)
    distance, _ = KDTree(surface.vertices_m[:: max(len(surface.vertices_m) // 20_000, 1)]).query(eye)
    inside = np.all((eye[:, :2] > box[0, :2] - 0.6) & (eye[:, :2] < box[1, :2] + 0.6), axis=1)
    keep = (distance > CLEARANCE_M) & inside & (np.linalg.norm(aim - eye, axis=1) > CLEARANCE_M)
    return np.asarray([looking_at(e, a) for e, a in zip(eye[keep], aim[keep], strict=True)]).reshape(-1, 4, 4)


def _rolled(T_part_camera: Array, angle_rad: float) -> Array:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return T_part_camera @ turn
