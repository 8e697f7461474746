"""What report and summary say of pauses, stops and power losses."""

import numpy as np
import pytest

from cell_core.files import write_json, write_npz
from cell_core.jobs import JobFolder
from cell_core.resume import Journal
from cell_operator.interruptions import interruptions


@pytest.fixture
def job(tmp_path):
    return JobFolder(path=tmp_path)


def _run(job, attempt, *entries):
    journal = Journal(job.step("execution") / "journal.jsonl")
    journal.append("start", attempt=attempt, strokes=3)
    journal.append("running", zero_s=10.0)
    journal.append("begin", stroke=0, path_time_s=1.0)
    for event, facts in entries:
        journal.append(event, **facts)


def _log(job, attempt, on_until_s, drips_s=0.0):
    time_s = 10.0 + np.arange(0.0, 5.0, 0.004)
    on = time_s < 10.0 + on_until_s
    value = np.where(time_s < 10.0 + on_until_s + drips_s, 5e-6 * (1.0 + 1e-3 * np.sin(50.0 * time_s)), 0.0)
    poses = np.tile(np.eye(4), (len(time_s), 1, 1))
    path = job.step("execution") / f"executed_{attempt}.npz"
    write_npz(path, time_s=time_s, on=on, process_value=value, T_base_tcp=poses)


def test_a_job_that_ran_through_tells_nothing(job):
    assert interruptions(job) == []
    _run(job, 0, ("end", {"stroke": 0, "path_time_s": 3.0}), ("done", {}))
    assert interruptions(job) == []


def test_a_pause_tells_why_where_and_how_far_the_arm_went(job):
    stop = {"path_time_s": 2.0, "reason": "paused: hose", "confirmed": True}
    rest = {"reason": "paused: hose", "retracted_m": 0.05, "remark": "", "unix_s": 0.0}
    _run(job, 0, ("stopped", stop), ("paused", rest))
    _log(job, 0, 2.0)
    place = {"path_time_s": 2.0, "zero_s": 10.0, "known": True, "stroke": 0, "at_m": 0.1234, "source": "log"}
    write_json(job.step("execution") / "run_0" / "stop.json", place)
    (one,) = interruptions(job)
    assert one.acted_after_stop_s == 0.0
    for words in ("run 1: paused: hose, at 2.00 s, stroke 1 at 123.4 mm (by its log)", "retracted 50 mm"):
        assert words in one.text
    assert "strokes 1 half done, 2-3 untouched" in one.text


def test_a_gun_that_goes_on_after_the_stop_is_told(job):
    _run(job, 0, ("stopped", {"path_time_s": 2.0, "reason": "aborted: x", "confirmed": True}))
    _log(job, 0, 2.0, drips_s=0.4)
    (one,) = interruptions(job)
    assert one.acted_after_stop_s == pytest.approx(0.4, abs=0.01)


def test_a_power_loss_tells_what_was_decided(job):
    _run(job, 0, ("progress", {"path_time_s": 1.7}), ("decided", {"choice": "leave", "strokes": [1], "unix_s": 0.0}))
    (one,) = interruptions(job)
    assert "the record breaks off (power loss), at 1.70 s, end not known" in one.text
    assert "1 perhaps half done" in one.text and "decided: leave" in one.text and one.acted_after_stop_s is None
