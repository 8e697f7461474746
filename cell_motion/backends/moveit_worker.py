"""MoveIt in a process of its own: `plan` holds Python's lock, and its teardown may abort the process it is in."""

import faulthandler
import os
import subprocess
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from cell_core.errors import CellError, DeviceError
from cell_core.ros_environment import free_domain_id, ros_environment

START_S = 60.0
ANSWER_S = 60.0
TOLD_LINES = 3
STOP_S = 5.0
END_S = 8.0


class MoveItProcess:
    """A MoveItSession behind a pipe; methods are called by name."""

    def __init__(self, arguments: Mapping[str, Any], *, domain_id: int | None = None) -> None:
        """Start the process and MoveIt in it.

        Args:
            arguments: of MoveItSession.
            domain_id: ROS domain to work in; None: one that nobody else uses, where nobody can change the scene.

        Raises:
            CellError: MoveIt did not start; says why.
        """
        environment = ros_environment(free_domain_id() if domain_id is None else domain_id)
        if domain_id is None:
            environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self._folder = tempfile.TemporaryDirectory(prefix="cell_moveit_", ignore_cleanup_errors=True)
        environment["ROS_LOG_DIR"] = self._folder.name
        self._log = Path(self._folder.name) / "moveit.log"
        ours, theirs = Pipe()
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "cell_motion.backends.moveit_worker", str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        theirs.close()
        self._link = ours
        self._close = weakref.finalize(self, _end, self._child, ours, self._folder)
        try:
            self._ask(START_S, "", **arguments)
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any, wait_s: float = ANSWER_S) -> Any:
        """Call a method of the session and return its answer.

        Raises:
            CellError: the session's own, or DeviceError where the process died or does not answer.
        """
        return self._ask(wait_s, method, *arguments)

    def log(self, *levels: str) -> list[str]:
        """Return what MoveIt wrote, or only lines of these levels ("ERROR", "WARN", ...)."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.is_file() else []
        return [line for line in lines if not levels or any(f"[{level}]" in line for level in levels)]

    def close(self) -> None:
        """End the process."""
        self._close()

    def _ask(self, wait_s: float, method: str, *arguments: Any, **named: Any) -> Any:
        end = time.monotonic() + wait_s
        try:
            self._link.send((method, arguments, named))
            while not self._link.poll(0.5):
                if time.monotonic() > end:
                    words = self._last_words()
                    self.close()
                    raise DeviceError(f"moveit: no answer to {method or 'start'} within {wait_s:g} s{words}")
            good, answer = self._link.recv()
        except (OSError, EOFError) as error:
            words = self._last_words()
            self.close()
            raise DeviceError(f"moveit: its process ended in {method or 'start'}{words}") from error
        if good:
            return answer
        raise answer

    def _last_words(self) -> str:
        lines = (self.log("ERROR", "FATAL") or self.log())[-TOLD_LINES:]
        return f": {' | '.join(lines)}" if lines else ""


def _end(child: subprocess.Popen[bytes], link: Connection, folder: Any) -> None:
    link.close()
    try:
        # what it runs is stopped before it goes
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    folder.cleanup()


def serve(link: Connection) -> None:
    """Answer calls until the other side closes."""
    from cell_motion.backends.moveit_session import MoveItSession

    session: Any = None
    while True:
        try:
            method, arguments, named = link.recv()
        except (EOFError, OSError):
            if session is not None:
                session.stop(STOP_S)
            return
        try:
            if method:
                answer = getattr(session, method)(*arguments)
            else:
                session, answer = MoveItSession(**named), None
            link.send((True, answer))
        except CellError as error:
            link.send((False, error))
        except Exception as error:
            traceback.print_exc()
            link.send((False, DeviceError(f"moveit: {method or 'start'}: {type(error).__name__}: {error}")))


def main() -> None:
    """Serve on the file descriptor named on the command line."""
    faulthandler.enable()
    with Connection(int(sys.argv[1])) as link:
        serve(link)
    # the usual end would take MoveItPy down, which may abort
    os._exit(0)


if __name__ == "__main__":
    main()
