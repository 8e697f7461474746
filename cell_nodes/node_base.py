"""What every node of the cell shares: guarded lifecycle, parameters, heartbeat, and the process it runs in."""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from cell_interfaces.msg import Heartbeat
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from cell_core.errors import CellError, ConfigurationError, DeviceError
from cell_nodes.names import ACTIVE_STATE_ID, FINALIZED_STATE_ID, NAMESPACE, SUPERVISOR_PID

HEARTBEAT_HZ = 10.0
URGENT, PATIENT = -15, 5
"""Niceness of nodes that watch motion, and of those that only compute."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
STREAM = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
LOSSLESS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
"""For states in lock-step, where nothing must depend on how soon a listener gets to hear them."""


class CellNode(LifecycleNode):
    """Lifecycle node whose transitions log what goes wrong and whose heartbeat tells that its callbacks run.

    Subclasses override `configure`, `activate`, `deactivate` and `cleanup`, which return nothing and raise on failure.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, namespace=NAMESPACE, **options)
        self.declare_parameter("cell", "default")
        self.declare_parameter("job_root", "")
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._wall = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._heartbeat = self.create_publisher(Heartbeat, "heartbeat", STREAM)
        self.create_wall_timer(1.0 / HEARTBEAT_HZ, self.beat)

    def create_wall_timer(self, period_s: float, callback: Callable[[], None]) -> Any:
        """Create a timer on steady wall time, whatever use_sim_time says."""
        return self.create_timer(period_s, callback, clock=self._steady)

    def beat(self) -> None:
        """Publish one heartbeat, stamped with wall time."""
        with contextlib.suppress(Exception):  # the context may be shutting down under the timer
            message = Heartbeat(node=self.get_name(), lifecycle_state=self._state_machine.current_state[0])
            message.header.stamp = self._wall.now().to_msg()
            self._heartbeat.publish(message)

    @property
    def is_active(self) -> bool:
        """Whether the node's lifecycle state is active."""
        return self._state()[0] == ACTIVE_STATE_ID

    def require_active(self) -> None:
        """Refuse work unless the node is active.

        Raises:
            DeviceError: the node is in another lifecycle state; says which.
        """
        number, word = self._state()
        if number != ACTIVE_STATE_ID:
            raise DeviceError(f"node {self.get_name()} is {word}, must be active")

    def _state(self) -> tuple[int, str]:
        machine = self._state_machine
        return machine.current_state if machine is not None else (FINALIZED_STATE_ID, "destroyed")

    def destroy_node(self) -> None:
        """Destroy the node and all that keeps its DDS participant, with threads and shared memory, alive."""
        release(self)
        super().destroy_node()
        # rclpy 9.1.2 leaves the state machine, which holds the node
        self._state_machine: Any = None

    def string(self, name: str) -> str:
        """Return a string parameter's value."""
        return self.get_parameter(name).get_parameter_value().string_value

    def number(self, name: str) -> float:
        """Return a double parameter's value."""
        return self.get_parameter(name).get_parameter_value().double_value

    def job_path(self, text: str) -> Path:
        """Return the path that a goal names, resolved.

        Raises:
            ConfigurationError: not absolute, or outside the parameter job_root.
        """
        path = Path(text)
        if not text or not path.is_absolute():
            raise ConfigurationError(f"path {text!r}: must be absolute")
        root = self.string("job_root")
        path = path.resolve()
        if root and not path.is_relative_to(Path(root).resolve()):
            raise ConfigurationError(f"path {text!r}: outside job_root {root!r}")
        return path

    def configure(self) -> None:
        """Build what the node works with from its parameters."""

    def activate(self) -> None:
        """Begin to work."""

    def deactivate(self) -> None:
        """Stop working; must leave nothing moving."""

    def cleanup(self) -> None:
        """Drop what `configure` built."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("configure", self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("activate", self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("cleanup", self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("shutdown", self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("error", self.close)

    def close(self) -> None:
        """Deactivate and clean up, whatever state the node is in."""
        self.deactivate()
        self.cleanup()

    def _guarded(self, transition: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        # rclpy swallows what a transition raises; without this nobody would ever read it
        try:
            action()
        except CellError as error:
            self.get_logger().error(f"{transition}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{transition}: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS


def release(node: Any) -> None:
    """Destroy a node's action clients and servers, which rclpy 9.1.2 leaves to whoever made them."""
    for waitable in list(node.waitables):
        with contextlib.suppress(Exception):
            waitable.destroy()


def run_node(make: Callable[[], CellNode], niceness: int = 0) -> None:
    """Run one node until SIGINT, SIGTERM or the supervisor's death; then close it.

    Args:
        niceness: scheduling priority; a negative one is taken where the system permits it.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # rclpy's own handlers end the context at once; a node must still be able to tell its device to stop
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    leash = _Leash(ending)
    node = make()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=_spin, args=(executor, ending), daemon=True, name="executor")
    spinner.start()
    leash.start()
    while not ending.wait(0.2):
        pass
    try:
        node.close()
    except Exception:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        executor.shutdown(timeout_sec=1.0)
        spinner.join(timeout=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    sys.stdout.flush()
    # threads of native libraries may linger; a node that has closed has nothing left to say
    os._exit(0)


def _spin(executor: SingleThreadedExecutor, ending: threading.Event) -> None:
    try:
        while True:
            try:
                executor.spin()
                break
            except InvalidHandle:
                # another thread destroyed an entity while the executor was collecting what to wait for
                continue
    except ExternalShutdownException:
        pass
    except Exception:
        traceback.print_exc()
    finally:
        ending.set()


class _Leash:
    """Ends this process soon after the one that SUPERVISOR_PID names is gone; without that it does nothing."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending
        self.supervisor = int(os.environ.get(SUPERVISOR_PID, "0"))
        self._parent = os.getppid()
        """The supervisor itself, or what stands between, such as a debugger."""

    def start(self) -> None:
        if self.supervisor:
            threading.Thread(target=self._watch, daemon=True, name="leash").start()

    def _watch(self) -> None:
        while os.getppid() == self._parent and _exists(self.supervisor):
            time.sleep(0.25)
        self._ending.set()
        time.sleep(2.0)
        os._exit(1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, and somebody else's
    return True
