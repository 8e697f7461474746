"""Arm and tool of a simulated cell, commanded directly: the same runs as over ROS, as fast as they compute."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cell_core.errors import CellError, DeviceError
from cell_core.trajectory import JointTrajectory, ProcessEvent, last_switch
from cell_core.transforms import Array

TICK_S = 0.004
AT_REST_RAD_PER_S = 1e-3
TOOL_TICKS = 4
"""Tool state is heard at every so many ticks and at every switch, as the simulator node publishes it."""


class DirectRig:
    """What execution_run asks of a rig. Time passes only while somebody waits."""

    def __init__(self, sim: Any) -> None:
        """Take a cell_simulation.SimulatedCell."""
        self.sim = sim
        self.off_stamp_s = -float("inf")
        self.listeners: list[Callable[[float, Array, Any], None]] = []
        """Called at every tick with time, joint positions and the tool state last heard."""
        self.tool_state = sim.tool_state()
        self._ticks = 0
        self.told_armed = False
        """Whether the tool was armed from here, and not disarmed since."""
        self._events: Sequence[ProcessEvent] = ()

    def advance(self) -> None:
        """Let one tick pass."""
        self.sim.step(TICK_S)
        self._ticks += 1
        self._hear(every=TOOL_TICKS)
        self._tell(float(self.sim.time_s), self.sim.position_rad)

    def _tell(self, time_s: float, position_rad: Array) -> None:
        """Hand joint positions to the listeners."""
        for listener in self.listeners:
            listener(time_s, position_rad, self.tool_state)

    def _hear(self, every: int) -> None:
        state = self.sim.tool_state()
        if self.tool_state.on and not state.on:
            self.off_stamp_s = float(self.sim.time_s)
        if state.on != self.tool_state.on or state.armed != self.tool_state.armed or self._ticks % every == 0:
            self.tool_state = state

    def select_and_arm(self, process: str) -> None:
        """Select the process's tool and arm it."""
        self.sim.select_tool(process)
        self.sim.arm(True)
        self.told_armed = True

    def told_on(self, path_time_s: float) -> bool:
        """Return whether the path that is followed has the process on at a path time [s]."""
        switch = last_switch(self._events, path_time_s)
        return self.told_armed and switch is not None and switch.name == "on"

    def start(self, trajectory: JointTrajectory, identity: str, process: str) -> "DirectMotion":
        """Schedule the events and start the trajectory."""
        self._events = trajectory.events if process else ()
        self.sim.schedule_events(self._events)
        self.sim.accept_trajectory(
            trajectory.joint_names, trajectory.time_s, trajectory.position_rad, trajectory.velocity_rad_per_s
        )
        return DirectMotion(self)

    def process_off(self, wait_s: float) -> bool:
        """Disarm."""
        self.told_armed = False
        self.sim.arm(False)
        self._hear(every=1)
        return True

    def wait_until_off(self, wait_s: float) -> bool:
        """Wait until the tool is off."""
        return self._wait_for(lambda state: not state.on, wait_s)

    def wait_until_quiet(self, wait_s: float) -> bool:
        """Wait until nothing flows and nothing presses."""
        return self._wait_for(
            lambda state: not state.on and state.flow_m3_per_s <= 0.0 and abs(state.force_n) <= 2.0, wait_s
        )

    def _wait_for(self, holds: Callable[[Any], bool], wait_s: float) -> bool:
        for _ in range(round(wait_s / TICK_S)):
            if holds(self.tool_state):
                return True
            self.advance()
        return holds(self.tool_state)

    def positions(self, names: Sequence[str]) -> list[float]:
        """Return where the arm stands; the names are the robot's own."""
        return [float(q) for q in np.asarray(self.sim.position_rad)]


class DirectMotion:
    """A trajectory that the simulated arm follows."""

    def __init__(self, rig: DirectRig) -> None:
        self._rig = rig
        self.zero_s: float | None = float(rig.sim.time_s)
        self._cancelled = False

    @property
    def tracking_error_rad(self) -> float:
        """Largest distance of a joint from its trajectory."""
        return float(self._rig.sim.trajectory_status()[2])

    @property
    def path_time_s(self) -> float:
        """How far it came."""
        return float(self._rig.sim.trajectory_status()[1])

    def wait(self, seconds: float) -> bool:
        """Let time pass; return whether the motion has ended."""
        for _ in range(max(round(seconds / TICK_S), 1)):
            if self._ended:
                return True
            self._rig.advance()
        return self._ended

    @property
    def _ended(self) -> bool:
        sim = self._rig.sim
        if sim.trajectory_status()[0] == "running":
            return False
        # a controller reports the end of a stop, asked for or its own, once the arm stands
        stops = self._cancelled or sim.trajectory_status()[0] == "aborted"
        return not stops or float(np.abs(sim.velocity_rad_per_s).max()) < AT_REST_RAD_PER_S

    def cancel(self) -> None:
        """Stop along the path."""
        self._cancelled = True
        self._rig.sim.stop("trajectory cancelled")

    def error(self) -> CellError | None:
        """Return why it was aborted."""
        if self._rig.sim.trajectory_status()[0] == "aborted":
            return DeviceError(f"arm: {self._rig.sim.abort_reason}")
        return None
