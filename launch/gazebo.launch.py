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
from cell_core.surface_io import load_surface
from cell_core.transforms import transform_from_xyz_rpy
from cell_nodes.launching import CELL, GENERATION
from cell_nodes.names import NAMESPACE
from robot_description import Cell, load_cell, resting_pose
from robot_description.gazebo import MODEL
from robot_description.gazebo_generation import generation_named
from robot_description.gazebo_world import RENDER_ENGINES, WORLD, gazebo_mesh, world_sdf

CONTROLLERS = ("joint_state_broadcaster", "arm_controller")


def part_of(job_dir: str, cell: Cell, made: Path) -> tuple | None:
    """Return mesh file, unit [m] and pose of the job's simulated part; a file Gazebo cannot read is written anew."""
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
    return *gazebo_mesh(path, part.unit, made), cell.T_base_fixture @ T_fixture_part


def simulation(context: LaunchContext) -> list:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    cell = load_cell(value("cell"))
    made = Path(tempfile.mkdtemp(prefix="grind_spray_cell_gazebo_"))
    world = made / "world.sdf"
    generation, engine = generation_named(value("gazebo_generation")), value("render_engine")
    part = part_of(value("job_dir"), cell, made)
    world.write_text(world_sdf(cell, part, generation=generation, render_engine=engine))
    # a server alone renders without a display only when told so; ogre knows no way to
    headless = "" if value("gazebo_gui") == "true" else "-s " if engine == "ogre" else "-s --headless-rendering "
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
            GENERATION,
            DeclareLaunchArgument(
                "render_engine",
                default_value=RENDER_ENGINES[0],
                choices=list(RENDER_ENGINES),
                description="of the cameras; ogre where the installation has no ogre2, needs a display",
            ),
            OpaqueFunction(function=simulation),
            bridge,
            spawner,
        ]
    )
