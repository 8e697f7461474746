"""A stroke as a smooth curve of tool frames, and the law by which the tool runs along it."""

from copy import copy
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline, make_smoothing_spline
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d

from cell_core.errors import InputRefusedError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from cell_motion.kinematics import TURN_RAD

_FINE_S = 0.001
_STILL_M = 1e-12
_GRID_M = 0.002
_BEYOND_M = 0.12
"""How far path and frame go on curving and turning beyond both ends of a stroke."""
_END_M = 0.03
"""Ends are extrapolated from a parabola through this much of the stroke."""
_FADE_M = 0.05
WAVE_S = 0.3
"""Waves of a stroke that the tool would pass in less time are smoothed: they cost jerk and mean nothing."""
DEVIATION_M = 1e-4
AXIS_DEVIATION = 0.01
AXIS_SLACK_RAD = 8e-4
TRAVEL_DEVIATION = 0.05
"""Most that smoothing may change [m, rad, rad]; the axis by no more than its freedom and the slack either."""
SMOOTHING_S = (0.02, 0.04, 0.08)
"""Speed is averaged over so long, which bounds jerk where the prescribed acceleration jumps [s]."""
ROUNDED_M = 0.02
"""Speed is averaged over longer for about this much path before and after a place that asks for it."""


class StrokePath:
    """Smooth curves through a stroke's positions, axes and travel directions over chord length.

    Smoothing splines cut waves shorter than WAVE_S at the stroke's speed, as far as the deviations above allow. Both
    ends go on along a parabola and then straight, so that lead-in and lead-out join smoothly.
    """

    def __init__(self, stroke: Stroke, reference: Array | None = None) -> None:
        """Build the curves; `reference` (N, 3) is the direction of x at zero spin, None: that of `spin_reference`."""
        steps = stroke.step_lengths_m
        if np.any(steps < 1e-7):
            i = int(np.argmin(steps))
            raise InputRefusedError(f"stroke: samples {i} and {i + 1} are {steps[i]:.3g} m apart, wanted 1e-7 m")
        self.stroke = stroke
        self.at_m = np.r_[0.0, np.cumsum(steps)]
        """(N,) chord length at each sample [m]."""
        reference = spin_reference(stroke) if reference is None else reference
        frames = tool_frames(stroke.position_m, stroke.tool_axis, reference)
        wave_m = WAVE_S * self.length_m / float(stroke.times_s[-1])
        self._position = _smooth(self.at_m, stroke.position_m, wave_m, DEVIATION_M, fade=False)
        turn = min(stroke.freedom.tilt_rad + AXIS_SLACK_RAD, AXIS_DEVIATION)
        self._axis = _smooth(self.at_m, frames[:, :3, 2], wave_m, turn, fade=True)
        self._reference = _smooth(self.at_m, frames[:, :3, 0], wave_m, TRAVEL_DEVIATION, fade=True)

    def with_stroke(self, stroke: Stroke) -> "StrokePath":
        """Return the same curves with other speeds and process values; poses of the stroke are not looked at."""
        other = copy(self)
        other.stroke = replace(
            self.stroke, speed_m_per_s=stroke.speed_m_per_s, process_value=stroke.process_value, on=stroke.on
        )
        return other

    @property
    def length_m(self) -> float:
        """Chord length of the stroke [m]."""
        return float(self.at_m[-1])

    def frames(
        self,
        s_m: Array,
        *,
        spin_rad: Array | float = 0.0,
        tilt_rad: Array | None = None,
        standoff_m: Array | float = 0.0,
        pivot_m: float = 0.0,
    ) -> Array:
        """Return tool frames (M, 4, 4) at chord lengths s (M,), beyond both ends too.

        Args:
            spin_rad: (M,) turn about the tool axis, after the tilt.
            tilt_rad: (M, 2) rotation vector about the frame's x and y.
            standoff_m: (M,) shift back along the tool axis.
            pivot_m: how far ahead of the tool centre point the tilt turns about.
        """
        near = np.clip(s_m, -_BEYOND_M, self.length_m + _BEYOND_M)
        position = self._position(near) + (s_m - near)[:, None] * self._position(near, 1)
        T = tool_frames(position, self._axis(near), self._reference(near))
        return turned(T, spin_rad=spin_rad, tilt_rad=tilt_rad, standoff_m=standoff_m, pivot_m=pivot_m)


