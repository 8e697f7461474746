"""The MoveIt backend on a real moveit_py; skipped where there is none."""

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, toolpath

from cell_core.errors import CollisionError, ConfigurationError
from cell_core.trajectory import JointTrajectory, Segment
from cell_motion import plan_process
from cell_motion.backends.moveit import MoveItMover, scene_objects, session_arguments
from cell_motion.backends.moveit_request import Request
from cell_motion.backends.moveit_worker import MoveItProcess
from cell_motion.collision import Margins, Scene
from cell_motion.timing import Limits, polyline
from cell_motion.trajectory import check_trajectory
from cell_motion.transitions import Mover, close_by
from robot_description import Cell, load_cell
from robot_description.moveit import PILZ, PIPELINES

pytestmark = [
    pytest.mark.moveit,
    pytest.mark.skipif(importlib.util.find_spec("moveit") is None, reason="moveit_py is not installed"),
]
PADDING_M = 0.01


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


@pytest.fixture(scope="module")
def scene(cell: Cell) -> Scene:
    return Scene(cell, part=dome(), T_base_part=cell.T_base_fixture)


@pytest.fixture(scope="module")
def process(cell: Cell) -> Iterator[MoveItProcess]:
    running = MoveItProcess(session_arguments(cell, PIPELINES))
    running.call("fill", scene_objects(cell, dome(), cell.T_base_fixture))
    yield running
    running.close()


@pytest.fixture
def mover(cell: Cell, scene: Scene, process: MoveItProcess) -> MoveItMover:
    margins = Margins(self_m=0.005, cell_m=PADDING_M, part_m=PADDING_M)
    ours = Mover(checker=scene.checker(margins), lower_rad=cell.robot.lower_rad, upper_rad=cell.robot.upper_rad)
    return MoveItMover(process.call, cell, part_names=("part", "part:inside"), margins_mover=ours, padding_m=PADDING_M)


def _beside(cell: Cell, turn_rad: float) -> np.ndarray:
    """Return home turned about the first joint and lowered, so that the part lies between left and right."""
    position = cell.robot.home_rad.copy()
    position[:3] += [turn_rad, 1.2, 0.0]
    return position


def _trajectory(cell: Cell, waypoints: np.ndarray) -> JointTrajectory:
    motion = polyline(waypoints, Limits.of(cell.robot, 0.5), 0.008)
    return JointTrajectory(
        joint_names=cell.robot.joint_names,
        time_s=motion.time_s,
        position_rad=motion.position_rad,
        velocity_rad_per_s=motion.velocity_rad_per_s,
        acceleration_rad_per_s2=motion.acceleration_rad_per_s2,
        segments=(Segment(kind="transition", i0=0, i1=len(motion.time_s) - 1),),
        events=(),
        tool_frame=cell.tool("spray").tcp_frame,
        base_frame=cell.robot.config.base_frame,
        T_base_part=cell.T_base_fixture,
        unreached=(),
    )


def test_it_starts_with_our_configuration_and_nothing_to_complain_of(process: MoveItProcess) -> None:
    # MoveIt has no way to be told that there is no 3D sensor
    assert [line for line in process.log("ERROR", "FATAL") if "No 3D sensor plugin(s)" not in line] == []
    log = "\n".join(process.log())
    controller = "FollowJointTrajectory controller for /cell/arm_controller"
    for loaded in ("OMPL", "Pilz Industrial Motion Planner", controller):
        assert loaded in log, loaded
    assert "kinematics solver" not in "\n".join(process.log("WARN"))


def test_what_moveit_calls_colliding_our_own_check_does_as_well(
    cell: Cell, scene: Scene, process: MoveItProcess
) -> None:
    process.call("pad", 0.0)
    rng = np.random.default_rng(5)
    spread = np.array([0.6, 0.6, 0.6, 1.5, 1.0, 3.0])
    states = cell.robot.home_rad + rng.uniform(-spread, spread, (300, 6))
    ours = ~scene.checker(Margins()).free(states)
    theirs = np.array(process.call("colliding", states))
    assert 20 < theirs.sum() < 280
    # our links are the convex hulls of theirs: never less
    missed = np.flatnonzero(theirs & ~ours)
    assert len(missed) == 0, [process.call("pairs", states[i]) for i in missed]
    assert (ours & ~theirs).sum() <= 0.05 * len(states)


def test_moveit_plans_around_the_part_and_our_own_check_finds_nothing(
    cell: Cell, scene: Scene, mover: MoveItMover
) -> None:
    left, right = _beside(cell, -0.6), _beside(cell, 0.6)
    assert not mover.is_clear(left, right)
    path = mover.plan(left, right, seed=0, time_s=10.0)
    assert path is not None
    assert 3 <= len(path) < 40
    np.testing.assert_array_equal(path[[0, -1]], [left, right])
    assert scene.checker(Margins()).free(close_by(path, 0.002)).all()
    trajectory = _trajectory(cell, path)
    mover.validate(trajectory)
    assert check_trajectory(cell, trajectory, dome(), cell.T_base_fixture) == []


def test_a_path_through_the_part_and_one_through_the_table_are_refused_with_place(
    cell: Cell, mover: MoveItMover
) -> None:
    left, right = _beside(cell, -0.6), _beside(cell, 0.6)
    with pytest.raises(CollisionError, match=r"moveit: \S+ meets part\S* at \d+\.\d+ s \(transition\)") as caught:
        mover.validate(_trajectory(cell, np.stack([left, right])))
    assert caught.value.facts["collisions"]
    low = cell.robot.home_rad.copy()
    low[1] += 1.6
    with pytest.raises(CollisionError, match=r"moveit: \S+ meets (fixture|table|pedestal|part|floor)\S* at"):
        mover.validate(_trajectory(cell, np.stack([cell.robot.home_rad, low])))


def test_pilz_goes_straight_and_what_moveit_cannot_plan_is_none(cell: Cell, process: MoveItProcess) -> None:
    home = cell.robot.home_rad
    goal = home + [0.3, 0.1, -0.1, 0.2, 0.1, 0.4]
    straight = process.call("plan", home, goal, Request(pipeline=PILZ, planner="PTP"))
    assert straight.path_rad is not None
    share = (straight.path_rad - home) / (goal - home)
    assert np.ptp(share, axis=1).max() < 1e-3
    line = process.call("plan", home, home + [0.05, 0.02, 0.0, 0.0, 0.0, 0.0], Request(pipeline=PILZ, planner="LIN"))
    assert line.path_rad is not None
    assert process.call("plan", home, _beside(cell, 0.0), Request()).path_rad is None
    with pytest.raises(ConfigurationError, match="velocity_scaling 0: must be above 0"):
        process.call("plan", home, goal, Request(velocity_scaling=0))


@pytest.mark.parametrize("name", ["spray", "grind"])
def test_a_whole_plan_is_made_with_moveit_and_confirmed_by_it(cell: Cell, name: str) -> None:
    path = toolpath(name, dome_strokes(name, 3))
    plan = plan_process(cell, path, dome(), cell.T_base_fixture, backend="moveit")
    assert plan.figures["moveit_checked_positions"] > 200
    assert check_trajectory(cell, plan.trajectory, dome(), cell.T_base_fixture) == []
    embedded = plan_process(cell, path, dome(), cell.T_base_fixture)
    assert plan.figures["reached_fraction"] == pytest.approx(embedded.figures["reached_fraction"], abs=0.01)
