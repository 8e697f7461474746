"""The robot's URDF for RViz, MoveIt, ros2_control and Gazebo: with its drives and its depth camera."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.gazebo_generation import GZ, Generation
from robot_description.joint_inertia import joint_inertia_kg_m2
from robot_description.model import Cell
from robot_description.xml_tools import add, document, pose

MODEL = "cell_robot"
MOCK_HARDWARE = "mock_components/GenericSystem"
DEPTH_TOPIC = "cell/camera/depth/image_rect"
"""Gazebo publishes the camera's intrinsics beside it, as cell/camera/depth/camera_info."""
CONTACT_TOPIC = "cell/part/contacts"
TRAJECTORY_TOPIC = "cell/arm/joint_trajectory"
JOINT_TOPIC = "cell/arm/joint_states"

BANDWIDTH_RAD_PER_S, DAMPING, INTEGRAL_S = 60.0, 0.9, 0.5
"""Of the joint loops that hold the arm where Gazebo runs alone."""
TRACKING_GAIN = 0.8
"""Share of a joint's position error that ros2_control's drives in Gazebo make up per period of the controllers.

Their default, 0.1, lets the arm lag by ten periods: at 1.25 rad/s by the 0.05 rad at which the execution node stops it.
"""

CENTRED_PX = 0.01

# a Gazebo camera looks along x with z up, an optical frame along z with y down
R_OPTICAL_SENSOR = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))


def robot_urdf(cell: Cell) -> str:
    """Return the robot's URDF with its meshes as file:// URIs, as RViz, Gazebo and MoveIt want them."""
    root = ElementTree.fromstring(cell.robot.urdf_xml)
    for mesh in root.iter("mesh"):
        mesh.set("filename", Path(mesh.get("filename", "")).as_uri())
    return document(root)


def control_urdf(cell: Cell, hardware_plugin: str = MOCK_HARDWARE) -> str:
    """Return robot_urdf with a ros2_control block: position commands, position and velocity states."""
    root = ElementTree.fromstring(robot_urdf(cell))
    control = add(root, "ros2_control", name="arm", type="system")
    add(add(control, "hardware"), "plugin", hardware_plugin)
    robot = cell.robot
    for i, name in enumerate(robot.joint_names):
        joint = add(control, "joint", name=name)
        command = add(joint, "command_interface", name="position")
        add(command, "param", float(robot.lower_rad[i]), name="min")
        add(command, "param", float(robot.upper_rad[i]), name="max")
        state = add(joint, "state_interface", name="position")
        add(state, "param", float(robot.home_rad[i]), name="initial_value")
        add(joint, "state_interface", name="velocity")
    return document(root)


def gazebo_urdf(cell: Cell, controllers: Path, generation: Generation = GZ) -> str:
    """Return control_urdf for Gazebo: fixed to the world, its drives run by Gazebo, with the depth camera.

    Args:
        cell: robot and camera.
        controllers: parameter file of the controller manager.
        generation: of Gazebo.

    Raises:
        ConfigurationError: a camera that Gazebo cannot render.
    """
    root = ElementTree.fromstring(control_urdf(cell, generation.hardware_plugin))
    _mount(root, cell)
    plugin = add(add(root, "gazebo"), "plugin", filename=generation.control_file, name=generation.control_class)
    add(plugin, "parameters", str(controllers))
    add(plugin, "position_proportional_gain", TRACKING_GAIN)
    ros = add(plugin, "ros")
    add(ros, "namespace", "/cell")
    add(ros, "remapping", "joint_states:=/joint_states")
    _camera(root, cell, generation)
    return document(root)


def trajectory_urdf(cell: Cell, generation: Generation = GZ) -> str:
    """Return robot_urdf for Gazebo without ROS: fixed to the world, with Gazebo's own trajectory controller and camera.

    The controller takes trajectories on `TRAJECTORY_TOPIC`, at first holds the home position, and joint states come on
    `JOINT_TOPIC`. It jumps from point to point, so that trajectories must be dense, and its loops know nothing of
    gravity but what their integral learns.

    Raises:
        ConfigurationError: the URDF tells no masses or no torque limits, or a camera that Gazebo cannot render.
    """
    root = ElementTree.fromstring(robot_urdf(cell))
    _mount(root, cell)
    robot = cell.robot
    effort = [_effort_n_m(root, name) for name in robot.joint_names]
    inertia = joint_inertia_kg_m2(robot, robot.home_rad)
    stiffness = inertia * BANDWIDTH_RAD_PER_S**2
    model = add(root, "gazebo")
    control = add(model, "plugin", **generation.system("JointTrajectoryController"))
    add(control, "topic", TRAJECTORY_TOPIC)
    columns = {
        "joint_name": robot.joint_names,
        "initial_position": robot.home_rad.tolist(),
        "position_p_gain": stiffness.tolist(),
        "position_i_gain": (stiffness / INTEGRAL_S).tolist(),
        "position_i_min": [-e for e in effort],
        "position_i_max": effort,
        "position_cmd_min": [-e for e in effort],
        "position_cmd_max": effort,
        "velocity_p_gain": (2.0 * DAMPING * BANDWIDTH_RAD_PER_S * inertia).tolist(),
        "velocity_cmd_min": [-e for e in effort],
        "velocity_cmd_max": effort,
    }
    for tag, values in columns.items():
        for value in values:
            add(control, tag, value)
    states = add(model, "plugin", **generation.system("JointStatePublisher"))
    add(states, "topic", JOINT_TOPIC)
    for name in robot.joint_names:
        add(states, "joint_name", name)
    _camera(root, cell, generation)
    return document(root)


