"""Embedded simulator: arm, camera, tools and the part, without Gazebo."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    job_dir = DeclareLaunchArgument("job_dir", description="job folder whose job.yaml names the simulated part")
    rtf = DeclareLaunchArgument(
        "rtf", default_value="1.0", description="simulated seconds per wall second; 0.0: as fast as possible"
    )
    parameters = {"job_dir": quoted(LaunchConfiguration("job_dir")), "rtf": LaunchConfiguration("rtf")}
    return LaunchDescription([*COMMON, job_dir, rtf, cell_process("simulator", parameters)])
