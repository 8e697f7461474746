"""The pad in the cell: where it is, what the slide does, what is ground off, in blocks of time."""

from abc import ABC, abstractmethod

import numpy as np

from cell_core.transforms import Array
from cell_simulation.arm import Arm
from cell_simulation.drive import SUBSTEP_S, SUBSTEPS, TICK_S, Load, Push
from cell_simulation.grind import GrindTruth
from cell_simulation.slide import Demand, ForceSlide
from cell_simulation.tool_parameters import PadTruth, ToolErrors
from cell_simulation.tools import ToolIO
from robot_description import RobotModel

ROW_TICKS = 2
"""Ticks to a row of the execution log, and to a pose of the pad without dynamics."""
NEAR_M = 0.05
"""A pad farther than this from the box around the part touches nothing."""
LOOK_M, LOOK_S = 0.01, 0.01
"""Where nothing presses, the pad looks so far ahead along its axis, so often: parts come no faster than 1 m/s."""
REFRESH_STEPS = 4
"""What was ground off is looked up anew every so many steps of contact; a multiple of a tick's."""
READING_N = 0.01
"""Resolution of the force reading."""
NOISE_BANK = 1 << 16


class Pad(ABC):
    """A grinding tool in the cell."""

    force_n: float = 0.0
    """Contact force as the tool reports it."""
    slide_m: float = 0.0
    power_w: float = 0.0

    def __init__(self, robot: RobotModel, tcp_frame: str, grind: GrindTruth, tools: ToolIO) -> None:
        self._robot, self._tcp_frame, self.grind, self._tools = robot, tcp_frame, grind, tools

    @abstractmethod
    def load(self, start_s: float, arm: Arm) -> Load | None:
        """Return what the tick that starts now presses against; None: nothing."""

    @abstractmethod
    def finish_block(self, times_s: Array, q: Array) -> tuple[Array, Array, Array]:
        """Take off what a block wore off; return contact force, spindle power and slide extension (R,) per ROW_TICKS.

        Args:
            times_s: (N + 1,) of the block's ticks, the first that of its start.
            q: (N + 1, J) joint positions then.
        """

    @property
    def contact_n(self) -> float:
        """True contact force now."""
        return self.force_n

    def rest(self) -> None:
        """Take note that another tool is selected."""
        self.force_n = self.slide_m = self.power_w = 0.0


class BalancedPad(Pad):
    """A pad whose slide is in balance at every pose; it pushes on nothing but the part."""

    def load(self, start_s: float, arm: Arm) -> Load | None:
        """Return None: the arm feels no contact."""
        return None

    def finish_block(self, times_s: Array, q: Array) -> tuple[Array, Array, Array]:
        """Press and grind along the block's poses."""
        rows = times_s[ROW_TICKS::ROW_TICKS]
        force = self._tools.force_at(rows)
        if not force.any() and self.slide_m == 0.0 and not self._tools.spindle.any_open(times_s[0], times_s[-1]):
            self.force_n = self.power_w = 0.0
            return np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
        poses = self._robot.forward(q[ROW_TICKS::ROW_TICKS], self._tcp_frame)
        contact = self.grind.grind(rows, poses, force, self._tools.spindle.at(rows))
        self.force_n, self.slide_m = float(contact.force_n[-1]), float(contact.slide_m[-1])
        self.power_w = float(contact.power_w[-1])
        return contact.force_n, contact.power_w, contact.slide_m


