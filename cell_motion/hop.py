"""Short ways from stroke to stroke in one swing: up along the tool axis, over, and down along the next one's axis."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from cell_core.transforms import Array
from cell_motion.kinematics import Kinematics
from cell_motion.run import Checkers
from cell_motion.timing import Limits, Motion, along

DISTANCE_MAX_M = 0.6
AXES_APART_MAX_RAD = 1.0
JOINTS_APART_MAX_RAD = 1.6
HEIGHTS_M = (0.02, 0.05, 0.10)
"""Tried in turn; a share of the distance on top."""
HEIGHT_SHARE = 0.1
STEP_M = 0.006
STEP_MAX_RAD = 0.1
CLEAR_M = 0.015
"""So far up, the pad keeps the margins of a free move."""
SPEED_MAX_M_PER_S = 1.0
"""Fastest that a swing moves the tool."""
SAME_RAD = 1e-4
PEAK = 1.875
"""Peak over mean speed of the minimum-jerk law."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hopper:
    """Finds swings for one tool in one scene."""

    kinematics: Kinematics
    checkers: Checkers
    limits: Limits
    period_s: float

    def hop(self, start_rad: Array, end_rad: Array, touching_m: tuple[float, float]) -> Motion | None:
        """Return one motion from rest to rest between joint positions (6,) on the part, or None where none is free.

        The tool centre point runs on a cubic Bezier curve that leaves along the tool axis and arrives along it; the
        orientation turns evenly in between. Only for positions near each other in the same branch.

        Args:
            start_rad: where the arm stands.
            end_rad: where it shall stand.
            touching_m: how far the pad may still touch the part, as height over start and end; below 0: not at all.
        """
        if np.abs(end_rad - start_rad).max() > JOINTS_APART_MAX_RAD:
            return None
        T = self.kinematics.forward(np.stack([start_rad, end_rad]))
        distance = float(np.linalg.norm(T[1, :3, 3] - T[0, :3, 3]))
        if distance > DISTANCE_MAX_M or T[0, :3, 2] @ T[1, :3, 2] < np.cos(AXES_APART_MAX_RAD):
            return None
        for height in HEIGHTS_M:
            motion = self._over(T, (start_rad, end_rad), height + HEIGHT_SHARE * distance)
            if motion is not None and self._is_free(motion, T, touching_m):
                return motion
        return None

    def _over(self, T: Array, ends_rad: tuple[Array, Array], height_m: float) -> Motion | None:
        frames, length = arch(T[0], T[1], height_m)
        share = np.linspace(0.0, 1.0, len(frames))[:, None]
        joints, away = self.kinematics.follow(frames, ends_rad[0] + share * (ends_rad[1] - ends_rad[0]))
        if not np.isfinite(away).all() or np.abs(np.diff(joints, axis=0)).max() > STEP_MAX_RAD:
            return None
        if np.abs(joints[[0, -1]] - np.stack(ends_rad)).max() > SAME_RAD:
            return None
        if ((joints < self.kinematics.lower_rad) | (joints > self.kinematics.upper_rad)).any():
            return None
        joints[[0, -1]] = ends_rad
        return along(joints, self.limits, self.period_s, shortest_s=PEAK * length / SPEED_MAX_M_PER_S)

    def _is_free(self, motion: Motion, T: Array, touching_m: tuple[float, float]) -> bool:
        tcp = self.kinematics.forward(motion.position_rad)[:, :3, 3]
        up = np.stack([(T[i, :3, 3] - tcp) @ T[i, :3, 2] for i in (0, 1)])
        half = len(tcp) // 2
        touches = np.r_[up[0, :half] <= touching_m[0], up[1, half:] <= touching_m[1]]
        low = (up.min(axis=0) < CLEAR_M) & ~touches
        high = ~(low | touches)
        phases = ((self.checkers.free, high), (self.checkers.leaving, low), (self.checkers.process, touches))
        return all(bool(checker.free(motion.position_rad[rows]).all()) for checker, rows in phases)


def arch(T_start: Array, T_end: Array, height_m: float) -> tuple[Array, float]:
    """Return tool frames (N, 4, 4) along a swing, and its length [m]."""
    ends = np.stack([T_start[:3, 3], T_end[:3, 3]])
    lift = 4.0 / 3.0 * height_m
    control = np.stack([ends[0], ends[0] - lift * T_start[:3, 2], ends[1] - lift * T_end[:3, 2], ends[1]])
    n = max(int(np.ceil((np.linalg.norm(ends[1] - ends[0]) + 2.0 * height_m) / STEP_M)), 12)
    u = np.linspace(0.0, 1.0, n + 1)[:, None]
    basis = np.hstack([(1.0 - u) ** 3, 3.0 * u * (1.0 - u) ** 2, 3.0 * u**2 * (1.0 - u), u**3])
    frames = np.tile(np.eye(4), (n + 1, 1, 1))
    frames[:, :3, 3] = basis @ control
    first = Rotation.from_matrix(T_start[:3, :3])
    turn = (first.inv() * Rotation.from_matrix(T_end[:3, :3])).as_rotvec()
    frames[:, :3, :3] = (first * Rotation.from_rotvec(u**2 * (3.0 - 2.0 * u) * turn)).as_matrix()
    return frames, float(np.linalg.norm(np.diff(frames[:, :3, 3], axis=0), axis=1).sum())
