"""Launch files and the configuration for RViz, ros2_control, Gazebo and MoveIt: they parse, and their names agree."""

import ast
import importlib.util
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cell_core.config import config_root
from cell_core.transforms import transform_from_xyz_rpy
from cell_nodes.names import NODES
from robot_description import Cell, load_cell
from robot_description.gazebo import (
    CONTACT_TOPIC,
    DEPTH_TOPIC,
    camera_mount,
    control_urdf,
    gazebo_urdf,
    trajectory_urdf,
)
from robot_description.gazebo_generation import FORTRESS, GENERATIONS, GZ
from robot_description.gazebo_world import STEP_S, world_sdf

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
CONFIG = config_root()


@cache
def cell() -> Cell:
    return load_cell("default")


def read(name: str) -> Any:
    return yaml.safe_load((CONFIG / name).read_text())


def calls(tree: ast.AST, name: str) -> list[str]:
    """Return the first argument of every call of `name` that has a text there."""
    found = [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name
    ]
    return [n.args[0].value for n in found if n.args and isinstance(n.args[0], ast.Constant)]


def node_sources() -> str:
    return "\n".join(p.read_text() for p in (ROOT / "cell_nodes").glob("*.py"))


# launch


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_a_launch_file_names_modules_and_files_that_exist(path):
    tree = ast.parse(path.read_text())
    assert any(isinstance(n, ast.FunctionDef) and n.name == "generate_launch_description" for n in tree.body)
    assert (ast.get_docstring(tree) or "").endswith(".")
    for name in calls(tree, "cell_process"):
        assert (ROOT / "cell_nodes" / f"{name}.py").is_file(), name
    for name in calls(tree, "include"):
        assert (ROOT / "launch" / f"{name}.launch.py").is_file(), name
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "DeclareLaunchArgument":
            assert {"description"} <= {k.arg for k in call.keywords}, ast.unparse(call)
    for module in [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]:
        assert module is not None
        if not module.startswith(("launch", "launch_ros")):
            assert importlib.util.find_spec(module), module


def test_together_they_start_every_node():
    processes = [name for path in LAUNCH_FILES for name in calls(ast.parse(path.read_text()), "cell_process")]
    assert sorted(processes) == sorted([*NODES, "bring_up"])
    bringup = (ROOT / "launch" / "bringup.launch.py").read_text()
    for path in LAUNCH_FILES:
        name = path.name.removesuffix(".launch.py")
        assert name == "bringup" or f'"{name}"' in bringup, f"bringup never includes {name}"
    assert 'choices=["embedded", "gazebo", "none"]' in bringup


@pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="launch and launch_ros are not installed")
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_takes_it(path):
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    description = PythonLaunchDescriptionSource(str(path)).get_launch_description(LaunchContext())
    assert description.entities
    for argument in description.get_launch_arguments():
        assert argument.description


# names across files


def test_controllers_drive_the_robots_joints():
    document = read("ros2_control/controllers.yaml")
    manager = document["/**/controller_manager"]["ros__parameters"]
    assert manager["update_rate"] >= 250
    arm = document["/**/arm_controller"]["ros__parameters"]
    assert arm["joints"] == list(cell().robot.joint_names)
    assert set(arm["constraints"]) - {"stopped_velocity_tolerance", "goal_time"} == set(cell().robot.joint_names)
    root = ElementTree.fromstring(control_urdf(cell()))
    joints = root.findall("ros2_control/joint")
    assert [j.get("name") for j in joints] == arm["joints"]
    for joint in joints:
        assert [i.get("name") for i in joint.findall("command_interface")] == arm["command_interfaces"]
        assert [i.get("name") for i in joint.findall("state_interface")] == arm["state_interfaces"]
    declared = {name for name in manager if isinstance(manager[name], dict)}
    for name in ("control", "gazebo"):
        text = (ROOT / "launch" / f"{name}.launch.py").read_text()
        (spawned,) = re.findall(r"CONTROLLERS = \((.*)\)", text)
        assert set(ast.literal_eval(f"[{spawned}]")) == declared


def test_the_execution_node_calls_that_controller():
    assert '"arm_controller/follow_joint_trajectory"' in node_sources()
    moveit = read("moveit/moveit_controllers.yaml")["moveit_simple_controller_manager"]
    assert moveit["controller_names"] == ["/cell/arm_controller"]
    assert moveit["/cell/arm_controller"]["joints"] == list(cell().robot.joint_names)
    assert moveit["/cell/arm_controller"]["action_ns"] == "follow_joint_trajectory"


