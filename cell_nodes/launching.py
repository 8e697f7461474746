"""What the launch files share: a node of the cell as a process of the launch system. Imported by launch files only."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

from cell_core.ros_environment import ros_environment
from cell_nodes.names import NAMESPACE, SUPERVISOR_PID
from robot_description.gazebo import MOCK_HARDWARE
from robot_description.gazebo_generation import GENERATIONS, GZ

CELL = DeclareLaunchArgument("cell", default_value="default", description="cell: a name in config/cells or a path")
JOB_ROOT = DeclareLaunchArgument(
    "job_root", default_value="", description="folder that every path in a goal must lie in; empty: anywhere"
)
SIM_TIME = DeclareLaunchArgument(
    "use_sim_time", default_value="false", choices=["true", "false"], description="take the time from /clock"
)
COMMON = (CELL, JOB_ROOT, SIM_TIME)
BACKEND = DeclareLaunchArgument(
    "motion_backend", default_value="embedded", choices=["embedded", "moveit"], description="who plans motions"
)
APPROVE = DeclareLaunchArgument(
    "approve",
    default_value="ask",
    choices=["ask", "auto"],
    description="ask: wait for /cell/approve between plan and motion; auto: go on at once (simulation only)",
)
HARDWARE = DeclareLaunchArgument(
    "hardware_plugin", default_value=MOCK_HARDWARE, description="ros2_control system plugin of the arm's drives"
)
GENERATION = DeclareLaunchArgument(
    "gazebo_generation",
    default_value=GZ.name,
    choices=list(GENERATIONS),
    description="sim:=gazebo only; gz: Harmonic and newer, fortress: ignition-gazebo 6",
)
RTF = DeclareLaunchArgument(
    "rtf", default_value="1.0", description="embedded: simulated seconds per wall second; 0.0: as fast as possible"
)


def cell_process(
    name: str, parameters: Mapping[str, Any] | None = None, arguments: Sequence[Any] = ()
) -> ExecuteProcess:
    """Return `python -m cell_nodes.<name>` with the common launch arguments and `parameters` as ROS parameters.

    Values are text as YAML has it, launch substitutions, or LaunchConfiguration objects; text goes in quotes.
    """
    enclave = ["--enclave", f"{NAMESPACE}/{name}"]
    command: list[Any] = [python(), "-m", f"cell_nodes.{name}", *arguments, "--ros-args", *enclave]
    values = {
        "cell": quoted(LaunchConfiguration("cell")),
        "job_root": quoted(LaunchConfiguration("job_root")),
        "use_sim_time": [LaunchConfiguration("use_sim_time")],
        **(parameters or {}),
    }
    for key, value in values.items():
        command += ["-p", [f"{key}:=", *(value if isinstance(value, list) else [value])]]
    return ExecuteProcess(cmd=command, name=name, output="screen", additional_env=environment(), sigterm_timeout="5")


def quoted(value: Any) -> list[Any]:
    """Return a substitution whose text YAML must take for text."""
    return ["'", value, "'"]


def python() -> str:
    """Return the interpreter that has the project: that of an activated environment, else the one that runs launch."""
    active = Path(os.environ.get("VIRTUAL_ENV", "")) / "bin" / "python"
    return str(active) if "VIRTUAL_ENV" in os.environ and active.is_file() else sys.executable


def environment() -> dict[str, str]:
    """Return what a node's environment has beyond this process's; domain, network and middleware stay the user's."""
    untouched = (
        "RMW_IMPLEMENTATION",
        "ROS_AUTOMATIC_DISCOVERY_RANGE",
        "FASTDDS_DEFAULT_PROFILES_FILE",
        "ROS_DOMAIN_ID",
    )
    wanted = ros_environment(int(os.environ.get("ROS_DOMAIN_ID", "0")))
    changed = {k: v for k, v in wanted.items() if k not in untouched and os.environ.get(k) != v}
    # a launch that is killed takes its nodes along
    return {**changed, SUPERVISOR_PID: str(os.getpid())}


def alone_on_this_machine() -> dict[str, str]:
    """Return the settings under which the cell speaks to this machine only, where the user has set none."""
    names = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_DEFAULT_PROFILES_FILE")
    return {k: v for k, v in ros_environment(0).items() if k in names and k not in os.environ}
