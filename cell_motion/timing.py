"""Time on paths: joint motions within velocity, acceleration and jerk limits, sampled at the controller's period."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from cell_core.transforms import Array
from robot_description.model import RobotModel

_FINE_S = 0.001
END_SHARES = (0.25, 0.5)
"""Nodes stand closer at both ends of a motion, by these shares of the period: a cubic spline held at rest starts with a
little acceleration, and a motion that follows another would jump in it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """Joint limits of motion, each (6,)."""

    velocity_rad_per_s: Array
    acceleration_rad_per_s2: Array
    jerk_rad_per_s3: Array

    @staticmethod
    def of(robot: RobotModel, fraction: float = 1.0) -> "Limits":
        """Return a robot's limits times `fraction`."""
        return Limits(
            velocity_rad_per_s=fraction * robot.velocity_rad_per_s,
            acceleration_rad_per_s2=fraction * robot.acceleration_rad_per_s2,
            jerk_rad_per_s3=fraction * robot.jerk_rad_per_s3,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Joint motion at time nodes; a twice continuously differentiable cubic spline between them."""

    time_s: Array
    """(N,) strictly increasing from 0 [s]."""
    position_rad: Array
    """(N, 6)."""
    velocity_rad_per_s: Array
    """(N, 6)."""
    acceleration_rad_per_s2: Array
    """(N, 6)."""

    @property
    def duration_s(self) -> float:
        """Whole time [s]."""
        return float(self.time_s[-1])

    def ratios(self, limits: Limits) -> tuple[Array, Array]:
        """Return, per node, the largest velocity and the largest acceleration as fractions of the limits, each (N,)."""
        return (
            (np.abs(self.velocity_rad_per_s) / limits.velocity_rad_per_s).max(axis=1),
            (np.abs(self.acceleration_rad_per_s2) / limits.acceleration_rad_per_s2).max(axis=1),
        )

    def jerk_ratios(self, limits: Limits) -> Array:
        """Return, per node, the larger jerk of both sides as a fraction of the limits (N,)."""
        jerk = np.diff(self.acceleration_rad_per_s2, axis=0) / np.diff(self.time_s)[:, None]
        ratio = (np.abs(jerk) / limits.jerk_rad_per_s3).max(axis=1)
        return np.maximum(np.r_[0.0, ratio], np.r_[ratio, 0.0])

    def jerk_ratio(self, limits: Limits) -> float:
        """Return the largest jerk between nodes as a fraction of the limits."""
        return float(self.jerk_ratios(limits).max())

    def worst_ratio(self, limits: Limits) -> float:
        """Return the largest of velocity and acceleration as fractions of the limits."""
        velocity, acceleration = self.ratios(limits)
        return float(max(velocity.max(), acceleration.max()))


def through(time_s: Array, position_rad: Array) -> Motion:
    """Return the motion through joint positions (N, 6) at times (N,), at rest at both ends."""
    spline = CubicSpline(time_s, position_rad, bc_type="clamped")
    return Motion(
        time_s=time_s,
        position_rad=position_rad,
        velocity_rad_per_s=spline(time_s, 1),
        acceleration_rad_per_s2=spline(time_s, 2),
    )


def hold(position_rad: Array, duration_s: float, period_s: float) -> Motion:
    """Return standing still."""
    n = max(int(np.ceil(duration_s / period_s)), 1)
    return through(np.linspace(0.0, duration_s, n + 1), np.tile(position_rad, (n + 1, 1)))


def along(path_rad: Array, limits: Limits, period_s: float, shortest_s: float = 0.0) -> Motion:
    """Run a smooth joint path (M, 6), evenly spaced samples, from rest to rest by the minimum-jerk law.

    The law is u = 10 tau^3 - 15 tau^4 + 6 tau^5 on the path's parameter; time is stretched until all limits hold.

    Source: Flash, Hogan, 1985, equation 3.
    """
    spline = CubicSpline(np.linspace(0.0, 1.0, len(path_rad)), path_rad)
    duration = max(shortest_s, 4.0 * period_s)
    for _ in range(20):
        n = int(np.ceil(duration / period_s - 1e-9))
        ends = np.array(END_SHARES)
        tau = np.r_[0.0, ends, np.arange(1, n), n - ends[::-1], n] / n
        motion = through(tau * n * period_s, spline(tau**3 * (10.0 - 15.0 * tau + 6.0 * tau**2)))
        velocity, acceleration = (float(r.max()) for r in motion.ratios(limits))
        stretch = max(velocity, np.sqrt(acceleration), np.cbrt(motion.jerk_ratio(limits)))
        if stretch <= 1.0:
            break
        duration = n * period_s * max(stretch, 1.01)
    return motion


def polyline(waypoints_rad: Array, limits: Limits, period_s: float, speed: float = 1.0) -> Motion:
    """Run joint waypoints (K, 6) from rest to rest, rounding the corners in between.

    Each leg is run at constant joint velocity; two moving averages over time then bound acceleration and jerk. Averages
    of velocities within the limits stay within them, and a straight leg stays straight. Corners are cut by about
    (change of velocity) x (averaging time) / 8: halving `speed` cuts them a quarter as much.
    """
    legs = np.diff(waypoints_rad, axis=0)
    legs = legs[np.abs(legs).max(axis=1) > 1e-9]
    if len(legs) == 0:
        return hold(waypoints_rad[0], 2.0 * period_s, period_s)
    fastest_s = (np.abs(legs) / limits.velocity_rad_per_s).max(axis=1)
    velocity = legs / fastest_s[:, None]
    change = np.maximum(velocity.max(axis=0), 0.0) - np.minimum(velocity.min(axis=0), 0.0)
    blend_s = float((change / limits.acceleration_rad_per_s2).max())
    # time is sum / k + k * blend: shortest for k = sqrt(sum / blend)
    k = speed * min(1.0, float(np.sqrt(fastest_s.sum() / blend_s)))
    jerk_s = float((limits.acceleration_rad_per_s2 / limits.jerk_rad_per_s3).max())
    for _ in range(12):
        motion = _averaged(waypoints_rad[0], legs, fastest_s / k, (k * blend_s, jerk_s), period_s)
        excess = motion.jerk_ratio(limits)
        if excess <= 1.0:
            break
        jerk_s *= max(1.05, excess)
    return motion


def _averaged(start_rad: Array, legs: Array, legs_s: Array, windows_s: tuple[float, float], period_s: float) -> Motion:
    counts = np.maximum(np.ceil(legs_s / _FINE_S - 1e-9).astype(int), 1)
    steps = np.repeat(legs / counts[:, None], counts, axis=0)
    position = start_rad + np.concatenate([np.zeros((1, legs.shape[1])), np.cumsum(steps, axis=0)])
    for window_s in windows_s:
        n = max(int(np.ceil(window_s / _FINE_S)), 1)
        position = np.concatenate([np.tile(position[0], (n, 1)), position, np.tile(position[-1], (n, 1))])
        # trapezoids, or acceleration would start with a jump of a fine step's jerk
        total = np.cumsum(np.r_[np.zeros((1, legs.shape[1])), 0.5 * (position[1:] + position[:-1])], axis=0)
        position = (total[n:] - total[:-n]) / n
    stride = max(round(period_s / _FINE_S), 1)
    rest = -(len(position) - 1) % stride
    position = np.concatenate([position, np.tile(position[-1], (rest, 1))])
    last = len(position) - 1
    near = np.unique([round(share * stride) for share in END_SHARES])
    index = np.unique(np.r_[np.arange(0, last + 1, stride), near, last - near])
    return through(_FINE_S * index.astype(float), position[index])
