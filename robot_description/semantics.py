"""The SRDF: read it, or derive a plain one from the URDF when the robot's file names none."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from cell_core.config.models import RobotConfig
from cell_core.errors import ConfigurationError
from robot_description.urdf import UrdfTree


def load_srdf(path: Path | None, tree: UrdfTree, config: RobotConfig) -> str:
    """Return the SRDF text; with no file, one that disables collisions between adjacent links only.

    Raises:
        ConfigurationError: not XML, or it names a link or joint that the URDF lacks.
    """
    if path is None:
        return write_srdf(tree, config, adjacent_pairs(tree), [])
    text = path.read_text(encoding="utf-8")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigurationError(f"{path}: not XML: {error}") from error
    named = {
        "disable_collisions": ("link1", "link2"),
        "chain": ("base_link", "tip_link"),
        "end_effector": ("parent_link",),
    }
    for tag, keys in named.items():
        for element in root.iter(tag):
            for key in keys:
                if element.get(key) not in tree.links:
                    raise ConfigurationError(f"{path}: {tag} names link {element.get(key)!r}, which the URDF lacks")
    for element in root.iter("group_state"):
        for joint in element.iter("joint"):
            if joint.get("name") not in tree.joint:
                raise ConfigurationError(f"{path}: group_state names joint {joint.get('name')!r}, which the URDF lacks")
    return text


def disabled_pairs(srdf_xml: str) -> set[frozenset[str]]:
    """Return the link pairs whose collisions an SRDF disables."""
    root = ElementTree.fromstring(srdf_xml)
    return {frozenset((e.get("link1", ""), e.get("link2", ""))) for e in root.iter("disable_collisions")}


def adjacent_pairs(tree: UrdfTree) -> list[tuple[str, str]]:
    """Return pairs of links with collision shapes that share a joint or are rigidly connected."""
    solid = [link for link in tree.links if link in {s.link for s in tree.collisions}]
    body: dict[str, str] = {}
    for link in tree.links:
        top = link
        while top in tree.joint_above and tree.joint_above[top].kind == "fixed":
            top = tree.joint_above[top].parent
        body[link] = top
    neighbours = {frozenset((body[j.parent], body[j.child])) for j in tree.joints if j.kind != "fixed"}
    return [
        (a, b)
        for i, a in enumerate(solid)
        for b in solid[i + 1 :]
        if body[a] == body[b] or frozenset((body[a], body[b])) in neighbours
    ]


def write_srdf(
    tree: UrdfTree,
    config: RobotConfig,
    adjacent: list[tuple[str, str]],
    never: list[tuple[str, str]],
    always: Sequence[tuple[str, str]] = (),
) -> str:
    """Return an SRDF with one group "manipulator", the home state and the disabled pairs with their reasons."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<robot name="{tree.name}">', '  <group name="manipulator">']
    lines += [f'    <chain base_link="{config.base_frame}" tip_link="{config.flange_frame}"/>', "  </group>"]
    tools = [link for link in tree.links if tree.to_root(link)[:1] and _rides_on(tree, link, config.flange_frame)]
    if tools:
        lines.append('  <group name="tools">')
        lines += [f'    <link name="{link}"/>' for link in tools]
        lines.append("  </group>")
        ends = f'parent_link="{config.flange_frame}" group="tools" parent_group="manipulator"'
        lines.append(f'  <end_effector name="tool_plate" {ends}/>')
    lines.append('  <group_state name="home" group="manipulator">')
    lines += [f'    <joint name="{n}" value="{v}"/>' for n, v in zip(config.joint_names, config.home_rad, strict=True)]
    lines.append("  </group_state>")
    for reason, pairs in (("Adjacent", adjacent), ("Never", never), ("Default", always)):
        lines += [f'  <disable_collisions link1="{a}" link2="{b}" reason="{reason}"/>' for a, b in pairs]
    return "\n".join([*lines, "</robot>", ""])


def _rides_on(tree: UrdfTree, link: str, flange: str) -> bool:
    return any(joint.parent == flange for joint in tree.to_root(link))
