"""The MoveIt backend against a strict fake: every call, its order and its types as moveit_py 2.14 has them."""

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, toolpath
from moveit_fake import JOINTS, FakeModel, FakeModules, FakeMoveItPy

from cell_core.errors import CollisionError, ConfigurationError, DeviceError
from cell_core.trajectory import JointTrajectory, Segment
from cell_motion import plan_process
from cell_motion.backends.moveit import INSIDE, MoveItMover, corners, scene_objects, session_arguments
from cell_motion.backends.moveit_arm import MoveItArm
from cell_motion.backends.moveit_modules import SceneObject, TimedPath
from cell_motion.backends.moveit_request import Request
from cell_motion.backends.moveit_session import MoveItSession
from cell_motion.backends.moveit_worker import MoveItProcess
from cell_motion.solid import Filling, filling, merged_boxes
from robot_description import Cell, load_cell
from robot_description.moveit import PIPELINES

A = np.array([-1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
B = np.array([1.0, 0.2, 0.0, 0.0, 1.0, 0.0])
WALL = SceneObject(name="wall", T_base_object=np.eye(4), centres_m=np.zeros((1, 3)), sizes_m=np.ones((1, 3)))


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def _session(cell: Cell, **changes: Any) -> tuple[MoveItSession, FakeMoveItPy]:
    modules = FakeModules()
    session = MoveItSession(**{**session_arguments(cell, PIPELINES), **changes}, modules=modules)
    session.fill([WALL])
    modules.moveit.calls.clear()
    return session, modules.moveit


def _mover(session: MoveItSession, cell: Cell, **options: Any) -> MoveItMover:
    return MoveItMover(lambda name, *rest: getattr(session, name)(*rest), cell, **options)


def test_a_clear_move_is_only_validated(cell: Cell) -> None:
    session, moveit = _session(cell)
    np.testing.assert_array_equal(_mover(session, cell).plan(A, B, seed=0, time_s=1.0), [A, B])
    assert set(moveit.calls) == {"is_path_valid"}


def test_a_blocked_move_is_planned_start_goal_plan_and_reordered(cell: Cell) -> None:
    session, moveit = _session(cell)
    moveit.wall_rad = 0.1
    mover = _mover(session, cell)
    path = mover.plan(A, B, seed=0, time_s=1.0)
    assert path is not None
    assert moveit.calls == ["is_path_valid", "set_start_state", "set_goal_state", "plan"]
    # the point half way on the first straight leg is left out
    np.testing.assert_allclose(path, [A, 0.5 * (A + B) + [0, 0.5, 0, 0, 0, 0], B])
    assert mover.figures()["moveit_plans"] == 1
    assert mover.figures()["moveit_failed_plans"] == 0


def test_failure_is_told_by_the_response_alone(cell: Cell) -> None:
    session, moveit = _session(cell)
    moveit.wall_rad, moveit.succeeds = 0.1, False
    mover = _mover(session, cell)
    assert mover.plan(A, B, seed=0, time_s=1.0) is None
    assert mover.figures()["moveit_failed_plans"] == 1
    moveit.accepts_goal = False
    with pytest.raises(DeviceError, match="goal state refused"):
        mover.plan(A, B, seed=0, time_s=1.0)


def test_a_path_that_keeps_too_little_room_is_asked_for_anew_and_never_handed_on(cell: Cell) -> None:
    class Strict:
        def is_clear(self, start_rad: np.ndarray, end_rad: np.ndarray) -> bool:
            return False

        def is_clear_path(self, path_rad: np.ndarray) -> bool:
            return False

    session, moveit = _session(cell)
    moveit.wall_rad = 0.1
    assert _mover(session, cell, margins_mover=Strict()).plan(A, B, seed=0, time_s=5.0) is None
    assert moveit.calls.count("plan") == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity_scaling": 0.0}, "velocity_scaling 0.0: must be above 0 and at most 1"),
        ({"velocity_scaling": 1.01}, "velocity_scaling 1.01: must be above 0"),
        ({"acceleration_scaling": -1.0}, "acceleration_scaling -1.0: must be above 0"),
        ({"velocity_scaling": float("nan")}, "velocity_scaling nan: must be above 0"),
        ({"planner": "RRTkConfigDefault"}, "no planner 'RRTkConfigDefault' in 'ompl'; known: ompl: RRTConnect"),
        ({"pipeline": "chomp"}, "pipeline 'chomp' is not loaded; loaded: ompl, pilz"),
        ({"time_s": 0.0}, "planning time 0.0 s: must be above 0"),
    ],
)
def test_what_moveit_would_silently_read_as_something_else_is_refused(cell: Cell, change: Any, message: str) -> None:
    session, moveit = _session(cell)
    with pytest.raises(ConfigurationError, match=message):
        session.plan(A, B, replace(Request(), **change))
    assert moveit.calls == []


