"""ros2_control with its controllers, on mock hardware or a drive's plugin; needs a distribution with ros2_control."""

from launch import LaunchDescription
from launch_ros.actions import Node

from cell_core.config import config_root
from cell_nodes.names import NAMESPACE

CONTROLLERS = ("joint_state_broadcaster", "arm_controller")


def generate_launch_description() -> LaunchDescription:
    # the robot comes over the topic robot_description, with the drive's plugin in it: description.launch.py
    manager = Node(
        package="controller_manager",
        executable="ros2_control_node",
        namespace=NAMESPACE,
        parameters=[str(config_root() / "ros2_control" / "controllers.yaml")],
        remappings=[
            ("joint_states", "/joint_states"),
            ("robot_description", "/robot_description"),
            ("~/robot_description", "/robot_description"),
        ],
    )
    spawner = Node(
        package="controller_manager",
        executable="spawner",
        arguments=[*CONTROLLERS, "--controller-manager", f"{NAMESPACE}/controller_manager"],
    )
    return LaunchDescription([manager, spawner])
