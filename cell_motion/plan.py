"""What motion planning hands over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory


@dataclass(frozen=True, kw_only=True)
class Served:
    """Which samples of the planned tool path one stroke of the run tool path serves."""

    stroke: int
    first: int
    last: int
    reversed: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionPlan:
    """A trajectory, what it really runs, and figures."""

    trajectory: JointTrajectory
    """Process segments count the strokes of `toolpath`; `unreached` counts those of the planned tool path."""
    toolpath: ToolPath | None
    """Strokes in the order run, reached samples only, with the speeds and poses really run; None for views."""
    figures: Mapping[str, Any]
    """Numbers for reports; keys carry units."""
    served: tuple[Served, ...] = ()
    """Per stroke of `toolpath`: where it comes from."""
    reached_views: list[int] = field(default_factory=list)
    """Indices of reached views in visiting order."""
    stop_times_s: list[float] = field(default_factory=list)
    """When the arm has come to rest at each reached view."""
