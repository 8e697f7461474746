"""RViz with the cell's displays; needs a distribution with rviz2."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from cell_core.config import config_root
from cell_nodes.launching import SIM_TIME


def generate_launch_description() -> LaunchDescription:
    file = DeclareLaunchArgument(
        "rviz_config", default_value=str(config_root() / "rviz" / "cell.rviz"), description="RViz configuration file"
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", LaunchConfiguration("rviz_config")],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
    )
    return LaunchDescription([SIM_TIME, file, rviz])
