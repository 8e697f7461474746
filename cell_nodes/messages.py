"""Conversions between ROS messages and the project's own values, both ways."""

import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from cell_interfaces.msg import ProcessEvents, ToolState
from geometry_msgs.msg import Transform, TransformStamped
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image, JointState
from trajectory_msgs.msg import JointTrajectory as JointTrajectoryMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from cell_core.config import CameraConfig
from cell_core.errors import InputRefusedError
from cell_core.trajectory import JointTrajectory, ProcessEvent
from cell_core.transforms import Array
from cell_scanning.frames import depth_from_raw


def time_message(time_s: float) -> Time:
    """Return a stamp from seconds."""
    whole = int(time_s)
    return Time(sec=whole, nanosec=min(round((time_s - whole) * 1e9), 999_999_999))


def duration_message(time_s: float) -> Duration:
    """Return a duration from seconds >= 0."""
    whole = int(time_s)
    return Duration(sec=whole, nanosec=min(round((time_s - whole) * 1e9), 999_999_999))


def seconds(stamp: Any) -> float:
    """Return the seconds of a stamp or duration message."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


def floats(values: Any) -> array.array:
    """Return an array.array of doubles; the message setters take it without checking every element."""
    return array.array("d", np.ascontiguousarray(values, float).tobytes())


def trajectory_message(trajectory: JointTrajectory) -> JointTrajectoryMessage:
    """Return the trajectory's points as a message, times relative to its start."""
    points = [
        JointTrajectoryPoint(
            positions=floats(q),
            velocities=floats(v),
            accelerations=floats(a),
            time_from_start=duration_message(float(t)),
        )
        for t, q, v, a in zip(
            trajectory.time_s,
            trajectory.position_rad,
            trajectory.velocity_rad_per_s,
            trajectory.acceleration_rad_per_s2,
            strict=True,
        )
    ]
    return JointTrajectoryMessage(joint_names=list(trajectory.joint_names), points=points)


def trajectory_arrays(message: JointTrajectoryMessage) -> tuple[list[str], Array, Array, Array, Array]:
    """Return joint names, times [s] (N,), positions, velocities and accelerations (N, J) of a message.

    Raises:
        InputRefusedError: no points, or rows of unequal length.
    """
    if not message.points:
        raise InputRefusedError("trajectory message: 0 points")
    n = len(message.joint_names)
    rows = []
    for name in ("positions", "velocities", "accelerations"):
        values = [getattr(p, name) for p in message.points]
        if any(len(v) != n for v in values):
            raise InputRefusedError(f"trajectory message: every point needs {n} {name}")
        rows.append(np.array(values, float))
    times = np.array([seconds(p.time_from_start) for p in message.points])
    return list(message.joint_names), times, rows[0], rows[1], rows[2]


def joint_state_message(
    names: Sequence[str], position_rad: Array, velocity_rad_per_s: Array, time_s: float
) -> JointState:
    """Return a joint state stamped with simulation time."""
    message = JointState(name=list(names), position=floats(position_rad), velocity=floats(velocity_rad_per_s))
    message.header.stamp = time_message(time_s)
    return message


def events_message(events: Sequence[ProcessEvent], trajectory_id: str) -> ProcessEvents:
    """Return process events as a message."""
    return ProcessEvents(
        trajectory_id=trajectory_id,
        time_s=floats([e.time_s for e in events]),
        name=[e.name for e in events],
        value=floats([e.value for e in events]),
    )


def events_from(message: ProcessEvents) -> list[ProcessEvent]:
    """Return the process events of a message.

    Raises:
        InputRefusedError: arrays of unequal length or an unknown event.
    """
    if not len(message.time_s) == len(message.name) == len(message.value):
        raise InputRefusedError(
            f"process events: {len(message.time_s)} times, {len(message.name)} names, {len(message.value)} values"
        )
    known = ("on", "off", "set_force_n", "set_flow_m3_per_s")
    for name in message.name:
        if name not in known:
            raise InputRefusedError(f"process events: {name!r} unknown; known: {', '.join(known)}")
    return [
        ProcessEvent(time_s=t, name=name, value=v)
        for t, name, v in zip(message.time_s, message.name, message.value, strict=True)
    ]


TOOL_FIELDS = (
    "flow_m3_per_s",
    "force_n",
    "force_setpoint_n",
    "spindle_rpm",
    "spindle_power_w",
    "slide_m",
    "interlock_closed",
    "ventilation_on",
    "purge_ok",
)


def tool_state_message(state: Any, time_s: float) -> ToolState:
    """Return the simulator's tool state as a message."""
    fields: Mapping[str, Any] = {name: type_of(getattr(state, name)) for name in TOOL_FIELDS if hasattr(state, name)}
    message = ToolState(tool=str(state.tool or ""), armed=bool(state.armed), on=bool(state.on), **fields)
    message.header.stamp = time_message(time_s)
    return message


def type_of(value: Any) -> Any:
    """Return a plain bool or float; messages refuse NumPy's."""
    return bool(value) if isinstance(value, bool | np.bool_) else float(value)


def depth_message(depth_m: np.ndarray, time_s: float, frame: str) -> Image:
    """Return a 32FC1 depth image [m]; 0 means none."""
    height, width = depth_m.shape
    data = array.array("B")
    data.frombytes(memoryview(np.ascontiguousarray(depth_m, "<f4")).cast("B"))
    message = Image(height=height, width=width, encoding="32FC1", is_bigendian=0, step=4 * width, data=data)
    message.header.stamp, message.header.frame_id = time_message(time_s), frame
    return message


def depth_from(message: Image) -> np.ndarray:
    """Return the (H, W) float32 depth [m] of a 32FC1 [m] or 16UC1 [mm] image; 0 means none.

    Raises:
        InputRefusedError: another encoding, or data of the wrong length.
    """
    kind = {"32FC1": "f4", "16UC1": "u2", "mono16": "u2"}.get(message.encoding)
    size = 0 if kind is None else int(kind[1])
    # rows may be longer than their pixels
    step = message.step or size * message.width
    if kind is None or step % size or step < size * message.width or len(message.data) != step * message.height:
        raise InputRefusedError(
            f"depth image: encoding {message.encoding!r}, {len(message.data)} bytes for "
            f"{message.width} x {message.height}, row step {message.step}; wanted 32FC1 or 16UC1"
        )
    raw = np.frombuffer(message.data, (">" if message.is_bigendian else "<") + kind)
    return depth_from_raw(raw.reshape(message.height, step // size)[:, : message.width], message.encoding)


def camera_info_message(camera: CameraConfig, time_s: float, frame: str) -> CameraInfo:
    """Return the pinhole intrinsics of an undistorted image."""
    fx, fy, cx, cy = camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px
    message = CameraInfo(
        height=camera.height_px,
        width=camera.width_px,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    message.header.stamp, message.header.frame_id = time_message(time_s), frame
    return message


def transform_message(T_parent_child: Array, parent: str, child: str, stamp: Any) -> TransformStamped:
    """Return one frame for TF."""
    x, y, z = (float(v) for v in T_parent_child[:3, 3])
    transform = Transform()
    transform.translation.x, transform.translation.y, transform.translation.z = x, y, z
    q = Rotation.from_matrix(T_parent_child[:3, :3]).as_quat()
    transform.rotation.x, transform.rotation.y, transform.rotation.z, transform.rotation.w = (float(v) for v in q)
    message = TransformStamped(child_frame_id=child, transform=transform)
    message.header.stamp, message.header.frame_id = stamp, parent
    return message
