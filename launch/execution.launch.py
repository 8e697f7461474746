"""Execution node: runs trajectories, switches the process, watches everything."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, cell_process
from cell_nodes.names import WORKERS

OTHERS = ", ".join(name for name in WORKERS if name != "execution")


def generate_launch_description() -> LaunchDescription:
    required = DeclareLaunchArgument(
        "required_nodes",
        default_value=f"[{OTHERS}]",
        description="nodes without whose heartbeat the arm stops (YAML list)",
    )
    parameters = {"required_nodes": LaunchConfiguration("required_nodes")}
    return LaunchDescription([*COMMON, required, cell_process("execution", parameters)])
