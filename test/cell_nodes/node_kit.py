"""What the node tests share: real rclpy in this process, own context, own domain, futures with time-outs."""

import gc
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from cell_core.config import JobConfig
from cell_core.config.models import Pose, SimulatedPart
from cell_core.jobs import JobFolder
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.trajectory import JointTrajectory, ProcessEvent, Segment
from cell_nodes.node_base import release
from cell_nodes.processes import DomainLease

WAIT_S = 15.0


class Ros:
    """Nodes in one context, each spun by its own executor thread as in a process of its own."""

    def __init__(self) -> None:
        self.lease = DomainLease()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.lease.domain)
        self._running: list[tuple[Any, SingleThreadedExecutor, threading.Thread]] = []
        self.client = self.add(rclpy.create_node("test_client", namespace="/cell", context=self.context))

    def add(self, node: Any) -> Any:
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        self._running.append((node, executor, thread))
        return node

    def make(self, kind: Callable[..., Any], **parameters: Any) -> Any:
        """Start a node of the cell with these parameters, unconfigured."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        return self.add(kind(context=self.context, parameter_overrides=overrides))

    def up(self, kind: Callable[..., Any], **parameters: Any) -> Any:
        """Start a node of the cell and make it active."""
        node = self.make(kind, **parameters)
        assert node.trigger_configure().name == "SUCCESS"
        assert node.trigger_activate().name == "SUCCESS"
        return node

    def service(self, kind: Any, name: str, **fields: Any) -> Any:
        client = self.client.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=WAIT_S), name
        return wait(client.call_async(kind.Request(**fields)))

    def close(self) -> None:
        for node, _, _ in reversed(self._running):
            if hasattr(node, "close"):
                node.close()
        for node, executor, thread in self._running:
            executor.shutdown(timeout_sec=1.0)
            thread.join(timeout=2.0)
            release(node)
            node.destroy_node()
        rclpy.shutdown(context=self.context)
        self._running.clear()
        del self.client
        gc.collect()
        self.lease.close()


def shared_memory(pid: int | str = "self") -> list[str]:
    """Return the segments of a process' DDS participants."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return sorted({path for path in re.findall(r"/dev/shm/fastdds_[0-9a-f]+\b", maps) if Path(path).exists()})


def wait(future: Any, timeout_s: float = WAIT_S) -> Any:
    """Return the result of a future that another thread completes."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert future.done() or done.wait(timeout_s), "future not done in time"
    return future.result()


def until(condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Wait for a condition that another thread makes true."""
    end = time.monotonic() + timeout_s
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        tick.wait(0.01)


def dome(radius_m: float = 0.15, height_m: float = 0.04, n: int = 24) -> Surface:
    """A shallow dome that stands on its rim."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij"))
    z = height_m * (1.0 - 0.5 * (x**2 + y**2))
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = (v.ravel() for v in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Surface(vertices_m=np.stack([radius_m * x, radius_m * y, z], 1), triangles=triangles)


def make_job(folder: Path, part: Surface, *, pose: Pose | None = None, **changes: Any) -> JobFolder:
    """Make a spray job folder with this simulated part, resting on the fixture unless a pose says otherwise."""
    fields = {"process": "spray", "recipe": "spray_50um", "cell": "default", "approve": "auto", **changes}
    config = JobConfig(
        format="grind_spray_cell/job", version=1, simulated_part=SimulatedPart(path="part.ply", pose=pose), **fields
    )
    made = JobFolder.create(folder, config)
    write_ply(folder / "part.ply", part)
    return made


def swing(
    start_rad: np.ndarray, *, amplitude_rad: float = 0.3, seconds: float = 2.0, joint: int = 0
) -> JointTrajectory:
    """One joint there and back, smoothly, with the gun on in the middle half."""
    t = np.linspace(0.0, seconds, 101)
    w = 2.0 * np.pi / seconds
    position = np.tile(start_rad, (len(t), 1))
    position[:, joint] += 0.5 * amplitude_rad * (1.0 - np.cos(w * t))
    velocity, acceleration = np.zeros_like(position), np.zeros_like(position)
    velocity[:, joint] = 0.5 * amplitude_rad * w * np.sin(w * t)
    acceleration[:, joint] = 0.5 * amplitude_rad * w**2 * np.cos(w * t)
    return JointTrajectory(
        joint_names=[f"joint_{i + 1}" for i in range(6)],
        time_s=t,
        position_rad=position,
        velocity_rad_per_s=velocity,
        acceleration_rad_per_s2=acceleration,
        segments=[
            Segment(kind="approach", i0=0, i1=25),
            Segment(kind="process", i0=25, i1=75, stroke=0),
            Segment(kind="retract", i0=75, i1=100),
        ],
        events=[
            ProcessEvent(time_s=0.25 * seconds, name="set_flow_m3_per_s", value=5e-6),
            ProcessEvent(time_s=0.25 * seconds, name="on"),
            ProcessEvent(time_s=0.75 * seconds, name="off"),
        ],
        tool_frame="gun_tcp",
        base_frame="base_link",
        T_base_part=np.eye(4),
    )
