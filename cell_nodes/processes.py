"""Child processes of one run of the cell: started with one environment, ended without leaving anything behind."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from cell_core.errors import DeviceError
from cell_core.ros_environment import clear_shared_memory, free_domain_id
from cell_nodes.names import NAMESPACE, SUPERVISOR_PID

PR_SET_PDEATHSIG = 1
TRIES = 50
INT_WAIT_S = 5.0


class NodeProcesses:
    """Nodes of the cell as children of this process; each dies with it (PR_SET_PDEATHSIG)."""

    def __init__(self, environment: Mapping[str, str], log_folder: Path) -> None:
        self._environment = dict(environment)
        self._logs = Path(log_folder)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, parameters: Mapping[str, object]) -> None:
        """Start `python -m cell_nodes.<name>`; its output goes to <log folder>/<name>.log."""
        self._logs.mkdir(parents=True, exist_ok=True)
        arguments = [sys.executable, "-m", f"cell_nodes.{name}", "--ros-args", "--log-level", "warn"]
        arguments += ["--enclave", f"{NAMESPACE}/{name}"]
        for key, value in parameters.items():
            arguments += ["-p", f"{key}:={_yaml(value)}"]
        environment = {**self._environment, SUPERVISOR_PID: str(os.getpid())}
        with (self._logs / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                arguments,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def pids(self) -> dict[str, int]:
        """Process ids of the children started, by node."""
        return {name: child.pid for name, child in self._children.items()}

    def dead(self) -> dict[str, str]:
        """Return the nodes that have ended, and how, in words."""
        return {name: _how(child.returncode) for name, child in self._children.items() if child.poll() is not None}

    def close(self) -> None:
        """End all children, SIGINT first and SIGKILL for those still there; then remove what they left in /dev/shm."""
        for number, wait_s in ((signal.SIGINT, INT_WAIT_S), (signal.SIGKILL, INT_WAIT_S)):
            living = [c for c in self._children.values() if c.poll() is None]
            for child in living:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(number)
            end = time.monotonic() + wait_s
            while any(c.poll() is None for c in living) and time.monotonic() < end:
                time.sleep(0.02)
        clear_shared_memory()


def _die_with_parent() -> None:
    ctypes.CDLL("libc.so.6", use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)  # keeps the point: an integer is refused for a double
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Iterable):
        return "[" + ", ".join(_yaml(v) for v in value) + "]"
    return str(value)


class DomainLease:
    """A ROS domain id that no process on this machine uses and no other run has taken, held until closed."""

    def __init__(self) -> None:
        folder = Path(tempfile.gettempdir()) / f"grind_spray_cell_{os.getuid()}"
        folder.mkdir(exist_ok=True)
        for _ in range(TRIES):
            domain = free_domain_id()
            handle = (folder / f"domain_{domain}.lock").open("w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.close()
                continue
            self.domain, self._handle = domain, handle
            return
        raise DeviceError(f"no free ROS domain found in {TRIES} tries")

    def close(self) -> None:
        """Give the domain back."""
        self._handle.close()
