"""Who plans free moves: the embedded planner, or MoveIt where it is installed."""

import importlib.util
from typing import TYPE_CHECKING

from cell_core.errors import ConfigurationError

if TYPE_CHECKING:
    from cell_core.surface import Surface
    from cell_core.trajectory import JointTrajectory
    from cell_core.transforms import Array
    from cell_motion.collision import Checker
    from cell_motion.connect import FreeMover
    from robot_description.model import Cell

BACKENDS = ("embedded", "moveit")


def check_backend(name: str) -> None:
    """Refuse an unknown backend, and MoveIt where it is not installed, before anything is begun.

    Raises:
        ConfigurationError: says what is missing.
    """
    _check_name(name)
    if name == "moveit" and importlib.util.find_spec("moveit") is None:
        raise ConfigurationError(
            "motion: backend 'moveit' needs moveit_py of a ROS distribution, which this Python does not find; "
            "use backend 'embedded'"
        )


def free_mover(
    backend: str, cell: "Cell", checker: "Checker", part: "Surface | None", T_base_part: "Array"
) -> "FreeMover":
    """Return the planner of free moves by name.

    Raises:
        ConfigurationError: unknown name, or MoveIt is not installed.
    """
    from cell_motion.transitions import Mover

    _check_name(backend)
    robot = cell.robot
    embedded = Mover(checker=checker, lower_rad=robot.lower_rad, upper_rad=robot.upper_rad)
    if backend == "embedded":
        return embedded
    from cell_motion.backends.moveit import MoveItMover

    config = cell.config
    padding_m = max(config.collision_margin_m, config.part_margin_m, 0.0)
    return MoveItMover.connect(cell, part, T_base_part, embedded, padding_m)


def _check_name(backend: str) -> None:
    if backend not in BACKENDS:
        raise ConfigurationError(f"motion: backend {backend!r}: must be one of {', '.join(BACKENDS)}")


def confirmed(mover: "FreeMover", trajectory: "JointTrajectory") -> dict[str, float | int]:
    """Let whoever planned the free moves check the whole trajectory as well; return figures on what was asked.

    Raises:
        CollisionError: MoveIt finds something meeting.
    """
    from cell_motion.backends.moveit import MoveItMover

    if not isinstance(mover, MoveItMover):
        return {}
    mover.validate(trajectory)
    return mover.figures()
