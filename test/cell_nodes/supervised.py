"""A supervisor as a child process, its events, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
format: grind_spray_cell/recipe
version: 1
process: spray
name: quick
gun: hvlp_240
target_thickness_m: 50.0e-6
standoff_m: 0.20
scan: {voxel_m: 0.003, measured_area_fraction_min: 0.80, views_max: 7, frames_per_view: 1}
"""


STARTED: "list[Supervised]" = []


def end_all() -> None:
    """End whatever a failed test left running."""
    while STARTED:
        process = STARTED.pop().process
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()


class Supervised:
    """Runs `python -m cell_nodes.supervisor` on a job folder and reads its JSON lines."""

    def __init__(self, job_dir: Path, *options: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}
        environment["PYTHONPATH"] = str(ROOT)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cell_nodes.supervisor", str(job_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            # as a shell starts what it runs in the background
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        self.events: list[dict[str, Any]] = []
        STARTED.append(self)
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def until(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 120.0) -> dict[str, Any]:
        """Return the first event that is wanted; fail when the supervisor ends before."""
        end, seen = time.monotonic() + timeout_s, 0
        while True:
            with self._changed:
                while seen == len(self.events):
                    assert self._reader.is_alive(), f"supervisor ended: {self.events[-3:]}"
                    assert self._changed.wait(end - time.monotonic()), f"not seen in time; last: {self.events[-3:]}"
                event = self.events[seen]
            seen += 1
            if wanted(event):
                return event

    def answer(self, approve: bool) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"approve": approve}) + "\n")
        self.process.stdin.flush()

    @property
    def pids(self) -> dict[str, int]:
        return self.until(lambda e: e["event"] == "ready")["nodes"]

    def kill(self, node: str) -> None:
        os.kill(self.pids[node], signal.SIGKILL)

    def finish(self, timeout_s: float = 240.0) -> int:
        """Wait for the end, see that no child is left, and return the exit code."""
        try:
            code = self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        self._reader.join(5.0)
        ready = [e for e in self.events if e["event"] == "ready"]
        for name, pid in (ready[0]["nodes"] if ready else {}).items():
            assert (
                not Path(f"/proc/{pid}/cmdline").exists()
                or b"cell_nodes" not in Path(f"/proc/{pid}/cmdline").read_bytes()
            ), f"node {name} outlived its supervisor"
        return code
