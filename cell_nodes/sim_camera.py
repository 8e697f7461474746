"""The simulated depth camera: renders only when somebody listens."""

import time
from typing import Any

from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from cell_core.errors import CellError
from cell_nodes.messages import camera_info_message, depth_message
from cell_nodes.node_base import CellNode
from cell_nodes.sim_loop import SimLoop

DUTY_MAX = 0.25
"""Share of the simulation's wall time that streaming may take; triggered frames do not count."""


class SimCamera:
    """Publishes depth and camera info, in the loop's thread.

    Frames stream at the camera's rate in simulated time while the depth topic has subscribers, less often where
    rendering would slow the simulation; the service `camera/trigger` renders one frame at once.
    """

    def __init__(self, node: CellNode, cell: Any, sim: Any, loop: SimLoop) -> None:
        self._cell, self._sim, self._loop, self._node = cell, sim, loop, node
        self._frame = cell.config.camera.optical_frame
        self._depth = node.create_publisher(Image, "camera/depth/image_rect", 2)
        self._info = node.create_publisher(CameraInfo, "camera/depth/camera_info", 2)
        node.create_service(Trigger, "camera/trigger", self._trigger)
        self._next_s = 0.0
        self._free_s = 0.0

    def tick(self, now_s: float) -> None:
        """Render and publish when a frame is due, somebody listens and there is time for it."""
        if now_s < self._next_s or time.monotonic() < self._free_s or self._depth.get_subscription_count() == 0:
            return
        self._next_s = now_s + 1.0 / self._cell.camera.rate_hz
        cost_s = self._render()
        self._free_s = time.monotonic() + cost_s * (1.0 / DUTY_MAX - 1.0)

    def _render(self) -> float:
        start = time.monotonic()
        frame = self._sim.render_depth()
        self._depth.publish(depth_message(frame.depth_m, frame.stamp_s, self._frame))
        self._info.publish(camera_info_message(self._cell.camera, frame.stamp_s, self._frame))
        return time.monotonic() - start

    def _trigger(self, request: Any, response: Any) -> Any:
        try:
            self._node.require_active()
            self._loop.call(self._render)
            response.success = True
        except CellError as error:
            response.success, response.message = False, str(error)
        return response
