"""The robot, its tools and the cell around it: URDF, SRDF, meshes, and the one loader that reads them."""

from robot_description.describe import cell_urdf, write_urdf
from robot_description.loader import load_cell, load_robot
from robot_description.model import BoxModel, Cell, RobotModel, ToolModel
from robot_description.placement import resting_pose
from robot_description.scene import scene_colours, scene_meshes

__all__ = [
    "BoxModel",
    "Cell",
    "RobotModel",
    "ToolModel",
    "cell_urdf",
    "load_cell",
    "load_robot",
    "resting_pose",
    "scene_colours",
    "scene_meshes",
    "write_urdf",
]
