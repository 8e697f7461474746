"""The cell for Gazebo: names by generation, the arm on Gazebo's own controller, parts that Gazebo can read."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache

import mujoco
import numpy as np
import pytest
import trimesh

from cell_core.errors import ConfigurationError
from cell_core.surface_io import load_surface
from cell_simulation.inertia import dynamics_urdf, effort_n_m
from robot_description import Cell, load_cell
from robot_description.gazebo import CONTACT_TOPIC, JOINT_TOPIC, TRAJECTORY_TOPIC, trajectory_urdf
from robot_description.gazebo_generation import FORTRESS, GENERATIONS, GZ, generation_named
from robot_description.gazebo_world import SYSTEMS, gazebo_mesh, world_sdf
from robot_description.joint_inertia import joint_inertia_kg_m2


@cache
def cell() -> Cell:
    return load_cell("default")


def test_each_generation_finds_its_systems():
    assert GZ.system("SceneBroadcaster") == {
        "filename": "gz-sim-scene-broadcaster-system",
        "name": "gz::sim::systems::SceneBroadcaster",
    }
    assert FORTRESS.system("Physics") == {
        "filename": "ignition-gazebo-physics-system",
        "name": "ignition::gazebo::systems::Physics",
    }
    for generation in GENERATIONS.values():
        plugins = ElementTree.fromstring(world_sdf(cell(), generation=generation)).findall("world/plugin")
        assert [p.attrib for p in plugins] == [generation.system(name) for name in SYSTEMS]
    with pytest.raises(ConfigurationError, match="'classic'; known: gz, fortress"):
        generation_named("classic")


def test_joint_inertia_is_that_of_mujoco():
    robot = cell().robot
    model = mujoco.MjModel.from_xml_string(dynamics_urdf(robot))  # pyright: ignore[reportAttributeAccessIssue]
    data = mujoco.MjData(model)  # pyright: ignore[reportAttributeAccessIssue]
    for q in (robot.home_rad, np.zeros(6), 0.5 * (robot.lower_rad + robot.upper_rad) + 0.3):
        data.qpos[:] = q
        mujoco.mj_forward(model, data)  # pyright: ignore[reportAttributeAccessIssue]
        expected = []
        for i in range(6):
            torque, unit = np.zeros(6), np.eye(6)[i]
            mujoco.mj_mulM(model, data, torque, unit)  # pyright: ignore[reportAttributeAccessIssue]
            expected.append(torque[i])
        assert joint_inertia_kg_m2(robot, q) == pytest.approx(expected, rel=1e-6)


def test_joint_inertia_of_joints_without_limits_and_of_arms_without_masses():
    robot = cell().robot
    root = ElementTree.fromstring(robot.urdf_xml)
    for joint in root.iterfind("joint[@name='joint_4']"):
        joint.set("type", "continuous")
    endless = replace(robot, urdf_xml=ElementTree.tostring(root, encoding="unicode"))
    q = np.array([0.1, -0.2, 0.3, 1.1, -0.5, 0.6])
    assert joint_inertia_kg_m2(endless, q) == pytest.approx(joint_inertia_kg_m2(robot, q))
    for link in root.iterfind("link"):
        for inertial in link.findall("inertial"):
            link.remove(inertial)
    with pytest.raises(ConfigurationError, match="joint_1: no link beyond it has a mass"):
        joint_inertia_kg_m2(replace(robot, urdf_xml=ElementTree.tostring(root, encoding="unicode")), q)


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=lambda g: g.name)
def test_alone_the_arm_has_gazebos_controller_on_every_joint(generation):
    robot = cell().robot
    root = ElementTree.fromstring(trajectory_urdf(cell(), generation))
    control, states = root.findall("gazebo/plugin")
    assert control.attrib == generation.system("JointTrajectoryController")
    assert states.attrib == generation.system("JointStatePublisher")
    assert (control.findtext("topic"), states.findtext("topic")) == (TRAJECTORY_TOPIC, JOINT_TOPIC)
    for plugin in (control, states):
        assert tuple(e.text for e in plugin.findall("joint_name")) == robot.joint_names

    def column(tag):
        return np.array([float(e.text or "") for e in control.findall(tag)])

    assert column("initial_position") == pytest.approx(robot.home_rad)
    for loop in ("position", "velocity"):
        assert column(f"{loop}_cmd_max") == pytest.approx(effort_n_m(robot)), "the URDF's torques bound the loop"
        assert column(f"{loop}_cmd_min") == pytest.approx(-effort_n_m(robot))
    # poles of one joint of that inertia under position, integral and velocity gain
    inertia = joint_inertia_kg_m2(robot, robot.home_rad)
    gains = zip(column("velocity_p_gain"), column("position_p_gain"), column("position_i_gain"), strict=True)
    for own, (d, p, i) in zip(inertia, gains, strict=True):
        for factor in (0.25, 1.0, 4.0):
            poles = np.roots([own * factor, d, p, i])
            assert poles.real.max() < -1.0, f"slow or unstable at {factor} times the inertia: {poles}"


def test_an_arm_without_torque_limits_is_refused():
    robot = cell().robot
    bare = replace(cell(), robot=replace(robot, urdf_xml=robot.urdf_xml.replace('effort="300"', 'effort="0"')))
    with pytest.raises(ConfigurationError, match="joint_4: limit effort is 0 N m"):
        trajectory_urdf(bare)


@pytest.mark.parametrize("change", [{"cx_px": 322.0}, {"cy_px": 239.0}, {"fy_px": 500.0}], ids=str)
def test_a_camera_that_gazebo_cannot_render_is_refused(change):
    other = replace(cell(), camera=cell().camera.model_copy(update=change))
    for generation in GENERATIONS.values():
        with pytest.raises(ConfigurationError, match=r"camera 'wrist_640': .*image's middle \(319.5, 239.5 px\)"):
            trajectory_urdf(other, generation)


def test_a_part_tells_its_contacts_and_the_arm_is_included(tmp_path):
    arm = tmp_path / "arm.urdf"
    root = ElementTree.fromstring(world_sdf(cell(), (tmp_path / "p.stl", 1.0, np.eye(4)), arm=arm))
    sensor = root.find("world/model[@name='part']/link/sensor")
    assert sensor is not None and sensor.get("type") == "contact"
    assert sensor.findtext("contact/topic") == CONTACT_TOPIC
    collisions = [c.get("name") for c in root.iterfind("world/model[@name='part']/link/collision")]
    assert collisions == [sensor.findtext("contact/collision")]
    assert root.findtext("world/include/uri") == arm.resolve().as_uri()


def test_what_gazebo_cannot_read_is_refused_or_written_anew(tmp_path):
    body = trimesh.creation.icosphere(radius=60.0)
    for suffix in ("stl", "ply"):
        body.export(tmp_path / f"ball.{suffix}")
    with pytest.raises(ConfigurationError, match=r"ball.ply: Gazebo reads .stl, .obj, .dae"):
        world_sdf(cell(), (tmp_path / "ball.ply", 0.001, np.eye(4)))
    with pytest.raises(ConfigurationError, match="'optix'"):
        world_sdf(cell(), render_engine="optix")
    assert gazebo_mesh(tmp_path / "ball.stl", "mm", tmp_path) == (tmp_path / "ball.stl", 0.001)
    made = tmp_path / "made"
    made.mkdir()
    path, unit_m = gazebo_mesh(tmp_path / "ball.ply", "mm", made)
    assert path == made / "ball.stl"
    surface, _ = load_surface(path, "m")
    assert unit_m == 1.0 and np.ptp(surface.vertices_m, axis=0) == pytest.approx([0.12] * 3, rel=1e-3)


def test_the_command_writes_world_arm_and_part(tmp_path):
    trimesh.creation.box((200.0, 100.0, 40.0)).export(tmp_path / "plate.ply")
    out = tmp_path / "world" / "cell.sdf"
    options = ["--generation", "fortress", "--render-engine", "ogre", "--arm", "--part", tmp_path / "plate.ply"]
    command = [sys.executable, "-m", "robot_description.gazebo_world", *map(str, options), "--unit", "mm"]
    subprocess.run([*command, "--out", str(out)], check=True)
    root = ElementTree.fromstring(out.read_text())
    assert {p.name for p in out.parent.iterdir()} == {"cell.sdf", "cell_robot.urdf", "plate.stl"}
    assert root.findtext("world/plugin/render_engine") == "ogre"
    pose = np.array(root.findtext("world/model[@name='part']/pose", "").split(), float)
    assert pose[2] == pytest.approx(cell().T_base_fixture[2, 3] + 0.02), "lies on the fixture"
