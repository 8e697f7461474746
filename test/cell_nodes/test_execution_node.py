"""Execution on the embedded simulator: what it refuses, what stops it, and what it leaves in the job folder."""

import time
from dataclasses import replace

import numpy as np
import pytest
from cell_interfaces.action import ExecuteProcess
from cell_interfaces.msg import ToolState
from cell_interfaces.srv import Abort, Pause
from node_kit import dome, swing, until, wait
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from cell_core.files import read_npz
from cell_core.resume import Journal, last_attempt
from cell_core.surface_io import write_ply
from cell_core.trajectory import Segment
from cell_nodes.action_client import ActionClient
from cell_nodes.clients import PAUSED
from cell_nodes.execution import ExecutionNode
from cell_nodes.node_base import LATCHED, STREAM
from cell_nodes.simulator import SimulatorNode


class Bench:
    """Simulator and execution node, each spun on its own."""

    def __init__(self, ros, job, simulator=None, **parameters):
        self.ros, self.folder = ros, job.path / "execution"
        self.job_dir = job.path
        self.simulator = ros.up(SimulatorNode, job_dir=str(job.path), **(simulator or {}))
        self.node = ros.up(ExecutionNode, **parameters)
        self.home = np.array(self.simulator.cell.robot.home_rad)
        self.tool, self.joint = [], []
        ros.client.create_subscription(ToolState, "tool_state", self.tool.append, STREAM)
        ros.client.create_subscription(JointState, "/joint_states", self.joint.append, STREAM)
        self.client = ActionClient(ros.client, ExecuteProcess, "execute_process")
        assert self.client.wait_for_server(timeout_sec=10.0)
        until(lambda: len(self.tool) > 0 and self.node._device.joint_state is not None)
        until(lambda: self.node._device.tool_state is not None)

    def send(self, trajectory, process="spray", **span):
        path = self.job_dir / "motion" / "trajectory.json"
        trajectory.write(path)
        goal = ExecuteProcess.Goal(
            job_dir=str(self.job_dir),
            trajectory_path=str(path),
            process=process,
            folder=str(self.folder),
            **{"first_segment": 0, "last_segment": -1, **span},
        )
        handle = wait(self.client.send_goal_async(goal))
        assert handle.accepted
        return handle

    def result(self, handle):
        return wait(handle.get_result_async(), 30.0).result

    def run(self, *args, **kwargs):
        return self.result(self.send(*args, **kwargs))

    @property
    def journal(self):
        return Journal(self.folder / "journal.jsonl").read()

    def at_rest(self):
        return max(abs(v) for v in self.joint[-1].velocity) < 1e-3


@pytest.fixture
def bench(ros, job):
    # a loaded computer is late with its messages more often than a robot controller
    return Bench(ros, job, joint_state_age_s=3.0, tool_state_age_s=3.0)


def test_a_process_runs_and_is_journalled_and_logged(bench):
    result = bench.run(swing(bench.home))
    assert result.success, result.message
    assert [e["event"] for e in bench.journal if e["event"] != "progress"] == [
        "start",
        "running",
        "begin",
        "end",
        "done",
    ]
    attempt = last_attempt(bench.journal)
    assert attempt is not None and attempt.stop_s == float("inf")
    log = read_npz(bench.folder / "executed_0.npz")
    assert log["T_base_tcp"].shape == (len(log["time_s"]), 4, 4)
    assert 0.8 < np.ptp(log["time_s"][log["on"]]) < 1.2
    until(lambda: not bench.tool[-1].on and not bench.tool[-1].armed)


def test_a_log_of_grinding_holds_the_power_that_the_spindle_takes(bench):
    path = swing(bench.home, seconds=4.0)
    events = [replace(e, name=e.name.replace("flow_m3_per_s", "force_n"), value=0.0) for e in path.events]
    result = bench.run(replace(path, events=events), process="grind")
    assert result.success, result.message
    log = read_npz(bench.folder / "executed_0.npz")
    assert log["spindle_power_w"].shape == log["time_s"].shape
    # it turns in the air: what it takes is what it loses
    assert log["spindle_power_w"].max() == pytest.approx(60.0, abs=10.0)
    assert not log["spindle_power_w"][log["time_s"] < log["time_s"][log["on"]].min() - 0.1].any()


def test_motion_alone_moves_only_the_segments_asked_for_and_arms_nothing(bench):
    halves = [Segment(kind="approach", i0=0, i1=50), Segment(kind="retract", i0=50, i1=100)]
    result = bench.run(replace(swing(bench.home), segments=halves), process="", first_segment=0, last_segment=0)
    assert result.success, result.message
    until(bench.at_rest)
    assert bench.joint[-1].position[0] - bench.home[0] == pytest.approx(0.3, abs=0.01)
    assert not any(t.armed or t.on for t in bench.tool)
    assert bench.journal == []


def test_a_start_state_elsewhere_is_refused_with_joint_and_bound(bench):
    result = bench.run(swing(bench.home + 0.05))
    assert not result.success and "joint_1" in result.message and "0.01 rad" in result.message


