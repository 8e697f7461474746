"""Read what the cell needs from a URDF: links, joints, shapes."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array, transform_from_xyz_rpy

MOVABLE = ("revolute", "continuous", "prismatic")


@dataclass(frozen=True, kw_only=True, eq=False)
class Joint:
    """One URDF joint."""

    name: str
    kind: str
    parent: str
    child: str
    T_parent_joint: Array
    """(4, 4) joint frame in the parent link at zero."""
    axis: Array
    """(3,) unit axis in the joint frame."""
    lower: float
    """Lower limit [rad or m]; -inf when continuous."""
    upper: float
    """Upper limit [rad or m]; inf when continuous."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """One visual or collision shape of a link."""

    link: str
    name: str
    T_link_shape: Array
    """(4, 4) shape frame in the link."""
    kind: str
    """mesh, box, cylinder or sphere."""
    size: tuple[float, ...]
    """box: three sides; cylinder: radius, length; sphere: radius; mesh: three scale factors [m, 1]."""
    mesh_path: str
    """Absolute path of a mesh, else empty."""
    rgba: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class UrdfTree:
    """A parsed URDF."""

    name: str
    links: tuple[str, ...]
    joints: tuple[Joint, ...]
    visuals: tuple[Shape, ...]
    collisions: tuple[Shape, ...]

    @cached_property
    def joint_above(self) -> dict[str, Joint]:
        """The joint that carries each link, by link name."""
        return {joint.child: joint for joint in self.joints}

    @cached_property
    def joint(self) -> dict[str, Joint]:
        """Joints by name."""
        return {joint.name: joint for joint in self.joints}

    def to_root(self, link: str) -> list[Joint]:
        """Return the joints from `link` up to the root link, nearest first."""
        chain: list[Joint] = []
        while link in self.joint_above:
            chain.append(self.joint_above[link])
            link = chain[-1].parent
        return chain


def parse_urdf(text: str, place: str) -> UrdfTree:
    """Parse an expanded URDF.

    Raises:
        ConfigurationError: not XML, no links, a joint naming a missing link, a loop or a second root, a bad number.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigurationError(f"{place}: not XML: {error}") from error
    if root.tag != "robot":
        raise ConfigurationError(f"{place}: root element is <{root.tag}>, wanted <robot>")
    links = tuple(link.get("name", "") for link in root.findall("link"))
    colours = {m.get("name", ""): _rgba(m) for m in root.iter("material") if m.find("color") is not None}
    try:
        joints = tuple(_joint(element) for element in root.findall("joint"))
        shapes = {
            kind: tuple(
                _shape(element, link.get("name", ""), f"{link.get('name')}_{index}", colours)
                for link in root.findall("link")
                for index, element in enumerate(link.findall(kind))
            )
            for kind in ("visual", "collision")
        }
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{place}: {error}") from error
    _check_tree(links, joints, place)
    return UrdfTree(
        name=root.get("name", ""), links=links, joints=joints, visuals=shapes["visual"], collisions=shapes["collision"]
    )


def _numbers(text: str | None, count: int, default: str) -> Array:
    values = np.array([float(v) for v in (text or default).split()])
    if values.shape != (count,) or not np.all(np.isfinite(values)):
        raise ValueError(f"{text!r}: wanted {count} finite numbers")
    return values


def _origin(element: ElementTree.Element) -> Array:
    origin = element.find("origin")
    origin = ElementTree.Element("origin") if origin is None else origin
    T = transform_from_xyz_rpy(_numbers(origin.get("xyz"), 3, "0 0 0"), _numbers(origin.get("rpy"), 3, "0 0 0"))
    T.setflags(write=False)
    return T


def _joint(element: ElementTree.Element) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    parent, child, axis, limit = (element.find(tag) for tag in ("parent", "child", "axis", "limit"))
    if parent is None or child is None:
        raise ValueError(f"joint {name!r} has no parent or child")
    if element.find("mimic") is not None:
        raise ValueError(f"joint {name!r} mimics another joint: not supported")
    direction = _numbers(None if axis is None else axis.get("xyz"), 3, "1 0 0")
    if kind in MOVABLE and np.linalg.norm(direction) < 1e-9:
        raise ValueError(f"joint {name!r} has a zero axis")
    bounded = limit is not None and kind in ("revolute", "prismatic")
    if kind in ("revolute", "prismatic") and limit is None:
        raise ValueError(f"joint {name!r} is {kind} but has no limit")
    return Joint(
        name=name,
        kind=kind,
        parent=parent.get("link", ""),
        child=child.get("link", ""),
        T_parent_joint=_origin(element),
        axis=direction / max(float(np.linalg.norm(direction)), 1e-12),
        lower=float(limit.get("lower", 0.0)) if bounded and limit is not None else -np.inf,
        upper=float(limit.get("upper", 0.0)) if bounded and limit is not None else np.inf,
    )


def _rgba(material: ElementTree.Element) -> tuple[float, float, float, float]:
    colour = material.find("color")
    values = _numbers(None if colour is None else colour.get("rgba"), 4, "0.7 0.7 0.7 1")
    return (float(values[0]), float(values[1]), float(values[2]), float(values[3]))


def _shape(
    element: ElementTree.Element, link: str, name: str, colours: Mapping[str, tuple[float, float, float, float]]
) -> Shape:
    geometry = element.find("geometry")
    body = None if geometry is None else next(iter(geometry), None)
    if body is None:
        raise ValueError(f"link {link!r}: a shape without geometry")
    sizes = {
        "box": lambda: tuple(_numbers(body.get("size"), 3, "")),
        "cylinder": lambda: (float(body.get("radius", "nan")), float(body.get("length", "nan"))),
        "sphere": lambda: (float(body.get("radius", "nan")),),
        "mesh": lambda: tuple(_numbers(body.get("scale"), 3, "1 1 1")),
    }
    if body.tag not in sizes:
        raise ValueError(f"link {link!r}: shape <{body.tag}> not supported")
    material = element.find("material")
    named = "" if material is None else material.get("name", "")
    return Shape(
        link=link,
        name=element.get("name") or name,
        T_link_shape=_origin(element),
        kind=body.tag,
        size=tuple(float(v) for v in sizes[body.tag]()),
        mesh_path=body.get("filename", "") if body.tag == "mesh" else "",
        rgba=colours.get(named, (0.7, 0.7, 0.7, 1.0)),
    )


def _check_tree(links: tuple[str, ...], joints: tuple[Joint, ...], place: str) -> None:
    if not links:
        raise ConfigurationError(f"{place}: 0 links, at least 1 needed")
    unique = {"link": links, "joint": tuple(j.name for j in joints), "child": tuple(j.child for j in joints)}
    for kind, names in unique.items():
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ConfigurationError(f"{place}: {kind} {doubled[0]!r} stands twice")
    for joint in joints:
        for link in (joint.parent, joint.child):
            if link not in links:
                raise ConfigurationError(f"{place}: joint {joint.name!r} names link {link!r}, which does not exist")
    roots = [link for link in links if link not in {j.child for j in joints}]
    if len(roots) != 1:
        raise ConfigurationError(f"{place}: {len(roots)} root links {roots}, wanted 1")
