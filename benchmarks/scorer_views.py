"""What a camera can measure of a part at all, and how few views that takes: by brute force, with no planner in it.

Points are drawn at random on the true mesh; every camera pose of a dense set casts a ray at each. The least number of
views is an integer programme over the same table (minimum cover of a share of the area), solved by HiGHS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import bmat, coo_matrix, csr_matrix, eye_array

from cell_core.config import CameraConfig
from cell_core.surface import Surface
from cell_core.transforms import Array

N_POINTS = 4000
CUT_M = 0.006
"""Points this low on the fixture are cut away with it and judge nobody [m]."""
TABLE_M = 0.8
EYE_LOW_M = 0.10
"""Cameras stand at least this high over the table [m]."""
NEAR_M, FAR_M = 0.30, 0.80
"""Least clearance of the camera to the part, as the cell keeps it; greatest distance of what a view aims at [m]."""
READING_M = 0.003
"""A reading is that of a point if it lies this near to it along the optical axis [m]."""
HIT_SHARE = 2e-3
"""A ray has met its point if it stops within this share of its length [-]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Random points of the true surface above the cut."""

    position_m: Array
    normal: Array
    area_m2: float
    """Surface each stands for."""


def draw_points(part: Surface, seed: int, n: int = N_POINTS) -> Points:
    """Return area-weighted random points."""
    rng = np.random.default_rng([seed, 3])
    share = part.triangle_areas_m2 / part.area_m2
    triangle = rng.choice(len(share), n, p=share)
    weight = rng.dirichlet(np.ones(3), n)
    position = np.einsum("ij,ijk->ik", weight, part.vertices_m[part.triangles[triangle]])
    keep = position[:, 2] > part.bounds_m[0, 2] + CUT_M
    return Points(
        position_m=position[keep], normal=part.triangle_normals[triangle][keep], area_m2=float(part.area_m2 / n)
    )


def dense_poses(part: Surface, points: Points, seed: int, n_shell: int = 60, n_near: int = 260) -> Array:
    """Return camera poses (K, 4, 4) around the part: shells that look at its middle, and close looks at its points.

    Each has a random roll; those under the table or nearer to the part than NEAR_M are left out.
    """
    rng = np.random.default_rng([seed, 4])
    middle = 0.5 * part.bounds_m.sum(axis=0)
    radius = 0.5 * float(np.linalg.norm(np.ptp(part.bounds_m, axis=0)))
    k = np.arange(n_shell)
    height, turn = 1.0 - 1.1 * (k + 0.5) / n_shell, 2.399963 * k
    flat = np.sqrt(np.maximum(1.0 - height**2, 0.0))
    ways = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])
    eyes = [middle + d * ways for d in (NEAR_M + radius, 0.5 * (NEAR_M + radius + FAR_M), FAR_M)]
    aims = [np.broadcast_to(middle, ways.shape)] * 3
    chosen = rng.choice(len(points.position_m), n_near)
    spread = points.normal[chosen] + 0.9 * rng.standard_normal((n_near, 3)) * rng.random((n_near, 1))
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    eyes.append(points.position_m[chosen] + rng.uniform(NEAR_M, FAR_M - 0.1, (n_near, 1)) * spread)
    # half of them aim between the point and the middle, so that more of the part is in the picture
    aims.append(points.position_m[chosen] + rng.choice([0.0, 0.5], (n_near, 1)) * (middle - points.position_m[chosen]))
    eye, aim = np.concatenate(eyes), np.concatenate(aims)
    distance = _scene(part).compute_distance(eye.astype(np.float32)).numpy()
    keep = (eye[:, 2] > part.bounds_m[0, 2] + EYE_LOW_M) & (distance > NEAR_M - 1e-3)
    return np.asarray([_pose(e, a, rng.uniform(0.0, 2.0 * np.pi)) for e, a in zip(eye[keep], aim[keep], strict=True)])


def seen_table(part: Surface, points: Points, poses: Array, camera: CameraConfig) -> NDArray[np.bool_]:
    """Return (K, N): pose k measures point n; rays from the camera must stop at the point and nowhere before."""
    scene = _scene(part)
    seen = np.zeros((len(poses), len(points.position_m)), bool)
    cone = np.cos(camera.specular_cone_rad)
    for k, T in enumerate(poses):
        ways = points.position_m - T[:3, 3]
        x, y, z = (ways @ T[:3, :3]).T
        length = np.linalg.norm(ways, axis=1)
        cosine = -np.einsum("ij,ij->i", ways, points.normal) / length
        z = np.where(np.abs(z) < 1e-9, 1e-9, z)
        u, v = camera.fx_px * x / z + camera.cx_px, camera.fy_px * y / z + camera.cy_px
        ok = (z >= camera.range_m.low) & (z <= camera.range_m.high) & (cosine >= np.cos(camera.incidence_max_rad))
        ok &= (u >= 0.0) & (u <= camera.width_px - 1.0) & (v >= 0.0) & (v <= camera.height_px - 1.0)
        if cone < 1.0:
            ok &= cosine <= cone
        at = np.flatnonzero(ok)
        rays = np.concatenate([np.broadcast_to(T[:3, 3], (len(at), 3)), ways[at]], axis=1).astype(np.float32)
        hit = scene.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)["t_hit"].numpy()
        seen[k, at[hit > 1.0 - HIT_SHARE]] = True
    return seen


def imaged_table(
    points: Points, poses: Array, take: Callable[[Array], Array], camera: CameraConfig
) -> NDArray[np.bool_]:
    """Return (K, N): the image taken from pose k holds, after the depth filter, a reading of point n.

    Args:
        points: of the part.
        poses: (K, 4, 4).
        take: returns the filtered depth image (H, W) of a pose.
        camera: intrinsics.
    """
    seen = np.zeros((len(poses), len(points.position_m)), bool)
    for k, T in enumerate(poses):
        ways = points.position_m - T[:3, 3]
        x, y, z = (ways @ T[:3, :3]).T
        ahead = np.flatnonzero((z > 0.05) & (np.einsum("ij,ij->i", ways, points.normal) < 0.0))
        u = np.rint(camera.fx_px * x[ahead] / z[ahead] + camera.cx_px).astype(int)
        v = np.rint(camera.fy_px * y[ahead] / z[ahead] + camera.cy_px).astype(int)
        inside = (u >= 0) & (u < camera.width_px) & (v >= 0) & (v < camera.height_px)
        ahead = ahead[inside]
        depth = take(T)[v[inside], u[inside]]
        seen[k, ahead[(depth > 0.0) & (np.abs(depth - z[ahead]) < READING_M)]] = True
    return seen


@dataclass(frozen=True, kw_only=True)
class Fewest:
    """Least number of poses of a table that cover a share of what all of them cover."""

    n_views: int
    """Of the best cover found."""
    bound: int
    """No cover has fewer: the dual bound, rounded up."""
    chosen: tuple[int, ...]


def fewest_views(seen: NDArray[np.bool_], share: float, time_limit_s: float) -> Fewest:
    """Return the least number of rows that cover `share` of the columns covered by any row."""
    columns, weight = np.unique(seen[:, seen.any(axis=0)].T, axis=0, return_counts=True)
    rows = _undominated(columns.T)
    table = csr_matrix(columns.T[rows].T.astype(float))
    n, k = len(weight), len(rows)
    shown = bmat([[table, -eye_array(n)]], format="csr")
    total = coo_matrix(np.r_[np.zeros(k), weight.astype(float)][None, :])
    # ties are broken at random, or symmetric covers keep the search busy
    cost = np.r_[np.ones(k), np.zeros(n)]
    answer = milp(
        cost, integrality=np.r_[np.ones(k), np.zeros(n)], bounds=Bounds(0.0, 1.0),
        constraints=[LinearConstraint(shown, 0.0, np.inf), LinearConstraint(total, share * weight.sum(), np.inf)],
        options={"time_limit": time_limit_s, "mip_rel_gap": 0.0},
    )  # fmt: skip
    dual = getattr(answer, "mip_dual_bound", None)
    bound = 1 if dual is None else int(np.ceil(dual - 1e-6))
    if answer.x is None:
        return Fewest(n_views=len(seen), bound=bound, chosen=tuple(range(len(seen))))
    chosen = tuple(int(rows[i]) for i in np.flatnonzero(answer.x[:k] > 0.5))
    return Fewest(n_views=len(chosen), bound=bound, chosen=chosen)


def measured_points(scan: Surface, points: Points, within_m: float) -> NDArray[np.bool_]:
    """Return which points have scanned surface within a distance that faces the same way."""
    found = _scene(scan).compute_closest_points(points.position_m.astype(np.float32))
    gap = np.linalg.norm(found["points"].numpy() - points.position_m, axis=1)
    facing = np.einsum("ij,ij->i", scan.triangle_normals[found["primitive_ids"].numpy()], points.normal)
    return (gap < within_m) & (facing > 0.3)


def false_share(scan: Surface, part: Surface, within_m: float) -> float:
    """Return the share of scanned area that lies farther than a distance from the true surface."""
    gap = _scene(part).compute_distance(scan.centroids_m.astype(np.float32)).numpy()
    return float(scan.triangle_areas_m2[gap > within_m].sum() / scan.area_m2)


def shortest_tour(times_s: Array) -> float:
    """Return the length of a good open tour over a symmetric table (N, N), from row 0: nearest, then 2-opt to rest."""
    n = len(times_s)
    left, tour = set(range(1, n)), [0]
    while left:
        tour.append(min(left, key=lambda j: times_s[tour[-1], j]))
        left.remove(tour[-1])
    better = True
    while better:
        better = False
        for i in range(1, n - 1):
            for j in range(i + 1, n):
                after = times_s[tour[j], tour[j + 1]] if j + 1 < n else 0.0
                new = times_s[tour[i - 1], tour[j]] + (times_s[tour[i], tour[j + 1]] if j + 1 < n else 0.0)
                if new + 1e-9 < times_s[tour[i - 1], tour[i]] + after:
                    tour[i : j + 1] = tour[i : j + 1][::-1]
                    better = True
    return float(sum(times_s[a, b] for a, b in pairwise(tour)))


def _undominated(table: NDArray[np.bool_]) -> NDArray[np.int64]:
    # rows that some other row covers wholly are never needed
    order = np.argsort(-table.sum(axis=1), kind="stable")
    kept: list[int] = []
    for row in order:
        if not kept or not np.any(np.all(table[kept] >= table[row], axis=1)):
            kept.append(int(row))
    return np.array(kept, np.int64)


def _pose(eye: Array, aim: Array, roll: float) -> Array:
    z = (aim - eye) / np.linalg.norm(aim - eye)
    side = np.cross(z, [1.0, 0.0, 0.0] if abs(z[0]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    x = np.cos(roll) * side + np.sin(roll) * np.cross(z, side)
    T = np.eye(4)
    T[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    T[:3, 3] = eye
    return T


def _scene(part: Surface) -> o3d.t.geometry.RaycastingScene:
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(part.vertices_m.astype(np.float32)),
        o3d.core.Tensor.from_numpy(part.triangles.astype(np.uint32)),
    )
    return scene
