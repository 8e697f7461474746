"""Moves without a process, run through MoveIt's trajectory execution manager, with a stop that holds."""

import contextlib
import time
from typing import Any

from cell_core.errors import DeviceError
from cell_core.trajectory import JointTrajectory
from cell_motion.backends.moveit import session_arguments
from cell_motion.backends.moveit_modules import TimedPath
from cell_motion.backends.moveit_worker import MoveItProcess
from robot_description.model import Cell
from robot_description.moveit import moveit_parameters

STOP_S = 5.0
TRIES = 3
ANSWER_S = 2.0
POLL_S = 0.1
SUCCEEDED = "SUCCEEDED"


class MoveItArm:
    """The arm as MoveIt's controllers command it: config/moveit/moveit_controllers.yaml says which.

    MoveIt hands on no feedback of the controller, so nothing can be tied to path time: process motion is the execution
    node's.
    """

    def __init__(self, process: MoveItProcess, joint_names: tuple[str, ...]) -> None:
        """Use a running MoveIt; `connect` starts one."""
        self._process, self._joint_names = process, joint_names

    @staticmethod
    def connect(cell: Cell, domain_id: int, *, use_sim_time: bool = False) -> "MoveItArm":
        """Start MoveIt in a ROS domain where the arm's controller and joint states are.

        Raises:
            ConfigurationError: moveit_py is not installed.
            DeviceError: MoveIt did not start, or heard no joint states.
        """
        arguments: dict[str, Any] = session_arguments(cell)
        parameters = arguments["parameters"]
        parameters["use_sim_time"] = use_sim_time
        # unlike a planner, an arm that nobody hears of is none
        options = moveit_parameters(cell)["planning_scene_monitor_options"]
        parameters["planning_scene_monitor_options"] = options
        for _ in range(TRIES - 1):
            # rclcpp 29 sometimes aborts while MoveIt starts on simulated time; nothing has moved then
            with contextlib.suppress(DeviceError):
                return MoveItArm(MoveItProcess(arguments, domain_id=domain_id), cell.robot.joint_names)
        return MoveItArm(MoveItProcess(arguments, domain_id=domain_id), cell.robot.joint_names)

    def start(self, trajectory: JointTrajectory) -> None:
        """Begin to run a trajectory.

        Raises:
            DeviceError: it has process events, another one runs, or no controller takes it.
        """
        if trajectory.events:
            raise DeviceError(f"moveit: runs no process, and the trajectory has {len(trajectory.events)} events")
        path = TimedPath(
            joint_names=tuple(trajectory.joint_names),
            time_s=trajectory.time_s,
            position_rad=trajectory.position_rad,
            velocity_rad_per_s=trajectory.velocity_rad_per_s,
            acceleration_rad_per_s2=trajectory.acceleration_rad_per_s2,
        )
        for _ in range(TRIES):
            known = len(self._process.log())
            self._process.call("execute", path)
            if not self._found_no_controller(known):
                return

    def _found_no_controller(self, known: int) -> bool:
        """Tell, from the log beyond `known` lines, whether MoveIt gave up before it had discovered the controller."""
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            told = "\n".join(self._process.log()[known:])
            if "Goal request accepted" in told:
                return False
            if not self.running:
                return "not connected to action server" in told
            time.sleep(POLL_S)
        return False

    @property
    def running(self) -> bool:
        """Whether a trajectory is being run."""
        return bool(self._process.call("running"))

    def stop(self) -> None:
        """Stop what runs.

        Raises:
            DeviceError: MoveIt did not let go of it.
        """
        if not self._process.call("stop", STOP_S, wait_s=2.0 * STOP_S):
            raise DeviceError(f"moveit: the trajectory did not stop within {STOP_S:g} s")

    def error(self) -> DeviceError | None:
        """Return how the last run failed, or None; MoveIt's own words stand in its log."""
        outcome = str(self._process.call("outcome"))
        if outcome in ("", SUCCEEDED):
            return None
        told = self._process.log("ERROR", "WARN")[-2:]
        return DeviceError(f"moveit: trajectory {outcome.lower()}{': ' + ' | '.join(told) if told else ''}")

    def close(self) -> None:
        """Stop what runs and end MoveIt."""
        self._process.close()
