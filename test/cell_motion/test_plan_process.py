"""Whole plans on generated parts, judged from the trajectory alone: other forward kinematics, 1 kHz, zero margin."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from motion_paths import dome, dome_height, dome_normal, dome_strokes, stroke_over, toolpath

from cell_core.config import GrindToolConfig
from cell_core.errors import CollisionError, ConfigurationError, InputRefusedError, LimitError, UnreachableError
from cell_core.resume import remaining_toolpath
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array, unit
from cell_motion import MotionPlan, check_trajectory, plan_process
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def _straight(x_m: float, z_m: float = 0.42, n: int = 41, y_m: float = 0.4) -> Stroke:
    points = np.stack([np.full(n, x_m), np.linspace(-0.5 * y_m, 0.5 * y_m, n), np.full(n, z_m)], axis=1)
    return stroke_over(
        points,
        np.tile([0.0, 0.0, 1.0], (n, 1)),
        speed_m_per_s=0.3,
        value=5e-6,
        off_ends=4,
        freedom=Freedom(spin="fixed"),
    )


@pytest.fixture(scope="module")
def sprayed(cell: Cell) -> tuple[ToolPath, MotionPlan]:
    path = toolpath("spray", [_straight(0.1), dome_strokes("spray", 3)[0], dome_strokes("spray", 3)[1]])
    return path, plan_process(cell, path, dome(), cell.T_base_fixture)


@pytest.fixture(scope="module")
def ground(cell: Cell) -> tuple[ToolPath, MotionPlan]:
    path = toolpath("grind", dome_strokes("grind", 3, y_m=0.2))
    return path, plan_process(cell, path, dome(), cell.T_base_fixture)


PLANS = pytest.mark.parametrize("name", ["sprayed", "ground"])


@pytest.fixture
def planned(request: pytest.FixtureRequest) -> Callable[[str], tuple[ToolPath, MotionPlan]]:
    return request.getfixturevalue


def _process_times(trajectory: JointTrajectory, k: int) -> Array:
    segment = [s for s in trajectory.segments if s.kind == "process"][k]
    return np.arange(trajectory.time_s[segment.i0], trajectory.time_s[segment.i1], 0.001)


@PLANS
def test_everything_is_reached_in_one_piece(planned: Callable, name: str) -> None:
    path, plan = planned(name)
    assert plan.figures["reached_fraction"] == 1.0
    assert plan.figures["n_splits"] == 0
    assert plan.trajectory.unreached == ()
    assert plan.toolpath is not None
    assert sorted(s.stroke for s in plan.served) == list(range(len(path.strokes)))
    kinds = [s.kind for s in plan.trajectory.segments]
    assert kinds[0] == kinds[-1] == "transition"
    assert [s.stroke for s in plan.trajectory.segments if s.kind == "process"] == [0, 1, 2]
    for before, after in zip(plan.trajectory.segments[:-1], plan.trajectory.segments[1:], strict=True):
        assert before.i1 == after.i0


@PLANS
def test_tool_keeps_pose_and_speed_of_the_path_it_says_it_ran(cell: Cell, planned: Callable, name: str) -> None:
    _, plan = planned(name)
    for k, stroke in enumerate(plan.toolpath.strokes):
        moved = stroke.transformed(cell.T_base_fixture)
        time = _process_times(plan.trajectory, k)
        q, _ = plan.trajectory.sample(time)
        T = cell.robot.forward(q, plan.trajectory.tool_frame)
        at = time - time[0]
        wanted = np.stack([np.interp(at, moved.times_s, moved.position_m[:, i]) for i in range(3)], axis=1)
        # along the path a little early or late; across it not at all
        travel = np.stack([np.interp(at, moved.times_s, moved.travel[:, i]) for i in range(3)], axis=1)
        error = T[:, :3, 3] - wanted
        across = error - np.sum(error * travel, axis=1, keepdims=True) * travel
        assert np.linalg.norm(across, axis=1).max() < 2e-4
        assert np.linalg.norm(error, axis=1).max() < 2e-3
        axis = np.stack([np.interp(at, moved.times_s, moved.tool_axis[:, i]) for i in range(3)], axis=1)
        assert np.degrees(np.arccos(np.clip(np.sum(T[:, :3, 2] * unit(axis), axis=1), -1.0, 1.0))).max() < 0.05
        speed = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) / 0.001
        prescribed = np.interp(0.5 * (at[1:] + at[:-1]), moved.times_s, moved.speed_m_per_s)
        kept = np.abs(speed / prescribed - 1.0) < 0.01
        assert kept.mean() > 0.99


@PLANS
def test_planned_speed_is_the_speed_run(planned: Callable, name: str) -> None:
    path, plan = planned(name)
    assert plan.figures["speed_scaled_samples"] == 0
    assert plan.figures["speed_kept_length_fraction"] > 0.99
    for stroke, served in zip(plan.toolpath.strokes, plan.served, strict=True):
        original = path.strokes[served.stroke]
        original = original.reversed() if served.reversed else original
        # samples may have been added between the planned ones
        assert len(stroke) >= len(original)
        at, planned_at = (np.r_[0.0, np.cumsum(s.step_lengths_m)] for s in (stroke, original))
        same = np.abs(at[:, None] / at[-1] - planned_at / planned_at[-1]).argmin(axis=0)
        np.testing.assert_array_equal(stroke.on[same], original.on)
        on_s, planned_on_s = stroke.dwell_s.sum(), original.dwell_s.sum()
        assert abs(on_s - planned_on_s) < 0.01 * planned_on_s
        assert abs(stroke.times_s[-1] - original.times_s[-1]) < 0.01 * original.times_s[-1]


@PLANS
def test_limits_hold_at_1_khz(cell: Cell, planned: Callable, name: str) -> None:
    _, plan = planned(name)
    robot, trajectory = cell.robot, plan.trajectory
    time = np.arange(0.0, trajectory.duration_s, 0.001)
    q, v = trajectory.sample(time)
    assert (q >= robot.lower_rad).all()
    assert (q <= robot.upper_rad).all()
    assert (np.abs(v) <= robot.velocity_rad_per_s).all()
    acceleration = np.diff(v, axis=0) / 0.001
    assert (np.abs(acceleration) <= 1.01 * robot.acceleration_rad_per_s2).all()
    assert np.diff(trajectory.time_s).max() <= cell.config.controller_period_s + 1e-9
    np.testing.assert_allclose(q[0], robot.home_rad, atol=1e-9)
    np.testing.assert_allclose(trajectory.position_rad[-1], robot.home_rad, atol=1e-6)
    np.testing.assert_allclose(trajectory.velocity_rad_per_s[[0, -1]], 0.0, atol=1e-9)


@PLANS
def test_nothing_meets(cell: Cell, planned: Callable, name: str) -> None:
    _, plan = planned(name)
    assert check_trajectory(cell, plan.trajectory, dome(), cell.T_base_fixture, period_s=0.004) == []


def test_check_trajectory_sees_what_a_plan_without_the_part_would_hit(
    cell: Cell, sprayed: tuple[ToolPath, MotionPlan], ground: tuple[ToolPath, MotionPlan]
) -> None:
    raised = cell.T_base_fixture.copy()
    raised[2, 3] += 0.25
    found = check_trajectory(cell, sprayed[1].trajectory, dome(), raised, period_s=0.1)
    assert any(c.pair == ("gun", "part") for c in found)
    # a pad may touch only in process segments and close to them
    lifted = cell.T_base_fixture.copy()
    lifted[2, 3] += 0.03
    pads = [c for c in check_trajectory(cell, ground[1].trajectory, dome(), lifted) if c.pair[0] == "sander_pad"]
    assert pads
    assert {c.segment for c in pads} <= {"approach", "retract", "transition"}


def test_trigger_events_lead_the_switches(sprayed: tuple[ToolPath, MotionPlan]) -> None:
    _, plan = sprayed
    events = plan.trajectory.events
    assert [e.name for e in events] == ["set_flow_m3_per_s", "on", "off"] * 3
    assert [e.time_s for e in events] == sorted(e.time_s for e in events)
    for k, segment in enumerate(s for s in plan.trajectory.segments if s.kind == "process"):
        stroke = plan.toolpath.strokes[k]
        start = plan.trajectory.time_s[segment.i0]
        first, last = np.flatnonzero(stroke.on)[[0, -1]]
        on_s = start + 0.5 * (stroke.times_s[first - 1] + stroke.times_s[first])
        off_s = start + 0.5 * (stroke.times_s[last] + stroke.times_s[last + 1])
        assert abs(events[3 * k + 1].time_s - (on_s - 0.03)) < 5e-3
        assert abs(events[3 * k + 2].time_s - (off_s - 0.03)) < 5e-3
        assert events[3 * k].value == pytest.approx(5e-6)


def test_spindle_turns_before_contact_and_force_is_off_in_the_air(
    cell: Cell, ground: tuple[ToolPath, MotionPlan]
) -> None:
    _, plan = ground
    tool = cell.tool("grind").config
    assert isinstance(tool, GrindToolConfig)
    trajectory = plan.trajectory
    times = {name: [e for e in trajectory.events if e.name == name] for name in ("on", "off", "set_force_n")}
    assert times["on"][0].time_s < times["set_force_n"][0].time_s - 0.49
    assert times["off"][-1].time_s > times["set_force_n"][-1].time_s
    forces = times["set_force_n"]
    for k, segment in enumerate(s for s in trajectory.segments if s.kind == "process"):
        assert forces[2 * k].time_s == pytest.approx(trajectory.time_s[segment.i0] - tool.force_lag_s, abs=2e-3)
        assert forces[2 * k].value == pytest.approx(50.0)
        assert forces[2 * k + 1].time_s == pytest.approx(trajectory.time_s[segment.i1], abs=2e-3)
        assert forces[2 * k + 1].value == 0.0


def test_files_are_valid_and_come_back(tmp_path: Path, sprayed: tuple[ToolPath, MotionPlan]) -> None:
    _, plan = sprayed
    plan.trajectory.write(tmp_path / "trajectory.json")
    plan.toolpath.write(tmp_path / "toolpath.json")
    back = JointTrajectory.read(tmp_path / "trajectory.json")
    np.testing.assert_allclose(back.position_rad, plan.trajectory.position_rad, atol=1e-8)
    assert ToolPath.read(tmp_path / "toolpath.json").n_samples == plan.toolpath.n_samples


def test_samples_out_of_reach_are_named_and_the_rest_is_run(cell: Cell) -> None:
    n = 61  # from the part away from the robot until the arm is stretched
    points = np.stack([np.linspace(0.0, 1.6, n), np.zeros(n), np.full(n, 0.5)], axis=1)
    stroke = stroke_over(
        points, np.tile([0.0, 0.0, 1.0], (n, 1)), speed_m_per_s=0.2, value=5e-6, freedom=Freedom(spin="fixed")
    )
    plan = plan_process(cell, toolpath("spray", [stroke]), dome(), cell.T_base_fixture)
    assert 0.3 < plan.figures["reached_fraction"] < 0.9
    assert {u.reason for u in plan.trajectory.unreached} <= {"ik", "limits", "cell", "singularity", "flip"}
    assert "ik" in {u.reason for u in plan.trajectory.unreached}
    reached = {i for s in plan.served for i in range(s.first, s.last + 1)}
    assert reached.isdisjoint(u.sample for u in plan.trajectory.unreached)
    assert reached | {u.sample for u in plan.trajectory.unreached} == set(range(n))


def test_a_pose_inside_the_part_is_refused_for_the_part(cell: Cell) -> None:
    inside = _straight(0.0, z_m=-0.05)
    with pytest.raises(UnreachableError, match="0 of 1 strokes can be run") as error:
        plan_process(cell, toolpath("spray", [inside]), dome(), cell.T_base_fixture)
    assert {u.reason for u in error.value.facts["unreached"]} <= {"part", "cell"}
    assert len(error.value.facts["unreached"]) == len(inside)


def test_order_and_direction_are_chosen_to_save_air_time(cell: Cell, ground: tuple[ToolPath, MotionPlan]) -> None:
    strokes = dome_strokes("grind", 3, y_m=0.2)
    jumbled = [strokes[2], strokes[0], strokes[1].reversed()]
    plan = plan_process(cell, toolpath("grind", jumbled), dome(), cell.T_base_fixture)
    assert plan.figures["transition_time_s"] < 1.25 * ground[1].figures["transition_time_s"]


def test_an_exact_spin_is_neither_turned_nor_run_backwards(cell: Cell) -> None:
    """Strokes all one way: with a fixed spin every other one would be run backwards to save air time."""
    one_way = [replace(s, freedom=Freedom(spin="exact")) for s in dome_strokes("spray", 3)]
    one_way = [s if s.travel[0] @ one_way[0].travel[0] > 0.0 else s.reversed() for s in one_way]
    plan = plan_process(cell, toolpath("spray", one_way), dome(), cell.T_base_fixture)
    assert plan.figures["reached_fraction"] == 1.0
    assert not any(s.reversed for s in plan.served)
    for k, served in enumerate(plan.served):
        moved = one_way[served.stroke].transformed(cell.T_base_fixture)
        q, _ = plan.trajectory.sample(_process_times(plan.trajectory, k)[:1])
        assert cell.robot.forward(q, plan.trajectory.tool_frame)[0, :3, 0] @ moved.travel[0] > 0.99
    free_to_turn = [replace(s, freedom=Freedom(spin="fixed")) for s in one_way]
    other = plan_process(cell, toolpath("spray", free_to_turn), dome(), cell.T_base_fixture)
    assert any(s.reversed for s in other.served)


def test_no_part_no_plan(cell: Cell) -> None:
    path = toolpath("spray", [_straight(0.0)])
    with pytest.raises(InputRefusedError, match="no part"):
        plan_process(cell, path, None, cell.T_base_fixture)  # pyright: ignore[reportArgumentType]
    skewed = cell.T_base_fixture.copy()
    skewed[0, 0] = 1.1
    with pytest.raises(InputRefusedError, match="no rigid transform"):
        plan_process(cell, path, dome(), skewed)


def test_bad_starts_are_refused(cell: Cell) -> None:
    path = toolpath("spray", [_straight(0.0)])
    beyond = cell.robot.home_rad.copy()
    beyond[2] = 2.0
    with pytest.raises(LimitError, match=r"joint_3 at 2\.0000 rad exceeds 1\.3090 rad"):
        plan_process(cell, path, dome(), cell.T_base_fixture, start_rad=beyond)
    low = cell.robot.home_rad.copy()
    low[1] = 1.6
    with pytest.raises(CollisionError, match=r"start_rad: .* is in collision with"):
        plan_process(cell, path, dome(), cell.T_base_fixture, start_rad=low)
    with pytest.raises(ConfigurationError, match="must be one of embedded, moveit"):
        plan_process(cell, path, dome(), cell.T_base_fixture, backend="other")


def test_a_spent_budget_leaves_reasons_and_no_hang(cell: Cell) -> None:
    with pytest.raises(UnreachableError, match="time"):
        plan_process(cell, toolpath("spray", [_straight(0.0)]), dome(), cell.T_base_fixture, time_budget_s=0.0)


def test_a_sharp_corner_is_taken_slower_and_said_so(cell: Cell) -> None:
    n = 41  # over the crest of a ridge the axis turns by 60 degrees within 40 mm
    y = np.linspace(-0.2, 0.2, n)
    angle = np.radians(30.0) * np.tanh(y / 0.01)
    normals = np.stack([np.zeros(n), np.sin(angle), np.cos(angle)], axis=1)
    points = np.stack([np.full(n, 0.0), y, np.full(n, 0.45)], axis=1)
    stroke = stroke_over(points, normals, speed_m_per_s=0.3, value=5e-6, freedom=Freedom(spin="fixed"))
    plan = plan_process(cell, toolpath("spray", [stroke]), dome(), cell.T_base_fixture)
    assert plan.figures["speed_scaled_samples"] > 0
    run = plan.toolpath.strokes[0]
    assert run.speed_m_per_s.min() < 0.25
    segment = next(s for s in plan.trajectory.segments if s.kind == "process")
    spent = plan.trajectory.time_s[segment.i1] - plan.trajectory.time_s[segment.i0]
    assert spent == pytest.approx(run.times_s[-1], rel=0.02)
    assert plan.figures["acceleration_ratio_max"] <= 1.0


def test_seeds_repeat(cell: Cell, sprayed: tuple[ToolPath, MotionPlan]) -> None:
    path, plan = sprayed
    again = plan_process(cell, path, dome(), cell.T_base_fixture)
    np.testing.assert_array_equal(again.trajectory.position_rad, plan.trajectory.position_rad)


def test_a_stroke_is_split_where_it_has_to_be(cell: Cell) -> None:
    x = np.zeros(53)
    y = np.linspace(-0.26, 0.26, 53)
    points = np.stack([x, y, dome_height(x, y)], axis=1)
    stroke = stroke_over(
        points, dome_normal(x, y), speed_m_per_s=0.2, value=5e-6, standoff_m=0.2, freedom=Freedom(spin="fixed")
    )
    # a post in the gun's way, standing on the part
    post = _box([0.0, 0.0, 0.42], [0.05, 0.05, 0.5])
    shell = dome()
    part = Surface(
        vertices_m=np.concatenate([shell.vertices_m, post.vertices_m]),
        triangles=np.concatenate([shell.triangles, post.triangles + len(shell.vertices_m)]),
    )
    plan = plan_process(cell, toolpath("spray", [stroke]), part, cell.T_base_fixture)
    assert plan.figures["n_splits"] == 1
    assert 0.4 < plan.figures["reached_fraction"] < 0.95
    assert {u.reason for u in plan.trajectory.unreached} <= {"part", "flip"}
    assert check_trajectory(cell, plan.trajectory, part, cell.T_base_fixture) == []


def _box(centre_m: list[float], size_m: list[float]) -> Surface:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    triangles = [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]  # fmt: skip
    return Surface(vertices_m=corners * size_m + centre_m, triangles=np.array(triangles))


def test_toolpath_of_another_frame_is_moved_with_the_part(cell: Cell, sprayed: tuple[ToolPath, MotionPlan]) -> None:
    path, plan = sprayed
    shift = np.eye(4)
    shift[:3, 3] = [0.03, -0.02, 0.01]
    moved = replace(path, strokes=[s.transformed(shift) for s in path.strokes[:1]])
    part = dome().transformed(shift, "part")
    T = cell.T_base_fixture @ np.linalg.inv(shift)
    again = plan_process(cell, moved, part, T)
    first = next(s for s in plan.trajectory.segments if s.kind == "process" and plan.served[s.stroke].stroke == 0)
    other = next(s for s in again.trajectory.segments if s.kind == "process")
    tips = [
        cell.robot.forward(p.trajectory.position_rad[[s.i0, s.i1]], "gun_tcp")[:, :3, 3]
        for p, s in ((plan, first), (again, other))
    ]
    ends = np.sort(tips[0], axis=0), np.sort(tips[1], axis=0)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-4)


def test_a_coat_waits_for_the_one_before_it_at_rest_with_the_gun_off(cell: Cell, tmp_path: Path) -> None:
    first, second, third = dome_strokes("spray", 3)
    # the nearest to home is last: without batches it would be run first
    strokes = [
        third,
        replace(second, coat=2, wait_before_s=45.0),
        replace(third, coat=2),
        replace(first, coat=3, wait_before_s=5.5),
    ]
    plan = plan_process(cell, toolpath("spray", strokes), dome(), cell.T_base_fixture)
    trajectory = plan.trajectory
    assert [s.coat for s in plan.toolpath.strokes] == [1, 2, 2, 3]
    assert [s.wait_before_s for s in plan.toolpath.strokes] == [0.0, 45.0, 0.0, 5.5]
    assert plan.figures["rest_time_s"] == 50.5
    rests = []
    for segment in trajectory.segments:
        t0, t1 = trajectory.time_s[[segment.i0, segment.i1]]
        position, velocity = trajectory.sample(np.linspace(t0, t1, 200))
        still = np.abs(velocity).max() < 1e-9 and np.ptp(position, axis=0).max() < 1e-9
        if segment.kind == "transition" and still and t1 - t0 > 1.0:
            rests.append((t0, t1))
    assert [t1 - t0 for t0, t1 in rests] == pytest.approx([45.0, 5.5])
    begins = [float(trajectory.time_s[s.i0]) for s in trajectory.segments if s.kind == "process"]
    switches = [e for e in trajectory.events if e.name in ("on", "off")]
    for (t0, t1), k in zip(rests, (1, 3), strict=True):
        assert begins[k - 1] < t0 and t1 < begins[k]
        assert not [e for e in switches if t0 < e.time_s < t1]
        assert [e.name for e in switches if e.time_s <= t0][-1] == "off"
    assert check_trajectory(cell, trajectory, dome(), cell.T_base_fixture, period_s=0.05) == []
    plan.toolpath.write(tmp_path / "toolpath.json")
    again = ToolPath.read(tmp_path / "toolpath.json")
    assert [(s.coat, s.wait_before_s) for s in again.strokes] == [(1, 0.0), (2, 45.0), (2, 0.0), (3, 5.5)]


def test_the_rest_of_a_process_stopped_in_a_wait_waits_again(cell: Cell) -> None:
    first, second, _ = dome_strokes("spray", 3)
    path = toolpath("spray", [first, replace(second, coat=2, wait_before_s=20.0)])
    plan = plan_process(cell, path, dome(), cell.T_base_fixture)
    end = max(e.time_s for e in plan.trajectory.events if e.name == "off" and e.time_s < 15.0)
    rest = remaining_toolpath(plan.toolpath, plan.trajectory, end + 8.0)
    assert rest is not None
    assert [(s.coat, s.wait_before_s) for s in rest.strokes] == [(2, 20.0)]
    again = plan_process(cell, rest, dome(), cell.T_base_fixture)
    assert again.figures["rest_time_s"] == 20.0
    assert min(e.time_s for e in again.trajectory.events if e.name == "on") > 20.0
