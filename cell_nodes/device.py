"""The arm and its tools as the execution node commands them: standard action, tool services, last heard states."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from action_msgs.msg import GoalStatus
from cell_interfaces.msg import ToolState
from cell_interfaces.srv import ArmTool, ScheduleEvents, SelectTool
from control_msgs.action import FollowJointTrajectory
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from cell_core.errors import DeviceError, InterlockError, LimitError
from cell_core.trajectory import JointTrajectory, ProcessEvent, last_switch
from cell_nodes.clients import ActionCaller, call_service, wait
from cell_nodes.execution_log import ExecutedLog
from cell_nodes.execution_monitor import jump_rad
from cell_nodes.messages import events_message, seconds, trajectory_message
from cell_nodes.node_base import LATCHED, LOSSLESS, STREAM, CellNode

SERVICE_WAIT_S = 3.0
POLL_S = 0.005
START_TOLERANCE_RAD = 0.01
QUIET_N = 2.0
"""A pad that presses no more than this does nothing worth waiting for [N]."""


class Device:
    """Last heard joint and tool state, and blocking commands for worker threads."""

    def __init__(self, node: CellNode, *, lockstep: bool = False) -> None:
        """Listen to the device.

        Args:
            lockstep: its time stands still while the arm does, so that old stamps are told again then.
        """
        self._node, self._lockstep = node, lockstep
        self.joint_state: JointState | None = None
        self.tool_state: ToolState | None = None
        self.refusal = ""
        self.off_stamp_s = -float("inf")
        """Machine time at which the process was last seen to go off [s]."""
        self.fastest_rad_per_s: dict[str, float] = {}
        """Speed limits by joint; without them no jump is seen."""
        self._motion: Following | None = None
        self._events: Sequence[ProcessEvent] = ()
        self.told_armed = False
        """Whether the tool was armed from here, and not disarmed since."""
        self._jump_rad = 0.0
        self._joint_heard_s = self._tool_heard_s = -float("inf")
        self._log: ExecutedLog | None = None
        stream = LOSSLESS if lockstep else STREAM
        node.create_subscription(JointState, "/joint_states", self._on_joint_state, stream)
        node.create_subscription(ToolState, "tool_state", self._on_tool_state, stream)
        node.create_subscription(String, "arm_controller/refusal", self._on_refusal, LATCHED)
        self._select = node.create_client(SelectTool, "select_tool")
        self._arm = node.create_client(ArmTool, "arm_tool")
        self._schedule = node.create_client(ScheduleEvents, "schedule_events")
        self._follow = ActionCaller(node, FollowJointTrajectory, "arm_controller/follow_joint_trajectory")

    def _on_joint_state(self, message: JointState) -> None:
        before = self.joint_state
        # the same moment told again tells nothing: a driver that hangs goes on publishing
        told = before is None or seconds(message.header.stamp) != seconds(before.header.stamp)
        told = told or (self._lockstep and (self._motion is None or self._motion.done))
        if before is not None and self.fastest_rad_per_s and list(before.name) == list(message.name):
            fastest = [self.fastest_rad_per_s.get(name, float("inf")) for name in message.name]
            past_s = seconds(message.header.stamp) - seconds(before.header.stamp)
            self._jump_rad = max(self._jump_rad, jump_rad(before.position, message.position, past_s, fastest))
        self.joint_state = message
        if told:
            self._joint_heard_s = time.monotonic()
        if self._log is not None:
            self._log.add(message)

    def _on_tool_state(self, message: ToolState) -> None:
        if self.tool_state is not None and self.tool_state.on and not message.on:
            self.off_stamp_s = seconds(message.header.stamp)
        self.tool_state, self._tool_heard_s = message, time.monotonic()
        if self._log is not None:
            self._log.add_tool(message)

    def _on_refusal(self, message: String) -> None:
        self.refusal = message.data

    def log_to(self, log: ExecutedLog | None) -> None:
        """Write down what is heard from now on; None: no longer."""
        if log is not None and self.tool_state is not None:
            log.add_tool(self.tool_state)
        self._log = log

    def take_jump_rad(self) -> float:
        """Return the most that a joint jumped since this was last asked [rad]."""
        taken, self._jump_rad = self._jump_rad, 0.0
        return taken

    @property
    def joint_state_age_s(self) -> float:
        """Wall time since the last joint state [s]."""
        return time.monotonic() - self._joint_heard_s

    @property
    def tool_state_age_s(self) -> float:
        """Wall time since the last tool state [s]."""
        return time.monotonic() - self._tool_heard_s

    def positions(self, names: Sequence[str]) -> list[float]:
        """Return the joint positions in the order of `names`.

        Raises:
            DeviceError: never heard, or a joint is missing.
        """
        state = self.joint_state
        if state is None:
            raise DeviceError("joint states: none heard yet")
        by_name = dict(zip(state.name, state.position, strict=True))
        missing = [name for name in names if name not in by_name]
        if missing:
            raise DeviceError(f"joint states: joint {missing[0]!r} is missing; they hold {', '.join(state.name)}")
        return [by_name[name] for name in names]

    def check_ready(self, trajectory: JointTrajectory, process: str, age_max_s: float) -> None:
        """Refuse to start unless states are fresh, the arm stands at the start, and safety inputs permit the process.

        Raises:
            DeviceError: stale states; InterlockError: a safety input; LimitError: the arm is elsewhere.
        """
        if self.joint_state_age_s > age_max_s:
            raise DeviceError(f"joint states: silent for {self.joint_state_age_s:.2f} s, limit {age_max_s:g} s")
        here = self.positions(trajectory.joint_names)
        for name, start, now in zip(trajectory.joint_names, trajectory.position_rad[0], here, strict=True):
            if not abs(start - now) <= START_TOLERANCE_RAD:  # a NaN is nowhere
                raise LimitError(
                    f"start state: {name} is at {now:.4f} rad, trajectory starts at {start:.4f} rad, "
                    f"at most {START_TOLERANCE_RAD} rad apart allowed"
                )
        if process:
            state = self.tool_state
            if state is None or self.tool_state_age_s > age_max_s + 0.5:
                raise InterlockError("tool state: not heard; interlock, ventilation and purge are unknown")
            for what, good in (
                ("interlock", state.interlock_closed),
                ("ventilation", state.ventilation_on),
                ("purge", state.purge_ok),
            ):
                if not good:
                    raise InterlockError(f"safety input {what} does not permit the process")

    def select_and_arm(self, process: str) -> None:
        """Select the process's tool and arm it."""
        self._ask(self._select, SelectTool.Request(process=process), "ok", f"select tool {process!r}")
        self._ask(self._arm, ArmTool.Request(arm=True), "ok", "arm the tool")
        self.told_armed = True

    @property
    def told_on(self) -> bool:
        """Whether the path that is followed has the process on now."""
        motion = self._motion
        if not self.told_armed or motion is None or motion.zero_s is None:
            return False
        switch = last_switch(self._events, motion.path_time_s)
        return switch is not None and switch.name == "on"

    def start(self, trajectory: JointTrajectory, identity: str, process: str) -> "Following":
        """Schedule the events and send the trajectory; return the accepted motion."""
        if process:
            events = events_message(trajectory.events, identity)
            self._ask(self._schedule, ScheduleEvents.Request(events=events), "accepted", "schedule process events")
        self.refusal = ""
        goal = FollowJointTrajectory.Goal(trajectory=trajectory_message(trajectory))
        motion = Following(self)
        try:
            motion.follow(self._follow.send(goal, motion.feedback))
        except DeviceError as error:
            raise DeviceError(f"{error}{': ' + self.refusal if self.refusal else ''}") from error
        self._motion, self._events = motion, trajectory.events if process else ()
        return motion

    def disarm_now(self) -> None:
        """Ask the device to disarm without waiting for its answer: callable from a callback."""
        self.told_armed = False
        if self._arm.service_is_ready():
            self._arm.call_async(ArmTool.Request(arm=False))

    def process_off(self, wait_s: float = SERVICE_WAIT_S) -> bool:
        """Disarm the tool, which switches gun or spindle off; return whether the device confirmed in time."""
        self.told_armed = False
        try:
            self._ask(self._arm, ArmTool.Request(arm=False), "ok", "disarm the tool", wait_s)
        except DeviceError as error:
            self._node.get_logger().error(str(error))
            return False
        return True

    def wait_until_off(self, wait_s: float) -> bool:
        """Wait until the device is heard to be off; the message that says so may still be on its way."""
        return self._wait_for(lambda state: not state.on, wait_s)

    def wait_until_quiet(self, wait_s: float) -> bool:
        """Wait until the device is heard to be off, without flow and without force."""
        return self._wait_for(
            lambda state: not state.on and state.flow_m3_per_s <= 0.0 and abs(state.force_n) <= QUIET_N, wait_s
        )

    def _wait_for(self, holds: Callable[[ToolState], bool], wait_s: float) -> bool:
        end = time.monotonic() + wait_s
        while True:
            state = self.tool_state
            if state is not None and holds(state):
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_S)

    def _ask(self, client: Any, request: Any, field: str, what: str, wait_s: float = SERVICE_WAIT_S) -> None:
        response = call_service(client, request, timeout_s=wait_s, server_wait_s=wait_s)
        if not getattr(response, field):
            raise DeviceError(f"{what}: refused: {response.message}")


