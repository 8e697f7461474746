"""Steps a simulated cell in its own thread at a real-time factor; only that thread touches the simulation."""

import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cell_core.errors import DeviceError
from cell_core.files import write_json

T = TypeVar("T")
TICK_S = 0.002
"""Wall time between two publications unless told otherwise: 500 Hz."""
LOCKED_S = 0.04
"""Simulated time of one step in lock-step."""
BLOCK_MAX_S = 0.25
"""Longest simulated time in one step [s]."""
BLOCK_FREE_S = 0.05
"""Step when running as fast as possible [s]."""
REST_STEPS_MAX = 125
"""An arm pushed by something never stands; after so many steps commands are served all the same."""
BLOCK_STEP_S = 0.02
SILENT_S = 0.05
"""Wall time after which a step is cut short, so that the state is published [s]."""
SAVE_PERIOD_S = 0.5
REST_FACTOR = 5.0
"""An armed tool at rest does no harm yet, and between arming and the first stroke a whole trajectory is sent."""
CALL_WAIT_S = 5.0


class Simulation(Protocol):
    """What the loop needs of cell_simulation.SimulatedCell."""

    time_s: float

    def step(self, duration_s: float) -> None: ...
    def tool_state(self) -> Any: ...
    def trajectory_status(self) -> tuple[str, float, float]: ...
    @property
    def is_moving(self) -> bool: ...
    def stop(self, reason: str) -> None: ...
    def arm(self, armed: bool) -> None: ...
    def save_state(self, path: Path) -> None: ...


