"""Refusal of joint positions outside the arm's limits, and of limits and freedoms that contradict themselves."""

import numpy as np

from cell_core.errors import InputRefusedError, LimitError
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from robot_description.model import Cell, RobotModel

TILT_MAX_RAD = 0.5 * np.pi
"""A tool tilted farther points away from the part."""


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


def check_limits(robot: RobotModel) -> None:
    """Refuse joint limits that leave no room or no motion.

    Raises:
        InputRefusedError: names joint, value and bound.
    """
    rates = {
        "velocity limit": (robot.velocity_rad_per_s, "rad/s"),
        "acceleration limit": (robot.acceleration_rad_per_s2, "rad/s2"),
        "jerk limit": (robot.jerk_rad_per_s3, "rad/s3"),
    }
    for i, joint in enumerate(robot.joint_names):
        low, high = float(robot.lower_rad[i]), float(robot.upper_rad[i])
        if not low < high:
            raise InputRefusedError(
                f"motion: {joint}: lower limit {low:.4f} rad is not below upper limit {high:.4f} rad"
            )
        for name, (values, unit) in rates.items():
            if not values[i] > 0.0:
                raise InputRefusedError(f"motion: {joint}: {name} {values[i]:g} {unit}, wanted > 0")


def check_freedoms(toolpath: ToolPath) -> None:
    """Refuse strokes whose freedoms contradict themselves.

    Raises:
        InputRefusedError: names stroke, value and bound.
    """
    for k, stroke in enumerate(toolpath.strokes):
        tilt, (low, high) = stroke.freedom.tilt_rad, stroke.freedom.standoff_m
        if not 0.0 <= tilt <= TILT_MAX_RAD:
            raise InputRefusedError(f"motion: stroke {k}: tilt_rad {tilt:g}, wanted 0 to {TILT_MAX_RAD:.3g} rad")
        if not (np.isfinite([low, high]).all() and low <= high):
            raise InputRefusedError(
                f"motion: stroke {k}: standoff_m from {low:g} to {high:g} m: lowest above highest, or not finite"
            )
