"""A seeded campaign of faults: what was injected, what the cell made of it, and whether any tick was unsafe.

A small part is planned and its process run on the simulated cell, by the functions that the execution node calls
(execution_run, execution_monitor, resume, remainder; only the middleware is left out), with one fault at a random
moment of the process: interlock, safety inputs, joint and tool states that stop, freeze, jump or turn NaN, controllers
that reject, abort, answer late or never, orders and messages that get lost or come late, sensors of force, spindle and
valve that lie, a full disk, clocks that jump, operators, and the power of the computer. faulty_rig.py judges every tick
of 4 ms by the simulated device's own state. A fault is *survived* where

- no tick was unsafe: the process on without interlock, ventilation, purge or arming, without a trajectory, or longer
  than the fault's bound; an arm that moves a second after it should stand;
- the error says what happened (or there is none, where the cell has to bear the fault);
- journal and truth agree on which strokes were done and which untouched;
- the rest, once the fault is mended, runs to its end and leaves the part as the undisturbed run does: CV within a
  point, mean within 2 %. Where the power went, unknown strokes wait for a decision; it is to leave them.

    cell bench faults
    N=60 cell bench faults                 so many faults instead of 500
    KINDS="power lost;disk full" SEED=7 cell bench faults
"""

import errno
import os
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bench_pauses import RETRACT_M, Task, execute, grind_task, mean_and_cv, spray_task
from faulty_rig import KINDS, FaultyRig, PowerLossError
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cell_core.config import load_named
from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import CellError
from cell_core.remainder import executed_log, remainder, write_stop
from cell_core.resume import Journal, last_attempt
from cell_core.stroke_status import StrokeStatuses, acted_until_s, stroke_statuses
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_motion.plan import MotionPlan
from cell_motion.planner import plan_process
from cell_nodes.execution_monitor import Nominal
from cell_nodes.execution_retract import Retractor
from cell_nodes.execution_run import Watch
from cell_nodes.execution_state import ExecutionState, StateMachine
from cell_simulation import SimulatedCell

CV_POINTS_MOST, MEAN_MOST = 1.0, 0.02
FULL = OSError(errno.ENOSPC, "No space left on device")


@dataclass
class Outcome:
    """One fault and what came of it."""

    kind: str
    process: str
    seed: int
    said: str = ""
    complaints: list[str] = field(default_factory=list)
    """Why it was not survived."""
    unsafe: list[str] = field(default_factory=list)
    undecided: int = 0
    """Strokes that wait for a decision of the operator: here, to leave what is not known of them."""
    cv_points: float | None = None


class FullJournal(Journal):
    """A journal whose disk is full from some moment on."""

    def __init__(self, path: Path, rig: FaultyRig) -> None:
        super().__init__(path)
        self._rig = rig

    def append(self, event: str, **facts: Any) -> None:
        """Write an entry, while there is room."""
        if self._rig.kind == "disk full" and self._rig.now_s >= self._rig.at_s:
            raise FULL
        super().append(event, **facts)


