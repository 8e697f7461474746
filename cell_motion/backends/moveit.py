"""Free moves planned by MoveIt through moveit_py; process motion stays ours and is only validated there.

moveit_py is imported when a mover is made, never before, so that everything else works without a ROS distribution.
What bites (seen on 2.14): scaling factors of 0 or above 1 are silently taken as 1; `bool(response)` is the only test of
success; setters with an unknown name return False; an unknown frame in a collision object is only logged;
`is_path_valid` needs `invalid_index=[]`. Every one of them is checked here.
"""

import importlib
from typing import Any

import numpy as np
import yaml

from cell_core.config import config_root
from cell_core.errors import ConfigurationError, DeviceError
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_motion.transitions import Mover
from robot_description.model import Cell

GROUP = "manipulator"
PIPELINE = "ompl"
PLANNING_TIME_S = 2.0
SCALING = 1.0
STEP_RAD = 0.02


class MoveItMover:
    """Plans free joint moves by MoveIt's pipeline in a planning scene that holds cell and part."""

    def __init__(self, moveit: Any, modules: "Modules", cell: Cell, margins_mover: Mover | None = None) -> None:
        """Use a running MoveItPy.

        Args:
            moveit: a MoveItPy whose robot is this cell's robot.
            modules: the moveit_py and message modules.
            cell: robot and obstacles.
            margins_mover: checks with margins what MoveIt checks without; None: MoveIt's word is enough.
        """
        self._moveit = moveit
        self._modules = modules
        self._cell = cell
        self._margins = margins_mover
        self._component = moveit.get_planning_component(GROUP)
        if not self._component:
            raise ConfigurationError(f"moveit: no planning group {GROUP!r} in the robot's SRDF")
        self._monitor = moveit.get_planning_scene_monitor()

    @staticmethod
    def connect(
        cell: Cell, part: Surface | None, T_base_part: Array, margins_mover: Mover | None = None
    ) -> "MoveItMover":
        """Start MoveItPy and fill its scene.

        Raises:
            ConfigurationError: moveit_py is not installed.
        """
        modules = Modules()
        moveit = modules.planning.MoveItPy(node_name="cell_motion_moveit", config_dict=parameters(cell))
        mover = MoveItMover(moveit, modules, cell, margins_mover)
        mover.fill_scene(part, T_base_part)
        return mover

    def fill_scene(self, part: Surface | None, T_base_part: Array) -> None:
        """Put the cell's boxes and the part's mesh into the planning scene.

        Raises:
            DeviceError: the scene does not hold them afterwards.
        """
        objects = [self._modules.box(box.name, box.T_base_box, box.size_m, self._base) for box in self._cell.obstacles]
        if part is not None:
            objects.append(self._modules.mesh("part", T_base_part, part, self._base))
        with self._monitor.read_write() as scene:
            for item in objects:
                scene.apply_collision_object(item)
            scene.current_state.update()
            known = {o.id for o in scene.planning_scene_message.world.collision_objects}
        missing = [item.id for item in objects if item.id not in known]
        if missing:
            raise DeviceError(f"moveit: planning scene refused {', '.join(missing)}", missing=missing)

    @property
    def _base(self) -> str:
        return self._cell.robot.config.base_frame

    def is_clear(self, start_rad: Array, end_rad: Array) -> bool:
        """Tell whether the straight joint move is free."""
        n = max(int(np.ceil(np.abs(end_rad - start_rad).max() / STEP_RAD)), 1)
        path = start_rad + np.linspace(0.0, 1.0, n + 1)[:, None] * (end_rad - start_rad)
        if self._margins is not None and not self._margins.is_clear(start_rad, end_rad):
            return False
        return self.is_valid(path)

    def is_valid(self, path_rad: Array) -> bool:
        """Tell whether MoveIt finds every joint position (N, 6) of a path valid."""
        trajectory = self._modules.core.robot_trajectory.RobotTrajectory(self._moveit.get_robot_model())
        trajectory.joint_model_group_name = GROUP
        trajectory.set_robot_trajectory_msg(
            self._state(path_rad[0]), self._modules.trajectory(self._cell.robot.joint_names, path_rad)
        )
        with self._monitor.read_only() as scene:
            return bool(scene.is_path_valid(trajectory, GROUP, False, []))

    def plan(self, start_rad: Array, goal_rad: Array, *, seed: int, time_s: float) -> Array | None:
        """Return joint waypoints (K, 6) by MoveIt, or None. MoveIt's planners take no seed."""
        if self.is_clear(start_rad, goal_rad):
            return np.stack([start_rad, goal_rad])
        self._component.set_start_state(robot_state=self._state(start_rad))
        if not self._component.set_goal_state(robot_state=self._state(goal_rad)):
            raise DeviceError("moveit: goal state refused")
        parameters = self._modules.planning.PlanRequestParameters(self._moveit, PIPELINE)
        parameters.planning_time = min(time_s, PLANNING_TIME_S)
        parameters.max_velocity_scaling_factor = _scaling(SCALING)
        parameters.max_acceleration_scaling_factor = _scaling(SCALING)
        response = self._component.plan(single_plan_parameters=parameters)
        if not response:
            return None
        message = response.trajectory.get_robot_trajectory_msg()
        names = list(message.joint_trajectory.joint_names)
        order = [names.index(name) for name in self._cell.robot.joint_names]
        path = np.array([p.positions for p in message.joint_trajectory.points], float)[:, order]
        reaches = len(path) >= 2 and np.abs(path[[0, -1]] - [start_rad, goal_rad]).max() < 1e-3
        if not reaches:
            return None
        path[0], path[-1] = start_rad, goal_rad
        return path if self._margins is None or self._margins.is_clear_path(path) else None

    def _state(self, position_rad: Array) -> Any:
        state = self._modules.core.robot_state.RobotState(self._moveit.get_robot_model())
        state.set_joint_group_positions(GROUP, np.asarray(position_rad, float))
        state.update()
        return state


