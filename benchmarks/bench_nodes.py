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
from collections.abc import Callable
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


def campaign(scratch: Path, console: Console) -> int:
    """Run faults until there are enough, on as many jobs as it takes."""
    rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
    n = int(os.environ.get("N", "20"))
    kinds = tuple(k for k in os.environ.get("KINDS", "").split(",") if k) or KINDS
    nodes = tuple(k for k in os.environ.get("NODES", "").split(",") if k) or NODES
    (scratch / "quick.yaml").write_text(RECIPE)
    plain = make_job(scratch / "plain", dome(radius_m=0.2), recipe=str(scratch / "quick.yaml")).path
    if cell_run(plain, False).finish(END_WAIT_S) != 0:
        raise SystemExit("the undisturbed job failed")
    table = Table(title="nodes killed or frozen in a running cell, over DDS")
    for name in ("fault", "in step", "after, s", "ended in, s", "said", "complaints"):
        table.add_column(name)
    struck = lost = jobs = 0
    while struck < n:
        jobs += 1
        folder = make_job(scratch / f"job_{jobs}", dome(radius_m=0.2), recipe=str(scratch / "quick.yaml")).path
        resume = False
        for step in ("scan", "plan", "motion", "execution", "inspection"):
            if struck >= n:
                break
            node = str(rng.choice([k for k in nodes if step in WORKS_IN[k]] or ["-"]))
            kind, after_s = str(rng.choice(kinds)), float(rng.uniform(0.0, LATEST_S))
            if node == "-":
                continue
            run = cell_run(folder, resume)
            hit, begun = strike(run, node, kind, step, after_s), time.monotonic()
            try:
                code = run.finish(END_WAIT_S)
                wrong = complaints(run, node, kind, code) if hit else []
            except Exception as error:
                code, wrong = -1, [f"did not end: {type(error).__name__}: {error}"[:200]]
            resume = True
            if not hit:
                continue
            struck += 1
            lost += bool(wrong)
            said = next((e["message"] for e in run.events if e["event"] == "error"), "accepted")
            table.add_row(
                f"{node} {kind}", step, f"{after_s:.1f}", f"{time.monotonic() - begun:.0f}", said[:70], "; ".join(wrong)
            )
            console.print(f"{struck}/{n} {node} {kind} in {step}: {said[:100]} {wrong or ''}")
            if code == 0:
                break
        last = (
            cell_run(folder, resume).finish(END_WAIT_S)
            if JobFolder(path=folder).read_state()["status"] != "finished"
            else 0
        )
        points = 100.0 * abs(true_cv(folder) - true_cv(plain)) if last == 0 else float("inf")
        if last != 0 or points > CV_POINTS_MOST:
            lost += 1
            table.add_row(f"job {jobs}", "", "", "", f"exit code {last}", f"CV {points:.2f} points off")
        else:
            table.add_row(f"job {jobs}", "", "", "", "accepted", "")
    console.print(table)
    console.print(
        f"injected {struck}, survived {struck - lost}, lost {lost}; left in /dev/shm: {clear_shared_memory()}"
    )
    return 0 if lost == 0 else 1


def main() -> int:
    """Run the campaign."""
    with tempfile.TemporaryDirectory() as folder:
        return campaign(Path(folder), Console(width=200))


if __name__ == "__main__":
    sys.exit(main())