class Bench:
    """A task planned once, and run as often as there are faults."""

    def __init__(self, task: Task) -> None:
        self.task = task
        cell = task.cell
        self.plan = plan_process(cell, task.toolpath, task.part, cell.T_base_fixture)
        self.monitors = load_named(MonitorsConfig, "monitors", "default")
        self.nominal = Nominal.of(cell.tool(task.process).config)
        self.retractor = Retractor(cell, task.process, task.part, cell.T_base_fixture, RETRACT_M)
        trajectory = self.plan.trajectory
        self.spans_s = [
            (float(trajectory.time_s[s.i0]), float(trajectory.time_s[s.i1]))
            for s in trajectory.segments
            if s.kind == "process"
        ]
        self.whole: dict[int, Array] = {}

    def rig(self, seed: int) -> FaultyRig:
        """Return a fresh cell."""
        cell = self.task.cell
        sim = SimulatedCell(cell, self.task.part, cell.T_base_fixture, seed=seed)
        return FaultyRig(sim, self.monitors, self.nominal, cell.robot.velocity_rad_per_s)

    def undisturbed(self, seed: int) -> Array:
        """Return film or depth of the judged vertices without any fault [m]."""
        if seed not in self.whole:
            rig = self.rig(seed)
            with tempfile.TemporaryDirectory() as folder:
                self.run(rig, self.plan, Path(folder), 0)
            self.whole[seed] = self.change_of(rig)
        return self.whole[seed]

    def change_of(self, rig: FaultyRig) -> Array:
        """Return true film or depth of the judged vertices [m]."""
        return rig.sim.truth().fields["change_m"][: len(self.task.part.vertices_m)][self.task.judged]

    def run(self, rig: FaultyRig, plan: MotionPlan, folder: Path, index: int) -> None:
        """Run a plan as the execution node does.

        Raises:
            CellError, OSError, PowerLossError: what stopped it.
        """
        states = StateMachine()
        rig.retracting = lambda: states.state in (ExecutionState.RETRACTING, ExecutionState.PAUSED)
        rig.monitors.start()
        execute(
            self.task,
            rig,
            plan,
            folder,
            index,
            journal=FullJournal(folder / "journal.jsonl", rig),
            watch=Watch(fault=rig.fault, request=lambda: rig.requested, tell=lambda fraction, words: None),
            states=states,
            retractor=self.retractor,
            wall=rig.wall_s,
        )

    def inject(self, kind: str, seed: int) -> Outcome:
        """Run with a fault, mend it, run the rest, and judge."""
        outcome = Outcome(kind=kind, process=self.task.process, seed=seed)
        rng = np.random.default_rng([seed, list(KINDS).index(kind)])
        rig, truth_seed = self.rig(seed % 4), seed % 4
        start_s, end_s = self.spans_s[0][0], self.spans_s[-1][1]
        rig.break_at(kind, rig.now_s + float(rng.uniform(start_s - 0.3, end_s)), float(rng.uniform()))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._first(rig, folder, outcome)
            if not outcome.complaints and outcome.said:
                self._rest(rig, folder, outcome)
            outcome.unsafe = rig.unsafe
            if KINDS[kind].film and not outcome.complaints:
                self._film(rig, truth_seed, outcome)
        return outcome

    def _first(self, rig: FaultyRig, folder: Path, outcome: Outcome) -> None:
        wanted, kind = KINDS[outcome.kind].says, outcome.kind
        try:
            self.run(rig, self.plan, folder, 0)
        except PowerLossError:
            rig.after_power_loss()
            outcome.said = "power lost"
            _tear(folder / "journal.jsonl", rig)
        except (CellError, OSError) as error:
            outcome.said = str(error)
        if not outcome.said:
            if wanted and rig.now_s > rig.at_s and kind not in BORNE_BETWEEN:
                outcome.complaints.append("the fault was not noticed")
            return
        # a second and a half of nothing: whatever still runs or moves is seen by the judge
        for _ in range(375):
            rig.advance()
        if not wanted or not re.search(wanted, outcome.said):
            outcome.complaints.append(f"said {outcome.said!r}, wanted {wanted!r}")

    def _rest(self, rig: FaultyRig, folder: Path, outcome: Outcome) -> None:
        rig.mend()
        path = self._left(rig, folder, outcome)
        if path is None:
            return
        cell, part = self.task.cell, self.task.part
        try:
            plan = plan_process(cell, path, part, cell.T_base_fixture, start_rad=rig.sim.position_rad)
            self.run(rig, plan, folder, 1)
        except (CellError, OSError) as error:
            outcome.complaints.append(f"the rest does not run: {error}")

    def _left(self, rig: FaultyRig, folder: Path, outcome: Outcome) -> ToolPath | None:
        """Return what journal and log say is left, without the strokes of which nobody knows."""
        entries = Journal(folder / "journal.jsonl").read()
        attempt = last_attempt(entries)
        if attempt is None:
            return self.task.toolpath
        statuses = stroke_statuses(
            entries,
            stop_s=attempt.stop_s if attempt.known else None,
            acted_s=acted_until_s(executed_log(folder, attempt.index), attempt.zero_s),
        )
        if statuses is not None:
            self._agree(statuses, rig, outcome)
            outcome.undecided = len(statuses.unknown)
        rest = remainder(folder, attempt, leave_out=() if statuses is None else statuses.unknown)
        write_stop(folder, attempt, rest.stop)
        return rest.toolpath

    def _agree(self, statuses: StrokeStatuses, rig: FaultyRig, outcome: Outcome) -> None:
        """Compare with what the device really did: acted times of the truth."""
        acted = rig.acted_s(self.spans_s)
        for k in statuses.untouched:
            if acted[k] > 0.02:
                outcome.complaints.append(f"stroke {k + 1} acted {acted[k]:.2f} s, journal says untouched")
        for k in statuses.done:
            whole_s = self.spans_s[k][1] - self.spans_s[k][0]
            if acted[k] < 0.3 * whole_s:
                outcome.complaints.append(f"stroke {k + 1} acted {acted[k]:.2f} of {whole_s:.2f} s, journal says done")

    def _film(self, rig: FaultyRig, truth_seed: int, outcome: Outcome) -> None:
        if outcome.undecided:
            return
        areas_m2 = self.task.part.vertex_areas_m2[self.task.judged]
        (mean, cv), (mean_after, cv_after) = (
            mean_and_cv(areas_m2, change) for change in (self.undisturbed(truth_seed), self.change_of(rig))
        )
        outcome.cv_points = 100.0 * (cv_after - cv)
        if outcome.cv_points > CV_POINTS_MOST:
            outcome.complaints.append(f"CV {outcome.cv_points:+.2f} points of the undisturbed run")
        if abs(mean_after / mean - 1.0) > MEAN_MOST:
            outcome.complaints.append(f"mean {100.0 * (mean_after / mean - 1.0):+.1f} % of the undisturbed run")


