"""rclpy's action client, safe to make and to use while its node is spinning in another thread."""

import threading
from typing import Any

import rclpy.action


class ActionClient(rclpy.action.ActionClient):
    """rclpy 9.1.2 adds a client to its node before it makes the lock that a spinning executor then asks for.

    Its `send_goal_async` keeps the future it returns after it has given up that lock: an answer that comes in between
    completes another future, and the caller waits for ever.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.RLock()
        super().__init__(*args, **options)
        self._lock = threading.RLock()  # a sender enters it twice; rclpy's own is for once

    def send_goal_async(self, *args: Any, **options: Any) -> Any:
        """Send a goal; no answer is taken before the future that is returned waits for it."""
        with self._lock:
            return super().send_goal_async(*args, **options)
