"""Rigid transforms as 4x4 arrays. `T_a_b` takes b coordinates in and gives a coordinates out."""

import warnings

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


def transform_from_xyz_rpy(xyz_m: ArrayLike, rpy_rad: ArrayLike) -> Array:
    """Build a 4x4 transform from a translation [m] and URDF roll, pitch, yaw [rad] (fixed axes x, y, z)."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", np.asarray(rpy_rad, float)).as_matrix()
    T[:3, 3] = np.asarray(xyz_m, float)
    return T


def xyz_rpy_from_transform(T: ArrayLike) -> tuple[Array, Array]:
    """Return translation [m] (3,) and URDF roll, pitch, yaw [rad] (3,) of a 4x4 transform."""
    T = np.asarray(T, float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at a pitch of 90 degrees one of many answers is given, and it is right
        rpy_rad = Rotation.from_matrix(T[:3, :3]).as_euler("xyz")
    return T[:3, 3].copy(), rpy_rad


def transform_from_xyz_quat(xyz_m: ArrayLike, quat_xyzw: ArrayLike) -> Array:
    """Build a 4x4 transform from a translation [m] and a unit quaternion in xyzw order."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(np.asarray(quat_xyzw, float)).as_matrix()
    T[:3, 3] = np.asarray(xyz_m, float)
    return T


def twist_transform(twist: ArrayLike) -> Array:
    """Build the 4x4 motion of a screw (6,): turn [rad] (3,) and velocity of the origin over unit time [m] (3,)."""
    (x, y, z), shift = np.asarray(twist, float)[:3], np.asarray(twist, float)[3:]
    rate = np.zeros((4, 4))
    rate[:3, :3] = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]
    rate[:3, 3] = shift
    return np.asarray(scipy.linalg.expm(rate), float)


def inverse(T: ArrayLike) -> Array:
    """Invert rigid transforms of shape (..., 4, 4)."""
    T = np.asarray(T, float)
    out = np.zeros_like(T)
    R_t = np.swapaxes(T[..., :3, :3], -1, -2)
    out[..., :3, :3] = R_t
    out[..., :3, 3] = -np.einsum("...ij,...j->...i", R_t, T[..., :3, 3])
    out[..., 3, 3] = 1.0
    return out


def apply(T: ArrayLike, points: ArrayLike) -> Array:
    """Transform points (..., 3) by one 4x4 transform."""
    T = np.asarray(T, float)
    return np.asarray(points, float) @ T[:3, :3].T + T[:3, 3]


def rotate(T: ArrayLike, vectors: ArrayLike) -> Array:
    """Rotate vectors (..., 3) by one 4x4 transform."""
    return np.asarray(vectors, float) @ np.asarray(T, float)[:3, :3].T


def unit(vectors: ArrayLike) -> Array:
    """Normalise vectors (..., 3); a zero vector stays zero."""
    vectors = np.asarray(vectors, float)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0.0)


def tool_frames(position_m: ArrayLike, tool_axis: ArrayLike, travel: ArrayLike) -> Array:
    """Return tool frames (N, 4, 4): z along tool_axis, x along travel made perpendicular to z, y = z cross x.

    Raises:
        ValueError: an axis and its travel direction are parallel.
    """
    z = unit(tool_axis)
    travel = np.asarray(travel, float)
    x = travel - np.sum(travel * z, axis=-1, keepdims=True) * z
    if np.any(np.linalg.norm(x, axis=-1) < 1e-9):
        raise ValueError("travel is parallel to tool_axis")
    x = unit(x)
    T = np.zeros((*z.shape[:-1], 4, 4))
    T[..., :3, 0] = x
    T[..., :3, 1] = np.cross(z, x)
    T[..., :3, 2] = z
    T[..., :3, 3] = np.asarray(position_m, float)
    T[..., 3, 3] = 1.0
    return T
