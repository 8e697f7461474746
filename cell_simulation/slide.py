"""The force-controlled slide that carries the pad: a mass between the arm and the part, moved by a pneumatic drive.

Along the tool axis, with x the slide's extension, u = dx/dt + arm's own speed the pad's true speed, and N the contact:

    m du/dt = F - c dx/dt - friction - end stops - N
    dF/dt = (F_set + I - F) / lag,   dI/dt = k (F_set - F_measured) while touching
    N = sum over bristles of K A (compression + t_loss d(compression)/dt), never pulling

The arm carries the slide's weight and the drive is fed forward for it. The drive's force ripples, the sensor has bias
and noise and is low-passed. Without a set-point a weak spring draws the slide off the part.
One backward Euler step per millisecond, contact linear within it: stable for any stiffness.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from cell_simulation.tool_parameters import PadTruth

DAMPING_N_S_PER_M = 40.0
APPROACH_M_PER_S = 0.1
"""A throttle keeps the slide from going faster while it touches nothing; assumed."""
LOSS_S = 0.005
"""Damping over stiffness of the pad's layer (150 N s/m at 30 kN/m)."""
FRICTION_SPEED_M_PER_S = 0.005
INTEGRAL_PER_S = 5.0
INTEGRAL_MAX_N = 3.0
"""The force control makes up for so much; more would wind up where the stroke ends."""
SENSOR_LAG_S = 0.005
PARKED_M = 0.001
"""Without a set-point the slide is drawn back so far behind its middle, off the part; assumed."""
PARKED_N_PER_M = 2000.0
PARKED_MAX_N = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Demand:
    """What acts on the slide in one step besides the part."""

    force_set_n: float
    ripple_n: float
    sensor_error_n: float
    arm_speed_m_per_s: float
    """Of the pad's mount along the tool axis."""


class ForceSlide:
    """One pad on its slide, advanced in steps of a millisecond."""

    def __init__(self, pad: PadTruth, *, friction_n: float) -> None:
        self._pad, self._friction_n = pad, friction_n
        self._half_m = 0.5 * pad.slide_stroke_m
        self.park()

    def park(self) -> None:
        """Put the slide where it stays without a set-point, at rest, away from the part."""
        self.extension_m, self.speed_m_per_s = -min(PARKED_M, self._half_m), 0.0
        self.force_n = self.measured_n = 0.0
        """Contact force pushing on the part, and what the sensor tells of it."""
        self._drive_n = self._integral_n = 0.0
        self._arm_speed: float | None = None
        self._gaps: Array | None = None

    @property
    def is_parked(self) -> bool:
        """Whether it stands where it stays without a set-point."""
        off = self.extension_m + min(PARKED_M, self._half_m)
        return self.force_n == 0.0 and abs(off) < 1e-4 and abs(self.speed_m_per_s) < 1e-3

    def step(self, dt: float, gaps_m: Array, bristle_n_per_m: float, demand: Demand) -> float:
        """Move on by a step above gaps (B,) at its end; return the contact force [N]."""
        pressed = demand.force_set_n > 0.0
        self._drive(dt, demand, pressed)
        arm = demand.arm_speed_m_per_s if self._arm_speed is None else self._arm_speed
        arm_acceleration = (demand.arm_speed_m_per_s - arm) / dt
        mass = self._pad.slide_mass_kg
        push = self._drive_n + demand.ripple_n if pressed else self._park_n()
        push -= self._friction_n * float(np.tanh(self.speed_m_per_s / FRICTION_SPEED_M_PER_S))
        push += mass * (self.speed_m_per_s / dt - arm_acceleration)
        drag = mass / dt + DAMPING_N_S_PER_M
        over = abs(self.extension_m) - self._half_m
        if over > 0.0:
            stop = self._pad.slide_stiffness_n_per_m
            push -= stop * over * np.sign(self.extension_m)
            drag += stop * dt
        self._touch(dt, gaps_m, bristle_n_per_m, push, drag)
        self.extension_m += dt * self.speed_m_per_s
        self._gaps, self._arm_speed = gaps_m, demand.arm_speed_m_per_s
        self.measured_n += (self.force_n + demand.sensor_error_n - self.measured_n) * -np.expm1(-dt / SENSOR_LAG_S)
        return self.force_n

    def _touch(self, dt: float, gaps: Array, bristle_n_per_m: float, push: float, drag: float) -> None:
        """Find the speed at the step's end and the contact force then."""
        compression = self.extension_m - gaps
        under = compression > 0.0
        n = int(np.count_nonzero(under))
        if n:
            stiffness = bristle_n_per_m * n
            spring = bristle_n_per_m * float(compression[under].sum())
            gap_speed = self._gap_speed(gaps, under, dt)
            yielding = stiffness * (dt + LOSS_S)
            speed = (push - spring + stiffness * LOSS_S * gap_speed) / (drag + yielding)
            force = spring + yielding * speed - stiffness * LOSS_S * gap_speed
            if force > 0.0:
                self.speed_m_per_s, self.force_n = speed, force
                return
        speed = push / drag
        if speed > APPROACH_M_PER_S and n == 0:
            speed = APPROACH_M_PER_S
        self.speed_m_per_s, self.force_n = speed, 0.0

    def _gap_speed(self, gaps: Array, under: NDArray[np.bool_], dt: float) -> float:
        if self._gaps is None:
            return 0.0
        change = gaps[under] - self._gaps[under]
        # a bristle that slid over an edge tells of no speed
        change = change[np.abs(change) < APPROACH_M_PER_S * 10.0 * dt]
        return float(change.sum()) / (len(change) * dt) if len(change) else 0.0

    def _drive(self, dt: float, demand: Demand, pressed: bool) -> None:
        if not pressed:
            self._drive_n = self._integral_n = 0.0
            return
        wanted = demand.force_set_n + self._integral_n
        self._drive_n += (wanted - self._drive_n) * -np.expm1(-dt / self._pad.force_lag_s)
        if self.force_n > 0.0:
            integral = self._integral_n + dt * INTEGRAL_PER_S * (demand.force_set_n - self.measured_n)
            self._integral_n = min(max(integral, -INTEGRAL_MAX_N), INTEGRAL_MAX_N)

    def _park_n(self) -> float:
        pull = -PARKED_N_PER_M * (self.extension_m + min(PARKED_M, self._half_m))
        return min(max(pull, -PARKED_MAX_N), PARKED_MAX_N)
