"""Make a cell of any arm of six turning joints: URDF with the standard tools, limits, SRDF, home, surroundings."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from cell_core.config.loader import find_config
from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description import arm_urdf
from robot_description.expand import expand
from robot_description.generate_srdf import never_and_always
from robot_description.home import find_home
from robot_description.loader import load_cell, load_robot
from robot_description.model import RobotModel
from robot_description.opw_fit import PARALLEL, fit_opw, joint_axes
from robot_description.semantics import adjacent_pairs, write_srdf
from robot_description.surroundings import surroundings
from robot_description.urdf import UrdfTree, parse_urdf

FULL_SPEED_S = 0.5
"""Assumed: a joint comes to full speed in this time. Makers publish no accelerations."""
FULL_ACCELERATION_S = 0.1
"""Assumed: and to full acceleration in this."""
PAIR_SAMPLES = 5_000
REACH_SAMPLES = 20_000
Pair = tuple[str, str]
MOUNT = "tool_mount"
FLANGES = ("tool0", "flange", "tool_link", "ee_link")


@dataclass(frozen=True, kw_only=True)
class ImportedArm:
    """What was made of a URDF."""

    robot_path: Path
    cell_path: Path
    kinematics: str
    """How inverse kinematics are solved, in words."""
    reach_m: float
    """Farthest the flange comes from the first axis [m]."""
    notes: tuple[str, ...]
    """What was assumed or changed."""


def import_arm(
    urdf: Path, out: Path, *, name: str = "", base: str = "", flange: str = "", full_speed_s: float = FULL_SPEED_S
) -> ImportedArm:
    """Write NAME.urdf, meshes/, NAME.srdf, NAME.yaml and cell.yaml into a folder; load them as a check.

    Args:
        urdf: URDF or xacro file of the bare arm.
        out: folder to write to.
        name: of the robot; empty: the URDF's.
        base: link the cell is placed in; empty: "base_link" or the root.
        flange: link the tools hang on; empty: "tool0" and the like, or the chain's last link. Where its z does not
            point out of the flange, a link that is turned so is added.
        full_speed_s: time in which a joint comes to full speed, for its acceleration limit.

    Raises:
        ConfigurationError: no chain of six turning joints, a joint without velocity limit, a link of the arm that bears
            a tool's name, or a mesh that cannot be found.
    """
    if not 0.05 <= full_speed_s <= 5.0:
        raise ConfigurationError(f"full_speed_s: value {full_speed_s} s: must be within 0.05..5 s")
    root = ElementTree.fromstring(expand(Path(urdf), {}))
    tree = parse_urdf(ElementTree.tostring(root, encoding="unicode"), str(urdf))
    base = base or ("base_link" if "base_link" in tree.links else _root_link(tree))
    flange = flange or _flange_of(tree)
    joints = _check_chain(tree, base, flange, str(urdf))
    mount = mount_of(tree, base, flange)
    limits = _limits(root, joints, full_speed_s, str(urdf))
    arm_urdf.strip(root)
    notes = [*arm_urdf.bounded(root), *arm_urdf.solid(root)]
    if mount is not None:
        arm_urdf.add_mount(root, flange, MOUNT, mount)
        notes.append(f"z of {flange!r} does not point out of the flange: the tools hang on {MOUNT!r}, turned to it")
        flange = MOUNT
    notes.append(f"accelerations are assumed: full speed in {full_speed_s:g} s, full acceleration in 0.1 s")
    notes.append("surroundings are the standard cell's, scaled by the reach: edit cell.yaml to yours")
    arm_urdf.add_tools(root, flange, tree)
    out, name = Path(out), name or tree.name or Path(urdf).stem
    out.mkdir(parents=True, exist_ok=True)
    arm_urdf.own_meshes(root, out / "meshes")
    root.set("name", name)
    ElementTree.indent(root)
    (out / f"{name}.urdf").write_text(ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    robot_path = out / f"{name}.yaml"
    document = {
        "format": "grind_spray_cell/robot",
        "version": 1,
        "name": name,
        "urdf": f"{name}.urdf",
        "base_frame": base,
        "flange_frame": flange,
        "joint_names": joints,
        "joint_limits": limits,
        "home_rad": _middle(robot_path.with_suffix(".urdf"), joints),
    }
    _write_yaml(robot_path, document)
    robot = load_robot(robot_path)
    reach_m = reach_of(robot)
    scale = reach_m / reach_of(load_robot("irb4600_60_205"))
    cell_path, touching = _finish(robot, document, robot_path, scale)
    notes += [f"hulls of {a} and {b} always meet: not looked at" for a, b in touching]
    return ImportedArm(
        robot_path=robot_path,
        cell_path=cell_path,
        kinematics=kinematics_of(robot),
        reach_m=reach_m,
        notes=tuple(notes),
    )


def reach_of(robot: RobotModel) -> float:
    """Return how far the flange comes from the base's z axis, of many random positions [m]."""
    low, high = np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi)
    q = np.random.default_rng(0).uniform(low, high, (REACH_SAMPLES, len(low)))
    tip = robot.forward(q, robot.config.flange_frame)[:, :2, 3]
    return float(np.linalg.norm(tip, axis=1).max())


