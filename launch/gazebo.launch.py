"""Gazebo with the cell's world, the robot, its drives and its depth camera; needs ros_gz and gz_ros2_control.

Gazebo moves the arm and renders depth. Spray and removal are not simulated there: tool services are absent, so that
processes are refused; scans and motions run.
"""

import tempfile
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from cell_core.config import config_root
from cell_core.config.models import SimulatedPart
from cell_core.jobs import JobFolder
from cell_core.surface_io import UNIT_M, load_surface
from cell_core.transforms import transform_from_xyz_rpy
from cell_nodes.launching import CELL
from cell_nodes.names import NAMESPACE
from robot_description import Cell, load_cell, resting_pose
from robot_description.gazebo import MODEL, WORLD, world_sdf

CONTROLLERS = ("joint_state_broadcaster", "arm_controller")


def part_of(job_dir: str, cell: Cell) -> tuple | None:
    """Return mesh file, unit [m] and pose of the job's simulated part."""
    if not job_dir:
        return None
    folder = JobFolder(path=Path(job_dir))
    part: SimulatedPart | None = folder.config.simulated_part
    if part is None:
        return None
    path = folder.path / part.path
    if part.pose is not None:
        T_fixture_part = transform_from_xyz_rpy(part.pose.xyz_m, part.pose.rpy_rad)
    else:
        T_fixture_part = resting_pose(load_surface(path, part.unit)[0])
    return path, UNIT_M[part.unit], cell.T_base_fixture @ T_fixture_part


def simulation(context: LaunchContext) -> list:
    cell = load_cell(LaunchConfiguration("cell").perform(context))
    world = Path(tempfile.mkdtemp(prefix="grind_spray_cell_gazebo_")) / "world.sdf"
    world.write_text(world_sdf(cell, part_of(LaunchConfiguration("job_dir").perform(context), cell)))
    headless = "-s " if LaunchConfiguration("gazebo_gui").perform(context) == "false" else ""
    gazebo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("ros_gz_sim"), "launch", "gz_sim.launch.py"])
        ),
        launch_arguments={"gz_args": f"-r {headless}{world}", "on_exit_shutdown": "true"}.items(),
    )
    spawn = Node(
        package="ros_gz_sim",
        executable="create",
        arguments=["-world", WORLD, "-name", MODEL, "-topic", "/robot_description"],
    )
    return [gazebo, spawn]


def generate_launch_description() -> LaunchDescription:
    bridge = Node(
        package="ros_gz_bridge",
        executable="parameter_bridge",
        parameters=[{"config_file": str(config_root() / "gazebo" / "bridge.yaml")}],
    )
    spawner = Node(
        package="controller_manager",
        executable="spawner",
        arguments=[*CONTROLLERS, "--controller-manager", f"{NAMESPACE}/controller_manager"],
    )
    return LaunchDescription(
        [
            CELL,
            DeclareLaunchArgument("job_dir", default_value="", description="job folder whose simulated part is shown"),
            DeclareLaunchArgument(
                "gazebo_gui", default_value="true", choices=["true", "false"], description="false: server only"
            ),
            OpaqueFunction(function=simulation),
            bridge,
            spawner,
        ]
    )
