"""Depth frames with the camera's pose at the image stamp, taken while the arm stands still."""

import threading
from collections import Counter, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import Trigger

from cell_core.errors import DeviceError, InputRefusedError
from cell_core.transforms import Array, inverse
from cell_nodes.camera_info import INFO_TOPIC, require_agreement
from cell_nodes.messages import depth_from, seconds
from cell_nodes.node_base import STREAM, CellNode
from cell_scanning.lens import Lens
from robot_description import Cell

DEPTH_TOPIC = "camera/depth/image_rect"
FRAME_WAIT_S = 10.0
INFO_WAIT_S = 5.0
SETTLE_WAIT_S = 5.0
AT_REST_RAD_PER_S = 2e-3
STAMP_GAP_MAX_S = 0.1
STILL_GAP_MAX_S, STILL_RAD = 1.0, 1e-4
"""A longer gap between joint states does no harm where the arm stood at rest in one place before and after it."""
SPARE_IMAGES = 2
"""So many images more than wanted are looked at where some cannot be used."""


class CameraClient:
    """Listens to depth images, camera info and joint states while open; asks for frames where the camera has a trigger.

    Use as a context manager in a worker thread.
    """

    def __init__(self, node: CellNode, cell: Cell) -> None:
        self._node, self._cell = node, cell
        self._lens = Lens.from_config(cell.camera)
        self._images: deque[Image] = deque(maxlen=4)
        self._states: deque[JointState] = deque(maxlen=2000)
        self._infos: deque[CameraInfo] = deque(maxlen=1)
        self.refused: Counter[str] = Counter()
        """Images that could not be used, by reason."""
        self._heard = threading.Condition()
        self._trigger = node.create_client(Trigger, "camera/trigger")
        self._subscriptions: list[Any] = []

    def __enter__(self) -> "CameraClient":
        self._subscriptions = [
            self._node.create_subscription(Image, DEPTH_TOPIC, self._on_image, self._offered(DEPTH_TOPIC)),
            self._node.create_subscription(CameraInfo, INFO_TOPIC, self._on_info, self._offered(INFO_TOPIC)),
            self._node.create_subscription(JointState, "/joint_states", self._on_joint_state, STREAM),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _offered(self, topic: str) -> QoSProfile:
        """Return what a subscription needs to hear the topic's publishers: some drivers offer no reliable images."""
        offers = [p.qos_profile.reliability for p in self._node.get_publishers_info_by_topic(topic)]
        lossy = ReliabilityPolicy.BEST_EFFORT in offers
        return QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT if lossy else ReliabilityPolicy.RELIABLE)

    def _on_image(self, message: Image) -> None:
        with self._heard:
            self._images.append(message)
            self._heard.notify_all()

    def _on_info(self, message: CameraInfo) -> None:
        with self._heard:
            self._infos.append(message)
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
        """Return at most `count` new frames (depth_m (H, W), T_part_camera (4, 4), stamp_s), taken from now on at rest.

        Images that cannot be used are counted in `refused`, and others asked for instead.

        Raises:
            DeviceError: the arm does not stand still, no image or joint state comes, the camera is not the camera
                file's, or none of the images can be used.
        """
        after_s = self.settle()
        taken: list[tuple[NDArray[np.float32], Array, float]] = []
        faults: Counter[str] = Counter()
        for _ in range(count + SPARE_IMAGES):
            if len(taken) == count:
                break
            image = self._next_image(after_s)
            after_s = seconds(image.header.stamp)
            read = self._read(image, after_s)
            if isinstance(read, str):
                faults[read] += 1
            else:
                taken.append(read)
        self.refused += faults
        if not taken:
            reasons = ", ".join(f"{n} {reason}" for reason, n in faults.items())
            camera = self._lens.camera
            raise DeviceError(
                f"{DEPTH_TOPIC}: none of {faults.total()} images of a view can be used: {reasons}; the last one is "
                f"{image.encoding}, {image.width} x {image.height} px, wanted 32FC1 or 16UC1, "
                f"{camera.width_px} x {camera.height_px} px, and a joint state within {STAMP_GAP_MAX_S:g} s"
            )
        return taken

    def _next_image(self, after_s: float) -> Image:
        if self._trigger.service_is_ready():
            self._trigger.call_async(Trigger.Request())
        self._wait(
            lambda: self._images and seconds(self._images[-1].header.stamp) > after_s, FRAME_WAIT_S, "no depth image"
        )
        image = self._images[-1]
        self._wait(lambda: len(self._infos) > 0, INFO_WAIT_S, f"no camera info on {INFO_TOPIC}")
        require_agreement(self._infos[-1], self._lens)
        return image

    def _read(self, image: Image, stamp_s: float) -> tuple[NDArray[np.float32], Array, float] | str:
        """Return a frame, or why the image cannot be used."""
        try:
            raw = depth_from(image)
        except InputRefusedError:
            return "unreadable"
        if raw.shape != (self._lens.camera.height_px, self._lens.camera.width_px):
            return "wrong_size"
        T_part_camera = self._pose_at(stamp_s + self._cell.camera.time_offset_s)
        return "stale_pose" if T_part_camera is None else (self._lens.rectified(raw), T_part_camera, stamp_s)

    def _pose_at(self, stamp_s: float) -> Array | None:
        """Return the camera's pose in the part frame at a machine time, None where no joint state belongs to it."""
        self._wait(
            lambda: self._states and seconds(self._states[-1].header.stamp) >= stamp_s, SETTLE_WAIT_S, "no joint state"
        )
        state = min(self._states, key=lambda s: abs(seconds(s.header.stamp) - stamp_s))
        gap_s = abs(seconds(state.header.stamp) - stamp_s)
        if gap_s > STAMP_GAP_MAX_S and not self._stood_still(stamp_s):
            return None
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
