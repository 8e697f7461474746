"""Lines along a bead, over its middle and to either side, flat on the parent, so that the disc keeps within its feet.

A disc held by the arm cannot follow a parent whose direction is known no better than a scan tells: a milliradian lifts
one side by a thousandth of its diameter. What reaches past the feet then digs in, so little does.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from cell_core.config import PadTool
from cell_core.errors import CoverageError
from cell_core.transforms import Array, unit
from grinding_planner.bead import Bead
from grinding_planner.bead_ground import BeadGround
from grinding_planner.bead_leans import lean_rad, leant_over
from grinding_planner.bead_parent import Parent
from grinding_planner.strokes import Line, line_through, smoothed

STEP_RADII, STEP_MIN_M, STEP_MAX_M = 0.16, 0.0008, 0.002
PITCH_M = 0.003
LINES_MAX = 9
OVERHANG_M = 0.006
"""The contact reaches so far past the bead's feet and ends."""
SIDE_RADII, END_RADII = 0.14, 0.3
"""A disc too large for that still goes so far to the sides, for its middle stands still, and so near to the ends."""
RISE_MAX_M = 0.15e-3
"""A disc whose rim a hollow lifts further than this leaves its middle out."""
RISE_SMOOTHING_M = 0.010
CENTRING_M = 0.003
AXIS_SMOOTHING_M = 0.010
LEAST_M = 0.0025
"""Half of the shortest line."""


def step_of(tool: PadTool) -> float:
    """Return the distance of samples along a line [m]."""
    return float(np.clip(STEP_RADII * tool.radius_m, STEP_MIN_M, STEP_MAX_M))


def lines_over(ground: BeadGround, bead: Bead, tool: PadTool) -> list[Line]:
    """Return lines of pad poses along the bead, at most PITCH_M apart, all in one direction; in hollows leant ones too.

    Raises:
        CoverageError: the parent is too hollow for the disc.
    """
    parent = ground.parent
    # the middle line ends half a width inside: a strip with round ends
    area, length = float(ground.feet.areas_m2[ground.bead].sum()), bead.length_m
    width = 2.0 / np.pi * (np.sqrt(length**2 + np.pi * area) - length)
    middle, past = _middle(ground, bead, width, tool)
    rise = _rim_rise(parent, middle[past <= 0.0], _outward(parent, middle[past <= 0.0]), tool)
    if rise > RISE_MAX_M:
        raise CoverageError(
            f"bead: the parent is hollow with a radius of {0.5 * tool.radius_m**2 / rise:.3g} m, so tool {tool.name} "
            f"of radius {tool.radius_m:g} m would stand on its rim {rise * 1e3:.2g} mm above the middle, at most "
            f"{RISE_MAX_M * 1e3:g} mm: a smaller tool is needed"
        )
    lean, ends, own = lean_rad(rise, tool), middle[past <= 0.0], ground.feet.points_m[ground.bead]
    leant = leant_over(parent, ends, _outward(parent, ends), own, lean, tool) if lean > 0.0 else []
    reach = 0.5 * width + OVERHANG_M - _contact_radius(rise, tool)
    longest_cut = 0.5 * (past <= 0.0).sum() * step_of(tool) - LEAST_M
    middle = middle[past <= max(reach - 0.5 * width, -END_RADII * tool.radius_m, -longest_cut)]
    outward = _outward(parent, middle)
    half = float(np.clip(reach, min(0.25 * width, SIDE_RADII * tool.radius_m), 0.5 * width))
    n = int(np.clip(np.ceil(2.0 * half / PITCH_M) + 1, 1, LINES_MAX))
    side = unit(np.cross(outward, np.gradient(middle, axis=0)))
    lines = []
    for offset in np.linspace(-half, half, n) if n > 1 else (0.0,):
        shifted = middle + offset * side
        height, normal, _ = parent.at(shifted, outward)
        normal = smoothed(normal, AXIS_SMOOTHING_M / step_of(tool))
        line = line_through(shifted - height[:, None] * outward, -unit(normal))
        if line is not None:
            lines.append(line)
    return lines + leant


