"""Which strokes of a run were done, half done or untouched, as journal and log tell; what can be decided of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError

Status = Literal["done", "half_done", "unknown", "untouched"]
Choice = Literal["leave", "again", "rescan"]
CHOICES: Mapping[Choice, str] = {
    "leave": "leave out what is not known of them",
    "again": "run them on from where they were last known to have been, which may double",
    "rescan": "run nothing more of this path: scan the part again and go by what is missing",
}


@dataclass(frozen=True, kw_only=True)
class StrokeStatuses:
    """How far each stroke of a run came, by the number it has in that run."""

    done: tuple[int, ...] = ()
    half_done: tuple[int, ...] = ()
    """Begun, and it is known where the process stopped: what is left of them can be run."""
    unknown: tuple[int, ...] = ()
    """Begun or about to begin when the record breaks off: how far they came nobody knows."""
    untouched: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """One line for the operator, strokes counted from 1."""
        words = {
            "done": self.done,
            "half done": self.half_done,
            "perhaps half done, end not known": self.unknown,
            "untouched": self.untouched,
        }
        return "strokes " + (", ".join(f"{_spans(s)} {word}" for word, s in words.items() if s) or "not told")

    @property
    def facts(self) -> dict[str, list[int]]:
        """For state.json, strokes counted from 1."""
        parts = {"done": self.done, "half_done": self.half_done, "unknown": self.unknown, "untouched": self.untouched}
        return {name: [k + 1 for k in strokes] for name, strokes in parts.items()}


def stroke_statuses(
    entries: Sequence[Mapping[str, Any]], *, stop_s: float | None, acted_s: float = 0.0
) -> StrokeStatuses | None:
    """Return how far the strokes of a journal's last run came; None when no run was begun.

    A begin is on disk before the stroke begins, an end after it has ended. So a stroke without a begin is untouched,
    and one with a begin and no end is half done: where the stop is known up to there, and otherwise nobody knows.

    Args:
        entries: the journal's, in order.
        stop_s: path time at which the process went off, where that is known [s]; None: the power went, or the device
            never said.
        acted_s: path time up to which something else tells that the process acted, such as the log [s].
    """
    starts = [i for i, entry in enumerate(entries) if entry["event"] == "start"]
    if not starts:
        return None
    run = entries[starts[-1] :]
    n = int(run[0].get("strokes", 0))
    if any(entry["event"] == "done" for entry in run):
        return StrokeStatuses(done=tuple(range(n)))
    begun = {int(e["stroke"]): float(e["path_time_s"]) for e in run if e["event"] == "begin"}
    ended = {int(e["stroke"]) for e in run if e["event"] == "end"}
    found: dict[Status, list[int]] = {"done": [], "half_done": [], "unknown": [], "untouched": []}
    for k in range(n):
        found[_status(k, begun, ended, stop_s)].append(k)
    if acted_s > 0.0 and stop_s is None:
        # whatever acted longer than the journal says may have come to any stroke that it says nothing of
        last_s = max((float(e["path_time_s"]) for e in run if e["event"] in ("end", "progress", "begin")), default=0.0)
        if acted_s > last_s:
            found["unknown"] += found["untouched"]
            found["untouched"] = []
    return StrokeStatuses(**{name: tuple(strokes) for name, strokes in found.items()})


def _status(k: int, begun: Mapping[int, float], ended: set[int], stop_s: float | None) -> Status:
    if k in ended:
        return "done"
    if k not in begun:
        return "untouched"
    if stop_s is None:
        return "unknown"
    return "half_done" if stop_s > begun[k] else "untouched"


def acted_until_s(log: Mapping[str, NDArray] | None, zero_s: float | None) -> float:
    """Return the path time at which a log last saw the process act [s]: 0 where it never did.

    Infinite where it did, at a path time that nobody can tell.
    """
    if log is None:
        return 0.0
    value = np.asarray(log["process_value"], float)
    acts = np.asarray(log["on"], bool) & (value > 0.0)
    if not acts.any():
        return 0.0
    return float("inf") if zero_s is None else float(np.asarray(log["time_s"], float)[acts].max() - zero_s)


def checked_choice(word: str, process: str) -> Choice:
    """Return what an operator decided about strokes whose end is not known.

    Raises:
        InputRefusedError: none of the choices; says which there are.
    """
    known = choices_for(process)
    for choice in known:
        if word.strip().lower() == choice:
            return choice
    raise InputRefusedError(f"decision {word!r}: must be one of {', '.join(known)}")


def choices_for(process: str) -> tuple[Choice, ...]:
    """Return the choices there are: a film cannot be scanned."""
    return ("leave", "again", "rescan") if process == "grind" else ("leave", "again")


def question(statuses: StrokeStatuses, process: str) -> str:
    """Return what the operator is asked."""
    ways = "; ".join(f"{choice!r}: {CHOICES[choice]}" for choice in choices_for(process))
    return f"the record of the process breaks off: {statuses.text}. None of them runs again by itself. Decide: {ways}"


def _spans(strokes: Sequence[int]) -> str:
    """Write 0, 1, 2, 4 as 1-3, 5."""
    spans: list[list[int]] = []
    for k in sorted(strokes):
        if spans and spans[-1][1] == k - 1:
            spans[-1][1] = k
        else:
            spans.append([k, k])
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in spans)
