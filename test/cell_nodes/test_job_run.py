"""The order of a job's steps, what is skipped, and what is never run twice; without ROS."""

import types
from pathlib import Path

import numpy as np
import pytest
from cell_interfaces.msg import StepSummary
from node_kit import dome, make_job, swing

from cell_core.errors import DeviceError, InputRefusedError
from cell_core.files import write_json, write_npz
from cell_core.jobs import steps_of
from cell_core.resume import Journal, last_attempt
from cell_core.surface_io import write_ply
from cell_core.toolpath import Stroke, ToolPath
from cell_nodes.clients import PausedError
from cell_nodes.job_steps import JobRun

N = 21


def _toolpath() -> ToolPath:
    position = np.stack([np.linspace(0.0, 0.2, N), np.zeros(N), np.zeros(N)], 1)
    stroke = Stroke(
        kind="area",
        position_m=position,
        tool_axis=np.tile([0.0, 0.0, -1.0], (N, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (N, 1)),
        speed_m_per_s=np.full(N, 0.2),
        process_value=np.full(N, 5e-6),
        on=np.ones(N, bool),
    )
    return ToolPath(
        process="spray",
        strokes=[stroke],
        tool={"name": "gun", "kind": "elliptic_double_beta"},
        surface={"path": "scan/surface.ply", "sha256": ""},
    )


class FakeHost:
    """Answers every step with files as the real nodes leave them; `faults`: what a server raises once."""

    def __init__(self, job, faults=None, cycles=1, reason="tolerance"):
        self.cycles, self.reason = cycles, reason
        self.saved_s = 1.2
        self.decision = None
        self.lost_at_s = None
        self.job, self.faults, self.calls, self.approvals, self.states = job, dict(faults or {}), [], [], []

    def call(self, server, goal, step):
        folder = Path(goal.folder)
        cycle = "" if folder.parent == self.job.path else f"{folder.parent.name}/"
        self.calls.append(cycle + (folder.name if server == "scan" else server))
        if server == "scan":
            if folder.name != "check":
                write_ply(folder / "surface.ply", dome())
        elif server.startswith("plan_") and server != "plan_motion":
            _toolpath().write(folder / "toolpath.json")
            write_npz(folder / "fields.npz", serviceable=np.ones(3))
            if cycle and not Path(goal.recipe).is_file():
                raise AssertionError("a later cycle plans with what the one before left to it")
        elif server == "plan_motion":
            ToolPath.read(Path(goal.toolpath_path)).write(folder / "toolpath.json")
            swing(np.zeros(6)).write(folder / "trajectory.json")
        elif server == "execute_process":
            journal = Journal(folder / "journal.jsonl")
            attempt = sum(e["event"] == "start" for e in journal.read())
            journal.append("start", attempt=attempt, strokes=1)
            journal.append("running", zero_s=40.0)
            if self.lost_at_s is not None:
                # the power goes: nobody says when the process was off
                journal.append("begin", stroke=0, path_time_s=0.5)
                journal.append("progress", path_time_s=self.lost_at_s)
                self.lost_at_s = None
                raise DeviceError("everything is gone")
            if server in self.faults:
                journal.append("stopped", path_time_s=1.0)
                write_json(folder / "sim_state.json", {"time_s": 40.0 + self.saved_s, "zero_s": 40.0})
                raise self.faults.pop(server)
            journal.append("done")
        elif server == "inspect":
            self.inspect(folder)
        if self.calls[-1] in self.faults:
            raise self.faults.pop(self.calls[-1])
        return types.SimpleNamespace(
            summary=StepSummary(ok=True, names=["passed"], values=[1.0], units=["1"]), passed=True
        )

    def inspect(self, folder):
        n = len([call for call in self.calls if call.endswith("inspect")])
        last = n >= self.cycles
        stop = {"reason": self.reason, "text": "for a test"} if last else None
        if not last:
            (folder / "rework").mkdir(parents=True, exist_ok=True)
            (folder / "rework" / "recipe.yaml").write_text("rest")
        write_json(folder / "verdict.json", {"passed": last, "reasons": ["thin"], "stop": stop})

    def state(self, status, step, message, progress=0.0):
        self.states.append((step, message))

    def finished(self, summary):
        self.states.append((summary.step, "summary"))

    def wait_for_approval(self, message):
        self.approvals.append(message)
        return "yes"

    def wait_for_decision(self, message, choices):
        self.approvals.append(message)
        if self.decision is None:
            raise InputRefusedError(message)
        assert self.decision in choices
        return self.decision

    def wait_for_resume(self, message):
        self.approvals.append("resume")

    def positions_rad(self):
        return [0.0] * 6


@pytest.fixture
def folder(tmp_path):
    return make_job(tmp_path / "job", dome())


ALL = ["scan", "plan_spray", "check", "plan_motion", "execute_process", "inspect"]
GRIND = ["plan_grind", "check", "plan_motion", "execute_process", "rescan", "inspect"]


def test_steps_run_in_order_with_one_approval(folder):
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=False).accepted
    assert host.calls == ALL and host.approvals == ["plan is ready"]
    assert all(folder.is_finished(s) for s in steps_of("spray"))


