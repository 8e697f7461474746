"""A run and how it stops, on the simulated cell without a middleware: the process first, then the arm, then away."""

from dataclasses import replace

import numpy as np
import pytest
from node_kit import dome, swing

from cell_core.errors import CollisionError, DeviceError, InterlockError
from cell_core.remainder import executed_log
from cell_core.resume import Journal, last_attempt
from cell_core.stroke_status import acted_until_s
from cell_core.trajectory import ProcessEvent, Segment
from cell_core.transforms import inverse
from cell_nodes import execution_run
from cell_nodes.direct_rig import TICK_S, DirectMotion, DirectRig
from cell_nodes.execution_log import ExecutedLog, StrokeJournal
from cell_nodes.execution_retract import Retractor
from cell_nodes.execution_run import FEEDBACK_WAIT_S, ProcessRun, Watch, process_end_s
from cell_nodes.execution_state import StateMachine
from cell_nodes.pausing import PausedError
from cell_simulation import SimulatedCell
from robot_description import load_cell

SECONDS = 4.0
CONTROL_PERIOD_S = 0.008


@pytest.fixture(scope="module")
def cell():
    return load_cell("default")


class Case:
    """A swing with the gun on in its middle half, and everything that is heard of it."""

    def __init__(self, cell, folder, *, request=lambda case: None, fault=None, retractor=None):
        self.cell, self.rows, self.told, self.values = cell, [], [], []
        self.sim = SimulatedCell(cell, dome(), cell.T_base_fixture, seed=1)
        self.rig = DirectRig(self.sim)
        self.rig.listeners.append(self._tick)
        self.path = swing(np.array(cell.robot.home_rad), seconds=SECONDS)
        self.journal = Journal(folder / "journal.jsonl")
        self.log = ExecutedLog(folder / "executed_0.npz", self.path.joint_names, cell.robot, "gun_tcp")
        self.rig.listeners.append(self.log.add_row)
        self.run = ProcessRun(
            self.rig,
            self.path,
            process="spray",
            states=StateMachine(lambda state: self.told.append(str(state))),
            watch=Watch(fault=fault or self._fault, request=lambda: request(self), tell=lambda fraction, words: None),
            journal=StrokeJournal(self.journal, self.path, 0, "test", log=self.log),
            retractor=retractor,
            wall=lambda: float(self.sim.time_s),
        )

    def _fault(self, motion, process):
        closed = self.rig.tool_state.interlock_closed
        return None if closed else InterlockError("safety input interlock does not permit the process")

    def _tick(self, time_s, position, tool):
        speed = float(np.abs(self.sim.velocity_rad_per_s).max())
        self.rows.append((time_s, self.sim.tool_state().flow_m3_per_s > 0.0, speed))

    def at_rest(self):
        return max(abs(v) for v in self.sim.velocity_rad_per_s) < 1e-3

    @property
    def last_flow_s(self):
        return max(t for t, flows, _ in self.rows if flows)


def _retractor(cell):
    return Retractor(cell, "spray", dome(), cell.T_base_fixture, 0.05)


def _pause_at(path_s):
    return lambda case: PausedError("paused: test") if case.rig.sim.trajectory_status()[1] >= path_s else None


@pytest.mark.parametrize("closes_in_s", [0.0, 0.06])
def test_a_pause_turns_the_gun_off_at_full_speed_stops_and_moves_back(cell, tmp_path, closes_in_s):
    stood = []

    class Noting(Retractor):
        def away(self, position_rad):
            stood.append(np.array(position_rad))
            return super().away(position_rad)

    noting = Noting(cell, "spray", dome(), cell.T_base_fixture, 0.05)
    case = Case(cell, tmp_path, request=_pause_at(1.5), retractor=noting)
    valve = case.sim._tools.valve

    def close(time_s):
        if valve.commanded:
            valve.commanded = False
            valve._move_to(time_s, closes_in_s, 0.0)

    valve.cut = close
    with pytest.raises(PausedError, match="process off, retracted 50 mm"):
        case.run.run("t")
    assert case.told == ["armed", "approaching", "processing", "retracting", "paused"]
    attempt = last_attempt(case.journal.read())
    last_s = case.last_flow_s - attempt.zero_s
    speed = next(v for t, _, v in case.rows if t == case.last_flow_s)
    planned = float(np.abs(case.path.sample(np.array([last_s]))[1]).max())
    assert speed == pytest.approx(planned, rel=0.05) and planned > 0.1
    for _ in range(50):
        case.rig.advance()
    T = cell.robot.forward(np.stack([*stood, case.sim.position_rad]), "gun_tcp")
    moved = (inverse(T[0]) @ T[1])[:3, 3]
    assert moved == pytest.approx([0.0, 0.0, -0.05], abs=5e-4)
    assert case.at_rest() and not case.rig.tool_state.armed
    entry = case.journal.read()[-1]
    assert (entry["event"], entry["retracted_m"]) == ("paused", pytest.approx(0.05))
    assert attempt.known and attempt.stop_s == pytest.approx(last_s - closes_in_s, abs=2.1 * TICK_S)