def test_the_execution_node_stops_before_the_controller_does():
    arm = read("ros2_control/controllers.yaml")["/**/arm_controller"]["ros__parameters"]
    limit = read("monitors/default.yaml")["tracking_error_rad"]["limit"]
    assert all(arm["constraints"][name]["trajectory"] > float(limit) for name in cell().robot.joint_names)


def test_moveit_knows_the_robots_groups_and_limits():
    semantics = ElementTree.fromstring(cell().robot.srdf_xml)
    groups = {g.get("name") for g in semantics.findall("group")}
    assert set(read("moveit/kinematics.yaml")) <= groups
    ompl = read("moveit/ompl_planning.yaml")
    assert groups & set(ompl) == {"manipulator"}
    assert set(ompl["manipulator"]["planner_configs"]) <= set(ompl["planner_configs"])
    assert ompl["manipulator"]["default_planner_config"] in ompl["planner_configs"]
    limits = read("moveit/joint_limits.yaml")["joint_limits"]
    robot = cell().robot
    assert set(limits) == set(robot.joint_names)
    for i, name in enumerate(robot.joint_names):
        assert limits[name]["max_velocity"] == pytest.approx(robot.velocity_rad_per_s[i])
        assert limits[name]["max_acceleration"] == pytest.approx(robot.acceleration_rad_per_s2[i])
        assert limits[name]["max_jerk"] == pytest.approx(robot.jerk_rad_per_s3[i])
    cpp = read("moveit/moveit_cpp.yaml")
    for pipeline in cpp["planning_pipelines"]["pipeline_names"]:
        assert read(f"moveit/{pipeline}_planning.yaml")["planning_plugins"]
    assert cpp["plan_request_params"]["planner_id"] in ompl["planner_configs"]


def test_moveits_parameters_are_one_dictionary_of_plain_values():
    from robot_description.moveit import moveit_parameters

    parameters = moveit_parameters(cell())
    assert {"robot_description", "robot_description_semantic", "ompl", "planning_pipelines"} <= set(parameters)
    assert yaml.safe_load(yaml.safe_dump(parameters)) == parameters
    assert set(parameters["robot_description_planning"]) >= {"joint_limits", "cartesian_limits"}


