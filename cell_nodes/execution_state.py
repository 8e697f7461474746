"""The states of an execution and the ways between them; a picture of them stands in docs/architecture.md."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from cell_core.errors import CellError
from cell_core.trajectory import Segment


class ExecutionState(StrEnum):
    """What an execution is doing."""

    IDLE = "idle"
    ARMED = "armed"
    APPROACHING = "approaching"
    PROCESSING = "processing"
    RETRACTING = "retracting"
    PAUSED = "paused"
    FAULTED = "faulted"
    DONE = "done"


_S = ExecutionState
_STOPS = frozenset({_S.PAUSED, _S.FAULTED})
WAYS: Mapping[ExecutionState, frozenset[ExecutionState]] = {
    _S.IDLE: frozenset({_S.ARMED}),
    _S.ARMED: frozenset({_S.APPROACHING}) | _STOPS,
    _S.APPROACHING: frozenset({_S.PROCESSING, _S.RETRACTING, _S.DONE}) | _STOPS,
    _S.PROCESSING: frozenset({_S.APPROACHING, _S.RETRACTING, _S.DONE}) | _STOPS,
    _S.RETRACTING: frozenset({_S.APPROACHING, _S.DONE}) | _STOPS,
    _S.PAUSED: frozenset({_S.ARMED}),
    _S.FAULTED: frozenset({_S.ARMED}),
    _S.DONE: frozenset({_S.ARMED}),
}
"""Where each state may go. Nothing comes on, and nothing moves, but by way of armed and approaching."""
OF_SEGMENT: Mapping[str, ExecutionState] = {
    "approach": _S.APPROACHING,
    "transition": _S.APPROACHING,
    "process": _S.PROCESSING,
    "retract": _S.RETRACTING,
}


class StateError(CellError):
    """An execution was to change its state in a way that does not exist."""


class StateMachine:
    """Where an execution stands; each change is told once, illegal ones are refused and change nothing."""

    def __init__(self, tell: Callable[[ExecutionState], None] = lambda state: None) -> None:
        self.state = ExecutionState.IDLE
        self._tell = tell

    def to(self, state: ExecutionState) -> None:
        """Change the state; the same again is no change.

        Raises:
            StateError: there is no such way.
        """
        if state == self.state:
            return
        if state not in WAYS[self.state]:
            ways = ", ".join(sorted(WAYS[self.state]))
            raise StateError(f"execution: {self.state} does not go to {state}, only to {ways}")
        self.state = state
        self._tell(state)

    def passes(self, segment: Segment) -> None:
        """Follow the motion into a segment of its trajectory."""
        state = OF_SEGMENT[segment.kind]
        if state not in WAYS[self.state] and state != self.state:
            # a stroke that follows a retract without a way of its own is approached all the same
            self.to(ExecutionState.APPROACHING)
        self.to(state)