def test_a_pause_without_a_free_retract_stays_and_says_so(cell, tmp_path):
    class Walled:
        def away(self, position_rad):
            raise CollisionError("no free retract: gun meets fixture")

    case = Case(cell, tmp_path, request=_pause_at(1.5), retractor=Walled())
    with pytest.raises(PausedError, match="stays where it is: no free retract"):
        case.run.run("t")
    assert case.told[-2:] == ["processing", "paused"] and case.at_rest()


def test_an_arm_that_does_not_confirm_its_stop_is_told_and_not_moved_on(cell, tmp_path, monkeypatch):
    case = Case(cell, tmp_path, request=_pause_at(1.5), retractor=_retractor(cell))
    monkeypatch.setattr(DirectMotion, "cancel", lambda self: None)
    monkeypatch.setattr(execution_run, "STOP_WAIT_S", 0.5)
    with pytest.raises(PausedError, match=r"stays where it is: the arm did not confirm its stop within 0\.5 s"):
        case.run.run("t")
    assert "retracting" not in case.told and not case.rig.tool_state.on


def test_a_pause_away_from_the_part_needs_no_retract(cell, tmp_path):
    case = Case(cell, tmp_path, request=_pause_at(0.3), retractor=_retractor(cell))
    free = [Segment(kind="transition", i0=0, i1=25), *case.path.segments[1:]]
    case.run._trajectory = replace(case.path, segments=free)
    with pytest.raises(PausedError, match="not beside the part"):
        case.run.run("t")
    assert case.told == ["armed", "approaching", "paused"] and not any(flows for _, flows, _ in case.rows)


@pytest.mark.parametrize("seed", range(20))
def test_an_interlock_that_opens_at_any_moment_turns_the_gun_off_within_a_control_period(cell, tmp_path, seed):
    moment_s = float(np.random.default_rng([seed, 3]).uniform(0.0, SECONDS))
    case = Case(cell, tmp_path, retractor=_retractor(cell))
    opened = []

    def open_it(time_s, position, tool):
        if not opened and time_s >= moment_s:
            opened.append(time_s)
            case.sim.set_safety(interlock_closed=False)

    case.rig.listeners.append(open_it)
    with pytest.raises((InterlockError, DeviceError)):
        case.run.run("t")
    assert opened and case.told[-1] == "faulted" and case.sim.trajectory_status()[0] != "running"
    assert not any(e["event"] == "paused" for e in case.journal.read())
    flows = [t for t, flows, _ in case.rows if flows]
    assert not flows or max(flows) <= opened[0] + CONTROL_PERIOD_S
    for _ in range(500):
        case.rig.advance()
    assert case.at_rest() and max(flows, default=0.0) == max((t for t, f, _ in case.rows if f), default=0.0)
    attempt = last_attempt(case.journal.read())
    if flows:
        # also where the device went off by itself before anybody asked; after the stroke any moment will do
        stop_s = min(attempt.stop_s, 0.75 * SECONDS)
        assert stop_s == pytest.approx(max(flows) - attempt.zero_s, abs=0.05)


def test_an_interlock_that_opens_while_it_retracts_stops_the_arm(cell, tmp_path):
    case = Case(cell, tmp_path, request=_pause_at(1.5), retractor=_retractor(cell))
    retracting = []

    def open_it(time_s, position, tool):
        if case.told[-1] == "retracting":
            retracting.append(time_s)
            if len(retracting) == 10:
                case.sim.set_safety(interlock_closed=False)

    case.rig.listeners.append(open_it)
    with pytest.raises(PausedError, match="stays where it is: "):
        case.run.run("t")
    assert case.told[-1] == "paused" and case.at_rest() and 10 <= len(retracting) < 60


