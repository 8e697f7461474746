"""Lines for a leant disc: it touches with a short piece of its rim, so a hollow does not lift it off its middle.

Upright in a hollow a disc stands on its whole rim: what lies under its middle is left while the parent is cut beside
it. Leant by more than the hollow rises under it, it touches with the lowest piece of its rim alone. Leant forward that
piece lies across the way and what it takes off falls away softly to both sides; leant to the side it ends sharply,
beside a bead's foot.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d, percentile_filter
from scipy.spatial import KDTree

from cell_core.config import PadTool
from cell_core.transforms import Array, unit
from grinding_planner.bead_parent import Parent
from grinding_planner.strokes import Line, line_through, smoothed

RISE_MIN_M = 15e-6
"""A disc whose rim a hollow lifts less than this off its middle stays upright: that much is in no bead's way."""
HOLLOW_FACTOR = 1.5
"""The disc leans so many times what just lifts its far side off the hollow."""
STEP_M = 0.0005
"""Of samples along a line: the piece that touches is not much longer than a millimetre."""
PITCH_M = 0.002
INSET_M = 0.0002
"""The rim stays so far inside the foot."""
FOOT_REACH_M = 0.0015
"""A foot is seen over so much to either side: samples stand further apart than it bends."""
AXIS_SMOOTHING_M = 0.010


def lean_rad(rise_m: float, tool: PadTool) -> float:
    """Return the lean for a parent that rises so far from the disc's middle to its rim; 0 where it may stay upright.

    A hollow of radius R rises by x^2 / 2R, a leant disc by its lean times the way from its lowest point: over the whole
    disc the latter is more from 2 rise / radius on, times two since the far side is two radii away.
    """
    if rise_m < RISE_MIN_M or tool.tilt_max_rad == 0.0:
        return 0.0
    return float(min(tool.tilt_max_rad, HOLLOW_FACTOR * 2.0 * rise_m / tool.radius_m))


def leant_over(
    parent: Parent, middle_m: Array, outward: Array, bead_m: Array, lean: float, tool: PadTool
) -> list[Line]:
    """Return lines along a bead for a disc leant forward, and for one leant to either side along its feet.

    Args:
        middle_m: (N, 3) the bead's middle line on its parent, from end to end.
        outward: (N, 3) the parent's normals there.
        bead_m: (B, 3) points of the parent that the bead stands on.
        lean: angle between disc and parent [rad].
    """
    middle, outward = _finer(middle_m, outward)
    forward = unit(np.gradient(middle, axis=0))
    side = unit(np.cross(outward, forward))
    feet = _feet(middle, side, bead_m)
    n = 2 * int(np.ceil(np.max(feet) / PITCH_M)) + 1
    ways = [(share * feet[int(share > 0.0)], forward) for share in np.linspace(-1.0, 1.0, n)]
    for k, sign in ((0, -1.0), (1, 1.0)):
        ways += [(sign * np.maximum(feet[k] - inset, 0.0), sign * side) for inset in (INSET_M, INSET_M + PITCH_M)]
    lines = [_leant(parent, middle + offset[:, None] * side, outward, low, lean, tool) for offset, low in ways]
    return [line for line in lines if line is not None]


def _feet(middle: Array, side: Array, bead_m: Array) -> Array:
    """Return how far the bead's feet lie from its middle line (2, N), on the right and on the left [m]."""
    _, nearest = KDTree(middle).query(bead_m)
    across = np.einsum("ij,ij->i", bead_m - middle[nearest], side[nearest])
    feet = np.zeros((2, len(middle)))
    for k, sign in ((0, -1.0), (1, 1.0)):
        np.maximum.at(feet[k], nearest, sign * across)
    calm = round(FOOT_REACH_M / STEP_M)
    return gaussian_filter1d(percentile_filter(feet, 80, size=(1, 2 * calm + 1)), calm, axis=1, mode="nearest")


def _finer(points: Array, outward: Array) -> tuple[Array, Array]:
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    at = np.linspace(0.0, s[-1], max(4, int(np.ceil(s[-1] / STEP_M)) + 1))
    points, outward = (np.stack([np.interp(at, s, v[:, k]) for k in range(3)], axis=1) for v in (points, outward))
    return points, unit(outward)


def _leant(parent: Parent, contact_m: Array, near: Array, low_side: Array, lean: float, tool: PadTool) -> Line | None:
    """Return the line of a disc whose lowest point runs along the contact (N, 3)."""
    height, normal, _ = parent.at(contact_m, near)
    contact = contact_m - height[:, None] * near
    normal = unit(smoothed(normal, AXIS_SMOOTHING_M / STEP_M))
    side = unit(low_side - np.einsum("ij,ij->i", low_side, normal)[:, None] * normal)
    down = np.cos(lean) * side - np.sin(lean) * normal
    return line_through(contact - tool.radius_m * down, -np.cos(lean) * normal - np.sin(lean) * side)
