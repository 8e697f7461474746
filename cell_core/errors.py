"""One root error and one leaf per decision a caller can take.

Every message says what, value, bound, unit and place. `exit_code` is what the command line returns for it.
"""


class CellError(Exception):
    """Root of every error the cell raises on purpose; `facts` carries what a caller may act on."""

    exit_code = 1

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class ConfigurationError(CellError):
    """A file people edit (recipe, gun, tool, robot, cell, job) or a command line cannot be used."""

    exit_code = 2


class InputRefusedError(CellError):
    """A surface, tool path, frame set or target is not fit for use."""

    exit_code = 3


class AcceptanceError(CellError):
    """The job ran, but its result does not meet the recipe."""

    exit_code = 4


class CoverageError(InputRefusedError):
    """No stroke can serve what was asked for; `facts` says how much area and why."""


class UnreachableError(InputRefusedError):
    """The arm cannot reach what was asked for; `facts["unreached"]` lists stroke, sample and reason."""


class CollisionError(InputRefusedError):
    """A motion would hit something; `facts` names the pair and the sample."""


class LimitError(InputRefusedError):
    """A value is outside a machine limit; `facts` carries value and bound."""


class DeviceError(CellError):
    """A node, driver or ROS service is missing, died or answered wrongly."""

    exit_code = 5


class InterlockError(DeviceError):
    """A safety input does not permit the process."""