def test_the_request_names_its_pipeline_itself(cell: Cell) -> None:
    # PlanRequestParameters of a name without parameters of its own has no pipeline, and the plan fails with 99999
    session, _ = _session(cell)
    for pipeline, planner in (("ompl", "RRTConnect"), ("pilz_industrial_motion_planner", "PTP")):
        planned = session.plan(A, B, Request(pipeline=pipeline, planner=planner))
        assert planned.error_code == 1
        assert planned.path_rad is not None


def test_the_scene_holds_cell_and_part_or_it_is_an_error(cell: Cell) -> None:
    session, moveit = _session(cell)
    objects = scene_objects(cell, dome(n=8), cell.T_base_fixture)
    session.fill(objects)
    assert set(moveit.objects) == {"wall", "part", INSIDE} | {b.name for b in cell.obstacles}
    assert moveit.calls[-1] == "update"
    lost = replace(objects[0], name="gone")
    session._frame = "nowhere"  # only logged by MoveIt
    with pytest.raises(DeviceError, match="planning scene refused gone"):
        session.fill([lost])


def test_a_group_or_frame_that_is_not_there_is_refused(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="frame 'world' is no link"):
        _session(cell, frame="world")
    monkeypatch.setattr(FakeModel, "has_joint_model_group", lambda self, joint_model_group_name: False)
    with pytest.raises(ConfigurationError, match="no planning group 'manipulator' in the robot's SRDF"):
        _session(cell)


def test_an_invalid_path_is_placed_and_its_pair_named(cell: Cell) -> None:
    session, moveit = _session(cell)
    moveit.wall_rad = 0.05
    path = np.linspace(A, B, 21)
    invalid = session.first_invalid(path)
    assert invalid is not None
    assert (invalid.index, invalid.pairs) == (10, (("link_6", "wall"),))
    assert session.colliding(path[8:12]) == [False, False, True, False]
    session.allow("link_6", "wall", True)
    assert session.pairs(path[10]) == ()
    with pytest.raises(DeviceError, match="link_7 is neither a link with a shape nor an object"):
        session.allow("link_7", "wall", True)


def test_padding_counts_for_free_moves_and_not_when_the_whole_is_validated(cell: Cell) -> None:
    session, moveit = _session(cell)
    moveit.wall_rad = 0.1
    mover = _mover(session, cell, padding_m=0.02)
    assert set(moveit.padding.values()) == {0.02}
    position = np.linspace(A, np.r_[-0.11, B[1:]], 60)
    assert mover.first_invalid(position) is not None
    mover.validate(_trajectory(cell, position))
    assert set(moveit.padding.values()) == {0.02}


def test_a_trajectory_that_moveit_finds_colliding_is_refused_with_time_pair_and_segment(cell: Cell) -> None:
    session, moveit = _session(cell)
    moveit.wall_rad = 0.1
    message = r"link_6 meets wall at 2\.2\d\d s \(transition\) at zero margin"
    with pytest.raises(CollisionError, match=message) as caught:
        _mover(session, cell).validate(_trajectory(cell, np.linspace(A, B, 500)))
    hits: Any = caught.value.facts["collisions"]
    assert [hit.segment for hit in hits] == ["transition"]
    assert moveit.calls.count("is_path_valid") == 1


def _trajectory(cell: Cell, position: np.ndarray) -> JointTrajectory:
    time_s = np.linspace(0.0, 5.0, len(position))
    velocity = np.gradient(position, time_s, axis=0)
    return JointTrajectory(
        joint_names=cell.robot.joint_names,
        time_s=time_s,
        position_rad=position,
        velocity_rad_per_s=velocity,
        acceleration_rad_per_s2=np.zeros_like(position),
        segments=(Segment(kind="transition", stroke=None, i0=0, i1=len(position) - 1),),
        events=(),
        tool_frame=cell.tool("spray").tcp_frame,
        base_frame="base_link",
        T_base_part=cell.T_base_fixture,
        unreached=(),
    )


