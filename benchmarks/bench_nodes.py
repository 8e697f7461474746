"""Nodes of a running cell killed or frozen at random moments, over DDS: what the cell made of it.

One job folder is run again and again; each run is cut short by a fault and is at once the resume of the one before.
A fault is survived where the run ends by itself, names the node, leaves no process behind, says that the device is off
and at rest (unless the device itself was hit), and the next run goes on; at the end the job is accepted and the true
film is that of an undisturbed job, its coefficient of variation within a point.

    cell bench nodes
    N=4 SEED=3 cell bench nodes                so many faults instead of 20
    KINDS=frozen NODES=job,scan cell bench nodes
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "cell_nodes"))
from node_kit import dome, make_job
from supervised import RECIPE, Supervised

from cell_core.files import read_json
from cell_core.jobs import JobFolder
from cell_core.ros_environment import clear_shared_memory
from cell_nodes.names import NODES

OPTIONS = ("--rtf", "4", "--approve", "auto")
WORKS_IN = {
    "robot_state_publisher": ("scan", "execution"),
    "scan": ("scan",),
    "spray_planner": ("plan",),
    "grinding_planner": ("execution",),
    "motion": ("scan", "motion"),
    "execution": ("scan", "execution"),
    "simulator": ("scan", "execution"),
    "job": ("scan", "plan", "motion", "execution"),
    "recorder": ("execution",),
    "inspection": ("inspection",),
}
"""Steps in which a fault of a node matters."""
STEPS = ("scan", "plan", "motion", "execution", "inspection")
KINDS = ("killed", "frozen", "halted")
"""SIGKILL; SIGSTOP; SIGSTOP and SIGCONT after HALT_S, which the cell has to bear."""
HALT_S = 1.0
LATEST_S = 3.0
"""A fault comes so long after its step began, at most [wall s]."""
END_WAIT_S = 180.0
CV_POINTS_MOST = 1.0


def cell_run(folder: Path, resume: bool) -> Supervised:
    """Start a run of the job."""
    return Supervised(folder, *OPTIONS, *(["--resume"] if resume else []))


def in_step(step: str) -> Callable[[dict[str, Any]], bool]:
    """Return what tells a step's first sign of life."""
    return lambda e: e["event"] in ("progress", "step") and e.get("step") == step


def strike(run: Supervised, node: str, kind: str, step: str, after_s: float) -> bool:
    """Let a fault happen in a step; return False where the run was over before."""
    try:
        run.until(in_step(step), END_WAIT_S)
        time.sleep(after_s)
        os.kill(run.pids[node], signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
        if kind == "halted":
            time.sleep(HALT_S)
            os.kill(run.pids[node], signal.SIGCONT)
    except (AssertionError, ProcessLookupError):
        return False
    return True


def complaints(run: Supervised, node: str, kind: str, code: int) -> list[str]:
    """Return what was wrong with how a run with a fault ended."""
    errors = [e for e in run.events if e["event"] == "error"]
    if kind == "halted":
        return [] if code in (0, 1) else [f"exit code {code}: {errors[-1]['message'] if errors else 'no word'}"]
    found = []
    if code == 0:
        found.append("exit code 0")
    if not any(node in e["message"] for e in errors):
        found.append(f"node not named: {[e['message'] for e in errors]}")
    for error in errors:
        if node != "simulator" and error.get("stopped") is False:
            found.append(f"device not off and at rest: {error['message']}")
    return found


def true_cv(folder: Path) -> float:
    """Return the true film's coefficient of variation, as the inspection wrote it."""
    verdict = read_json(JobFolder(path=folder).step("inspection") / "verdict.json")
    return float(verdict["truth"]["figures"]["cv"])


def asked(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the words of an environment variable, all that are known where it is empty."""
    return tuple(word for word in os.environ.get(name, "").split(",") if word) or tuple(known)


class Campaign:
    """Faults on one job after the other."""

    def __init__(self, scratch: Path, console: Console) -> None:
        self._scratch, self._console = scratch, console
        self._rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
        self._n = int(os.environ.get("N", "20"))
        self._kinds, self._nodes = asked("KINDS", KINDS), asked("NODES", NODES)
        self._struck = self._lost = self._spoilt = 0
        self._table = Table(title="nodes killed or frozen in a running cell, over DDS")
        for name in ("fault", "in step", "after, s", "ended in, s", "said", "complaints"):
            self._table.add_column(name)
        (scratch / "quick.yaml").write_text(RECIPE)

    def run(self) -> int:
        """Strike until there are enough; return 0 where all were survived."""
        plain = self._job("plain")
        if cell_run(plain, False).finish(END_WAIT_S) != 0:
            raise SystemExit("the undisturbed job failed")
        cv, jobs = true_cv(plain), 0
        while self._struck < self._n:
            jobs += 1
            self._spoil(self._job(f"job_{jobs}"), f"job {jobs}", cv)
        self._console.print(self._table)
        self._console.print(
            f"injected {self._struck}, survived {self._struck - self._lost}, lost {self._lost}; "
            f"jobs {jobs}, not made good {self._spoilt}; left in /dev/shm: {clear_shared_memory()}"
        )
        return 0 if self._lost == self._spoilt == 0 else 1

    def _job(self, name: str) -> Path:
        recipe = str(self._scratch / "quick.yaml")
        return make_job(self._scratch / name, dome(radius_m=0.2), recipe=recipe).path

    def _spoil(self, folder: Path, name: str, cv: float) -> None:
        """Strike a job in its steps until a run bears it to the end, and hold its film against the undisturbed one."""
        resume, code = False, -1
        for step in STEPS:
            nodes = [node for node in self._nodes if step in WORKS_IN[node]]
            if not nodes or self._struck >= self._n:
                continue
            code = self._strike(folder, resume, str(self._rng.choice(nodes)), step)
            resume = True
            if code == 0:
                break
        if code != 0:
            code = cell_run(folder, resume).finish(END_WAIT_S)
        points = 100.0 * abs(true_cv(folder) - cv) if code == 0 else float("inf")
        good = points <= CV_POINTS_MOST
        self._spoilt += not good
        said = "accepted" if code == 0 else f"exit code {code}"
        self._table.add_row(name, "", "", "", said, "" if good else f"CV {points:.2f} points off")

    def _strike(self, folder: Path, resume: bool, node: str, step: str) -> int:
        """Run with a fault in a step; return the exit code, -1 where the run did not end."""
        kind, after_s = str(self._rng.choice(self._kinds)), float(self._rng.uniform(0.0, LATEST_S))
        run = cell_run(folder, resume)
        hit, begun = strike(run, node, kind, step, after_s), time.monotonic()
        try:
            code = run.finish(END_WAIT_S)
            wrong = complaints(run, node, kind, code) if hit else []
        except Exception as error:
            code, wrong = -1, [f"did not end: {type(error).__name__}: {error}"[:200]]
        if hit:
            self._struck += 1
            self._lost += bool(wrong)
            said = next((e["message"] for e in run.events if e["event"] == "error"), "accepted")
            ended_s = time.monotonic() - begun
            self._table.add_row(f"{node} {kind}", step, f"{after_s:.1f}", f"{ended_s:.0f}", said[:70], "; ".join(wrong))
            self._console.print(f"{self._struck}/{self._n} {node} {kind} in {step}: {said[:100]} {wrong or ''}")
        return code


def main() -> int:
    """Run the campaign."""
    with tempfile.TemporaryDirectory() as folder:
        return Campaign(Path(folder), Console(width=200)).run()


if __name__ == "__main__":
    sys.exit(main())
