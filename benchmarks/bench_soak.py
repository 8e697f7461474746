"""Random jobs one after the other in lock-step, as fast as they go: what grows.

Every job is a cell of its own (ten nodes and their supervisor come up and go down). After each: Fast DDS files in
/dev/shm, files in the temporary folder, processes left; and while it ran the largest resident memory and number of open
files of all its nodes together. Growth is the slope of these over the jobs of one kind, with twice its standard error.

    cell bench soak                    two hours
    MINUTES=10 SEED=2 cell bench soak
"""

import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "cell_nodes"))
from node_kit import dome, make_job
from supervised import RECIPE, Supervised

OPTIONS = ("--lockstep", "--rtf", "max", "--approve", "auto")
SHARED = Path("/dev/shm")
JOB_WAIT_S = 600.0
SAMPLE_S = 0.5
PROCESSES = {"spray": "quick", "grind": "grind_30um"}


@dataclass(frozen=True, kw_only=True)
class After:
    """What a job needed and left."""

    kind: str
    exit_code: int
    seconds: float
    memory_mib: float
    """Largest sum of the nodes' resident memory."""
    handles: int
    """Largest sum of their open files."""
    shared_files: int
    temporary_files: int
    processes: int


class Watch:
    """Samples the nodes of a run until it ends."""

    def __init__(self, run: Supervised) -> None:
        self.memory_mib, self.handles = 0.0, 0
        self._run, self._ending = run, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._ending.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ending.wait(SAMPLE_S):
            ready = next((e for e in list(self._run.events) if e["event"] == "ready"), None)
            if ready is None:
                continue
            pids = [*ready["nodes"].values(), self._run.process.pid]
            self.memory_mib = max(self.memory_mib, sum(_memory_mib(pid) for pid in pids))
            self.handles = max(self.handles, sum(_handles(pid) for pid in pids))


def _memory_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _handles(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _left_of(folder: Path) -> int:
    """Return how many processes speak of a job folder on their command line."""
    left = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            left += str(folder).encode() in path.read_bytes() and path.parent.name != str(os.getpid())
        except OSError:
            continue
    return left


def one_job(folder: Path, rng: np.random.Generator, scratch: Path) -> After:
    """Run a random job and look at what it left."""
    kind = str(rng.choice(sorted(PROCESSES)))
    recipe = str(scratch / "quick.yaml") if kind == "spray" else PROCESSES[kind]
    part = dome(radius_m=float(rng.uniform(0.1, 0.2)), height_m=float(rng.uniform(0.02, 0.05)))
    job = make_job(folder, part, process=kind, recipe=recipe, seed=int(rng.integers(1000)))
    temporary = scratch / "tmp"
    start = time.monotonic()
    run = Supervised(job.path, *OPTIONS)
    watch = Watch(run)
    code = run.finish(JOB_WAIT_S)
    watch.close()
    return After(
        kind=kind,
        exit_code=code,
        seconds=time.monotonic() - start,
        memory_mib=watch.memory_mib,
        handles=watch.handles,
        shared_files=sum(1 for p in SHARED.iterdir() if "fastdds" in p.name),
        temporary_files=sum(1 for _ in temporary.rglob("*")),
        processes=_left_of(folder),
    )


def slope(values: list[float]) -> str:
    """Return the slope per job with twice its standard error."""
    if len(values) < 4:
        return "too few jobs"
    x = np.arange(len(values), dtype=float)
    (a, _), covariance = np.polyfit(x, values, 1, cov=True)
    return f"{a:+.2f} ± {2.0 * np.sqrt(covariance[0, 0]):.2f} per job"


def main() -> int:
    """Run jobs until the time is over and print the table."""
    console = Console(width=180)
    minutes = float(os.environ.get("MINUTES", "120"))
    rng = np.random.default_rng(int(os.environ.get("SEED", "0")))
    done: list[After] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "quick.yaml").write_text(RECIPE)
        (scratch / "tmp").mkdir()
        os.environ["TMPDIR"] = str(scratch / "tmp")
        end = time.monotonic() + 60.0 * minutes
        while time.monotonic() < end:
            done.append(one_job(scratch / f"job_{len(done)}", rng, scratch))
            console.print(f"job {len(done)}: {done[-1]}", soft_wrap=True)
    table = Table(title=f"{len(done)} random jobs in lock-step")
    for column in (
        "kind",
        "jobs",
        "exit codes",
        "memory, MiB",
        "handles",
        "in /dev/shm",
        "temporary files",
        "processes left",
    ):
        table.add_column(column)
    for kind in sorted({d.kind for d in done}):
        of = [d for d in done if d.kind == kind]
        table.add_row(
            kind, str(len(of)), str(sorted({d.exit_code for d in of})),
            f"{max(d.memory_mib for d in of):.0f}, {slope([d.memory_mib for d in of])}",
            f"{max(d.handles for d in of)}, {slope([float(d.handles) for d in of])}",
            slope([float(d.shared_files) for d in of]), slope([float(d.temporary_files) for d in of]),
            str(sum(d.processes for d in of)),
        )  # fmt: skip
    console.print(table)
    bad = [d for d in done if d.exit_code != 0 or d.processes]
    return 1 if bad or not done else 0


if __name__ == "__main__":
    sys.exit(main())
