"""Refusal of joint positions outside the arm's limits."""

import numpy as np

from cell_core.errors import InputRefusedError, LimitError
from cell_core.transforms import Array
from robot_description.model import Cell


def checked_position(cell: Cell, position_rad: Array | None, name: str) -> Array:
    """Return a joint position (6,), home for None.

    Raises:
        InputRefusedError: wrong shape or not finite.
        LimitError: a joint outside its limits; names joint, value and bound.
    """
    robot = cell.robot
    q = np.array(robot.home_rad if position_rad is None else position_rad, float)
    if q.shape != (len(robot.joint_names),) or not np.isfinite(q).all():
        raise InputRefusedError(f"motion: {name} has shape {q.shape}, wanted {len(robot.joint_names)} finite numbers")
    for joint, value, low, high in zip(robot.joint_names, q, robot.lower_rad, robot.upper_rad, strict=True):
        if not low <= value <= high:
            bound = low if value < low else high
            raise LimitError(
                f"motion: {name}: {joint} at {value:.4f} rad exceeds {bound:.4f} rad", value=value, bound=bound
            )
    return q
