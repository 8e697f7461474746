"""Loading robots and cells: what is refused and in which words; arms other than the standard one."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from arm_kit import opw_arms, opw_urdf
from hypothesis import given, settings

from cell_core.config.loader import config_root
from cell_core.config.models import OpwConfig
from cell_core.errors import ConfigurationError
from cell_core.transforms import transform_from_xyz_rpy, xyz_rpy_from_transform
from robot_description import load_cell, load_robot
from robot_description.urdf import parse_urdf

# KUKA KR 6 R700 sixx (published dimensions and ranges), shapes left out
KR6_URDF = """<robot name="kr6_r700">
  <link name="base_link"/> <link name="link_1"/> <link name="link_2"/> <link name="link_3"/> <link name="link_4"/>
  <link name="link_5"/>
  <link name="link_6"><collision><geometry><cylinder radius="0.03" length="0.02"/></geometry></collision></link>
  <link name="tool0"/> <link name="nozzle"/> <link name="eye"/>
  <joint name="a1" type="revolute"><parent link="base_link"/><child link="link_1"/><origin xyz="0 0 0.400"/>
    <axis xyz="0 0 -1"/><limit lower="-2.967" upper="2.967" velocity="6.28" effort="1"/></joint>
  <joint name="a2" type="revolute"><parent link="link_1"/><child link="link_2"/><origin xyz="0.025 0 0"/>
    <axis xyz="0 1 0"/><limit lower="-3.316" upper="0.785" velocity="5.24" effort="1"/></joint>
  <joint name="a3" type="revolute"><parent link="link_2"/><child link="link_3"/><origin xyz="0.315 0 0"/>
    <axis xyz="0 1 0"/><limit lower="-2.094" upper="2.723" velocity="6.28" effort="1"/></joint>
  <joint name="a4" type="revolute"><parent link="link_3"/><child link="link_4"/><origin xyz="0 0 0.035"/>
    <axis xyz="-1 0 0"/><limit lower="-3.229" upper="3.229" velocity="6.65" effort="1"/></joint>
  <joint name="a5" type="revolute"><parent link="link_4"/><child link="link_5"/><origin xyz="0.365 0 0"/>
    <axis xyz="0 1 0"/><limit lower="-2.094" upper="2.094" velocity="6.77" effort="1"/></joint>
  <joint name="a6" type="revolute"><parent link="link_5"/><child link="link_6"/><origin xyz="0.080 0 0"/>
    <axis xyz="-1 0 0"/><limit lower="-6.108" upper="6.108" velocity="10.7" effort="1"/></joint>
  <joint name="flange" type="fixed"><parent link="link_6"/><child link="tool0"/>
    <origin rpy="0 1.5707963267948966 0"/></joint>
  <joint name="nozzle_mount" type="fixed"><parent link="tool0"/><child link="nozzle"/>
    <origin xyz="0 0 0.2" rpy="0 0.5 0"/></joint>
  <joint name="eye_mount" type="fixed"><parent link="tool0"/><child link="eye"/><origin xyz="0.1 0 0"/></joint>
