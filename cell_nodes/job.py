"""Job node: walks a job folder through its steps, waits for approval, and reports what became of it."""

import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cell_interfaces.action import ExecuteProcess, InspectPart, PlanMotion, PlanToolPath, RunJob, ScanPart
from cell_interfaces.msg import JobState, StepSummary, ToolState
from cell_interfaces.srv import Abort, Approve, Reject, Resume
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from cell_core.errors import AcceptanceError, CellError, ConfigurationError, DeviceError, InputRefusedError
from cell_core.files import read_json
from cell_core.jobs import JobFolder
from cell_core.resume import PASSED, Journal
from cell_nodes.action_work import ActionWorker, Cancelled, Work
from cell_nodes.clients import ActionCaller, Peers
from cell_nodes.job_outcome import RejectedError, status_of
from cell_nodes.job_steps import JobRun
from cell_nodes.marker_publisher import MarkerPublisher
from cell_nodes.messages import seconds
from cell_nodes.node_base import LATCHED, CellNode, run_node

SERVERS = {
    "scan": (ScanPart, "scan"),
    "plan_spray": (PlanToolPath, "spray_planner"),
    "plan_grind": (PlanToolPath, "grinding_planner"),
    "plan_motion": (PlanMotion, "motion"),
    "execute_process": (ExecuteProcess, "execution"),
    "inspect": (InspectPart, "inspection"),
}
POLL_S = 0.05
OFF_WAIT_S = 2.0
JOINT_STATE_WAIT_S = 5.0


