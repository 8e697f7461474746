"""The supervisor's ROS side: bring the nodes up, run the job, watch the children, tell what happens."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from cell_interfaces.action import RunJob
from cell_interfaces.msg import JobState, StepSummary, ToolState
from cell_interfaces.srv import Abort, Approve, Reject
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

from cell_core.errors import CellError, DeviceError
from cell_core.jobs import JobFolder
from cell_nodes.clients import ActionCaller, Peers
from cell_nodes.lifecycle_manager import LifecycleManager
from cell_nodes.names import NAMESPACE, NODES
from cell_nodes.processes import NodeProcesses

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
STOPPED_WAIT_S = 8.0
SUSPENDED_S = 5.0
SILENT_MAX_S = 40.0
"""A node that lives and sends no heartbeat for so long is frozen; one that works is missed by the job before."""
AT_REST_RAD_PER_S = 2e-3
POLL_S = 0.05


class Supervision:
    """One run of one job under supervision."""

    def __init__(
        self, folder: JobFolder, processes: NodeProcesses, emit: Callable[..., None], *, resume: bool, up_only: bool
    ) -> None:
        self._folder, self._processes, self._emit = folder, processes, emit
        self._resume, self._up_only = resume, up_only
        enclave = ["--ros-args", "--enclave", f"{NAMESPACE}/supervisor"]
        rclpy.init(args=enclave, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("supervisor", namespace=NAMESPACE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True, name="ros")
        self._state: tuple[int, str] = (JobState.IDLE, "")
        self._message = ""
        self._progress_s = 0.0
        self._tool: ToolState | None = None
        self._tool_heard_s = 0.0
        latched = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(JobState, "job_state", self._on_state, latched)
        self._node.create_subscription(StepSummary, "step_summary", self._on_summary, latched)
        self._node.create_subscription(ToolState, "tool_state", self._on_tool, 1)
        self._lifecycle = LifecycleManager(self._node, NODES, self._watch)
        self._client = ActionCaller(self._node, RunJob, "run_job")
        self._peers = Peers(self._node)
        self._up, self._watched_s = False, time.monotonic()
        self._services = {
            name: self._node.create_client(kind, name)
            for name, kind in (("approve", Approve), ("reject", Reject), ("abort", Abort), ("job/abort", Abort))
        }

    def run(self) -> int:
        """Run the job to its end and return the exit code."""
        self._thread.start()
        start = time.monotonic()
        try:
            try:
                self._lifecycle.bring_up(START_TIMEOUT_S)
                self._up = True
                self._emit("ready", seconds=round(time.monotonic() - start, 2), nodes=self._processes.pids())
                threading.Thread(target=self._read_answers, daemon=True, name="answers").start()
                return self._stay_up() if self._up_only else self._run_job()
            except KeyboardInterrupt:
                self._cancel()
                raise
            except CellError as error:
                return self._fail(error)
        finally:
            self._executor.shutdown(timeout_sec=1.0)
            self._thread.join(timeout=2.0)
            # until this participant is gone it holds the children's shared memory
            self._client.destroy()
            self._node.destroy_node()
            rclpy.try_shutdown()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _stay_up(self) -> int:
        while True:
            self._watch()
            time.sleep(POLL_S)

    def _run_job(self) -> int:
        goal = RunJob.Goal(job_dir=str(self._folder.path), resume=self._resume)
        self._handle: Any = self._client.send(goal, tries=3, watch=self._watch)
        result_future = self._handle.get_result_async()
        while not result_future.done():
            self._watch()
            time.sleep(POLL_S)
        result = result_future.result().result
        if not result.success:
            self._emit("error", message=result.message, step=self._state[1], exit_code=int(result.exit_code))
        self._emit("done", accepted=bool(result.accepted), exit_code=int(result.exit_code), message=result.message)
        return int(result.exit_code)

    def _watch(self) -> None:
        for name, how in self._processes.dead().items():
            raise DeviceError(f"node {name} died ({how})", node=name)
        now, before = time.monotonic(), self._watched_s
        self._watched_s = now
        if not self._up or now - before > SUSPENDED_S:
            self._peers.forget()  # who configures itself sends none; and this process may have been suspended
            return
        for name, age_s in self._peers.ages_s().items():
            if name in NODES and age_s > SILENT_MAX_S:
                raise DeviceError(f"node {name}: silent for {age_s:.0f} s, limit {SILENT_MAX_S:g} s", node=name)

    def _fail(self, error: CellError) -> int:
        """Stop everything that still lives, tell, and leave the job's state behind."""
        dead = self._processes.dead()
        node = str(error.facts.get("node", ""))
        if "execution" not in dead:
            self._ask("abort", Abort.Request(reason=str(error)))
        if "job" not in dead:
            self._ask("job/abort", Abort.Request(reason=str(error)))
        stopped = self._verify_stopped() if "simulator" not in dead else None
        end = time.monotonic() + STOP_TIMEOUT_S
        while "job" not in dead and self._folder.read_state().get("status") not in _ENDED and time.monotonic() < end:
            time.sleep(POLL_S)
        state = self._folder.read_state()
        if state.get("status") != "failed" or (node and node not in str(state.get("message"))):
            self._folder.write_state("failed", state.get("step", self._state[1]), str(error), exit_code=error.exit_code)
        step = self._folder.read_state().get("step", "")
        self._emit("error", message=str(error), step=step, node=node, exit_code=error.exit_code, stopped=stopped)
        self._emit("done", accepted=False, exit_code=error.exit_code, message=str(error))
        return int(error.exit_code)

    def _verify_stopped(self) -> bool:
        """Wait until the device says that process and tool are off and the arm is at rest; return whether it did."""
        asked, end = time.monotonic(), time.monotonic() + STOPPED_WAIT_S
        joints: list[JointState] = []
        subscription = self._node.create_subscription(JointState, "/joint_states", joints.append, 1)
        try:
            while time.monotonic() < end:
                tool = self._tool if self._tool_heard_s > asked + 0.05 else None
                off = tool is not None and not tool.on and not tool.armed
                if off and joints and max(abs(v) for v in joints[-1].velocity) < AT_REST_RAD_PER_S:
                    return True
                time.sleep(POLL_S)
        finally:
            self._node.destroy_subscription(subscription)
        return False

    def _cancel(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and "job" not in self._processes.dead():
            handle.cancel_goal_async()
            end = time.monotonic() + STOP_TIMEOUT_S
            while self._folder.read_state().get("status") not in _ENDED and time.monotonic() < end:
                time.sleep(POLL_S)

    def _ask(self, service: str, request: Any) -> None:
        client = self._services[service]
        if client.service_is_ready():
            future = client.call_async(request)
            end = time.monotonic() + 2.0
            while not future.done() and time.monotonic() < end:
                time.sleep(POLL_S)

    def _decide(self, approve: bool, comment: str) -> None:
        kind = Approve if approve else Reject
        request = kind.Request(job_dir=str(self._folder.path), comment=comment)
        self._services["approve" if approve else "reject"].call_async(request)
        self._emit("approved" if approve else "rejected", comment=comment)

    def _read_answers(self) -> None:
        for line in sys.stdin:
            try:
                answer = json.loads(line)
                self._decide(bool(answer["approve"]), str(answer.get("comment", "")))
            except (json.JSONDecodeError, KeyError, TypeError):
                self._emit(
                    "error",
                    message=f'standard input: {line.strip()[:80]!r} is not {{"approve": true|false}}',
                    exit_code=0,
                )

    def _on_state(self, message: JobState) -> None:
        state = (message.status, message.step)
        now = time.monotonic()
        if state != self._state:
            self._state = state
            self._emit("step", step=message.step, status=_STATUS.get(message.status, "?"), message=message.message)
            if message.status == JobState.WAITING_FOR_APPROVAL:
                job, step = self._folder.at(message.step)
                choices = self._folder.read_state().get("choices", [])
                figures = {} if choices else job.figures(step)
                facts = {"choices": choices} if choices else {}
                self._emit("approval_request", step=message.step, message=message.message, figures=figures, **facts)
        elif now - self._progress_s > 0.2 or message.progress >= 1.0:
            self._progress_s = now
            progress = round(float(message.progress), 4)
            self._emit("progress", step=message.step, progress=progress, message=message.message)

    def _on_summary(self, message: StepSummary) -> None:
        figures = {
            n: v if v == v and abs(v) != float("inf") else None
            for n, v in zip(message.names, message.values, strict=True)
        }
        self._emit("summary", step=message.step, ok=message.ok, duration_s=message.duration_s, figures=figures)

    def _on_tool(self, message: ToolState) -> None:
        self._tool, self._tool_heard_s = message, time.monotonic()


_STATUS = {
    JobState.IDLE: "idle",
    JobState.RUNNING: "running",
    JobState.WAITING_FOR_APPROVAL: "waiting_for_approval",
    JobState.PAUSED: "paused",
    JobState.FINISHED: "finished",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.REJECTED: "rejected",
}
_ENDED = ("failed", "cancelled", "finished", "rejected")
