"""The limits that stop a run, without ROS."""

import pytest

from cell_core.errors import DeviceError, InterlockError, LimitError
from cell_nodes.execution_monitor import MonitorLimits, Observation, find_fault

GOOD = {
    "joint_state_age_s": 0.01,
    "tool_state_age_s": 0.01,
    "heartbeat_ages_s": {"job": 0.1},
    "tracking_error_rad": 0.001,
    "interlock_closed": True,
    "ventilation_on": True,
    "purge_ok": True,
}


def _fault(process=True, **changes):
    return find_fault(
        Observation(**{**GOOD, **changes}), MonitorLimits(), process=process, required=["job", "recorder"]
    )


def test_all_good_is_no_fault():
    assert _fault() is None


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"joint_state_age_s": 0.6}, DeviceError, "joint states: silent for 0.60 s, limit 0.5 s"),
        ({"tool_state_age_s": 0.8}, DeviceError, "tool state: silent"),
        ({"heartbeat_ages_s": {"job": 2.5}}, DeviceError, "node job: silent for 2.50 s, limit 2 s"),
        ({"tracking_error_rad": 0.06}, LimitError, "0.0600 rad exceeds 0.0500 rad"),
        ({"interlock_closed": False}, InterlockError, "interlock"),
        ({"ventilation_on": False}, InterlockError, "ventilation"),
        ({"purge_ok": False}, InterlockError, "purge"),
    ],
)
def test_each_limit_stops(changes, kind, words):
    fault = _fault(**changes)
    assert isinstance(fault, kind) and words in str(fault)


def test_motion_without_process_asks_for_no_safety_input():
    assert _fault(process=False, ventilation_on=False, purge_ok=False, tool_state_age_s=9.0) is None
