"""Swings leave and arrive along the tool axes; pads may work what lies on a box."""

import numpy as np
import pytest
from motion_paths import dome, dome_strokes, stroke_over, toolpath

from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array, unit
from cell_motion import MotionPlan, check_trajectory, plan_process
from cell_motion.hop import arch
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


@pytest.fixture(scope="module")
def ground(cell: Cell) -> tuple[ToolPath, MotionPlan]:
    path = toolpath("grind", dome_strokes("grind", 3, y_m=0.2, x_m=0.1))
    return path, plan_process(cell, path, dome(), cell.T_base_fixture)


def _frame(position_m: tuple[float, ...], axis: tuple[float, ...]) -> Array:
    z = unit(np.array(axis))
    x = unit(np.cross([0.0, 1.0, 0.0], z))
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = position_m
    return T


def test_an_arch_leaves_and_arrives_along_the_axes_and_stands_as_high_as_asked() -> None:
    start, end = _frame((0.0, 0.0, 0.0), (0.0, 0.0, -1.0)), _frame((0.1, 0.05, 0.0), (0.0, 0.0, -1.0))
    frames, length = arch(start, end, 0.03)
    np.testing.assert_allclose(frames[[0, -1]], np.stack([start, end]), atol=1e-12)
    assert frames[:, 2, 3].max() == pytest.approx(0.03, rel=0.02)
    assert length > np.linalg.norm(end[:3, 3] - start[:3, 3])
    steps = np.diff(frames[:, :3, 3], axis=0)
    # the straight way up comes before the way over
    assert steps[0, 2] > 4.0 * np.linalg.norm(steps[0, :2])
    assert -steps[-1, 2] > 4.0 * np.linalg.norm(steps[-1, :2])


def test_an_arch_between_tilted_frames_turns_from_one_to_the_other() -> None:
    start, end = _frame((0.0, 0.0, 0.0), (0.2, 0.0, -1.0)), _frame((0.1, 0.0, 0.0), (-0.2, 0.0, -1.0))
    frames, _ = arch(start, end, 0.03)
    turns = frames[:, :3, :3]
    np.testing.assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.tile(np.eye(3), (len(turns), 1, 1)), atol=1e-9)
    angle = np.arccos(np.clip(frames[:, :3, 2] @ start[:3, 2], -1.0, 1.0))
    assert np.all(np.diff(angle) > -1e-9)
    rise = unit(frames[1, :3, 3] - frames[0, :3, 3])
    assert rise @ -start[:3, 2] > 0.95


def test_neighbouring_strokes_are_joined_by_one_swing_without_a_stop(
    cell: Cell, ground: tuple[ToolPath, MotionPlan]
) -> None:
    _, plan = ground
    trajectory = plan.trajectory
    kinds = [s.kind for s in trajectory.segments]
    between = [k for k in range(len(kinds)) if kinds[k] == "transition"][1:-1]
    assert len(between) == 2
    for k in between:
        segment = trajectory.segments[k]
        inside = trajectory.velocity_rad_per_s[segment.i0 : segment.i1 + 1]
        assert np.abs(inside).max(axis=1).min() > 0.01, "the arm stops on the way"
        assert trajectory.time_s[segment.i1] - trajectory.time_s[segment.i0] < 1.0
        assert (kinds[k - 1], kinds[k + 1]) == ("retract", "approach")
    assert check_trajectory(cell, trajectory, dome(), cell.T_base_fixture) == []


def test_acceleration_does_not_jump_where_motions_meet(cell: Cell, ground: tuple[ToolPath, MotionPlan]) -> None:
    trajectory = ground[1].trajectory
    t, q, v = trajectory.time_s, trajectory.position_rad, trajectory.velocity_rad_per_s
    h, d = np.diff(t)[:, None], np.diff(q, axis=0)
    at_start = 6.0 * d / h**2 - (4.0 * v[:-1] + 2.0 * v[1:]) / h
    at_end = -6.0 * d / h**2 + (2.0 * v[:-1] + 4.0 * v[1:]) / h
    jump = np.abs(at_start[1:] - at_end[:-1]) / 1e-3 / cell.robot.jerk_rad_per_s3
    assert jump.max() < 1.0


def _plate(thickness_m: float, size_m: float = 0.4, n: int = 21) -> Surface:
    x, y = np.meshgrid(*2 * [np.linspace(-0.5 * size_m, 0.5 * size_m, n)], indexing="ij")
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Surface(vertices_m=np.stack([x, y, 0.0 * x + thickness_m], -1).reshape(-1, 3), triangles=triangles)


def test_a_thin_plate_on_the_fixture_is_ground_over_all_of_it(cell: Cell) -> None:
    y = np.linspace(-0.12, 0.12, 25)
    points = np.stack([0.0 * y, y, 0.0 * y + 0.003], axis=1)
    stroke = stroke_over(points, np.tile([0.0, 0.0, 1.0], (25, 1)), speed_m_per_s=0.1, value=40.0)
    plan = plan_process(cell, toolpath("grind", [stroke]), _plate(0.003), cell.T_base_fixture)
    assert plan.figures["reached_fraction"] == 1.0
