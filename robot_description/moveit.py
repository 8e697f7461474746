"""What MoveIt wants to know of a cell: description, semantics, and config/moveit with the robot's own numbers in it."""

from typing import Any

import yaml

from cell_core.config import config_root
from robot_description.gazebo import control_urdf
from robot_description.model import Cell

GROUP = "manipulator"
OMPL = "ompl"
PILZ = "pilz_industrial_motion_planner"
PIPELINES = (OMPL, PILZ)


def moveit_parameters(cell: Cell) -> dict[str, Any]:
    """Return one dictionary of parameters for move_group or MoveItPy.

    The files of config/moveit are written for the default arm; joints and limits are those of the cell's robot.
    """
    planning = {**read("joint_limits"), **read("pilz_cartesian_limits"), "joint_limits": joint_limits(cell)}
    controllers = read("moveit_controllers")
    manager = controllers["moveit_simple_controller_manager"]
    for name in manager["controller_names"]:
        manager[name]["joints"] = list(cell.robot.joint_names)
    return {
        "robot_description": control_urdf(cell),
        "robot_description_semantic": cell.robot.srdf_xml,
        "robot_description_kinematics": read("kinematics"),
        "robot_description_planning": planning,
        **controllers,
        **read("moveit_cpp"),
        **{name: read(f"{name}_planning") for name in PIPELINES},
    }


def joint_limits(cell: Cell) -> dict[str, dict[str, bool | float]]:
    """Return velocity, acceleration and jerk limits by joint as MoveIt wants them [rad/s, rad/s2, rad/s3]."""
    robot = cell.robot
    kinds = {
        "velocity": robot.velocity_rad_per_s,
        "acceleration": robot.acceleration_rad_per_s2,
        "jerk": robot.jerk_rad_per_s3,
    }
    limits: dict[str, dict[str, bool | float]] = {}
    for i, joint in enumerate(robot.joint_names):
        limits[joint] = {f"has_{kind}_limits": True for kind in kinds}
        limits[joint] |= {f"max_{kind}": float(values[i]) for kind, values in kinds.items()}
    return limits


def read(name: str) -> dict[str, Any]:
    """Return one file of config/moveit."""
    return yaml.safe_load((config_root() / "moveit" / f"{name}.yaml").read_text(encoding="utf-8"))
