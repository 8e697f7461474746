"""Depth frames with the camera's pose at the image stamp, taken while the arm stands still."""

import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from cell_core.errors import DeviceError
from cell_core.transforms import Array, inverse
from cell_nodes.messages import depth_from, seconds
from cell_nodes.node_base import STREAM, CellNode
from cell_scanning.lens import Lens
from robot_description import Cell

FRAME_WAIT_S = 10.0
SETTLE_WAIT_S = 5.0
AT_REST_RAD_PER_S = 2e-3
STAMP_GAP_MAX_S = 0.1
STILL_GAP_MAX_S, STILL_RAD = 1.0, 1e-4
"""A longer gap between joint states does no harm where the arm stood at rest in one place before and after it."""


class CameraClient:
    """Listens to depth images and joint states while open; asks for frames where the camera has a trigger.

    Use as a context manager in a worker thread.
    """

    def __init__(self, node: CellNode, cell: Cell) -> None:
        self._node, self._cell = node, cell
        self._lens = Lens.from_config(cell.camera)
        self._images: deque[Image] = deque(maxlen=4)
        self._states: deque[JointState] = deque(maxlen=2000)
        self._heard = threading.Condition()
        self._trigger = node.create_client(Trigger, "camera/trigger")
        self._subscriptions: list[Any] = []

    def __enter__(self) -> "CameraClient":
        self._subscriptions = [
            self._node.create_subscription(Image, "camera/depth/image_rect", self._on_image, 2),
            self._node.create_subscription(JointState, "/joint_states", self._on_joint_state, STREAM),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _on_image(self, message: Image) -> None:
        with self._heard:
            self._images.append(message)
            self._heard.notify_all()

    def _on_joint_state(self, message: JointState) -> None:
        with self._heard:
            self._states.append(message)
            self._heard.notify_all()

    def _wait(self, condition: Any, timeout_s: float, what: str) -> None:
        with self._heard:
            if not self._heard.wait_for(condition, timeout_s):
                raise DeviceError(f"{what} within {timeout_s:g} s")

    def joint_state(self) -> JointState:
        """Return the newest joint state."""
        self._wait(lambda: len(self._states) > 0, SETTLE_WAIT_S, "no joint state")
        return self._states[-1]

    def settle(self) -> float:
        """Wait until the arm stands still; return the machine time since when [s]."""
        with self._heard:
            self._states.clear()
        self._wait(
            lambda: self._states and max(abs(v) for v in self._states[-1].velocity) < AT_REST_RAD_PER_S,
            SETTLE_WAIT_S,
            "arm did not come to rest",
        )
        return seconds(self._states[-1].header.stamp)

    def frames(self, count: int) -> list[tuple[NDArray[np.float32], Array, float]]:
        """Return `count` new frames as (depth_m (H, W), T_part_camera (4, 4), stamp_s), taken from now on at rest.

        Raises:
            DeviceError: the arm does not stand still, no image comes, or no joint state belongs to it.
        """
        after_s = self.settle()
        taken = []
        for _ in range(count):
            if self._trigger.service_is_ready():
                self._trigger.call_async(Trigger.Request())
            self._wait(
                lambda after=after_s: self._images and seconds(self._images[-1].header.stamp) > after,
                FRAME_WAIT_S,
                "no depth image",
            )
            image = self._images[-1]
            after_s = seconds(image.header.stamp)
            pose = self._pose_at(after_s + self._cell.camera.time_offset_s)
            taken.append((self._lens.rectified(depth_from(image)), pose, after_s))
        return taken

    def _pose_at(self, stamp_s: float) -> Array:
        self._wait(
            lambda: self._states and seconds(self._states[-1].header.stamp) >= stamp_s, SETTLE_WAIT_S, "no joint state"
        )
        state = min(self._states, key=lambda s: abs(seconds(s.header.stamp) - stamp_s))
        gap_s = abs(seconds(state.header.stamp) - stamp_s)
        if gap_s > STAMP_GAP_MAX_S and not self._stood_still(stamp_s):
            raise DeviceError(f"joint states: nearest to the image at {stamp_s:.3f} s is {gap_s:.3f} s away")
        by_name = dict(zip(state.name, state.position, strict=True))
        position = [by_name[name] for name in self._cell.robot.joint_names]
        T_base_camera = self._cell.robot.forward(position, self._cell.config.camera.optical_frame)
        return inverse(self._cell.T_base_fixture) @ T_base_camera

    def _stood_still(self, stamp_s: float) -> bool:
        """Whether the arm stood in one place at rest from the last state before an image to the first after it."""
        states = list(self._states)
        before = [s for s in states if seconds(s.header.stamp) <= stamp_s]
        after = [s for s in states if seconds(s.header.stamp) >= stamp_s]
        if not before or not after:
            return False
        a, b = before[-1], after[0]
        if list(a.name) != list(b.name) or seconds(b.header.stamp) - seconds(a.header.stamp) > STILL_GAP_MAX_S:
            return False
        moving = max(abs(v) for v in (*a.velocity, *b.velocity))
        moved = max(abs(p - q) for p, q in zip(a.position, b.position, strict=True))
        return moving < AT_REST_RAD_PER_S and moved < STILL_RAD
