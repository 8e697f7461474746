"""Call services and actions from worker threads: bounded waits, errors that name the server."""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from rclpy.node import Node
from unique_identifier_msgs.msg import UUID

from cell_core.errors import CellError, ConfigurationError, DeviceError, InputRefusedError
from cell_nodes.action_client import ActionClient
from cell_nodes.action_work import EXIT_CANCELLED, Cancelled
from cell_nodes.node_base import CellNode
from cell_nodes.pausing import PAUSED, PausedError

SERVER_WAIT_S = 10.0
ANSWER_WAIT_S = 10.0
CANCEL_WAIT_S = 15.0
POLL_S = 0.05

Watch = Callable[[], None]
"""Called while waiting; raises Cancelled to cancel the goal, or a CellError to give up on it."""


def wait(future: Any, timeout_s: float) -> bool:
    """Wait in a worker thread for a future that the executor completes; return whether it is done."""
    if future.done():
        return True
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    return done.wait(timeout_s) or future.done()


def call_service(
    client: Any, request: Any, *, timeout_s: float = ANSWER_WAIT_S, server_wait_s: float = SERVER_WAIT_S
) -> Any:
    """Return a service's response.

    Raises:
        DeviceError: no server within `server_wait_s`, or no answer within `timeout_s`.
    """
    if not client.wait_for_service(timeout_sec=server_wait_s):
        raise DeviceError(f"service {client.srv_name}: no server within {server_wait_s:g} s")
    future = client.call_async(request)
    if not wait(future, timeout_s):
        client.remove_pending_request(future)
        raise DeviceError(f"service {client.srv_name}: no answer within {timeout_s:g} s")
    return future.result()


class ActionCaller:
    """An action client that a worker thread can wait on."""

    def __init__(self, node: Node, action_type: Any, name: str) -> None:
        self.name = name
        self._client = ActionClient(node, action_type, name)

    def destroy(self) -> None:
        """Take the client off its node."""
        self._client.destroy()

    def send(
        self,
        goal: Any,
        on_feedback: Callable[[Any], None] | None = None,
        tries: int = 1,
        watch: Watch = lambda: None,
    ) -> Any:
        """Send a goal and return its handle once accepted.

        Args:
            goal: what to ask for.
            on_feedback: called with each feedback.
            tries: a middleware drops an answer whose reader its server has not discovered yet. The goal may be sent so
                many times under one identity: a server takes it once and refuses it again, so only for servers that
                refuse nothing else, as ActionWorker.
            watch: called many times a second meanwhile; what it raises is passed on, whatever the server does.

        Raises:
            DeviceError: no server, no answer, or goal rejected.
        """
        if not self._client.wait_for_server(timeout_sec=SERVER_WAIT_S):
            raise DeviceError(f"action {self.name}: no server within {SERVER_WAIT_S:g} s")
        forward = (lambda m: on_feedback(m.feedback)) if on_feedback else None
        identity, sent = UUID(uuid=list(uuid4().bytes)), []
        for _ in range(tries):
            sent.append(self._client.send_goal_async(goal, feedback_callback=forward, goal_uuid=identity))
            end = time.monotonic() + ANSWER_WAIT_S / tries
            while not wait(sent[-1], POLL_S) and time.monotonic() < end:
                watch()
            if sent[-1].done():
                break
        answers = [future.result() for future in sent if future.done()]
        if not answers:
            raise DeviceError(f"action {self.name}: goal not answered within {ANSWER_WAIT_S:g} s")
        if len(sent) == 1 and not answers[0].accepted:
            raise DeviceError(f"action {self.name}: goal rejected")
        return answers[0]

    def call(self, goal: Any, watch: Watch, on_feedback: Callable[[Any], None] | None = None) -> Any:
        """Run a goal to its end and return its result; `watch` is called many times a second meanwhile.

        Raises:
            Cancelled: watch raised it, the goal was cancelled and has ended.
            CellError: the result says failed; same kind of error as its exit code, same message.
        """
        handle = self.send(goal, on_feedback, tries=3)
        future = handle.get_result_async()
        try:
            while not wait(future, POLL_S):
                watch()
        except (Cancelled, CellError):
            handle.cancel_goal_async()
            wait(future, CANCEL_WAIT_S)
            raise
        result = future.result().result
        if not result.success:
            raise error_of(result.exit_code, result.message)
        return result


def error_of(exit_code: int, message: str) -> Exception:
    """Return the exception that a failed result stands for."""
    if exit_code == EXIT_CANCELLED:
        return Cancelled(message)
    kinds = {2: ConfigurationError, 3: InputRefusedError, 5: DeviceError, PAUSED: PausedError}
    return kinds.get(exit_code, CellError)(message)


class Peers:
    """When each node of the cell was last heard, in wall time."""

    def __init__(self, node: CellNode) -> None:
        from cell_interfaces.msg import Heartbeat

        from cell_nodes.node_base import STREAM

        self._last_s: dict[str, float] = {}
        node.create_subscription(Heartbeat, "heartbeat", self._beat, STREAM)

    def _beat(self, message: Any) -> None:
        self._last_s[message.node] = time.monotonic()

    def silent_s(self, name: str) -> float | None:
        """Seconds since the node's last heartbeat; None if it was never heard."""
        last = self._last_s.get(name)
        return None if last is None else time.monotonic() - last

    def forget(self) -> None:
        """Begin anew."""
        self._last_s = {}

    def ages_s(self) -> dict[str, float]:
        """Seconds since the last heartbeat of every node ever heard."""
        now = time.monotonic()
        return {name: now - last for name, last in self._last_s.items()}
