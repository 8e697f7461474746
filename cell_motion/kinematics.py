"""Inverse kinematics of a frame fixed to an arm's flange: all branches within the joint limits, and nearest ones."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array, inverse
from cell_motion.solvers import solver_for
from robot_description.model import RobotModel

TURN_RAD = 2.0 * np.pi


@dataclass(frozen=True, kw_only=True)
class Solutions:
    """All inverse-kinematics branches of N poses, wrapped to within the joint limits where a turn fits."""

    position_rad: Array
    """(N, B, 6) joint positions [rad], eight branches for an OPW arm; NaN where the branch does not exist."""
    exists: NDArray[np.bool_]
    """(N, B) the branch exists as geometry, limits or not."""
    within_limits: NDArray[np.bool_]
    """(N, B) some whole-turn copy of the branch lies within the position limits."""
    regularity: Array
    """(N, B) how far from a singularity, see Solver; NaN where the branch does not exist."""


class Kinematics:
    """Inverse kinematics of one arm for a frame fixed to its flange."""

    def __init__(self, robot: RobotModel, frame: str) -> None:
        """Take the quickest solver that serves the arm.

        Raises:
            ConfigurationError: its OPW parameters disagree with the URDF by more than 10 um or rad.
        """
        self.robot = robot
        self.frame = frame
        self.lower_rad = np.asarray(robot.lower_rad, float)
        self.upper_rad = np.asarray(robot.upper_rad, float)
        self._solver = solver_for(robot)
        self._T_flange_frame = robot.fixed(robot.config.flange_frame, frame)
        self._T_frame_flange = inverse(self._T_flange_frame)

    def solve(self, T_base_frame: Array) -> Solutions:
        """Return every branch for poses (N, 4, 4), joints wrapped by whole turns to within their limits."""
        joints, regularity = self._solver.branches(self._flange(T_base_frame))
        exists = np.isfinite(joints).all(axis=2)
        joints = self._into_limits(joints)
        inside = ((joints >= self.lower_rad - 1e-9) & (joints <= self.upper_rad + 1e-9)).all(axis=2)
        return Solutions(
            position_rad=joints,
            exists=np.asarray(exists),
            within_limits=np.asarray(exists & inside),
            regularity=regularity,
        )

    def forward(self, position_rad: Array) -> Array:
        """Return T_base_frame (N, 4, 4) at joint positions (N, 6), by the solver's model."""
        return self._solver.forward(position_rad) @ self._T_flange_frame

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
        joints, _ = self._solver.branches(self._flange(T_base_frame))
        joints = self.nearest_copy(joints, guess_rad[:, None, :])
        distance = np.abs(joints - guess_rad[:, None, :]).max(axis=2)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        best = distance.argmin(axis=1)
        rows = np.arange(len(best))
        return joints[rows, best], distance[rows, best]

    def _flange(self, T_base_frame: Array) -> Array:
        return np.asarray(T_base_frame, float).reshape(-1, 4, 4) @ self._T_frame_flange
