"""Execution node: runs trajectories with their process events, and stops process before motion on any fault."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cell_interfaces.action import ExecuteProcess
from cell_interfaces.srv import Abort, Pause
from std_msgs.msg import String
from std_srvs.srv import Trigger

from cell_core.config import load_named, load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import CellError, ConfigurationError, DeviceError
from cell_core.files import sha256
from cell_core.jobs import JobFolder
from cell_core.resume import Journal, last_attempt
from cell_core.slicing import slice_segments
from cell_core.trajectory import JointTrajectory
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.clients import PausedError, Peers
from cell_nodes.device import Device
from cell_nodes.execution_log import ExecutedLog, StrokeJournal
from cell_nodes.execution_monitor import TOLD, Monitors, Nominal, Observation
from cell_nodes.execution_rig import Away, Motion
from cell_nodes.execution_run import WATCH_PERIOD_S, ProcessRun, Watch
from cell_nodes.execution_state import ExecutionState, StateMachine
from cell_nodes.messages import seconds
from cell_nodes.node_base import LATCHED, URGENT, CellNode, run_node
from robot_description import load_cell

OVERRIDES = ("joint_state_age_s", "tool_state_age_s", "heartbeat_age_s", "tracking_error_rad")
"""Monitors whose limits are parameters too; 0: as the monitors file says."""


class ExecutionNode(CellNode):
    """Serves execute_process, pause and abort; see docs/ros_api.md for the monitors and their limits."""

    def __init__(self, **options: Any) -> None:
        super().__init__("execution", **options)
        self.declare_parameter("required_nodes", [""])
        self.declare_parameter("pause_retract_m", 0.05)
        self.declare_parameter("monitors", "default")
        self.declare_parameter("lockstep", False)
        for name in OVERRIDES:
            self.declare_parameter(name, 0.0)
        self._device = Device(self, lockstep=self.get_parameter("lockstep").get_parameter_value().bool_value)
        self._peers = Peers(self)
        self._stop_request: CellError | None = None
        self._running = False
        self._state_publisher = self.create_publisher(String, "execution_state", LATCHED)
        self._states = StateMachine(self._publish_state)
        self._publish_state(self._states.state)
        self.create_service(Pause, "pause", self._pause)
        self.create_service(Abort, "abort", self._abort)
        self.create_service(Trigger, "reset_monitors", self._reset_monitors)
        self._worker = ActionWorker(self, ExecuteProcess, "execute_process", self._work)

    def configure(self) -> None:
        """Load the cell and the monitors; parameters above 0 override the file's limits."""
        self._cell = load_cell(self.string("cell"))
        config = load_named(MonitorsConfig, "monitors", self.string("monitors"))
        overrides = {}
        for name in OVERRIDES:
            if self.number(name) > 0.0:
                overrides[name] = getattr(config, name).model_copy(update={"limit": self.number(name)})
        self._monitors = Monitors(config.model_copy(update=overrides))
        self._device.fastest_rad_per_s = dict(
            zip(self._cell.robot.joint_names, self._cell.robot.velocity_rad_per_s, strict=True)
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
        return self._ask_to_stop(PausedError(f"paused: {request.reason or 'no reason given'}"), response)

    def _abort(self, request: Any, response: Any) -> Any:
        return self._ask_to_stop(DeviceError(f"aborted: {request.reason or 'no reason given'}"), response)

    def _reset_monitors(self, request: Any, response: Any) -> Any:
        names = [] if self._running or not self.is_active else self._monitors.reset()
        response.success = not self._running and self.is_active
        response.message = ", ".join(names) or ("something runs" if self._running else "nothing to reset")
        return response

    def _ask_to_stop(self, why: CellError, response: Any) -> Any:
        response.accepted = self._running
        if self._running:
            # the process goes off now; whoever runs the motion comes to it within a watch period
            self._device.disarm_now()
            if self._stop_request is None or isinstance(self._stop_request, PausedError):
                self._stop_request = why
        else:
            response.message = "nothing runs"
        return response

    def _work(self, work: Work) -> dict[str, Any]:
        goal, start = work.goal, time.monotonic()
        if goal.process not in ("", "spray", "grind"):
            raise ConfigurationError(f"process {goal.process!r}: must be '', 'spray' or 'grind'")
        path, folder = self.job_path(goal.trajectory_path), self.job_path(goal.folder)
        trajectory = slice_segments(JointTrajectory.read(path), goal.first_segment, goal.last_segment)
        self._monitors.start()
        journal = log = None
        retractor = self._retractor(goal, folder, trajectory) if goal.process else None
        self._nominal = self._nominal_of(goal.process, JobFolder(path=self.job_path(goal.job_dir)))
        self._device.check_ready(trajectory, goal.process, self._monitors.config.joint_state_age_s.limit)
        self._stop_request = None
        self._device.take_jump_rad()  # what happened before counts no more
        if goal.process:
            entries = Journal(folder / "journal.jsonl").read()
            before = last_attempt(entries)
            attempt = 0 if before is None else before.index + 1
            frame = self._cell.tool(goal.process).tcp_frame
            log = ExecutedLog(folder / f"executed_{attempt}.npz", trajectory.joint_names, self._cell.robot, frame)
            journal = StrokeJournal(Journal(folder / "journal.jsonl"), trajectory, attempt, sha256(path), log=log)
        run = ProcessRun(
            self._device,
            trajectory,
            process=goal.process,
            states=self._states,
            watch=Watch(fault=self._fault, request=lambda: self._stop_request, tell=self._tell(work)),
            journal=journal,
            retractor=retractor,
        )
        self._running = True
        try:
            if log is not None:
                self._device.log_to(log)
            run.run(goal.trajectory_path)
        finally:
            self._running = False
            if log is not None:
                self._device.log_to(None)
                log.write()
        figures = {"path_duration_s": trajectory.duration_s, "segments": len(trajectory.segments)}
        if journal is not None:
            figures["strokes"] = journal.n_strokes
        step = "execution" if goal.process else "scan"
        return {"summary": summary(goal.job_dir, step, time.monotonic() - start, figures)}

    def _tell(self, work: Work) -> Callable[[float, str], None]:
        step = "execution" if work.goal.process else "move"
        return lambda fraction, message: work.progress(fraction, message, step)

    def _retractor(self, goal: Any, folder: Path, trajectory: JointTrajectory) -> Away | None:
        """Return what finds retracts beside the part as scanned; None where there is no scan, or none are wanted."""
        distance_m = self.number("pause_retract_m")
        surface = JobFolder.of_step(self.job_path(goal.job_dir), folder).looked_at / "surface.ply"
        if distance_m <= 0.0 or not surface.is_file():
            self.get_logger().warning(f"no retract at a pause: {distance_m:g} m asked for, scan {surface}")
            return None
        from cell_core.surface_io import read_ply
        from cell_nodes.execution_retract import Retractor

        return Retractor(self._cell, goal.process, read_ply(surface), trajectory.T_base_part, distance_m)

    def _nominal_of(self, process: str, job: JobFolder) -> Nominal:
        """Return what the job's own tool does when it is well: the cell may carry another by default."""
        tool = self._cell.tool(process).config if process else None
        recipe = job.recipe()
        if recipe.process == process:
            tool = load_recipe_tool(recipe, find_config("recipes", job.config.recipe))
        return Nominal.of(tool)

    def _fault(self, motion: Motion, process: bool) -> CellError | None:
        device, state = self._device, self._device.tool_state
        told: dict[str, Any] = {}
        if state is not None:
            told = {name: getattr(state, name) for name in TOLD}
        observation = Observation(
            joint_state_age_s=device.joint_state_age_s,
            tool_state_age_s=device.tool_state_age_s,
            heartbeat_ages_s=self._peers.ages_s(),
            tracking_error_rad=motion.tracking_error_rad,
            joint_jump_rad=device.take_jump_rad(),
            nominal=self._nominal,
            told_armed=device.told_armed,
            told_on=device.told_on,
            **{"interlock_closed": False, "ventilation_on": False, "purge_ok": False, **told},
        )
        now_s, tool_s = (0.0 if m is None else seconds(m.header.stamp) for m in (device.joint_state, state))
        trip = self._monitors.look(observation, now_s, tool_s, process=process, required=self._required)
        return None if trip is None else trip.error

    def _publish_state(self, state: ExecutionState) -> None:
        self._state_publisher.publish(String(data=str(state)))


def main() -> None:
    """Run the node."""
    run_node(ExecutionNode, niceness=URGENT)


if __name__ == "__main__":
    main()