def test_a_finished_job_does_nothing_again(folder):
    JobRun(folder, FakeHost(folder)).run(resume=False)
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=True).accepted
    assert host.calls == []


@pytest.mark.parametrize("server", ["scan", "plan_spray", "check", "plan_motion", "inspect"])
def test_a_failed_step_is_where_it_goes_on(folder, server):
    with pytest.raises(DeviceError):
        JobRun(folder, FakeHost(folder, {server: DeviceError("node died")})).run(resume=False)
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=True).accepted
    # a look taken before the operator's word may be old: it is taken again
    begun = "check" if server == "plan_motion" else server
    assert host.calls == ALL[ALL.index(begun) :]


def test_a_half_run_process_asks_again_and_runs_only_the_rest(folder):
    with pytest.raises(DeviceError):
        JobRun(folder, FakeHost(folder, {"execute_process": DeviceError("gone")})).run(resume=False)
    with pytest.raises(InputRefusedError, match="began before"):
        JobRun(folder, FakeHost(folder)).run(resume=False)
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=True).accepted
    assert host.calls == ["check", "plan_motion", "execute_process", "inspect"]
    assert len(host.approvals) == 1 and "1 strokes left" in host.approvals[0]
    rest = ToolPath.read(folder.step("motion") / "remaining.json")
    whole = _toolpath()
    assert 0.4 < sum(s.dwell_s.sum() for s in rest.strokes) / sum(s.dwell_s.sum() for s in whole.strokes) < 0.6


def test_what_a_killed_simulator_forgot_is_run_again(folder):
    host = FakeHost(folder, {"execute_process": DeviceError("node simulator died")})
    host.saved_s = 0.75
    with pytest.raises(DeviceError):
        JobRun(folder, host).run(resume=False)
    JobRun(folder, FakeHost(folder)).run(resume=True)
    rest = ToolPath.read(folder.step("motion") / "remaining.json")
    assert sum(s.dwell_s.sum() for s in rest.strokes) / _toolpath().duration_s == pytest.approx(0.75, abs=0.06)


def test_a_pause_waits_for_resume_and_a_new_approval(folder):
    host = FakeHost(folder, {"execute_process": PausedError("paused: coffee")})
    assert JobRun(folder, host).run(resume=False).accepted
    assert host.approvals[0] == "plan is ready" and host.approvals[1] == "resume" and "continue" in host.approvals[2]
    assert host.calls.count("execute_process") == 2


def test_a_job_whose_scan_changed_after_the_process_began_is_refused(folder):
    with pytest.raises(DeviceError):
        JobRun(folder, FakeHost(folder, {"execute_process": DeviceError("gone")})).run(resume=False)
    write_ply(folder.step("scan") / "surface.ply", dome(radius_m=0.2))
    with pytest.raises(InputRefusedError, match="changed after the process began"):
        JobRun(folder, FakeHost(folder)).run(resume=True)


# power loss


def _lose_power(job, at_s=1.0):
    host = FakeHost(job)
    host.lost_at_s = at_s
    with pytest.raises(DeviceError):
        JobRun(job, host).run(resume=False)


def _left_share(job):
    rest = ToolPath.read(job.step("motion") / "remaining.json")
    return sum(float(s.dwell_s.sum()) for s in rest.strokes) / _toolpath().duration_s


def test_after_a_power_loss_nothing_runs_again_by_itself(folder):
    _lose_power(folder)
    host = FakeHost(folder)
    with pytest.raises(InputRefusedError, match=r"1 perhaps half done, end not known.*'leave'.*'again'"):
        JobRun(folder, host).run(resume=True)
    assert host.calls == []


def test_what_is_decided_to_be_left_is_left_and_asked_only_once(folder):
    _lose_power(folder)
    host = FakeHost(folder, {"inspect": DeviceError("gone")})
    host.decision = "leave"
    with pytest.raises(DeviceError):
        JobRun(folder, host).run(resume=True)
    assert host.calls == ["inspect"] and len(host.approvals) == 1
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=True).accepted
    assert host.calls == ["inspect"] and host.approvals == []


def test_what_is_decided_to_run_again_runs_from_where_it_was_last_known(folder):
    _lose_power(folder, at_s=1.0)
    host = FakeHost(folder, {"plan_motion": DeviceError("gone")})
    host.decision = "again"
    with pytest.raises(DeviceError):
        JobRun(folder, host).run(resume=True)
    assert [("perhaps" in a, "continue" in a) for a in host.approvals] == [(True, False), (True, True)]
    # the simulated part remembers nothing of a run whose state was never saved
    assert _left_share(folder) == pytest.approx(1.0)
    host = FakeHost(folder)
    assert JobRun(folder, host).run(resume=True).accepted
    assert host.calls == ["check", "plan_motion", "execute_process", "inspect"] and len(host.approvals) == 1


def test_a_ground_part_may_be_scanned_again_instead(grinding):
    _lose_power(grinding)
    host = FakeHost(grinding, cycles=2)
    host.decision = "rescan"
    assert JobRun(grinding, host).run(resume=True).cycles == 2
    assert host.calls[:2] == ["rescan", "inspect"] and host.calls.count("execute_process") == 0
    assert host.calls.count("cycle_2/execute_process") == 1


