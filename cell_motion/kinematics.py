"""Closed-form inverse kinematics of an OPW arm, checked against the forward kinematics of its own robot model."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import py_opw_kinematics
from numpy.typing import NDArray

from cell_core.config import RobotConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, inverse
from robot_description.model import RobotModel

N_BRANCHES = 8
TURN_RAD = 2.0 * np.pi
EXTENSION_M = 0.2
_AGREEMENT_M = 1e-5
_NO_JACOBIAN = [(10.0, 11.0)] * 6
"""Limits that nothing meets: the solver then skips its singular values, which cost six times the solution itself."""


@dataclass(frozen=True, kw_only=True)
class Solutions:
    """All inverse-kinematics branches of N poses, wrapped to within the joint limits where a turn fits."""

    position_rad: Array
    """(N, 8, 6) joint positions [rad]; NaN where the branch does not exist."""
    exists: NDArray[np.bool_]
    """(N, 8) the branch exists as geometry, limits or not."""
    within_limits: NDArray[np.bool_]
    """(N, 8) some whole-turn copy of the branch lies within the position limits."""
    regularity: Array
    """(N, 8) how far from a singularity: the smaller of |sin(joint 5)| and the wrist centre's distance from full reach
    over EXTENSION_M; NaN where the branch does not exist."""


class Kinematics:
    """Inverse kinematics of one arm for a frame fixed to its flange."""

    def __init__(self, robot: RobotModel, frame: str) -> None:
        """Check the OPW parameters of the robot's configuration against its URDF.

        Raises:
            ConfigurationError: the parameters disagree with the URDF by more than 10 um or rad.
        """
        self.robot = robot
        self.frame = frame
        self.lower_rad = np.asarray(robot.lower_rad, float)
        self.upper_rad = np.asarray(robot.upper_rad, float)
        self._opw = _solver(robot.config)
        T_opw_flange = _tip_offset(self._opw, robot)
        T_flange_frame = robot.fixed(robot.config.flange_frame, frame)
        self._T_opw_frame = T_opw_flange @ T_flange_frame
        self._T_frame_opw = inverse(self._T_opw_frame)

    def solve(self, T_base_frame: Array) -> Solutions:
        """Return every branch for poses (N, 4, 4), joints wrapped by whole turns to within their limits."""
        poses = np.ascontiguousarray(np.asarray(T_base_frame, float).reshape(-1, 4, 4) @ self._T_frame_opw)
        joints, _, extension, _, wrist = self._opw.reach(poses.reshape(-1, 16), _NO_JACOBIAN, None, 1)
        exists = np.isfinite(joints).all(axis=2)
        joints = self._into_limits(joints)
        inside = ((joints >= self.lower_rad - 1e-9) & (joints <= self.upper_rad + 1e-9)).all(axis=2)
        return Solutions(
            position_rad=joints,
            exists=np.asarray(exists),
            within_limits=np.asarray(exists & inside),
            regularity=np.minimum(np.asarray(wrist), np.asarray(extension)[:, None] / EXTENSION_M),
        )

    def forward(self, position_rad: Array) -> Array:
        """Return T_base_frame (N, 4, 4) at joint positions (N, 6), by the closed-form model."""
        position = np.ascontiguousarray(position_rad, float)
        return np.asarray(self._opw.batch_forward(position)).reshape(-1, 4, 4) @ self._T_opw_frame

    def conditioning(self, position_rad: Array) -> Array:
        """Return the smallest singular value of the Jacobian (N,) at joint positions (N, 6)."""
        step = 1e-6
        n, joints = position_rad.shape
        moved = position_rad[:, None, :] + step * np.concatenate([np.eye(joints), -np.eye(joints)])
        T = self.forward(moved.reshape(-1, joints)).reshape(n, 2, joints, 4, 4)
        d = (T[:, 0] - T[:, 1]) / (2.0 * step)
        turn = d[..., :3, :3] @ np.swapaxes(self.forward(position_rad)[:, None, :3, :3], -1, -2)
        rows = [*(d[..., i, 3] for i in range(3)), turn[..., 2, 1], turn[..., 0, 2], turn[..., 1, 0]]
        jacobian = np.stack(rows, axis=1)
        return np.asarray(np.linalg.svd(jacobian, compute_uv=False)[:, -1], float)

    def _into_limits(self, joints: Array) -> Array:
        too_high = np.ceil((joints - self.upper_rad) / TURN_RAD - 1e-12)
        joints = joints - TURN_RAD * np.maximum(too_high, 0.0)
        too_low = np.ceil((self.lower_rad - joints) / TURN_RAD - 1e-12)
        return joints + TURN_RAD * np.maximum(too_low, 0.0)

    def copies(self, position_rad: Array) -> Array:
        """Return all whole-turn copies (C, 6) of one joint position (6,) within the limits; same geometry."""
        ranges = []
        for q, low, high in zip(position_rad, self.lower_rad, self.upper_rad, strict=True):
            turns = np.arange(np.ceil((low - q) / TURN_RAD - 1e-9), np.floor((high - q) / TURN_RAD + 1e-9) + 1)
            ranges.append(q + TURN_RAD * turns)
        return np.array(list(product(*ranges))).reshape(-1, len(self.lower_rad))

    def nearest_copy(self, position_rad: Array, reference_rad: Array) -> Array:
        """Shift joints (..., 6) by whole turns to within half a turn of the reference; limits are not looked at."""
        return position_rad - TURN_RAD * np.round((position_rad - reference_rad) / TURN_RAD)

    def follow(self, T_base_frame: Array, guess_rad: Array) -> tuple[Array, Array]:
        """Return the branch nearest to a guess for each pose, whole turns taken from the guess.

        Args:
            T_base_frame: (N, 4, 4) poses.
            guess_rad: (N, 6) joint positions near the wanted ones, not wrapped.

        Returns:
            (N, 6) joint positions, NaN where no branch exists; (N,) largest joint distance from the guess [rad].
        """
        poses = np.ascontiguousarray(np.asarray(T_base_frame, float).reshape(-1, 4, 4) @ self._T_frame_opw)
        joints = np.asarray(self._opw.reach(poses.reshape(-1, 16), _NO_JACOBIAN, None, 1)[0])
        joints = self.nearest_copy(joints, guess_rad[:, None, :])
        distance = np.abs(joints - guess_rad[:, None, :]).max(axis=2)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        best = distance.argmin(axis=1)
        rows = np.arange(len(best))
        return joints[rows, best], distance[rows, best]


def _solver(config: RobotConfig) -> "py_opw_kinematics._internal.Robot":
    opw = config.opw
    s1, s2, s3, s4, s5, s6 = (s < 0 for s in opw.sign_corrections)
    model = py_opw_kinematics.KinematicModel(
        a1=opw.a1_m,
        a2=opw.a2_m,
        b=opw.b_m,
        c1=opw.c1_m,
        c2=opw.c2_m,
        c3=opw.c3_m,
        c4=opw.c4_m,
        offsets=opw.offsets_rad,
        flip_axes=(s1, s2, s3, s4, s5, s6),
    )
    return py_opw_kinematics._internal.Robot(model, False)


def _tip_offset(solver: "py_opw_kinematics._internal.Robot", robot: RobotModel) -> Array:
    """Return the constant T_opw_flange; a flange frame turned against the OPW convention is thus allowed."""
    position = np.random.default_rng(0).uniform(-1.0, 1.0, (16, 6))
    tips = np.asarray(solver.batch_forward(position)).reshape(-1, 4, 4)
    difference = inverse(tips) @ robot.forward(position, robot.config.flange_frame)
    error = float(np.abs(difference - difference[0]).max())
    if error > _AGREEMENT_M:
        raise ConfigurationError(
            f"robot {robot.config.name}: opw parameters differ from the URDF by {error:.3g} m or rad over 16 poses, "
            f"bound {_AGREEMENT_M:g}",
            difference=error,
        )
    return difference[0]
