"""Correct camera poses by one round of point-to-plane alignment of every frame to the mean model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.icp import huber_weights, point_to_plane_step
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse, rotate
from cell_scanning.camera import Intrinsics

N_RAYS = 6000
N_RAYS_MIN = 200
ITERATIONS_MAX = 8
CONVERGED_M = 5e-6
TURN_M_PER_RAD = 0.3
"""Poses given by an arm and a hand-eye calibration are off by about 0.5 mm and 0.1 degrees."""


def refined_poses(
    model: Surface, depths_m: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, reach_m: float
) -> list[Array]:
    """Return T_part_camera of every frame after aligning it to the model.

    Readings pair with the model along their own rays; pairs farther apart than `reach_m` do not count. What
    the corrections have in common is taken out again: the given poses are right on average, and only that ties the
    surface to the part frame. A frame that sees too little of the model keeps its pose.
    """
    caster = RayCaster(model)
    refined = [_aligned(caster, model, d, T, camera, reach_m) for d, T in zip(depths_m, poses, strict=True)]
    moved = [(new, old) for new, old in zip(refined, poses, strict=True) if new is not old]
    if not moved:
        return list(refined)
    gauge = _common_motion([inverse(old) for _, old in moved], [new @ inverse(old) for new, old in moved])
    back = inverse(gauge)
    return [back @ T for T in refined]


def _common_motion(T_camera_part: Sequence[Array], corrections: Sequence[Array]) -> Array:
    """Return the motion (4, 4) of the part frame that is most likely behind what the corrections have in common.

    A given pose is off by a turn about its camera and a shift of it, TURN_M_PER_RAD apart in size. So the cameras'
    places tell more than where their pictures fall on the part, a range away.
    """
    normal, right = np.zeros((6, 6)), np.zeros(6)
    weight = np.diag([TURN_M_PER_RAD**2] * 3 + [1.0] * 3)
    for T, C in zip(T_camera_part, corrections, strict=True):
        twist = np.r_[Rotation.from_matrix(C[:3, :3]).as_rotvec(), C[:3, 3]]
        # small motions of the part frame as the camera feels them: turn, and shift at its own place
        eye = -T[:3, :3].T @ T[:3, 3]
        across = np.array([[0.0, -eye[2], eye[1]], [eye[2], 0.0, -eye[0]], [-eye[1], eye[0], 0.0]])
        A = np.zeros((6, 6))
        A[:3, :3], A[3:, 3:], A[3:, :3] = np.eye(3), np.eye(3), -across
        normal += A.T @ weight @ A
        right += A.T @ weight @ A @ twist
    motion = np.linalg.solve(normal, right)
    G = np.eye(4)
    G[:3, :3] = Rotation.from_rotvec(motion[:3]).as_matrix()
    G[:3, 3] = motion[3:]
    return G


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
