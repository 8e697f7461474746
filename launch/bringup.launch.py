"""The whole cell: nodes, robot description, and one of three machines below them.

    ros2 launch grind_spray_cell bringup.launch.py sim:=embedded job_dir:=JOBDIR

embedded: the project's simulator; needs no distribution. gazebo: arm and camera in Gazebo. none: the real machine,
whose camera and tool drivers serve the interfaces of docs/ros_api.md; its arm runs on ros2_control unless
drives:=external.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import APPROVE, BACKEND, COMMON, GENERATION, HARDWARE, RTF, alone_on_this_machine
from cell_nodes.names import NODES

HERE = Path(__file__).resolve().parent
ALWAYS = ("description", "scanning", "planning", "motion", "execution", "inspection", "job", "recorder")


def include(name: str, **arguments: str) -> IncludeLaunchDescription:
    """Return one subsystem's launch file; arguments it shares with this one go through by themselves."""
    source = PythonLaunchDescriptionSource(str(HERE / f"{name}.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def subsystems(context: LaunchContext) -> list:
    value = lambda name: LaunchConfiguration(name).perform(context)  # noqa: E731
    machine = value("sim")
    ros2_control = machine == "gazebo" or (machine == "none" and value("drives") == "ros2_control")
    absent = {"simulator"} if machine != "embedded" else set()
    absent |= {"robot_state_publisher"} if ros2_control else set()  # the distribution's takes its place
    nodes = [name for name in NODES if name not in absent]
    required = ", ".join(name for name in nodes if name != "execution")
    actions: list = []
    if machine == "embedded":
        if not value("job_dir"):
            raise RuntimeError("sim:=embedded needs job_dir:=FOLDER, the job whose job.yaml names the simulated part")
        actions += [SetEnvironmentVariable(k, v) for k, v in alone_on_this_machine().items()]
        actions.append(include("simulator"))
    elif machine == "gazebo":
        actions.append(include("gazebo"))
    elif ros2_control:
        actions.append(include("control"))
    sim_time = "true" if machine == "gazebo" else "false"
    special = {
        "execution": {"required_nodes": f"[{required}]"},
        "description": {"description": machine if machine == "gazebo" else "ros2_control" if ros2_control else "plain"},
    }
    actions += [include(name, use_sim_time=sim_time, **special.get(name, {})) for name in ALWAYS]
    if value("motion_backend") == "moveit":
        actions.append(include("moveit", use_sim_time=sim_time))
    if value("rviz") == "true":
        actions.append(include("rviz", use_sim_time=sim_time))
    actions.append(include("lifecycle", nodes=" ".join(nodes)))
    return [LogInfo(msg=f"grind_spray_cell: machine {machine}, nodes {', '.join(nodes)}"), *actions]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *COMMON,
            DeclareLaunchArgument(
                "sim",
                default_value="embedded",
                choices=["embedded", "gazebo", "none"],
                description="machine below the nodes",
            ),
            DeclareLaunchArgument(
                "job_dir", default_value="", description="job folder; its job.yaml names the part that is simulated"
            ),
            DeclareLaunchArgument(
                "drives",
                default_value="ros2_control",
                choices=["ros2_control", "external"],
                description="sim:=none only; external: the arm's driver is started elsewhere",
            ),
            APPROVE,
            BACKEND,
            RTF,
            HARDWARE,
            GENERATION,
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=["true", "false"], description="open RViz as well"
            ),
            OpaqueFunction(function=subsystems),
        ]
    )
