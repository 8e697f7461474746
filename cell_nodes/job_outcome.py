"""How a job ends: done, refused, cancelled or failed."""

from dataclasses import dataclass

from cell_interfaces.msg import JobState

from cell_core.errors import AcceptanceError, CellError
from cell_nodes.action_work import Cancelled


class RejectedError(CellError):
    """The operator said no."""

    exit_code = 130


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    accepted: bool
    cycles: int
    """Cycles done."""
    stop: str
    """Why no other followed: tolerance, scan_noise, cycles_max, nothing_missing or not_plannable."""
    text: str


def status_of(error: Exception) -> tuple[str, int, int]:
    """Return state.json's status, the JobState constant and the exit code that an error stands for."""
    if isinstance(error, RejectedError):
        return "rejected", JobState.REJECTED, error.exit_code
    if isinstance(error, Cancelled):
        return "cancelled", JobState.CANCELLED, 130
    if isinstance(error, AcceptanceError):
        return "finished", JobState.FINISHED, error.exit_code
    return "failed", JobState.FAILED, error.exit_code if isinstance(error, CellError) else 1
