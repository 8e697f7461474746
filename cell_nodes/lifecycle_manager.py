"""Bring nodes through their lifecycle, all at once, with time-outs that name the node."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from cell_interfaces.msg import Heartbeat
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import QoSProfile

from cell_core.errors import DeviceError
from cell_nodes.names import ACTIVE_STATE_ID, INACTIVE_STATE_ID, NAMESPACE, UNCONFIGURED_STATE_ID

POLL_S = 0.02
QUIET_S = 1.0
ANSWER_WAIT_S = 4.0


class LifecycleManager:
    """Configures and activates nodes in parallel.

    A node's state is taken from its heartbeat as well as from the service's answer: an answer sent before discovery has
    matched both ends is lost, and the request is then sent again.

    Args:
        node: a plain rclpy node in the cell's namespace, spun by another thread.
        watch: called while waiting; raises to give up.
    """

    def __init__(self, node: Any, names: Sequence[str], watch: Callable[[], None]) -> None:
        self._node, self._watch = node, watch
        self._states: dict[str, tuple[int, float]] = {}
        self._clients = {name: node.create_client(ChangeState, f"{NAMESPACE}/{name}/change_state") for name in names}
        node.create_subscription(Heartbeat, "heartbeat", self._heard, QoSProfile(depth=50))

    def bring_up(self, timeout_s: float) -> None:
        """Configure every node and, once all are configured, activate them.

        Args:
            timeout_s: for each of the two transitions, start-up of the process included.

        Raises:
            DeviceError: a node did not answer in time or refused; the message names it.
        """
        self._change(Transition.TRANSITION_CONFIGURE, "configure", UNCONFIGURED_STATE_ID, INACTIVE_STATE_ID, timeout_s)
        self._change(Transition.TRANSITION_ACTIVATE, "activate", INACTIVE_STATE_ID, ACTIVE_STATE_ID, timeout_s)

    def _heard(self, message: Heartbeat) -> None:
        self._states[message.node] = (message.lifecycle_state, time.monotonic())

    def _heard_since(self, name: str, since_s: float) -> int | None:
        """Return the state heard from a node after `since_s`, or None."""
        state, heard_s = self._states.get(name, (0, -float("inf")))
        return state if heard_s > since_s else None

    def _change(self, transition: int, word: str, before: int, after: int, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        waiting = set(self._clients)
        sent: dict[str, tuple[Any, float]] = {}
        while waiting:
            self._watch()
            now = time.monotonic()
            for name in sorted(waiting):
                future, sent_s = sent.get(name, (None, 0.0))
                answered = future is not None and future.done()
                succeeded = answered and future.result() is not None and future.result().success
                if succeeded or self._heard_since(name, sent_s) == after:
                    waiting.discard(name)
                    continue
                # a node at work sends no heartbeat: one that is heard now in its old state has refused, or never got
                # the request
                idle = future is not None and now - sent_s > QUIET_S and self._heard_since(name, now - 0.5) == before
                if answered and idle:
                    raise DeviceError(f"node {name}: {word} failed; see its log", node=name)
                lost = idle and now - sent_s > ANSWER_WAIT_S
                if (future is None or lost) and self._clients[name].service_is_ready():
                    request = ChangeState.Request(transition=Transition(id=transition))
                    sent[name] = (self._clients[name].call_async(request), now)
            if waiting and now > end:
                name = min(waiting)
                raise DeviceError(f"node {name}: {word} not done within {timeout_s:g} s", node=name)
            time.sleep(POLL_S)
