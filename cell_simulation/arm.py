"""The arm's controller and servo: accepts or refuses trajectories, follows them with lag and limits, stops on path."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cell_core.errors import LimitError
from cell_core.transforms import Array
from robot_description import RobotModel

TICK_S = 0.004
BANDWIDTH_HZ = 12.0
DAMPING = 0.9
ACCELERATION_FEED_FORWARD = 0.8
START_TOLERANCE_RAD = 0.01
REST_RAD_PER_S = 0.02
TRACKING_MAX_RAD = 0.05
SETTLED_RAD = 5e-4
SETTLE_TIME_MAX_S = 2.0
VELOCITY_SLACK = 1.02
ACCELERATION_SLACK = 1.10
SERVO_SLACK = 1.5
"""The servo may use so much more than the limits of a trajectory to catch up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    """Accepted trajectory: cubic Hermite spline through positions and velocities."""

    time_s: Array
    position: Array
    velocity: Array

    def at(self, time_s: float) -> tuple[Array, Array, Array]:
        """Return position, velocity and acceleration (J,) at a time, held at both ends."""
        t = self.time_s
        if time_s >= t[-1]:
            return self.position[-1], np.zeros_like(self.position[-1]), np.zeros_like(self.position[-1])
        if time_s <= t[0]:
            return self.position[0], np.zeros_like(self.position[0]), np.zeros_like(self.position[0])
        i = int(np.searchsorted(t, time_s, side="right")) - 1
        h = t[i + 1] - t[i]
        u = (time_s - t[i]) / h
        d = self.position[i + 1] - self.position[i]
        m0, m1 = h * self.velocity[i], h * self.velocity[i + 1]
        # Hermite in powers of u: p0 + m0 u + c2 u^2 + c3 u^3
        c2, c3 = 3.0 * d - 2.0 * m0 - m1, m0 + m1 - 2.0 * d
        position = self.position[i] + u * (m0 + u * (c2 + u * c3))
        velocity = (m0 + u * (2.0 * c2 + 3.0 * u * c3)) / h
        return position, velocity, (2.0 * c2 + 6.0 * u * c3) / h**2


