"""Motion node: collision-free joint trajectories."""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import BACKEND, COMMON, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    parameters = {"backend": quoted(LaunchConfiguration("motion_backend"))}
    return LaunchDescription([*COMMON, BACKEND, cell_process("motion", parameters)])
