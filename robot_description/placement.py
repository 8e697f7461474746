"""Where a part stands on the fixture when nobody says otherwise."""

import numpy as np

from cell_core.surface import Surface
from cell_core.transforms import Array, transform_from_xyz_rpy

SQUARE = 1e-6
"""Sides that differ by less than this fraction count as equal, so that rounding decides nothing."""


def resting_pose(surface: Surface) -> Array:
    """Return T_fixture_part (4, 4): bounding box centred on the fixture, lowest point at z = 0, longer side along y.

    The part keeps its own z upwards and is turned by 0 or 90 degrees about it, whichever lays the longer horizontal
    side of its bounding box along y; a square one is not turned.
    """
    low, high = surface.bounds_m
    centre = 0.5 * (low + high)
    extent = high - low
    T = transform_from_xyz_rpy(
        (0.0, 0.0, 0.0), (0.0, 0.0, np.pi / 2.0 if extent[0] > extent[1] * (1.0 + SQUARE) else 0.0)
    )
    T[:3, :3] = np.round(T[:3, :3])  # exact quarter turn
    T[:3, 3] = -T[:3, :3] @ np.array([centre[0], centre[1], low[2]])
    return T