class JobNode(CellNode):
    """Serves run_job, approve, reject, resume and job/abort; publishes job_state and step_summary."""

    def __init__(self, **options: Any) -> None:
        super().__init__("job", **options)
        self.declare_parameter("heartbeat_age_s", 30.0)
        self.declare_parameter("approve", "")
        summaries = QoSProfile(
            depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
        )
        self._state_publisher = self.create_publisher(JobState, "job_state", LATCHED)
        self._summary_publisher = self.create_publisher(StepSummary, "step_summary", summaries)
        self._markers = MarkerPublisher(self)
        self._peers = Peers(self)
        self._callers = {name: ActionCaller(self, kind, name) for name, (kind, _) in SERVERS.items()}
        self.create_subscription(ToolState, "tool_state", self._on_tool_state, 5)
        for kind, name, callback in (
            (Approve, "approve", self._approve),
            (Reject, "reject", self._reject),
            (Resume, "resume", self._resume),
            (Abort, "job/abort", self._abort),
        ):
            self.create_service(kind, name, callback)
        self._tool_on, self._off_stamp_s = False, -float("inf")
        self._run: JobRun | None = None
        self._job: JobFolder | None = None
        self._work: Work | None = None
        self._waiting = ""
        self._choices: tuple[str, ...] = ()
        self._decision: tuple[str, str] | None = None
        self._decided = threading.Event()
        self._failure: CellError | None = None
        self._worker = ActionWorker(self, RunJob, "run_job", self._run_job)

    def configure(self) -> None:
        """Check the parameters."""
        if self.string("approve") not in ("", "auto", "ask"):
            raise ConfigurationError(f"parameter approve: {self.string('approve')!r}, must be '', 'auto' or 'ask'")

    # what JobRun asks of its node

    def call(self, server: str, goal: Any, step: str) -> Any:
        """Run a step's action to its end; its feedback becomes the job's."""
        _kind, node = SERVERS[server]

        def watch() -> None:
            self._watch()
            silent = self._peers.silent_s(node)
            if silent is not None and silent > self.number("heartbeat_age_s"):
                raise DeviceError(f"node {node}: silent for {silent:.1f} s, limit {self.number('heartbeat_age_s'):g} s")

        return self._callers[server].call(goal, watch, lambda f: self._forward(step, f))

    def state(self, status: int, step: str, message: str, progress: float = 0.0) -> None:
        """Publish the job's state and write it to its folder."""
        assert self._job is not None and self._work is not None
        words = {
            JobState.RUNNING: "running",
            JobState.WAITING_FOR_APPROVAL: "waiting_for_approval",
            JobState.PAUSED: "paused",
        }
        facts = {"choices": list(self._choices)} if self._choices else {}
        if self._run is not None and status != JobState.RUNNING:
            facts |= self._run.stroke_facts
        # written first: who hears of a state finds it in the folder
        self._job.write_state(words[status], step, message, **facts)
        self._publish_state(status, step, message, progress)
        self._work.progress(progress, message, step)

    def finished(self, summary: StepSummary) -> None:
        """Publish a finished step's summary."""
        summary.header.stamp = self.get_clock().now().to_msg()
        self._summary_publisher.publish(summary)
        if self._job is not None:
            self._markers.show(self._job.path, summary.step)
        self.state(JobState.RUNNING, summary.step, f"finished in {summary.duration_s:.1f} s", 1.0)

    def wait_for_approval(self, message: str) -> str:
        """Return the operator's comment once approved; at once where parameter or job says "auto"."""
        assert self._run is not None
        if (self.string("approve") or self._run.config.approve) == "auto":
            return "auto"
        decision, comment = self._wait(JobState.WAITING_FOR_APPROVAL, "approval", message)
        if decision == "reject":
            raise RejectedError(f"rejected: {comment or 'no reason given'}")
        return comment

    def wait_for_decision(self, message: str, choices: Sequence[str]) -> str:
        """Return which of the choices the operator makes; "auto" makes none.

        Raises:
            InputRefusedError: approvals are automatic, so that nobody is there to decide.
            RejectedError: the operator wants none of them.
        """
        assert self._run is not None
        if (self.string("approve") or self._run.config.approve) == "auto":
            raise InputRefusedError(f"{message}. Approval is automatic and decides nothing: go on with --approve ask")
        self._choices = tuple(choices)
        try:
            decision, comment = self._wait(JobState.WAITING_FOR_APPROVAL, "decision", message)
        finally:
            self._choices = ()
        if decision == "reject":
            raise RejectedError(f"rejected: {comment or 'no reason given'}")
        return comment.strip().lower()

    def wait_for_resume(self, message: str) -> None:
        """Wait in the paused state for the operator to resume."""
        self._wait(JobState.PAUSED, "resume", message)

    def positions_rad(self) -> list[float]:
        """Return where the arm stands now, in the order of its joint state message."""
        got: list[JointState] = []
        heard = threading.Event()
        subscription = self.create_subscription(JointState, "/joint_states", lambda m: (got.append(m), heard.set()), 1)
        try:
            if not heard.wait(JOINT_STATE_WAIT_S):
                raise DeviceError(f"joint states: none heard within {JOINT_STATE_WAIT_S:g} s")
        finally:
            self.destroy_subscription(subscription)
        return list(got[-1].position)

    # the run

    def _run_job(self, work: Work) -> dict[str, Any]:
        self._work, self._failure = work, None
        self._job = JobFolder(path=self.job_path(work.goal.job_dir))
        try:
            self._run = JobRun(self._job, self)
            outcome = self._run.run(resume=bool(work.goal.resume))
        except Exception as error:
            self._stop_cleanly(error)
            raise
        accepted = outcome.accepted
        last = self._job.in_cycle(outcome.cycles)
        message = "accepted" if accepted else f"not accepted: {'; '.join(reasons(last))}"
        cycles = f"{outcome.cycles} cycle" + "s" * (outcome.cycles > 1)
        message = f"{message}; stopped after {cycles}: {outcome.text}"
        facts = {"accepted": accepted, "cycles": outcome.cycles, "stop": outcome.stop, "stop_text": outcome.text}
        self._end("finished", JobState.FINISHED, message, **facts)
        return {"accepted": accepted, "message": message, "exit_code": 0 if accepted else AcceptanceError.exit_code}

    def _stop_cleanly(self, error: Exception) -> None:
        status, state, code = status_of(error)
        if not isinstance(error, CellError | Cancelled):
            self.get_logger().error(traceback.format_exc())
        if self._run is None or self._job is None:
            return
        try:
            self._journal_stop(self._run.folder)
        except OSError as fault:
            self.get_logger().error(f"journal: {fault}")
        self._end(status, state, str(error), exit_code=code)

    def _end(self, status: str, state: int, message: str, **facts: Any) -> None:
        assert self._job is not None
        step = self._run.step if self._run is not None else ""
        if self._run is not None:
            try:
                facts = {**self._run.stroke_facts, **facts}
            except CellError as error:
                self.get_logger().error(f"strokes: {error}")
        self._job.write_state(status, step, message, **facts)
        self._publish_state(state, step, message, 1.0)
        self._run = None

    def _journal_stop(self, job: JobFolder) -> None:
        """Write when the process went off, where the execution node could not."""
        journal = Journal(job.step("execution") / "journal.jsonl")
        entries = journal.read()
        starts = [i for i, e in enumerate(entries) if e["event"] == "start"]
        run = entries[starts[-1] :] if starts else []
        zero = [e["zero_s"] for e in run if e["event"] == "running"]
        if not zero or any(e["event"] in ("stopped", "done") for e in run):
            return
        end = time.monotonic() + OFF_WAIT_S
        while self._tool_on and time.monotonic() < end:
            time.sleep(POLL_S)
        known = max((float(e["path_time_s"]) for e in run if e["event"] in PASSED), default=0.0)
        journal.append(
            "stopped",
            path_time_s=max(self._off_stamp_s - zero[-1], known),
            reason="seen by the job node",
            confirmed=not self._tool_on,
        )

    def _watch(self) -> None:
        if self._failure is not None:
            raise self._failure
        assert self._work is not None
        self._work.check()

    def _wait(self, status: int, what: str, message: str) -> tuple[str, str]:
        assert self._run is not None
        self._decision = None
        self._decided.clear()
        self._waiting = what
        try:
            self.state(status, self._run.step, message)
            while not self._decided.wait(POLL_S):
                self._watch()
        finally:
            self._waiting = ""
        assert self._decision is not None
        return self._decision

    def _forward(self, step: str, feedback: Any) -> None:
        if self._work is None:
            return
        try:
            self._work.progress(feedback.progress, feedback.message, step)
        except Cancelled:
            return  # the worker thread sees it at its next poll
        self._publish_state(JobState.RUNNING, step, feedback.message, feedback.progress)

    def _publish_state(self, status: int, step: str, message: str, progress: float) -> None:
        process = self._run.config.process if self._run is not None else ""
        job_dir = str(self._job.path) if self._job is not None else ""
        state = JobState(
            job_dir=job_dir, process=process, status=status, step=step, progress=float(progress), message=message
        )
        state.header.stamp = self.get_clock().now().to_msg()
        self._state_publisher.publish(state)

    # services and topics

    def _decide(self, what: str, decision: str, job_dir: str | None, comment: str, response: Any) -> Any:
        if self._waiting != what or self._job is None:
            response.accepted, response.message = False, f"the job does not wait for {what}"
        elif job_dir is not None and Path(job_dir).resolve() != self._job.path:
            response.accepted, response.message = False, f"the waiting job is {self._job.path}, not {job_dir!r}"
        else:
            self._decision = (decision, comment)
            self._decided.set()
            response.accepted = True
        return response

    def _approve(self, request: Any, response: Any) -> Any:
        if self._waiting == "decision":
            if request.comment.strip().lower() not in self._choices:
                response.accepted = False
                response.message = f"comment {request.comment!r}: must say one of {', '.join(self._choices)}"
                return response
            return self._decide("decision", "approve", request.job_dir, request.comment, response)
        return self._decide("approval", "approve", request.job_dir, request.comment, response)

    def _reject(self, request: Any, response: Any) -> Any:
        what = "decision" if self._waiting == "decision" else "approval"
        return self._decide(what, "reject", request.job_dir, request.comment, response)

    def _resume(self, request: Any, response: Any) -> Any:
        return self._decide("resume", "resume", None, request.reason, response)

    def _abort(self, request: Any, response: Any) -> Any:
        response.accepted = self._run is not None
        if response.accepted:
            self._failure = DeviceError(request.reason or "aborted: no reason given")
        else:
            response.message = "no job runs"
        return response

    def _on_tool_state(self, message: ToolState) -> None:
        if self._tool_on and not message.on:
            self._off_stamp_s = seconds(message.header.stamp)
        self._tool_on = bool(message.on)


def reasons(job: JobFolder) -> list[str]:
    """Return why the inspection did not accept the part."""
    return list(read_json(job.step("inspection") / "verdict.json")["reasons"])


def main() -> None:
    """Run the node."""
    run_node(JobNode)


if __name__ == "__main__":
    main()
