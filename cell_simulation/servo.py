"""An arm without dynamics: every joint follows its reference like a second-order servo within its limits."""

import numpy as np

from cell_core.transforms import Array
from cell_simulation.drive import TICK_S, Drive, Wanted
from robot_description import RobotModel

BANDWIDTH_HZ = 12.0
DAMPING = 0.9
ACCELERATION_FEED_FORWARD = 0.8
SERVO_SLACK = 1.5
"""The servo may use so much more than the limits of a trajectory to catch up."""
STANDS_RAD = 1e-7
STANDS_RAD_PER_S = 1e-6


class KinematicServo(Drive):
    """Joints without masses; what touches the arm does not move it."""

    stands_rad, stands_rad_per_s = STANDS_RAD, STANDS_RAD_PER_S

    def __init__(self, robot: RobotModel, position_rad: Array) -> None:
        super().__init__(position_rad)
        self._robot = robot
        self._transition = _exact_step(TICK_S)

    def flange(self) -> Array:
        """Return T_base_flange (4, 4) now."""
        return self._robot.forward(self.position_rad, self._robot.config.flange_frame)

    def follow(self, wanted: Wanted) -> None:
        """Move on by one tick towards the reference at its end."""
        target, velocity, acceleration = wanted.position[-1], wanted.velocity[-1], wanted.acceleration[-1]
        error = target - self.position_rad
        error_rate = velocity - self.velocity_rad_per_s
        # exact solution over one tick of e'' = -2 d w e' - w^2 e + (1 - k) a, driven about the reference at its end
        error += TICK_S * (0.5 * TICK_S * acceleration - velocity)
        error_rate -= TICK_S * acceleration
        (a, b, c), (d, e, f) = self._transition
        drive = (1.0 - ACCELERATION_FEED_FORWARD) * acceleration
        position = target - (a * error + b * error_rate + c * drive)
        speed = velocity - (d * error + e * error_rate + f * drive)
        self.position_rad, self.velocity_rad_per_s = self._limited(position, speed)

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
