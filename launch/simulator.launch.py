"""Embedded simulator: arm, camera, tools and the part, without Gazebo."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, RTF, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    job_dir = DeclareLaunchArgument(
        "job_dir", default_value="", description="job folder whose job.yaml names the simulated part"
    )
    parameters = {
        "job_dir": quoted(LaunchConfiguration("job_dir")),
        "rtf": LaunchConfiguration("rtf"),
        "joint_state_rate_hz": "500.0",
    }
    return LaunchDescription([*COMMON, job_dir, RTF, cell_process("simulator", parameters)])
