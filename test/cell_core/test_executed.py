"""Strokes from executed logs: poses, times and values come back; idle stretches are left out."""

import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.executed import executed_strokes, rows_apart_m
from cell_core.transforms import transform_from_xyz_rpy

T_BASE_PART = transform_from_xyz_rpy((1.2, 0.1, 0.35), (0.0, 0.0, 0.4))


def log(dt_s=0.004, speed=0.1, seconds=2.0, ripple_n=0.01):
    """Two strokes along x of the part, tool down, the spindle on in between without force; the force ripples."""
    t = np.arange(0.0, seconds, dt_s)
    poses = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (len(t), 1, 1))
    poses[:, 0, 3] = speed * t
    acts = (t < 0.4 * seconds) | (t > 0.6 * seconds)
    return {
        "time_s": 40.0 + t,
        "T_base_tcp": T_BASE_PART @ poses,
        "on": np.ones(len(t), bool),
        "process_value": np.where(acts, 20.0 + ripple_n * (np.arange(len(t)) % 2), 0.0),
    }


def test_strokes_lie_in_the_part_frame_and_last_as_long_as_they_lasted():
    strokes = executed_strokes([log()], T_BASE_PART)
    assert len(strokes) == 2
    for stroke in strokes:
        np.testing.assert_allclose(stroke.position_m[:, 1:], 0.0, atol=1e-9)
        np.testing.assert_allclose(stroke.tool_axis, np.tile([0.0, 0.0, -1.0], (len(stroke), 1)), atol=1e-9)
        np.testing.assert_allclose(stroke.travel, np.tile([1.0, 0.0, 0.0], (len(stroke), 1)), atol=1e-9)
        np.testing.assert_allclose(stroke.process_value, 20.0, atol=0.02)
        np.testing.assert_allclose(stroke.speed_m_per_s, 0.1, rtol=0.02)
        assert stroke.times_s[-1] == pytest.approx(0.8, abs=0.01)


def test_attempts_follow_one_another_and_rows_tell_how_close_they_are():
    assert len(executed_strokes([log(), log()], T_BASE_PART)) == 4
    assert rows_apart_m([log()]) == pytest.approx(4e-4, rel=1e-6)
    assert rows_apart_m([log(dt_s=0.2)]) == pytest.approx(0.02, rel=1e-6)
    stale = log()
    value = stale["process_value"][::25].repeat(25)[: len(stale["process_value"])]
    assert rows_apart_m(
        [{**stale, "process_value": value + 0.01 * (np.arange(len(value)) // 25 % 2)}]
    ) == pytest.approx(0.01, rel=1e-6)


def test_a_standstill_costs_no_sample_but_its_time_counts():
    rows = log(seconds=1.0)
    rows["process_value"] = np.full(len(rows["time_s"]), 20.0)
    half = len(rows["time_s"]) // 2
    rows["time_s"] = rows["time_s"] + np.where(np.arange(len(rows["time_s"])) >= half, 3.0, 0.0)
    (stroke,) = executed_strokes([rows], T_BASE_PART)
    assert stroke.times_s[-1] == pytest.approx(4.0, abs=0.02)


def test_logs_that_tell_nothing_are_refused():
    rows = log()
    with pytest.raises(InputRefusedError, match="missing"):
        executed_strokes([{k: v for k, v in rows.items() if k != "on"}], T_BASE_PART)
    with pytest.raises(InputRefusedError, match="lengths"):
        executed_strokes([{**rows, "on": rows["on"][:5]}], T_BASE_PART)
    with pytest.raises(InputRefusedError, match="on over no path"):
        executed_strokes([{**rows, "on": np.zeros(len(rows["on"]), bool)}], T_BASE_PART)
