"""A home position for an arm that comes without one: hand over the fixture, looking down, touching nothing."""

from collections.abc import Callable

import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.hulls import add_pairs, hulls, pinocchio
from robot_description.model import RobotModel

SAMPLES = 60_000
TRIED = 400
AHEAD = 0.65
"""The flange above this share of the way to the fixture."""
ABOVE_M = 0.6
"""And this high above the fixture: tools of 0.36 m hang below it. Small arms come less high."""


def find_home(robot: RobotModel, exempt: list[tuple[str, str]], fixture_m: Array) -> list[float]:
    """Return joint positions [rad] with the flange over the way to the fixture, pointing down as well as it can.

    Args:
        exempt: pairs of links whose contact does not count.
        fixture_m: (3,) the fixture in the base frame [m].

    Raises:
        ConfigurationError: none of many random positions is free.
    """
    low, high = np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi)
    q = np.random.default_rng(0).uniform(low, high, (SAMPLES, len(low)))
    T = robot.forward(q, robot.config.flange_frame)
    ahead, above = T[:, 0, 3] / fixture_m[0], T[:, 2, 3] - fixture_m[2]
    lean = np.arccos(np.clip(-T[:, 2, 2], -1.0, 1.0))
    middle = np.abs(q - 0.5 * (low + high)) / (high - low)
    cost = 2.0 * lean + 4.0 * np.abs(ahead - AHEAD) + np.abs(T[:, 1, 3]) / fixture_m[0] + middle.max(axis=1)
    cost += 2.0 * np.maximum(ABOVE_M - above, 0.0) / ABOVE_M + np.abs(q[:, 3:]).sum(axis=1) / np.pi
    order = np.argsort(np.where(above > 0.0, cost, np.inf))[: min(TRIED, int((above > 0.0).sum()))]
    free = _checker(robot, exempt)
    for position in np.round(q[order], 3):
        if free(position):
            return position.tolist()
    raise ConfigurationError(
        f"robot {robot.config.name}: no home found: none of the {len(order)} best of {SAMPLES} random positions above "
        "the fixture is free of self-collision"
    )


def _checker(robot: RobotModel, exempt: list[tuple[str, str]]) -> Callable[[Array], bool]:
    model, geometry, links = hulls(robot)
    add_pairs(geometry, links, {frozenset(pair) for pair in exempt})
    data, geometry_data = model.createData(), pinocchio().GeometryData(geometry)
    order = [model.joints[model.getJointId(name)].idx_q for name in robot.joint_names]

    def free(position_rad: Array) -> bool:
        q = np.zeros(model.nq)
        q[order] = position_rad
        return not pinocchio().computeCollisions(model, data, geometry, geometry_data, q, True)

    return free
