"""The cell for Gazebo and ros2_control: a world with its surroundings, and the robot's URDF with drives and camera.

`python -m robot_description.gazebo --cell default --out config/gazebo/cell.sdf` writes the world kept there.
"""

import argparse
import math
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from pathlib import Path

from cell_core.transforms import Array, xyz_rpy_from_transform
from robot_description.loader import load_cell
from robot_description.model import Cell
from robot_description.scene import OBSTACLE_RGB

WORLD = "cell"
MODEL = "cell_robot"
MOCK_HARDWARE = "mock_components/GenericSystem"
GAZEBO_HARDWARE = "gz_ros2_control/GazeboSimSystem"
DEPTH_TOPIC = "cell/camera/depth/image_rect"
"""Gazebo publishes the camera's intrinsics beside it, as cell/camera/depth/camera_info."""
SYSTEMS = ("Physics", "UserCommands", "SceneBroadcaster", "Sensors")
STEP_S = 0.002

# a Gazebo camera looks along x with z up, an optical frame along z with y down
R_OPTICAL_SENSOR = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))


def world_sdf(cell: Cell, part: tuple[Path, float, Array] | None = None) -> str:
    """Return an SDF world: the cell's boxes, light, and a part where one is given.

    Args:
        part: mesh file, its unit [m] and its pose T_base_part (4, 4).
    """
    root = ElementTree.Element("sdf", version="1.9")
    world = _add(root, "world", name=WORLD)
    physics = _add(world, "physics", name="default", type="ignored")
    _add(physics, "max_step_size", STEP_S)
    _add(physics, "real_time_factor", 1.0)
    for system in SYSTEMS:
        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in system).lstrip("-")
        plugin = _add(world, "plugin", filename=f"gz-sim-{name}-system", name=f"gz::sim::systems::{system}")
        if system == "Sensors":
            _add(plugin, "render_engine", "ogre2")
    light = _add(world, "light", name="lamps", type="directional")
    _add(light, "pose", "0 0 3 0 0 0")
    _add(light, "direction", "0.2 0.1 -1")
    for box in cell.obstacles:
        _static_model(world, box.name, box.T_base_box, {"box": {"size": _text(box.size_m)}}, OBSTACLE_RGB)
    if part is not None:
        path, unit_m, T_base_part = part
        mesh = {"uri": Path(path).resolve().as_uri(), "scale": _text([unit_m] * 3)}
        _static_model(world, "part", T_base_part, {"mesh": mesh}, (0.75, 0.75, 0.78))
    return _document(root)


def robot_urdf(cell: Cell) -> str:
    """Return the robot's URDF with its meshes as file:// URIs, as RViz, Gazebo and MoveIt want them."""
    root = ElementTree.fromstring(cell.robot.urdf_xml)
    for mesh in root.iter("mesh"):
        mesh.set("filename", Path(mesh.get("filename", "")).as_uri())
    return _document(root)


def control_urdf(cell: Cell, hardware_plugin: str = MOCK_HARDWARE) -> str:
    """Return robot_urdf with a ros2_control block: position commands, position and velocity states."""
    root = ElementTree.fromstring(robot_urdf(cell))
    control = _add(root, "ros2_control", name="arm", type="system")
    _add(_add(control, "hardware"), "plugin", hardware_plugin)
    robot = cell.robot
    for i, name in enumerate(robot.joint_names):
        joint = _add(control, "joint", name=name)
        command = _add(joint, "command_interface", name="position")
        _add(command, "param", float(robot.lower_rad[i]), name="min")
        _add(command, "param", float(robot.upper_rad[i]), name="max")
        state = _add(joint, "state_interface", name="position")
        _add(state, "param", float(robot.home_rad[i]), name="initial_value")
        _add(joint, "state_interface", name="velocity")
    return _document(root)


def gazebo_urdf(cell: Cell, controllers: Path) -> str:
    """Return control_urdf for Gazebo: fixed to the world, its drives run by Gazebo, with the depth camera.

    Args:
        controllers: parameter file of the controller manager.
    """
    root = ElementTree.fromstring(control_urdf(cell, GAZEBO_HARDWARE))
    _add(root, "link", name="world")
    joint = _add(root, "joint", name="world_mount", type="fixed")
    _add(joint, "parent", link="world")
    _add(joint, "child", link=cell.robot.config.base_frame)
    plugin = _add(
        _add(root, "gazebo"),
        "plugin",
        filename="gz_ros2_control-system",
        name="gz_ros2_control::GazeboSimROS2ControlPlugin",
    )
    _add(plugin, "parameters", str(controllers))
    ros = _add(plugin, "ros")
    _add(ros, "namespace", "/cell")
    _add(ros, "remapping", "joint_states:=/joint_states")
    _camera(root, cell)
    return _document(root)