class Arm:
    """Six joints under position control, advanced in ticks of TICK_S."""

    def __init__(self, robot: RobotModel, position_rad: Array | None = None) -> None:
        self._robot = robot
        self.position_rad = np.array(robot.home_rad if position_rad is None else position_rad, float)
        self.velocity_rad_per_s = np.zeros_like(self.position_rad)
        self._hold = self.position_rad.copy()
        self._reference: _Reference | None = None
        self.status = "idle"
        """idle, running, done or aborted."""
        self.path_time_s = 0.0
        self.tracking_error_rad = 0.0
        """Largest joint deviation from the reference."""
        self.abort_reason = ""
        self._rate = 1.0
        """How fast path time runs: 1 normally, down to 0 while stopping."""
        self._braking_per_s: float | None = None
        self._settling_s = 0.0
        self._transition = _exact_step(TICK_S)

    @property
    def is_moving(self) -> bool:
        """Whether a trajectory is running or the arm is still coming to rest."""
        return self.status == "running" or self._braking_per_s is not None or not self._at_rest()

    def accept(
        self,
        joint_names: Sequence[str],
        times_s: Array,
        positions: Array,
        velocities: Array,
        accelerations: Array | None = None,
    ) -> None:
        """Take a trajectory and start it at once.

        Args:
            joint_names: the robot's joints in any order.
            times_s: (N,) from the start [s].
            positions, velocities: (N, J) [rad, rad/s].
            accelerations: (N, J) [rad/s2], or None or empty.

        Raises:
            LimitError: what a real controller refuses; says joint, sample, value and bound.
        """
        if self.status == "running" or self._braking_per_s is not None:
            raise LimitError(f"trajectory: another is running at {self.path_time_s:.3f} s")
        self._reference = self._checked(joint_names, times_s, positions, velocities, accelerations)
        self.status, self.path_time_s, self._rate, self._settling_s, self.abort_reason = "running", 0.0, 1.0, 0.0, ""

    def stop(self, reason: str) -> None:
        """Slow down along the path as quickly as the acceleration limits allow; the trajectory is aborted."""
        if self.status != "running" or self._braking_per_s is not None:
            return
        assert self._reference is not None
        self.abort_reason = reason
        velocity = np.abs(self._reference.at(self.path_time_s)[1])
        limit = self._robot.acceleration_rad_per_s2
        with np.errstate(divide="ignore"):
            self._braking_per_s = float(np.clip(np.min(limit / np.maximum(velocity, 1e-9)), 1.0, 50.0))

    def advance(self) -> None:
        """Move on by one tick."""
        if self.status != "running" and self._at_rest():
            self.velocity_rad_per_s = np.zeros_like(self.position_rad)
            return
        self._advance_path_time()
        wanted, velocity, acceleration = self._wanted()
        error = wanted - self.position_rad
        error_rate = velocity - self.velocity_rad_per_s
        # exact solution over one tick of e'' = -2 d w e' - w^2 e + (1 - k) a, driven about the reference at its end
        error += TICK_S * (0.5 * TICK_S * acceleration - velocity)
        error_rate -= TICK_S * acceleration
        (a, b, c), (d, e, f) = self._transition
        drive = (1.0 - ACCELERATION_FEED_FORWARD) * acceleration
        position = wanted - (a * error + b * error_rate + c * drive)
        speed = velocity - (d * error + e * error_rate + f * drive)
        self.position_rad, self.velocity_rad_per_s = self._limited(position, speed)
        self.tracking_error_rad = float(np.max(np.abs(wanted - self.position_rad)))
        self._settle(velocity)

    def _advance_path_time(self) -> None:
        if self.status != "running":
            return
        rate = self._rate
        if self._braking_per_s is not None:
            self._rate = max(rate - self._braking_per_s * TICK_S, 0.0)
        self.path_time_s += 0.5 * (rate + self._rate) * TICK_S

    def _wanted(self) -> tuple[Array, Array, Array]:
        """Return reference position, velocity and acceleration (J,) now."""
        if self._reference is None or self.status != "running":
            zero = np.zeros_like(self.position_rad)
            return self._hold, zero, zero
        position, velocity, acceleration = self._reference.at(self.path_time_s)
        slowing = 0.0 if self._braking_per_s is None or self._rate <= 0.0 else self._braking_per_s
        return position, velocity * self._rate, acceleration * self._rate**2 - velocity * slowing

    def _limited(self, position: Array, speed: Array) -> tuple[Array, Array]:
        """Hold the servo's answer within its velocity, acceleration and position limits."""
        robot = self._robot
        bound = SERVO_SLACK * robot.acceleration_rad_per_s2
        acceleration = (speed - self.velocity_rad_per_s) / TICK_S
        fastest = SERVO_SLACK * robot.velocity_rad_per_s
        if np.all(np.abs(acceleration) <= bound) and np.all(np.abs(speed) <= fastest):
            return np.clip(position, robot.lower_rad, robot.upper_rad), speed
        speed = np.clip(self.velocity_rad_per_s + np.clip(acceleration, -bound, bound) * TICK_S, -fastest, fastest)
        position = self.position_rad + 0.5 * (self.velocity_rad_per_s + speed) * TICK_S
        return np.clip(position, robot.lower_rad, robot.upper_rad), speed

    def _settle(self, reference_velocity: Array) -> None:
        """Find out whether the motion has ended, well or not."""
        if self.status != "running":
            return
        assert self._reference is not None
        if self._braking_per_s is not None:
            if self._rate <= 0.0 and np.max(np.abs(self.velocity_rad_per_s)) < REST_RAD_PER_S:
                self._finish("aborted")
            return
        if self.tracking_error_rad > TRACKING_MAX_RAD:
            self.stop(f"tracking error {self.tracking_error_rad:.4f} rad exceeds {TRACKING_MAX_RAD} rad")
            return
        if self.path_time_s >= self._reference.time_s[-1]:
            self._settling_s += TICK_S
            if self.tracking_error_rad < SETTLED_RAD and np.max(np.abs(self.velocity_rad_per_s)) < REST_RAD_PER_S:
                self._finish("done")
            elif self._settling_s > SETTLE_TIME_MAX_S:
                self.abort_reason = f"not settled {SETTLE_TIME_MAX_S} s after the end"
                self._finish("aborted")

    def _finish(self, status: str) -> None:
        assert self._reference is not None
        self._hold = self._reference.at(self.path_time_s)[0].copy()
        self.status, self._braking_per_s = status, None

    def _at_rest(self) -> bool:
        return bool(
            np.abs(self._hold - self.position_rad).max() < 1e-7 and np.abs(self.velocity_rad_per_s).max() < 1e-6
        )

    def _checked(
        self,
        joint_names: Sequence[str],
        times_s: Array,
        positions: Array,
        velocities: Array,
        accelerations: Array | None,
    ) -> _Reference:
        robot, names = self._robot, list(joint_names)
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
        self._check_limits(time, arrays)
        return _Reference(time_s=time, position=arrays["positions"].copy(), velocity=arrays["velocities"].copy())

    def _check_limits(self, time: Array, arrays: dict[str, Array]) -> None:
        robot, q, v = self._robot, arrays["positions"], arrays["velocities"]
        off, every = np.abs(q[0] - self.position_rad)[None], np.ones(q.shape[1])
        self._refuse(off, START_TOLERANCE_RAD * every, "start is off the arm's position by", "rad")
        self._refuse(np.abs(v[[0, -1]]), REST_RAD_PER_S * every, "start and end must be at rest; speed", "rad/s")
        self._refuse(q, robot.upper_rad + 1e-6, "position", "rad")
        self._refuse(-q, -robot.lower_rad + 1e-6, "position below the lower limit; negated", "rad")
        h = np.diff(time)[:, None]
        middle = 1.5 * np.diff(q, axis=0) / h - 0.25 * (v[:-1] + v[1:])
        fastest = VELOCITY_SLACK * robot.velocity_rad_per_s
        self._refuse(np.abs(v), fastest, "speed", "rad/s")
        self._refuse(np.abs(middle), fastest, "speed half way to the next sample", "rad/s")
        acceleration = arrays.get("accelerations", np.diff(v, axis=0) / h)
        bound = ACCELERATION_SLACK * robot.acceleration_rad_per_s2
        self._refuse(np.abs(acceleration), bound, "acceleration", "rad/s2")
        self._refuse(np.abs(np.diff(v, axis=0) / h), bound, "mean acceleration to the next sample", "rad/s2")

    def _refuse(self, values: Array, bound: Array, what: str, unit: str) -> None:
        over = values - bound
        i, j = np.unravel_index(int(np.argmax(over)), over.shape)
        if over[i, j] > 0.0:
            raise LimitError(
                f"trajectory: sample {i}, {self._robot.joint_names[j]}: {what} {values[i, j]:.5f} {unit} "
                f"exceeds {bound[j]:.5f} {unit}",
                value=float(values[i, j]),
                bound=float(bound[j]),
            )


def _exact_step(dt: float) -> Array:
    """Return the (2, 3) map from error, its rate and a constant drive at a tick's start to both at its end."""
    w = 2.0 * np.pi * BANDWIDTH_HZ
    system = np.array([[0.0, 1.0, 0.0], [-(w**2), -2.0 * DAMPING * w, 1.0], [0.0, 0.0, 0.0]])
    # matrix exponential by its series: |system| dt is about 0.3 in scaled units, 24 terms are exact to rounding
    scaled, total, term = system * dt, np.eye(3), np.eye(3)
    for k in range(1, 25):
        term = term @ scaled / k
        total = total + term
    return total[:2]
