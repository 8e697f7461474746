"""rclpy's action client, safe to make while its node is spinning."""

import threading
from typing import Any

import rclpy.action


class ActionClient(rclpy.action.ActionClient):
    """rclpy adds a client to its node before it makes the lock that a spinning executor then asks for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = threading.Lock()
        super().__init__(*args, **options)
