"""Hand-eye calibration from poses of a board that the camera detected: A X = X B, in closed form and then refined."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from cell_core.bounded import read_text
from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, inverse, transform_from_xyz_quat
from cell_scanning.hand_eye_result import HandEye, HandEyeLimits, judged, refuse_poor_views, turning, twist_motion

COLUMNS = ("flange_x_m", "flange_y_m", "flange_z_m", "flange_qx", "flange_qy", "flange_qz", "flange_qw") + (
    "board_x_m", "board_y_m", "board_z_m", "board_qx", "board_qy", "board_qz", "board_qw",
)  # fmt: skip
"""Flange in the robot's base, board in the camera's optical frame."""
ROUNDS = 5


def read_board_poses(path: Path) -> tuple[Array, Array]:
    """Read a CSV file with a header of `COLUMNS`; returns T_base_flange and T_camera_board (F, 4, 4).

    Raises:
        InputRefusedError: cannot be read, another header, a row that is no pair of poses (named with its line).
    """
    lines = read_text(path).splitlines()
    rows = [(n, line.split(",")) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not rows or tuple(word.strip() for word in rows[0][1]) != COLUMNS:
        raise InputRefusedError(f"{path}: wanted the header {','.join(COLUMNS)}")
    poses = []
    for n, words in rows[1:]:
        try:
            values = np.array([float(w) for w in words])
        except ValueError as error:
            raise InputRefusedError(f"{path}:{n}: {error}") from error
        quaternions = [values[3:7], values[10:14]]
        if (
            len(values) != 14
            or not np.isfinite(values).all()
            or max(abs(np.linalg.norm(q) - 1.0) for q in quaternions) > 0.01
        ):
            raise InputRefusedError(f"{path}:{n}: wanted 14 finite numbers with two unit quaternions")
        poses.append([transform_from_xyz_quat(values[k : k + 3], values[k + 3 : k + 7]) for k in (0, 7)])
    both = np.array(poses).reshape(-1, 2, 4, 4)
    return both[:, 0], both[:, 1]


def calibrate_from_board(
    T_base_flange: Array, T_camera_board: Array, *, start: Array, limits: HandEyeLimits | None = None
) -> HandEye:
    """Return the hand-eye from F poses of the flange and of a board that stands still.

    Closed form for a start (rotation axes aligned, then translations by least squares: Park and Martin, IEEE Trans.
    Robot. Autom. 10 (1994) 717), then all F pairs fitted together with the board's pose, residuals weighed by their own
    scatter in position and orientation.

    Args:
        T_base_flange: (F, 4, 4) flange in the base.
        T_camera_board: (F, 4, 4) board in the optical frame.
        start: (4, 4) what the hand-eye was taken for; only told beside the result.
        limits: what `go` asks for.

    Raises:
        InputRefusedError: too few poses, or too little rotation between them.
    """
    limits = HandEyeLimits() if limits is None else limits
    A, B = np.asarray(T_base_flange, float), np.asarray(T_camera_board, float)
    spread = turning(A[:, :3, :3])
    refuse_poor_views(len(A), spread, limits)
    X = _closed_form(A, B)
    Y = A[0] @ X @ B[0]
    sigma = np.array([1e-3, 1e-3])
    covariance, left = np.eye(12), _misfit(A, B, X, Y)
    for _ in range(ROUNDS):
        scale = np.repeat(sigma, 3)
        fit = least_squares(
            lambda d, X=X, Y=Y, s=scale: (_misfit(A, B, X @ twist_motion(d[:6]), Y @ twist_motion(d[6:])) / s).ravel(),
            np.zeros(12),
            loss="soft_l1",
            f_scale=2.0,
        )
        X, Y = X @ twist_motion(fit.x[:6]), Y @ twist_motion(fit.x[6:])
        covariance = np.linalg.inv(fit.jac.T @ fit.jac)
        left = _misfit(A, B, X, Y)
        share = len(A) / max(len(A) - 2.0, 1.0)
        sigma = np.maximum([np.sqrt(share * np.mean(left[:, k : k + 3] ** 2)) for k in (0, 3)], 1e-9)
    before = _misfit(A, B, start, _mean_board(A, B, start))
    range_m = float(np.median(np.linalg.norm(B[:, :3, 3], axis=1)))
    return judged(
        limits,
        settled=True,
        T_flange_camera=X,
        start=np.asarray(start, float),
        covariance=covariance[:6, :6],
        view_T_base_flange=A,
        rms_before_m=np.linalg.norm(before[:, :3], axis=1),
        rms_after_m=np.linalg.norm(left[:, :3], axis=1),
        deviation=-left,
        scatter=(float(sigma[0]), float(sigma[1])),
        noise_ratio=1.0,
        spread=spread,
        n_frames=len(A),
        range_m=range_m,
    )


def _closed_form(A: Array, B: Array) -> Array:
    i, j = np.triu_indices(len(A), 1)
    a, b = inverse(A[j]) @ A[i], B[j] @ inverse(B[i])
    turn_a, turn_b = (Rotation.from_matrix(m[:, :3, :3]).as_rotvec() for m in (a, b))
    X = np.eye(4)
    X[:3, :3] = Rotation.align_vectors(turn_a, turn_b)[0].as_matrix()
    left = (a[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    right = (b[:, :3, 3] @ X[:3, :3].T - a[:, :3, 3]).ravel()
    X[:3, 3] = np.linalg.lstsq(left, right, rcond=None)[0]
    return X


def _misfit(A: Array, B: Array, X: Array, Y: Array) -> NDArray[np.float64]:
    """Return (F, 6) [m, rad] of each board pose beside where A, X and the board's pose Y put it, in the camera."""
    D = inverse(A @ X) @ Y @ inverse(B)
    # position at the board, where it was measured; orientation anywhere
    shift = np.einsum("nij,nj->ni", D[:, :3, :3], B[:, :3, 3]) + D[:, :3, 3] - B[:, :3, 3]
    return np.concatenate([shift, Rotation.from_matrix(D[:, :3, :3]).as_rotvec()], axis=1)


def _mean_board(A: Array, B: Array, X: Array) -> Array:
    boards = A @ X @ B
    Y = np.eye(4)
    Y[:3, :3] = Rotation.from_matrix(boards[:, :3, :3]).mean().as_matrix()
    Y[:3, 3] = boards[:, :3, 3].mean(axis=0)
    return Y
