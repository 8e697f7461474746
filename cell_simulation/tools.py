"""Tool I/O of the simulated cell: which tool is mounted, arming, safety inputs, and process switches over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cell_core.errors import InterlockError, LimitError
from cell_core.trajectory import ProcessEvent
from cell_core.transforms import Array
from cell_simulation.actuators import Actuator, SetPoint, Spindle
from cell_simulation.tool_parameters import GunTruth, PadTruth

ProcessName = Literal["spray", "grind"]
VALVE_RAMP_S = 0.01
HISTORY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class ToolState:
    """What the tool reports."""

    tool: str
    """spray or grind."""
    armed: bool
    on: bool
    """The process is commanded on."""
    flow_m3_per_s: float
    """Paint flow through the valve now."""
    force_n: float
    """Contact force along the tool axis."""
    force_setpoint_n: float
    spindle_rpm: float
    spindle_power_w: float
    """What the spindle's motor takes now."""
    slide_m: float
    """Extension of the force-controlled slide from its middle."""
    interlock_closed: bool
    ventilation_on: bool
    purge_ok: bool


class ToolIO:
    """Switches of both tools. `on` reaches a device only while it is selected, armed and every safety input is good."""

    def __init__(self, gun: GunTruth | None, pad: PadTruth | None) -> None:
        self._gun, self._pad = gun, pad
        self.selected: ProcessName = "spray" if gun is not None else "grind"
        self.armed = False
        self.interlock_closed = self.ventilation_on = self.purge_ok = True
        delays = (gun.on_delay_s, gun.off_delay_s) if gun else (0.0, 0.0)
        self.valve = Actuator(on_delay_s=delays[0], off_delay_s=delays[1], rise_s=VALVE_RAMP_S, fall_s=VALVE_RAMP_S)
        spin = (pad.spin_up_s, pad.spin_down_s) if pad else (0.0, 0.0)
        self.spindle = Spindle(spin_up_s=spin[0], spin_down_s=spin[1])
        self.press = Actuator(on_delay_s=spin[0])
        """The slide presses only once the spindle is up to speed, and lets go at once."""
        self.flow_m3_per_s = SetPoint(gun.flow_m3_per_s if gun else 0.0)
        self.force_n = SetPoint(0.0)
        self._pending: list[tuple[float, ProcessEvent]] = []

    @property
    def is_on(self) -> bool:
        """Whether the selected process is commanded on."""
        return self.valve.commanded if self.selected == "spray" else self.spindle.commanded

    @property
    def hindrance(self) -> str:
        """Why the process may not run now, or ""."""
        inputs = (
            (self.interlock_closed, "interlock open"),
            (self.ventilation_on, "ventilation off"),
            (self.purge_ok, "purge missing"),
        )
        return ", ".join(fault for good, fault in inputs if not good)

    def select(self, process: ProcessName, time_s: float) -> None:
        """Change the active tool; disarms.

        Raises:
            LimitError: no such tool in this cell.
            InterlockError: the process is on.
        """
        if {"spray": self._gun, "grind": self._pad}.get(process) is None:
            raise LimitError(f"tool {process!r}: the cell has none")
        if self.is_on:
            raise InterlockError(f"tool {process!r} cannot be selected: {self.selected} is on")
        self.arm(False, time_s)
        self.selected = process

    def arm(self, arm: bool, time_s: float) -> None:
        """Arm or disarm; disarming turns the process off.

        Raises:
            InterlockError: a safety input forbids arming; says which.
        """
        if not arm:
            self.off(time_s)
            self.armed = False
            return
        if self.hindrance:
            raise InterlockError(f"{self.selected} cannot be armed: {self.hindrance}")
        self.armed = True

    def set_safety(self, time_s: float, **inputs: bool | None) -> bool:
        """Take safety inputs (None: unchanged); return whether one forbids the process, then off and disarmed."""
        for name, value in inputs.items():
            if value is not None:
                setattr(self, name, bool(value))
        if self.hindrance:
            self.arm(False, time_s)
        return bool(self.hindrance)

    def off(self, time_s: float) -> None:
        """Turn every process off at once, without valve delay, and drop all events to come."""
        self.valve.cut(time_s)
        self.press.cut(time_s)
        if self.spindle.commanded:
            self.spindle.switch(time_s, False)
        self._pending.clear()

    def schedule(self, events: Sequence[ProcessEvent], start_s: float) -> None:
        """Fire events at start_s plus their time; earlier scheduled ones stay."""
        check_events(events)
        self._pending += [(start_s + e.time_s, e) for e in events]
        self._pending.sort(key=lambda item: item[0])

    def fire_until(self, time_s: float) -> None:
        """Let every event up to a time [s] take effect at its own time."""
        while self._pending and self._pending[0][0] <= time_s:
            at, event = self._pending.pop(0)
            self._fire(at, event)

    def _fire(self, at: float, event: ProcessEvent) -> None:
        if event.name == "set_force_n":
            self.force_n.set(at, event.value)
        elif event.name == "set_flow_m3_per_s":
            self.flow_m3_per_s.set(at, event.value)
        elif event.name == "off" or (self.armed and not self.hindrance):
            on = event.name == "on"
            for device in (self.valve,) if self.selected == "spray" else (self.spindle, self.press):
                device.switch(at, on)

    def flow_at(self, time_s: Array) -> Array:
        """Return the paint flow (N,) at times (N,) [m3/s]."""
        return self.valve.at(time_s) * self.flow_m3_per_s.at(time_s)

    def force_at(self, time_s: Array) -> Array:
        """Return the force (N,) the slide is told to press with at times (N,) [N]."""
        return self.press.at(time_s) * self.force_n.at(time_s)

    def forget_before(self, time_s: float) -> None:
        """Drop history that no block of process time needs any more."""
        for device in (self.valve, self.spindle, self.press, self.flow_m3_per_s, self.force_n):
            device.forget_before(time_s)


def check_events(events: Sequence[ProcessEvent]) -> None:
    """Refuse events that no tool can carry out.

    Raises:
        LimitError: an unknown name, a time or value that is not finite, a negative value.
    """
    known = ("on", "off", "set_force_n", "set_flow_m3_per_s")
    for event in events:
        if event.name not in known:
            raise LimitError(f"event {event.name!r} unknown; known: {', '.join(known)}")
        if not (np.isfinite(event.time_s) and np.isfinite(event.value)) or event.value < 0.0:
            raise LimitError(
                f"event {event.name}: time {event.time_s} s, value {event.value}: must be finite, value >= 0"
            )
