"""What a bare arm's URDF needs before it can work in a cell: finite turns, solid links, tools, meshes of its own."""

import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, xyz_rpy_from_transform
from robot_description.expand import expand
from robot_description.scene import read_mesh
from robot_description.urdf import UrdfTree, parse_urdf

TURN_RAD = 2.0 * np.pi
KEPT = ("link", "joint", "material")
"""What else a URDF may hold (transmissions, simulator tags) concerns others."""
TOOLS = """\
<robot name="tools" xmlns:xacro="http://www.ros.org/wiki/xacro">
  <xacro:include filename="{folder}/irb4600_60_205_arm.xacro"/>
  <xacro:include filename="{folder}/tools.xacro"/>
  <link name="{flange}"/>
  <xacro:cell_tools parent="{flange}"/>
</robot>
"""


def bounded(root: ElementTree.Element) -> list[str]:
    """Give joints that turn for ever a range of two turns; return what was changed."""
    notes = []
    for joint in root.findall("joint"):
        if joint.get("type") != "continuous":
            continue
        joint.set("type", "revolute")
        limit = joint.find("limit")
        limit = ElementTree.SubElement(joint, "limit") if limit is None else limit
        limit.set("lower", repr(-TURN_RAD))
        limit.set("upper", repr(TURN_RAD))
        notes.append(f"joint {joint.get('name')} turns without end; held to two turns")
    return notes


def solid(root: ElementTree.Element) -> list[str]:
    """Let links that can be seen but not touched be touched where they are seen; return what was changed."""
    notes = []
    for link in root.findall("link"):
        seen = link.findall("visual")
        if not seen or link.find("collision") is not None:
            continue
        for visual in seen:
            collision = ElementTree.SubElement(link, "collision")
            collision.extend([child for child in visual if child.tag in ("origin", "geometry")])
        notes.append(f"link {link.get('name')} has no collision shape; its visual one is taken")
    return notes


def add_mount(root: ElementTree.Element, flange: str, name: str, T_flange_mount: Array) -> None:
    """Add a link fixed to the flange at a pose (4, 4)."""
    ElementTree.SubElement(root, "link", name=name)
    joint = ElementTree.SubElement(root, "joint", name=f"{name}_joint", type="fixed")
    ElementTree.SubElement(joint, "parent", link=flange)
    ElementTree.SubElement(joint, "child", link=name)
    xyz_m, rpy_rad = xyz_rpy_from_transform(T_flange_mount)
    text = [" ".join(repr(float(v)) for v in values) for values in (xyz_m, rpy_rad)]
    ElementTree.SubElement(joint, "origin", xyz=text[0], rpy=text[1])


def add_tools(root: ElementTree.Element, flange: str, tree: UrdfTree) -> None:
    """Hang the standard tool plate with gun, sander and camera on the flange.

    Raises:
        ConfigurationError: a link or joint of the arm bears the name of one of the tools'.
    """
    folder = Path(__file__).resolve().parent / "urdf"
    with tempfile.TemporaryDirectory() as place:
        wrapper = Path(place) / "tools.xacro"
        wrapper.write_text(TOOLS.format(folder=folder, flange=flange), encoding="utf-8")
        text = expand(wrapper, {})
    tools = ElementTree.fromstring(text)
    added = parse_urdf(text, "tools.xacro")
    clash = (set(added.links) - {flange}) & set(tree.links) | set(added.joint) & set(tree.joint)
    if clash:
        raise ConfigurationError(f"arm {tree.name!r}: {min(clash)!r} is also a name of the tool plate's; rename it")
    materials = {material.get("name") for material in root.findall("material")}
    for element in tools:
        doubled = element.tag == "link" and element.get("name") == flange
        known = element.tag == "material" and element.get("name") in materials
        if element.tag in KEPT and not doubled and not known:
            root.append(element)


def own_meshes(root: ElementTree.Element, folder: Path) -> None:
    """Copy every mesh into a folder and point to it from beside that folder, so that all of it can be moved.

    Collision meshes become STL in metres: not every reader minds the unit that a Collada file declares.
    """
    for link in root.findall("link"):
        for tag in ("visual", "collision"):
            for i, mesh in enumerate(m for shape in link.findall(tag) for m in shape.iter("mesh")):
                path = Path(mesh.get("filename", ""))
                convert = tag == "collision" and path.suffix.lower() != ".stl"
                copy = folder / tag / f"{link.get('name')}_{i}{'.stl' if convert else path.suffix.lower()}"
                copy.parent.mkdir(parents=True, exist_ok=True)
                if convert:
                    read_mesh(path).export(copy)
                else:
                    shutil.copyfile(path, copy)
                mesh.set("filename", f"{folder.name}/{tag}/{copy.name}")


def strip(root: ElementTree.Element) -> None:
    """Drop what is neither link nor joint nor material."""
    for element in [e for e in root if e.tag not in KEPT]:
        root.remove(element)
