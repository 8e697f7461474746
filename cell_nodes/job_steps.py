"""One job walked through its steps; every step leaves its folder finished or not at all."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cell_interfaces.action import ExecuteProcess, InspectPart, PlanMotion, PlanToolPath, ScanPart
from cell_interfaces.msg import JobState, StepSummary

from cell_core.config import JobConfig
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import read_json, sha256
from cell_core.jobs import SIMULATED_STATE, JobFolder, steps_of
from cell_core.remainder import Remainder, executed_log, remainder, write_stop
from cell_core.resume import Attempt, Journal, last_attempt
from cell_core.stroke_status import (
    StrokeStatuses,
    acted_until_s,
    checked_choice,
    choices_for,
    question,
    stroke_statuses,
)
from cell_nodes.job_outcome import Outcome
from cell_nodes.pausing import PausedError

REMAINING = "remaining.json"
ZERO_TOLERANCE_S = 0.1


class Host(Protocol):
    """What a job run needs of its node."""

    def call(self, server: str, goal: Any, step: str) -> Any: ...
    def state(self, status: int, step: str, message: str, progress: float = 0.0) -> None: ...
    def finished(self, summary: StepSummary) -> None: ...
    def wait_for_approval(self, message: str) -> str: ...
    def wait_for_decision(self, message: str, choices: Sequence[str]) -> str: ...
    def wait_for_resume(self, message: str) -> None: ...
    def positions_rad(self) -> list[float]: ...


class JobRun:
    """Walks one job folder through its scan and its cycles of plan, approval, check, motion, execution and inspection.

    A finished step whose inputs are unchanged is skipped. A process that began never starts again by itself: what its
    journal shows as run is taken out of the tool path, and the rest needs a new approval. A cycle's verdict says
    whether another one follows; each has a journal of its own and asks for approval anew.
    """

    def __init__(self, folder: JobFolder, host: Host) -> None:
        self._job = folder.in_cycle(1)
        self._host = host
        self.config: JobConfig = folder.config
        self.step = "scan"

    @property
    def folder(self) -> JobFolder:
        """The job in the cycle it is in."""
        return self._job

    def run(self, *, resume: bool) -> Outcome:
        """Run what is left to do and return how the job ended.

        Raises:
            InputRefusedError: the process began before and `resume` is not asked for, or its plan changed since.
        """
        self._refuse_what_began(resume)
        self._do("scan", [self._job.path / "job.yaml"], lambda: self._look("scan"))
        accepted = False
        while True:
            try:
                self._do("plan", self._plan_inputs, self._plan)
            except (InputRefusedError, ConfigurationError) as error:
                if self._job.cycle == 1:
                    raise
                done = self._job.cycle - 1
                return Outcome(accepted=accepted, cycles=done, stop="not_plannable", text=f"nothing to plan: {error}")
            while not self._process_done():
                try:
                    self._process()
                except PausedError as pause:
                    self.step = self._job.label("execution")
                    self._host.wait_for_resume(str(pause))
            verdict = self._inspected()
            accepted = bool(verdict["passed"])
            stop = verdict["stop"]
            if stop is not None:
                return Outcome(accepted=accepted, cycles=self._job.cycle, stop=stop["reason"], text=stop["text"])
            self._job = self._job.in_cycle(self._job.cycle + 1)

    def _refuse_what_began(self, resume: bool) -> None:
        job = self._job
        began = [cycle for cycle in job.cycles if last_attempt(_journal(cycle).read()) is not None]
        if not began:
            return
        if not resume:
            raise InputRefusedError(f"{job.path}: the process of this job began before; resume it or start a new job")
        needed = [(job, "scan"), *((cycle, "plan") for cycle in began)]
        needed += [(cycle, "inspection") for cycle in job.cycles if cycle.cycle < began[-1].cycle]
        changed = [cycle.label(step) for cycle, step in needed if not cycle.is_finished(step)]
        if changed:
            raise InputRefusedError(
                f"{job.path}: {' and '.join(changed)} changed after the process began; start a new job"
            )

    @property
    def _journal(self) -> Journal:
        return _journal(self._job)

    @property
    def _surface(self) -> Path:
        return self._job.looked_at / "surface.ply"

    def _do(self, step: str, inputs: list[Path], action: Callable[[], StepSummary]) -> None:
        """Run one step unless it is finished and unchanged; start in an empty folder, end with a manifest."""
        job, self.step = self._job, self._job.label(step)
        if job.is_finished(step):
            self._host.state(JobState.RUNNING, self.step, "finished before", 1.0)
            return
        if step in ("scan", "plan"):
            job.clear(step)
        job.step(step).mkdir(parents=True, exist_ok=True)
        self._host.state(JobState.RUNNING, self.step, "started")
        start = time.monotonic()
        summary = action()
        seconds = time.monotonic() - start
        job.finish(step, inputs, seconds, dict(zip(summary.names, summary.values, strict=True)))
        summary.step, summary.duration_s = self.step, seconds
        self._host.finished(summary)

    def _look(self, step: str) -> StepSummary:
        """Scan, rescan or check: which of them, the folder's name tells the scan node."""
        goal = ScanPart.Goal(
            job_dir=str(self._job.path),
            cell=self.config.cell,
            recipe=self.config.recipe,
            folder=str(self._job.step(step)),
        )
        return self._host.call("scan", goal, self.step).summary

    @property
    def _plan_inputs(self) -> list[Path]:
        rework = self._job.rework
        if rework is None:
            return [self._job.path / "job.yaml", self._surface]
        return [*sorted(p for p in rework.iterdir() if p.is_file()), self._surface]

    def _plan(self) -> StepSummary:
        rework = self._job.rework
        goal = PlanToolPath.Goal(
            job_dir=str(self._job.path),
            surface_path=str(self._surface),
            recipe=self.config.recipe if rework is None else str(rework / "recipe.yaml"),
            cad_path=self.config.cad or "",
            folder=str(self._job.step("plan")),
        )
        return self._host.call(f"plan_{self.config.process}", goal, self.step).summary

    def _process_done(self) -> bool:
        """Whether the process has been run to its end; then its step is finished if a crash left that out."""
        attempt = self._attempt()
        self._refuse_lost_record(attempt)
        if attempt is None:
            return False
        if attempt.stop_s != float("inf") and attempt.decision != "rescan":
            unknown = self._statuses(attempt).unknown
            if unknown and attempt.decision is None:
                return False
            if self._remaining(attempt, unknown).toolpath is not None:
                return False
        if not self._job.is_finished("execution"):
            self._finish_execution(0.0, {})
        return True

    def _refuse_lost_record(self, attempt: Attempt | None) -> None:
        """Refuse to run anything where more was executed than the journal knows of."""
        runs = -1 if attempt is None else attempt.index
        logs = [int(p.stem.rpartition("_")[2]) for p in self._job.step("execution").glob("executed_*.npz")]
        if max(logs, default=-1) > runs:
            raise InputRefusedError(
                f"{self._journal.path}: knows of {runs + 1} run(s), but executed_{max(logs)}.npz is there: it was cut "
                "short; nothing of this process is run again, start a new job on a new scan"
            )

    def _attempt(self) -> Attempt | None:
        attempt = last_attempt(self._journal.read())
        if attempt is None or self.config.simulated_part is None or attempt.stop_s == float("inf"):
            return attempt
        # a simulator that was killed forgot what it did to its part after the last save; a real part remembers
        path = self._job.in_cycle(1).step("execution") / SIMULATED_STATE[1]
        saved = read_json(path) if path.is_file() else {}
        zero_s = saved.get("zero_s")
        # its state says when a process that was stopped went off, whether it said so or not
        told = attempt.told if attempt.told == "nobody" else "device"
        if attempt.zero_s is None or zero_s is None or abs(zero_s - attempt.zero_s) > ZERO_TOLERANCE_S:
            return replace(attempt, stop_s=0.0, told=told)
        stop_s = min(attempt.stop_s, max(float(saved["time_s"]) - zero_s, 0.0))
        return replace(attempt, stop_s=stop_s, told=told)

    def _statuses(self, attempt: Attempt) -> StrokeStatuses:
        log = executed_log(self._job.step("execution"), attempt.index)
        found = stroke_statuses(
            self._journal.read(),
            stop_s=attempt.stop_s if attempt.known else None,
            acted_s=acted_until_s(log, attempt.zero_s),
        )
        assert found is not None
        return found

    @property
    def stroke_facts(self) -> dict[str, Any]:
        """What is known of the strokes of the cycle's last run, for state.json; {} before any began."""
        attempt = self._attempt()
        if attempt is None or attempt.stop_s == float("inf"):
            return {}
        found = self._statuses(attempt)
        return {"strokes": found.facts, "strokes_text": found.text, "stop_known": attempt.known}

    def _remaining(self, attempt: Attempt, unknown: Sequence[int]) -> Remainder:
        leave_out = unknown if attempt.decision == "leave" else ()
        return remainder(self._job.step("execution"), attempt, leave_out=leave_out)

    def _decided(self, attempt: Attempt) -> tuple[Attempt, StrokeStatuses]:
        """Ask an operator about strokes whose end nobody knows, once; return the attempt with what was decided."""
        statuses, process = self._statuses(attempt), self.config.process
        if attempt.decision is None and statuses.unknown:
            self.step = self._job.label("execution")
            answer = self._host.wait_for_decision(question(statuses, process), choices_for(process))
            choice = checked_choice(answer, process)
            self._journal.append(
                "decided", choice=choice, strokes=[k + 1 for k in statuses.unknown], unix_s=time.time()
            )
            attempt = replace(attempt, decision=choice)
        write_stop(self._job.step("execution"), attempt, self._remaining(attempt, statuses.unknown).stop)
        return attempt, statuses

    def _process(self) -> None:
        attempt = self._attempt()
        toolpath_path = self._job.step("plan") / "toolpath.json"
        message = "plan is ready"
        if self._job.cycle > 1:
            message = f"cycle {self._job.cycle}: plan for what is still missing is ready"
        motion = self._job.step("motion")
        if attempt is not None:
            attempt, statuses = self._decided(attempt)
            rest = self._remaining(attempt, statuses.unknown).toolpath
            if rest is None or attempt.decision == "rescan":
                return
            shutil.rmtree(motion, ignore_errors=True)
            toolpath_path = motion / REMAINING
            rest.write(toolpath_path)
            message = (
                f"continue a process that stopped at {attempt.stop_s:.1f} s: {statuses.text}; "
                f"{len(rest.strokes)} strokes left"
            )
        self.step = self._job.label("plan")
        comment = self._host.wait_for_approval(message)
        Journal(self._job.path / "approvals.jsonl").append(
            "approved",
            cycle=self._job.cycle,
            toolpath_sha256=sha256(toolpath_path),
            comment=comment,
            unix_s=time.time(),
        )
        # whatever was seen before the operator's word may be old
        shutil.rmtree(self._job.step("check"), ignore_errors=True)
        self._do("check", [self._surface], lambda: self._look("check"))
        self._do("motion", [toolpath_path, self._surface], lambda: self._motion(toolpath_path))
        index = 0 if attempt is None else attempt.index + 1
        self._execute(index)

    def _motion(self, toolpath_path: Path) -> StepSummary:
        goal = PlanMotion.Goal(
            kind=PlanMotion.Goal.PROCESS,
            job_dir=str(self._job.path),
            cell=self.config.cell,
            toolpath_path=str(toolpath_path),
            surface_path=str(self._surface),
            start_rad=self._host.positions_rad(),
            folder=str(self._job.step("motion")),
        )
        return self._host.call("plan_motion", goal, self.step).summary

    def _execute(self, index: int) -> None:
        self.step = self._job.label("execution")
        folder, motion = self._job.step("execution"), self._job.step("motion")
        run = folder / f"run_{index}"
        # what a later resume has to know about this run, whatever becomes of the motion folder
        run.mkdir(parents=True, exist_ok=True)
        for name in ("toolpath.json", "trajectory.json"):
            shutil.copyfile(motion / name, run / name)
        self._host.state(JobState.RUNNING, self.step, "started")
        start = time.monotonic()
        goal = ExecuteProcess.Goal(
            job_dir=str(self._job.path),
            trajectory_path=str(motion / "trajectory.json"),
            process=self.config.process,
            first_segment=0,
            last_segment=-1,
            folder=str(folder),
        )
        summary = self._host.call("execute_process", goal, self.step).summary
        seconds = time.monotonic() - start
        self._finish_execution(seconds, dict(zip(summary.names, summary.values, strict=True)))
        summary.step, summary.duration_s = self.step, seconds
        self._host.finished(summary)

    def _finish_execution(self, seconds: float, figures: dict[str, float]) -> None:
        self._job.finish("execution", [self._job.step("motion") / "trajectory.json"], seconds, figures)

    def _inspected(self) -> dict[str, Any]:
        """Return the cycle's verdict; scan the part again for it where that tells anything."""
        job = self._job
        inputs = [self._journal.path, self._surface]
        if not job.is_finished("inspection") and "rescan" in steps_of(self.config.process):
            self._do("rescan", [self._journal.path], lambda: self._look("rescan"))
            inputs.append(job.step("rescan") / "surface.ply")

        def inspect() -> StepSummary:
            goal = InspectPart.Goal(
                job_dir=str(job.path), recipe=self.config.recipe, folder=str(job.step("inspection"))
            )
            return self._host.call("inspect", goal, self.step).summary

        self._do("inspection", inputs, inspect)
        return {"stop": None, **read_json(job.step("inspection") / "verdict.json")}


def _journal(job: JobFolder) -> Journal:
    return Journal(job.step("execution") / "journal.jsonl")
