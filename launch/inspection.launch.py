"""Inspection node: measures and judges what the process left."""

from launch import LaunchDescription

from cell_nodes.launching import COMMON, cell_process


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*COMMON, cell_process("inspection")])
