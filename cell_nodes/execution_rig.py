"""What a run asks of arm and tool, of its journal, and of whoever finds the way away from the part; without ROS."""

from collections.abc import Sequence
from typing import Protocol

from cell_core.errors import CellError
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array


class Motion(Protocol):
    """A trajectory under way."""

    @property
    def zero_s(self) -> float | None:
        """The device's time at path time 0 [s]; None before anything was heard of it."""
        ...

    @property
    def tracking_error_rad(self) -> float: ...
    @property
    def path_time_s(self) -> float: ...
    def wait(self, seconds: float) -> bool:
        """Let time pass; return whether the motion has ended."""
        ...

    def cancel(self) -> None: ...
    def error(self) -> CellError | None:
        """Return what a motion that has ended says went wrong."""
        ...


class Rig(Protocol):
    """Arm and tool."""

    off_stamp_s: float
    """The device's time at which the process last went off [s]."""

    def select_and_arm(self, process: str) -> None: ...
    def start(self, trajectory: JointTrajectory, identity: str, process: str) -> Motion: ...
    def process_off(self, wait_s: float) -> bool:
        """Switch the process off at once; return whether the device confirmed."""
        ...

    def wait_until_off(self, wait_s: float) -> bool: ...
    def wait_until_quiet(self, wait_s: float) -> bool:
        """Wait until nothing comes out and nothing presses any more."""
        ...

    def positions(self, names: Sequence[str]) -> list[float]: ...


class Record(Protocol):
    """What a run writes down: execution_log.StrokeJournal."""

    @property
    def stroke(self) -> int: ...
    @property
    def n_strokes(self) -> int: ...
    def running(self, zero_s: float) -> None: ...
    def advance(self, path_time_s: float, wall_s: float) -> None: ...
    def stopped(self, path_time_s: float, reason: str, *, confirmed: bool) -> None: ...
    def paused(self, reason: str, retracted_m: float, remark: str) -> None: ...
    def done(self) -> None: ...


class Away(Protocol):
    """What finds retracts: execution_retract.Retractor."""

    def away(self, position_rad: Array) -> tuple[JointTrajectory, float]: ...
