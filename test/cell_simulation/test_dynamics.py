"""The arm with masses: torques against independent formulas, limits, disturbance, refusals."""

from dataclasses import replace

import numpy as np
import pinocchio
import pytest
from arm_motions import ROBOT, run, wave

from cell_core.errors import ConfigurationError, LimitError
from cell_simulation.arm import TICK_S, Arm
from cell_simulation.drive import SUBSTEPS, Push
from cell_simulation.dynamics import ArmDynamics
from cell_simulation.inertia import check_inertia, dynamics_urdf


def held(robot=ROBOT) -> ArmDynamics:
    return ArmDynamics(robot, robot.home_rad, seed=0, model_error=0.0)


def test_gravity_torques_agree_with_another_rigid_body_library() -> None:
    model = pinocchio.buildModelFromXML(ROBOT.urdf_xml)
    torque = pinocchio.computeGeneralizedGravity(model, model.createData(), ROBOT.home_rad)
    assert np.abs(torque).max() > 300.0
    assert held().torque_n_m == pytest.approx(torque, abs=1e-6)


def test_flange_is_where_the_robot_model_puts_it() -> None:
    assert held().flange() == pytest.approx(ROBOT.forward(ROBOT.home_rad, ROBOT.config.flange_frame), abs=1e-12)


def test_same_seed_same_motion_another_seed_another_lag() -> None:
    ends = []
    for seed in (1, 1, 2):
        arm = Arm(ROBOT, seed=seed)
        arm.accept(ROBOT.joint_names, *wave(1.5))
        ends.append(run(arm)[0][300])
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])
    assert ends[0] == pytest.approx(ends[2], abs=1e-3)


def test_a_push_moves_the_arm_by_force_over_servo_stiffness_and_is_worked_off() -> None:
    drive = held()
    arm = Arm(ROBOT, model_error=0.0)
    arm._drive = drive
    z = []
    force = np.array([0.0, 0.0, 200.0])
    point = drive.flange()[:3, 3].copy()

    def load(substep: int, T_base_flange: np.ndarray) -> Push:
        assert 0 <= substep < SUBSTEPS
        return Push(force_n=force, point_m=T_base_flange[:3, 3])

    for _ in range(round(2.0 / TICK_S)):
        arm.advance(load)
        z.append(drive.flange()[2, 3] - point[2])
    assert 2e-5 < max(z) < 1e-3  # upwards, with the push, by a real arm's tenths of a millimetre
    assert abs(z[-1]) < 0.3 * max(z)


def test_a_joint_without_enough_torque_lags_until_the_controller_stops_it() -> None:
    weak = ROBOT.urdf_xml.replace('effort="2960"', 'effort="700"')
    assert weak != ROBOT.urdf_xml
    robot = replace(ROBOT, urdf_xml=weak)
    arm = Arm(robot)
    t, q, v, a = wave(1.6, 0.6)
    arm.accept(ROBOT.joint_names, t, q, v, a)
    torque = []
    for _ in range(round(3.0 / TICK_S)):
        arm.advance()
        torque.append(np.abs(arm._drive.torque_n_m).max())  # pyright: ignore[reportAttributeAccessIssue]
    assert max(torque) == pytest.approx(700.0)
    assert arm.status == "aborted"
    assert "tracking error" in arm.abort_reason


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('effort="2960"', 'effort="0"', "joint_1: limit effort is 0"),
        ('<mass value="70"', '<mass value="-1"', "link_2.*mass -1 kg"),
        ('<mass value="70"', '<mass value="nan"', "link_2.*mass nan kg"),
    ],
)
def test_a_urdf_without_physical_masses_or_torques_is_refused(old: str, new: str, says: str) -> None:
    assert old in ROBOT.urdf_xml
    with pytest.raises(ConfigurationError, match=says):
        held(replace(ROBOT, urdf_xml=ROBOT.urdf_xml.replace(old, new)))


def test_an_inertia_that_no_body_has_is_refused() -> None:
    check_inertia("rod", 1.0, np.array([1e-6, 1.0, 1.0]))
    with pytest.raises(ConfigurationError, match="exceeds the sum of the other two"):
        check_inertia("odd", 1.0, np.array([1.0, 1.0, 2.1]))


def test_a_link_without_mass_gets_that_of_its_shapes() -> None:
    import xml.etree.ElementTree as ElementTree

    root = ElementTree.fromstring(ROBOT.urdf_xml)
    link = next(e for e in root.findall("link") if e.get("name") == "link_2")
    inertial = link.find("inertial")
    assert inertial is not None
    link.remove(inertial)
    robot = replace(ROBOT, urdf_xml=ElementTree.tostring(root, encoding="unicode"))
    written = ElementTree.fromstring(dynamics_urdf(robot))
    mass = next(e for e in written.findall("link") if e.get("name") == "link_2").find("inertial/mass")
    assert mass is not None
    # the file says 70 kg for these shapes
    assert 50.0 < float(mass.get("value", "0")) < 90.0


def test_an_arm_of_no_kind_is_refused() -> None:
    with pytest.raises(LimitError, match="known are mujoco, servo"):
        Arm(ROBOT, kind="jelly")  # pyright: ignore[reportArgumentType]
