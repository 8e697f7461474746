"""Lines for a leaned disc: it touches with a segment of its rim, which ends sharply at a bead's foot or end.

Upright, a disc in a hollow stands on its rim and leaves what lies under its middle; over a foot or an end it meets the
parent as soon as the bead. Leaned, its rim fits a hollow down to a radius of its own over the lean, wherever that is
laid, and beyond the rim nothing is touched.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cell_core.config import PadTool
from cell_core.transforms import Array, unit
from grinding_planner.bead_parent import Parent
from grinding_planner.strokes import Line, line_through

LEAN_RAD = 0.015
"""On flat ground: a hard disc's segment is then about as wide as half a radius."""
HOLLOW_FACTOR = 1.5
"""The rim fits a hollow with so much to spare."""
PITCH_M = 0.002
INSET_M = 0.0002
LINES_MAX = 9
"""To either side."""
SPOKES_RAD = np.deg2rad([-72.0, -36.0, 0.0, 36.0, 72.0])
"""At a bead's ends, from its direction."""
AXIS_SMOOTHING_M = 0.010


def lean_rad(rise_m: float, tool: PadTool) -> float:
    """Return the lean for a parent that rises so far from the disc's middle to its rim, as far as the tool may."""
    hollow = max(rise_m, 0.0) * 2.0 / tool.radius_m
    return float(min(tool.tilt_max_rad, max(LEAN_RAD, HOLLOW_FACTOR * hollow)))


def leant_over(
    parent: Parent, middle_m: Array, outward: Array, width_m: float, lean: float, step_m: float, tool: PadTool
) -> list[Line]:
    """Return lines of leaned poses: along the bead with the rim low to either side, and outwards over its ends.

    Args:
        middle_m: (N, 3) the bead's middle line on its parent, from end to end.
        outward: (N, 3) the parent's normals there.
        width_m: from foot to foot.
        lean: angle between disc and parent [rad].
    """
    half = 0.5 * width_m - INSET_M
    forward = unit(np.gradient(middle_m, axis=0))
    side = unit(np.cross(outward, forward))
    n = int(np.clip(np.ceil(half / PITCH_M) + 1, 2, LINES_MAX))
    lines = [
        _leant(parent, middle_m + sign * offset * side, outward, sign * side, lean, step_m, tool)
        for sign in (1.0, -1.0)
        for offset in np.linspace(0.0, half, n)
    ]
    # the ends are round: spokes from half a width inside
    inside = int(np.clip(round(0.5 * width_m / step_m), 1, len(middle_m) - 1))
    for k, sign in ((inside, -1.0), (len(middle_m) - 1 - inside, 1.0)):
        for angle in SPOKES_RAD:
            spoke = unit(sign * np.cos(angle) * forward[k] + np.sin(angle) * side[k])
            along = np.linspace(-0.3 * half, half, max(4, int(np.ceil(1.3 * half / step_m)) + 1))
            contact = middle_m[k] + along[:, None] * spoke
            normal = np.broadcast_to(outward[k], contact.shape)
            lines.append(_leant(parent, contact, normal, np.broadcast_to(spoke, contact.shape), lean, step_m, tool))
    return [line for line in lines if line is not None]


def _leant(
    parent: Parent, contact_m: Array, near: Array, low_side: Array, lean: float, step_m: float, tool: PadTool
) -> Line | None:
    # the lowest point of the rim lies at the contact
    height, normal, _ = parent.at(contact_m, near)
    contact = contact_m - height[:, None] * normal
    normal = unit(gaussian_filter1d(normal, AXIS_SMOOTHING_M / step_m, axis=0, mode="nearest"))
    side = unit(low_side - np.einsum("ij,ij->i", low_side, normal)[:, None] * normal)
    down = np.cos(lean) * side - np.sin(lean) * normal
    return line_through(contact - tool.radius_m * down, -np.cos(lean) * normal - np.sin(lean) * side)
