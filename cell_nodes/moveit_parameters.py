"""The parameters of MoveIt for one cell: description, semantics and config/moveit, as move_group wants them."""

from typing import Any

import yaml

from cell_core.config import config_root
from robot_description import Cell
from robot_description.gazebo import control_urdf

PIPELINES = {"ompl": "ompl_planning", "pilz_industrial_motion_planner": "pilz_industrial_motion_planner_planning"}


def moveit_parameters(cell: Cell) -> dict[str, Any]:
    """Return one dictionary of parameters for move_group or MoveItPy."""
    planning = {**read("joint_limits"), **read("pilz_cartesian_limits")}
    return {
        "robot_description": control_urdf(cell),
        "robot_description_semantic": cell.robot.srdf_xml,
        "robot_description_kinematics": read("kinematics"),
        "robot_description_planning": planning,
        **read("moveit_controllers"),
        **read("moveit_cpp"),
        **{name: read(file) for name, file in PIPELINES.items()},
    }


def read(name: str) -> dict[str, Any]:
    """Return one file of config/moveit."""
    return yaml.safe_load((config_root() / "moveit" / f"{name}.yaml").read_text(encoding="utf-8"))
