"""What is left of a process that stopped half-way: a journal that survives a crash, and the rest of its tool path."""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.stop_point import LEFT_MIN_M, StopPoint, cut, lengths_of, stop_point
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.trajectory import JointTrajectory, Segment

LEAD_M = 0.05
PASSED = ("end", "progress")
"""Entries whose path time was reached; a begin is written ahead of it."""


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
    told: Literal["device", "unconfirmed", "nobody"] = "device"
    """Who said when the process went off: the device; whoever stopped it, without a word of the device; or nobody, so
    that `stop_s` is the last that is known of it."""
    decision: str | None = None
    """What an operator decided about strokes whose end is not known (stroke_status.CHOICES)."""

    @property
    def known(self) -> bool:
        """Whether it is known when the process went off."""
        return self.told == "device"


def last_attempt(entries: Sequence[Mapping[str, Any]]) -> Attempt | None:
    """Return how far the journal's last attempt came; None when no process ever started.

    Entries: start {attempt}, running {zero_s}, begin (ahead of it) and end {stroke, path_time_s}, progress
    {path_time_s}, done, and stopped {path_time_s, confirmed}, the path time at which the process was really off;
    without it the last known time counts, and nobody knows what came after. decided {choice} is what an operator said
    about that.
    """
    starts = [i for i, entry in enumerate(entries) if entry["event"] == "start"]
    if not starts:
        return None
    run = entries[starts[-1] :]
    index = int(run[0]["attempt"])
    zero_s = next((float(e["zero_s"]) for e in run if e["event"] == "running"), None)
    if any(entry["event"] == "done" for entry in run):
        return Attempt(index=index, stop_s=float("inf"), zero_s=zero_s)
    stopped = [e for e in run if e["event"] == "stopped"]
    decision = next((str(e["choice"]) for e in run if e["event"] == "decided"), None)
    last_s = max((float(e["path_time_s"]) for e in run if "path_time_s" in e and e["event"] in PASSED), default=0.0)
    if not stopped:
        return Attempt(index=index, stop_s=last_s, zero_s=zero_s, told="nobody", decision=decision)
    return Attempt(
        index=index,
        stop_s=float(stopped[0]["path_time_s"]),
        zero_s=zero_s,
        told="device" if stopped[0].get("confirmed", True) else "unconfirmed",
        decision=decision,
    )


def remaining_toolpath(
    toolpath: ToolPath,
    trajectory: JointTrajectory,
    stop_s: float,
    *,
    stop: StopPoint | None = None,
    lead_m: float = LEAD_M,
    leave_out: Collection[int] = (),
) -> ToolPath | None:
    """Return the strokes not yet run when `trajectory` stopped at path time `stop_s`; None when nothing is left.

    A finished stroke is dropped. A half-run one is entered about `lead_m` before the place where it stopped, along its
    own path with the process off, so that speed is there when the process comes on at that very place; what it had to
    wait for is long over. Strokes not begun keep their wait, in full if the stop fell into it. No stroke may be tilted
    or shifted any more: that was done when the run was planned.

    Args:
        toolpath: what the trajectory runs; its segments count these strokes.
        stop_s: path time of the trajectory at which the process went off [s].
        stop: where on its stroke the process stopped, as executed; None: as the path's clock says.
        leave_out: strokes that somebody decided not to run again.
    """
    strokes: list[Stroke] = []
    stop = stop_point(toolpath, trajectory, stop_s) if stop is None else stop
    for segment, stroke in _process_segments(toolpath, trajectory):
        times_s = trajectory.time_s[segment.i0 : segment.i1 + 1]
        if stop_s >= times_s[-1] or segment.stroke in leave_out:
            continue
        half_run = stop is not None and stop.stroke == segment.stroke
        rest = _rest(stroke, stop.at_m, lead_m) if stop is not None and half_run else stroke
        if rest is not None:
            # these poses are what the arm was to run: tilted once more, the rest would leave something else
            strokes.append(replace(rest, freedom=Freedom(spin=rest.freedom.spin)))
    return replace(toolpath, strokes=strokes) if strokes else None


def strokes_run(
    toolpath: ToolPath, trajectory: JointTrajectory, stop_s: float, *, stop: StopPoint | None = None
) -> list[Stroke]:
    """Return what of a tool path was run when its trajectory stopped at path time `stop_s` [s]; infinite: all of it."""
    if stop_s == float("inf"):
        return list(toolpath.strokes)
    strokes: list[Stroke] = []
    stop = stop_point(toolpath, trajectory, stop_s) if stop is None else stop
    for segment, stroke in _process_segments(toolpath, trajectory):
        if stop_s >= trajectory.time_s[segment.i1]:
            strokes.append(stroke)
        elif stop is not None and stop.stroke == segment.stroke and stop.at_m > LEFT_MIN_M:
            if stop.at_m > stroke.length_m - LEFT_MIN_M:
                strokes.append(stroke)
                continue
            whole, after = cut(stroke, stop.at_m)
            on = whole.on.copy()
            on[after:] = False
            if on.any():
                strokes.append(replace(whole, on=on).part(0, after + 1))
    return strokes


def _process_segments(toolpath: ToolPath, trajectory: JointTrajectory) -> Iterator[tuple[Segment, Stroke]]:
    for segment in trajectory.segments:
        if segment.kind != "process":
            continue
        if segment.stroke is None or not 0 <= segment.stroke < len(toolpath.strokes):
            raise InputRefusedError(
                f"trajectory: segment of stroke {segment.stroke}, tool path has {len(toolpath.strokes)}"
            )
        yield segment, toolpath.strokes[segment.stroke]


def _rest(stroke: Stroke, at_m: float, lead_m: float) -> Stroke | None:
    if at_m > stroke.length_m - LEFT_MIN_M:
        return None
    if at_m < LEFT_MIN_M:
        return replace(stroke, wait_before_s=0.0)
    whole, after = cut(stroke, at_m)
    if not whole.on[after:].any():
        return None
    lengths = lengths_of(whole)
    start = int(np.clip(np.searchsorted(lengths, at_m - lead_m, side="right") - 1, 0, after - 1))
    on = whole.on.copy()
    on[:after] = False
    return replace(whole, on=on, wait_before_s=0.0).part(start, len(whole))
