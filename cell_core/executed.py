"""What was executed, as strokes: time-stamped poses and process values turned back into what process models take."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, apply, inverse, unit

STEP_MIN_M = 0.0005
"""Rows nearer to the one before are merged with it: their time counts, their noise does not."""
LENGTH_MIN_M = 0.002
IDLE_SHARE = 0.02
"""Less than this share of the log's highest force or flow is none."""
ARRAYS = ("time_s", "T_base_tcp", "on", "process_value")


GAPS_QUANTILE = 0.95


def rows_apart_m(logs: Sequence[Mapping[str, NDArray]]) -> float:
    """Return how far apart along the path a log tells something new while the process acts, all but the widest [m].

    A row says something new when its process value differs from that of the row before: values come more slowly than
    poses, and one that is kept for a while lies in the wrong place.
    """
    steps = []
    for log in logs:
        value = np.asarray(log["process_value"], float)
        new = np.flatnonzero(np.r_[True, np.diff(value) != 0.0])
        acts = _acts(log)[new]
        position = np.asarray(log["T_base_tcp"], float)[:, :3, 3]
        travelled = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(position, axis=0), axis=1))]
        steps.append(np.diff(travelled[new])[acts[1:] & acts[:-1]])
    all_steps = np.concatenate(steps) if steps else np.zeros(0)
    return float(np.quantile(all_steps, GAPS_QUANTILE)) if len(all_steps) else float("inf")


def executed_strokes(
    logs: Sequence[Mapping[str, NDArray]], T_base_part: Array, kind: str = "area"
) -> tuple[Stroke, ...]:
    """Return a stroke (part frame) for every stretch of logs in which the process acted, in the order it ran.

    Time along each stroke is that of the log: speeds at the samples are the means of the steps beside them, scaled so
    that the stroke lasts as long as it lasted.

    Args:
        logs: rows of time_s (N,), T_base_tcp (N, 4, 4), on (N,), process_value (N,); one log per attempt.
        T_base_part: (4, 4).
        kind: what the strokes are said to be.

    Raises:
        InputRefusedError: an array is missing or of another length, or the process was never on.
    """
    strokes: list[Stroke] = []
    for log in logs:
        missing = [name for name in ARRAYS if name not in log]
        lengths = {len(log[name]) for name in ARRAYS if name in log}
        if missing or len(lengths) != 1:
            raise InputRefusedError(f"executed log: missing {missing}, lengths {sorted(lengths)}; wanted {ARRAYS}")
        turns = np.flatnonzero(np.diff(np.r_[False, _acts(log), False].astype(np.int8)))
        for start, stop in turns.reshape(-1, 2):
            stroke = _stroke(log, slice(start, stop), T_base_part, kind)
            if stroke is not None:
                strokes.append(stroke)
    if not strokes:
        raise InputRefusedError(f"executed log: the process was on over no path in {len(logs)} log(s)")
    return tuple(strokes)


def _acts(log: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    # a spindle runs on between strokes; without force or flow it does nothing
    value = np.asarray(log["process_value"], float)
    return np.asarray(log["on"], bool) & (value > IDLE_SHARE * value.max(initial=0.0))


def _stroke(log: Mapping[str, NDArray], rows: slice, T_base_part: Array, kind: str) -> Stroke | None:
    poses = np.asarray(log["T_base_tcp"], float)[rows]
    time_s = np.asarray(log["time_s"], float)[rows]
    position = apply(inverse(T_base_part), poses[:, :3, 3])
    kept = _apart(position, time_s)
    if len(kept) < 2:
        return None
    step_m, step_s = np.linalg.norm(np.diff(position[kept], axis=0), axis=1), np.diff(time_s[kept])
    if step_m.sum() < LENGTH_MIN_M:
        return None
    pace = step_m / step_s
    speed = np.r_[pace[0], 0.5 * (pace[:-1] + pace[1:]), pace[-1]]
    lasted = float((2.0 * step_m / (speed[:-1] + speed[1:])).sum())
    value = np.asarray(log["process_value"], float)[rows]
    turn = inverse(T_base_part)[:3, :3] @ poses[kept, :3, :3]
    return Stroke(
        kind=kind,  # type: ignore[arg-type]
        position_m=position[kept],
        tool_axis=unit(turn[:, :, 2]),
        travel=unit(turn[:, :, 0]),
        speed_m_per_s=speed * lasted / float(step_s.sum()),
        process_value=np.array([value[a : b + 1].mean() for a, b in zip(kept, np.r_[kept[1:], kept[-1]], strict=True)]),
        on=np.ones(len(kept), bool),
    )


def _apart(position_m: Array, time_s: Array) -> NDArray[np.int64]:
    """Return rows at least STEP_MIN_M and some time apart."""
    kept = [0] if len(position_m) else []
    for i in range(1, len(position_m)):
        if time_s[i] > time_s[kept[-1]] and np.linalg.norm(position_m[i] - position_m[kept[-1]]) >= STEP_MIN_M:
            kept.append(i)
    return np.array(kept, np.int64)
