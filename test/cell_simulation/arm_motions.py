"""Motions that the tests of the arm share."""

import numpy as np

from cell_simulation.arm import Arm
from robot_description import load_cell

ROBOT = load_cell("default").robot


def wave(duration_s: float = 4.0, amplitude_rad: float = 0.25, period_s: float = 0.05):
    """Return times, positions, velocities and accelerations of a smooth motion out of home and back."""
    t = np.linspace(0.0, duration_s, round(duration_s / period_s) + 1)
    s, c = np.sin(np.pi * t / duration_s), np.cos(np.pi * t / duration_s)
    w = np.pi / duration_s
    a = amplitude_rad * np.array([1.0, 0.5, -0.5, 0.8, 0.6, 1.0])
    shape, rate, rate2 = s**2, 2 * w * s * c, 2 * w**2 * (c**2 - s**2)
    return t, ROBOT.home_rad + np.outer(shape, a), np.outer(rate, a), np.outer(rate2, a)


def run(arm: Arm) -> tuple[np.ndarray, list[float]]:
    positions, errors = [], []
    while arm.status == "running":
        arm.advance()
        positions.append(arm.position_rad)
        errors.append(arm.tracking_error_rad)
    return np.array(positions), errors
