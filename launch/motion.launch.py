"""Motion node: collision-free joint trajectories."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    backend = DeclareLaunchArgument(
        "motion_backend", default_value="embedded", choices=["embedded", "moveit"], description="who plans motions"
    )
    parameters = {"backend": quoted(LaunchConfiguration("motion_backend"))}
    return LaunchDescription([*COMMON, backend, cell_process("motion", parameters)])