def test_a_missing_safety_input_refuses_the_process(bench):
    publisher = bench.ros.client.create_publisher(Bool, "safety/purge_ok", STREAM)
    until(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(Bool(data=False))
    until(lambda: not bench.node._device.tool_state.purge_ok)
    result = bench.run(swing(bench.home))
    assert not result.success and result.exit_code == 5 and "purge" in result.message
    assert bench.journal == [] or all(e["event"] != "begin" for e in bench.journal)


def test_an_interlock_that_opens_turns_the_gun_off_before_the_arm_stops(bench):
    publisher = bench.ros.client.create_publisher(Bool, "safety/interlock_closed", STREAM)
    handle = bench.send(swing(bench.home, seconds=6.0))
    until(lambda: bench.tool[-1].on)
    publisher.publish(Bool(data=False))
    result = bench.result(handle)
    assert not result.success
    until(bench.at_rest)
    assert not bench.tool[-1].on and not bench.tool[-1].armed
    assert any(e["event"] == "stopped" for e in bench.journal)


@pytest.mark.parametrize("service, code", [((Abort, "abort"), 5), ((Pause, "pause"), PAUSED)])
def test_abort_and_pause_stop_process_then_motion_and_note_where(bench, service, code):
    handle = bench.send(swing(bench.home, seconds=6.0))
    # asked at once the process would be off again before a joint state was logged with it on
    until(lambda: sum(t.on for t in bench.tool) > 10)
    assert bench.ros.service(*service, reason="test").accepted
    result = bench.result(handle)
    assert not result.success and result.exit_code == code and "test" in result.message
    until(bench.at_rest)
    assert not bench.tool[-1].on and not bench.tool[-1].armed
    log = read_npz(bench.folder / "executed_0.npz")
    last_on_s = log["time_s"][log["on"]].max() - log["time_s"].min()
    stop = last_attempt(bench.journal)
    assert stop is not None and stop.stop_s == pytest.approx(last_on_s, abs=0.15)


def test_a_pause_beside_the_scanned_part_retracts_and_tells_its_states(bench):
    write_ply(bench.job_dir / "scan" / "surface.ply", dome())
    told = []
    bench.ros.client.create_subscription(String, "execution_state", lambda m: told.append(m.data), LATCHED)
    until(lambda: told == ["idle"])
    handle = bench.send(swing(bench.home, seconds=6.0))
    until(lambda: sum(t.on for t in bench.tool) > 10)
    assert bench.ros.service(Pause, "pause", reason="test").accepted
    result = bench.result(handle)
    assert result.exit_code == PAUSED and "process off, retracted 50 mm" in result.message
    until(bench.at_rest)
    until(lambda: told[-1] == "paused")
    assert told == ["idle", "armed", "approaching", "processing", "retracting", "paused"]
    assert not bench.tool[-1].on and not bench.tool[-1].armed
    entry = bench.journal[-1]
    assert entry["event"] == "paused" and entry["retracted_m"] == pytest.approx(0.05)


def test_a_joint_state_that_is_none_stops_and_waits_for_an_operator(bench):
    names = bench.joint[-1].name
    handle = bench.send(swing(bench.home, seconds=6.0))
    until(lambda: bench.tool[-1].on)
    bad = JointState(name=names, position=[float("nan")] * len(names), velocity=[0.0] * len(names))
    bad.header.stamp = bench.joint[-1].header.stamp
    publisher = bench.ros.client.create_publisher(JointState, "/joint_states", STREAM)
    until(lambda: publisher.get_subscription_count() > 1)
    publisher.publish(bad)
    result = bench.result(handle)
    assert not result.success and "jumped inf rad" in result.message
    until(lambda: not bench.tool[-1].on)
    again = bench.run(swing(np.array(bench.joint[-1].position)))
    assert not again.success and "waits for an operator: reset_monitors" in again.message
    assert bench.ros.service(Trigger, "reset_monitors").message == "joint_jump_rad"


def test_cancel_stops_and_says_cancelled(bench):
    handle = bench.send(swing(bench.home, seconds=6.0))
    until(lambda: bench.tool[-1].on)
    wait(handle.cancel_goal_async())
    assert bench.result(handle).exit_code == 130
    until(bench.at_rest)
    assert not bench.tool[-1].on


def test_stale_joint_states_stop_the_process(ros, job):
    bench = Bench(ros, job)
    handle = bench.send(swing(bench.home, seconds=6.0))
    until(lambda: bench.tool[-1].on)
    publisher = bench.simulator._joint_states
    bench.simulator._joint_states = type("Mute", (), {"publish": lambda self, message: None})()
    silent_s = time.monotonic()
    until(lambda: not bench.tool[-1].on)
    assert time.monotonic() - silent_s < 1.0
    assert "joint states: silent" in bench.result(handle).message
    bench.simulator._joint_states = publisher


@pytest.mark.parametrize("told", [True, False])
def test_in_lockstep_joint_states_stay_fresh_however_long_the_arm_rests(ros, job, told):
    bench = Bench(ros, job, {"lockstep": True, "rtf": 50.0}, lockstep=told, joint_state_age_s=1.0, tool_state_age_s=3.0)
    until(lambda: bench.at_rest() and bench.simulator.loop is not None)
    time.sleep(1.5)
    result = bench.run(swing(bench.home, seconds=2.0), process="")
    assert result.success == told, result.message
    assert told or "joint states: silent" in result.message


def test_a_trajectory_beyond_the_limits_is_reported_with_the_controllers_reason(bench):
    slow = swing(bench.home, amplitude_rad=2.5, seconds=8.0)
    fast = replace(slow, time_s=slow.time_s / 8.0, velocity_rad_per_s=8.0 * slow.velocity_rad_per_s)
    result = bench.run(fast, process="")
    assert not result.success and "rejected" in result.message and "exceeds" in result.message
