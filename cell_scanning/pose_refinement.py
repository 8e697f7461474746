"""Correct camera poses by one round of point-to-plane alignment of every frame to the mean model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.icp import huber_weights, point_to_plane_step
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, rotate
from cell_scanning.camera import Intrinsics

N_RAYS = 6000
N_RAYS_MIN = 200
ITERATIONS_MAX = 8
CONVERGED_M = 5e-6


def refined_poses(
    model: Surface, depths_m: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, reach_m: float
) -> list[Array]:
    """Return T_part_camera of every frame after aligning it to the model.

    Readings pair with the model along their own rays; pairs farther apart than `reach_m` do not count. The mean
    correction of all frames is taken out again: the given poses are right on average, and only that ties the surface
    to the part frame. A frame that sees too little of the model keeps its pose.
    """
    caster = RayCaster(model)
    refined = [_aligned(caster, model, d, T, camera, reach_m) for d, T in zip(depths_m, poses, strict=True)]
    moved = [(new, old) for new, old in zip(refined, poses, strict=True) if new is not old]
    if not moved:
        return list(refined)
    centre = model.vertices_m.mean(axis=0)
    corrections = [new @ np.linalg.inv(old) for new, old in moved]
    turn = np.mean([Rotation.from_matrix(C[:3, :3]).as_rotvec() for C in corrections], axis=0)
    shift = np.mean([apply(C, centre) - centre for C in corrections], axis=0)
    gauge = np.eye(4)
    gauge[:3, :3] = Rotation.from_rotvec(-turn).as_matrix()
    gauge[:3, 3] = centre - shift - gauge[:3, :3] @ centre
    return [gauge @ T for T in refined]


def model_residual_m(
    model: Surface, depths_m: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, reach_m: float
) -> float:
    """Return how far readings lie from the model across its surface [m], the median over all frames.

    Readings without a model within `reach_m` count as that far. A median, since a part with layers has readings
    that belong to another.
    """
    caster = RayCaster(model)
    residuals = []
    for depth_m, T in zip(depths_m, poses, strict=True):
        rows, columns = np.nonzero(depth_m)
        if len(rows) < N_RAYS_MIN:
            continue
        slopes, z = _readings(depth_m, rows, columns, camera)
        rays, gap, triangle, pair = _paired(caster, T, slopes, z, reach_m)
        residual = np.full(len(z), reach_m)
        normals = model.triangle_normals[triangle[pair]]
        residual[pair] = np.sum(normals * rays[pair], axis=1) * gap[pair]
        residuals.append(np.abs(residual))
    return float(np.median(np.concatenate(residuals))) if residuals else 0.0


def _readings(
    depth_m: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64], camera: Intrinsics
) -> tuple[Array, Array]:
    pick = np.linspace(0, len(rows) - 1, min(N_RAYS, len(rows))).astype(int)
    rows, columns = rows[pick], columns[pick]
    slopes = np.ones((len(rows), 3))
    slopes[:, 0] = (columns - camera.cx_px) / camera.fx_px
    slopes[:, 1] = (rows - camera.cy_px) / camera.fy_px
    return slopes, depth_m[rows, columns].astype(float)


def _paired(
    caster: RayCaster, T: Array, slopes: Array, z: Array, reach_m: float
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.bool_]]:
    """Return rays, gap along them in depth, triangle hit, and which readings have the model within reach."""
    rays = rotate(T, slopes)
    t, triangle = caster.first_hit(np.broadcast_to(T[:3, 3], rays.shape), rays)
    pair = np.isfinite(t)
    gap = np.where(pair, z - np.where(pair, t, 0.0), np.inf)
    pair &= np.abs(gap) * np.linalg.norm(slopes, axis=1) < reach_m
    return rays, gap, triangle, pair


def _aligned(
    caster: RayCaster, model: Surface, depth_m: NDArray[np.float32], T: Array, camera: Intrinsics, reach_m: float
) -> Array:
    rows, columns = np.nonzero(depth_m)
    if len(rows) < N_RAYS_MIN:
        return T
    slopes, z = _readings(depth_m, rows, columns, camera)
    start = T
    for _ in range(ITERATIONS_MAX):
        rays, gap, triangle, pair = _paired(caster, T, slopes, z, reach_m)
        if pair.sum() < N_RAYS_MIN:
            return start
        normals = model.triangle_normals[triangle[pair]]
        points = apply(T, slopes[pair] * z[pair, None])
        residuals = np.sum(normals * rays[pair], axis=1) * gap[pair]
        length = max(float(np.linalg.norm(points.std(axis=0))), 1e-3)
        step = point_to_plane_step(points, residuals, normals, huber_weights(residuals), length)
        T = step @ T
        if np.abs(apply(step, points[::50]) - points[::50]).max() < CONVERGED_M:
            break
    return T
