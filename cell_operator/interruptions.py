"""What interrupted a process: pauses, stops and power losses as its journal tells them, for report and command line."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cell_core.jobs import JobFolder
from cell_core.remainder import STOP, executed_log, read_stop
from cell_core.resume import Journal, last_attempt
from cell_core.stop_point import IDLE_SHARE
from cell_core.stroke_status import acted_until_s, stroke_statuses


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """One run of a process that did not come to its end."""

    run: int
    """Counted from 1."""
    reason: str
    stopped_s: float
    """When on the path's clock the process was off, or was last known to run [s]."""
    place: str
    """Where it stopped."""
    after: str
    """What the arm did then, what was decided, and what became of the strokes."""
    acted_after_stop_s: float | None
    """How long the log saw flow or force once it was off [s]; None without a log."""

    @property
    def text(self) -> str:
        """One sentence."""
        acted = "" if self.acted_after_stop_s is None else f"; flow or force after it: {self.acted_after_stop_s:.3f} s"
        return f"run {self.run}: {self.reason}, at {self.stopped_s:.2f} s, {self.place}; {self.after}{acted}"


def interruptions(job: JobFolder) -> list[Interruption]:
    """Return what interrupted the process of a job's cycle, in the order it happened."""
    entries = Journal(job.step("execution") / "journal.jsonl").read()
    starts = [i for i, entry in enumerate(entries) if entry["event"] == "start"]
    found = []
    for first, last in pairwise([*starts, len(entries)]):
        run = entries[first:last]
        attempt = last_attempt(run)
        if attempt is None or attempt.stop_s == float("inf"):
            continue
        log = executed_log(job.step("execution"), attempt.index)
        stopped = next((e for e in run if e["event"] == "stopped"), None)
        statuses = stroke_statuses(
            run, stop_s=attempt.stop_s if attempt.known else None, acted_s=acted_until_s(log, attempt.zero_s)
        )
        rest = next((e for e in run if e["event"] == "paused"), None)
        after = [statuses.text] if statuses is not None else []
        if rest is not None:
            moved = f"retracted {1e3 * rest['retracted_m']:.0f} mm" if rest["retracted_m"] else rest["remark"]
            after.insert(0, f"paused {time.strftime('%H:%M:%S', time.localtime(rest['unix_s']))}, {moved}")
        if attempt.decision is not None:
            after.append(f"decided: {attempt.decision}")
        place = _place(job, attempt.index) if attempt.known else "end not known"
        acted_s = None
        if log is not None and attempt.zero_s is not None and attempt.known:
            acted_s = _acted_after_s(log, attempt.zero_s + attempt.stop_s)
        found.append(
            Interruption(
                run=attempt.index + 1,
                reason=str(stopped["reason"]) if stopped is not None else "the record breaks off (power loss)",
                stopped_s=attempt.stop_s,
                place=place,
                after="; ".join(after),
                acted_after_stop_s=acted_s,
            )
        )
    return found


def _acted_after_s(log: Mapping[str, NDArray], off_s: float) -> float:
    """Return how long a log saw flow or force after the process was off [s].

    The reading that came with the switch itself is of the moment before; it counts no longer than it is repeated.
    """
    time_s, value = np.asarray(log["time_s"], float), np.asarray(log["process_value"], float)
    first = int(np.searchsorted(time_s, off_s, side="right"))
    if first >= len(time_s):
        return 0.0
    changed = np.logical_or.accumulate(value[first:] != value[first])
    acts = changed & (value[first:] > IDLE_SHARE * value.max(initial=0.0))
    return float(np.diff(time_s, prepend=time_s[0])[first:][acts].sum())


def _place(job: JobFolder, run: int) -> str:
    folder = job.step("execution") / f"run_{run}"
    if not (folder / STOP).is_file():
        return "place not told"
    stop = read_stop(folder)[2]
    if stop is None:
        return "between strokes"
    return f"stroke {stop.stroke + 1} at {1e3 * stop.at_m:.1f} mm (by its {stop.source})"
