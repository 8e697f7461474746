"""moveit_py and the messages it takes, imported on use: everything else works without a ROS distribution."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneObject:
    """Something that stands in the cell: boxes, a mesh or both."""

    name: str
    T_base_object: Array
    """(4, 4) in the frame that the scene is filled in."""
    centres_m: Array
    """(N, 3) centres of boxes, in the object's frame."""
    sizes_m: Array
    """(N, 3) full sides of boxes."""
    vertices_m: Array | None = None
    """(V, 3) of a mesh, in the object's frame."""
    triangles: Array | None = None
    """(T, 3) vertex indices."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedPath:
    """Joint positions over time, as a controller takes them."""

    joint_names: tuple[str, ...]
    time_s: Array
    """(N,) from the start."""
    position_rad: Array
    """(N, J)."""
    velocity_rad_per_s: Array | None = None
    acceleration_rad_per_s2: Array | None = None


class Modules:
    """moveit_py and the message packages."""

    def __init__(self) -> None:
        """Import them.

        Raises:
            ConfigurationError: one of them is not there; says which.
        """
        try:
            self.planning = importlib.import_module("moveit.planning")
            self.core = importlib.import_module("moveit.core")
            for name in ("robot_state", "robot_trajectory", "collision_detection"):
                importlib.import_module(f"moveit.core.{name}")
            self._moveit_msgs = importlib.import_module("moveit_msgs.msg")
            self._shape_msgs = importlib.import_module("shape_msgs.msg")
            self._geometry_msgs = importlib.import_module("geometry_msgs.msg")
            self._trajectory_msgs = importlib.import_module("trajectory_msgs.msg")
        except ImportError as error:
            raise ConfigurationError(
                f"motion: backend 'moveit' needs moveit_py of a ROS distribution: {error}; use backend 'embedded'"
            ) from error

    def scene_object(self, item: SceneObject, frame: str) -> Any:
        """Return a CollisionObject."""
        message = self._moveit_msgs.CollisionObject()
        message.id = item.name
        message.header.frame_id = frame
        message.operation = self._moveit_msgs.CollisionObject.ADD
        message.pose = self._pose(item.T_base_object)
        for centre, size in zip(item.centres_m, item.sizes_m, strict=True):
            box = self._shape_msgs.SolidPrimitive()
            box.type = self._shape_msgs.SolidPrimitive.BOX
            box.dimensions = [float(x) for x in size]
            message.primitives.append(box)
            message.primitive_poses.append(self._pose(_moved(centre)))
        if item.vertices_m is not None and item.triangles is not None:
            message.meshes = [self._mesh(item.vertices_m, item.triangles)]
            message.mesh_poses = [self._pose(np.eye(4))]
        return message

    def padding(self, links: Sequence[str], padding_m: float) -> Any:
        """Return a change of the planning scene that makes links thicker."""
        message = self._moveit_msgs.PlanningScene()
        message.is_diff = message.robot_state.is_diff = True
        for link in links:
            entry = self._moveit_msgs.LinkPadding()
            entry.link_name, entry.padding = link, float(padding_m)
            message.link_padding.append(entry)
        return message

    def trajectory(self, path: TimedPath) -> Any:
        """Return a RobotTrajectory."""
        message = self._moveit_msgs.RobotTrajectory()
        message.joint_trajectory.joint_names = list(path.joint_names)
        points = []
        for k, time_s in enumerate(path.time_s):
            point = self._trajectory_msgs.JointTrajectoryPoint()
            point.positions = path.position_rad[k].tolist()
            if path.velocity_rad_per_s is not None:
                point.velocities = path.velocity_rad_per_s[k].tolist()
            if path.acceleration_rad_per_s2 is not None:
                point.accelerations = path.acceleration_rad_per_s2[k].tolist()
            nanoseconds = round(1e9 * float(time_s))
            point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, 1_000_000_000)
            points.append(point)
        message.joint_trajectory.points = points
        return message

    def _mesh(self, vertices_m: Array, triangles: Array) -> Any:
        mesh = self._shape_msgs.Mesh()
        triangle, point = self._shape_msgs.MeshTriangle, self._geometry_msgs.Point
        mesh.triangles = [triangle(vertex_indices=corners) for corners in triangles.astype(np.uint32)]
        mesh.vertices = [point(x=x, y=y, z=z) for x, y, z in vertices_m.astype(float).tolist()]
        return mesh

    def _pose(self, T: Array) -> Any:
        pose = self._geometry_msgs.Pose()
        pose.position.x, pose.position.y, pose.position.z = (float(x) for x in T[:3, 3])
        x, y, z, w = (float(v) for v in Rotation.from_matrix(T[:3, :3]).as_quat())
        pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = x, y, z, w
        return pose


def _moved(offset_m: Array) -> Array:
    T = np.eye(4)
    T[:3, 3] = offset_m
    return T
