"""Point-to-plane least squares for small rigid corrections, the step every registration here repeats."""

import numpy as np
from scipy.spatial.transform import Rotation

from cell_core.transforms import Array

CONDITION_MIN = 1e-4
"""Directions of motion less stiff than this share of the stiffest are left alone: the points do not fix them."""


def point_to_plane_step(points_m: Array, residuals_m: Array, normals: Array, weights: Array, length_m: float) -> Array:
    """Return the 4x4 correction that moves points (N, 3) so that residuals (N,) = normal . (point - target) shrink.

    Small angles; solved about the centroid with rotation scaled by `length_m`, the extent of the points. Directions the
    points do not fix (sliding on a plane, turning about an axis) stay untouched.
    """
    lengths_m = np.array([length_m])
    return point_to_plane_steps(points_m[None], residuals_m[None], normals[None], weights[None], lengths_m)[0]


def huber_weights(residuals_m: Array, floor_m: float = 1e-5) -> Array:
    """Return weights (N,) that are 1 within 1.5 robust standard deviations and fall off beyond."""
    sigma = max(1.4826 * float(np.median(np.abs(residuals_m - np.median(residuals_m)))), floor_m)
    return np.minimum(1.0, 1.5 * sigma / np.maximum(np.abs(residuals_m), 1e-12))


def point_to_plane_steps(
    points_m: Array, residuals_m: Array, normals: Array, weights: Array, lengths_m: Array
) -> Array:
    """Return `point_to_plane_step` (K, 4, 4) of K sets of points (K, N, 3); points without weight do not count."""
    w = weights / weights.sum(axis=1, keepdims=True)
    centre = np.einsum("kn,kni->ki", w, points_m)
    arm = (points_m - centre[:, None]) / lengths_m[:, None, None]
    J = np.concatenate([np.cross(arm, normals), normals], axis=2)
    weighted = np.swapaxes(w[..., None] * J, 1, 2)
    values, vectors = np.linalg.eigh(weighted @ J)
    along = np.swapaxes(vectors, 1, 2) @ (weighted @ residuals_m[..., None])
    fixed = values > CONDITION_MIN * np.maximum(values[:, -1:], 1e-300)
    step = (vectors @ np.divide(along, values[..., None], out=np.zeros_like(along), where=fixed[..., None]))[..., 0]
    T = np.tile(np.eye(4), (len(step), 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(-step[:, :3] / lengths_m[:, None]).as_matrix()
    T[:, :3, 3] = centre - step[:, 3:] - np.einsum("kij,kj->ki", T[:, :3, :3], centre)
    return T