def camera_mount(cell: Cell) -> tuple[str, Array]:
    """Return the link that carries the camera and T_link_sensor of the Gazebo sensor (x forward, z up).

    The sensor cannot sit on the optical frame itself: that link has no mass, and Gazebo drops it.
    """
    optical = cell.config.camera.optical_frame
    parent = next(j.parent for j in cell.robot.tree.joints if j.child == optical)
    T_link_sensor = cell.robot.fixed(parent, optical).copy()
    T_link_sensor[:3, :3] = T_link_sensor[:3, :3] @ R_OPTICAL_SENSOR
    return parent, T_link_sensor


def _effort_n_m(root: ElementTree.Element, joint: str) -> float:
    limit = root.find(f"joint[@name='{joint}']/limit")
    effort_n_m = 0.0 if limit is None else float(limit.get("effort", "0"))
    if not effort_n_m > 0.0:
        raise ConfigurationError(f"{joint}: limit effort is {effort_n_m:g} N m in the URDF, must be > 0 to hold it")
    return effort_n_m


def _mount(root: ElementTree.Element, cell: Cell) -> None:
    """Fix the robot's base to the world."""
    add(root, "link", name="world")
    joint = add(root, "joint", name="world_mount", type="fixed")
    add(joint, "parent", link="world")
    add(joint, "child", link=cell.robot.config.base_frame)


def _camera(root: ElementTree.Element, cell: Cell, generation: Generation) -> None:
    link, T_link_sensor = camera_mount(cell)
    config = cell.camera
    middle_px = (0.5 * (config.width_px - 1), 0.5 * (config.height_px - 1))
    told = (config.fx_px - config.fy_px, config.cx_px - middle_px[0], config.cy_px - middle_px[1])
    if max(map(abs, told)) > CENTRED_PX or config.distortion is not None:
        raise ConfigurationError(
            f"camera {config.name!r}: fx {config.fx_px:g}, fy {config.fy_px:g}, cx {config.cx_px:g}, "
            f"cy {config.cy_px:g} px; Gazebo renders depth only through a lens without distortion, fx = fy and its "
            f"axis in the image's middle ({middle_px[0]:g}, {middle_px[1]:g} px): give the cell such a camera file "
            f"for Gazebo"
        )
    mount = next(j.name for j in cell.robot.tree.joints if j.child == link)
    add(add(root, "gazebo", reference=mount), "preserveFixedJoint", "true")
    sensor = add(add(root, "gazebo", reference=link), "sensor", name="wrist_camera", type="depth_camera")
    add(sensor, "pose", pose(T_link_sensor))
    add(sensor, "update_rate", config.rate_hz)
    add(sensor, "topic", DEPTH_TOPIC)
    add(sensor, generation.frame_tag, cell.config.camera.optical_frame)
    camera = add(sensor, "camera", name="wrist_camera")
    add(camera, "horizontal_fov", 2.0 * math.atan(config.width_px / (2.0 * config.fx_px)))
    image = add(camera, "image")
    for tag, value in (("width", config.width_px), ("height", config.height_px), ("format", "R_FLOAT32")):
        add(image, tag, value)
    clip = add(camera, "clip")
    add(clip, "near", config.range_m.low)
    add(clip, "far", config.range_m.high)
    if not generation.lens:
        return
    intrinsics = add(add(camera, "lens"), "intrinsics")
    # Gazebo counts pixels from the image's corner, the cell from the first pixel's centre
    focal = {"fx": config.fx_px, "fy": config.fy_px, "cx": config.cx_px + 0.5, "cy": config.cy_px + 0.5, "s": 0.0}
    for tag, value in focal.items():
        add(intrinsics, tag, value)
