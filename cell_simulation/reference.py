"""Trajectories as an arm's controller takes them: what it refuses, and the spline it follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cell_core.errors import LimitError
from cell_core.transforms import Array
from robot_description import RobotModel

START_TOLERANCE_RAD = 0.01
REST_RAD_PER_S = 0.02
VELOCITY_SLACK = 1.02
ACCELERATION_SLACK = 1.10


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Accepted trajectory: cubic Hermite spline through positions and velocities."""

    time_s: Array
    position: Array
    velocity: Array

    @cached_property
    def _pieces(self) -> tuple[Array, Array]:
        """Return lengths (N - 1,) and coefficients (N - 1, 4, J) of p0 + c1 u + c2 u^2 + c3 u^3."""
        h = np.diff(self.time_s)
        d = np.diff(self.position, axis=0)
        m0, m1 = h[:, None] * self.velocity[:-1], h[:, None] * self.velocity[1:]
        return h, np.stack([self.position[:-1], m0, 3.0 * d - 2.0 * m0 - m1, m0 + m1 - 2.0 * d], axis=1)

    def at(self, times_s: Array) -> tuple[Array, Array, Array]:
        """Return position, velocity and acceleration (S, J) at times (S,), held at both ends."""
        t, (lengths, pieces) = self.time_s, self._pieces
        i = np.minimum(np.maximum(t.searchsorted(times_s, side="right") - 1, 0), len(lengths) - 1)
        h = lengths[i][:, None]
        u = np.minimum(np.maximum((times_s - t[i])[:, None] / h, 0.0), 1.0)
        p0, c1, c2, c3 = (pieces[i, n] for n in range(4))
        position = p0 + u * (c1 + u * (c2 + u * c3))
        velocity = (c1 + u * (2.0 * c2 + 3.0 * u * c3)) / h
        acceleration = (2.0 * c2 + 6.0 * u * c3) / h**2
        if times_s[0] <= t[0] or times_s[-1] >= t[-1]:
            inside = ((times_s > t[0]) & (times_s < t[-1]))[:, None]
            velocity, acceleration = velocity * inside, acceleration * inside
        return position, velocity, acceleration


def checked_reference(
    robot: RobotModel,
    position_rad: Array,
    joint_names: Sequence[str],
    times_s: Array,
    positions: Array,
    velocities: Array,
    accelerations: Array | None,
) -> Reference:
    """Return the reference of a trajectory for an arm that stands at a position (J,).

    Args:
        robot: joints and limits.
        position_rad: where the arm is now.
        joint_names: the robot's joints in any order.
        times_s: (N,) from the start [s].
        positions, velocities: (N, J) [rad, rad/s].
        accelerations: (N, J) [rad/s2], or None or empty.

    Raises:
        LimitError: what a real controller refuses; says joint, sample, value and bound.
    """
    names = list(joint_names)
    if sorted(names) != sorted(robot.joint_names):
        raise LimitError(f"trajectory: joints {names}, the arm has {list(robot.joint_names)}")
    order = [names.index(n) for n in robot.joint_names]
    time = np.asarray(times_s, float)
    n, j = len(time), len(names)
    arrays = {"positions": np.asarray(positions, float), "velocities": np.asarray(velocities, float)}
    if accelerations is not None and np.size(accelerations) > 0:
        arrays["accelerations"] = np.asarray(accelerations, float)
    for name, array in arrays.items():
        if array.shape != (n, j):
            raise LimitError(f"trajectory: {name} has shape {array.shape}, wanted ({n}, {j})")
        if not np.all(np.isfinite(array)):
            raise LimitError(f"trajectory: {name}{np.argwhere(~np.isfinite(array))[0].tolist()} is not finite")
        arrays[name] = array[:, order]
    if n < 2 or not np.all(np.isfinite(time)) or time[0] < 0.0:
        raise LimitError(f"trajectory: {n} sample(s), at least 2 with finite times >= 0 wanted")
    if np.any(np.diff(time) <= 0.0):
        i = int(np.argmin(np.diff(time)))
        raise LimitError(
            f"trajectory: sample {i + 1}: time goes from {time[i]:.6f} s to {time[i + 1]:.6f} s, must increase"
        )
    _check_limits(robot, position_rad, time, arrays)
    return Reference(time_s=time, position=arrays["positions"].copy(), velocity=arrays["velocities"].copy())


def _check_limits(robot: RobotModel, position_rad: Array, time: Array, arrays: dict[str, Array]) -> None:
    q, v = arrays["positions"], arrays["velocities"]
    off, every = np.abs(q[0] - position_rad)[None], np.ones(q.shape[1])
    _refuse(robot, off, START_TOLERANCE_RAD * every, "start is off the arm's position by", "rad")
    _refuse(robot, np.abs(v[[0, -1]]), REST_RAD_PER_S * every, "start and end must be at rest; speed", "rad/s")
    _refuse(robot, q, robot.upper_rad + 1e-6, "position", "rad")
    _refuse(robot, -q, -robot.lower_rad + 1e-6, "position below the lower limit; negated", "rad")
    h = np.diff(time)[:, None]
    middle = 1.5 * np.diff(q, axis=0) / h - 0.25 * (v[:-1] + v[1:])
    fastest = VELOCITY_SLACK * robot.velocity_rad_per_s
    _refuse(robot, np.abs(v), fastest, "speed", "rad/s")
    _refuse(robot, np.abs(middle), fastest, "speed half way to the next sample", "rad/s")
    acceleration = arrays.get("accelerations", np.diff(v, axis=0) / h)
    bound = ACCELERATION_SLACK * robot.acceleration_rad_per_s2
    _refuse(robot, np.abs(acceleration), bound, "acceleration", "rad/s2")
    _refuse(robot, np.abs(np.diff(v, axis=0) / h), bound, "mean acceleration to the next sample", "rad/s2")


def _refuse(robot: RobotModel, values: Array, bound: Array, what: str, unit: str) -> None:
    over = values - bound
    i, j = np.unravel_index(int(np.argmax(over)), over.shape)
    if over[i, j] > 0.0:
        raise LimitError(
            f"trajectory: sample {i}, {robot.joint_names[j]}: {what} {values[i, j]:.5f} {unit} "
            f"exceeds {bound[j]:.5f} {unit}",
            value=float(values[i, j]),
            bound=float(bound[j]),
        )
