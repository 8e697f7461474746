"""The arm's controller: accepts or refuses trajectories, has its drives follow them, stops on the path."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cell_core.errors import LimitError
from cell_core.transforms import Array
from cell_simulation.drive import SUBSTEP_S, SUBSTEPS, TICK_S, Drive, Load, Wanted
from cell_simulation.reference import REST_RAD_PER_S, Reference, checked_reference
from robot_description import RobotModel

__all__ = ["TICK_S", "Arm", "ArmKind"]

TRACKING_MAX_RAD = 0.05
SETTLED_RAD = 5e-4
SETTLE_TIME_MAX_S = 2.0
AHEAD_TICKS = 32

ArmKind = Literal["mujoco", "servo"]


class Arm:
    """Six joints under position control, advanced in ticks of TICK_S."""

    def __init__(
        self,
        robot: RobotModel,
        position_rad: Array | None = None,
        *,
        kind: ArmKind = "mujoco",
        seed: int = 0,
        model_error: float | None = None,
    ) -> None:
        """Set up the arm at rest.

        Args:
            robot: joints, limits, masses.
            position_rad: (J,) where it stands; None: at home.
            kind: "mujoco" with masses, torques and contact; "servo" without.
            seed: of how the controller's idea of the masses differs from them.
            model_error: standard deviation of that, relative; None: a typical one.

        Raises:
            ConfigurationError: the URDF does not tell what "mujoco" needs.
            LimitError: no such kind.
        """
        self._robot = robot
        start = np.array(robot.home_rad if position_rad is None else position_rad, float)
        self._drive = _drive(robot, start, kind, seed, model_error)
        self._hold = start
        self._reference: Reference | None = None
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
        self._ahead: tuple[Array, Array, Array, Array] | None = None
        """Times and references of the ticks to come while nothing brakes, and how many rows of them are used up."""
        self._ahead_used = 0

    @property
    def position_rad(self) -> Array:
        """(J,) joint positions."""
        return self._drive.position_rad

    @property
    def velocity_rad_per_s(self) -> Array:
        """(J,) joint velocities."""
        return self._drive.velocity_rad_per_s

    def flange(self) -> Array:
        """Return T_base_flange (4, 4), up to a substep old."""
        return self._drive.flange()

    @property
    def is_moving(self) -> bool:
        """Whether a trajectory is running or the arm is still coming to rest."""
        return self.status == "running" or self._braking_per_s is not None or not self._stands()

    def accept(
        self,
        joint_names: Sequence[str],
        times_s: Array,
        positions: Array,
        velocities: Array,
        accelerations: Array | None = None,
    ) -> None:
        """Take a trajectory and start it at once; arguments as `checked_reference` takes them.

        Raises:
            LimitError: what a real controller refuses; says joint, sample, value and bound.
        """
        if self.status == "running" or self._braking_per_s is not None:
            raise LimitError(f"trajectory: another is running at {self.path_time_s:.3f} s")
        self._reference = checked_reference(
            self._robot, self.position_rad, joint_names, times_s, positions, velocities, accelerations
        )
        self.status, self.path_time_s, self._rate, self._settling_s, self.abort_reason = "running", 0.0, 1.0, 0.0, ""
        self._ahead = None

    def stop(self, reason: str) -> None:
        """Slow down along the path as quickly as the acceleration limits allow; the trajectory is aborted."""
        if self.status != "running" or self._braking_per_s is not None:
            return
        assert self._reference is not None
        self.abort_reason = reason
        velocity = np.abs(self._reference.at(np.array([self.path_time_s]))[1][0])
        limit = self._robot.acceleration_rad_per_s2
        with np.errstate(divide="ignore"):
            self._braking_per_s = float(np.clip(np.min(limit / np.maximum(velocity, 1e-9)), 1.0, 50.0))

    def advance(self, load: Load | None = None) -> None:
        """Move on by one tick, the tool against a load if it touches one."""
        drive = self._drive
        if self.status != "running" and load is None and self._stands():
            drive.brake()
            return
        wanted = self._wanted()
        drive.load = load
        drive.follow(wanted)
        self.tracking_error_rad = float(np.max(np.abs(wanted.position[-1] - drive.position_rad)))
        self._settle()

    def _wanted(self) -> Wanted:
        """Move path time on by one tick and return the references on the way."""
        if self._reference is None or self.status != "running":
            held = np.tile(self._hold, (SUBSTEPS, 1))
            return Wanted(position=held, velocity=np.zeros_like(held), acceleration=np.zeros_like(held))
        if self._braking_per_s is None:
            return self._ahead_of_time()
        slowing = self._braking_per_s
        times, rates = np.empty(SUBSTEPS), np.empty(SUBSTEPS)
        for k in range(SUBSTEPS):
            before, self._rate = self._rate, max(self._rate - slowing * SUBSTEP_S, 0.0)
            self.path_time_s += 0.5 * (before + self._rate) * SUBSTEP_S
            times[k], rates[k] = self.path_time_s, self._rate
        position, velocity, acceleration = self._reference.at(times)
        rate = rates[:, None]
        braking = np.where(rate > 0.0, slowing, 0.0)
        return Wanted(
            position=position, velocity=velocity * rate, acceleration=acceleration * rate**2 - velocity * braking
        )

    def _ahead_of_time(self) -> Wanted:
        """Return the next tick's references at full rate, worked out for many ticks at once."""
        if self._ahead is None or self._ahead_used == len(self._ahead[0]):
            steps = np.arange(1, 1 + AHEAD_TICKS * SUBSTEPS)
            times = np.asarray(self.path_time_s + SUBSTEP_S * steps, np.float64)
            assert self._reference is not None
            position, velocity, acceleration = self._reference.at(times)
            self._ahead, self._ahead_used = (times, position, velocity, acceleration), 0
        rows = slice(self._ahead_used, self._ahead_used + SUBSTEPS)
        times, position, velocity, acceleration = self._ahead
        self._ahead_used += SUBSTEPS
        self.path_time_s = float(times[rows][-1])
        return Wanted(position=position[rows], velocity=velocity[rows], acceleration=acceleration[rows])

    def _settle(self) -> None:
        """Find out whether the motion has ended, well or not."""
        if self.status != "running":
            return
        assert self._reference is not None
        still = np.max(np.abs(self.velocity_rad_per_s)) < REST_RAD_PER_S
        if self._braking_per_s is not None:
            if self._rate <= 0.0 and still:
                self._finish("aborted")
            return
        if self.tracking_error_rad > TRACKING_MAX_RAD:
            self.stop(f"tracking error {self.tracking_error_rad:.4f} rad exceeds {TRACKING_MAX_RAD} rad")
            return
        if self.path_time_s >= self._reference.time_s[-1]:
            self._settling_s += TICK_S
            if self.tracking_error_rad < SETTLED_RAD and still:
                self._finish("done")
            elif self._settling_s > SETTLE_TIME_MAX_S:
                self.abort_reason = f"not settled {SETTLE_TIME_MAX_S} s after the end"
                self._finish("aborted")

    def _finish(self, status: str) -> None:
        assert self._reference is not None
        self._hold = self._reference.at(np.array([self.path_time_s]))[0][0]
        self.status, self._braking_per_s = status, None

    def _stands(self) -> bool:
        drive = self._drive
        return bool(
            np.abs(self._hold - drive.position_rad).max() < drive.stands_rad
            and np.abs(drive.velocity_rad_per_s).max() < drive.stands_rad_per_s
        )


def _drive(robot: RobotModel, start: Array, kind: str, seed: int, model_error: float | None) -> Drive:
    if kind == "servo":
        from cell_simulation.servo import KinematicServo

        return KinematicServo(robot, start)
    if kind != "mujoco":
        raise LimitError(f"arm {kind!r}: known are mujoco, servo")
    from cell_simulation.dynamics import MODEL_ERROR, ArmDynamics

    return ArmDynamics(robot, start, seed=seed, model_error=MODEL_ERROR if model_error is None else model_error)
