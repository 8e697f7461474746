"""Lifecycle, heartbeat and action work that every node shares."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cell_interfaces.action import RunJob
from cell_interfaces.msg import Heartbeat
from node_kit import shared_memory, until, wait
from rclpy.parameter import Parameter
from rclpy.task import Future

from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.ros_environment import ros_environment
from cell_nodes.action_client import ActionClient
from cell_nodes.action_work import ActionWorker
from cell_nodes.clients import ActionCaller
from cell_nodes.names import SUPERVISOR_PID
from cell_nodes.node_base import STREAM, CellNode
from cell_nodes.processes import DomainLease


class Probe(CellNode):
    """A node whose configure and work do what the test says."""

    def __init__(self, **options):
        super().__init__("probe", **options)
        self.fault: Exception | None = None
        self.begun = threading.Event()
        self.action = lambda work: {"accepted": True}
        self.worker = ActionWorker(self, RunJob, "probe", lambda work: self.action(work))

    def configure(self) -> None:
        if self.fault is not None:
            raise self.fault


def _result(ros, *, cancel_after=None):
    client = ActionClient(ros.client, RunJob, "probe")
    assert client.wait_for_server(timeout_sec=10.0)
    feedback = []
    handle = wait(
        client.send_goal_async(RunJob.Goal(job_dir="/x"), feedback_callback=lambda m: feedback.append(m.feedback))
    )
    assert handle.accepted
    if cancel_after is not None:
        assert cancel_after.wait(5.0)
        assert len(wait(handle.cancel_goal_async()).goals_canceling) == 1
    return wait(handle.get_result_async()).result, feedback


class _Slow(dict):
    """A dictionary that takes its time to keep an entry."""

    def __setitem__(self, key, value):
        time.sleep(0.5)
        super().__setitem__(key, value)


def test_a_goal_that_is_answered_at_once_is_answered(ros):
    """rclpy keeps the future it returns only after it has sent the goal: the answer may come before."""
    ros.up(Probe)
    client = ActionClient(ros.client, RunJob, "probe")
    assert client.wait_for_server(timeout_sec=10.0)
    client._feedback_callbacks = _Slow()
    future = client.send_goal_async(RunJob.Goal(job_dir="/x"), feedback_callback=lambda m: None)
    assert wait(future).accepted


def test_a_goal_whose_first_answer_is_lost_is_worked_on_once(ros):
    node = ros.up(Probe)
    runs = []
    node.action = lambda work: runs.append(1) or time.sleep(6.0) or {"accepted": True}
    caller = ActionCaller(ros.client, RunJob, "probe")
    real, lost = caller._client.send_goal_async, []

    def first_lost(*args, **options):
        future = real(*args, **options)
        lost.append(future)
        return Future() if len(lost) == 1 else future

    caller._client.send_goal_async = first_lost
    assert caller.call(RunJob.Goal(job_dir="/x"), lambda: None).accepted
    assert len(lost) == 2 and runs == [1]


def test_what_a_transition_raises_is_refused_and_leaves_the_node_unconfigured(ros):
    node = ros.make(Probe)
    node.fault = ConfigurationError("value 3 exceeds 2")
    assert node.trigger_configure().name == "FAILURE"
    node.fault = RuntimeError("unexpected")
    node.trigger_configure()
    assert node._state_machine.current_state[1] == "unconfigured"
    node.fault = None
    assert node.trigger_configure().name == "SUCCESS"


def test_heartbeats_come_at_ten_hertz_with_the_lifecycle_state(ros):
    beats = []
    ros.client.create_subscription(Heartbeat, "heartbeat", lambda m: beats.append((time.monotonic(), m)), STREAM)
    ros.up(Probe)
    until(lambda: len(beats) >= 12)
    times, messages = zip(*beats[-10:], strict=True)
    assert 0.05 < (times[-1] - times[0]) / 9 < 0.2
    assert {m.node for m in messages} == {"probe"}
    assert messages[-1].lifecycle_state == 3


def test_an_inactive_node_says_so(ros):
    ros.make(Probe)
    result, _ = _result(ros)
    assert not result.success and result.exit_code == 5
    assert result.message == "node probe is unconfigured, must be active"


def test_work_reports_progress_and_succeeds(ros):
    node = ros.up(Probe)

    def action(work):
        work.progress(0.5, "half", "measure")
        return {"accepted": True}

    node.action = action
    result, feedback = _result(ros)
    assert result.success and result.accepted
    assert [(f.step, f.progress, f.message) for f in feedback] == [("measure", 0.5, "half")]


@pytest.mark.parametrize("error, code", [(InputRefusedError("0 triangles"), 3), (ValueError("odd"), 1)])
def test_failed_work_tells_why(ros, error, code):
    node = ros.up(Probe)

    def action(work):
        raise error

    node.action = action
    result, _ = _result(ros)
    assert not result.success and result.exit_code == code and str(error) in result.message


def test_cancel_reaches_work_that_reports_progress(ros):
    node = ros.up(Probe)

    def action(work):
        node.begun.set()
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            work.progress(0.1, "busy")
        return {}

    node.action = action
    result, _ = _result(ros, cancel_after=node.begun)
    assert not result.success and result.exit_code == 130


def test_paths_outside_the_job_root_are_refused(ros, tmp_path):
    node = ros.make(Probe, job_root=str(tmp_path))
    assert node.job_path(str(tmp_path / "a")) == tmp_path / "a"
    for path in (str(tmp_path / ".." / "b"), "relative", ""):
        with pytest.raises(ConfigurationError):
            node.job_path(path)
    assert Parameter  # the fixture's parameters reached the node through rclpy's own type


def test_a_node_ends_with_what_started_it_and_leaves_no_shared_memory(tmp_path):
    starter = subprocess.Popen(["sleep", "600"])
    lease = DomainLease()
    environment = {**os.environ, **ros_environment(lease.domain), SUPERVISOR_PID: str(starter.pid)}
    command = [sys.executable, "-m", "cell_nodes.recorder"]
    node = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2])
    try:
        until(lambda: len(shared_memory(node.pid)) > 0)
        segments = shared_memory(node.pid)
        time.sleep(1.0)
        assert node.poll() is None  # that its parent is another than SUPERVISOR_PID names is no reason to end
        starter.kill()
        starter.wait(5.0)
        assert node.wait(10.0) in (0, 1)
        assert not [path for path in segments if Path(path).exists()]
    finally:
        for process in (starter, node):
            process.kill()
            process.wait(5.0)
        lease.close()
