"""The arm's kinematics against published data, the OPW closed form and pinocchio."""

import importlib
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.errors import ConfigurationError
from cell_core.transforms import inverse
from robot_description import RobotModel, load_robot
from robot_description.opw import opw_deviation, opw_forward

FRAMES = ("tool0", "gun_tcp", "sander_tcp", "camera_optical_frame", "link_3", "base_link")


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return load_robot("irb4600_60_205")


def samples(robot: RobotModel, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(robot.lower_rad, robot.upper_rad, (count, 6))


def test_ranges_and_speeds_are_the_published_ones(robot: RobotModel) -> None:
    # ABB IRB 4600-60/2.05: product specification, working range and axis speeds [deg], [deg/s]
    assert np.allclose(np.degrees(robot.lower_rad), [-180, -90, -180, -400, -125, -400])
    assert np.allclose(np.degrees(robot.upper_rad), [180, 150, 75, 400, 120, 400])
    assert np.allclose(np.degrees(robot.velocity_rad_per_s), [175, 175, 175, 250, 250, 360], atol=0.01)


def test_reach_is_the_published_one(robot: RobotModel) -> None:
    # 2.05 m from axis 1 to the wrist centre with the arm stretched forwards
    q = np.zeros((181, 6))
    q[:, 1] = np.pi / 2
    q[:, 2] = np.linspace(robot.lower_rad[2], robot.upper_rad[2], 181)
    wrist = robot.forward(q, "link_5")[:, :3, 3]
    assert np.hypot(wrist[:, 0], wrist[:, 1]).max() == pytest.approx(2.05, abs=0.005)


def test_joint_limits_agree_between_yaml_and_urdf(robot: RobotModel) -> None:
    root = ElementTree.fromstring(robot.urdf_xml)
    speeds = {
        joint.get("name"): float(limit.get("velocity", "nan"))
        for joint in root.findall("joint")
        if (limit := joint.find("limit")) is not None
    }
    assert list(speeds) == list(robot.joint_names)
    assert np.allclose(list(speeds.values()), robot.velocity_rad_per_s, atol=1e-4)


def test_forward_equals_opw(robot: RobotModel) -> None:
    q = samples(robot, 300)
    assert np.abs(opw_forward(robot.config.opw, q) - robot.forward(q, "tool0")).max() < 1e-9
    assert max(opw_deviation(robot, np.random.default_rng(3))) < 1e-9


@pytest.mark.parametrize("frame", FRAMES)
def test_forward_equals_pinocchio(robot: RobotModel, frame: str) -> None:
    pinocchio = importlib.import_module("pinocchio")
    model = pinocchio.buildModelFromXML(robot.urdf_xml)
    data = model.createData()
    q = samples(robot, 40)
    ours = robot.forward(q, frame)
    assert len(ours) == 40
    for i in range(len(q)):
        pinocchio.framesForwardKinematics(model, data, q[i])
        assert np.allclose(data.oMf[model.getFrameId(frame)].homogeneous, ours[i], atol=1e-9)


def test_one_configuration_equals_its_row_in_a_batch(robot: RobotModel) -> None:
    q = samples(robot, 5)
    batch = robot.forward(q, "gun_tcp")
    assert batch.shape == (5, 4, 4)
    assert np.allclose(robot.forward(q[3], "gun_tcp"), batch[3], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_forward_is_a_rigid_motion_and_keeps_fixed_frames(robot: RobotModel, values: list[float]) -> None:
    q = np.array(values)
    T_base_flange, T_base_tcp = robot.forward(q, "tool0"), robot.forward(q, "sander_tcp")
    R = T_base_tcp[:3, :3]
    assert np.allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert np.allclose(inverse(T_base_flange) @ T_base_tcp, robot.fixed("tool0", "sander_tcp"), atol=1e-12)


def test_fixed_refuses_frames_with_a_joint_between(robot: RobotModel) -> None:
    with pytest.raises(ConfigurationError, match=r"link_4.*tool0.*joint_5"):
        robot.fixed("link_4", "tool0")
    with pytest.raises(ConfigurationError, match="no link 'gun_tip'"):
        robot.forward(np.zeros(6), "gun_tip")


def test_wrong_shape_is_refused(robot: RobotModel) -> None:
    with pytest.raises(ValueError, match=r"\(7,\)"):
        robot.forward(np.zeros(7), "tool0")


def test_arrays_are_read_only(robot: RobotModel) -> None:
    with pytest.raises(ValueError, match="read-only"):
        robot.home_rad[0] = 1.0
