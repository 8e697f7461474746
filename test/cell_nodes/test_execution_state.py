"""The states of an execution: which ways there are, and that there are no others."""

from itertools import product

import pytest

from cell_core.trajectory import Segment
from cell_nodes.execution_state import WAYS, ExecutionState, StateError, StateMachine


def _at(state):
    machine = StateMachine()
    machine.state = state
    return machine


@pytest.mark.parametrize("start, end", product(ExecutionState, ExecutionState))
def test_every_way_that_is_not_drawn_is_refused_and_changes_nothing(start, end):
    told = []
    machine = StateMachine(told.append)
    machine.state = start
    if end in WAYS[start]:
        machine.to(end)
        assert machine.state == end and told == [end]
    elif end == start:
        machine.to(end)
        assert told == []
    else:
        with pytest.raises(StateError, match=f"{start} does not go to {end}"):
            machine.to(end)
        assert machine.state == start and told == []


def test_the_process_is_reached_by_way_of_armed_and_approaching_only():
    assert {s for s in ExecutionState if ExecutionState.PROCESSING in WAYS[s]} == {ExecutionState.APPROACHING}
    assert {s for s in ExecutionState if ExecutionState.APPROACHING in WAYS[s]} == {
        ExecutionState.ARMED,
        ExecutionState.PROCESSING,
        ExecutionState.RETRACTING,
    }
    for rest in (ExecutionState.IDLE, ExecutionState.PAUSED, ExecutionState.FAULTED, ExecutionState.DONE):
        assert WAYS[rest] == {ExecutionState.ARMED}


def test_segments_lead_through_the_states_even_where_an_approach_is_missing():
    told = []
    machine = StateMachine(told.append)
    machine.to(ExecutionState.ARMED)
    for kind in ("approach", "process", "retract", "process", "transition", "process", "retract"):
        machine.passes(Segment(kind=kind, i0=0, i1=1))
    assert [str(s) for s in told] == [
        *("armed", "approaching", "processing", "retracting", "approaching", "processing"),
        *("approaching", "processing", "retracting"),
    ]


def test_a_fault_is_reached_from_every_state_in_which_something_may_move():
    moving = (ExecutionState.ARMED, ExecutionState.APPROACHING, ExecutionState.PROCESSING, ExecutionState.RETRACTING)
    for state in moving:
        _at(state).to(ExecutionState.FAULTED)
        _at(state).to(ExecutionState.PAUSED)
