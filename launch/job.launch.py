"""Job node: walks a part through all steps and waits for the operator's yes."""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration

from cell_nodes.launching import APPROVE, COMMON, cell_process, quoted


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [*COMMON, APPROVE, cell_process("job", {"approve": quoted(LaunchConfiguration("approve"))})]
    )