class SimLoop:
    """Runs a simulation against the wall clock until closed.

    Args:
        sim: the simulated cell; touched only by this loop's thread once started.
        rtf: simulated seconds per wall second while something moves or the process is on; 0: as fast as possible.
            At rest time never runs faster than the wall.
        on_tick: called in the loop's thread after every step; publishes.
        dead_man_s: wall time without `alive()` after which a moving or processing cell is stopped and disarmed; one
            that is armed and at rest after REST_FACTOR times as much.
        state_path: where the part's state is kept; None: nowhere.
        period_s: wall time between two publications.
        lockstep: time moves in steps of LOCKED_S while something moves or the process is on, however long they take,
            and stands still otherwise. What happens at which simulated time then depends on the commands alone, not on
            the machine.
    """

    def __init__(
        self,
        sim: Simulation,
        *,
        rtf: float,
        on_tick: Callable[[], None],
        dead_man_s: float,
        state_path: Path | None,
        log: Callable[[str], None] = print,
        period_s: float = TICK_S,
        lockstep: bool = False,
    ) -> None:
        self.sim = sim
        self.lockstep = lockstep
        self._period_s = period_s
        self._rtf = rtf
        self._on_tick = on_tick
        self._dead_man_s = dead_man_s
        self._state_path = state_path
        self._log = log
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._alive_s = time.monotonic()
        self._closing = threading.Event()
        self._owed_s = 0.0
        """Simulated time that the wall is ahead."""
        self._dirty = False
        self._saved_s = time.monotonic()
        self._zero_s: float | None = None
        """Simulated time at path time 0 of the last trajectory [s]."""
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="sim")

    def start(self) -> None:
        """Start stepping."""
        self._thread.start()

    def close(self) -> None:
        """Stop the process, then the motion, save the part's state and end the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=CALL_WAIT_S)

    def alive(self) -> None:
        """Tell the dead-man that whoever commands the motion is still there."""
        self._alive_s = time.monotonic()

    def call(self, action: Callable[[], T]) -> T:
        """Run `action` between two steps and return its result or raise what it raises.

        Raises:
            DeviceError: the loop does not run.
        """
        if not self._thread.is_alive():
            raise DeviceError(f"simulation has stopped: {self.failure or 'closed'}")
        if threading.current_thread() is self._thread:
            return action()
        future: Future[T] = Future()
        self._calls.put((future, action))
        try:
            return future.result(timeout=CALL_WAIT_S)
        except TimeoutError as error:
            raise DeviceError(f"simulation did not answer within {CALL_WAIT_S:g} s") from error

    def save(self) -> None:
        """Save the part's state if it changed since; call in the loop's thread."""
        if self._dirty and self._state_path is not None:
            self._state_path.parent.mkdir(parents=True, exist_ok=True)
            self.sim.save_state(self._state_path)
            saved = {"time_s": float(self.sim.time_s), "zero_s": self._zero_s}
            write_json(self._state_path.with_suffix(".json"), saved)
            self._dirty = False
        self._saved_s = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether the arm moves under a trajectory or the process is on; call in the loop's thread."""
        if self.lockstep and self.sim.is_moving:
            return True
        return self.sim.trajectory_status()[0] == "running" or bool(self.sim.tool_state().on)

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while not self._closing.is_set():
                tick = time.monotonic()
                self._serve_calls()
                status, path_s, _ = self.sim.trajectory_status()
                if status == "running":
                    # their difference is the same at every tick but for the last bits
                    self._zero_s = round(float(self.sim.time_s) - path_s, 9)
                busy = self.busy
                self._step(tick - last, busy)
                last = tick
                self._guard()
                self._on_tick()
                if self._dirty and time.monotonic() - self._saved_s > SAVE_PERIOD_S:
                    self.save()
                if not (busy and self._rtf == 0.0):
                    self._closing.wait(max(self._pause_s(busy) - (time.monotonic() - tick), 0.0))
            self._shut_down()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            self._log(traceback.format_exc())
        finally:
            self._drop_calls()

    def _pause_s(self, busy: bool) -> float:
        return LOCKED_S / self._rtf if self.lockstep and busy else self._period_s

    def _step(self, wall_s: float, busy: bool) -> None:
        if self.lockstep:
            if busy:
                self.sim.step(LOCKED_S)
                self._dirty = self._dirty or bool(self.sim.tool_state().on)
            return
        if not busy:
            duration_s = wall_s if self._rtf == 0.0 else wall_s * min(self._rtf, 1.0)
        else:
            duration_s = wall_s * self._rtf if self._rtf > 0.0 else BLOCK_FREE_S
            self._dirty = self._dirty or bool(self.sim.tool_state().on)
        self._owed_s = min(self._owed_s + max(duration_s, 1e-4), BLOCK_MAX_S)
        end = time.monotonic() + SILENT_S
        at_pace = self._rtf == 1.0 and busy
        smallest_s = self._period_s if at_pace else 0.0
        while self._owed_s > 0.0 and self._owed_s >= smallest_s and time.monotonic() < end:
            # on a busy machine simulated time falls behind rather than that nothing is heard of the cell for long
            step_s = smallest_s or min(self._owed_s, BLOCK_STEP_S)
            self.sim.step(step_s)
            self._owed_s -= step_s
            if at_pace and self._owed_s >= smallest_s:
                self._on_tick()  # a turn that came late leaves no state untold
        self._dirty = self._dirty or bool(self.sim.tool_state().on)

    def _guard(self) -> None:
        silent_s = time.monotonic() - self._alive_s
        armed = self.sim.tool_state().armed
        limit_s = self._dead_man_s * (1.0 if self.busy else REST_FACTOR)
        if silent_s > limit_s and (self.busy or armed):
            self.sim.stop(f"no heartbeat of the execution node for {silent_s:.2f} s")
            self.sim.arm(False)
            self._log(f"dead-man: execution silent for {silent_s:.2f} s, limit {limit_s:g} s; stopped")

    def _serve_calls(self) -> None:
        while not self._calls.empty():
            future, action = self._calls.get()
            try:
                self._come_to_rest()
                future.set_result(action())
            except Exception as error:
                future.set_exception(error)

    def _come_to_rest(self) -> None:
        """In lock-step, let an arm whose trajectory has ended stand before anything else happens to the cell.

        Otherwise a command would come the earlier in simulated time, the sooner it came on the wall.
        """
        for _ in range(REST_STEPS_MAX):
            if not self.lockstep or self.sim.trajectory_status()[0] == "running" or not self.sim.is_moving:
                return
            self.sim.step(LOCKED_S)

    def _drop_calls(self) -> None:
        while not self._calls.empty():
            self._calls.get()[0].set_exception(DeviceError("simulation has stopped"))

    def _shut_down(self) -> None:
        if self.busy:
            self.sim.stop("simulator is closing")
            self.sim.step(BLOCK_MAX_S)
        self.sim.arm(False)
        self.save()