def _contact_radius(rise_m: float, tool: PadTool) -> float:
    # a ball's on the layer at the lowest force: F = pi K R d^2, a^2 = 2 R d; the whole disc where that is larger
    if rise_m >= 0.0:
        return tool.radius_m
    ball = 0.5 * tool.radius_m**2 / -rise_m
    depth = np.sqrt(tool.force_n.low / (np.pi * tool.stiffness_pa_per_m * ball))
    return float(min(tool.radius_m, np.sqrt(2.0 * ball * depth)))


def _middle(ground: BeadGround, bead: Bead, width_m: float, tool: PadTool) -> tuple[Array, Array]:
    # even points of the middle line, run on straight at both ends, and how far past the bead's ends each one is
    points = np.stack([gaussian_filter1d(bead.middle_m[:, k], 1.0, mode="nearest") for k in range(3)], axis=1)
    first, last = points[0] - points[min(2, len(points) - 1)], points[-1] - points[max(-3, -len(points))]
    past = width_m + bead.spacing_m
    ends = [p + past * d / max(np.linalg.norm(d), 1e-9) for p, d in ((points[0], first), (points[-1], last))]
    points = np.vstack([ends[0], points, ends[1]])
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    step = step_of(tool)
    even = np.linspace(0.0, s[-1], max(5, int(np.ceil(s[-1] / step)) + 1))
    points = np.stack([np.interp(even, s, points[:, k]) for k in range(3)], axis=1)
    points = gaussian_filter1d(points, 0.006 / step, axis=0, mode="nearest")
    points -= ground.parent.at(points, _near_normals(ground.parent, points))[0][:, None] * _outward(
        ground.parent, points
    )
    points = points + _off_centre(points, ground, step)
    tree = KDTree(ground.feet.points_m[ground.bead])
    inside = np.flatnonzero(tree.query(points)[0] < 1.5 * ground.feet.spacing_m)
    low, high = even[inside[0]], even[inside[-1]]
    return points, np.maximum(low - even, even - high)


def _off_centre(points: Array, ground: BeadGround, step_m: float) -> Array:
    # how far the middle between the feet lies beside each point: smoothing has drawn the line into the bends
    side = unit(np.cross(_outward(ground.parent, points), np.gradient(points, axis=0)))
    feet, areas = ground.feet.points_m[ground.bead], ground.feet.areas_m2[ground.bead]
    _, nearest = KDTree(points).query(feet)
    across = np.einsum("ij,ij->i", feet - points[nearest], side[nearest])
    n = len(points)
    wide = CENTRING_M / step_m
    weight = gaussian_filter1d(np.bincount(nearest, areas, n), wide, mode="constant")
    moment = gaussian_filter1d(np.bincount(nearest, areas * across, n), wide, mode="constant")
    return (moment / np.maximum(weight, 1e-3 * weight.max()))[:, None] * side


def _near_normals(parent: Parent, points: Array) -> Array:
    return parent.frames[KDTree(parent.support_m).query(points)[1], 2]


def _outward(parent: Parent, points: Array) -> Array:
    return parent.at(points, _near_normals(parent, points))[1]


def _rim_rise(parent: Parent, points: Array, outward: Array, tool: PadTool) -> float:
    # how far the parent rises to the rim of a disc laid on it, the highest of eight directions, noise averaged along
    forward = unit(np.gradient(points, axis=0))
    side = np.cross(outward, forward)
    highest, here = -np.inf, parent.at(points, outward)[0]
    for angle in np.arange(4) * 0.25 * np.pi:
        spoke = tool.radius_m * (np.cos(angle) * forward + np.sin(angle) * side)
        rise = here - 0.5 * (parent.at(points + spoke, outward)[0] + parent.at(points - spoke, outward)[0])
        highest = max(highest, float(gaussian_filter1d(rise, RISE_SMOOTHING_M / step_of(tool), mode="nearest").max()))
    return highest
