"""Robot description, /tf and /tf_static: by the project's own publisher, or by the distribution's for ros2_control."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from cell_core.config import config_root
from cell_core.transforms import xyz_rpy_from_transform
from cell_nodes.launching import COMMON, GENERATION, HARDWARE, cell_process
from cell_nodes.names import NAMESPACE
from robot_description import load_cell
from robot_description.gazebo import control_urdf, gazebo_urdf
from robot_description.gazebo_generation import generation_named


def publisher(context: LaunchContext) -> list:
    kind = LaunchConfiguration("description").perform(context)
    if kind == "plain":
        return [cell_process("robot_state_publisher")]
    from launch_ros.actions import Node

    cell = load_cell(LaunchConfiguration("cell").perform(context))
    if kind == "gazebo":
        generation = generation_named(LaunchConfiguration("gazebo_generation").perform(context))
        urdf = gazebo_urdf(cell, config_root() / "ros2_control" / "controllers.yaml", generation)
    else:
        urdf = control_urdf(cell, LaunchConfiguration("hardware_plugin").perform(context))
    sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    states = Node(
        package="robot_state_publisher",
        executable="robot_state_publisher",
        namespace=NAMESPACE,
        parameters=[{"robot_description": urdf, "use_sim_time": sim_time}],
        remappings=[("joint_states", "/joint_states"), ("robot_description", "/robot_description")],
    )
    xyz, rpy = xyz_rpy_from_transform(cell.T_base_fixture)
    names = ("--x", "--y", "--z", "--roll", "--pitch", "--yaw")
    pose = [text for name, v in zip(names, [*xyz, *rpy], strict=True) for text in (name, repr(float(v)))]
    frames = ["--frame-id", cell.robot.config.base_frame, "--child-frame-id", "part"]
    part = Node(package="tf2_ros", executable="static_transform_publisher", arguments=[*pose, *frames])
    return [states, part]


def generate_launch_description() -> LaunchDescription:
    kind = DeclareLaunchArgument(
        "description",
        default_value="plain",
        choices=["plain", "ros2_control", "gazebo"],
        description="plain: the robot alone, needs no distribution; else with its drives, or as Gazebo wants it",
    )
    return LaunchDescription([*COMMON, HARDWARE, GENERATION, kind, OpaqueFunction(function=publisher)])
