"""Views: reached ones exactly, at rest, without touching what is there or may be there."""

import numpy as np
import pytest
from motion_paths import dome

from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.transforms import Array, unit
from cell_motion import check_trajectory, plan_views
from cell_motion.collision import Margins, Scene
from cell_motion.views import STOP_S, ViewReach, work_volume
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def _views(cell: Cell, elevations_deg: list[float], n: int, distance_m: float) -> Array:
    centre = cell.T_base_fixture[:3, 3] + [0.0, 0.0, 0.15]
    views = []
    for elevation in np.radians(elevations_deg):
        for azimuth in np.arange(n) * 2.0 * np.pi / n:
            away = np.array(
                [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
            )
            x = unit(np.cross([0.0, 0.0, 1.0], -away))
            T = np.eye(4)
            T[:3, :3] = np.stack([x, np.cross(-away, x), -away], axis=1)
            T[:3, 3] = centre + distance_m * away
            views.append(T)
    return np.array(views)


def test_reached_views_are_looked_from_at_rest(cell: Cell) -> None:
    views = _views(cell, [40.0, 75.0], 6, 0.7)
    plan = plan_views(cell, views, part=dome(), T_base_part=cell.T_base_fixture, start_rad=cell.robot.home_rad)
    assert len(plan.reached_views) >= 9
    assert sorted(plan.reached_views + plan.figures["unreached_views"]) == list(range(len(views)))
    assert [s.kind for s in plan.trajectory.segments] == ["transition"] * len(plan.reached_views)
    for stop in (np.array(plan.stop_times_s), np.array(plan.stop_times_s) + 0.99 * STOP_S):
        q, v = plan.trajectory.sample(stop)
        np.testing.assert_allclose(v, 0.0, atol=1e-6)
        T = cell.robot.forward(q, cell.config.camera.optical_frame)
        np.testing.assert_allclose(T[:, :3, 3], views[plan.reached_views][:, :3, 3], atol=1e-6)
        np.testing.assert_allclose(T[:, :3, 2], views[plan.reached_views][:, :3, 2], atol=1e-6)
    ends = [plan.trajectory.time_s[s.i1] for s in plan.trajectory.segments]
    np.testing.assert_allclose(ends, np.array(plan.stop_times_s) + STOP_S, atol=1e-6)
    assert check_trajectory(cell, plan.trajectory, dome(), cell.T_base_fixture) == []


def test_before_the_first_look_the_whole_work_volume_is_avoided(cell: Cell) -> None:
    views = _views(cell, [75.0], 4, 0.95)
    plan = plan_views(cell, views, part=None, T_base_part=cell.T_base_fixture, start_rad=cell.robot.home_rad)
    assert plan.reached_views
    checker = Scene(cell, boxes=(work_volume(cell),)).checker(Margins())
    assert checker.free(plan.trajectory.position_rad).all()


def test_a_view_can_be_asked_for_before_any_motion_is_planned(cell: Cell) -> None:
    views = _views(cell, [75.0], 3, 0.7)
    views[1, 0, 3] += 3.0
    views[2, :3, 3] = cell.T_base_fixture[:3, 3] + [0.0, 0.0, 0.1]
    reach = ViewReach(cell, part=dome(), T_base_part=cell.T_base_fixture)
    answers = [reach.positions(view) for view in views]
    assert [reason for _, reason in answers] == ["", "ik", "part"]
    T = cell.robot.forward(answers[0][0], cell.config.camera.optical_frame)
    np.testing.assert_allclose(T[:, :3, 3] - views[0, :3, 3], 0.0, atol=1e-6)
    assert len(answers[1][0]) == 0


def test_unreachable_views_are_named(cell: Cell) -> None:
    views = _views(cell, [75.0], 3, 0.7)
    views[1, 0, 3] += 3.0
    plan = plan_views(cell, views, part=dome(), T_base_part=cell.T_base_fixture, start_rad=cell.robot.home_rad)
    assert plan.figures["unreached_views"] == [1]
    assert plan.figures["n_unreached_ik"] == 1
    with pytest.raises(UnreachableError, match="0 of 1") as error:
        plan_views(cell, views[1:2], part=dome(), T_base_part=cell.T_base_fixture, start_rad=cell.robot.home_rad)
    assert error.value.facts["reasons"] == ["ik"]
    with pytest.raises(InputRefusedError, match="wanted finite"):
        plan_views(cell, np.zeros((0, 4, 4)), part=None, T_base_part=cell.T_base_fixture)
