"""The MoveIt backend against a strict fake: every call, its order and its types as moveit_py 2.14 has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, toolpath

from cell_core.errors import ConfigurationError, DeviceError
from cell_motion import plan_process
from cell_motion.backends.moveit import MoveItMover, parameters
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


class FakeState:
    def __init__(self, model: str) -> None:
        assert model == "model"
        self.position: np.ndarray | None = None
        self.updated = False

    def set_joint_group_positions(self, group: str, position: np.ndarray) -> None:
        assert group == "manipulator"
        assert isinstance(position, np.ndarray)
        assert position.dtype == np.float64
        self.position, self.updated = position, False

    def update(self) -> None:
        self.updated = True


class FakeTrajectory:
    def __init__(self, model: str) -> None:
        assert model == "model"
        self.joint_model_group_name = ""
        self.message: Any = None

    def set_robot_trajectory_msg(self, state: FakeState, message: Any) -> None:
        assert self.joint_model_group_name == "manipulator"  # else time parameterisation fails later
        assert state.updated
        self.message = message

    def get_robot_trajectory_msg(self) -> Any:
        return self.message


class FakeScene:
    def __init__(self, world: "FakeMoveIt") -> None:
        self._world = world
        self.current_state = SimpleNamespace(update=lambda: world.calls.append("update"))

    @property
    def planning_scene_message(self) -> Any:
        return SimpleNamespace(world=SimpleNamespace(collision_objects=self._world.objects))

    def apply_collision_object(self, item: Any) -> None:
        self._world.calls.append("apply")
        if item.header.frame_id == "base_link":  # an unknown frame is only logged
            self._world.objects.append(item)

    def is_path_valid(self, trajectory: FakeTrajectory, group: str, verbose: bool, invalid_index: list[int]) -> bool:
        assert isinstance(invalid_index, list)
        self._world.calls.append("is_path_valid")
        points = np.array([p.positions for p in trajectory.message.joint_trajectory.points])
        return not bool((np.abs(points[:, 0]) < self._world.wall_rad).any())


class FakeComponent:
    def __init__(self, world: "FakeMoveIt") -> None:
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
        self._world.calls.append("plan")
        assert self._start is not None
        assert self._goal is not None
        assert self._start.updated
        assert self._goal.updated
        assert single_plan_parameters.planning_time > 0.0
        for name in ("max_velocity_scaling_factor", "max_acceleration_scaling_factor"):
            assert 0.0 < getattr(single_plan_parameters, name) <= 1.0  # anything else is silently full speed
        a, b = self._start.position, self._goal.position
        order = [5, 4, 3, 2, 1, 0]  # MoveIt may name joints in another order
        points = [SimpleNamespace(positions=list(q[order])) for q in (a, 0.5 * (a + b) + [0, 0.5, 0, 0, 0, 0], b)]
        names = [f"joint_{i + 1}" for i in order]
        message = SimpleNamespace(joint_trajectory=SimpleNamespace(joint_names=names, points=points))
        trajectory = SimpleNamespace(get_robot_trajectory_msg=lambda: message)
        return FakeResponse(self._world.succeeds, trajectory)


class FakeResponse:
    def __init__(self, success: bool, trajectory: Any) -> None:
        self._success = success
        self.trajectory = trajectory  # a failed plan can still carry one

    def __bool__(self) -> bool:
        return self._success


class FakeMoveIt:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.objects: list[Any] = []
        self.wall_rad = -1.0
        self.succeeds = self.accepts_goal = True
        self.depth = 0

    def get_planning_component(self, group: str) -> Any:
        return FakeComponent(self) if group == "manipulator" else []

    def get_robot_model(self) -> str:
        return "model"

    def get_planning_scene_monitor(self) -> Any:
        return SimpleNamespace(read_only=self._scene, read_write=self._scene)

    @contextmanager
    def _scene(self) -> Iterator[FakeScene]:
        assert self.depth == 0, "the scene is locked twice"
        self.depth += 1
        yield FakeScene(self)
        self.depth -= 1


class FakeModules:
    """Stands in for cell_motion.backends.moveit.Modules: messages as plain namespaces."""

    def __init__(self) -> None:
        self.core = SimpleNamespace(
            robot_state=SimpleNamespace(RobotState=FakeState),
            robot_trajectory=SimpleNamespace(RobotTrajectory=FakeTrajectory),
        )
        self.planning = SimpleNamespace(PlanRequestParameters=self._request)

    @staticmethod
    def _request(moveit: FakeMoveIt, namespace: str) -> Any:
        assert namespace == "ompl"
        return SimpleNamespace(planning_time=0.0, max_velocity_scaling_factor=0.0, max_acceleration_scaling_factor=0.0)

    @staticmethod
    def box(name: str, T_base_box: np.ndarray, size_m: np.ndarray, frame: str) -> Any:
        assert T_base_box.shape == (4, 4)
        assert len(size_m) == 3
        return SimpleNamespace(id=name, header=SimpleNamespace(frame_id=frame))

    @staticmethod
    def mesh(name: str, T_base_part: np.ndarray, part: Any, frame: str) -> Any:
        return SimpleNamespace(id=name, header=SimpleNamespace(frame_id=frame))

    @staticmethod
    def trajectory(joint_names: tuple[str, ...], path_rad: np.ndarray) -> Any:
        points = [SimpleNamespace(positions=[float(x) for x in q]) for q in path_rad]
        return SimpleNamespace(joint_trajectory=SimpleNamespace(joint_names=list(joint_names), points=points))


def _mover(cell: Cell, moveit: FakeMoveIt) -> MoveItMover:
    return MoveItMover(moveit, FakeModules(), cell)  # pyright: ignore[reportArgumentType]


A = np.array([-1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
B = np.array([1.0, 0.2, 0.0, 0.0, 1.0, 0.0])


def test_a_clear_move_is_only_validated(cell: Cell) -> None:
    moveit = FakeMoveIt()
    np.testing.assert_array_equal(_mover(cell, moveit).plan(A, B, seed=0, time_s=1.0), [A, B])
    assert moveit.calls == ["is_path_valid"]


def test_a_blocked_move_is_planned_start_goal_plan_and_reordered(cell: Cell) -> None:
    moveit = FakeMoveIt()
    moveit.wall_rad = 0.1
    path = _mover(cell, moveit).plan(A, B, seed=0, time_s=1.0)
    assert path is not None
    assert moveit.calls == ["is_path_valid", "set_start_state", "set_goal_state", "plan"]
    np.testing.assert_allclose(path[[0, -1]], [A, B])
    np.testing.assert_allclose(path[1], 0.5 * (A + B) + [0, 0.5, 0, 0, 0, 0])


def test_failure_is_told_by_the_response_alone(cell: Cell) -> None:
    moveit = FakeMoveIt()
    moveit.wall_rad, moveit.succeeds = 0.1, False
    assert _mover(cell, moveit).plan(A, B, seed=0, time_s=1.0) is None
    moveit.accepts_goal = False
    with pytest.raises(DeviceError, match="goal state refused"):
        _mover(cell, moveit).plan(A, B, seed=0, time_s=1.0)


def test_the_scene_holds_cell_and_part_or_it_is_an_error(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    moveit = FakeMoveIt()
    mover = _mover(cell, moveit)
    mover.fill_scene(dome(n=8), cell.T_base_fixture)
    assert {o.id for o in moveit.objects} == {b.name for b in cell.obstacles} | {"part"}
    assert moveit.calls[-1] == "update"
    monkeypatch.setattr(MoveItMover, "_base", property(lambda self: "nowhere"))
    moveit.objects.clear()
    with pytest.raises(DeviceError, match="planning scene refused pedestal"):
        mover.fill_scene(None, cell.T_base_fixture)


def test_an_unknown_group_is_refused(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    moveit = FakeMoveIt()
    monkeypatch.setattr(moveit, "get_planning_component", lambda group: [])
    with pytest.raises(ConfigurationError, match="no planning group"):
        _mover(cell, moveit)


def test_parameters_hold_description_and_pipelines(cell: Cell) -> None:
    names = parameters(cell)
    assert names["robot_description"].lstrip().startswith("<")
    assert '<group name="manipulator">' in names["robot_description_semantic"]
    assert {"ompl", "planning_pipelines", "plan_request_params", "robot_description_kinematics"} <= set(names)


def test_without_moveit_the_backend_says_so(cell: Cell) -> None:
    if _has_moveit():
        pytest.skip("moveit_py is installed")
    with pytest.raises(ConfigurationError, match="needs moveit_py of a ROS distribution"):
        plan_process(
            cell, toolpath("spray", dome_strokes("spray", 2)), dome(n=10), cell.T_base_fixture, backend="moveit"
        )


def _has_moveit() -> bool:
    try:
        import moveit.planning  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True
