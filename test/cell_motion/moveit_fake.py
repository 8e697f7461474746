"""A strict stand-in for moveit_py 2.14: calls, their order and types, and its silences, without its geometry."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

from cell_motion.backends.moveit_modules import Modules, SceneObject, TimedPath

JOINTS = tuple(f"joint_{i + 1}" for i in range(6))


class FakeState:
    """moveit.core.robot_state.RobotState."""

    def __init__(self, model: "FakeModel") -> None:
        assert isinstance(model, FakeModel)
        self.model = model
        self.position: Any = None
        self.updated = False

    def set_to_default_values(self) -> None:
        self.position, self.updated = np.zeros(6), False

    @property
    def joint_positions(self) -> dict[str, float]:
        return dict(zip(JOINTS, self.position, strict=True))

    @joint_positions.setter
    def joint_positions(self, joint_positions: dict[str, float]) -> None:
        assert self.position is not None, "joints that are not named keep whatever was in memory"
        assert set(joint_positions) <= set(JOINTS)
        assert all(type(q) is float for q in joint_positions.values())
        self.position = np.array([joint_positions[name] for name in JOINTS])
        self.updated = False

    def update(self) -> None:
        self.updated = True


class FakeTrajectory:
    """moveit.core.robot_trajectory.RobotTrajectory."""

    def __init__(self, model: "FakeModel") -> None:
        assert isinstance(model, FakeModel)
        self.joint_model_group_name = ""
        self.message: Any = None

    def set_robot_trajectory_msg(self, robot_state: FakeState, msg: Any) -> None:
        assert self.joint_model_group_name == "manipulator"  # else time parameterisation fails later
        assert robot_state.updated
        self.message = msg

    def get_robot_trajectory_msg(self) -> Any:
        return self.message

    def __len__(self) -> int:
        return len(self.message.joint_trajectory.points)


class FakeMatrix:
    """moveit.core.collision_detection.AllowedCollisionMatrix."""

    def __init__(self, names: list[str], default_entry: bool = False) -> None:
        assert isinstance(names, list)
        self.names, self.default, self.entries = names, default_entry, {}

    def set_entry(self, name1: str, name2: str, allowed: bool) -> None:
        self.entries[frozenset((name1, name2))] = allowed

    def get_entry(self, name1: str, name2: str) -> tuple[bool, str]:
        allowed = self.entries.get(frozenset((name1, name2)))
        return (False, "UNKNOWN") if allowed is None else (True, "ALWAYS") if allowed else (True, "NEVER")


class FakeScene:
    """moveit.core.planning_scene.PlanningScene: the wall is where joint_1 is near 0."""

    def __init__(self, world: "FakeMoveItPy", writes: bool) -> None:
        self._world, self._writes = world, writes
        self.current_state = SimpleNamespace(
            update=lambda: world.calls.append("update"), joint_positions=dict(zip(JOINTS, world.heard(), strict=True))
        )

    @property
    def planning_scene_message(self) -> Any:
        padding = [SimpleNamespace(link_name=n, padding=p) for n, p in self._world.padding.items()]
        world = SimpleNamespace(collision_objects=list(self._world.objects.values()))
        return SimpleNamespace(world=world, link_padding=padding)

    @property
    def allowed_collision_matrix(self) -> FakeMatrix:
        return self._world.matrix

    @allowed_collision_matrix.setter
    def allowed_collision_matrix(self, matrix: FakeMatrix) -> None:
        assert self._writes
        self._world.matrix = matrix

    def knows_frame_transform(self, frame_id: str) -> bool:
        return frame_id == "base_link"

    def apply_collision_object(self, collision_object_msg: Any) -> None:
        assert self._writes
        self._world.calls.append("apply")
        if collision_object_msg.header.frame_id == "base_link":  # an unknown frame is only logged
            self._world.objects[collision_object_msg.id] = collision_object_msg

    def is_path_valid(self, trajectory: FakeTrajectory, group: str, verbose: bool, invalid_index: list[int]) -> bool:
        assert isinstance(invalid_index, list)  # None is a TypeError
        assert group == "manipulator"  # an unknown one checks nothing
        self._world.calls.append("is_path_valid")
        points = np.array([p.positions for p in trajectory.message.joint_trajectory.points])
        return not bool((np.abs(points[:, 0]) < self._world.reach_rad).any())  # the list handed over is a copy

    def is_state_colliding(self, robot_state: FakeState, group: str, verbose: bool) -> bool:
        assert robot_state.updated
        assert group == "manipulator"
        return bool(abs(robot_state.position[0]) < self._world.reach_rad)

    def check_collision(self, request: Any, result: Any, state: FakeState, acm: FakeMatrix) -> None:
        assert request.joint_model_group_name == "manipulator"
        allowed = acm.entries.get(frozenset(("link_6", "wall")), acm.default)
        result.collision = abs(state.position[0]) < self._world.reach_rad and not allowed


class FakeComponent:
    """moveit.planning.PlanningComponent."""

    def __init__(self, world: "FakeMoveItPy") -> None:
        self._world = world
        self._start: FakeState | None = None
        self._goal: FakeState | None = None

    def set_start_state(self, *, robot_state: FakeState) -> bool:
        self._world.calls.append("set_start_state")
        self._start = robot_state
        return True

    def set_goal_state(self, *, robot_state: FakeState) -> bool:
        self._world.calls.append("set_goal_state")
        self._goal = robot_state
        return self._world.accepts_goal

    def plan(self, *, single_plan_parameters: Any) -> Any:
        asked, world = single_plan_parameters, self._world
        world.calls.append("plan")
        assert world.depth == 0, "plan waits for the scene that the caller has locked"
        assert self._start is not None
        assert self._goal is not None
        assert self._start.updated
        assert self._goal.updated
        assert asked.planning_time > 0.0
        for name in ("max_velocity_scaling_factor", "max_acceleration_scaling_factor"):
            assert 0.0 < getattr(asked, name) <= 1.0  # anything else is silently full speed
        assert asked.planner_id in ("RRTConnect", "PTP", "LIN")  # anything else is silently the default one
        if asked.planning_pipeline not in ("ompl", "pilz_industrial_motion_planner"):
            return FakeResponse(99999, None)
        a, b = self._start.position, self._goal.position
        order = [5, 4, 3, 2, 1, 0]  # MoveIt may name joints in another order
        middle = 0.5 * (a + b) + [0, 0.5, 0, 0, 0, 0]
        points = [SimpleNamespace(positions=list(q[order])) for q in (a, 0.5 * (a + middle), middle, b)]
        message = SimpleNamespace(
            joint_trajectory=SimpleNamespace(joint_names=[JOINTS[i] for i in order], points=points)
        )
        # a failed plan can still carry a trajectory
        return FakeResponse(1 if world.succeeds else -1, SimpleNamespace(get_robot_trajectory_msg=lambda: message))


class FakeResponse:
    """moveit.core.planning_interface.MotionPlanResponse."""

    def __init__(self, code: int, trajectory: Any) -> None:
        self.error_code, self.planning_time, self.trajectory = SimpleNamespace(val=code), 0.02, trajectory

    def __bool__(self) -> bool:
        return self.error_code.val == 1


class FakeManager:
    """moveit.planning.TrajectoryExecutionManager: runs until stopped, and forgets stops that come too early."""

    def __init__(self, world: "FakeMoveItPy") -> None:
        self._world = world

    def ensure_active_controllers_for_group(self, group: str) -> bool:
        return group == "manipulator" and self._world.has_controller

    def push(self, trajectory: Any) -> bool:
        self._world.calls.append("push")
        return len(trajectory.joint_trajectory.points) > 0

    def execute_and_wait(self) -> Any:
        self._world.early.wait(0.1)  # a stop before this is forgotten
        self._world.begun.set()
        stopped = self._world.stopped.wait(0.5)
        return SimpleNamespace(status="PREEMPTED" if stopped else "SUCCEEDED")

    def stop_execution(self) -> None:
        self._world.calls.append("stop_execution")
        if self._world.begun.is_set():
            self._world.stopped.set()


class FakeModel:
    """moveit.core.robot_model.RobotModel."""

    def __init__(self) -> None:
        self.joint_model_group_names = ["manipulator"]

    def has_joint_model_group(self, joint_model_group_name: str) -> bool:
        return joint_model_group_name in self.joint_model_group_names


class FakeMoveItPy:
    """moveit.planning.MoveItPy."""

    def __init__(self, *, node_name: str, launch_params_filepaths: list[str]) -> None:
        import threading

        text = Path(launch_params_filepaths[0]).read_text(encoding="utf-8")
        self.parameters = yaml.safe_load(text)[node_name]["ros__parameters"]
        self.calls: list[str] = []
        self.objects: dict[str, Any] = {}
        self.padding: dict[str, float] = {}
        self.matrix = FakeMatrix([])
        self.model = FakeModel()
        self.wall_rad = -1.0
        self.succeeds = self.accepts_goal = self.has_controller = True
        self.depth = self.asked = 0
        self.stands = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        self.early, self.begun, self.stopped = threading.Event(), threading.Event(), threading.Event()

    def heard(self) -> list[float]:
        """Joint positions as MoveIt knows them: zeros until the second time that it is asked."""
        self.asked += 1
        return [0.0] * 6 if self.asked < 2 else self.stands

    @property
    def reach_rad(self) -> float:
        return self.wall_rad + max(self.padding.values(), default=0.0)

    def get_planning_component(self, planning_component_name: str) -> FakeComponent:
        if planning_component_name != "manipulator":
            raise RuntimeError(f"Could not find joint model group '{planning_component_name}'.")
        return FakeComponent(self)

    def get_robot_model(self) -> FakeModel:
        return self.model

    def get_trajectory_execution_manager(self) -> FakeManager:
        return FakeManager(self)

    def get_planning_scene_monitor(self) -> Any:
        return SimpleNamespace(
            read_only=lambda: self._scene(False),
            read_write=lambda: self._scene(True),
            new_planning_scene_message=self._changed,
        )

    def _changed(self, scene: Any) -> None:
        assert self.depth == 0, "the scene is locked by the caller"
        assert scene.is_diff  # else the scene is emptied
        self.padding |= {p.link_name: p.padding for p in scene.link_padding}

    @contextmanager
    def _scene(self, writes: bool) -> Iterator[FakeScene]:
        assert self.depth == 0, "the scene is locked twice"
        self.depth += 1
        try:
            yield FakeScene(self, writes)
        finally:
            self.depth -= 1


class FakeModules(Modules):
    """Messages as plain namespaces; `moveit` is the last MoveItPy made."""

    def __init__(self) -> None:
        self.moveit: Any = None
        self.core = SimpleNamespace(
            robot_state=SimpleNamespace(RobotState=FakeState),
            robot_trajectory=SimpleNamespace(RobotTrajectory=FakeTrajectory),
            collision_detection=SimpleNamespace(
                AllowedCollisionMatrix=FakeMatrix, CollisionRequest=SimpleNamespace, CollisionResult=SimpleNamespace
            ),
        )
        self.planning = SimpleNamespace(MoveItPy=self._start, PlanRequestParameters=self._request)

    def _start(self, **options: Any) -> FakeMoveItPy:
        self.moveit = FakeMoveItPy(**options)
        return self.moveit

    @staticmethod
    def _request(moveit: FakeMoveItPy, namespace: str) -> Any:
        # parameters that are not there only warn: the pipeline's name is empty then
        found = moveit.parameters.get(namespace, {}) if namespace else moveit.parameters
        return SimpleNamespace(**{"planning_pipeline": "", "planner_id": "", **found.get("plan_request_params", {})})

    def scene_object(self, item: SceneObject, frame: str) -> Any:
        assert item.T_base_object.shape == (4, 4)
        assert item.centres_m.shape == item.sizes_m.shape
        meshes = [] if item.vertices_m is None else ["mesh"]
        return SimpleNamespace(
            id=item.name, header=SimpleNamespace(frame_id=frame), primitives=list(item.centres_m), meshes=meshes
        )

    def padding(self, links: Any, padding_m: float) -> Any:
        entries = [SimpleNamespace(link_name=link, padding=padding_m) for link in links]
        return SimpleNamespace(is_diff=True, link_padding=entries)

    def trajectory(self, path: TimedPath) -> Any:
        assert len(path.time_s) == len(path.position_rad)
        points = [SimpleNamespace(positions=[float(x) for x in q]) for q in path.position_rad]
        return SimpleNamespace(joint_trajectory=SimpleNamespace(joint_names=list(path.joint_names), points=points))