def camera_mount(cell: Cell) -> tuple[str, Array]:
    """Return the link that carries the camera and T_link_sensor of the Gazebo sensor (x forward, z up).

    The sensor cannot sit on the optical frame itself: that link has no mass, and Gazebo drops it.
    """
    optical = cell.config.camera.optical_frame
    parent = next(j.parent for j in cell.robot.tree.joints if j.child == optical)
    T_link_sensor = cell.robot.fixed(parent, optical).copy()
    T_link_sensor[:3, :3] = T_link_sensor[:3, :3] @ R_OPTICAL_SENSOR
    return parent, T_link_sensor


def _camera(root: ElementTree.Element, cell: Cell) -> None:
    link, T_link_sensor = camera_mount(cell)
    config = cell.camera
    mount = next(j.name for j in cell.robot.tree.joints if j.child == link)
    _add(_add(root, "gazebo", reference=mount), "preserveFixedJoint", "true")
    sensor = _add(_add(root, "gazebo", reference=link), "sensor", name="wrist_camera", type="depth_camera")
    _add(sensor, "pose", _pose(T_link_sensor))
    _add(sensor, "update_rate", config.rate_hz)
    _add(sensor, "topic", DEPTH_TOPIC)
    _add(sensor, "gz_frame_id", cell.config.camera.optical_frame)
    camera = _add(sensor, "camera", name="wrist_camera")
    _add(camera, "horizontal_fov", 2.0 * math.atan(config.width_px / (2.0 * config.fx_px)))
    image = _add(camera, "image")
    for tag, value in (("width", config.width_px), ("height", config.height_px), ("format", "R_FLOAT32")):
        _add(image, tag, value)
    clip = _add(camera, "clip")
    _add(clip, "near", config.range_m.low)
    _add(clip, "far", config.range_m.high)
    intrinsics = _add(_add(camera, "lens"), "intrinsics")
    # Gazebo counts pixels from the image's corner, the cell from the first pixel's centre
    focal = {"fx": config.fx_px, "fy": config.fy_px, "cx": config.cx_px + 0.5, "cy": config.cy_px + 0.5, "s": 0.0}
    for tag, value in focal.items():
        _add(intrinsics, tag, value)


def _static_model(
    world: ElementTree.Element, name: str, T: Array, geometry: Mapping[str, Mapping[str, str]], rgb: Iterable[float]
) -> None:
    model = _add(world, "model", name=name)
    _add(model, "static", "true")
    _add(model, "pose", _pose(T))
    link = _add(model, "link", name="link")
    for tag in ("visual", "collision"):
        shape = _add(link, tag, name=tag)
        for kind, values in geometry.items():
            body = _add(_add(shape, "geometry"), kind)
            for key, value in values.items():
                _add(body, key, value)
        if tag == "visual":
            _add(_add(shape, "material"), "diffuse", _text([*rgb, 1.0]))


def _add(parent: ElementTree.Element, tag: str, text: object = None, **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = repr(text) if isinstance(text, float) else str(text)
    return element


def _pose(T: Array) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at pitch 90 degrees any of the possible angles will do
        xyz_m, rpy_rad = xyz_rpy_from_transform(T)
    return _text([*xyz_m, *rpy_rad])


def _text(values: Iterable[float]) -> str:
    # + 0.0 turns a negative zero into zero
    return " ".join(repr(round(float(v), 9) + 0.0) for v in values)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def main() -> None:
    """Write the world of one cell."""
    parser = argparse.ArgumentParser(
        prog="python -m robot_description.gazebo", description="Write a cell's Gazebo world."
    )
    parser.add_argument("--cell", default="default", help="name in config/cells or a path")
    parser.add_argument("--out", type=Path, required=True, help="SDF file to write")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(world_sdf(load_cell(arguments.cell)), encoding="utf-8")


if __name__ == "__main__":
    main()
