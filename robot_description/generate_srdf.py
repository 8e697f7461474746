"""Write the standard robot's SRDF: `python -m robot_description.generate_srdf`."""

import importlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from robot_description.loader import load_robot
from robot_description.model import RobotModel
from robot_description.semantics import adjacent_pairs, write_srdf

SAMPLES = 20_000


def never_pairs(robot: RobotModel, rng: np.random.Generator, samples: int = SAMPLES) -> list[tuple[str, str]]:
    """Return the link pairs, adjacent ones apart, whose collision meshes meet at none of `samples` random positions.

    A pair that only meets in a corner of the joint space smaller than about 1/samples of it can be missed.
    """
    pinocchio: Any = importlib.import_module("pinocchio")  # its names are made at run time
    model = pinocchio.buildModelFromXML(robot.urdf_xml)
    geometry = pinocchio.buildGeomFromUrdfString(model, robot.urdf_xml, pinocchio.GeometryType.COLLISION)
    links = [_link(model, item) for item in geometry.geometryObjects]
    for item in geometry.geometryObjects:
        item.geometry.buildConvexRepresentation(False)
        item.geometry = item.geometry.convex
    skip = {frozenset(pair) for pair in adjacent_pairs(robot.tree)}
    for i, j in combinations(range(len(links)), 2):
        if links[i] != links[j] and frozenset((links[i], links[j])) not in skip:
            geometry.addCollisionPair(pinocchio.CollisionPair(i, j))
    data, geometry_data = model.createData(), pinocchio.GeometryData(geometry)
    order = [model.joints[model.getJointId(n)].idx_q for n in robot.joint_names]
    met = np.zeros(len(geometry.collisionPairs), bool)
    low, high = np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi)
    for q in rng.uniform(low, high, (samples, len(low))):
        q_model = np.zeros(model.nq)
        q_model[order] = q
        pinocchio.computeCollisions(model, data, geometry, geometry_data, q_model, False)
        met |= [result.isCollision() for result in geometry_data.collisionResults]
    pairs = [(links[p.first], links[p.second]) for p in geometry.collisionPairs]
    meeting = {frozenset(pair) for pair, hit in zip(pairs, met, strict=True) if hit}
    return [pair for pair in dict.fromkeys(pairs) if frozenset(pair) not in meeting]


def _link(model: Any, item: Any) -> str:
    return model.frames[item.parentFrame].name


def main() -> None:
    """Sample and write srdf/irb4600_60_205.srdf."""
    robot = load_robot("irb4600_60_205")
    never = never_pairs(robot, np.random.default_rng(0))
    path = Path(__file__).resolve().parent / "srdf" / "irb4600_60_205.srdf"
    path.write_text(write_srdf(robot.tree, robot.config, adjacent_pairs(robot.tree), never), encoding="utf-8")


if __name__ == "__main__":
    main()
