"""Who plans free moves: the embedded planner, or MoveIt where it is installed."""

from cell_core.errors import ConfigurationError
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_motion.collision import Checker
from cell_motion.connect import FreeMover
from cell_motion.transitions import Mover
from robot_description.model import Cell

BACKENDS = ("embedded", "moveit")


def free_mover(backend: str, cell: Cell, checker: Checker, part: Surface | None, T_base_part: Array) -> FreeMover:
    """Return the planner of free moves by name.

    Raises:
        ConfigurationError: unknown name, or MoveIt is not installed.
    """
    robot = cell.robot
    embedded = Mover(checker=checker, lower_rad=robot.lower_rad, upper_rad=robot.upper_rad)
    if backend == "embedded":
        return embedded
    if backend == "moveit":
        from cell_motion.backends.moveit import MoveItMover

        return MoveItMover.connect(cell, part, T_base_part, embedded)
    raise ConfigurationError(f"motion: backend {backend!r}: must be one of {', '.join(BACKENDS)}")
