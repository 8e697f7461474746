"""The checker of motions sees what is wrong with one."""

from dataclasses import replace

import numpy as np
import pytest
from scorer_motion import Replay, TrueScene, UrdfArm, flips, follow, speed_errors

from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.trajectory import JointTrajectory
from robot_description import load_cell


def _arm() -> UrdfArm:
    robot = load_cell("default").robot
    return UrdfArm(robot.urdf_xml, list(robot.joint_names))


def test_its_kinematics_agree_with_the_robot_model() -> None:
    robot = load_cell("default").robot
    arm = _arm()
    q = np.random.default_rng(0).uniform(robot.lower_rad, robot.upper_rad, (20, 6))
    base = arm.frames(robot.config.base_frame, q[:1])[0]
    for frame in ("gun_tcp", "sander_tcp"):
        np.testing.assert_allclose(arm.frames(frame, q), base @ robot.forward(q, frame), atol=1e-9)


def test_a_link_through_a_sheet_meets_it_and_the_pad_may_touch() -> None:
    cell = load_cell("default")
    arm = _arm()
    q = cell.robot.home_rad[None]
    T = arm.frames("sander_tcp", q)[0]
    corners = np.array([[-0.3, -0.3, 0.0], [0.3, -0.3, 0.0], [0.3, 0.3, 0.0], [-0.3, 0.3, 0.0]])
    sheet = Surface(vertices_m=corners, triangles=np.array([[0, 1, 2], [0, 2, 3]]))

    def met(depth_m: float, touch: bool) -> set[str]:
        placed = T.copy()
        placed[:3, 3] -= depth_m * T[:3, 2]
        scene = TrueScene(arm, sheet, placed, [], set(), "sander_pad")
        return {pair for pair in scene.meetings(q, np.array([touch])) if pair.endswith("x part")}

    assert met(-0.05, touch=False) == set()
    assert met(0.002, touch=False) == {"sander_pad x part"}
    assert met(0.002, touch=True) == set()
    assert met(0.10, touch=True) != set()


def _stroke() -> Stroke:
    x = np.linspace(0.0, 0.2, 21)
    n = len(x)
    return Stroke(
        kind="area",
        position_m=np.stack([x, 0.0 * x, 0.0 * x], axis=1),
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, 0.1),
        process_value=np.ones(n),
        on=np.ones(n, bool),
    )


def test_errors_of_place_axis_and_speed_are_told() -> None:
    n = 2001
    T = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (n, 1, 1))
    T[:, 0, 3] = np.linspace(0.0, 0.2, n)
    right = follow(_stroke(), T)
    assert right.position_error_m.max() < 1e-12
    error, length = speed_errors(_stroke(), T)
    assert np.abs(error).max() < 1e-9 and length.sum() == pytest.approx(0.2, rel=1e-3)
    T[:, 1, 3] = 2e-4
    off = follow(_stroke(), T)
    np.testing.assert_allclose(off.position_error_m, 2e-4, atol=1e-9)
    np.testing.assert_allclose(speed_errors(_stroke(), T[::2])[0], 1.0, atol=1e-6)
    half = replace(_stroke(), on=np.arange(21) < 10)
    assert speed_errors(half, T)[1].sum() == pytest.approx(0.095, rel=2e-3)
    turn = np.radians(1.0)
    T[:, :3, :3] = T[0, :3, :3] @ np.array(
        [[1.0, 0.0, 0.0], [0.0, np.cos(turn), -np.sin(turn)], [0.0, np.sin(turn), np.cos(turn)]]
    )
    np.testing.assert_allclose(follow(_stroke(), T).axis_error_rad, turn, atol=1e-9)


def test_a_flip_is_counted_once() -> None:
    n = 2001
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, 0, 3] = np.linspace(0.0, 0.2, n)
    q = np.zeros((n, 6))
    assert flips(T, q) == 0
    q[1000:, 3] = 1.0
    assert flips(T, q) == 1


def test_a_replay_differentiates_the_spline() -> None:
    t = np.linspace(0.0, 1.0, 126)
    q = np.tile(0.1 * t[:, None] ** 3, (1, 6))
    trajectory = JointTrajectory(
        joint_names=[f"j{k}" for k in range(6)], time_s=t, position_rad=q,
        velocity_rad_per_s=np.tile(0.3 * t[:, None] ** 2, (1, 6)),
        acceleration_rad_per_s2=np.tile(0.6 * t[:, None], (1, 6)),
        segments=[], events=[], tool_frame="t", base_frame="b", T_base_part=np.eye(4),
    )  # fmt: skip
    replay = Replay.of(trajectory)
    np.testing.assert_allclose(replay.acceleration_rad_per_s2[:, 0], 0.6 * replay.time_s, atol=1e-9)
    np.testing.assert_allclose(replay.jerk_rad_per_s3, 0.6, atol=1e-6)
