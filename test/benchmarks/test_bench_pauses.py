"""A process paused in mid-stroke on the simulated cell leaves what an undisturbed one leaves; journals tell true."""

from dataclasses import replace

import bench_pauses
import numpy as np
import pytest
from bench_pauses import figures, moments_of, run, spray_task

from cell_core.executed import executed_strokes
from cell_core.files import read_npz
from cell_core.jobs import JobFolder
from cell_core.remainder import Remainder, read_stop, remainder
from cell_core.resume import Journal, last_attempt, remaining_toolpath
from cell_core.stop_point import StopPoint
from cell_core.stroke_status import stroke_statuses
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory
from cell_nodes.process_model import executed_path
from cell_simulation import SimulatedCell

DARK_S = 0.012
"""A valve still closes for half its ramp after the moment that counts as its end."""


class Stamped(Journal):
    """Notes the simulated time at which each entry was on disk."""

    def append(self, event, **facts):
        super().append(event, **facts)
        written.append(float(cells[-1].time_s))


cells: list[SimulatedCell] = []
written: list[float] = []


@pytest.fixture(scope="module")
def task():
    return spray_task(half_m=0.12, height_m=0.02)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("pauses")


@pytest.fixture(scope="module")
def plain(task, folders):
    made = bench_pauses.SimulatedCell

    def noted(*args, **kwargs):
        cells.append(made(*args, **kwargs))
        return cells[-1]

    written.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_pauses, "SimulatedCell", noted)
        patch.setattr(bench_pauses, "Journal", Stamped)
        return run(task, np.zeros(0), 0, folders / "plain")


@pytest.fixture(scope="module")
def paused(task, folders):
    return run(task, moments_of(0, 3), 0, folders / "paused")


def test_film_after_pauses_is_the_film_of_the_undisturbed_run(task, plain, paused):
    assert paused.pauses == 3 and len(paused.retracts_m) == 3 and min(paused.retracts_m) > 0.0
    assert paused.paused_acting_s == 0.0 and paused.unreached == plain.unreached
    undisturbed, disturbed = figures(task, plain), figures(task, paused)
    assert disturbed[0] - undisturbed[0] < 0.3 and disturbed[2] == pytest.approx(undisturbed[2], rel=0.003)
    joint = np.quantile((paused.change_m - plain.change_m) / task.target_m, [0.001, 0.999])
    assert np.abs(joint).max() < 0.08


def test_an_overlap_of_30_mm_would_be_seen(task, plain, folders):
    def doubling(execution, attempt):
        found = remainder(execution, attempt)
        run_folder = execution / f"run_{attempt.index}"
        path, trajectory = (kind.read(run_folder / name) for kind, name in READ)
        early = None if found.stop is None else replace(found.stop, at_m=max(found.stop.at_m - 0.03, 0.0))
        rest = remaining_toolpath(path, trajectory, attempt.stop_s, stop=early)
        return Remainder(toolpath=rest, stop=found.stop)

    doubled = run(task, moments_of(0, 3), 0, folders / "doubled", left=doubling)
    assert figures(task, doubled)[0] - figures(task, plain)[0] > 1.0


READ = ((ToolPath, "toolpath.json"), (JointTrajectory, "trajectory.json"))


def test_what_was_run_is_the_same_by_logs_and_by_paths_cut_where_they_stopped(task, plain, paused, folders):
    by_path, by_log = {}, {}
    for name, n in (("plain", 1), ("paused", 4)):
        job = JobFolder(path=folders / f"{name}_job")
        task.toolpath.write(job.step("plan") / "toolpath.json")
        job.step("execution").symlink_to(folders / name)
        # for so fine a tool the rows of any log lie too far apart, so the paths count
        executed = executed_path(job, task.cell.T_base_fixture, reach_m=1e-4)
        assert executed.source.startswith("path as commanded")
        by_path[name] = sum(float(s.dwell_s @ s.process_value) for s in executed.path.strokes)
        logs = [read_npz(path) for path in sorted((folders / name).glob("executed_*.npz"))]
        assert len(logs) == n
        strokes = executed_strokes(logs, task.cell.T_base_fixture)
        by_log[name] = sum(float(s.dwell_s @ s.process_value) for s in strokes)
    assert by_log["paused"] == pytest.approx(by_log["plain"], rel=0.01)
    assert by_path["paused"] == pytest.approx(by_path["plain"], rel=0.01)
    stops = [read_stop(folders / "paused" / f"run_{k}")[2] for k in range(3)]
    assert all(stop is None or isinstance(stop, StopPoint) for stop in stops)
    assert any(stop is not None and stop.source == "log" for stop in stops)


def test_whenever_the_power_goes_untouched_strokes_are_dark_and_done_ones_are_over(task, plain, folders):
    entries = Journal(folders / "plain" / "journal.jsonl").read()
    assert len(entries) == len(written) and entries[-1]["event"] == "done"
    trajectory = JointTrajectory.read(folders / "plain" / "run_0" / "trajectory.json")
    log = read_npz(folders / "plain" / "executed_0.npz")
    zero_s = next(e["zero_s"] for e in entries if e["event"] == "running")
    path_s, flows = log["time_s"] - zero_s, log["process_value"] > 0.0
    acts = {}
    for segment in trajectory.segments:
        if segment.kind == "process":
            begin_s, end_s = trajectory.time_s[[segment.i0, segment.i1]]
            inside = flows & (path_s > begin_s - 0.1) & (path_s < end_s + 0.1)
            acts[segment.stroke] = (path_s[inside].min(), path_s[inside].max())
    assert len(acts) > 2
    for i in range(len(entries) - 1):
        if last_attempt(entries[: i + 1]) is None:
            continue
        found = stroke_statuses(entries[: i + 1], stop_s=None)
        # the power may go at any time until the next entry is on disk
        at_s, until_s = written[i] - zero_s, written[i + 1] - zero_s
        assert all(acts[k][0] >= until_s for k in found.untouched if k in acts), entries[i]
        assert all(acts[k][1] <= at_s + DARK_S for k in found.done if k in acts), entries[i]
