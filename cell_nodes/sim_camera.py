"""The simulated depth camera: renders only when somebody listens, in a thread of its own."""

import threading
import time
import traceback
from typing import Any

from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from cell_core.errors import CellError
from cell_nodes.messages import camera_info_message, depth_message
from cell_nodes.node_base import CellNode
from cell_nodes.sim_loop import SimLoop
from cell_nodes.sim_renderer import Renderer

DUTY_MAX = 0.5
"""Share of wall time that streaming may take from the simulation; frames asked for do not count."""
POLL_S = 0.01


class SimCamera:
    """Publishes depth and camera info.

    Frames stream at the camera's rate in simulated time while the depth topic has subscribers, less often where
    rendering cannot keep up; the service `camera/trigger` asks for one frame at once. Rendering leaves the simulation
    running, so a frame of a moving arm may be stamped one step late; at rest pose and stamp agree exactly. In lock-step
    nothing streams: a frame asked for lets one frame period of simulated time pass and is taken then.
    """

    def __init__(self, node: CellNode, cell: Any, sim: Any, loop: SimLoop, *, apart: bool = False) -> None:
        """Set up the camera; `apart`: what streams is rendered in a process of its own."""
        self._cell, self._sim, self._node, self._loop = cell, sim, node, loop
        self._frame = cell.config.camera.optical_frame
        self._depth = node.create_publisher(Image, "camera/depth/image_rect", 2)
        self._info = node.create_publisher(CameraInfo, "camera/depth/camera_info", 2)
        node.create_service(Trigger, "camera/trigger", self._trigger)
        self._asked = threading.Event()
        self._closing = threading.Event()
        self._next_s = self._free_s = 0.0
        self._renderer = Renderer(sim.camera) if apart else None
        self._thread = threading.Thread(target=self._run, daemon=True, name="camera")

    def start(self) -> None:
        """Start to serve frames."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving frames."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        if self._renderer is not None:
            self._renderer.close()

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                if self._asked.wait(POLL_S):
                    self._asked.clear()
                    self._render()
                elif self._is_due():
                    period_s = 1.0 / self._cell.camera.rate_hz
                    # on the camera's own beat, unless it fell behind
                    self._next_s = max(self._next_s + period_s, float(self._sim.time_s))
                    cost_s = self._render(self._elsewhere())
                    self._free_s = time.monotonic() + cost_s * (1.0 / DUTY_MAX - 1.0)
        except Exception:
            self._node.get_logger().error(f"camera: {traceback.format_exc()}")

    def _is_due(self) -> bool:
        if self._loop.lockstep:
            return False
        if self._sim.time_s < self._next_s or time.monotonic() < self._free_s:
            return False
        return self._depth.get_subscription_count() > 0

    def _elsewhere(self) -> Any:
        """Return a frame rendered by the other process; None where there is none, or not yet."""
        if self._renderer is None:
            return None
        frame = self._renderer.render(self._sim.camera_pose(), float(self._sim.time_s), self._sim.removed_m)
        if self._renderer.failed:
            self._node.get_logger().warning("camera: the rendering process has ended; rendering in this one")
            self._renderer.close()
            self._renderer = None
        return frame

    def _render(self, frame: Any = None) -> float:
        """Publish a frame, rendered now unless given; return what that cost the simulation [wall s]."""
        start = time.monotonic()
        if frame is None:
            frame = self._loop.call(self._next_frame) if self._loop.lockstep else self._sim.render_depth()
        self._depth.publish(depth_message(frame.depth_m, frame.stamp_s, self._frame))
        self._info.publish(camera_info_message(self._cell.camera, frame.stamp_s, self._frame))
        return time.monotonic() - start

    def _next_frame(self) -> Any:
        self._sim.step(1.0 / self._cell.camera.rate_hz)
        return self._sim.render_depth()

    def _trigger(self, request: Any, response: Any) -> Any:
        try:
            self._node.require_active()
            self._asked.set()
            response.success = True
        except CellError as error:
            response.success, response.message = False, str(error)
        return response
