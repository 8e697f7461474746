"""The limits that stop a run, how long they must be passed, and who makes them good again; without ROS."""

import math

import pytest

from cell_core.config import load_named
from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import DeviceError, InterlockError, LimitError
from cell_nodes.execution_monitor import Monitors, Nominal, Observation, jump_rad
from cell_nodes.pausing import PausedError

GRINDS, SPRAYS = Nominal(spindle_rpm=8000.0), Nominal(flow_m3_per_s=5e-6)
GOOD = {
    "joint_state_age_s": 0.01,
    "tool_state_age_s": 0.01,
    "heartbeat_ages_s": {"job": 0.1},
    "tracking_error_rad": 0.001,
    "interlock_closed": True,
    "ventilation_on": True,
    "purge_ok": True,
    "armed": True,
    "on": True,
    "told_armed": True,
}
PRESSING = {"nominal": GRINDS, "force_n": 19.6, "force_setpoint_n": 20.0, "spindle_rpm": 7900.0}
SPRAYING = {"nominal": SPRAYS, "flow_m3_per_s": 4.9e-6}


@pytest.fixture
def monitors():
    return Monitors(load_named(MonitorsConfig, "monitors", "default"))


def _look(monitors, now_s=0.0, process=True, tool_s=None, **changes):
    tool_s = now_s if tool_s is None else tool_s
    required = ["job", "recorder"]
    return monitors.look(Observation(**{**GOOD, **changes}), now_s, tool_s, process=process, required=required)


@pytest.mark.parametrize("state", [{}, PRESSING, SPRAYING, {**SPRAYING, "on": False, "flow_m3_per_s": 0.0}])
def test_all_good_is_no_fault(monitors, state):
    assert all(_look(monitors, 0.1 * k, **state) is None for k in range(50))


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"joint_state_age_s": 0.6}, DeviceError, "joint states: silent for 0.60 s, limit 0.5 s"),
        ({"tool_state_age_s": 0.8}, DeviceError, "tool state: silent"),
        ({"heartbeat_ages_s": {"job": 2.5}}, DeviceError, "node job: silent for 2.50 s, limit 2 s"),
        ({"tracking_error_rad": 0.06}, LimitError, "0.0600 rad exceeds 0.0500 rad"),
        ({"tracking_error_rad": math.nan}, LimitError, "nan rad exceeds"),
        ({"joint_jump_rad": math.inf}, DeviceError, "jumped inf rad"),
        ({"interlock_closed": False}, InterlockError, "interlock"),
        ({"ventilation_on": False}, InterlockError, "ventilation"),
        ({"purge_ok": False}, InterlockError, "purge"),
    ],
)
def test_what_allows_no_delay_trips_at_once(monitors, changes, kind, words):
    trip = _look(monitors, **changes)
    assert trip is not None and isinstance(trip.error, kind) and words in str(trip.error)


@pytest.mark.parametrize(
    "name, state, words",
    [
        ("force_error_n", {**PRESSING, "force_n": 31.0}, "31.0 N is off its set-point 20.0 N"),
        ("force_error_n", {**PRESSING, "force_n": math.nan}, "nan N is off"),
        ("contact_lost_share", {**PRESSING, "force_setpoint_n": 8.0, "force_n": 0.1}, "contact lost"),
        ("spindle_share", {**PRESSING, "spindle_rpm": 3000.0}, "3000 rpm while it presses"),
        ("valve_share", {**SPRAYING, "flow_m3_per_s": 0.0}, "gun is on and 0.0 % of its flow comes"),
        ("valve_leak_share", {**SPRAYING, "on": False}, "gun is off and 98.0 %"),
        ("disarmed", {**SPRAYING, "on": False, "flow_m3_per_s": 0.0, "armed": False}, "disarmed, and not by this run"),
        ("not_on", {**SPRAYING, "on": False, "flow_m3_per_s": 0.0, "told_on": True}, "off where the path has it on"),
        ("not_on", {**PRESSING, "on": False, "force_setpoint_n": 0.0, "told_on": True}, "off where the path has it"),
    ],
)
def test_what_the_tool_says_trips_after_its_time_and_not_before(monitors, name, state, words):
    hold_s = getattr(monitors.config, name).hold_s
    good = PRESSING if state["nominal"] is GRINDS else SPRAYING
    if state.get("on") is False:
        good = {**SPRAYING, "on": False, "flow_m3_per_s": 0.0}
    assert hold_s > 0.0 and _look(monitors, 0.0, **state) is None
    assert _look(monitors, hold_s - 0.01, **state) is None
    # a moment in which all is well begins the count anew
    assert _look(monitors, hold_s, **good) is None and _look(monitors, hold_s + 0.01, **state) is None
    assert _look(monitors, 2 * hold_s, **state) is None
    trip = _look(monitors, 2 * hold_s + 0.02, **state)
    assert trip is not None and trip.monitor == name and words in str(trip.error)