def test_a_journal_that_was_cut_short_runs_nothing_twice(folder):
    JobRun(folder, FakeHost(folder)).run(resume=False)
    time_s = 40.0 + np.arange(0.0, 2.0, 0.01)
    arrays = {"time_s": time_s, "on": np.ones(len(time_s), bool), "process_value": np.ones(len(time_s))}
    write_npz(folder.step("execution") / "executed_0.npz", T_base_tcp=np.tile(np.eye(4), (len(time_s), 1, 1)), **arrays)
    journal = folder.step("execution") / "journal.jsonl"
    whole = journal.read_bytes()
    (folder.step("execution") / "manifest.json").unlink()
    refused = 0
    for n in range(len(whole) - 1):
        journal.write_bytes(whole[:n])
        host = FakeHost(folder)
        try:
            JobRun(folder, host).run(resume=True)
        except InputRefusedError as error:
            assert "it was cut short" in str(error) or "perhaps half done" in str(error) or "began before" in str(error)
            refused += 1
        assert "execute_process" not in host.calls, whole[:n]
    assert refused == len(whole) - 1


# cycles


@pytest.fixture
def grinding(tmp_path):
    return make_job(tmp_path / "grind", dome(), process="grind", recipe="grind_map")


def test_a_cycle_that_falls_short_is_followed_by_another_with_an_approval_of_its_own(grinding):
    host = FakeHost(grinding, cycles=2)
    ended = JobRun(grinding, host).run(resume=False)
    assert (ended.accepted, ended.cycles, ended.stop) == (True, 2, "tolerance")
    assert host.calls == ["scan", *GRIND, *(f"cycle_2/{call}" for call in GRIND)]
    assert len(host.approvals) == 2 and "cycle 2" in host.approvals[1]
    second = grinding.in_cycle(2)
    assert second.looked_at == grinding.step("rescan")
    assert all(second.is_finished(s) and grinding.is_finished(s) for s in steps_of("grind"))
    assert last_attempt(Journal(second.step("execution") / "journal.jsonl").read()).index == 0


@pytest.mark.parametrize("call", [f"cycle_2/{call}" for call in GRIND if call != "execute_process"] + ["rescan"])
def test_wherever_a_cycle_breaks_off_it_goes_on_there_and_nothing_runs_twice(grinding, call):
    host = FakeHost(grinding, {call: DeviceError("node died")}, cycles=2)
    with pytest.raises(DeviceError):
        JobRun(grinding, host).run(resume=False)
    with pytest.raises(InputRefusedError, match="began before"):
        JobRun(grinding, FakeHost(grinding)).run(resume=False)
    again = FakeHost(grinding, cycles=2)
    again.calls = ["inspect"] * host.calls.count("inspect")
    ended = JobRun(grinding, again).run(resume=True)
    assert ended.cycles == 2
    every = [*host.calls, *again.calls]
    assert every.count("execute_process") == every.count("cycle_2/execute_process") == 1


def test_a_half_run_second_cycle_runs_only_its_rest(grinding):
    with pytest.raises(DeviceError):
        JobRun(grinding, BreaksInSecond(grinding, cycles=2)).run(resume=False)
    again = FakeHost(grinding, cycles=2)
    again.calls = ["inspect"]
    assert JobRun(grinding, again).run(resume=True).cycles == 2
    assert again.calls[1:] == [f"cycle_2/{call}" for call in GRIND[1:]]
    assert "1 strokes left" in again.approvals[0]


class BreaksInSecond(FakeHost):
    """Its process dies half-way through the second cycle."""

    def call(self, server, goal, step):
        if server == "execute_process" and "cycle_2" in goal.folder:
            self.faults[server] = DeviceError("gone")
        return super().call(server, goal, step)


def test_a_second_cycle_whose_first_changed_is_refused(grinding):
    with pytest.raises(DeviceError):
        JobRun(grinding, BreaksInSecond(grinding, cycles=2)).run(resume=False)
    (grinding.step("inspection") / "verdict.json").write_text("{}")
    with pytest.raises(InputRefusedError, match="inspection changed after the process began"):
        JobRun(grinding, FakeHost(grinding)).run(resume=True)


def test_a_second_cycle_that_cannot_be_planned_leaves_the_first_verdict(grinding):
    host = FakeHost(grinding, {"cycle_2/plan_grind": InputRefusedError("too little is left")}, cycles=2)
    ended = JobRun(grinding, host).run(resume=False)
    assert (ended.accepted, ended.cycles, ended.stop) == (False, 1, "not_plannable")
    assert "too little is left" in ended.text


def test_what_the_simulator_keeps_of_its_part_does_not_undo_a_finished_cycle(grinding):
    JobRun(grinding, FakeHost(grinding, cycles=2)).run(resume=False)
    write_json(grinding.step("execution") / "sim_state.json", {"time_s": 99.0, "zero_s": 50.0})
    assert grinding.is_finished("execution")
    assert JobRun(grinding, FakeHost(grinding)).run(resume=True).cycles == 2
