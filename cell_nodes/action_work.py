"""Action servers whose work is one function in a thread of its own: feedback out, cancel in, one result."""

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from cell_interfaces.msg import StepSummary
from rclpy.action import ActionServer, CancelResponse, GoalResponse

from cell_core.errors import CellError, DeviceError
from cell_nodes.node_base import CellNode

EXIT_CANCELLED = 130
EXIT_UNEXPECTED = 1
FEEDBACK_PERIOD_S = 0.1


class Cancelled(Exception):
    """The goal's client asked to stop."""


class Work:
    """One goal being worked on: what the working function sees of ROS."""

    def __init__(self, handle: Any, feedback_type: Any) -> None:
        self.goal = handle.request
        self._handle = handle
        self._feedback_type = feedback_type
        self._step = ""
        self._last_s = 0.0

    @property
    def cancelled(self) -> bool:
        """Whether cancel was requested."""
        return bool(self._handle.is_cancel_requested)

    def check(self) -> None:
        """Raise Cancelled when cancel was requested."""
        if self.cancelled:
            raise Cancelled("cancelled")

    def progress(self, fraction: float, message: str, step: str | None = None) -> None:
        """Publish feedback, at most ten times a second and at every change of step; poll cancel."""
        self.check()
        now = time.monotonic()
        changed = step is not None and step != self._step
        if step is not None:
            self._step = step
        if changed or fraction >= 1.0 or now - self._last_s >= FEEDBACK_PERIOD_S:
            self._last_s = now
            self._handle.publish_feedback(
                self._feedback_type(step=self._step, progress=float(min(max(fraction, 0.0), 1.0)), message=message)
            )


class ActionWorker:
    """Serves one action, one goal at a time, with `work(Work) -> dict` of result fields in a worker thread.

    A refused or failed goal is answered by an aborted result whose `message` says why and whose `exit_code` is the
    command line's; a rejection would carry no reason.
    """

    def __init__(self, node: CellNode, action_type: Any, name: str, work: Callable[[Work], dict[str, Any]]) -> None:
        self._node = node
        self._type = action_type
        self._work = work
        self._busy = threading.Lock()
        self._server = ActionServer(
            node,
            action_type,
            name,
            execute_callback=lambda handle: self._type.Result(),
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            handle_accepted_callback=self._accepted,
        )

    def _accepted(self, handle: Any) -> None:
        # rclpy's executor spins at full load while a coroutine waits, so the work is a plain thread and
        # execute() is called when its result is there
        threading.Thread(target=self._run, args=(handle,), daemon=True, name="work").start()

    def _run(self, handle: Any) -> None:
        outcome, fields = self._outcome(handle)
        result = self._type.Result(**fields)

        def finish(goal_handle: Any) -> Any:
            if outcome == "succeed":
                goal_handle.succeed()
            elif outcome == "cancel" and goal_handle.is_cancel_requested:
                goal_handle.canceled()
            else:
                goal_handle.abort()
            return result

        handle.execute(finish)

    def _outcome(self, handle: Any) -> tuple[str, dict[str, Any]]:
        log = self._node.get_logger()
        if not self._busy.acquire(blocking=False):
            return "abort", failure(DeviceError(f"node {self._node.get_name()} is busy with another goal"))
        try:
            self._node.require_active()
            fields = self._work(Work(handle, self._type.Feedback))
            return "succeed", {"success": True, "exit_code": 0, "message": "", **fields}
        except Cancelled as error:
            log.info("cancelled")
            return "cancel", {"success": False, "exit_code": EXIT_CANCELLED, "message": str(error)}
        except CellError as error:
            log.error(str(error))
            return "abort", failure(error)
        except Exception as error:
            log.error(traceback.format_exc())
            message = f"{self._node.get_name()}: {type(error).__name__}: {error}"
            return "abort", {"success": False, "exit_code": EXIT_UNEXPECTED, "message": message}
        finally:
            self._busy.release()


def failure(error: CellError) -> dict[str, Any]:
    """Return the result fields that report an error."""
    return {"success": False, "exit_code": int(error.exit_code), "message": str(error)}


def summary(job_dir: str, step: str, seconds: float, figures: dict[str, Any], *, ok: bool = True) -> StepSummary:
    """Return a step summary; figures are numbers whose keys end in their unit (none: unit "1")."""
    numbers = {k: float(v) for k, v in figures.items() if isinstance(v, int | float | bool)}
    return StepSummary(
        job_dir=job_dir,
        step=step,
        ok=ok,
        duration_s=float(seconds),
        names=list(numbers),
        values=list(numbers.values()),
        units=[unit_of(name) for name in numbers],
    )


def unit_of(name: str) -> str:
    """Return the unit that a name's suffix tells."""
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            return unit
    return "1"


UNITS = {
    "_m3_per_s": "m3/s",
    "_m_per_s": "m/s",
    "_rad_per_s": "rad/s",
    "_rad_per_m": "rad/m",
    "_m2": "m2",
    "_m3": "m3",
    "_rad": "rad",
    "_m": "m",
    "_s": "s",
    "_n": "N",
    "_pa": "Pa",
}
