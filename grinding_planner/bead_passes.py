"""Take a bead off in passes: each is optimised on the surface as those before left it, then run in the model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from cell_core.config import PadTool
from cell_core.optimise.dwell import limit_acceleration
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames
from grinding_planner.bead import Bead, Parent
from grinding_planner.contact import balance, pad_pairs, relative_speed, removal_rates
from grinding_planner.results import stroke_of
from grinding_planner.samples import SurfaceSamples
from grinding_planner.strokes import Line, cut, line_through
from grinding_planner.thinning import LeastSquares

STEP_M = 0.004
PASSES_MAX = 40
SKIN_M = 0.05e-3
"""Passes aim this high above the parent, so that noise and tolerances go into what is left, not into the parent."""
DEPTH_PER_PASS_M = 0.30e-3
"""Contact is taken as it is at the start of a pass; more than this would change it too much."""
UNDERCUT_WEIGHT = 12.0
SUBSTEP = 0.25
"""Removal per sub-step over the layer's compression, at most: the explicit step is stable up to 1."""
OFFSETS_RADII = (0.0, 0.24, -0.24)


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadRemoval:
    """Passes over one bead and what they leave."""

    strokes: tuple[Stroke, ...]
    removed_m: Array
    """(S,) depth removed along the sample's normal [m]."""
    visits: Array
    """(S,) passes that touched the sample."""


def middle_lines(bead: Bead, parent: Parent, radius_m: float) -> list[Line]:
    """Return lines on the parent along the bead: over its middle, and to either side of it.

    A bead wider than a third of the disc gets the shifted ones, so that the slow centre of a disc does not always meet
    the same part of it. Lines reach half a radius past the bead's ends.
    """
    points = np.stack([gaussian_filter1d(bead.middle_m[:, k], 1.5, mode="nearest") for k in range(3)], axis=1)
    if bead.length_m > 0.0:
        first, last = points[0] - points[min(2, len(points) - 1)], points[-1] - points[max(-3, -len(points))]
        overrun = 0.5 * radius_m
        ends = [p + overrun * d / max(np.linalg.norm(d), 1e-9) for p, d in ((points[0], first), (points[-1], last))]
        points = np.vstack([ends[0], points, ends[1]])
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    even = np.linspace(0.0, s[-1], max(3, int(np.ceil(s[-1] / STEP_M)) + 1))
    points = np.stack([np.interp(even, s, points[:, k]) for k in range(3)], axis=1)
    points = gaussian_filter1d(points, 2.0, axis=0, mode="nearest")
    _, near = KDTree(parent.support_m).query(points)
    normal = parent.frames[near, 2]
    lines = []
    for offset in OFFSETS_RADII:
        if offset != 0.0 and bead.width_m < 0.33 * radius_m:
            continue
        side = np.cross(normal, np.gradient(points, axis=0))
        shifted = points + offset * radius_m * side / np.linalg.norm(side, axis=1, keepdims=True)
        height, outward, _ = parent.at(shifted, normal)
        outward = gaussian_filter1d(outward, 4.0, axis=0, mode="nearest")
        line = line_through(shifted - height[:, None] * normal, -outward)
        if line is not None:
            lines.append(line)
    return lines


