"""A small part is scanned, planned, sprayed and judged by real nodes in processes of their own."""

import json
import signal

import numpy as np
import pytest
from mcap.reader import make_reader
from node_kit import dome, make_job
from supervised import RECIPE, Supervised

from cell_core.config import find_config
from cell_core.config.models import Pose
from cell_core.files import read_json, read_npz
from cell_core.jobs import steps_of
from cell_core.resume import Journal
from cell_core.surface_io import read_ply, write_ply
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import transform_from_xyz_rpy


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
    assert all(folder.is_finished(step) for step in steps_of("spray"))
    assert folder.read_state()["status"] == "finished"
    assert [e["step"] for e in run.events if e["event"] == "summary"] == list(steps_of("spray"))
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


def test_rejecting_a_plan_moves_nothing_and_a_part_moved_since_is_refused(tmp_path):
    (tmp_path / "quick.yaml").write_text(RECIPE)
    stands = Pose(xyz_m=(0.0, 0.0, 0.0))
    folder = make_job(tmp_path / "job", dome(), recipe=str(tmp_path / "quick.yaml"), pose=stands)
    run = Supervised(folder.path, "--rtf", "8", "--approve", "ask")
    run.until(lambda e: e["event"] == "approval_request", 200.0)
    run.answer(False)
    assert run.finish() == 130
    assert folder.read_state()["status"] == "rejected" and not folder.step("motion").exists()
    moved = dome().transformed(transform_from_xyz_rpy((0.004, -0.003, 0.0), (0.0, 0.0, 0.0)), "part")
    write_ply(folder.path / "part.ply", moved)
    again = Supervised(folder.path, "--rtf", "8", "--approve", "auto", "--resume")
    assert again.finish() == 3
    state = folder.read_state()
    assert (state["status"], state["step"]) == ("failed", "check")
    assert "since its scan" in state["message"] and "at most 1 mm allowed" in state["message"]
    told = read_json(folder.step("check") / "check.json")
    # a smooth dome on a coarse scan tells that it moved better than how far
    assert 1e-3 < max(told["moved_m"], told["slid_m"]) < 1e-2
    assert not folder.step("motion").exists() and not folder.step("execution").exists()
    assert not any(e.get("step") == "scan" and e.get("message") == "started" for e in again.events)


GRIND = """\
format: grind_spray_cell/recipe
version: 1
process: grind
name: quick_spot
tool: coarse.yaml
strategy: spot
target_depth_m: 8.0e-4
force_n: 20.0
n_passes: 1
spots: [{shape: sphere, centre_m: [0.0, 0.0, 0.04], radius_m: 0.035, soft_edge_m: 0.015}]
scan: {voxel_m: 0.003, measured_area_fraction_min: 0.80, views_max: 7, frames_per_view: 2}
acceptance: {tolerance_fraction: 0.15, tolerance_m: 1.5e-4, in_tolerance_area_fraction_min: 0.999}
cycles_max: 2
"""


def test_two_cycles_of_grinding_measure_what_they_did_and_mend_it(tmp_path):
    # coarse grit on a larger pad: seconds of grinding
    pad = find_config("tools", "orbital_32").read_text()
    for old, new in (("radius_m: 0.016", "radius_m: 0.025"), ("preston_per_pa: 1.0e-9", "preston_per_pa: 1.0e-8")):
        assert old in pad
        pad = pad.replace(old, new)
    (tmp_path / "coarse.yaml").write_text(pad)
    (tmp_path / "quick.yaml").write_text(GRIND.replace("coarse.yaml", str(tmp_path / "coarse.yaml")))
    folder = make_job(tmp_path / "job", dome(), process="grind", recipe=str(tmp_path / "quick.yaml"))
    run = Supervised(folder.path, "--rtf", "8", "--approve", "ask")
    for plan in ("plan", "cycle_2/plan"):
        request = run.until(lambda e, plan=plan: e["event"] == "approval_request" and e["step"] == plan, 400.0)
        assert request["figures"]["removed_volume_m3"] > 0.0
        run.answer(True)
    code = run.finish()
    assert code in (0, 4), run.events[-3:]
    second = folder.in_cycle(2)
    assert all(folder.is_finished(s) and second.is_finished(s) for s in steps_of("grind"))
    verdicts = [read_json(cycle.step("inspection") / "verdict.json") for cycle in (folder, second)]
    assert verdicts[0]["stop"] is None and not verdicts[0]["passed"]
    assert "measurement" in verdicts[0]["by"] and verdicts[0]["figures"]["scan_noise_m"] > 5e-6
    # what a second scan still shows missing may be specks that no cycle is worth
    reasons = ("tolerance", "cycles_max", "nothing_missing")
    assert verdicts[1]["stop"]["reason"] == folder.read_state()["stop"] in reasons
    # more is gone, by measurement and by truth, and both agree
    fields = [read_npz(cycle.step("inspection") / "fields.npz") for cycle in (folder, second)]
    mask, target = fields[0]["mask"], fields[0]["target_m"]
    short = [np.nanmean(np.maximum(target - f["true_m"], 0.0)[mask]) for f in fields]
    assert short[1] < 0.8 * short[0], short
    # noise of the scans adds to what is short, not to the mean; the first cycle takes nearly all there is
    assert np.nanmean(fields[1]["measured_m"][mask]) > 0.98 * np.nanmean(fields[0]["measured_m"][mask])
    assert np.nanmean((fields[1]["measured_m"] - fields[1]["true_m"])[mask]) == pytest.approx(0.0, abs=6e-5)
    # the second takes off only what the first left
    planned = read_npz(second.step("plan") / "fields.npz")["target_change_m"]
    assert 0.0 < planned.max() < target.max()


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
