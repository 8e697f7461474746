"""The simulator node at real time in a process of its own, its joint states and depth images counted by a listener."""

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cell_core.config import JobConfig
from cell_core.config.models import Pose, SimulatedPart
from cell_core.jobs import JobFolder
from cell_core.ros_environment import ros_environment
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.trajectory import JointTrajectory
from cell_nodes.processes import DomainLease, NodeProcesses
from robot_description import Cell

WAIT_S = 30.0
BUSY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What came, over the time a trajectory ran."""

    real_time_factor: float
    joint_states_hz: float
    """Per wall second."""
    depth_hz: float
    node_cpu_per_s: float
    """CPU seconds of the simulator's process per wall second."""
    force_mean_n: float
    """As the wrench topic told, while more than half the set force."""


def node_rates(part: Surface, yaw_rad: float, runs: Sequence[JointTrajectory], cell: Cell) -> Rates:
    """Run trajectories on a simulator node at real time and count during the last, which grinds."""
    lease = DomainLease()
    environment = ros_environment(lease.domain)
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as scratch:
        job = _job(Path(scratch) / "job", part, yaw_rad)
        processes = NodeProcesses(environment, job.path / "log")
        try:
            parameters: dict[str, object] = {"job_dir": str(job.path), "job_root": str(job.path), "rtf": 1.0}
            parameters |= {"dead_man_s": 5.0, "joint_state_rate_hz": 500.0}
            processes.start("simulator", parameters)
            return _Listener(processes, lease.domain).rates(runs)
        finally:
            processes.close()
            lease.close()


def _job(folder: Path, part: Surface, yaw_rad: float) -> JobFolder:
    config = JobConfig(
        format="grind_spray_cell/job",
        version=1,
        process="grind",
        recipe="grind_30um",
        cell="default",
        approve="auto",
        simulated_part=SimulatedPart(path="part.ply", pose=Pose(xyz_m=(0.0, 0.0, 0.0), rpy_rad=(0.0, 0.0, yaw_rad))),
    )
    job = JobFolder.create(folder, config)
    write_ply(folder / "part.ply", part)
    return job


class _Listener:
    """A plain node that brings the simulator up, commands it, and counts."""

    def __init__(self, processes: NodeProcesses, domain: int) -> None:
        import rclpy
        from cell_interfaces.msg import Heartbeat
        from control_msgs.action import FollowJointTrajectory
        from geometry_msgs.msg import WrenchStamped
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image, JointState

        from cell_nodes.action_client import ActionClient
        from cell_nodes.node_base import STREAM

        self._processes = processes
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        node = rclpy.create_node("listener", namespace="/cell", context=self._context)
        self._node: Any = node
        self._stamps: list[float] = []
        self._depths, self._forces = [0], []
        node.create_subscription(JointState, "/joint_states", self._on_state, STREAM)
        node.create_subscription(Image, "camera/depth/image_rect", self._on_depth, 2)
        node.create_subscription(WrenchStamped, "wrench", lambda m: self._forces.append(-m.wrench.force.z), STREAM)
        beat = node.create_publisher(Heartbeat, "heartbeat", STREAM)
        node.create_timer(0.1, lambda: beat.publish(Heartbeat(node="execution")))
        self._arm = ActionClient(node, FollowJointTrajectory, "arm_controller/follow_joint_trajectory")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _on_state(self, message: Any) -> None:
        self._stamps.append(message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec)

    def _on_depth(self, message: Any) -> None:
        self._depths[0] += 1

    def rates(self, runs: Sequence[JointTrajectory]) -> Rates:
        """Bring up, run, count, and shut down."""
        import rclpy

        try:
            return self._rates(runs)
        finally:
            self._executor.shutdown(timeout_sec=1.0)
            self._thread.join(timeout=2.0)
            self._node.destroy_node()
            rclpy.shutdown(context=self._context)

    def _rates(self, runs: Sequence[JointTrajectory]) -> Rates:
        from cell_interfaces.srv import ArmTool, ScheduleEvents, SelectTool
        from control_msgs.action import FollowJointTrajectory

        from cell_nodes.lifecycle_manager import LifecycleManager
        from cell_nodes.messages import events_message, trajectory_message

        LifecycleManager(self._node, ["simulator"], lambda: None).bring_up(WAIT_S)
        assert self._call(SelectTool, "select_tool", process="grind").ok
        rates = None
        for i, run in enumerate(runs):
            if run.events:
                assert self._call(ArmTool, "arm_tool", arm=True).ok
                events = events_message(run.events, "bench")
                assert self._call(ScheduleEvents, "schedule_events", events=events).accepted
            goal = FollowJointTrajectory.Goal(trajectory=trajectory_message(run))
            handle = _wait(self._arm.send_goal_async(goal))
            if not handle.accepted:
                raise RuntimeError(f"trajectory {i} was rejected")
            result = handle.get_result_async()
            rates = self._count(result)
            if _wait(result).result.error_code != FollowJointTrajectory.Result.SUCCESSFUL:
                raise RuntimeError(f"trajectory {i}: {_wait(result).result.error_string}")
        assert rates is not None
        return rates

    def _count(self, result: Any) -> Rates:
        time.sleep(0.5)
        pid = self._processes.pids()["simulator"]
        first, depths, cpu, wall = len(self._stamps), self._depths[0], _cpu_s(pid), time.monotonic()
        n_forces = len(self._forces)
        while not result.done():
            time.sleep(BUSY_S)
        seconds = time.monotonic() - wall
        stamps = self._stamps[first:]
        force = np.array([*self._forces[n_forces:], 0.0])
        pressed = force[force > 0.5 * force.max()] if force.max() > 0.0 else force
        return Rates(
            real_time_factor=(stamps[-1] - stamps[0]) / seconds,
            joint_states_hz=len(stamps) / seconds,
            depth_hz=(self._depths[0] - depths) / seconds,
            node_cpu_per_s=(_cpu_s(pid) - cpu) / seconds,
            force_mean_n=float(pressed.mean()),
        )

    def _call(self, kind: Any, name: str, **fields: Any) -> Any:
        client = self._node.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=WAIT_S), name
        return _wait(client.call_async(kind.Request(**fields)))


def _wait(future: Any, timeout_s: float = WAIT_S) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    if not (future.done() or done.wait(timeout_s)):
        raise RuntimeError("no answer from the simulator node in time")
    return future.result()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