def grind_down(
    samples: SurfaceSamples,
    height_m: Array,
    wanted_m: Array,
    lines: Sequence[Line],
    tool: PadTool,
    force_n: float,
) -> BeadRemoval:
    """Return passes along the lines that bring the samples' height (S,) over the parent down by wanted_m (S,).

    Each pass: press the disc at every sample of the line on the surface as it is, find dwell times by bounded least
    squares (removal below the parent weighs UNDERCUT_WEIGHT times), leave out what needs none, run the pass in small
    steps with the balance solved at each, and go on until nothing is left to gain.
    """
    removed, visits = np.zeros(len(samples)), np.zeros(len(samples))
    bead = wanted_m > 0.0
    strokes: list[Stroke] = []
    idle = 0
    turn = 0
    while len(strokes) < PASSES_MAX and idle < len(lines):
        line = lines[turn % len(lines)]
        line = line if (turn // len(lines)) % 2 == 0 else _reversed(line)
        turn += 1
        left = np.where(bead, wanted_m - removed, np.minimum(-height_m, 0.0) - removed)
        passes = _one_pass(samples, removed, left, bead, line, tool, force_n)
        gained = 0.0
        for stroke in passes:
            taken = run_stroke(samples, removed, stroke, tool)
            useful = samples.areas_m2 @ np.minimum(taken, np.maximum(left, 0.0))
            harm = samples.areas_m2 @ np.maximum(taken - np.maximum(left, 0.0), 0.0)
            if useful <= 2.0 * harm:
                continue
            removed = removed + taken
            left = left - taken
            visits += taken > 1e-7
            strokes.append(stroke)
            gained += useful
        volume = samples.areas_m2 @ np.where(bead, wanted_m, 0.0)
        idle = 0 if gained > 2e-3 * volume else idle + 1
    return BeadRemoval(strokes=tuple(strokes), removed_m=removed, visits=visits)


def _one_pass(
    samples: SurfaceSamples,
    removed_m: Array,
    left_m: Array,
    bead: NDArray[np.bool_],
    line: Line,
    tool: PadTool,
    force_n: float,
) -> list[Stroke]:
    now = lowered(samples, removed_m)
    frames = tool_frames(line.position_m, line.tool_axis, line.travel)
    pairs = pad_pairs(now, frames, tool.radius_m)
    contact = balance(pairs, force_n, tool.stiffness_pa_per_m)
    rates = removal_rates(pairs, contact, tool)
    touched = np.flatnonzero(np.diff(rates.indptr) > 0)
    if len(touched) == 0:
        return []
    left = left_m[touched]
    goal = np.clip(left - SKIN_M, 0.0, DEPTH_PER_PASS_M)
    weights = samples.areas_m2[touched] * np.where((left > SKIN_M) & bead[touched], 1.0, UNDERCUT_WEIGHT)
    length = line.reach_m
    scale = DEPTH_PER_PASS_M
    problem = LeastSquares(
        matrix=rates[touched] / scale,
        goal=goal / scale,
        weights=weights / weights.sum(),
        low=np.zeros(len(line)),
        high=length / tool.speed_m_per_s.low,
    )
    dwell = gaussian_filter1d(problem.solve(length / tool.speed_m_per_s.high, 300), 2.0, mode="nearest")
    slowness = dwell / length
    # where even top speed takes more than twice what is wanted, the disc stays away
    needed = slowness * tool.speed_m_per_s.high > 0.5
    height = contact.advance_m
    position = line.position_m + gaussian_filter1d(height, 2.0, mode="nearest")[:, None] * line.tool_axis
    raised = replace(line, position_m=position)
    strokes = []
    speed = np.clip(1.0 / np.maximum(slowness, 1e-9), tool.speed_m_per_s.low, tool.speed_m_per_s.high)
    for part, own in zip(cut(raised, needed, 4), cut_values(speed, needed, 4), strict=True):
        steps = np.linalg.norm(np.diff(part.position_m, axis=0), axis=1)
        strokes.append(
            stroke_of(
                part,
                np.full(len(part), force_n),
                "bead",
                limit_acceleration(own, steps, tool.acceleration_m_per_s2),
                tool,
            )
        )
    return strokes


def run_stroke(samples: SurfaceSamples, removed_m: Array, stroke: Stroke, tool: PadTool) -> Array:
    """Return what one stroke takes off every sample (S,), the balance solved anew as the surface goes down under it."""
    now = lowered(samples, removed_m)
    pairs = pad_pairs(now, stroke.frames, tool.radius_m)
    taken = np.zeros(len(samples))
    bounds = pairs.bounds
    dwell = stroke.dwell_s
    factor = tool.preston_per_pa * relative_speed(tool, pairs.x_m, pairs.y_m, stroke.speed_m_per_s[pairs.pose])
    for k in range(len(stroke)):
        own = slice(bounds[k], bounds[k + 1])
        point, area, cosine = pairs.point[own], pairs.area_m2[own], pairs.cosine[own]
        if len(point) == 0:
            continue
        fastest = float(factor[own].max()) * tool.stiffness_pa_per_m
        n_steps = max(1, int(np.ceil(dwell[k] * fastest / SUBSTEP)))
        for _ in range(n_steps):
            gap = pairs.gap_m[own] + taken[point] / cosine
            pressure = _pressure(gap, area, float(stroke.process_value[k]), tool.stiffness_pa_per_m)
            taken[point] += factor[own] * pressure * pairs.share[own] * (dwell[k] / n_steps)
    return taken


def _pressure(gap_m: Array, area_m2: Array, force_n: float, stiffness_pa_per_m: float) -> Array:
    # exact balance of one pose: the advance with the n smallest gaps in contact lies between the n-th and the next
    order = np.argsort(gap_m)
    area = np.cumsum(area_m2[order])
    advance = (force_n / stiffness_pa_per_m + np.cumsum(area_m2[order] * gap_m[order])) / np.maximum(area, 1e-15)
    upper = np.r_[gap_m[order][1:], np.inf]
    n = int(np.argmax(advance <= upper))
    return stiffness_pa_per_m * np.maximum(0.0, advance[n] - gap_m)


def lowered(samples: SurfaceSamples, removed_m: Array) -> SurfaceSamples:
    """Return the samples moved inwards by the depth removed."""
    return replace(samples, points_m=samples.points_m - removed_m[:, None] * samples.normals)


def cut_values(values: Array, keep: NDArray[np.bool_], n_min: int) -> list[Array]:
    """Return the runs of values kept, as `strokes.cut` does for lines."""
    edges = np.flatnonzero(np.diff(np.r_[False, keep, False].astype(np.int8)))
    return [values[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= n_min]


def _reversed(line: Line) -> Line:
    return Line(position_m=line.position_m[::-1], tool_axis=line.tool_axis[::-1], travel=-line.travel[::-1])