BORNE_BETWEEN = (
    *("valve sticks shut", "valve leaks", "force biased", "force NaN", "force drops out", "spindle stalls"),
    *("disarm lost", "tool state stops", "node frozen", "disk full", "joint states stop", "joint states freeze"),
)
"""Faults that may strike so late that the run is over before they can be told."""


def _tear(path: Path, rig: FaultyRig) -> None:
    """Cut the journal's last line at random, as a power loss in the middle of a write does."""
    data = path.read_bytes() if path.is_file() else b""
    last = data.rfind(b"\n", 0, len(data) - 1) + 1
    if data and rig.sim.time_s % 0.008 < 0.004:
        path.write_bytes(data[: last + (len(data) - last) // 2])


def _tasks() -> list[Task]:
    return [spray_task(0.1, 0.02), grind_task(0.1, 0.01)]


def main() -> int:
    """Run the campaign."""
    n, seed0 = int(os.environ.get("N", "500")), int(os.environ.get("SEED", "0"))
    asked = os.environ.get("KINDS")
    kinds = [k for k in KINDS if asked is None or k in asked.split(";")]
    benches = {task.process: Bench(task) for task in _tasks()}
    cases = []
    for i in range(n):
        kind = kinds[i % len(kinds)]
        process = KINDS[kind].process or ("spray", "grind")[(i // len(kinds)) % 2]
        cases.append((kind, process, seed0 + i))
    started = time.process_time()
    outcomes = [
        benches[process].inject(kind, seed)
        for kind, process, seed in track(cases, "faults", console=Console(stderr=True), transient=True)
    ]
    report(outcomes)
    Console().print(f"{time.process_time() - started:.0f} CPU s")
    return 0 if all(not o.complaints and not o.unsafe for o in outcomes) else 1


def report(outcomes: list[Outcome]) -> None:
    """Print the table and every case that was not survived."""
    console = Console(width=180)
    table = Table("fault", "process", "injected", "survived", "lost", "unsafe", "undecided", "CV points: worst", "said")
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.kind].append(outcome)
    for kind, group in groups.items():
        lost = sum(bool(o.complaints or o.unsafe) for o in group)
        points = [o.cv_points for o in group if o.cv_points is not None]
        said = Counter(o.said for o in group if o.said).most_common(1)
        table.add_row(
            *(kind, " ".join(sorted({o.process for o in group})), str(len(group)), str(len(group) - lost), str(lost)),
            str(sum(bool(o.unsafe) for o in group)),
            str(sum(o.undecided for o in group)),
            f"{max(points):+.2f}" if points else "",
            said[0][0][:70] if said else "",
        )
    console.print(table)
    for o in outcomes:
        for words in (*o.complaints, *o.unsafe):
            console.print(f"LOST {o.kind} ({o.process}, seed {o.seed}): {words}", soft_wrap=True)
    lost = sum(bool(o.complaints or o.unsafe) for o in outcomes)
    unsafe = sum(bool(o.unsafe) for o in outcomes)
    console.print(
        f"injected {len(outcomes)}, survived {len(outcomes) - lost}, lost {lost}, with an unsafe tick {unsafe}"
    )


if __name__ == "__main__":
    sys.exit(main())
