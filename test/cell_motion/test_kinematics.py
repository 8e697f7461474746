"""Closed-form inverse kinematics against the URDF's own forward kinematics."""

from dataclasses import replace

import numpy as np
import pytest

from cell_core.errors import ConfigurationError
from cell_motion.kinematics import TURN_RAD, Kinematics
from robot_description import Cell, load_cell


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def _positions(cell: Cell, n: int) -> np.ndarray:
    robot = cell.robot
    low, high = np.maximum(robot.lower_rad, -3.0), np.minimum(robot.upper_rad, 3.0)
    return np.random.default_rng(1).uniform(low, high, (n, 6))


@pytest.mark.parametrize("frame", ["gun_tcp", "sander_tcp", "camera_optical_frame"])
def test_every_branch_stands_at_the_pose_and_one_is_where_it_came_from(cell: Cell, frame: str) -> None:
    kinematics = Kinematics(cell.robot, frame)
    q = _positions(cell, 300)
    T = cell.robot.forward(q, frame)
    answer = kinematics.solve(T)
    assert answer.exists.sum(axis=1).min() >= 2
    found = cell.robot.forward(answer.position_rad[answer.exists], frame)
    wanted = np.repeat(T[:, None], 8, axis=1)[answer.exists]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    d = answer.position_rad - q[:, None]
    d = np.abs(d - TURN_RAD * np.round(d / TURN_RAD)).max(axis=2)
    assert np.nanmin(d, axis=1).max() < 1e-7
    np.testing.assert_allclose(kinematics.forward(q), T, atol=1e-9)


def test_within_limits_means_within_limits(cell: Cell) -> None:
    kinematics = Kinematics(cell.robot, "gun_tcp")
    answer = kinematics.solve(cell.robot.forward(_positions(cell, 200), "gun_tcp"))
    inside = answer.position_rad[answer.within_limits]
    assert len(inside) > 200
    assert (inside >= cell.robot.lower_rad - 1e-9).all()
    assert (inside <= cell.robot.upper_rad + 1e-9).all()


def test_copies_are_whole_turns_within_limits(cell: Cell) -> None:
    kinematics = Kinematics(cell.robot, "gun_tcp")
    copies = kinematics.copies(np.array([0.1, 0.2, 0.3, 1.0, 0.5, -1.0]))
    assert len(copies) == 4  # joints 4 and 6 range over +-400 degrees: two copies each
    turns = (copies - copies[0]) / TURN_RAD
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)


def test_following_keeps_to_the_branch_and_the_turn_of_the_guess(cell: Cell) -> None:
    kinematics = Kinematics(cell.robot, "gun_tcp")
    q = _positions(cell, 100) + np.array([0, 0, 0, TURN_RAD, 0, 0])
    found, distance = kinematics.follow(cell.robot.forward(q, "gun_tcp"), q + 0.01)
    np.testing.assert_allclose(found, q, atol=1e-6)
    assert distance.max() < 0.011


def test_a_pose_out_of_reach_has_no_branch(cell: Cell) -> None:
    T = np.eye(4)
    T[:3, 3] = [4.0, 0.0, 1.0]
    answer = Kinematics(cell.robot, "gun_tcp").solve(T[None])
    assert not answer.exists.any()
    assert not answer.within_limits.any()


def test_wrong_parameters_are_refused(cell: Cell) -> None:
    opw = cell.robot.config.opw.model_copy(update={"c2_m": 0.901})
    robot = replace(cell.robot, config=cell.robot.config.model_copy(update={"opw": opw}))
    with pytest.raises(ConfigurationError, match=r"differ from the URDF by 0\.00"):
        Kinematics(robot, "gun_tcp")
