"""The rest of a half-run process: nothing twice, nothing forgotten."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_core.resume import Journal, last_attempt, remaining_toolpath, strokes_run
from cell_core.toolpath import Stroke, ToolPath
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
    assert first.position_m[first.on][0, 0] == pytest.approx(0.20)
    assert first.position_m[0, 0] == pytest.approx(0.15)
    assert not first.on[:5].any() and first.on[5:].all()


@given(stop_s=st.floats(0.0, 2 * GAP_S + 2 * STROKE_S))
def test_done_and_rest_cover_every_sample_once_up_to_one_step(stop_s: float):
    toolpath, trajectory = _run()
    rest = remaining_toolpath(toolpath, trajectory, stop_s)
    left_s = sum(s.dwell_s.sum() for s in rest.strokes) if rest else 0.0
    done_s = min(max(stop_s - GAP_S, 0.0), STROKE_S) + min(max(stop_s - 2 * GAP_S - STROKE_S, 0.0), STROKE_S)
    assert abs(left_s + done_s - 2 * STROKE_S) <= 1.5 * STEP_M / SPEED_M_PER_S + 1e-9


@given(stop_s=st.floats(0.0, 2 * (GAP_S + STROKE_S) + 1.0))
def test_what_was_run_and_what_is_left_are_the_whole(stop_s: float):
    toolpath, trajectory = _run()
    run = sum(float(s.dwell_s.sum()) for s in strokes_run(toolpath, trajectory, stop_s))
    rest = remaining_toolpath(toolpath, trajectory, stop_s)
    left = 0.0 if rest is None else sum(float(s.dwell_s.sum()) for s in rest.strokes)
    assert run + left == pytest.approx(2 * STROKE_S, abs=2.1 * STEP_M / SPEED_M_PER_S)
    assert len(strokes_run(toolpath, trajectory, float("inf"))) == 2


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
