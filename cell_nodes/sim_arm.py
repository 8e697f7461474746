"""The simulated arm controller's FollowJointTrajectory action: it refuses what a real controller refuses."""

import threading
import time
from collections.abc import Callable
from typing import Any

from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from std_msgs.msg import String

from cell_core.errors import CellError, LimitError
from cell_core.trajectory import ProcessEvent
from cell_nodes.messages import duration_message, floats, time_message, trajectory_arrays
from cell_nodes.node_base import LATCHED, CellNode
from cell_nodes.sim_loop import SimLoop

FEEDBACK_PERIOD_S = 0.02
STOP_WAIT_S = 5.0
AT_REST_RAD_PER_S = 1e-3


class ArmController:
    """Serves arm_controller/follow_joint_trajectory on a simulated cell, one trajectory at a time.

    Process events scheduled before the goal are tied to it in the same simulation step. Why a goal was rejected stands
    on the latched topic arm_controller/refusal, because a ROS rejection carries no words.
    """

    def __init__(self, node: CellNode, sim: Any, loop: SimLoop, take_events: Callable[[], list[ProcessEvent]]) -> None:
        self._node, self._sim, self._loop, self._take_events = node, sim, loop, take_events
        self._refusal = node.create_publisher(String, "arm_controller/refusal", LATCHED)
        self._server = ActionServer(
            node,
            FollowJointTrajectory,
            "arm_controller/follow_joint_trajectory",
            execute_callback=lambda handle: FollowJointTrajectory.Result(),
            goal_callback=self._goal,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            handle_accepted_callback=lambda handle: threading.Thread(
                target=self._follow, args=(handle,), daemon=True, name="follow"
            ).start(),
        )

    def _goal(self, goal: Any) -> GoalResponse:
        try:
            self._node.require_active()
            names, times, position, velocity, acceleration = trajectory_arrays(goal.trajectory)

            def accept() -> None:
                if self._sim.trajectory_status()[0] == "running":
                    raise LimitError("trajectory: another one is running")
                self._sim.accept_trajectory(names, times, position, velocity, acceleration)
                self._sim.schedule_events(self._take_events())
                # who sent this is alive; its heartbeats wait behind this goal's conversion
                self._loop.alive()

            self._loop.call(accept)
        except (CellError, ValueError) as error:
            self._node.get_logger().warning(f"trajectory rejected: {error}")
            self._refusal.publish(String(data=str(error)))
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _follow(self, handle: Any) -> None:
        code, text, canceled = FollowJointTrajectory.Result.SUCCESSFUL, "", False
        tolerance = [t.position for t in handle.request.path_tolerance if t.position > 0.0]
        last_path_s = 0.0
        try:
            while True:
                # status and time of the same simulation step: path time 0 is told from their difference
                (status, path_s, error_rad), now_s = self._loop.call(
                    lambda: (self._sim.trajectory_status(), float(self._sim.time_s))
                )
                if status == "running":
                    last_path_s = path_s
                    self._feedback(handle, now_s, path_s, error_rad)
                if status == "aborted":
                    code, text = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED, "stopped by the controller"
                    break
                if status != "running":
                    break
                if handle.is_cancel_requested:
                    self._halt("trajectory cancelled")
                    code, text, canceled = FollowJointTrajectory.Result.SUCCESSFUL, "cancelled", True
                    break
                if tolerance and error_rad > min(tolerance):
                    self._halt("path tolerance violated")
                    code = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
                    text = f"tracking error {error_rad:.4f} rad exceeds {min(tolerance):.4f} rad at {path_s:.3f} s"
                    break
                time.sleep(FEEDBACK_PERIOD_S)
        except CellError as error:
            code, text = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED, str(error)
        self._finish(handle, code, f"{text} (path time {last_path_s:.3f} s)" if text else "", canceled)

    def _halt(self, reason: str) -> None:
        self._loop.call(lambda: self._sim.stop(reason))
        end = time.monotonic() + STOP_WAIT_S
        while time.monotonic() < end:
            if self._loop.call(lambda: max(abs(float(v)) for v in self._sim.velocity_rad_per_s)) < AT_REST_RAD_PER_S:
                return
            time.sleep(FEEDBACK_PERIOD_S)

    def _feedback(self, handle: Any, now_s: float, path_s: float, error_rad: float) -> None:
        feedback = FollowJointTrajectory.Feedback(joint_names=list(handle.request.trajectory.joint_names))
        feedback.header.stamp = time_message(now_s)
        feedback.desired.time_from_start = duration_message(path_s)
        feedback.actual.time_from_start = duration_message(path_s)
        feedback.actual.positions = floats(self._sim.position_rad)
        feedback.error.positions = floats([error_rad] * len(feedback.joint_names))
        handle.publish_feedback(feedback)

    def _finish(self, handle: Any, code: int, text: str, canceled: bool) -> None:
        result = FollowJointTrajectory.Result(error_code=code, error_string=text)

        def finish(goal_handle: Any) -> Any:
            if canceled and goal_handle.is_cancel_requested:
                goal_handle.canceled()
            elif code == FollowJointTrajectory.Result.SUCCESSFUL:
                goal_handle.succeed()
            else:
                goal_handle.abort()
            return result

        handle.execute(finish)
