"""One job walked through its steps; every step leaves its folder finished or not at all."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cell_interfaces.action import ExecuteProcess, InspectPart, PlanMotion, PlanToolPath, ScanPart
from cell_interfaces.msg import JobState, StepSummary

from cell_core.config import JobConfig
from cell_core.errors import AcceptanceError, CellError, InputRefusedError
from cell_core.files import read_json, sha256
from cell_core.jobs import JobFolder
from cell_core.resume import Attempt, Journal, last_attempt, remaining_toolpath
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory
from cell_nodes.action_work import Cancelled
from cell_nodes.clients import PausedError

REMAINING = "remaining.json"
SIMULATED_STATE = "sim_state.json"
ZERO_TOLERANCE_S = 0.1


class RejectedError(CellError):
    """The operator said no."""

    exit_code = 130


class Host(Protocol):
    """What a job run needs of its node."""

    def call(self, server: str, goal: Any, step: str) -> Any: ...
    def state(self, status: int, step: str, message: str, progress: float = 0.0) -> None: ...
    def finished(self, summary: StepSummary) -> None: ...
    def wait_for_approval(self, message: str) -> str: ...
    def wait_for_resume(self, message: str) -> None: ...
    def positions_rad(self) -> list[float]: ...


class JobRun:
    """Walks one job folder through scan, plan, approval, motion, execution and inspection.

    A finished step whose inputs are unchanged is skipped. A process that began never starts again by itself: what its
    journal shows as run is taken out of the tool path, and the rest needs a new approval.
    """

    def __init__(self, folder: JobFolder, host: Host) -> None:
        self._job = folder
        self._host = host
        self.config: JobConfig = folder.config
        self.step = "scan"
        self._journal = Journal(folder.step("execution") / "journal.jsonl")

    def run(self, *, resume: bool) -> bool:
        """Run what is left to do and return whether the part is accepted.

        Raises:
            InputRefusedError: the process began before and `resume` is not asked for, or its plan changed since.
        """
        job = self._job
        before = self._attempt()
        if before is not None and not resume:
            raise InputRefusedError(f"{job.path}: the process of this job began before; resume it or start a new job")
        if before is not None and not (job.is_finished("scan") and job.is_finished("plan")):
            raise InputRefusedError(f"{job.path}: scan or plan changed after the process began; start a new job")
        self._do("scan", [job.path / "job.yaml"], self._scan)
        self._do("plan", [job.path / "job.yaml", self._surface], self._plan)
        while not self._process_done():
            try:
                self._process()
            except PausedError as pause:
                self.step = "execution"
                self._host.wait_for_resume(str(pause))
        return self._inspect()

    @property
    def _surface(self) -> Path:
        return self._job.step("scan") / "surface.ply"

    def _do(self, step: str, inputs: list[Path], action: Callable[[], StepSummary]) -> None:
        """Run one step unless it is finished and unchanged; start in an empty folder, end with a manifest."""
        self.step = step
        job = self._job
        if job.is_finished(step):
            self._host.state(JobState.RUNNING, step, "finished before", 1.0)
            return
        if step in ("scan", "plan"):
            job.clear(step)
        job.step(step).mkdir(parents=True, exist_ok=True)
        self._host.state(JobState.RUNNING, step, "started")
        start = time.monotonic()
        summary = action()
        seconds = time.monotonic() - start
        job.finish(step, inputs, seconds, dict(zip(summary.names, summary.values, strict=True)))
        summary.step, summary.duration_s = step, seconds
        self._host.finished(summary)

    def _scan(self) -> StepSummary:
        goal = ScanPart.Goal(
            job_dir=str(self._job.path),
            cell=self.config.cell,
            recipe=self.config.recipe,
            folder=str(self._job.step("scan")),
        )
        return self._host.call("scan", goal, "scan").summary

    def _plan(self) -> StepSummary:
        goal = PlanToolPath.Goal(
            job_dir=str(self._job.path),
            surface_path=str(self._surface),
            recipe=self.config.recipe,
            cad_path=self.config.cad or "",
            folder=str(self._job.step("plan")),
        )
        return self._host.call(f"plan_{self.config.process}", goal, "plan").summary

    def _process_done(self) -> bool:
        """Whether the process has been run to its end; then its step is finished if a crash left that out."""
        attempt = self._attempt()
        if attempt is None:
            return False
        if attempt.stop_s != float("inf") and self._remaining(attempt) is not None:
            return False
        if not self._job.is_finished("execution"):
            self._finish_execution(0.0, {})
        return True

    def _attempt(self) -> Attempt | None:
        attempt = last_attempt(self._journal.read())
        if attempt is None or self.config.simulated_part is None or attempt.stop_s == float("inf"):
            return attempt
        # a simulator that was killed forgot what it did to its part after the last save; a real part remembers
        path = self._job.step("execution") / SIMULATED_STATE
        saved = read_json(path) if path.is_file() else {}
        zero_s = saved.get("zero_s")
        if attempt.zero_s is None or zero_s is None or abs(zero_s - attempt.zero_s) > ZERO_TOLERANCE_S:
            return replace(attempt, stop_s=0.0)
        return replace(attempt, stop_s=min(attempt.stop_s, max(float(saved["time_s"]) - zero_s, 0.0)))

    def _remaining(self, attempt: Attempt) -> ToolPath | None:
        run = self._job.step("execution") / f"run_{attempt.index}"
        toolpath = ToolPath.read(run / "toolpath.json")
        return remaining_toolpath(toolpath, JointTrajectory.read(run / "trajectory.json"), attempt.stop_s)

    def _process(self) -> None:
        attempt = self._attempt()
        toolpath_path = self._job.step("plan") / "toolpath.json"
        message = "plan is ready"
        motion = self._job.step("motion")
        if attempt is not None:
            rest = self._remaining(attempt)
            assert rest is not None
            shutil.rmtree(motion, ignore_errors=True)
            toolpath_path = motion / REMAINING
            rest.write(toolpath_path)
            message = f"continue a process that stopped at {attempt.stop_s:.1f} s: {len(rest.strokes)} strokes left"
        self.step = "plan"
        comment = self._host.wait_for_approval(message)
        Journal(self._job.path / "approvals.jsonl").append(
            "approved", toolpath_sha256=sha256(toolpath_path), comment=comment, unix_s=time.time()
        )
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
        return self._host.call("plan_motion", goal, "motion").summary

    def _execute(self, index: int) -> None:
        self.step = "execution"
        folder, motion = self._job.step("execution"), self._job.step("motion")
        run = folder / f"run_{index}"
        # what a later resume has to know about this run, whatever becomes of the motion folder
        run.mkdir(parents=True, exist_ok=True)
        for name in ("toolpath.json", "trajectory.json"):
            shutil.copyfile(motion / name, run / name)
        self._host.state(JobState.RUNNING, "execution", "started")
        start = time.monotonic()
        goal = ExecuteProcess.Goal(
            job_dir=str(self._job.path),
            trajectory_path=str(motion / "trajectory.json"),
            process=self.config.process,
            first_segment=0,
            last_segment=-1,
            folder=str(folder),
        )
        summary = self._host.call("execute_process", goal, "execution").summary
        seconds = time.monotonic() - start
        self._finish_execution(seconds, dict(zip(summary.names, summary.values, strict=True)))
        summary.step, summary.duration_s = "execution", seconds
        self._host.finished(summary)

    def _finish_execution(self, seconds: float, figures: dict[str, float]) -> None:
        self._job.finish("execution", [self._job.step("motion") / "trajectory.json"], seconds, figures)

    def _inspect(self) -> bool:
        result: list[bool] = []

        def inspect() -> StepSummary:
            goal = InspectPart.Goal(
                job_dir=str(self._job.path), recipe=self.config.recipe, folder=str(self._job.step("inspection"))
            )
            answer = self._host.call("inspect", goal, "inspection")
            result.append(bool(answer.passed))
            return answer.summary

        self._do("inspection", [self._journal.path, self._surface], inspect)
        return result[0] if result else bool(self._job.figures("inspection").get("passed", 0.0))


def outcome(error: Exception) -> tuple[str, int, int]:
    """Return state.json's status, the JobState constant and the exit code that an error stands for."""
    if isinstance(error, RejectedError):
        return "rejected", JobState.REJECTED, error.exit_code
    if isinstance(error, Cancelled):
        return "cancelled", JobState.CANCELLED, 130
    if isinstance(error, AcceptanceError):
        return "finished", JobState.FINISHED, error.exit_code
    return "failed", JobState.FAILED, error.exit_code if isinstance(error, CellError) else 1