def kinematics_of(robot: RobotModel) -> str:
    """Return in words how an arm's inverse kinematics are solved, and where not in OPW form, why not."""
    if robot.config.opw is not None:
        return "closed form (OPW), parameters read off the URDF"
    try:
        fit_opw(robot.tree, robot.config.base_frame, robot.config.flange_frame)
    except ConfigurationError as error:
        return f"by decomposition or numerically: not of the OPW form, {error}"
    return "closed form (OPW)"


def _finish(robot: RobotModel, document: dict[str, Any], robot_path: Path, scale: float) -> tuple[Path, list[Pair]]:
    """Write SRDF, home and cell of an arm whose URDF is there; return the cell's file and the pairs always meeting."""
    never, always = never_and_always(robot, np.random.default_rng(0), PAIR_SAMPLES)
    adjacent = adjacent_pairs(robot.tree)
    around = surroundings(scale)
    home = find_home(robot, adjacent + never + always, around.fixture_m)
    config = robot.config.model_copy(update={"home_rad": tuple(home)})
    srdf = robot_path.with_suffix(".srdf")
    srdf.write_text(write_srdf(robot.tree, config, adjacent, never, always), encoding="utf-8")
    _write_yaml(robot_path, document | {"srdf": srdf.name, "home_rad": home})
    cell = yaml.safe_load(find_config("cells", "default").read_text(encoding="utf-8")) | around.keys
    cell_path = robot_path.parent / "cell.yaml"
    _write_yaml(cell_path, cell | {"name": robot.config.name, "robot": robot_path.name})
    load_cell(cell_path)
    return cell_path, always


def _root_link(tree: UrdfTree) -> str:
    return next(link for link in tree.links if link not in tree.joint_above)


def _flange_of(tree: UrdfTree) -> str:
    known = [link for link in FLANGES if link in tree.links]
    if known:
        return known[0]
    return max(tree.links, key=lambda link: len(tree.to_root(link)))


def _check_chain(tree: UrdfTree, base: str, flange: str, place: str) -> list[str]:
    for what, link in (("base", base), ("flange", flange)):
        if link not in tree.links:
            raise ConfigurationError(f"{place}: {what}: no link {link!r}; it has: {', '.join(tree.links)}")
    joints = joint_axes(tree, base, flange)[0]
    kinds = ", ".join(f"{joint.name} ({joint.kind})" for joint in joints)
    if len(joints) != 6 or any(joint.kind == "prismatic" for joint in joints):
        moving = kinds or "no joints"
        raise ConfigurationError(f"{place}: from {base!r} to {flange!r} move {moving}; wanted six that turn")
    return [joint.name for joint in joints]


def mount_of(tree: UrdfTree, base: str, flange: str) -> Array | None:
    """Return T_flange_mount (4, 4) of a frame on the flange whose z points out of it; None where it does already.

    Out is along the last axis, away from the axis before it.

    Raises:
        ConfigurationError: the flange lies on the axis before the last, so that out is either way.
    """
    _, axis, point_m, T = joint_axes(tree, base, flange)
    if np.linalg.norm(np.cross(axis[-2], axis[-1])) > PARALLEL:
        # where the last two axes come nearest, on the last
        normal = np.cross(axis[-2], np.cross(axis[-2], axis[-1]))
        start = point_m[-1] + axis[-1] * ((point_m[-2] - point_m[-1]) @ normal) / (axis[-1] @ normal)
    else:
        start = point_m[-1]
    ahead_m = float((T[:3, 3] - start) @ axis[-1])
    along = float(T[:3, 2] @ axis[-1])
    if abs(ahead_m) < 1e-3:
        if abs(along) > 1.0 - PARALLEL:
            return None
        raise ConfigurationError(
            f"arm {tree.name!r}: flange {flange!r} lies on axis 5 and its z is not along axis 6: which way is out? "
            "name a link with z out of the flange"
        )
    out = np.copysign(1.0, ahead_m) * axis[-1]
    if T[:3, 2] @ out > 1.0 - PARALLEL:
        return None
    turn = np.eye(4)
    turn[:3, :3] = rotation_between(np.array([0.0, 0.0, 1.0]), T[:3, :3].T @ out)
    return turn


def rotation_between(a: Array, b: Array) -> Array:
    """Return the smallest rotation (3, 3) that takes unit vector a to unit vector b."""
    return Rotation.align_vectors(b[None], a[None])[0].as_matrix()


def _limits(
    root: ElementTree.Element, joints: list[str], full_speed_s: float, place: str
) -> dict[str, dict[str, float]]:
    found = {}
    for element in root.findall("joint"):
        name = element.get("name", "")
        if name not in joints:
            continue
        limit = element.find("limit")
        speed = float("nan" if limit is None else limit.get("velocity", "nan"))
        if not (np.isfinite(speed) and speed > 0.0):
            raise ConfigurationError(f"{place}: joint {name!r}: velocity limit {speed} rad/s: must be > 0")
        acceleration = speed / full_speed_s
        found[name] = {
            "velocity_rad_per_s": speed,
            "acceleration_rad_per_s2": acceleration,
            "jerk_rad_per_s3": acceleration / FULL_ACCELERATION_S,
        }
    return found


def _middle(urdf: Path, joints: list[str]) -> list[float]:
    tree = parse_urdf(urdf.read_text(encoding="utf-8"), str(urdf))
    return [0.5 * (tree.joint[name].lower + tree.joint[name].upper) for name in joints]


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
