"""Depth images rendered in a process of their own, so that they take nothing from the clock of the simulation."""

import contextlib
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from cell_core.transforms import Array
from cell_simulation import DepthFrame

MOVED_M = 1e-6
"""The process is told of a part whose shape has changed by more than this."""
ANSWER_WAIT_S = 5.0
END_WAIT_S = 2.0


class Renderer:
    """A copy of a simulated camera in a child process, started when first asked. One thread asks.

    The child ends with its parent however that ends, since the pipe between them closes then.
    """

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self._told: Array | None = None
        self._ready = threading.Event()
        self._starter: threading.Thread | None = None
        self.failed = False
        """Whether the child has died or did not answer; it is not asked again."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, camera), daemon=True, name="renderer")
        self._theirs = theirs

    def _start(self) -> None:
        self._process.start()
        self._theirs.close()
        with contextlib.suppress(EOFError, OSError):
            self._pipe.recv_bytes()
            self._ready.set()

    def render(self, T_base_camera: Array, stamp_s: float, removed_m: Array) -> DepthFrame | None:
        """Return a depth image of the part with this removed depth (V,).

        None where the child is not there: in the second or two until it has come up, and if it failed.
        """
        if self._starter is None:
            self._starter = threading.Thread(target=self._start, daemon=True, name="renderer")
            self._starter.start()
        if self.failed or not self._ready.is_set():
            return None
        news = None
        if self._told is None or np.max(np.abs(removed_m - self._told)) > MOVED_M:
            news = self._told = removed_m.copy()
        try:
            self._pipe.send((T_base_camera, news))
            if self._pipe.poll(ANSWER_WAIT_S):
                depth = np.frombuffer(self._pipe.recv_bytes(), np.float32)
                shape = (self._camera.config.height_px, self._camera.config.width_px)
                return DepthFrame(depth_m=depth.reshape(shape), stamp_s=stamp_s, T_base_camera=T_base_camera.copy())
        except (EOFError, OSError):
            pass
        self.failed = True
        return None

    def close(self) -> None:
        """End the child, which holds nothing that could be lost."""
        if self._starter is None:
            return
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(END_WAIT_S)
        self._starter.join(END_WAIT_S)
        self._pipe.close()


def _serve(pipe: Connection, camera: Any) -> None:
    """Render until the other end closes."""
    np.seterr(all="ignore")
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 0))
    try:
        pipe.send_bytes(b"ready")
        while True:
            T_base_camera, removed_m = pipe.recv()
            if removed_m is not None:
                camera.follow(removed_m)
            pipe.send_bytes(camera.render(T_base_camera, 0.0).depth_m.tobytes())
    except (EOFError, OSError, KeyboardInterrupt):
        sys.exit(0)