def parameters(cell: Cell) -> dict[str, Any]:
    """Return what MoveItPy wants to know: the robot's URDF and SRDF and the files of config/moveit."""

    def read(name: str) -> Any:
        return yaml.safe_load((config_root() / "moveit" / f"{name}.yaml").read_text(encoding="utf-8"))

    return {
        "robot_description": cell.robot.urdf_xml,
        "robot_description_semantic": cell.robot.srdf_xml,
        "robot_description_kinematics": read("kinematics"),
        "robot_description_planning": read("joint_limits"),
        PIPELINE: read("ompl_planning"),
        **read("moveit_cpp"),
        **read("moveit_controllers"),
    }


def _scaling(value: float) -> float:
    if not 0.0 < value <= 1.0:
        raise ConfigurationError(f"moveit: scaling factor {value}: must be above 0 and at most 1")
    return value


class Modules:
    """moveit_py and the message packages it takes, imported on use."""

    def __init__(self) -> None:
        try:
            self.planning = importlib.import_module("moveit.planning")
            self.core = importlib.import_module("moveit.core")
            for name in ("robot_state", "robot_trajectory"):
                importlib.import_module(f"moveit.core.{name}")
            self._moveit_msgs = importlib.import_module("moveit_msgs.msg")
            self._shape_msgs = importlib.import_module("shape_msgs.msg")
            self._geometry_msgs = importlib.import_module("geometry_msgs.msg")
            self._trajectory_msgs = importlib.import_module("trajectory_msgs.msg")
        except ImportError as error:
            raise ConfigurationError(
                f"motion: backend 'moveit' needs moveit_py of a ROS distribution: {error}; use backend 'embedded'"
            ) from error

    def box(self, name: str, T_base_box: Array, size_m: Array, frame: str) -> Any:
        """Return a CollisionObject that is a box."""
        primitive = self._shape_msgs.SolidPrimitive()
        primitive.type = self._shape_msgs.SolidPrimitive.BOX
        primitive.dimensions = [float(x) for x in size_m]
        item = self._object(name, frame)
        item.primitives = [primitive]
        item.primitive_poses = [self._pose(T_base_box)]
        return item

    def mesh(self, name: str, T_base_part: Array, part: Surface, frame: str) -> Any:
        """Return a CollisionObject that is a mesh."""
        mesh = self._shape_msgs.Mesh()
        mesh.triangles = [
            self._shape_msgs.MeshTriangle(vertex_indices=[int(i) for i in triangle]) for triangle in part.triangles
        ]
        mesh.vertices = [self._geometry_msgs.Point(x=float(x), y=float(y), z=float(z)) for x, y, z in part.vertices_m]
        item = self._object(name, frame)
        item.meshes = [mesh]
        item.mesh_poses = [self._pose(T_base_part)]
        return item

    def trajectory(self, joint_names: tuple[str, ...], path_rad: Array) -> Any:
        """Return a RobotTrajectory message through joint positions (N, 6), a second apart."""
        message = self._moveit_msgs.RobotTrajectory()
        message.joint_trajectory.joint_names = list(joint_names)
        points = []
        for k, position in enumerate(path_rad):
            point = self._trajectory_msgs.JointTrajectoryPoint()
            point.positions = [float(q) for q in position]
            point.time_from_start.sec = k
            points.append(point)
        message.joint_trajectory.points = points
        return message

    def _object(self, name: str, frame: str) -> Any:
        item = self._moveit_msgs.CollisionObject()
        item.id = name
        item.header.frame_id = frame
        item.operation = self._moveit_msgs.CollisionObject.ADD
        return item

    def _pose(self, T: Array) -> Any:
        from scipy.spatial.transform import Rotation

        pose = self._geometry_msgs.Pose()
        pose.position.x, pose.position.y, pose.position.z = (float(x) for x in T[:3, 3])
        x, y, z, w = (float(v) for v in Rotation.from_matrix(T[:3, :3]).as_quat())
        pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = x, y, z, w
        return pose