</robot>
"""
LIMITS = {"velocity_rad_per_s": 5.0, "acceleration_rad_per_s2": 10.0, "jerk_rad_per_s3": 100.0}
KR6: dict[str, Any] = {
    "format": "grind_spray_cell/robot",
    "version": 1,
    "name": "kr6_r700",
    "urdf": "kr6.urdf",
    "base_frame": "base_link",
    "flange_frame": "tool0",
    "joint_names": ["a1", "a2", "a3", "a4", "a5", "a6"],
    "joint_limits": {f"a{i}": dict(LIMITS) for i in range(1, 7)},
    "opw": {
        "a1_m": 0.025,
        "a2_m": -0.035,
        "b_m": 0.0,
        "c1_m": 0.400,
        "c2_m": 0.315,
        "c3_m": 0.365,
        "c4_m": 0.080,
        "offsets_rad": [0.0, -np.pi / 2, 0.0, 0.0, 0.0, 0.0],
        "sign_corrections": [-1, 1, 1, -1, 1, -1],
    },
    "home_rad": [0.0, -1.5, 1.5, 0.0, 0.5, 0.0],
}


def write_robot(folder: Path, text: str = KR6_URDF, **changes: Any) -> Path:
    (folder / "kr6.urdf").write_text(text)
    data = copy.deepcopy(KR6)
    for key, value in changes.items():
        target, *rest = key.split("__")
        if rest:
            data[target] = {**data[target], rest[0]: value}
        else:
            data[key] = value
    path = folder / "kr6.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_the_default_cell_loads_with_two_tools_and_a_camera() -> None:
    cell = load_cell("default")
    assert {t.process for t in cell.tools} == {"spray", "grind"}
    assert cell.tool("spray").tcp_frame == "gun_tcp"
    assert cell.camera.name == cell.config.camera.config
    fixture = next(box for box in cell.obstacles if box.name == "fixture")
    top = fixture.T_base_box[:3, 3] + [0.0, 0.0, fixture.size_m[2] / 2]
    assert np.allclose(cell.T_base_fixture[:3, 3], top), "parts stand on the fixture's top"
    with pytest.raises(ConfigurationError, match=r"no tool for 'weld'.*grind, spray"):
        cell.tool("weld")


def test_another_arm_loads_from_its_urdf(tmp_path: Path) -> None:
    robot = load_robot(write_robot(tmp_path))
    assert robot.joint_names == ("a1", "a2", "a3", "a4", "a5", "a6")
    # stretched forwards at zero: 0.025 + 0.315 + 0.365 + 0.080 in x, 0.400 + 0.035 in z
    assert np.allclose(robot.forward(np.zeros(6), "tool0")[:3, 3], [0.785, 0.0, 0.435])
    assert "disable_collisions" not in robot.srdf_xml  # only one link has a shape
    assert robot.upper_rad[1] == pytest.approx(0.785)


def test_another_arm_runs_a_cell(tmp_path: Path) -> None:
    write_robot(tmp_path)
    cell = yaml.safe_load((config_root() / "cells" / "default.yaml").read_text())
    cell |= {"robot": "kr6.yaml", "camera": {"config": "wrist_640", "optical_frame": "eye"}}
    cell["tools"] = [{"process": "spray", "config": "hvlp_240", "tcp_frame": "nozzle"}]
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(cell))
    loaded = load_cell(tmp_path / "cell.yaml")
    assert np.allclose(loaded.tool("spray").T_flange_tcp[:3, 3], [0.0, 0.0, 0.2])
    assert np.allclose(loaded.T_flange_camera[:3, 3], [0.1, 0.0, 0.0])


def calibrated_cell(folder: Path, optical_frame: str = "camera_optical_frame", **pose: list[float]) -> Path:
    """Write the default cell with a camera file that carries a calibrated hand-eye."""
    camera = yaml.safe_load((config_root() / "cameras" / "wrist_640.yaml").read_text())
    camera["hand_eye"] = {"T_flange_optical": pose, "standard_error_m": [1e-5] * 3, "standard_error_rad": [1e-5] * 3}
    (folder / "mine.yaml").write_text(yaml.safe_dump(camera))
    cell = yaml.safe_load((config_root() / "cells" / "default.yaml").read_text())
    cell["camera"] = {"config": "mine.yaml", "optical_frame": optical_frame}
    (folder / "cell.yaml").write_text(yaml.safe_dump(cell))
    return folder / "cell.yaml"


def test_a_calibrated_hand_eye_moves_the_camera_everywhere(tmp_path: Path) -> None:
    nominal = load_cell("default")
    xyz, rpy = xyz_rpy_from_transform(nominal.T_flange_camera)
    xyz, rpy = xyz + [0.0004, -0.0002, 0.0003], rpy + [0.001, 0.002, -0.001]
    cell = load_cell(calibrated_cell(tmp_path, xyz_m=xyz.tolist(), rpy_rad=rpy.tolist()))
    wanted = transform_from_xyz_rpy(xyz, rpy)
    assert np.allclose(cell.T_flange_camera, wanted, atol=1e-12)
    q = nominal.robot.home_rad
    seen = cell.robot.forward(q, "camera_optical_frame")
    assert np.allclose(seen, nominal.robot.forward(q, "tool0") @ wanted, atol=1e-12)
    tree = parse_urdf(cell.robot.urdf_xml, "calibrated")
    text = next(j for j in tree.joints if j.child == "camera_optical_frame")
    assert np.allclose(nominal.robot.fixed("tool0", text.parent) @ text.T_parent_joint, wanted, atol=1e-12)
    assert np.allclose(cell.tool("spray").T_flange_tcp, nominal.tool("spray").T_flange_tcp, atol=0.0)


def test_a_calibrated_hand_eye_needs_a_fixed_joint(tmp_path: Path) -> None:
    path = calibrated_cell(tmp_path, "link_6", xyz_m=[0.1, 0.0, 0.0])
    with pytest.raises(ConfigurationError, match="'link_6' hangs on no fixed joint"):
        load_cell(path)


@settings(max_examples=25, deadline=None)
@given(opw=opw_arms())
def test_any_opw_arm_loads(tmp_path_factory: Any, opw: OpwConfig) -> None:
    listed = {k: list(v) if isinstance(v, tuple) else v for k, v in opw.model_dump().items()}
    folder = tmp_path_factory.mktemp("arm")
    path = write_robot(folder, opw_urdf(opw), opw=listed, base_frame="l0", flange_frame="l6", home_rad=[0.0] * 6)
    loaded = load_robot(path).config.opw
    assert loaded is not None and loaded.sign_corrections == opw.sign_corrections


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"opw__c3_m": 0.375}, "", r"disagree with the URDF.*0\.01\d* m.*1e-06"),
    ({"opw__sign_corrections": [1, 1, 1, -1, 1, -1]}, "", "disagree with the URDF"),
    ({"opw__sign_corrections": [0, 1, 1, -1, 1, -1]}, "", "must be 1 or -1"),
    ({"flange_frame": "nozzle"}, "", "disagree with the URDF"),
    ({"flange_frame": "hand"}, "", r"no link 'hand'.*base_link"),
    ({"base_frame": "world"}, "", "no link 'world'"),
    ({"base_frame": "link_2"}, "", "hangs on a moving joint"),
    ({"joint_names": ["a1", "a2", "a3", "a4", "a5", "a7"]}, "", "'a7' is not in the URDF"),
    ({"joint_names": ["a2", "a1", "a3", "a4", "a5", "a6"]}, "", "the flange's chain has"),
    ({"joint_limits": {f"a{i}": LIMITS for i in range(1, 6)}}, "", "'a6' stands in only one"),
    ({"joint_limits__a3": {**LIMITS, "jerk_rad_per_s3": -5.0}}, "", r"jerk_rad_per_s3: value -5\.0.*greater than 0"),
    ({"home_rad": [0.0, 1.5, 1.5, 0.0, 0.5, 0.0]}, "", r"home_rad: a2 at 1\.5000 rad is outside -3\.3160\.\.0\.7850"),
    ({"urdf": "nowhere.urdf"}, "", "'nowhere.urdf' not found"),
    ({"srdf": "nowhere.srdf"}, "", "'nowhere.srdf' not found"),
    ({"spare": 1}, "", "unknown key 'spare'"),
    ({}, KR6_URDF.replace('lower="-2.967"', 'lower="3.967"'), "lower limit 3.9670 rad is not below"),
    ({}, KR6_URDF.replace("</robot>", ""), "not XML"),
    ({}, "solid cube", "not XML"),
    ({}, KR6_URDF.replace('<child link="nozzle"/>', '<child link="nose"/>'), "link 'nose', which does not exist"),
    ({}, KR6_URDF.replace('eye_mount" type="fixed"', 'eye_mount" type="continuous"'), "not in joint_names"),
    ({}, KR6_URDF.replace('xyz="0 0 0.035"', 'xyz="0 0 nan"'), "wanted 3 finite numbers"),
    ({}, KR6_URDF.replace('xyz="0 0 0.035"', 'xyz="0 0"'), "wanted 3 finite numbers"),
    ({}, KR6_URDF.replace('<link name="eye"/>', '<link name="eye"/><link name="eye"/>'), "link 'eye' stands twice"),
    ({}, KR6_URDF.replace('cylinder radius="0.03" length="0.02"', 'mesh filename="package://a/x.stl"'), "not found"),
]


@pytest.mark.parametrize(("changes", "urdf", "message"), REFUSALS)
def test_a_wrong_robot_is_refused_with_the_facts(tmp_path: Path, changes: dict, urdf: str, message: str) -> None:
    path = write_robot(tmp_path, urdf or KR6_URDF, **changes)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_robot(path)
    assert "\n" not in str(caught.value)


def test_a_wrong_srdf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srdf").write_text('<robot name="x"><disable_collisions link1="link_1" link2="tail"/></robot>')
    with pytest.raises(ConfigurationError, match="disable_collisions names link 'tail'"):
        load_robot(write_robot(tmp_path, srdf="a.srdf"))


def test_a_wrong_xacro_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.xacro").write_text('<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:nothing/></robot>')
    with pytest.raises(ConfigurationError, match="xacro"):
        load_robot(write_robot(tmp_path, urdf="bad.xacro"))


CELL_REFUSALS = [
    ({"robot": "irb9999"}, r"robots: no file or entry 'irb9999'; known: .*irb4600_60_205"),
    ({"camera": {"config": "wrist_640", "optical_frame": "eye"}}, "no link 'eye'"),
    ({"camera": {"config": "wrist_640", "optical_frame": "link_4"}}, "not rigidly connected"),
    ({"tools": [{"process": "spray", "config": "no_gun", "tcp_frame": "gun_tcp"}]}, "guns: no file or entry 'no_gun'"),
    ({"tools": [{"process": "spray", "config": "hvlp_240", "tcp_frame": "gun_tcp"}] * 2}, "'spray' stands twice"),
    (
        {"obstacles": [{"name": "box", "centre_m": [0.0, 0.0, 0.0], "size_m": [1.0, 1.0, 1.0]}] * 2},
        "'box' stands twice",
    ),
]


@pytest.mark.parametrize(("changes", "message"), CELL_REFUSALS)
def test_a_wrong_cell_is_refused_with_the_facts(tmp_path: Path, changes: dict, message: str) -> None:
    data = yaml.safe_load((config_root() / "cells" / "default.yaml").read_text()) | changes
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigurationError, match=message):
        load_cell(tmp_path / "cell.yaml")


def test_meshes_are_found_by_package_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = tmp_path / "ws" / "share" / "arm_support" / "meshes" / "a.stl"
    mesh.parent.mkdir(parents=True)
    mesh.write_bytes(b"solid")
    named = KR6_URDF.replace(
        'cylinder radius="0.03" length="0.02"', 'mesh filename="package://arm_support/meshes/a.stl"'
    )
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'ws'}")
    robot = load_robot(write_robot(tmp_path, named))
    assert [shape.mesh_path for shape in robot.tree.collisions] == [str(mesh.resolve())]
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    with pytest.raises(ConfigurationError, match=r"package://arm_support/meshes/a\.stl' not found"):
        load_robot(write_robot(tmp_path, named))