def test_rviz_shows_topics_that_are_published_in_frames_that_exist():
    manager = read("rviz/cell.rviz")["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == cell().robot.config.base_frame
    sources = node_sources()
    topics = [d[k]["Value"] for d in manager["Displays"] for k in ("Topic", "Description Topic") if k in d]
    assert len(topics) >= 6
    for topic in topics:
        name = topic.removeprefix("/cell/")
        markers = re.fullmatch(r"markers/(\w+)", name)
        assert f'"{name}"' in sources or (markers and f'"{markers[1]}"' in sources), topic


# Gazebo


def test_the_kept_world_is_that_of_the_default_cell():
    kept = (CONFIG / "gazebo" / "cell.sdf").read_text()
    assert kept == world_sdf(cell()), "run: python -m robot_description.gazebo_world --out config/gazebo/cell.sdf"
    root = ElementTree.fromstring(kept)
    boxes = {m.get("name"): m for m in root.iterfind("world/model")}
    assert set(boxes) == {box.name for box in cell().obstacles}
    for box in cell().obstacles:
        pose = np.array(boxes[box.name].findtext("pose", "").split(), float)
        assert transform_from_xyz_rpy(pose[:3], pose[3:]) == pytest.approx(box.T_base_box)
        for size in boxes[box.name].iterfind("link/*/geometry/box/size"):
            assert np.array((size.text or "").split(), float) == pytest.approx(box.size_m)


def test_a_part_stands_in_the_world_where_it_is_put(tmp_path):
    T = transform_from_xyz_rpy([1.0, 0.1, 0.5], [0.0, 0.0, 0.3])
    root = ElementTree.fromstring(world_sdf(cell(), (tmp_path / "part.stl", 0.001, T)))
    (part,) = [m for m in root.iterfind("world/model") if m.get("name") == "part"]
    pose = np.array(part.findtext("pose", "").split(), float)
    assert transform_from_xyz_rpy(pose[:3], pose[3:]) == pytest.approx(T, abs=1e-8)
    assert part.findtext("link/collision/geometry/mesh/scale") == "0.001 0.001 0.001"
    assert part.findtext("link/visual/geometry/mesh/uri") == (tmp_path / "part.stl").resolve().as_uri()


def test_the_bridge_carries_what_the_nodes_listen_to():
    entries = read("gazebo/bridge.yaml")
    names = {e["ros_topic_name"] for e in entries}
    info = f"/{DEPTH_TOPIC.rsplit('/', 1)[0]}/camera_info"
    assert names == {"/clock", f"/{DEPTH_TOPIC}", info, f"/{CONTACT_TOPIC}"}
    assert f'"{DEPTH_TOPIC.removeprefix("cell/")}"' in node_sources()
    for entry in entries:
        assert entry["direction"] == "GZ_TO_ROS"
        package, _, name = entry["ros_type_name"].split("/")
        if importlib.util.find_spec(package):
            assert hasattr(importlib.import_module(f"{package}.msg"), name)
        assert entry["gz_type_name"].startswith("gz.msgs.")


@pytest.mark.skipif(shutil.which("ign") is None, reason="apt install ignition-tools libsdformat-dev sdformat-sdf")
@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=lambda g: g.name)
def test_sdformat_takes_the_world_with_a_part_and_the_arm(tmp_path, generation):
    world = tmp_path / "cell.sdf"
    alone = tmp_path / "alone.urdf"
    alone.write_text(trajectory_urdf(cell(), generation))
    world.write_text(world_sdf(cell(), (tmp_path / "part.stl", 0.001, np.eye(4)), generation=generation, arm=alone))
    checked = subprocess.run(["ign", "sdf", "-k", str(world)], capture_output=True, text=True)
    assert checked.returncode == 0 and "Valid." in checked.stdout, checked.stdout + checked.stderr
    arm = tmp_path / "arm.urdf"
    arm.write_text(gazebo_urdf(cell(), CONFIG / "ros2_control" / "controllers.yaml", generation))
    converted = subprocess.run(["ign", "sdf", "-p", str(arm)], capture_output=True, text=True)
    assert converted.returncode == 0, converted.stderr
    (model,) = ElementTree.fromstring(converted.stdout[converted.stdout.index("<sdf") :]).iterfind("model")
    joints = {j.get("name"): j for j in model.iterfind("joint")}
    robot = cell().robot
    for name, low, high in zip(robot.joint_names, robot.lower_rad, robot.upper_rad, strict=True):
        assert joints[name].get("type") == "revolute"
        assert float(joints[name].findtext("axis/limit/lower")) == pytest.approx(low, abs=1e-4)
        assert float(joints[name].findtext("axis/limit/upper")) == pytest.approx(high, abs=1e-4)
    assert model.find("link/sensor[@type='depth_camera']") is not None


def test_in_gazebo_the_arm_keeps_up_at_full_speed():
    """What ros2_control's drives in Gazebo lag behind stays within what the execution node tolerates."""
    parameters = read("ros2_control/controllers.yaml")
    period_s = 1.0 / parameters["/**/controller_manager"]["ros__parameters"]["update_rate"]
    gain = parameters["/**/gz_ros2_control"]["ros__parameters"]["position_proportional_gain"]
    for generation in GENERATIONS.values():
        root = ElementTree.fromstring(gazebo_urdf(cell(), CONFIG, generation))
        assert float(root.findtext("gazebo/plugin/position_proportional_gain", "")) == gain
    limit = float(read("monitors/default.yaml")["tracking_error_rad"]["limit"])
    lag_rad = np.asarray(cell().robot.velocity_rad_per_s) * period_s / gain
    assert 0.0 < gain < 1.0 and lag_rad.max() < limit
    assert period_s == pytest.approx(2.0 * STEP_S), "each command of a controller lasts whole steps of the physics"


def test_fortress_gets_its_own_names():
    root = ElementTree.fromstring(gazebo_urdf(cell(), CONFIG, FORTRESS))
    assert root.findtext("ros2_control/hardware/plugin") == "ign_ros2_control/IgnitionSystem"
    plugin = root.find("gazebo/plugin")
    assert plugin is not None and plugin.get("filename") == "ign_ros2_control-system"
    assert root.findtext("gazebo/sensor/ignition_frame_id") == cell().config.camera.optical_frame
    launch = "".join((ROOT / "launch" / f"{name}.launch.py").read_text() for name in ("gazebo", "description"))
    assert launch.count('generation_named(') == 2, "world and robot are of one generation"


