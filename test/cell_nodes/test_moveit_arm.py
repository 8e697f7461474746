"""Moves through MoveIt's trajectory execution manager against the simulator's controller; needs a real moveit_py."""

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from cell_interfaces.msg import Heartbeat
from node_kit import Ros, swing, until
from sensor_msgs.msg import JointState

from cell_core.trajectory import JointTrajectory
from cell_motion.backends.moveit_arm import MoveItArm
from cell_nodes.node_base import STREAM
from cell_nodes.simulator import SimulatorNode

pytestmark = [
    pytest.mark.moveit,
    pytest.mark.skipif(importlib.util.find_spec("moveit") is None, reason="moveit_py is not installed"),
]
AT_REST_RAD_PER_S = 1e-3


class Bench:
    """A simulated arm that MoveIt commands, and what is heard of it."""

    def __init__(self, ros: Ros, job) -> None:
        self.node = ros.up(SimulatorNode, job_dir=str(job.path))
        self.home = np.array(self.node.cell.robot.home_rad)
        self.heard: list[JointState] = []
        ros.client.create_subscription(JointState, "/joint_states", self.heard.append, STREAM)
        beat = ros.client.create_publisher(Heartbeat, "heartbeat", STREAM)
        self.beating = ros.client.create_timer(0.05, lambda: beat.publish(Heartbeat(node="execution")))
        until(lambda: len(self.heard) > 0)
        self.arm = MoveItArm.connect(self.node.cell, ros.lease.domain, use_sim_time=True)

    @property
    def position(self) -> np.ndarray:
        return np.array(self.heard[-1].position)

    @property
    def fastest(self) -> float:
        return float(np.abs(np.array(self.heard[-1].velocity)).max())

    def run(self, trajectory: JointTrajectory, fastest_rad_per_s: float) -> None:
        """Start a trajectory without its process, and wait until the arm moves."""
        self.arm.start(replace(trajectory, events=()))
        until(lambda: self.fastest > fastest_rad_per_s or not self.arm.running)
        assert self.fastest > 0.0, self.arm.error()


@pytest.fixture
def bench(ros: Ros, job) -> Iterator[Bench]:
    made = Bench(ros, job)
    yield made
    made.arm.close()


def test_a_move_is_run_to_its_end_and_then_another(bench: Bench) -> None:
    for seconds in (2.0, 1.5):
        bench.run(swing(bench.home, seconds=seconds), 0.1)
        until(lambda: not bench.arm.running)
        assert bench.arm.error() is None
        until(lambda: bench.fastest < AT_REST_RAD_PER_S)
        np.testing.assert_allclose(bench.position, bench.home, atol=2e-3)


def test_a_stop_in_mid_motion_halts_the_arm_soon_and_for_good(bench: Bench) -> None:
    bench.run(swing(bench.home, amplitude_rad=0.6, seconds=4.0), 0.2)
    asked = time.monotonic()
    bench.arm.stop()
    until(lambda: bench.fastest < AT_REST_RAD_PER_S)
    # the arm alone needs up to 0.3 s to brake; the rest is messages and a busy machine
    assert time.monotonic() - asked < 2.0
    stood = bench.position
    assert abs(stood - bench.home).max() > 0.02
    time.sleep(0.5)
    np.testing.assert_allclose(bench.position, stood, atol=1e-3)
    error = bench.arm.error()
    assert error is not None
    assert "preempted" in str(error)


def test_a_start_elsewhere_is_refused_by_moveit_and_nothing_moves(bench: Bench) -> None:
    bench.arm.start(replace(swing(bench.home + 0.05), events=()))
    until(lambda: not bench.arm.running)
    error = bench.arm.error()
    assert error is not None
    assert "start point deviates" in str(error)
    np.testing.assert_allclose(bench.position, bench.home, atol=1e-3)


def test_the_arm_halts_when_whoever_commands_it_is_gone(bench: Bench) -> None:
    bench.run(swing(bench.home, amplitude_rad=0.6, seconds=6.0), 0.1)
    bench.arm.close()
    until(lambda: bench.fastest < AT_REST_RAD_PER_S)
    assert abs(bench.position - bench.home).max() > 0.01
