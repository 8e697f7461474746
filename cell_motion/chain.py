"""A chain of turning joints as a product of exponentials: forward kinematics, Jacobian, distance from singularities."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.model import RobotModel
from robot_description.opw_fit import joint_axes

SAMPLES = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """An arm from base to flange, all joints at zero; in the base frame."""

    axis: Array
    """(J, 3) unit direction of each joint axis."""
    point_m: Array
    """(J, 3) a point on each axis [m]."""
    T_flange_zero: Array
    """(4, 4) flange."""

    @classmethod
    def of(cls, robot: RobotModel) -> "Chain":
        """Return the chain of a robot model.

        Raises:
            ConfigurationError: a joint does not turn.
        """
        joints, axis, point_m, T = joint_axes(robot.tree, robot.config.base_frame, robot.config.flange_frame)
        odd = [joint for joint in joints if joint.kind not in ("revolute", "continuous")]
        if odd:
            raise ConfigurationError(f"{robot.config.name}: joint {odd[0].name!r} is {odd[0].kind}, wanted revolute")
        return cls(axis=axis, point_m=point_m, T_flange_zero=T)

    def forward(self, position_rad: Array) -> Array:
        """Return T_base_flange (N, 4, 4) at joint positions (N, J)."""
        R, t, _, _ = self._walk(np.asarray(position_rad, float))
        T = np.zeros((len(R), 4, 4))
        T[:, :3, :3] = R @ self.T_flange_zero[:3, :3]
        T[:, :3, 3] = (R @ self.T_flange_zero[:3, 3]) + t
        T[:, 3, 3] = 1.0
        return T

    def error(self, position_rad: Array, T_wanted: Array) -> tuple[Array, Array]:
        """Return what separates the flange from wanted poses (N, 4, 4), and the Jacobian.

        Returns:
            (N, 6) shift [m] and turn [rad] to the wanted pose; (N, 6, J) how both follow the joints.
        """
        R, t, axes, points = self._walk(position_rad)
        tip = (R @ self.T_flange_zero[:3, 3]) + t
        away = T_wanted[:, :3, :3] @ np.swapaxes(R @ self.T_flange_zero[:3, :3], 1, 2)
        turn = 0.5 * np.stack(
            [away[:, 2, 1] - away[:, 1, 2], away[:, 0, 2] - away[:, 2, 0], away[:, 1, 0] - away[:, 0, 1]], axis=1
        )
        # the sine alone would take half a turn for none
        sine = np.linalg.norm(turn, axis=1)
        angle = np.arctan2(sine, 0.5 * (np.trace(away, axis1=1, axis2=2) - 1.0))
        turn *= np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 1.0)[:, None]
        shift = np.cross(axes, tip[:, None] - points)
        jacobian = np.concatenate([np.swapaxes(shift, 1, 2), np.swapaxes(axes, 1, 2)], axis=1)
        return np.concatenate([T_wanted[:, :3, 3] - tip, turn], axis=1), jacobian

    def regularity(self, position_rad: Array) -> Array:
        """Return Yoshikawa's manipulability (1985) over that of good positions, for joint positions (..., 6)."""
        return self._manipulability(position_rad) / self._good

    @cached_property
    def _good(self) -> float:
        position = np.random.default_rng(0).uniform(-np.pi, np.pi, (SAMPLES, len(self.axis)))
        return float(np.quantile(self._manipulability(position), 0.95))

    def _manipulability(self, position_rad: Array) -> Array:
        flat = position_rad.reshape(-1, position_rad.shape[-1])
        R, t, axes, points = self._walk(flat)
        tip = (R @ self.T_flange_zero[:3, 3]) + t
        shift = np.cross(axes, tip[:, None] - points)
        jacobian = np.concatenate([np.swapaxes(shift, 1, 2), np.swapaxes(axes, 1, 2)], axis=1)
        with np.errstate(invalid="ignore"):  # branches that do not exist
            return np.abs(np.linalg.det(jacobian)).reshape(position_rad.shape[:-1])

    def _walk(self, position_rad: Array) -> tuple[Array, Array, Array, Array]:
        """Return the last joint's motion from zero, rotation (N, 3, 3) and shift (N, 3), axes and points (N, J, 3)."""
        n = len(position_rad)
        R, t = np.broadcast_to(np.eye(3), (n, 3, 3)), np.zeros((n, 3))
        axes, points = [], []
        for k, (h, p) in enumerate(zip(self.axis, self.point_m, strict=True)):
            axes.append(R @ h)
            points.append((R @ p) + t)
            K = np.array([[0.0, -h[2], h[1]], [h[2], 0.0, -h[0]], [-h[1], h[0], 0.0]])
            q = position_rad[:, k, None, None]
            turn = np.eye(3) + np.sin(q) * K + (1.0 - np.cos(q)) * (K @ K)
            # p stays where it is: x -> R (turn (x - p) + p) + t
            t = t + (R @ (p - turn @ p)[:, :, None])[:, :, 0]
            R = R @ turn
        return R, t, np.stack(axes, axis=1), np.stack(points, axis=1)
