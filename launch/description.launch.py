"""Robot description, /tf and /tf_static, by the project's own publisher; it needs no distribution."""

from launch import LaunchDescription

from cell_nodes.launching import COMMON, cell_process


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*COMMON, cell_process("robot_state_publisher")])
