"""A robot's masses for MuJoCo: the URDF's where it gives them and they are physical, else those of its link shapes."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import trimesh

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description import RobotModel
from robot_description.urdf import Shape

DENSITY_KG_PER_M3 = 1850.0
"""Of a link with shapes but no mass; assumed: with it the shipped arm's shapes weigh the 435 kg of its data sheet."""
INERTIA_SLACK = 1.0 + 1e-6


def dynamics_urdf(robot: RobotModel) -> str:
    """Return a robot's URDF without shapes and with an inertia on every link that has a body, ready for MuJoCo.

    Raises:
        ConfigurationError: a mass that is not positive, an inertia that no body can have, or a moving link without
            mass and shape; says which.
    """
    root = ElementTree.fromstring(robot.urdf_xml)
    for link in root.findall("link"):
        name = link.get("name", "")
        for element in (*link.findall("visual"), *link.findall("collision")):
            link.remove(element)
        inertial = link.find("inertial")
        if inertial is not None:
            check_inertia(name, *_given(inertial))
        elif shapes := [s for s in robot.tree.collisions if s.link == name]:
            link.append(_derived(shapes))
    for element in root.findall("mujoco"):
        root.remove(element)
    settings = ElementTree.SubElement(root, "mujoco")
    # what is fixed becomes one body with what carries it: frames come from the robot model, not from MuJoCo
    ElementTree.SubElement(settings, "compiler", {"fusestatic": "true", "discardvisual": "true"})
    return ElementTree.tostring(root, encoding="unicode")


def effort_n_m(robot: RobotModel) -> Array:
    """Return the largest joint torques (J,) of the URDF [N m].

    Raises:
        ConfigurationError: a joint of the arm tells none.
    """
    limits = {j.get("name"): j.find("limit") for j in ElementTree.fromstring(robot.urdf_xml).findall("joint")}
    found = []
    for name in robot.joint_names:
        limit = limits[name]
        text = "0" if limit is None else limit.get("effort", "0")
        if not float(text) > 0.0:
            raise ConfigurationError(f"{name}: limit effort is {text} N m in the URDF, must be > 0 to simulate torques")
        found.append(float(text))
    return np.array(found)


def check_inertia(link: str, mass_kg: float, moments_kg_m2: Array) -> None:
    """Refuse a mass or inertia that no body can have.

    Raises:
        ConfigurationError: says link, value and bound.
    """
    if not (np.isfinite(mass_kg) and mass_kg > 0.0):
        raise ConfigurationError(f"link {link!r}: mass {mass_kg:g} kg must be > 0")
    if not np.all(np.isfinite(moments_kg_m2)) or moments_kg_m2[0] <= 0.0:
        raise ConfigurationError(f"link {link!r}: principal inertias {moments_kg_m2} kg m2 must be > 0")
    if moments_kg_m2[2] > INERTIA_SLACK * (moments_kg_m2[0] + moments_kg_m2[1]):
        raise ConfigurationError(
            f"link {link!r}: principal inertia {moments_kg_m2[2]:.6g} kg m2 exceeds the sum of the other two, "
            f"{moments_kg_m2[0] + moments_kg_m2[1]:.6g} kg m2: no body has that"
        )


def _given(inertial: ElementTree.Element) -> tuple[float, Array]:
    mass, inertia = inertial.find("mass"), inertial.find("inertia")
    value = {} if inertia is None else {k: float(v) for k, v in inertia.attrib.items()}
    xx, yy, zz, xy, xz, yz = (value.get(k, 0.0) for k in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz"))
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return float("nan" if mass is None else mass.get("value", "nan")), np.linalg.eigvalsh(tensor)


def _derived(shapes: list[Shape]) -> ElementTree.Element:
    bodies = [_solid(shape) for shape in shapes]
    volumes = np.array([b.volume for b in bodies])
    centre = np.array([b.center_mass for b in bodies]).T @ volumes / volumes.sum()
    tensor = np.zeros((3, 3))
    for body, volume in zip(bodies, volumes, strict=True):
        d = body.center_mass - centre
        tensor += DENSITY_KG_PER_M3 * (body.moment_inertia + volume * (d @ d * np.eye(3) - np.outer(d, d)))
    inertial = ElementTree.Element("inertial")
    ElementTree.SubElement(inertial, "origin", {"xyz": " ".join(map(repr, map(float, centre)))})
    ElementTree.SubElement(inertial, "mass", {"value": repr(float(DENSITY_KG_PER_M3 * volumes.sum()))})
    names = {"ixx": (0, 0), "iyy": (1, 1), "izz": (2, 2), "ixy": (0, 1), "ixz": (0, 2), "iyz": (1, 2)}
    ElementTree.SubElement(inertial, "inertia", {k: repr(float(tensor[i])) for k, i in names.items()})
    return inertial


def _solid(shape: Shape) -> trimesh.Trimesh:
    if shape.kind == "mesh":
        body = trimesh.load_mesh(shape.mesh_path)
        body.apply_transform(np.diag([*shape.size, 1.0]))
        body = body.convex_hull
    elif shape.kind == "box":
        body = trimesh.creation.box(extents=shape.size)
    elif shape.kind == "cylinder":
        body = trimesh.creation.cylinder(radius=shape.size[0], height=shape.size[1])
    else:
        body = trimesh.creation.icosphere(radius=shape.size[0])
    body.apply_transform(shape.T_link_shape)
    return body
