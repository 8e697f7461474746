"""What is left of a process that stopped half-way: a journal that survives a crash, and the rest of its tool path."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory

LEAD_M = 0.05


class Journal:
    """Append-only JSON lines; an entry is on disk when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def append(self, event: str, **facts: Any) -> None:
        """Write one entry and fsync it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, **facts}, allow_nan=False)
        with self.path.open("ab") as f:
            # a line torn by a crash must not swallow this one
            f.write((b"\n" if _torn(self.path) else b"") + line.encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Return all whole entries in order; [] when there is no journal."""
        if not self.path.is_file():
            return []
        entries = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                entries.append(entry)
        return entries


def _torn(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as f:
        f.seek(-1, os.SEEK_END)
        return f.read(1) != b"\n"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The last run of a process as its journal tells it."""

    index: int
    """0 for the first run of the job's process."""
    stop_s: float
    """Path time at which the process stopped, or was last known to run [s]; infinite once it is done."""
    zero_s: float | None = None
    """The device's time at path time 0 [s]; None when the trajectory never started."""


def last_attempt(entries: Sequence[Mapping[str, Any]]) -> Attempt | None:
    """Return how far the journal's last attempt came; None when no process ever started.

    Entries: start {attempt}, begin and end {stroke, path_time_s}, progress {path_time_s}, done, and stopped
    {path_time_s}, the path time at which the process was really off; without it the last known time counts.
    """
    starts = [i for i, entry in enumerate(entries) if entry["event"] == "start"]
    if not starts:
        return None
    run = entries[starts[-1] :]
    index = int(run[0]["attempt"])
    zero_s = next((float(e["zero_s"]) for e in run if e["event"] == "running"), None)
    if any(entry["event"] == "done" for entry in run):
        return Attempt(index=index, stop_s=float("inf"), zero_s=zero_s)
    stopped = [float(e["path_time_s"]) for e in run if e["event"] == "stopped"]
    known = [float(e["path_time_s"]) for e in run if "path_time_s" in e]
    return Attempt(index=index, stop_s=stopped[0] if stopped else max(known, default=0.0), zero_s=zero_s)


def remaining_toolpath(
    toolpath: ToolPath, trajectory: JointTrajectory, stop_s: float, *, lead_m: float = LEAD_M
) -> ToolPath | None:
    """Return the strokes not yet run when `trajectory` stopped at path time `stop_s`; None when nothing is left.

    A finished stroke is dropped. A half-run one starts again at the last sample before the stop, after a run-up of
    about `lead_m` along its own path with the process off, so that speed is there when the process comes on; what it
    had to wait for is long over. Strokes not begun keep their wait, in full if the stop fell into it.

    Args:
        toolpath: what the trajectory runs; its segments count these strokes.
        stop_s: path time of the trajectory at which the process went off [s].
    """
    strokes: list[Stroke] = []
    for segment in trajectory.segments:
        if segment.kind != "process":
            continue
        if segment.stroke is None or not 0 <= segment.stroke < len(toolpath.strokes):
            raise InputRefusedError(
                f"trajectory: segment of stroke {segment.stroke}, tool path has {len(toolpath.strokes)}"
            )
        stroke = toolpath.strokes[segment.stroke]
        times_s = trajectory.time_s[segment.i0 : segment.i1 + 1]
        if stop_s >= times_s[-1]:
            continue
        rest = stroke if stop_s <= times_s[0] else _rest(stroke, times_s, stop_s, lead_m)
        if rest is not None:
            strokes.append(rest)
    return replace(toolpath, strokes=strokes) if strokes else None


def strokes_run(toolpath: ToolPath, trajectory: JointTrajectory, stop_s: float) -> list[Stroke]:
    """Return what of a tool path was run when its trajectory stopped at path time `stop_s` [s]; infinite: all of it."""
    if stop_s == float("inf"):
        return list(toolpath.strokes)
    strokes: list[Stroke] = []
    for segment in trajectory.segments:
        if segment.kind != "process" or segment.stroke is None:
            continue
        stroke = toolpath.strokes[segment.stroke]
        times_s = _times_of(stroke, trajectory.time_s[segment.i0 : segment.i1 + 1])
        stop = int(np.searchsorted(times_s, stop_s, side="right"))
        if stop >= 2:
            strokes.append(stroke.part(0, stop))
    return strokes


def _times_of(stroke: Stroke, times_s: np.ndarray) -> np.ndarray:
    """Return the path time of each sample of a stroke, from those of its segment (M,)."""
    if len(times_s) == len(stroke):
        return times_s
    # the trajectory is sampled otherwise: its segment lasts as long as the stroke, up to slowing
    return times_s[0] + stroke.times_s * (times_s[-1] - times_s[0]) / stroke.times_s[-1]


def _rest(stroke: Stroke, times_s: np.ndarray, stop_s: float, lead_m: float) -> Stroke | None:
    times_s = _times_of(stroke, times_s)
    stop = int(np.searchsorted(times_s, stop_s, side="right")) - 1
    if not stroke.on[stop:].any() or len(stroke) - stop < 2:
        return None
    travelled = np.r_[0.0, np.cumsum(stroke.step_lengths_m)]
    start = int(np.searchsorted(travelled, travelled[stop] - lead_m, side="right")) - 1
    start = min(max(start, 0), stop)
    on = stroke.on.copy()
    on[:stop] = False
    return replace(stroke, on=on, wait_before_s=0.0).part(start, len(stroke))
