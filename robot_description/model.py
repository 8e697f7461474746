"""The robot and the cell as the rest of the system sees them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from cell_core.config import CameraConfig, CellConfig, GrindToolConfig, GunConfig, RobotConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, inverse
from robot_description.urdf import Joint, UrdfTree


@dataclass(frozen=True, kw_only=True, eq=False)
class RobotModel:
    """An arm with everything fixed to it; joint arrays follow `joint_names`."""

    config: RobotConfig
    urdf_xml: str
    """Expanded URDF, mesh paths absolute."""
    srdf_xml: str
    tree: UrdfTree
    joint_names: tuple[str, ...]
    lower_rad: Array
    """(6,) lower position limits [rad]."""
    upper_rad: Array
    """(6,) upper position limits [rad]."""
    velocity_rad_per_s: Array
    """(6,) velocity limits [rad/s]."""
    acceleration_rad_per_s2: Array
    """(6,) acceleration limits [rad/s2]."""
    jerk_rad_per_s3: Array
    """(6,) jerk limits [rad/s3]."""
    home_rad: Array
    """(6,) home position [rad]."""

    @cached_property
    def frames(self) -> tuple[str, ...]:
        """Every link name."""
        return self.tree.links

    def forward(self, q: ArrayLike, frame: str) -> Array:
        """Return T_base_frame (N, 4, 4) or (4, 4) of a link at joint positions q (N, 6) or (6,) [rad]."""
        q = np.asarray(q, float)
        if q.shape[-1:] != (len(self.joint_names),) or q.ndim > 2:
            n = len(self.joint_names)
            raise ValueError(f"q has shape {q.shape}, wanted (N, {n}) or ({n},)")
        index = {name: i for i, name in enumerate(self.joint_names)}
        T = np.broadcast_to(self._T_base_root, (*q.shape[:-1], 4, 4))
        for joint in reversed(self._chain(frame)):
            T = T @ joint.T_parent_joint
            if joint.name in index:
                T = T @ joint_motion(joint, q[..., index[joint.name]])
        return np.ascontiguousarray(T)

    def fixed(self, frame_a: str, frame_b: str) -> Array:
        """Return T_a_b (4, 4) of two links that no moving joint separates.

        Raises:
            ConfigurationError: an unknown link, or a joint of the arm lies between the two.
        """
        moving = [{j.name for j in self._chain(f) if j.name in self.joint_names} for f in (frame_a, frame_b)]
        between = sorted(moving[0] ^ moving[1])
        if between:
            raise ConfigurationError(f"{frame_a!r} and {frame_b!r} are not rigidly connected: {between[0]} is between")
        zero = np.zeros(len(self.joint_names))
        return inverse(self.forward(zero, frame_a)) @ self.forward(zero, frame_b)

    def _chain(self, frame: str) -> list[Joint]:
        if frame not in self.tree.links:
            raise ConfigurationError(f"{self.config.name}: no link {frame!r}; known: {', '.join(self.tree.links)}")
        return self.tree.to_root(frame)

    @cached_property
    def _T_base_root(self) -> Array:
        T = np.eye(4)
        for joint in reversed(self._chain(self.config.base_frame)):
            T = T @ joint.T_parent_joint
        return inverse(T)


def joint_motion(joint: Joint, value: ArrayLike) -> Array:
    """Return the transform (..., 4, 4) that a joint at `value` [rad or m] adds (Rodrigues' formula for rotation)."""
    value = np.asarray(value, float)
    T = np.zeros((*value.shape, 4, 4))
    T[..., 3, 3] = 1.0
    if joint.kind == "prismatic":
        T[..., :3, :3] = np.eye(3)
        T[..., :3, 3] = value[..., None] * joint.axis
        return T
    x, y, z = joint.axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    T[..., :3, :3] = np.eye(3) + np.sin(value)[..., None, None] * K + (1.0 - np.cos(value))[..., None, None] * (K @ K)
    return T


@dataclass(frozen=True, kw_only=True, eq=False)
class ToolModel:
    """A tool as it hangs on the flange."""

    process: str
    config: GunConfig | GrindToolConfig
    tcp_frame: str
    T_flange_tcp: Array
    """(4, 4) tool centre point in the flange frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxModel:
    """A box obstacle."""

    name: str
    T_base_box: Array
    """(4, 4) box centre in the base frame."""
    size_m: Array
    """(3,) full sides [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One robot, its tools, camera and surroundings."""

    config: CellConfig
    robot: RobotModel
    camera: CameraConfig
    tools: tuple[ToolModel, ...]
    T_flange_camera: Array
    """(4, 4) camera optical frame in the flange frame."""
    T_base_fixture: Array
    """(4, 4) fixture frame in the base frame."""
    obstacles: tuple[BoxModel, ...]

    def equipped(self, config: GunConfig | GrindToolConfig) -> "Cell":
        """Return the cell with this gun or grinding tool in the place of the one it carries for the same process.

        Raises:
            ConfigurationError: the cell carries none for that process.
        """
        mounted = self.tool("spray" if isinstance(config, GunConfig) else "grind")
        return replace(self, tools=tuple(replace(t, config=config) if t is mounted else t for t in self.tools))

    def tool(self, process: str) -> ToolModel:
        """Return the tool for "spray" or "grind".

        Raises:
            ConfigurationError: the cell carries none.
        """
        for tool in self.tools:
            if tool.process == process:
                return tool
        known = ", ".join(sorted(t.process for t in self.tools)) or "none"
        raise ConfigurationError(f"cell {self.config.name!r} carries no tool for {process!r}; it has: {known}")
