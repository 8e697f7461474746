"""Job node: walks a part through all steps and waits for the operator's yes."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import COMMON, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    approve = DeclareLaunchArgument(
        "approve",
        default_value="ask",
        choices=["ask", "auto"],
        description="ask: wait for /cell/approve between plan and motion; auto: go on at once (simulation only)",
    )
    return LaunchDescription(
        [*COMMON, approve, cell_process("job", {"approve": quoted(LaunchConfiguration("approve"))})]
    )
