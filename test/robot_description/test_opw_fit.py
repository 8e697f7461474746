"""OPW parameters read off URDF files, and what is said of arms that have none."""

import numpy as np
import pytest
from arm_kit import ODD, UR10E, dh_urdf, opw_arms, opw_urdf
from hypothesis import given, settings

from cell_core.config.models import OpwConfig
from cell_core.errors import ConfigurationError
from robot_description import load_robot
from robot_description.model import joint_motion
from robot_description.opw import opw_forward
from robot_description.opw_fit import fit_opw
from robot_description.urdf import parse_urdf


@settings(max_examples=60, deadline=None)
@given(opw=opw_arms())
def test_parameters_read_off_a_urdf_move_as_it_does(opw: OpwConfig) -> None:
    tree = parse_urdf(opw_urdf(opw), "arm")
    found = fit_opw(tree, "l0", "l6")
    q = np.random.default_rng(0).uniform(-3.0, 3.0, (30, 6))
    T = np.broadcast_to(np.eye(4), (30, 4, 4))
    for k, joint in enumerate(reversed(tree.to_root("l6"))):
        T = T @ joint.T_parent_joint @ joint_motion(joint, q[:, k])
    np.testing.assert_allclose(opw_forward(found, q), T, atol=1e-9)


def test_the_standard_arm_has_the_published_dimensions() -> None:
    robot = load_robot("irb4600_60_205")
    found = fit_opw(robot.tree, "base_link", "tool0")
    assert robot.config.opw is not None
    for key, value in robot.config.opw.model_dump().items():
        np.testing.assert_allclose(getattr(found, key), value, atol=1e-9, err_msg=key)


@pytest.mark.parametrize(
    ("urdf", "message"),
    [
        (dh_urdf("ur10e", UR10E), r"axes 3 \(a3\) and 4 \(a4\) enclose 0\.0000 degrees at zero, wanted 90"),
        (dh_urdf("odd", ODD), r"axis 2 \(a2\) is not parallel to axis 3 \(a3\): 6\.8755 degrees apart"),
        (dh_urdf("short", UR10E[:5]), "wanted six turning joints between base and flange, found a1"),
    ],
)
def test_what_keeps_an_arm_from_the_form_is_named(urdf: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fit_opw(parse_urdf(urdf, "arm"), "base_link", "tool0")


def test_a_wrist_that_does_not_meet_is_measured() -> None:
    opw = OpwConfig(
        a1_m=0.1,
        a2_m=-0.1,
        b_m=0.0,
        c1_m=0.4,
        c2_m=0.6,
        c3_m=0.7,
        c4_m=0.1,
        offsets_rad=(0,) * 6,
        sign_corrections=(1,) * 6,
    )
    place = "<child link='l5'/><origin xyz='0.0 0.0 0.7'"
    assert place in opw_urdf(opw)
    urdf = opw_urdf(opw).replace(place, place.replace("'0.0 0.0", "'0.02 0.0"))
    # axes 5 and 6 stand 20 mm beside axis 4: the point nearest to all three lies a third of that off the two
    with pytest.raises(ConfigurationError, match=r"axes 4 to 6 \(a4, a5, a6\) do not meet in one point: 13\.333 mm"):
        fit_opw(parse_urdf(urdf, "arm"), "l0", "l6")
