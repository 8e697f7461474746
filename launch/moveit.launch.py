"""MoveIt's move_group with the cell's robot; needs a distribution with MoveIt 2."""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from cell_nodes.launching import CELL, SIM_TIME
from robot_description import load_cell
from robot_description.moveit import moveit_parameters


def move_group(context: LaunchContext) -> list:
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    parameters = moveit_parameters(cell) | {"use_sim_time": sim_time, "publish_robot_description_semantic": True}
    return [Node(package="moveit_ros_move_group", executable="move_group", parameters=[parameters], output="screen")]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([CELL, SIM_TIME, OpaqueFunction(function=move_group)])
