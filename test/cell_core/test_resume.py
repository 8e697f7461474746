"""The rest of a half-run process: nothing twice, nothing forgotten."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_core.resume import Journal, last_attempt, remaining_toolpath, strokes_run
from cell_core.stop_point import LEFT_MIN_M, READING_MAX_S, stop_point
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.trajectory import JointTrajectory, Segment

STEP_M, SPEED_M_PER_S, N = 0.01, 0.1, 41
STROKE_S = STEP_M * (N - 1) / SPEED_M_PER_S
GAP_S = 1.0


def _stroke(y_m: float) -> Stroke:
    position = np.zeros((N, 3))
    position[:, 0], position[:, 1] = STEP_M * np.arange(N), y_m
    return Stroke(
        kind="area",
        position_m=position,
        tool_axis=np.tile([0.0, 0.0, -1.0], (N, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (N, 1)),
        speed_m_per_s=np.full(N, SPEED_M_PER_S),
        process_value=np.ones(N),
        on=np.ones(N, bool),
    )


def _run() -> tuple[ToolPath, JointTrajectory]:
    toolpath = ToolPath(process="spray", strokes=[_stroke(0.0), _stroke(0.1)], tool={}, surface={})
    within = np.linspace(0.0, STROKE_S, N)
    time_s = np.r_[0.0, GAP_S + within, 2 * GAP_S + STROKE_S + within]
    zeros = np.zeros((len(time_s), 6))
    segments = [
        Segment(kind="approach", i0=0, i1=1),
        Segment(kind="process", i0=1, i1=N, stroke=0),
        Segment(kind="transition", i0=N, i1=N + 1),
        Segment(kind="process", i0=N + 1, i1=2 * N, stroke=1),
    ]
    return toolpath, JointTrajectory(
        joint_names=[f"joint_{i}" for i in range(6)],
        time_s=time_s,
        position_rad=zeros,
        velocity_rad_per_s=zeros,
        acceleration_rad_per_s2=zeros,
        segments=segments,
        events=[],
        tool_frame="gun_tcp",
        base_frame="base_link",
        T_base_part=np.eye(4),
    )


def test_before_the_first_stroke_everything_is_left():
    toolpath, trajectory = _run()
    rest = remaining_toolpath(toolpath, trajectory, 0.5)
    assert rest is not None and rest.n_samples == toolpath.n_samples
    assert all(s.on.all() for s in rest.strokes)


def test_after_the_last_stroke_nothing_is_left():
    toolpath, trajectory = _run()
    assert remaining_toolpath(toolpath, trajectory, float("inf")) is None


def test_half_run_stroke_starts_where_the_process_stopped_after_a_run_up_with_the_process_off():
    toolpath, trajectory = _run()
    rest = remaining_toolpath(toolpath, trajectory, GAP_S + 2.04, lead_m=0.05)
    assert rest is not None and len(rest.strokes) == 2
    first = rest.strokes[0]
    came_on = int(np.argmax(first.on))
    # a switch lies half way between two samples
    assert first.position_m[came_on - 1 : came_on + 1, 0].mean() == pytest.approx(0.204, abs=1e-9)
    assert first.position_m[0, 0] == pytest.approx(0.15)
    assert not first.on[:came_on].any() and first.on[came_on:].all() and came_on >= 5


@given(stop_s=st.floats(0.0, 2 * GAP_S + 2 * STROKE_S))
def test_what_was_done_and_the_rest_make_the_whole_to_a_millimetre(stop_s: float):
    toolpath, trajectory = _run()
    rest = remaining_toolpath(toolpath, trajectory, stop_s)
    left_s = sum(s.dwell_s.sum() for s in rest.strokes) if rest else 0.0
    done_s = min(max(stop_s - GAP_S, 0.0), STROKE_S) + min(max(stop_s - 2 * GAP_S - STROKE_S, 0.0), STROKE_S)
    assert abs(left_s + done_s - 2 * STROKE_S) <= LEFT_MIN_M / SPEED_M_PER_S + 1e-9


@given(stop_s=st.floats(0.0, 2 * (GAP_S + STROKE_S) + 1.0))
def test_what_was_run_and_what_is_left_are_the_whole(stop_s: float):
    toolpath, trajectory = _run()
    run = sum(float(s.dwell_s.sum()) for s in strokes_run(toolpath, trajectory, stop_s))
    rest = remaining_toolpath(toolpath, trajectory, stop_s)
    left = 0.0 if rest is None else sum(float(s.dwell_s.sum()) for s in rest.strokes)
    assert run + left == pytest.approx(2 * STROKE_S, abs=LEFT_MIN_M / SPEED_M_PER_S + 1e-9)
    assert len(strokes_run(toolpath, trajectory, float("inf"))) == 2


def test_the_rest_is_run_as_the_whole_was_to_be_run():
    toolpath, trajectory = _run()
    free = Freedom(spin="fixed", tilt_rad=0.3, standoff_m=(-0.01, 0.01))
    toolpath = replace(toolpath, strokes=[replace(s, freedom=free) for s in toolpath.strokes])
    rest = remaining_toolpath(toolpath, trajectory, GAP_S + 2.0)
    assert rest is not None and all(s.freedom == Freedom(spin="fixed") for s in rest.strokes)


def test_strokes_somebody_decided_about_are_left_out():
    toolpath, trajectory = _run()
    rest = remaining_toolpath(toolpath, trajectory, GAP_S + 1.0, leave_out={0})
    assert rest is not None and [len(s) for s in rest.strokes] == [N]
    assert remaining_toolpath(toolpath, trajectory, GAP_S + 1.0, leave_out={0, 1}) is None


def _log(off_s: float, *, late_m: float = 0.0, gauge: float = 1.0, fall_s: float = 0.0, reads_late: int = 0):
    """What a device logs of the first stroke: the tool `late_m` behind the path, the flow falling after it is off."""
    time_s = 100.0 + np.arange(0.0, 2.0 * GAP_S + STROKE_S, 0.004)
    path_s = time_s - 100.0
    poses = np.tile(np.eye(4), (len(time_s), 1, 1))
    poses[:, 0, 3] = np.clip((path_s - GAP_S) * SPEED_M_PER_S, 0.0, STEP_M * (N - 1)) - late_m
    on = (path_s >= GAP_S) & (path_s < off_s)
    flow = np.where(on, 1.0, np.clip(1.0 - (path_s - off_s) / max(fall_s, 1e-9), 0.0, 1.0)) * (path_s >= GAP_S)
    flow = np.r_[np.full(reads_late, flow[0]), flow[: len(flow) - reads_late]]
    return {"time_s": time_s, "T_base_tcp": poses, "on": on, "process_value": gauge * flow}


@pytest.mark.parametrize(
    "errors, at_m",
    [
        ({}, 0.2),
        ({"late_m": 0.003}, 0.197),
        ({"gauge": 1.07}, 0.2),
        ({"fall_s": 0.1}, 0.2 + 0.5 * 0.1 * SPEED_M_PER_S),
        ({"reads_late": 8}, 0.2),
    ],
)
def test_the_log_tells_where_the_process_stopped_whatever_gauge_and_valve(errors, at_m):
    toolpath, trajectory = _run()
    stop_s = GAP_S + 2.0
    found = stop_point(toolpath, trajectory, stop_s, zero_s=100.0, log=_log(stop_s, **errors))
    assert found is not None and (found.stroke, found.source) == (0, "log")
    assert found.at_m == pytest.approx(at_m, abs=4e-4)


def test_a_last_reading_that_sticks_moves_the_place_by_no_more_than_half_a_reading():
    toolpath, trajectory = _run()
    stop_s = GAP_S + 2.0
    log = _log(stop_s)
    sticks = (log["time_s"] >= 100.0 + stop_s) & (log["time_s"] < 100.25 + stop_s)
    log["process_value"] = np.where(sticks, 0.97, log["process_value"])
    found = stop_point(toolpath, trajectory, stop_s, zero_s=100.0, log=log)
    assert found is not None and 0.2 <= found.at_m <= 0.2 + 0.5 * READING_MAX_S * SPEED_M_PER_S


def test_a_log_that_does_not_hold_the_moment_leaves_the_path_s_clock():
    toolpath, trajectory = _run()
    log = {k: v[:10] for k, v in _log(GAP_S + 2.0).items()}
    found = stop_point(toolpath, trajectory, GAP_S + 2.0, zero_s=100.0, log=log)
    assert found is not None and found.source == "clock" and found.at_m == pytest.approx(0.2)
    assert stop_point(toolpath, trajectory, 0.5 * GAP_S) is None


def test_journal_survives_a_torn_line(tmp_path):
    journal = Journal(tmp_path / "execution" / "journal.jsonl")
    assert last_attempt(journal.read()) is None
    journal.append("start", attempt=0)
    journal.append("begin", stroke=0, path_time_s=1.0)
    with journal.path.open("ab") as f:
        f.write(b'{"event": "end", "str')
    journal.append("progress", path_time_s=2.5)
    entries = journal.read()
    assert [e["event"] for e in entries] == ["start", "begin", "progress"]
    attempt = last_attempt(entries)
    assert attempt is not None and attempt.stop_s == 2.5


def test_the_observed_stop_counts_and_only_the_last_attempt(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for attempt, stop_s in ((0, 7.0), (1, 3.0)):
        journal.append("start", attempt=attempt)
        journal.append("progress", path_time_s=stop_s - 0.3)
        journal.append("stopped", path_time_s=stop_s)
    attempt = last_attempt(journal.read())
    assert attempt is not None and (attempt.index, attempt.stop_s) == (1, 3.0)
    journal.append("done")
    attempt = last_attempt(journal.read())
    assert attempt is not None and attempt.stop_s == float("inf")
