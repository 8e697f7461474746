"""A robot's links as convex hulls in pinocchio, and the pairs of them that may meet."""

import importlib
from itertools import combinations
from typing import Any

from robot_description.model import RobotModel


def pinocchio() -> Any:
    """Return the module; its names are made at run time."""
    return importlib.import_module("pinocchio")


def hulls(robot: RobotModel) -> tuple[Any, Any, list[str]]:
    """Return pinocchio's model, its collision geometry as convex hulls, and the link of each shape."""
    model = pinocchio().buildModelFromXML(robot.urdf_xml)
    geometry = pinocchio().buildGeomFromUrdfString(model, robot.urdf_xml, pinocchio().GeometryType.COLLISION)
    for item in geometry.geometryObjects:
        if hasattr(item.geometry, "buildConvexHull"):
            item.geometry.buildConvexHull(True, "Qt")
            item.geometry = item.geometry.convex
    return model, geometry, [model.frames[item.parentFrame].name for item in geometry.geometryObjects]


def add_pairs(geometry: Any, links: list[str], skip: set[frozenset[str]]) -> list[tuple[str, str]]:
    """Add every pair of shapes of different links that is not to be skipped; return their links in that order."""
    pairs = []
    for i, j in combinations(range(len(links)), 2):
        if links[i] != links[j] and frozenset((links[i], links[j])) not in skip:
            geometry.addCollisionPair(pinocchio().CollisionPair(i, j))
            pairs.append((links[i], links[j]))
    return pairs
