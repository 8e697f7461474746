"""Recorder node: one MCAP file per job."""

from launch import LaunchDescription

from cell_nodes.launching import COMMON, cell_process


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*COMMON, cell_process("recorder")])
