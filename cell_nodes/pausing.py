"""A pause as an error: importable without ROS."""

from cell_core.errors import CellError

PAUSED = 75


class PausedError(CellError):
    """Execution stopped because the operator asked for a pause; the rest can be done after a resume."""

    exit_code = PAUSED