class PressedPad(Pad):
    """A pad on a slide with mass, drive and sensor, that pushes back on the arm; one step per millisecond."""

    def __init__(
        self,
        robot: RobotModel,
        tcp_frame: str,
        grind: GrindTruth,
        tools: ToolIO,
        pad: PadTruth,
        *,
        errors: ToolErrors,
        seed: int,
        part_box_m: tuple[Array, Array],
        block_ticks: int,
    ) -> None:
        super().__init__(robot, tcp_frame, grind, tools)
        self._T_flange_tcp = robot.fixed(robot.config.flange_frame, tcp_frame)
        self._errors = errors
        self._slide = ForceSlide(pad, friction_n=errors.slide_friction_n)
        self._noise = errors.force_sensor_noise_n * np.random.default_rng([seed, 15]).standard_normal(NOISE_BANK)
        self._low, self._high = part_box_m[0] - NEAR_M, part_box_m[1] + NEAR_M
        n = block_ticks * SUBSTEPS
        self._poses, self._gaps = np.zeros((n, 4, 4)), np.zeros((n, grind.bristles.count))
        self._slides, self._forces, self._spindles = np.zeros(n), np.zeros(n), np.zeros(n)
        self._filled = np.zeros(n, bool)
        self._step = 0
        self._before: Array | None = None
        """Pose one step ago while in contact."""
        self._touches = False
        self._lever: tuple[Array, Array] | None = None
        self._closest_m = np.inf
        self._clear_until_s = 0.0
        """Nothing is near enough to be touched before this."""

    def load(self, start_s: float, arm: Arm) -> Load | None:
        """Return this pad while it presses, comes back from that, or is about to be touched."""
        first = round(start_s / SUBSTEP_S)
        times = np.asarray((first + 1 + np.arange(SUBSTEPS)) * SUBSTEP_S, np.float64)
        n = len(self._forces)
        self._step = first % n
        force = self._tools.force_at(times)
        if not (force.any() or (self._touches and not self._slide.is_parked) or self._is_near(start_s, arm)):
            if self._touches:
                self._slide.park()
            self._before = None
            self._touches = False
            return None
        self._set, self._spin = force, self._tools.spindle.at(times)
        self._refresh = first % REFRESH_STEPS == 0 or not self._touches
        self._ripple = self._errors.force_ripple_n * self.grind.ripple(times)
        noise = self._noise[(first + np.arange(SUBSTEPS)) % NOISE_BANK]
        self._sensor_error = self.grind.force_bias_n + noise
        self._touches = True
        return self

    def _is_near(self, start_s: float, arm: Arm) -> bool:
        """Whether the part may be touched within LOOK_S, at LOOK_M / LOOK_S or less."""
        if self._touches:
            return self._closest_m < LOOK_M
        if start_s < self._clear_until_s:
            return False
        T = arm.flange() @ self._T_flange_tcp
        near = bool(((T[:3, 3] > self._low) & (T[:3, 3] < self._high)).all())
        near = near and float(self.grind.bristles.gaps_at(T, True).min()) < LOOK_M
        if not near:
            self._clear_until_s = start_s + LOOK_S - 0.5 * TICK_S
        return near

    def __call__(self, substep: int, T_base_flange: Array) -> Push | None:
        """Advance the slide by a step and return what acts on the arm."""
        T = T_base_flange @ self._T_flange_tcp
        before = T if self._before is None else self._before
        velocity = (T[:3, 3] - before[:3, 3]) @ T[:3, :3] / SUBSTEP_S
        self._before = T
        gaps = self.grind.bristles.gaps_at(T, self._refresh and substep == 0)
        self._closest_m = float(gaps.min())
        pressed = float(self._set[substep])
        bristle = self.grind.press_with(max(pressed, self._slide.force_n))
        demand = Demand(
            force_set_n=pressed,
            ripple_n=float(self._ripple[substep]),
            sensor_error_n=float(self._sensor_error[substep]),
            arm_speed_m_per_s=float(velocity[2]),
        )
        force = self._slide.step(SUBSTEP_S, gaps, bristle, demand)
        i = self._step + substep
        self._poses[i], self._gaps[i], self._filled[i] = T, gaps, True
        self._slides[i], self._forces[i], self._spindles[i] = self._slide.extension_m, force, self._spin[substep]
        if force <= 0.0:
            self._lever = None
            return None
        if substep == 0 or self._lever is None:
            self._lever = self._pressed_along(gaps, velocity, self._spin[substep] > 0.0)
        direction, point = self._lever
        return Push(force_n=T[:3, :3] @ (force * direction), point_m=T[:3, :3] @ point + T[:3, 3])

    def _pressed_along(self, gaps: Array, velocity: Array, turning: bool) -> tuple[Array, Array]:
        """Return the push on the arm over the contact force, and where it acts, in the tool frame."""
        compression = np.maximum(self._slide.extension_m - gaps, 0.0)
        total = float(compression.sum())
        weights = compression / total if total > 0.0 else np.full(len(gaps), 1.0 / len(gaps))
        drag = self.grind.drag(velocity[:2], weights, turning)
        centre = weights @ self.grind.bristles.feet_m
        return np.array([*drag, -1.0]), np.array([*centre, self._slide.extension_m])

    def finish_block(self, times_s: Array, q: Array) -> tuple[Array, Array, Array]:
        """Take off what the pad wore off where it was near the part."""
        steps = round(ROW_TICKS * TICK_S / SUBSTEP_S)
        on = self._filled
        force, slide = np.zeros(len(on)), np.where(on, self._slides, self._slide.extension_m)
        every = np.asarray(times_s[0] + (1 + np.arange(len(on))) * SUBSTEP_S, np.float64)
        power = self.grind.idle_power(every, self._tools.spindle.at(every))
        if np.count_nonzero(on) > 1:
            times = every[on]
            force[on] = self._forces[on]
            poses = self._poses[on]
            side = 1.0
            if force.any():
                side = self.grind.bristles.gaps(poses[len(poses) // 2][None])[1]
            power[on] += self.grind.take_off(
                times, poses, self._gaps[on], self._slides[on], force[on], self._spindles[on], side=side
            )
        self.slide_m, self.power_w = self._slide.extension_m, float(power[-1])
        self._filled[:] = False
        return force.reshape(-1, steps).mean(axis=1), power[steps - 1 :: steps], slide[steps - 1 :: steps]

    @property
    def force_n(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the force sensor reads; it is tared while the pad is away from the part."""
        return round(float(self._slide.measured_n) / READING_N) * READING_N if self._touches else 0.0

    @property
    def contact_n(self) -> float:
        """True contact force at the last step."""
        return self._slide.force_n if self._touches else 0.0

    def rest(self) -> None:
        """Park the slide: another tool is selected."""
        self._slide.park()
        self._before, self._touches = None, False
        self.slide_m = self.power_w = 0.0
