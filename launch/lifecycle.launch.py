"""Brings the nodes named to the state active; if one does not come, everything is shut down."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, cell_process
from cell_nodes.names import WORKERS


def bring_up(context: LaunchContext) -> list:
    names = LaunchConfiguration("nodes").perform(context).split()
    process = cell_process("bring_up", arguments=[*names, "--timeout", LaunchConfiguration("bring_up_timeout_s")])

    def on_exit(event, _) -> list:
        failed = event.returncode != 0
        return [EmitEvent(event=Shutdown(reason="a node did not become active"))] if failed else []

    return [RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit)), process]


def generate_launch_description() -> LaunchDescription:
    nodes = DeclareLaunchArgument("nodes", default_value=" ".join(WORKERS), description="nodes, separated by spaces")
    timeout = DeclareLaunchArgument("bring_up_timeout_s", default_value="60.0", description="per transition [s]")
    return LaunchDescription([*COMMON, nodes, timeout, OpaqueFunction(function=bring_up)])
