"""A small part is scanned, planned, sprayed and judged by real nodes in processes of their own."""

import json
import signal

import numpy as np
import pytest
from mcap.reader import make_reader
from node_kit import dome, make_job
from supervised import RECIPE, Supervised

from cell_core.files import read_json, read_npz
from cell_core.jobs import STEPS
from cell_core.resume import Journal
from cell_core.surface_io import read_ply
from cell_core.trajectory import JointTrajectory


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "quick.yaml").write_text(RECIPE)
    return make_job(tmp_path / "job", dome(), recipe=str(tmp_path / "quick.yaml"))


def test_a_spray_job_runs_to_acceptance(folder):
    run = Supervised(folder.path, "--rtf", "8", "--approve", "ask")
    request = run.until(lambda e: e["event"] == "approval_request", 200.0)
    assert request["figures"]["mean_m"] == pytest.approx(50e-6, rel=0.2)
    assert folder.read_state()["status"] == "waiting_for_approval" and not folder.is_finished("motion")
    run.answer(True)
    code = run.finish()
    assert code == 0, run.events[-3:]
    assert all(folder.is_finished(step) for step in STEPS)
    assert folder.read_state()["status"] == "finished"
    assert [e["step"] for e in run.events if e["event"] == "summary"] == list(STEPS)
    assert read_json(folder.step("inspection") / "verdict.json")["passed"]
    truth = read_ply(folder.step("execution") / "truth.ply").fields["change_m"]
    assert truth.max() > 30e-6
    log = read_npz(folder.step("execution") / "truth_log.npz")
    planned = JointTrajectory.read(folder.step("motion") / "trajectory.json")
    assert np.ptp(log["time_s"]) > planned.duration_s and log["on"].any()
    assert [e["event"] for e in Journal(folder.step("execution") / "journal.jsonl").read()][-1] == "done"
    with (folder.step("execution") / "record.mcap").open("rb") as file:
        counts = make_reader(file).get_summary().statistics.channel_message_counts
    assert sum(counts.values()) > 500


def test_rejecting_a_plan_moves_nothing(folder):
    run = Supervised(folder.path, "--rtf", "8", "--approve", "ask")
    run.until(lambda e: e["event"] == "approval_request", 200.0)
    run.answer(False)
    assert run.finish() == 130
    assert folder.read_state()["status"] == "rejected" and not folder.step("motion").exists()


def test_an_interrupt_cancels_and_leaves_nothing_running(folder):
    run = Supervised(folder.path, "--rtf", "8", "--approve", "auto")
    run.until(lambda e: e.get("step") == "scan" and "view" in e.get("message", ""), 120.0)
    run.process.send_signal(signal.SIGINT)
    assert run.finish(60.0) == 130
    assert folder.read_state()["status"] == "cancelled"


def test_a_job_that_cannot_be_read_ends_with_one_line_and_code_2(tmp_path):
    (tmp_path / "job.yaml").write_text("format: grind_spray_cell/job\nversion: 1\nprocess: polish\n")
    run = Supervised(tmp_path)
    assert run.finish(30.0) == 2
    assert [e["event"] for e in run.events] == ["error"] and "process" in run.events[0]["message"]
    assert json.dumps(run.events[0])