class Following:
    """A trajectory that the arm controller follows."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.zero_s: float | None = None
        self.tracking_error_rad = 0.0
        self._handle: Any = None
        self._result: Any = None

    def follow(self, handle: Any) -> None:
        """Take the accepted goal."""
        self._handle, self._result = handle, handle.get_result_async()

    def feedback(self, feedback: Any) -> None:
        """Take the controller's word."""
        self.zero_s = path_zero_s(feedback)
        self.tracking_error_rad = max((abs(e) for e in feedback.error.positions), default=0.0)

    @property
    def path_time_s(self) -> float:
        """Path time at the joint state last heard [s]."""
        state = self._device.joint_state
        if self.zero_s is None or state is None:
            return 0.0
        return max(seconds(state.header.stamp) - self.zero_s, 0.0)

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self._result.done()

    def wait(self, seconds: float) -> bool:
        """Wait for the result; return whether it is there."""
        return wait(self._result, seconds)

    def cancel(self) -> None:
        """Ask the controller for a controlled stop."""
        if not self._result.done():
            self._handle.cancel_goal_async()

    def error(self) -> DeviceError | None:
        """Return what the finished goal says went wrong."""
        return motion_error(self._result.result())


def motion_error(result_response: Any) -> DeviceError | None:
    """Return what a finished FollowJointTrajectory goal says went wrong, or None."""
    result = result_response.result
    if result_response.status == GoalStatus.STATUS_SUCCEEDED and result.error_code == 0:
        return None
    return DeviceError(f"arm controller: error {result.error_code}: {result.error_string or 'no reason given'}")


def path_zero_s(feedback: Any) -> float:
    """Return the simulated or machine time at which the trajectory's path time was 0, from its feedback."""
    return seconds(feedback.header.stamp) - seconds(feedback.desired.time_from_start)