def spin_reference(stroke: Stroke) -> Array:
    """Return the direction (N, 3) of the tool's x at zero spin.

    With a fixed or exact spin it is the direction of travel; with a free one it turns as little as possible about the
    tool axis, so that a corner in the stroke does not ask the tool to turn.
    """
    frames = stroke.frames
    if stroke.freedom.spin != "free":
        return frames[:, :3, 0]
    x = [frames[0, :3, 0]]
    for z0, z1 in pairwise(frames[:, :3, 2]):
        # the smallest rotation from z0 to z1 (Rodrigues), applied to the last direction
        axis, cosine = np.cross(z0, z1), float(z0 @ z1)
        turned_x = cosine * x[-1] + np.cross(axis, x[-1]) + axis * (axis @ x[-1]) / max(1.0 + cosine, 1e-6)
        turned_x -= (turned_x @ z1) * z1
        x.append(turned_x / np.linalg.norm(turned_x))
    return np.array(x)


def _smooth(at_m: Array, values: Array, wave_m: float, deviation: float, *, fade: bool) -> BSpline:
    """Return a spline along values (N, 3) that cuts waves shorter than `wave_m` as far as the deviation allows."""
    step = at_m[-1] / (len(at_m) - 1)
    before, after = (_continued(x, v, step, fade) for x, v in ((at_m, values), (at_m[-1] - at_m[::-1], values[::-1])))
    n = len(before)
    x = np.concatenate([-step * np.arange(n, 0, -1), at_m, at_m[-1] + step * np.arange(1, n + 1)])
    y = np.concatenate([before[::-1], values, after])
    for share in (1.0, 0.7, 0.5, 0.35, 0.25, 0.12):
        spline = make_smoothing_spline(x, y, lam=(share * wave_m / (2.0 * np.pi)) ** 4 / step, axis=0)
        if np.linalg.norm(spline(at_m) - values, axis=1).max() <= deviation:
            return spline
    return make_interp_spline(x, y, k=3)


def _continued(x: Array, values: Array, step: float, fade: bool) -> Array:
    """Return values (M, 3) at -step, -2 step, ... to _BEYOND_M: along a parabola, then straight or (fade) constant."""
    n = max(int(np.ceil(_BEYOND_M / step)), 4)
    d = -step * np.arange(1, n + 1)[:, None]
    near = x <= max(_END_M, 4.0 * step)
    degree = 2 if near.sum() >= 5 else 1
    fit = np.polynomial.polynomial.polyfit(x[near], values[near] - values[0], degree)
    eased = d / np.sqrt(np.sqrt(1.0 + (d / _FADE_M) ** 4))
    bend = fit[2] * eased**2 if degree == 2 else 0.0
    return values[0] + fit[1] * (eased if fade else d) + bend


def turned(
    T: Array,
    *,
    spin_rad: Array | float = 0.0,
    tilt_rad: Array | None = None,
    standoff_m: Array | float = 0.0,
    pivot_m: float = 0.0,
) -> Array:
    """Return tool frames (..., 4, 4) tilted about their x and y, spun about the new axis and shifted back along it.

    The tilt turns about the point `pivot_m` ahead of the tool centre point, which stays where it is.
    """
    R = T[..., :3, :3]
    if tilt_rad is not None:
        R = R @ _rotation(np.asarray(tilt_rad, float))
    spin = np.broadcast_to(np.asarray(spin_rad, float), T.shape[:-2])
    c, s = np.cos(spin)[..., None], np.sin(spin)[..., None]
    out = T.copy()
    out[..., :3, 0] = c * R[..., 0] + s * R[..., 1]
    out[..., :3, 1] = -s * R[..., 0] + c * R[..., 1]
    out[..., :3, 2] = R[..., 2]
    out[..., :3, 3] += pivot_m * (T[..., :3, 2] - R[..., 2])
    out[..., :3, 3] -= np.broadcast_to(np.asarray(standoff_m, float), T.shape[:-2])[..., None] * R[..., 2]
    return out


