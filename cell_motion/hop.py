"""Short ways from stroke to stroke in one swing: up along the tool axis, over, and down along the next one's axis."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from cell_core.transforms import Array
from cell_motion.kinematics import Kinematics
from cell_motion.run import Checkers
from cell_motion.timing import Limits, Motion, along
from cell_motion.touching import CONTACT_M

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
class Swing:
    """One motion from stroke to stroke."""

    motion: Motion
    left: int
    """Time node up to which the tool is leaving the part."""
    arriving: int
    """Time node from which on it arrives."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hopper:
    """Finds swings for one tool in one scene."""

    kinematics: Kinematics
    checkers: Checkers
    limits: Limits
    period_s: float

    def hop(
        self, ends_rad: Array, strokes_rad: Array | None, contacts_m: tuple[float, float] = (CONTACT_M, CONTACT_M)
    ) -> Swing | None:
        """Return one motion from rest to rest beside the part, or None where none is free.

        The tool centre point runs on a cubic Bezier curve that leaves along the tool axis and arrives along it; the
        orientation turns in between. Only for positions near each other in the same branch.

        Args:
            ends_rad: (2, 6) joint positions where the arm stands and shall stand.
            strokes_rad: (2, 6) where the strokes beside them end and begin; None: nothing may touch the part.
            contacts_m: up to how far over those the pad may touch the part.
        """
        if np.abs(ends_rad[1] - ends_rad[0]).max() > JOINTS_APART_MAX_RAD:
            return None
        T = self.kinematics.forward(ends_rad)
        T_stroke = None if strokes_rad is None else self.kinematics.forward(strokes_rad)
        distance = float(np.linalg.norm(T[1, :3, 3] - T[0, :3, 3]))
        if distance > DISTANCE_MAX_M or T[0, :3, 2] @ T[1, :3, 2] < np.cos(AXES_APART_MAX_RAD):
            return None
        for height in HEIGHTS_M:
            motion = self._over(T, ends_rad, height + HEIGHT_SHARE * distance)
            swing = None if motion is None else self._free(motion, T, T_stroke, contacts_m)
            if swing is not None:
                return swing
        return None

    def _over(self, T: Array, ends_rad: Array, height_m: float) -> Motion | None:
        frames, length = arch(T[0], T[1], height_m)
        share = np.linspace(0.0, 1.0, len(frames))[:, None]
        joints, away = self.kinematics.follow(frames, ends_rad[0] + share * (ends_rad[1] - ends_rad[0]))
        if not np.isfinite(away).all() or np.abs(np.diff(joints, axis=0)).max() > STEP_MAX_RAD:
            return None
        if np.abs(joints[[0, -1]] - ends_rad).max() > SAME_RAD:
            return None
        if ((joints < self.kinematics.lower_rad) | (joints > self.kinematics.upper_rad)).any():
            return None
        joints[[0, -1]] = ends_rad
        return along(joints, self.limits, self.period_s, shortest_s=PEAK * length / SPEED_MAX_M_PER_S)

    def _free(
        self, motion: Motion, T: Array, T_stroke: Array | None, contacts_m: tuple[float, float]
    ) -> Swing | None:
        tcp = self.kinematics.forward(motion.position_rad)[:, :3, 3]
        n, half = len(tcp), len(tcp) // 2
        up = _heights(tcp, T)
        touches = np.zeros(n, bool)
        if T_stroke is not None:
            over = _heights(tcp, T_stroke)
            touches = np.r_[over[0, :half] <= contacts_m[0], over[1, half:] <= contacts_m[1]]
        low = (up.min(axis=0) < CLEAR_M) & ~touches
        high = ~(low | touches)
        phases = ((self.checkers.free, high), (self.checkers.leaving, low), (self.checkers.process, touches))
        if not all(bool(checker.free(motion.position_rad[rows]).all()) for checker, rows in phases):
            return None
        clear = np.flatnonzero(high) if high.any() else np.array([half])
        return Swing(motion=motion, left=int(clear[0]), arriving=int(np.clip(clear[-1], clear[0] + 1, n - 2)))


def _heights(tcp_m: Array, T: Array) -> Array:
    """Return how far points (N, 3) are back along the axes of tool frames (2, 4, 4): (2, N) [m]."""
    return np.stack([(frame[:3, 3] - tcp_m) @ frame[:3, 2] for frame in T])


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
