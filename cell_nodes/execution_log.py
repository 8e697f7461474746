"""What was executed: joint positions and process values as heard, strokes begun and ended; kept in the job folder."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cell_core.executed_rows import append_rows
from cell_core.files import write_npz
from cell_core.resume import Journal
from cell_core.trajectory import JointTrajectory
from cell_nodes.messages import seconds

PROGRESS_PERIOD_S = 0.5
"""Wall time between progress entries in the journal [s]."""
AHEAD_S = 1.0
"""A stroke's begin is on disk so long before it: longer than a watch period, a slow disk and the device's dead man."""


class ExecutedLog:
    """Collects joint states while a process runs and writes them as execution/executed_<attempt>.npz.

    Arrays: time_s (N,), position_rad (N, J), T_base_tcp (N, 4, 4), on (N,), process_value (N,) in m3/s or N,
    spindle_power_w (N,). While the process runs the rows so far stand in executed_<attempt>.rows.
    """

    def __init__(self, path: Path, joint_names: Sequence[str], robot: Any, tcp_frame: str) -> None:
        """Start a log.

        Args:
            path: executed_<attempt>.npz, written by `write`.
            joint_names: in the order of the positions.
            robot: gives the tool frame's poses.
        """
        self.path, self._rows_path = Path(path), Path(path).with_suffix(".rows")
        self._names, self._robot, self._tcp_frame = list(joint_names), robot, tcp_frame
        self._rows: list[tuple[float, list[float]]] = []
        self._tool: list[tuple[float, bool, float, float]] = []
        self._kept = 0

    def add(self, joint_state: Any) -> None:
        """Add one joint state; one told again, as at rest in lock-step, is none."""
        time_s = seconds(joint_state.header.stamp)
        if not self._rows or time_s > self._rows[-1][0]:
            by_name = dict(zip(joint_state.name, joint_state.position, strict=True))
            self._rows.append((time_s, [by_name[n] for n in self._names]))

    def add_tool(self, tool_state: Any) -> None:
        """Add one tool state; it holds from its own stamp on, whenever it is heard."""
        self._add_tool(seconds(tool_state.header.stamp), tool_state)

    def add_row(self, time_s: float, position_rad: Sequence[float], tool_state: Any) -> None:
        """Add joint positions, in the log's order, and the tool state at a time of the device."""
        self._rows.append((time_s, list(position_rad)))
        self._add_tool(time_s, tool_state)

    def _add_tool(self, time_s: float, state: Any) -> None:
        value = state.force_n if state.tool == "grind" else state.flow_m3_per_s
        self._tool.append((time_s, bool(state.on), value, state.spindle_power_w))

    def keep_until(self, time_s: float) -> None:
        """Put the rows up to a time of the device on disk."""
        rows = self._rows[self._kept :]
        n = sum(1 for row in rows if row[0] <= time_s)
        if n:
            append_rows(self._rows_path, self._arrays(rows[:n]))
            self._kept += n

    def write(self) -> None:
        """Write all rows; those kept until then have done their duty."""
        write_npz(self.path, **self._arrays(list(self._rows)))
        self._rows_path.unlink(missing_ok=True)

    def _arrays(self, rows: Sequence[tuple[float, list[float]]]) -> dict[str, np.ndarray]:
        time_s = np.array([row[0] for row in rows], float)
        position = np.array([row[1] for row in rows], float).reshape(-1, len(self._names))
        # before the first word of it the tool is off
        tool = np.array([(-np.inf, False, 0.0, 0.0), *self._tool], float)
        on, value, power = tool[np.searchsorted(tool[:, 0], time_s, side="right") - 1, 1:].T
        return {
            "time_s": time_s,
            "position_rad": position,
            "T_base_tcp": self._robot.forward(position, self._tcp_frame) if len(rows) else np.zeros((0, 4, 4)),
            "on": on > 0.5,
            "process_value": value,
            "spindle_power_w": power,
        }