def test_a_run_ends_as_moveit_says(cell: Cell) -> None:
    session, moveit = _session(cell)
    path = TimedPath(joint_names=JOINTS, time_s=np.array([0.0, 1.0]), position_rad=np.stack([A, B]))
    session.execute(path)
    assert session.running()
    assert session.outcome() == ""
    with pytest.raises(DeviceError, match="a trajectory is running"):
        session.execute(path)
    while session.running():
        time.sleep(0.02)
    assert session.outcome() == "SUCCEEDED"
    moveit.has_controller = False
    with pytest.raises(DeviceError, match="no active controller moves group 'manipulator'"):
        session.execute(path)


def test_a_stop_that_comes_before_the_manager_has_begun_is_not_forgotten(cell: Cell) -> None:
    session, moveit = _session(cell)
    threading.Timer(0.1, moveit.early.set).start()
    session.execute(TimedPath(joint_names=JOINTS, time_s=np.array([0.0, 1.0]), position_rad=np.stack([A, B])))
    assert session.stop(2.0)
    assert session.outcome() == "PREEMPTED"
    assert moveit.calls.count("stop_execution") > 1


def test_the_arm_runs_no_process_through_moveit(cell: Cell) -> None:
    class Silent:
        def call(self, *arguments: Any, **named: Any) -> Any:
            raise AssertionError("nothing may be asked")

    from cell_core.trajectory import ProcessEvent

    trajectory = replace(_trajectory(cell, np.linspace(A, B, 5)), events=(ProcessEvent(time_s=1.0, name="on"),))
    arm = MoveItArm(Silent(), cell.robot.joint_names)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeviceError, match="runs no process, and the trajectory has 1 events"):
        arm.start(trajectory)


def test_corners_keep_what_turns_and_what_goes_back() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 2.5, 2.5])
    y = np.array([0.0, 0.0, 0.0, 1.0, 0.5, 0.0])
    path = np.stack([x, y, *np.zeros((4, 6))], axis=1)
    np.testing.assert_array_equal(corners(path)[:, :2], [[0, 0], [2, 0], [3, 1], [2.5, 0.5], [2.5, 0]])
    np.testing.assert_array_equal(corners(path[:2]), path[:2])


def test_merged_boxes_fill_the_very_voxels() -> None:
    rng = np.random.default_rng(3)
    index = np.argwhere(rng.random((7, 6, 5)) < 0.6) + [3, -2, 1]
    centres, sizes = merged_boxes(Filling(index=index, voxel_m=0.01, origin_m=np.array([0.1, 0.2, 0.3])))
    assert len(centres) < len(index)
    assert np.prod(sizes, axis=1).sum() == pytest.approx(len(index) * 1e-6)
    middle = np.array([0.1, 0.2, 0.3]) + 0.01 * (index + 0.5)
    inside = (np.abs(middle[:, None] - centres) < 0.5 * sizes).all(axis=2)
    np.testing.assert_array_equal(inside.sum(axis=1), 1)
    block = filling(dome(), up=np.array([0.0, 0.0, 1.0]))
    assert len(merged_boxes(block)[0]) < 0.2 * len(block.index)


def test_parameters_hold_description_pipelines_and_the_robots_own_limits(cell: Cell) -> None:
    names = session_arguments(cell)["parameters"]
    assert names["robot_description"].lstrip().startswith("<")
    assert 'filename="file:///' in names["robot_description"]  # MoveIt drops a mesh it cannot load, and goes on
    assert '<group name="manipulator">' in names["robot_description_semantic"]
    assert names["planning_scene_monitor_options"]["wait_for_initial_state_timeout"] == 0.0
    assert not any("TimeOptimal" in adapter for adapter in names["ompl"]["response_adapters"])
    limits = names["robot_description_planning"]["joint_limits"]
    assert [limits[j]["max_acceleration"] for j in JOINTS] == cell.robot.acceleration_rad_per_s2.tolist()


def test_without_moveit_the_backend_says_so(cell: Cell) -> None:
    if _has_moveit():
        pytest.skip("moveit_py is installed")
    with pytest.raises(ConfigurationError, match="needs moveit_py of a ROS distribution"):
        plan_process(
            cell, toolpath("spray", dome_strokes("spray", 2)), dome(n=10), cell.T_base_fixture, backend="moveit"
        )
    # the same through the pipe of the process that would hold it
    with pytest.raises(ConfigurationError, match="needs moveit_py of a ROS distribution"):
        MoveItProcess(session_arguments(cell))


def _has_moveit() -> bool:
    try:
        import moveit.planning  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True
