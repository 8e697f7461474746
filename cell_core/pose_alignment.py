"""Point-to-plane alignment of samples on the triangles of a surface, and how firmly they hold it."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cell_core.icp import huber_weights, point_to_plane_step, point_to_plane_steps
from cell_core.near_cells import NearCells, NearTriangles
from cell_core.pose_votes import spread_samples
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, rotate, twist_transform

ITERATIONS_MAX = 20
CONVERGED_SHARE = 2e-6
NORMAL_COS_MIN = 0.7
POINTS_MIN = 50
NEIGHBOURS_ALIKE = 16.0
"""Cells that stand for one independent measurement: errors of neighbours, four across, are alike."""
N_POINTS_MOVED = 500
SLIDES_SHARE, SAME_SHARE = 0.03, 5e-4
"""A motion by the first share of the diagonal that leaves the target's points within the second of it is a symmetry."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """A small motion the points hold least, and by how much it may be off: one standard deviation."""

    twist: Array
    """(6,) turn [rad] and shift [m] about the target's origin; scaled to the standard deviation."""
    shift_m: float
    """Root mean square shift of the target's surface [m]."""
    turn_rad: float
    symmetric: bool
    """The target slides on itself along it, so that it does not matter."""


class Alignment:
    """Moves points with normals onto a target."""

    def __init__(self, points_m: Array, normals: Array, target: NearTriangles | NearCells, diagonal_m: float) -> None:
        self._points, self._normals = points_m, normals
        self._target, self._diagonal_m = target, diagonal_m

    def descend(
        self, T: Array, reaches_m: tuple[float, ...], rounds: int = ITERATIONS_MAX, cos_min: float = NORMAL_COS_MIN
    ) -> Array:
        """Return the pose reached from one close by, pairing within each reach [m] in turn."""
        for reach_m in reaches_m:
            for _ in range(rounds):
                points, gap, normals, near = self.pairs(T, reach_m, cos_min)
                if near.sum() < POINTS_MIN:
                    return T
                residual = np.einsum("ij,ij->i", gap[near], normals[near])
                length = max(float(np.linalg.norm(points[near].std(axis=0))), 1e-6)
                step = point_to_plane_step(points[near], residual, normals[near], huber_weights(residual), length)
                T = step @ T
                if np.abs(apply(step, points[::50]) - points[::50]).max() < CONVERGED_SHARE * self._diagonal_m:
                    break
        return T

    def descend_all(self, poses: Array, reaches_m: tuple[float, ...], rounds: int = ITERATIONS_MAX) -> Array:
        """Return what `descend` does of many poses (K, 4, 4), all at once."""
        poses, found = poses.copy(), np.arange(len(poses))
        for reach_m in reaches_m:
            moving = found
            for _ in range(rounds):
                if len(moving) == 0:
                    break
                step, points, held = self._steps(poses[moving], reach_m)
                found, moving = np.setdiff1d(found, moving[~held]), moving[held]
                step, points = step[held], points[held, ::50]
                poses[moving] = step @ poses[moving]
                shift = np.einsum("kij,knj->kni", step[:, :3, :3], points) + step[:, None, :3, 3] - points
                moving = moving[np.abs(shift).max(axis=(1, 2)) >= CONVERGED_SHARE * self._diagonal_m]
        return poses

    def _steps(self, poses: Array, reach_m: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return the next step (K, 4, 4) of each pose, its points (K, N, 3) and whether enough of them pair."""
        R = poses[:, :3, :3]
        points = np.einsum("kij,nj->kni", R, self._points) + poses[:, None, :3, 3]
        facing = np.einsum("kij,nj->kni", R, self._normals)
        gap, normals, near = self._target.pairs(points.reshape(-1, 3), facing.reshape(-1, 3), reach_m, NORMAL_COS_MIN)
        near, normals = near.reshape(points.shape[:2]), normals.reshape(points.shape)
        residual = np.einsum("kni,kni->kn", gap.reshape(points.shape), normals)
        weights, length = np.zeros(near.shape), np.ones(len(poses))
        held = near.sum(axis=1) >= POINTS_MIN
        for k in np.flatnonzero(held):
            weights[k, near[k]] = huber_weights(residual[k, near[k]])
            length[k] = max(float(np.linalg.norm(points[k, near[k]].std(axis=0))), 1e-6)
        weights[~held] = 1.0
        return point_to_plane_steps(points, residual, normals, weights, length), points, held

    def pairs(
        self, T: Array, reach_m: float, cos_min: float = NORMAL_COS_MIN
    ) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        """Return moved points, their gaps from the nearest on the target, its normals, and which of them pair."""
        points, facing = apply(T, self._points), rotate(T, self._normals)
        return points, *self._target.pairs(points, facing, reach_m, cos_min)

    def motions(self, T: Array, reach_m: float, cos_min: float, target: Surface) -> list[Motion]:
        """Return six motions of the target in the order of how little the points hold them, least held first.

        Least squares: covariance is residual variance over stiffness, for as many measurements as are independent.
        """
        points, gap, normals, near = self.pairs(T, reach_m, cos_min)
        residual = np.einsum("ij,ij->i", gap[near], normals[near])
        sample, _ = spread_samples(target, N_POINTS_MOVED)
        caster = RayCaster(target)
        centre = sample.mean(axis=0)
        J = np.concatenate([np.cross(points[near] - centre, normals[near]), normals[near]], axis=1)
        w = huber_weights(residual)
        stiffness = J.T @ (w[:, None] * J)
        variance_m2 = float(w @ residual**2) / max(float(w.sum()) - 6.0, 1.0) * NEIGHBOURS_ALIKE
        # root mean square shift of the target's surface per unit of twist
        arm = sample - centre
        lever = np.stack([np.cross(np.broadcast_to(e, arm.shape), arm) for e in np.eye(3)], axis=2)
        A = np.concatenate([lever, np.broadcast_to(np.eye(3), (len(arm), 3, 3))], axis=2)
        shifted = np.einsum("nij,nik->jk", A, A) / len(arm)
        values, vectors = scipy.linalg.eigh(stiffness, shifted)
        floor = max(1e-9 * values[-1], 1e-12)
        out = []
        for value, vector in zip(values, vectors.T, strict=True):
            shift_m = float(np.sqrt(variance_m2 / max(value, floor)))
            twist = np.concatenate([vector[:3], vector[3:] - np.cross(vector[:3], centre)])
            out.append(
                Motion(
                    twist=shift_m * twist,
                    shift_m=shift_m,
                    turn_rad=shift_m * float(np.linalg.norm(vector[:3])),
                    symmetric=_slides(twist, sample, caster, self._diagonal_m),
                )
            )
        return out


def _slides(twist: Array, sample: Array, caster: RayCaster, diagonal_m: float) -> bool:
    both = [apply(twist_transform(way * SLIDES_SHARE * diagonal_m * twist), sample) for way in (-1.0, 1.0)]
    return float(caster.distance(np.concatenate(both)).max()) < SAME_SHARE * diagonal_m


def same_shape(target: Surface, caster: RayCaster, T: Array, within_m: float) -> bool:
    """Return whether the target, moved by a pose (4, 4), lies on itself within a distance [m] or SAME_SHARE."""
    sample, _ = spread_samples(target, 2000)
    off = caster.distance(apply(T, sample))
    diagonal_m = float(np.linalg.norm(np.ptp(target.bounds_m, axis=0)))
    return float(np.quantile(off, 0.998)) < max(within_m, SAME_SHARE * diagonal_m)