def _rotation(tilt_rad: Array) -> Array:
    """Return rotations (..., 3, 3) by rotation vectors (..., 2) that lie in the xy plane (Rodrigues)."""
    angle = np.linalg.norm(tilt_rad, axis=-1)
    direction = tilt_rad / np.maximum(angle, 1e-12)[..., None]
    x, y = direction[..., 0], direction[..., 1]
    K = np.zeros((*angle.shape, 3, 3))
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 0], K[..., 2, 1] = y, -x, -y, x
    s, c = np.sin(angle)[..., None, None], np.cos(angle)[..., None, None]
    return np.eye(3) + s * K + (1.0 - c) * (K @ K)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeedLaw:
    """Speed over chord length; acceleration is constant between grid points."""

    s_m: Array
    """(M,) grid from 0 to the stroke's length [m]."""
    speed_m_per_s: Array
    """(M,)."""

    @staticmethod
    def of(path: StrokePath) -> "SpeedLaw":
        """Return the speed that a stroke prescribes: its square is linear between samples."""
        s = np.unique(np.r_[path.at_m, np.linspace(0.0, path.length_m, int(path.length_m / _GRID_M) + 2)])
        return SpeedLaw(s_m=s, speed_m_per_s=np.sqrt(np.interp(s, path.at_m, path.stroke.speed_m_per_s**2)))

    def capped(self, s_m: Array, cap_m_per_s: Array, acceleration_m_per_s2: float) -> "SpeedLaw":
        """Return the law slowed to below caps at s (M,), braking and speeding up at the given acceleration."""
        square = np.interp(self.s_m, s_m, cap_m_per_s) ** 2
        step = 2.0 * acceleration_m_per_s2 * np.diff(self.s_m)
        for i in range(len(step)):
            square[i + 1] = min(square[i + 1], square[i] + step[i])
        for i in range(len(step) - 1, -1, -1):
            square[i] = min(square[i], square[i + 1] + step[i])
        return SpeedLaw(s_m=self.s_m, speed_m_per_s=np.minimum(self.speed_m_per_s, np.sqrt(square)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Chord length over time, from rest before the stroke to rest after it."""

    time_s: Array
    """(M,) fine grid [s]."""
    s_m: Array
    """(M,) chord length, below 0 on the lead-in and above the stroke's length on the lead-out [m]."""
    start_s: float
    """When the tool is at the stroke's first sample [s]."""
    end_s: float
    """When the tool is at the stroke's last sample [s]."""

    def at(self, time_s: Array) -> Array:
        """Return chord lengths at times [m]."""
        return np.interp(time_s, self.time_s, self.s_m)

    def speed_at(self, time_s: Array) -> Array:
        """Return speeds at times [m/s]."""
        middles = 0.5 * (self.time_s[1:] + self.time_s[:-1])
        return np.interp(time_s, middles, np.diff(self.s_m) / np.diff(self.time_s))

    def time_at(self, s_m: Array) -> Array:
        """Return when the tool is at chord lengths [s]."""
        moving = np.r_[True, np.diff(self.s_m) > 1e-12]
        return np.interp(s_m, self.s_m[moving], self.time_s[moving])

    def nodes(self, period_s: float) -> tuple[Array, int, int]:
        """Return time nodes no farther apart than the period, and the indices of start and end among them."""
        pieces = [np.zeros(1)]
        index = []
        for a, b in ((0.0, self.start_s), (self.start_s, self.end_s), (self.end_s, float(self.time_s[-1]))):
            n = max(int(np.ceil((b - a) / period_s - 1e-6)), 1)
            if b - a > 1e-9:
                pieces.append(np.linspace(a, b, n + 1)[1:])
            index.append(sum(map(len, pieces)) - 1)
        return np.concatenate(pieces), index[0], index[1]


def ramp_length_m(speed_m_per_s: float, acceleration_m_per_s2: float) -> float:
    """Return the length of a lead-in or lead-out that reaches a speed at this peak acceleration [m]."""
    return 0.75 * speed_m_per_s**2 / acceleration_m_per_s2


def rounded(grid_m: Array, level: Array, s_m: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return levels on the grid raised by one around places s (N,), and which of those had room to rise (N,)."""
    index = np.clip(np.searchsorted(grid_m, s_m), 0, len(grid_m) - 1)
    highest = len(SMOOTHING_S) - 1.0
    room = level[index] < highest - 0.05
    n = max(int(grid_m[-1] / _GRID_M), 2)
    even = np.linspace(0.0, grid_m[-1], n)
    asked = np.zeros(n)
    asked[np.clip(np.round(grid_m[index[room]] / grid_m[-1] * (n - 1)).astype(int), 0, n - 1)] = 1.0
    width = max(round(ROUNDED_M / _GRID_M), 1)
    rise = gaussian_filter1d(maximum_filter1d(asked, 2 * width + 1, mode="nearest"), 0.4 * width, mode="nearest")
    return np.minimum(level + 1.02 * np.interp(grid_m, even, rise), highest), room


def profile(
    law: SpeedLaw,
    acceleration_in_m_per_s2: float,
    acceleration_out_m_per_s2: float,
    level: Array | None = None,
) -> Profile:
    """Run a law from rest to rest: speed rises as 3 tau^2 - 2 tau^3 on the lead-in, and falls likewise after.

    Args:
        law: over the stroke.
        acceleration_in_m_per_s2: peak on the lead-in.
        acceleration_out_m_per_s2: peak on the lead-out.
        level: (M,) on the law's grid, over how long speed is averaged there: 0 the shortest of SMOOTHING_S, and so on,
            in between a mixture; None: the longest everywhere.
    """
    v = law.speed_m_per_s
    lead = [1.5 * float(x) / a for x, a in ((v[0], acceleration_in_m_per_s2), (v[-1], acceleration_out_m_per_s2))]
    at = np.r_[0.0, np.cumsum(2.0 * np.diff(law.s_m) / (v[:-1] + v[1:]))]
    total = lead[0] + at[-1] + lead[1]
    time = _FINE_S * np.arange(int(np.ceil(total / _FINE_S)) + 2, dtype=float)
    s = _law_position(law, at, time - lead[0])
    rise = np.clip(time / lead[0], 0.0, 1.0)
    s = np.where(time < lead[0], v[0] * lead[0] * (rise**3 - 0.5 * rise**4 - 0.5), s)
    fall = np.clip((total - time) / lead[1], 0.0, 1.0)
    s_end = law.s_m[-1] + v[-1] * lead[1] * (0.5 - fall**3 + 0.5 * fall**4)
    s = np.where(time > lead[0] + at[-1], s_end, s)
    smooth = _averaged(s, np.full(len(s), len(SMOOTHING_S) - 1.0) if level is None else np.interp(s, law.s_m, level))
    moving = np.flatnonzero(np.diff(smooth) > _STILL_M)
    smooth = smooth[moving[0] : moving[-1] + 2]
    result = Profile(time_s=_FINE_S * np.arange(len(smooth), dtype=float), s_m=smooth, start_s=0.0, end_s=0.0)
    start, end = result.time_at(np.array([0.0, law.s_m[-1]]))
    return Profile(time_s=result.time_s, s_m=smooth, start_s=float(start), end_s=float(end))


def _averaged(s: Array, level: Array) -> Array:
    """Return chord lengths (M,) on the fine grid averaged by levels (M,), with room for the longest at both ends."""
    room = round(SMOOTHING_S[-1] / _FINE_S)
    padded = np.concatenate([np.full(room, s[0]), s, np.full(room, s[-1])])
    level = np.concatenate([np.full(room, level[0]), level, np.full(room, level[-1])])
    if (highest := float(level.max())) <= 0.0 or float(level.min()) == highest == round(highest):
        return _mean_over(padded, SMOOTHING_S[round(highest)])
    means = np.stack([_mean_over(padded, window) for window in SMOOTHING_S])
    low = np.minimum(level.astype(int), len(SMOOTHING_S) - 2)
    share, column = level - low, np.arange(len(padded))
    return (1.0 - share) * means[low, column] + share * means[low + 1, column]


def _mean_over(values: Array, window_s: float) -> Array:
    half = round(0.5 * window_s / _FINE_S)
    return uniform_filter1d(values, 2 * half + 1, mode="nearest")


def _law_position(law: SpeedLaw, at_s: Array, time_s: Array) -> Array:
    t = np.clip(time_s, 0.0, at_s[-1])
    i = np.clip(np.searchsorted(at_s, t, side="right") - 1, 0, len(at_s) - 2)
    v0, v1 = law.speed_m_per_s[i], law.speed_m_per_s[i + 1]
    d = t - at_s[i]
    return law.s_m[i] + v0 * d + 0.5 * (v1 - v0) / (at_s[i + 1] - at_s[i]) * d**2


def unwrapped(angles_rad: Array) -> Array:
    """Return angles (N,) without jumps of more than half a turn."""
    return np.unwrap(angles_rad, period=TURN_RAD)