def test_one_tool_state_looked_at_for_long_says_nothing_more(monitors):
    state = {**PRESSING, "force_n": 0.0}
    # joint states come, tool states are late
    assert all(_look(monitors, 0.02 * k, tool_s=5.0, **state) is None for k in range(500))
    assert _look(monitors, 10.0, tool_s=8.0, **state) is None
    assert _look(monitors, 10.02, tool_s=8.02, **state) is not None


def test_strokes_shorter_than_the_limit_are_counted_together(monitors):
    lost, between = {**PRESSING, "force_n": 0.0}, {**PRESSING, "force_setpoint_n": 0.0, "force_n": 0.0}
    trips = []
    for stroke in range(10):
        for k in range(20):
            # half a second of pressing, half a second in the air
            trip = _look(monitors, stroke + 0.05 * k, **(lost if k < 10 else between))
            trips += [] if trip is None else [(stroke, trip.monitor)]
    assert trips[0] == (2, "force_error_n")
    fine = [_look(monitors, 20.0 + 0.05 * k, **(PRESSING if k % 20 < 10 else between)) for k in range(100)]
    assert fine == [None] * 100


def test_a_tool_that_was_disarmed_from_here_may_be_disarmed_and_off(monitors):
    ours = {**SPRAYING, "armed": False, "on": False, "flow_m3_per_s": 0.0, "told_armed": False}
    assert all(_look(monitors, float(k), **ours) is None for k in range(10))


def test_a_pad_that_is_not_told_to_press_may_be_anywhere(monitors):
    free = {**PRESSING, "force_setpoint_n": 0.0, "force_n": 0.0, "spindle_rpm": 0.0}
    assert all(_look(monitors, float(k), **free) is None for k in range(10))


def test_a_latched_monitor_lets_no_goal_start_before_an_operator_resets_it(monitors):
    assert _look(monitors, joint_jump_rad=0.2).monitor == "joint_jump_rad"
    with pytest.raises(DeviceError, match=r"jumped 0\.200 rad.*waits for an operator"):
        monitors.start()
    assert monitors.reset() == ["joint_jump_rad"] and monitors.reset() == []
    monitors.start()
    assert _look(monitors, tracking_error_rad=0.2) is not None
    monitors.start()


def test_a_reaction_may_be_a_pause(monitors):
    config = monitors.config
    gentle = config.contact_lost_share.model_copy(update={"reaction": "pause", "hold_s": 0.0})
    paused = Monitors(config.model_copy(update={"contact_lost_share": gentle}))
    lost = {**PRESSING, "force_setpoint_n": 8.0, "force_n": 0.1}
    trip = [_look(paused, 0.1 * k, **lost) for k in range(3)][-1]
    assert trip is not None and isinstance(trip.error, PausedError)


def test_motion_without_process_asks_for_no_safety_input(monitors):
    assert _look(monitors, process=False, ventilation_on=False, purge_ok=False, tool_state_age_s=9.0) is None


@pytest.mark.parametrize(
    "before, after, seconds, jump",
    [
        ([0.0, 0.0], [0.01, -0.02], 0.01, 0.0),
        ([0.0, 0.0], [0.0, 0.5], 0.01, 0.48),
        ([0.0, 0.0], [0.0, 0.5], -1.0, 0.5),
        ([0.0, math.nan], [0.0, 0.0], 0.01, math.inf),
        ([0.0, 0.0], [math.inf, 0.0], 0.01, math.inf),
    ],
)
def test_joints_that_move_faster_than_they_can_have_jumped(before, after, seconds, jump):
    assert max(jump_rad(before, after, seconds, [2.0, 2.0]), 0.0) == pytest.approx(jump)
