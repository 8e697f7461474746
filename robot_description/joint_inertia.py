"""The inertia each joint of the arm has to turn, from the masses in its URDF."""

import xml.etree.ElementTree as ElementTree

import numpy as np
from numpy.typing import ArrayLike

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, transform_from_xyz_rpy
from robot_description.model import RobotModel


def joint_inertia_kg_m2(robot: RobotModel, q_rad: ArrayLike) -> Array:
    """Return the diagonal (J,) of the joint-space mass matrix at joint positions q (J,) [rad].

    Composite bodies: all links beyond a joint count as one rigid body that turns about its axis.

    Raises:
        ConfigurationError: nothing beyond a joint has a mass.
    """
    bodies = _bodies(robot)
    found = []
    for name in robot.joint_names:
        joint = robot.tree.joint[name]
        T_base_child = robot.forward(q_rad, joint.child)
        axis, origin = T_base_child[:3, :3] @ joint.axis, T_base_child[:3, 3]
        beyond = [link for link in bodies if joint in robot.tree.to_root(link)]
        total = 0.0
        for link in beyond:
            mass_kg, T_link_body, tensor = bodies[link]
            T = robot.forward(q_rad, link) @ T_link_body
            turn = T[:3, :3].T @ axis
            arm_m = np.cross(axis, T[:3, 3] - origin)
            total += float(turn @ tensor @ turn + mass_kg * (arm_m @ arm_m))
        if not total > 0.0:
            raise ConfigurationError(f"{name}: no link beyond it has a mass in the URDF")
        found.append(total)
    return np.array(found)


def _bodies(robot: RobotModel) -> dict[str, tuple[float, Array, Array]]:
    """Return mass [kg], T_link_body and inertia tensor (3, 3) [kg m2] of every link that has them."""
    bodies = {}
    for link in ElementTree.fromstring(robot.urdf_xml).findall("link"):
        mass, inertia = link.find("inertial/mass"), link.find("inertial/inertia")
        if mass is None or inertia is None:
            continue
        origin = link.find("inertial/origin")
        pose = {} if origin is None else origin.attrib
        xyz, rpy = ([float(v) for v in pose.get(key, "0 0 0").split()] for key in ("xyz", "rpy"))
        xx, yy, zz, xy, xz, yz = (float(inertia.get(k, 0.0)) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        bodies[link.get("name", "")] = (float(mass.get("value", "nan")), transform_from_xyz_rpy(xyz, rpy), tensor)
    return bodies