def test_an_abort_while_it_retracts_is_a_fault_and_stops(cell, tmp_path):
    abort = DeviceError("aborted: test")

    def request(case):
        if case.told and case.told[-1] == "retracting":
            return abort
        return _pause_at(1.5)(case)

    case = Case(cell, tmp_path, request=request, retractor=_retractor(cell))
    with pytest.raises(DeviceError, match="aborted: test"):
        case.run.run("t")
    assert case.told[-2:] == ["retracting", "faulted"] and case.at_rest()


@pytest.mark.parametrize("pauses", [False, True])
def test_a_disk_that_is_full_stops_the_process_and_is_a_fault(cell, tmp_path, pauses):
    case = Case(cell, tmp_path, request=_pause_at(1.5) if pauses else lambda case: None)
    append = case.journal.append

    def full(event, **facts):
        if case.sim.time_s > (1.4 if pauses else 1.2) and (not pauses or event in ("stopped", "paused")):
            raise OSError(28, "No space left on device")
        append(event, **facts)

    case.journal.append = full
    with pytest.raises(OSError, match="No space left"):
        case.run.run("t")
    assert case.told[-1] == "faulted" and case.at_rest() and not case.rig.tool_state.armed
    assert case.last_flow_s < 1.7


def test_a_controller_that_says_nothing_is_not_trusted_with_a_motion(cell, tmp_path):
    case = Case(cell, tmp_path)
    start = case.rig.start

    def mute(*arguments):
        motion = start(*arguments)
        motion.zero_s = None
        return motion

    case.rig.start = mute
    with pytest.raises(DeviceError, match=r"no feedback for 2\.0"):
        case.run.run("t")
    assert case.told[-1] == "faulted" and case.at_rest()
    # what may have begun meanwhile is on disk as begun
    assert [e["stroke"] for e in case.journal.read() if e["event"] == "begin"] == [0]
    assert FEEDBACK_WAIT_S == 2.0


@pytest.mark.parametrize(
    "asked_s, off_s, end_s",
    [
        (5.0, 5.02, 5.02),  # the device took its time
        (5.0, 4.6, 4.6),  # it had gone off by itself
        (5.0, -50.0, 4.0),  # it never came on
        (2.0, -50.0, 2.0),  # before the first stroke
        (9.0, 7.98, 9.0),  # after the last, where the path had switched it off
    ],
)
def test_when_the_process_was_really_off(asked_s, off_s, end_s):
    events = [ProcessEvent(time_s=4.0, name="on"), ProcessEvent(time_s=8.0, name="off")]
    assert process_end_s(asked_s, off_s, events) == end_s


class _PowerLossError(BaseException):
    """Nothing runs after it."""


def test_what_was_executed_is_on_disk_when_the_power_goes_and_never_ahead_of_the_journal(cell, tmp_path):
    def power(case):
        if case.rig.sim.trajectory_status()[1] >= 2.6:
            raise _PowerLossError

    case = Case(cell, tmp_path, request=power)
    with pytest.raises(_PowerLossError):
        case.run.run("t")
    attempt = last_attempt(case.journal.read())
    log = executed_log(tmp_path, 0)
    assert log is not None and not (tmp_path / "executed_0.npz").exists()
    last_s = float(log["time_s"][-1]) - attempt.zero_s
    assert attempt.told == "nobody" and attempt.stop_s - 0.01 <= last_s <= attempt.stop_s + 1e-9
    assert 2.6 - 0.6 < last_s < 2.7
    assert acted_until_s(log, attempt.zero_s) == pytest.approx(last_s, abs=0.01)
    pose = cell.robot.forward(log["position_rad"][-1], "gun_tcp")
    np.testing.assert_allclose(log["T_base_tcp"][-1], pose, atol=1e-12)
    case.log.write()
    whole = executed_log(tmp_path, 0)
    assert whole is not None and len(whole["time_s"]) > len(log["time_s"])
    assert not (tmp_path / "executed_0.rows").exists()
