"""What is asked of MoveIt and what it answers, as plain values that cross a pipe."""

from collections.abc import Sequence
from dataclasses import dataclass

from cell_core.errors import ConfigurationError
from cell_core.transforms import Array
from robot_description.moveit import OMPL, PILZ

PLANNERS = {OMPL: ("RRTConnect",), PILZ: ("PTP", "LIN", "CIRC")}


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to plan."""

    pipeline: str = OMPL
    planner: str = "RRTConnect"
    time_s: float = 2.0
    velocity_scaling: float = 1.0
    acceleration_scaling: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """What came of planning."""

    path_rad: Array | None
    """(K, J) in the order of the joint names asked with; None where MoveIt found nothing."""
    error_code: int
    """moveit_msgs/MoveItErrorCodes."""
    time_s: float
    """Planning time by MoveIt's own clock."""


@dataclass(frozen=True, kw_only=True)
class Invalid:
    """The first position of a path at which something meets."""

    index: int
    pairs: tuple[tuple[str, str], ...]
    """Robot link, and the other link or object; all that meet there."""


def check(request: Request, pipelines: Sequence[str]) -> None:
    """Refuse what MoveIt would silently read as another request.

    Raises:
        ConfigurationError: says what, and what is known.
    """
    if request.pipeline not in pipelines:
        raise ConfigurationError(f"moveit: pipeline {request.pipeline!r} is not loaded; loaded: {', '.join(pipelines)}")
    if request.planner not in PLANNERS.get(request.pipeline, ()):
        known = "; ".join(f"{p}: {', '.join(names)}" for p, names in PLANNERS.items())
        raise ConfigurationError(f"moveit: no planner {request.planner!r} in {request.pipeline!r}; known: {known}")
    for name in ("velocity_scaling", "acceleration_scaling"):
        value = getattr(request, name)
        if not 0.0 < value <= 1.0:
            raise ConfigurationError(f"moveit: {name} {value}: must be above 0 and at most 1")
    if not request.time_s > 0.0:
        raise ConfigurationError(f"moveit: planning time {request.time_s} s: must be above 0")
