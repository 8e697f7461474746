"""What of a process is left after a run, and what was run of it, from its folder: execution/ of a job.

run_<n>/ holds toolpath.json and trajectory.json as run n got them, and stop.json once it is known where it stopped;
executed_<n>.npz is what was heard of the device meanwhile, executed_<n>.rows the same as far as it was on disk when the
power went.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.executed_rows import read_rows
from cell_core.files import read_json, read_npz, write_json
from cell_core.resume import Attempt, remaining_toolpath
from cell_core.stop_point import StopPoint, stop_point
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory

STOP = "stop.json"
"""In a run's folder: where it stopped, where the rest was run later."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Remainder:
    """What is left after a run."""

    toolpath: ToolPath | None
    """None: nothing."""
    stop: StopPoint | None
    """Where the run broke off within a stroke; None: between strokes."""


def executed_log(execution: Path, index: int) -> Mapping[str, NDArray] | None:
    """Return the log of a run, or None where there is none that can be read.

    Where the run was not ended by its node, the rows that were on disk by then.
    """
    whole, rows = execution / f"executed_{index}.npz", execution / f"executed_{index}.rows"
    for path, read in ((whole, read_npz), (rows, read_rows)):
        try:
            if path.is_file():
                return read(path)
        except InputRefusedError:
            continue
    return None


def remainder(execution: Path, attempt: Attempt, *, leave_out: Collection[int] = ()) -> Remainder:
    """Return what an attempt left, and where it stopped as executed.

    Args:
        execution: the job's execution folder.
        leave_out: strokes of that run that somebody decided not to run again.
    """
    run = execution / f"run_{attempt.index}"
    toolpath, trajectory = ToolPath.read(run / "toolpath.json"), JointTrajectory.read(run / "trajectory.json")
    if attempt.stop_s == float("inf"):
        return Remainder(toolpath=None, stop=None)
    stop = stop_point(
        toolpath, trajectory, attempt.stop_s, zero_s=attempt.zero_s, log=executed_log(execution, attempt.index)
    )
    rest = remaining_toolpath(toolpath, trajectory, attempt.stop_s, stop=stop, leave_out=leave_out)
    return Remainder(toolpath=rest, stop=stop)


def write_stop(execution: Path, attempt: Attempt, stop: StopPoint | None) -> None:
    """Keep where a run stopped, for whoever computes what it left."""
    document = {"path_time_s": attempt.stop_s, "zero_s": attempt.zero_s, "known": attempt.known}
    if stop is not None:
        document |= {"stroke": stop.stroke, "at_m": stop.at_m, "source": stop.source}
    write_json(execution / f"run_{attempt.index}" / STOP, document)


def read_stop(run: Path) -> tuple[float, float | None, StopPoint | None]:
    """Return path time of the stop (infinite: it ran to its end), the device's time at path time 0, and the place."""
    path = run / STOP
    if not path.is_file():
        return float("inf"), None, None
    d = read_json(path)
    stop = StopPoint(stroke=d["stroke"], at_m=d["at_m"], source=d["source"]) if "at_m" in d else None
    return float(d["path_time_s"]), d.get("zero_s"), stop
