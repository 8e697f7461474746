"""Inputs that cannot be served, or hardly: the right result or the right error, never a hang."""

import time
from dataclasses import replace

import numpy as np
import pytest
from motion_paths import dome, dome_height, dome_normal, stroke_over, toolpath

from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from cell_motion import plan_process
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def straight(start_m: list[float], end_m: list[float], n: int = 41, **freedom: object) -> Stroke:
    points = np.linspace(start_m, end_m, n)
    return stroke_over(
        points, np.tile([0.0, 0.0, 1.0], (n, 1)), speed_m_per_s=0.3, value=5e-6, standoff_m=0.2,
        freedom=Freedom(spin="fixed", **freedom),  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def sheet(x_m: float, y_m: float) -> Surface:
    x, y = np.meshgrid([-0.5 * x_m, 0.5 * x_m], [-0.5 * y_m, 0.5 * y_m], indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.full(4, 0.02)], axis=1)
    return Surface(vertices_m=vertices, triangles=np.array([[0, 2, 3], [0, 3, 1]]))


def test_of_a_part_larger_than_reach_the_rest_is_run_and_the_rest_is_named(cell):
    """A sheet of 4.4 m, its ends 2.5 m from an arm that reaches 2.05 m."""
    path = toolpath("spray", [straight([0.0, -2.2, 0.02], [0.0, 2.2, 0.02], 221)])
    plan = plan_process(cell, path, sheet(0.5, 4.4), cell.T_base_fixture)
    assert 0.3 < plan.figures["reached_fraction"] < 0.95
    reached = {i for s in plan.served for i in range(s.first, s.last + 1)}
    lost = {u.sample for u in plan.trajectory.unreached}
    assert reached | lost == set(range(221)) and not reached & lost
    assert {0, 220} <= lost and 110 in reached
    assert {u.reason for u in plan.trajectory.unreached} <= {"ik", "limits", "cell", "part", "singularity", "flip"}


def test_a_target_behind_the_enclosure_is_refused_for_the_cell(cell):
    """1.9 m ahead of the fixture, in reach of the arm, stands the front wall; the gun would have to go through it."""
    wall = next(o for o in cell.obstacles if o.name == "wall_right")
    y = float(wall.T_base_box[1, 3] - 0.1 - cell.T_base_fixture[1, 3])
    path = toolpath("spray", [straight([-0.6, y, 0.4], [-0.2, y, 0.4])])
    with pytest.raises(UnreachableError, match="0 of 1 strokes can be run") as error:
        plan_process(cell, path, dome(), cell.T_base_fixture)
    assert {u.reason for u in error.value.facts["unreached"]} <= {"cell", "ik", "limits"}
    assert len(error.value.facts["unreached"]) == 41


@pytest.mark.parametrize(
    ("freedom", "message"),
    [
        ({"standoff_m": (0.05, 0.02)}, r"stroke 0: standoff_m from 0\.05 to 0\.02 m: lowest above highest"),
        ({"standoff_m": (0.0, float("nan"))}, r"stroke 0: standoff_m from 0 to nan m"),
        ({"tilt_rad": -0.1}, r"stroke 0: tilt_rad -0\.1, wanted 0 to 1\.57 rad"),
        ({"tilt_rad": 2.0}, r"stroke 0: tilt_rad 2, wanted 0 to 1\.57 rad"),
    ],
)
def test_contradictory_freedoms_are_refused(cell, freedom, message):
    path = toolpath("spray", [straight([0.0, -0.1, 0.3], [0.0, 0.1, 0.3], **freedom)])
    with pytest.raises(InputRefusedError, match=message):
        plan_process(cell, path, dome(), cell.T_base_fixture)


def test_contradictory_joint_limits_are_refused(cell):
    robot = replace(cell.robot, lower_rad=cell.robot.upper_rad + 0.1)
    path = toolpath("spray", [straight([0.0, -0.1, 0.3], [0.0, 0.1, 0.3])])
    with pytest.raises(InputRefusedError, match=r"motion: joint_1: lower limit .* rad is not below upper"):
        plan_process(replace(cell, robot=robot), path, dome(), cell.T_base_fixture)
    robot = replace(cell.robot, jerk_rad_per_s3=0.0 * cell.robot.jerk_rad_per_s3)
    with pytest.raises(InputRefusedError, match=r"motion: joint_1: jerk limit 0 rad/s3, wanted > 0"):
        plan_process(replace(cell, robot=robot), path, dome(), cell.T_base_fixture)


def test_fifty_thousand_samples_return_in_time_with_the_best_so_far(cell):
    """A quarter of a millimetre apart; two seconds are enough for some of the strokes, the rest is named."""
    y = np.linspace(-0.25, 0.25, 2000)
    strokes = []
    for x0 in np.linspace(-0.17, 0.17, 25):
        x = np.full_like(y, x0)
        points, freedom = np.stack([x, y, dome_height(x, y)], axis=1), Freedom(spin="fixed", tilt_rad=0.2)
        strokes.append(
            stroke_over(points, dome_normal(x, y), speed_m_per_s=0.3, value=5e-6, standoff_m=0.2, freedom=freedom)
        )
    path = toolpath("spray", strokes)
    assert path.n_samples == 50_000
    started = time.process_time()
    try:
        plan = plan_process(cell, path, dome(), cell.T_base_fixture, time_budget_s=2.0)
        lost = plan.trajectory.unreached
        assert len(lost) + sum(s.last - s.first + 1 for s in plan.served) >= 50_000
    except UnreachableError as error:
        lost = error.facts["unreached"]
        assert len(lost) == 50_000
    assert time.process_time() - started < 12.0
    assert {u.reason for u in lost} == {"time"}


def test_one_endless_stroke_does_not_hang(cell):
    """A spiral of 50,000 samples is one stroke: its search has to stop in the middle."""
    turn = np.linspace(0.0, 40.0 * np.pi, 50_000)
    r = 0.02 + 0.15 * turn / turn[-1]
    x, y = r * np.cos(turn), r * np.sin(turn)
    stroke = stroke_over(
        np.stack([x, y, dome_height(x, y)], axis=1), dome_normal(x, y), speed_m_per_s=0.3, value=5e-6,
        standoff_m=0.2, freedom=Freedom(spin="free"),
    )  # fmt: skip
    started = time.process_time()
    with pytest.raises(UnreachableError, match="time") as error:
        plan_process(cell, toolpath("spray", [stroke]), dome(), cell.T_base_fixture, time_budget_s=0.3)
    assert len(error.value.facts["unreached"]) == 50_000
    assert time.process_time() - started < 8.0
