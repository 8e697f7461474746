"""Write the whole cell as one URDF: robot, tools, camera, surroundings and the place of the part."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, xyz_rpy_from_transform
from robot_description.model import Cell
from robot_description.scene import OBSTACLE_RGB

PART_FRAME = "part"


def cell_urdf(cell: Cell) -> str:
    """Return the cell's URDF: obstacles as links fixed to the base, the fixture as link "part", meshes as file:// URIs.

    Raises:
        ConfigurationError: an obstacle bears the name of a link of the robot.
    """
    root = ElementTree.fromstring(cell.robot.urdf_xml)
    for mesh in root.iter("mesh"):
        mesh.set("filename", Path(mesh.get("filename", "")).as_uri())
    taken = set(cell.robot.tree.links)
    base = cell.robot.config.base_frame
    for box in cell.obstacles:
        _claim(box.name, taken, cell)
        link = ElementTree.SubElement(root, "link", name=box.name)
        for tag in ("visual", "collision"):
            shape = ElementTree.SubElement(link, tag)
            geometry = ElementTree.SubElement(shape, "geometry")
            ElementTree.SubElement(geometry, "box", size=_text(box.size_m))
            if tag == "visual":
                material = ElementTree.SubElement(shape, "material", name="surroundings")
                ElementTree.SubElement(material, "color", rgba=_text((*OBSTACLE_RGB, 1.0)))
        _fix(root, base, box.name, box.T_base_box)
    _claim(PART_FRAME, taken, cell)
    ElementTree.SubElement(root, "link", name=PART_FRAME)
    _fix(root, base, PART_FRAME, cell.T_base_fixture)
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def write_urdf(cell: Cell, path: Path) -> None:
    """Write cell_urdf to a file; its mesh URIs are absolute, so it stays valid where it is moved on this machine.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    text = cell_urdf(cell)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def _claim(name: str, taken: set[str], cell: Cell) -> None:
    if name in taken:
        raise ConfigurationError(f"cell {cell.config.name!r}: name {name!r} is taken by another link or obstacle")
    taken.add(name)


def _fix(root: ElementTree.Element, parent: str, child: str, T_parent_child: Array) -> None:
    joint = ElementTree.SubElement(root, "joint", name=f"{child}_place", type="fixed")
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=child)
    xyz_m, rpy_rad = xyz_rpy_from_transform(T_parent_child)
    ElementTree.SubElement(joint, "origin", xyz=_text(xyz_m), rpy=_text(rpy_rad))


def _text(values: Iterable[float]) -> str:
    return " ".join(repr(float(v)) for v in values)
