"""Write the standard robot's SRDF: `python -m robot_description.generate_srdf`."""

from pathlib import Path

import numpy as np

from robot_description.hulls import add_pairs, hulls, pinocchio
from robot_description.loader import load_robot
from robot_description.model import RobotModel
from robot_description.semantics import adjacent_pairs, write_srdf

SAMPLES = 20_000


def never_and_always(
    robot: RobotModel, rng: np.random.Generator, samples: int = SAMPLES
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the link pairs, adjacent ones apart, that meet at none and at all of `samples` random positions.

    What counts are the convex hulls of the collision meshes. A pair that only meets in a corner of the joint space
    smaller than about 1/samples of it can be missed; one that always meets (hulls around hollow wrists) says nothing.
    """
    model, geometry, links = hulls(robot)
    skip = {frozenset(pair) for pair in adjacent_pairs(robot.tree)}
    pairs = add_pairs(geometry, links, skip)
    data, geometry_data = model.createData(), pinocchio().GeometryData(geometry)
    order = [model.joints[model.getJointId(n)].idx_q for n in robot.joint_names]
    met = np.zeros(len(pairs), int)
    low, high = np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi)
    for q in rng.uniform(low, high, (samples, len(low))):
        q_model = np.zeros(model.nq)
        q_model[order] = q
        pinocchio().computeCollisions(model, data, geometry, geometry_data, q_model, False)
        met += [result.isCollision() for result in geometry_data.collisionResults]
    most = {pair: max(int(n) for p, n in zip(pairs, met, strict=True) if p == pair) for pair in dict.fromkeys(pairs)}
    never = [pair for pair, count in most.items() if count == 0]
    return never, [pair for pair, count in most.items() if count == samples]


def main() -> None:
    """Sample and write srdf/irb4600_60_205.srdf."""
    robot = load_robot("irb4600_60_205")
    never, always = never_and_always(robot, np.random.default_rng(0))
    path = Path(__file__).resolve().parent / "srdf" / "irb4600_60_205.srdf"
    path.write_text(write_srdf(robot.tree, robot.config, adjacent_pairs(robot.tree), never, always), encoding="utf-8")


if __name__ == "__main__":
    main()
