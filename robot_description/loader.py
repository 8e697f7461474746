"""Load a robot or a cell from its YAML file and check that everything in it agrees before anything relies on it."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np

from cell_core.config import CameraConfig, CellConfig, GrindToolConfig, GunConfig, RobotConfig
from cell_core.config.loader import find_config, load_config, load_named
from cell_core.config.models import MountedTool
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, transform_from_xyz_rpy, xyz_rpy_from_transform
from robot_description.expand import expand, own_folders
from robot_description.model import BoxModel, Cell, RobotModel, ToolModel
from robot_description.opw import opw_deviation
from robot_description.opw_fit import fit_opw
from robot_description.semantics import load_srdf
from robot_description.urdf import MOVABLE, UrdfTree, parse_urdf

OPW_TOLERANCE = 1e-6
"""Largest allowed difference between OPW parameters and URDF: [m] in position, [1] in rotation matrix entries."""


def load_robot(name_or_path: str | Path, beside: Path | None = None) -> RobotModel:
    """Load config/robots/NAME.yaml (or a path) with its URDF and SRDF, and check them against each other.

    OPW parameters that the file does not give are read off the URDF where the arm is of that kind.

    Raises:
        ConfigurationError: a missing or wrong file; a joint or frame that the URDF lacks; limits that are not positive
            or not ordered; a home outside them; OPW parameters that disagree with the URDF (it says by how much).
    """
    path = find_config("robots", str(name_or_path), beside)
    config = load_config(RobotConfig, path)
    urdf_path = _find_file(config.urdf, path)
    urdf_xml = expand(urdf_path, config.xacro_args)
    tree = parse_urdf(urdf_xml, str(urdf_path))
    _check_names(config, tree, path)
    config = _with_opw(config, tree)
    lower, upper = (np.array([getattr(tree.joint[n], side) for n in config.joint_names]) for side in ("lower", "upper"))
    limits = [config.joint_limits[n] for n in config.joint_names]
    robot = RobotModel(
        config=config,
        urdf_xml=urdf_xml,
        srdf_xml=load_srdf(None if config.srdf is None else _find_file(config.srdf, path), tree, config),
        tree=tree,
        joint_names=config.joint_names,
        lower_rad=_frozen(lower),
        upper_rad=_frozen(upper),
        velocity_rad_per_s=_frozen([limit.velocity_rad_per_s for limit in limits]),
        acceleration_rad_per_s2=_frozen([limit.acceleration_rad_per_s2 for limit in limits]),
        jerk_rad_per_s3=_frozen([limit.jerk_rad_per_s3 for limit in limits]),
        home_rad=_frozen(config.home_rad),
    )
    _check_limits(robot, path)
    _check_opw(robot, path)
    return robot


def load_cell(name_or_path: str | Path) -> Cell:
    """Load config/cells/NAME.yaml (or a path) with its robot, tools and camera.

    Raises:
        ConfigurationError: as load_robot; a tool or camera frame that does not ride on the flange; two tools for one
            process; two obstacles of one name.
    """
    path = find_config("cells", str(name_or_path))
    config = load_config(CellConfig, path)
    robot = load_robot(config.robot, beside=path)
    camera = load_named(CameraConfig, "cameras", config.camera.config, path)
    if camera.hand_eye is not None:
        pose = camera.hand_eye.T_flange_optical
        robot = with_camera_at(robot, config.camera.optical_frame, transform_from_xyz_rpy(pose.xyz_m, pose.rpy_rad))
    for what, names in (
        ("tool for process", [t.process for t in config.tools]),
        ("obstacle", [o.name for o in config.obstacles]),
    ):
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(f"{path}: {what} {name!r} stands twice")
    flange = robot.config.flange_frame
    return Cell(
        config=config,
        robot=robot,
        camera=camera,
        tools=tuple(_tool(mounted, robot, path) for mounted in config.tools),
        T_flange_camera=_frozen(robot.fixed(flange, config.camera.optical_frame)),
        T_base_fixture=_frozen(transform_from_xyz_rpy(config.T_base_fixture.xyz_m, config.T_base_fixture.rpy_rad)),
        obstacles=tuple(
            BoxModel(
                name=box.name,
                T_base_box=_frozen(transform_from_xyz_rpy(box.centre_m, (0.0, 0.0, 0.0))),
                size_m=_frozen(box.size_m),
            )
            for box in config.obstacles
        ),
    )


def with_camera_at(robot: RobotModel, optical_frame: str, T_flange_optical: Array) -> RobotModel:
    """Return the robot with the fixed joint that ends in the camera's optical frame set to a calibrated pose.

    URDF text and kinematic tree change alike, so whoever reads either sees the calibrated camera.

    Raises:
        ConfigurationError: unknown frame, one not rigidly on the flange, or one that does not hang on a fixed joint.
    """
    flange = robot.config.flange_frame
    robot.fixed(flange, optical_frame)
    joint = next((j for j in robot.tree.joints if j.child == optical_frame), None)
    if joint is None or joint.kind != "fixed":
        raise ConfigurationError(
            f"camera: optical frame {optical_frame!r} hangs on no fixed joint, so a calibrated hand-eye cannot place it"
        )
    T_parent_optical = robot.fixed(joint.parent, flange) @ T_flange_optical
    root = ElementTree.fromstring(robot.urdf_xml)
    element = next(e for e in root.findall("joint") if e.get("name") == joint.name)
    origin = element.find("origin")
    if origin is None:
        origin = ElementTree.SubElement(element, "origin")
    for key, values in zip(("xyz", "rpy"), xyz_rpy_from_transform(T_parent_optical), strict=True):
        origin.set(key, " ".join(repr(float(v)) for v in values))
    urdf_xml = ElementTree.tostring(root, encoding="unicode")
    return replace(robot, urdf_xml=urdf_xml, tree=parse_urdf(urdf_xml, robot.config.name))


def _tool(mounted: MountedTool, robot: RobotModel, path: Path) -> ToolModel:
    if mounted.process == "spray":
        config: GunConfig | GrindToolConfig = load_named(GunConfig, "guns", mounted.config, path)
    else:
        config = load_named(GrindToolConfig, "tools", mounted.config, path)
    return ToolModel(
        process=mounted.process,
        config=config,
        tcp_frame=mounted.tcp_frame,
        T_flange_tcp=_frozen(robot.fixed(robot.config.flange_frame, mounted.tcp_frame)),
    )


def _find_file(name: str, config_path: Path) -> Path:
    candidates = [Path(config_path).parent / name, *(folder / "robot_description" / name for folder in own_folders())]
    for path in candidates:
        if path.is_file():
            return path
    raise ConfigurationError(f"{config_path}: {name!r} not found (tried {', '.join(str(p) for p in candidates)})")


def _frozen(values: object) -> Array:
    array = np.array(values, dtype=float)
    array.setflags(write=False)
    return array


def _check_names(config: RobotConfig, tree: UrdfTree, path: Path) -> None:
    for name in config.joint_names:
        if name not in tree.joint:
            known = ", ".join(tree.joint)
            raise ConfigurationError(f"{path}: joint_names: {name!r} is not in the URDF; it has: {known}")
        if tree.joint[name].kind not in ("revolute", "continuous"):
            raise ConfigurationError(f"{path}: joint {name!r} is {tree.joint[name].kind}, wanted revolute")
    if set(config.joint_limits) != set(config.joint_names):
        odd = sorted(set(config.joint_limits) ^ set(config.joint_names))
        raise ConfigurationError(f"{path}: joint_limits: {odd[0]!r} stands in only one of joint_limits and joint_names")
    free = sorted(j.name for j in tree.joints if j.kind in MOVABLE and j.name not in config.joint_names)
    if free:
        raise ConfigurationError(f"{path}: URDF joint {free[0]!r} moves but is not in joint_names")
    for key, frame in (("base_frame", config.base_frame), ("flange_frame", config.flange_frame)):
        if frame not in tree.links:
            raise ConfigurationError(f"{path}: {key}: no link {frame!r} in the URDF; it has: {', '.join(tree.links)}")
    on_chain = [j.name for j in reversed(tree.to_root(config.flange_frame)) if j.kind in MOVABLE]
    if on_chain != list(config.joint_names):
        raise ConfigurationError(f"{path}: joint_names {list(config.joint_names)}: the flange's chain has {on_chain}")
    if any(j.kind in MOVABLE for j in tree.to_root(config.base_frame)):
        raise ConfigurationError(f"{path}: base_frame {config.base_frame!r} hangs on a moving joint")


def _check_limits(robot: RobotModel, path: Path) -> None:
    for i, name in enumerate(robot.joint_names):
        low, high, home = float(robot.lower_rad[i]), float(robot.upper_rad[i]), float(robot.home_rad[i])
        if not low < high:
            raise ConfigurationError(f"{path}: {name}: lower limit {low:.4f} rad is not below upper {high:.4f} rad")
        if not low <= home <= high:
            raise ConfigurationError(f"{path}: home_rad: {name} at {home:.4f} rad is outside {low:.4f}..{high:.4f} rad")


def _with_opw(config: RobotConfig, tree: UrdfTree) -> RobotConfig:
    """Read the OPW parameters off the URDF where the file gives none and the arm has them."""
    if config.opw is not None:
        return config
    try:
        return config.model_copy(update={"opw": fit_opw(tree, config.base_frame, config.flange_frame)})
    except ConfigurationError:
        return config


def _check_opw(robot: RobotModel, path: Path) -> None:
    if robot.config.opw is None:
        return
    position_m, rotation = opw_deviation(robot, np.random.default_rng(0))
    if max(position_m, rotation) > OPW_TOLERANCE:
        raise ConfigurationError(
            f"{path}: opw: parameters disagree with the URDF at random positions by up to {position_m:.6f} m and "
            f"{rotation:.6f} in rotation, at most {OPW_TOLERANCE} allowed; flange_frame must have z out of the flange",
            position_m=position_m,
            rotation=rotation,
        )
