"""Execution node: runs trajectories with their process events, and stops process before motion on any fault."""

import time
from typing import Any

from cell_interfaces.action import ExecuteProcess
from cell_interfaces.srv import Abort, Pause

from cell_core.errors import CellError, ConfigurationError, DeviceError
from cell_core.files import sha256
from cell_core.resume import Journal, last_attempt
from cell_core.slicing import slice_segments
from cell_core.trajectory import JointTrajectory
from cell_nodes.action_work import ActionWorker, Cancelled, Work, summary
from cell_nodes.clients import PausedError, Peers, wait
from cell_nodes.device import Device, motion_error, path_zero_s
from cell_nodes.execution_log import ExecutedLog, StrokeJournal
from cell_nodes.execution_monitor import MonitorLimits, Observation, find_fault
from cell_nodes.messages import seconds
from cell_nodes.node_base import URGENT, CellNode, run_node
from robot_description import load_cell

WATCH_PERIOD_S = 0.02


class ExecutionNode(CellNode):
    """Serves execute_process, pause and abort; see docs/ros_api.md for the monitors and their limits."""

    def __init__(self, **options: Any) -> None:
        super().__init__("execution", **options)
        self.declare_parameter("required_nodes", [""])
        self.declare_parameter("joint_state_age_s", 0.5)
        self.declare_parameter("tool_state_age_s", 0.7)
        self.declare_parameter("heartbeat_age_s", 2.0)
        self.declare_parameter("tracking_error_rad", 0.05)
        self._device = Device(self)
        self._peers = Peers(self)
        self._stop_request: CellError | None = None
        self._running = False
        self._zero_s: float | None = None
        self._tracking_error_rad = 0.0
        self._journal: StrokeJournal | None = None
        self.create_service(Pause, "pause", self._pause)
        self.create_service(Abort, "abort", self._abort)
        self._worker = ActionWorker(self, ExecuteProcess, "execute_process", self._work)

    def configure(self) -> None:
        """Load the cell and the limits."""
        self._cell = load_cell(self.string("cell"))
        self._limits = MonitorLimits(
            joint_state_age_s=self.number("joint_state_age_s"),
            tool_state_age_s=self.number("tool_state_age_s"),
            heartbeat_age_s=self.number("heartbeat_age_s"),
            tracking_error_rad=self.number("tracking_error_rad"),
        )
        names = self.get_parameter("required_nodes").get_parameter_value().string_array_value
        self._required = [name for name in names if name]

    def deactivate(self) -> None:
        """Stop what runs: process first, then motion."""
        self._stop_request = DeviceError("execution node is being deactivated")
        end = time.monotonic() + 1.0
        while self._running and time.monotonic() < end:
            time.sleep(WATCH_PERIOD_S)

    def _pause(self, request: Any, response: Any) -> Any:
        response.accepted = self._running
        if self._running:
            self._stop_request = PausedError(f"paused: {request.reason or 'no reason given'}")
        else:
            response.message = "nothing runs"
        return response

    def _abort(self, request: Any, response: Any) -> Any:
        response.accepted = self._running
        if self._running:
            self._stop_request = DeviceError(f"aborted: {request.reason or 'no reason given'}")
        else:
            response.message = "nothing runs"
        return response

    def _work(self, work: Work) -> dict[str, Any]:
        goal, start = work.goal, time.monotonic()
        if goal.process not in ("", "spray", "grind"):
            raise ConfigurationError(f"process {goal.process!r}: must be '', 'spray' or 'grind'")
        path, folder = self.job_path(goal.trajectory_path), self.job_path(goal.folder)
        trajectory = slice_segments(JointTrajectory.read(path), goal.first_segment, goal.last_segment)
        self._device.check_ready(trajectory, goal.process, self._limits.joint_state_age_s)
        self._stop_request, self._zero_s, self._tracking_error_rad = None, None, 0.0
        journal = log = None
        if goal.process:
            log = ExecutedLog(trajectory.joint_names)
            entries = Journal(folder / "journal.jsonl").read()
            before = last_attempt(entries)
            attempt = 0 if before is None else before.index + 1
            journal = StrokeJournal(Journal(folder / "journal.jsonl"), trajectory, attempt, sha256(path))
        self._journal = journal
        self._running = True
        try:
            self._run(work, trajectory, journal, log)
        finally:
            self._running = False
            if log is not None:
                tcp_frame = self._cell.tool(goal.process).tcp_frame
                log.write(folder / f"executed_{attempt}.npz", self._cell.robot, tcp_frame)
        figures = {"path_duration_s": trajectory.duration_s, "segments": len(trajectory.segments)}
        if journal is not None:
            figures["strokes"] = journal.n_strokes
        step = "execution" if goal.process else "scan"
        return {"summary": summary(goal.job_dir, step, time.monotonic() - start, figures)}

    def _run(
        self, work: Work, trajectory: JointTrajectory, journal: StrokeJournal | None, log: ExecutedLog | None
    ) -> None:
        device, process = self._device, work.goal.process
        handle = future = None
        listener = (lambda m: log.add(m, device.tool_state)) if log is not None else None
        if listener is not None:
            device.listeners.append(listener)
        try:
            if process:
                device.select_and_arm(process)
            handle = device.start(trajectory, work.goal.trajectory_path, process, self._feedback)
            future = handle.get_result_async()
            while not wait(future, WATCH_PERIOD_S):
                self._watch(work, trajectory, journal)
            error = motion_error(future.result())
            if error is not None:
                raise error
            if journal is not None:
                journal.done()
        except (CellError, Cancelled) as error:
            # the process is off before anything else happens; motion stops after it
            asked_s = self._path_time_s()
            device.stop(handle, future)
            if journal is not None:
                journal.stopped(self._process_end_s(asked_s), str(error))
            raise
        finally:
            if listener is not None:
                device.listeners.remove(listener)
            if process:
                device.process_off()

    def _watch(self, work: Work, trajectory: JointTrajectory, journal: StrokeJournal | None) -> None:
        if self._stop_request is not None:
            raise self._stop_request
        state = self._device.tool_state
        observation = Observation(
            joint_state_age_s=self._device.joint_state_age_s,
            tool_state_age_s=self._device.tool_state_age_s,
            heartbeat_ages_s=self._peers.ages_s(),
            tracking_error_rad=self._tracking_error_rad,
            interlock_closed=state is not None and state.interlock_closed,
            ventilation_on=state is not None and state.ventilation_on,
            purge_ok=state is not None and state.purge_ok,
        )
        fault = find_fault(observation, self._limits, process=bool(work.goal.process), required=self._required)
        if fault is not None:
            raise fault
        path_s = self._path_time_s()
        message = f"{path_s:.1f} of {trajectory.duration_s:.1f} s"
        if journal is not None:
            journal.advance(path_s, time.monotonic())
            message = f"stroke {journal.stroke} of {journal.n_strokes}, {message}"
        work.progress(min(path_s / trajectory.duration_s, 1.0), message, "execution" if journal else "move")

    def _feedback(self, feedback: Any) -> None:
        first, self._zero_s = self._zero_s is None, path_zero_s(feedback)
        if first and self._journal is not None:
            self._journal.running(self._zero_s)
        self._tracking_error_rad = max((abs(e) for e in feedback.error.positions), default=0.0)

    def _process_end_s(self, asked_s: float) -> float:
        # the device says when the process really went off; where it was off already, the moment of asking counts
        if self._zero_s is None:
            return asked_s
        return max(self._device.off_stamp_s - self._zero_s, asked_s)

    def _path_time_s(self) -> float:
        if self._zero_s is None or self._device.joint_state is None:
            return 0.0
        return max(seconds(self._device.joint_state.header.stamp) - self._zero_s, 0.0)


def main() -> None:
    """Run the node."""
    run_node(ExecutionNode, niceness=URGENT)


if __name__ == "__main__":
    main()
