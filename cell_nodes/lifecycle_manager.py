"""Bring nodes through their lifecycle, all at once, with time-outs that name the node."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from cell_core.errors import DeviceError
from cell_nodes.names import NAMESPACE

CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
POLL_S = 0.02


def bring_up(node: Any, names: Sequence[str], *, timeout_s: float, watch: Callable[[], None]) -> None:
    """Configure every node and, once all are configured, activate them.

    Args:
        node: a plain rclpy node spun by another thread.
        timeout_s: for each of the two transitions, start-up of the process included.
        watch: called while waiting; raises to give up.

    Raises:
        DeviceError: a node did not answer in time or refused; the message names it.
    """
    clients = {name: node.create_client(ChangeState, f"{NAMESPACE}/{name}/change_state") for name in names}
    try:
        _change(clients, CONFIGURE, "configure", timeout_s, watch)
        _change(clients, ACTIVATE, "activate", timeout_s, watch)
    finally:
        for client in clients.values():
            node.destroy_client(client)


def _change(clients: dict[str, Any], transition: int, word: str, timeout_s: float, watch: Callable[[], None]) -> None:
    end = time.monotonic() + timeout_s
    waiting, futures = dict(clients), {}
    while waiting or futures:
        watch()
        for name in [n for n, c in waiting.items() if c.service_is_ready()]:
            request = ChangeState.Request(transition=Transition(id=transition))
            futures[name] = waiting.pop(name).call_async(request)
        for name in [n for n, f in futures.items() if f.done()]:
            response = futures.pop(name).result()
            if response is None or not response.success:
                raise DeviceError(f"node {name}: {word} failed; see its log", node=name)
        if time.monotonic() > end:
            late = sorted([*waiting, *futures])
            raise DeviceError(f"node {late[0]}: {word} not done within {timeout_s:g} s", node=late[0])
        time.sleep(POLL_S)