class StrokeJournal:
    """Writes each stroke's begin and end to the journal as path time passes."""

    def __init__(
        self,
        journal: Journal,
        trajectory: JointTrajectory,
        attempt: int,
        trajectory_sha256: str,
        *,
        log: ExecutedLog | None = None,
    ) -> None:
        """Begin a run's entries.

        Args:
            log: whose rows are put on disk with the journal's progress, never ahead of it.
        """
        self._journal, self._log = journal, log
        self._zero_s: float | None = None
        self._spans = [
            (float(trajectory.time_s[s.i0]), float(trajectory.time_s[s.i1]), int(s.stroke))
            for s in trajectory.segments
            if s.kind == "process" and s.stroke is not None
        ]
        self._begun = self._ended = 0
        self._path_s, self._wall_s, self._rate = 0.0, -1.0, 1.0
        """Path time last heard of, when it was new, and how fast it runs against the wall's."""
        self._next_s = 0.0
        journal.append("start", attempt=attempt, trajectory_sha256=trajectory_sha256, strokes=len(self._spans))

    @property
    def stroke(self) -> int:
        """Strokes come to so far."""
        return sum(1 for begin_s, _, _ in self._spans if self._path_s >= begin_s)

    @property
    def n_strokes(self) -> int:
        """Strokes of the trajectory."""
        return len(self._spans)

    def advance(self, path_time_s: float, wall_s: float) -> None:
        """Write what happened up to `path_time_s`, and which strokes begin within AHEAD_S of wall time.

        A stroke without a begin on disk was not touched, whenever the power goes.
        """
        silent_s = 0.0
        if wall_s >= 0.0:
            silent_s = max(wall_s - self._wall_s, 0.0) if self._wall_s >= 0.0 else 0.0
            if path_time_s > self._path_s or self._wall_s < 0.0:
                # a simulated clock may run faster than the wall's
                self._rate = max(self._rate, (path_time_s - self._path_s) / silent_s if silent_s > 0.0 else 1.0)
                self._wall_s, silent_s = wall_s, 0.0
        self._path_s = max(path_time_s, self._path_s)
        # while nothing is heard the arm may move on
        ahead_s = path_time_s + (AHEAD_S + silent_s) * self._rate
        while self._begun < len(self._spans) and ahead_s >= self._spans[self._begun][0]:
            begin_s, _, stroke = self._spans[self._begun]
            self._journal.append("begin", stroke=stroke, path_time_s=begin_s)
            self._begun += 1
        while self._ended < self._begun and path_time_s >= self._spans[self._ended][1]:
            _, end_s, stroke = self._spans[self._ended]
            self._journal.append("end", stroke=stroke, path_time_s=end_s)
            self._ended += 1
        if wall_s >= self._next_s:
            self._next_s = wall_s + PROGRESS_PERIOD_S
            self._journal.append("progress", path_time_s=float(path_time_s))
            if self._log is not None and self._zero_s is not None:
                self._log.keep_until(self._zero_s + float(path_time_s))

    def running(self, zero_s: float) -> None:
        """Write the machine time at which path time was 0, so that others can tell path time from stamps."""
        self._zero_s = zero_s
        self._journal.append("running", zero_s=zero_s)

    def stopped(self, path_time_s: float, reason: str, *, confirmed: bool = True) -> None:
        """Write that the process is off since `path_time_s`; not confirmed where the device did not say so."""
        # what was done before must be on disk before the stop is
        self.advance(path_time_s, -1.0)
        self._journal.append("stopped", path_time_s=float(max(path_time_s, 0.0)), reason=reason, confirmed=confirmed)

    def paused(self, reason: str, retracted_m: float, remark: str) -> None:
        """Write that the arm rests at a pause, how far it moved away from the part, and why not farther."""
        self._journal.append("paused", reason=reason, retracted_m=float(retracted_m), remark=remark, unix_s=time.time())

    def done(self) -> None:
        """Write that every stroke was run."""
        self.advance(float("inf") if not self._spans else self._spans[-1][1], -1.0)
        self._journal.append("done")