def test_gazebos_camera_is_the_cells_camera():
    camera = cell().camera
    newer, root = (ElementTree.fromstring(gazebo_urdf(cell(), CONFIG, g)) for g in (GZ, FORTRESS))
    assert newer.find("gazebo/sensor/camera/lens") is None, "there intrinsics bend the depth"
    (sensor,) = root.iterfind("gazebo/sensor")
    assert sensor.findtext("topic") == DEPTH_TOPIC
    assert float(sensor.findtext("camera/lens/intrinsics/fx", "")) == camera.fx_px
    assert float(sensor.findtext("camera/lens/intrinsics/cx", "")) == camera.cx_px + 0.5
    angle = float(sensor.findtext("camera/horizontal_fov", ""))
    assert math.tan(angle / 2.0) * 2.0 * camera.fx_px == pytest.approx(camera.width_px)
    links = {link.get("name") for link in root.iterfind("link")}
    references = [g.get("reference") for g in root.iterfind("gazebo") if g.get("reference")]
    joints = {joint.get("name") for joint in root.iterfind("joint")}
    assert references and all(r in links | joints for r in references)


def test_gazebos_camera_looks_where_the_optical_frame_looks():
    link, T_link_sensor = camera_mount(cell())
    optical = cell().robot.fixed(link, cell().config.camera.optical_frame)
    forward, up = T_link_sensor[:3, 0], T_link_sensor[:3, 2]
    assert forward == pytest.approx(optical[:3, 2]), "a Gazebo camera looks along x"
    assert up == pytest.approx(-optical[:3, 1]), "y of an optical frame points down"
    assert np.linalg.det(T_link_sensor[:3, :3]) == pytest.approx(1.0)
    root = ElementTree.fromstring(gazebo_urdf(cell(), CONFIG))
    pose = np.array(next(root.iterfind("gazebo/sensor/pose")).text.split(), float)
    assert transform_from_xyz_rpy(pose[:3], pose[3:]) == pytest.approx(T_link_sensor, abs=1e-8)


def test_the_robots_meshes_are_there_for_every_consumer():
    for text in (control_urdf(cell()), gazebo_urdf(cell(), CONFIG)):
        uris = {m.get("filename") for m in ElementTree.fromstring(text).iter("mesh")}
        assert len(uris) > 10
        assert all(u.startswith("file:///") and Path(u.removeprefix("file://")).is_file() for u in uris)


# packages


def test_package_files_agree_with_pyproject():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("name") == project["name"]
    assert package.findtext("version") == project["version"]
    for path in (ROOT / "package.xml", ROOT / "cell_interfaces" / "package.xml"):
        root = ElementTree.parse(path).getroot()
        assert re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", root.find("maintainer").get("email"))
        assert root.findtext("license") == "Apache-2.0"
    imported = set(re.findall(r"^\s*(?:from|import) (\w+_msgs|\w+_interfaces|rclpy|std_srvs)\b", node_sources(), re.M))
    assert imported <= {d.text for d in package.findall("depend")}


def test_every_third_party_import_is_a_pinned_dependency():
    import sys
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for group in (project["dependencies"], *project["optional-dependencies"].values()) for line in group]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines), "exact pins only"
    text = (ROOT / "tools" / "locked.txt").read_text()
    entries = [entry for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M) if not entry.startswith("#")]
    held = {}
    for entry in entries:
        name, version, hashes = re.fullmatch(r"([\w.-]+)==([\w.]+)[^\\]*\\\n(.*)", entry, re.S).groups()
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", hashes), f"{name} in tools/locked.txt has no hash"
        held[name] = version
    for line in lines:
        name, version = line.split("==")
        assert held[name.lower()] == version, f"{name} in tools/locked.txt"
    module_of = {"coal": "coal", "jinja2": "jinja2", "mcap-ros2-support": "mcap_ros2",
                 "open3d-cpu": "open3d", "pillow": "PIL", "pin": "pinocchio", "py-opw-kinematics": "py_opw_kinematics",
                 "pycollada": "collada", "pyyaml": "yaml"}  # fmt: skip
    names = [line.split("==")[0] for line in project["dependencies"]]
    declared = {module_of.get(n, n.replace("-", "_")) for n in names}
    packages = [p.parent.name for p in ROOT.glob("*/__init__.py")]
    found: set[str] = set()
    for path in (p for package in packages for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {a.name.split(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.split(".")[0])
    ros = {d.text for d in ElementTree.parse(ROOT / "package.xml").getroot().iter() if d.tag.endswith("depend")}
    unknown = found - declared - set(sys.stdlib_module_names) - set(packages) - ros - {"ament_index_python"}
    assert not unknown
