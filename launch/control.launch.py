"""ros2_control with its controllers, on mock hardware or a drive's plugin; needs a distribution with ros2_control."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from cell_core.config import config_root
from cell_nodes.launching import CELL
from cell_nodes.names import NAMESPACE
from robot_description import load_cell
from robot_description.gazebo import MOCK_HARDWARE, control_urdf

CONTROLLERS = ("joint_state_broadcaster", "arm_controller")


def drives(context: LaunchContext) -> list:
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    description = control_urdf(cell, LaunchConfiguration("hardware_plugin").perform(context))
    manager = Node(
        package="controller_manager",
        executable="ros2_control_node",
        namespace=NAMESPACE,
        parameters=[{"robot_description": description}, str(config_root() / "ros2_control" / "controllers.yaml")],
        remappings=[("joint_states", "/joint_states"), ("~/robot_description", "/robot_description")],
    )
    return [manager]


def generate_launch_description() -> LaunchDescription:
    plugin = DeclareLaunchArgument(
        "hardware_plugin", default_value=MOCK_HARDWARE, description="ros2_control system plugin of the arm's drives"
    )
    spawner = Node(
        package="controller_manager",
        executable="spawner",
        arguments=[*CONTROLLERS, "--controller-manager", f"{NAMESPACE}/controller_manager"],
    )
    return LaunchDescription([CELL, plugin, OpaqueFunction(function=drives), spawner])
