"""A corner where edges meet, judged on its own: how far below the ideal chamfers the strokes of a tool path cut it.

Imports nothing of the planner. The corner is a height field along its own diagonal, seen on a plane square on it. Every
stroke that comes near presses its whole face on all of it by a Winkler layer and takes k_p p v_rel dt off what it
touches along its axis, the strokes one after the other on what those before them left. Ideal is the part with a flat of
the wanted width, square on the bisector, on each of the edges that meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scorer_edge import Array, _advance, _rim, _speed, unit

from cell_core.toolpath import Stroke, ToolPath

CELL_M = 0.035e-3
HALF_M = 2.2e-3
"""The patch reaches so far round the corner, square on its diagonal."""
JUDGED_M = 1.2e-3
"""So much of it is judged: further out the tool's face leaves the patch."""
STEP_M = 0.05e-3
SUB_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class CornerCut:
    """What strokes leave of a corner, against ideal chamfers."""

    over_max_m: float
    """Deepest cut below the ideal, square on it [m]."""
    over_p99_m: float
    left_max_m: float
    """Highest that is left above it [m]."""


def corner_cut(corner_m: Array, normals: Array, paths: Sequence[ToolPath], width_m: float) -> CornerCut:
    """Grind a corner of three plane faces (3, 3) with every stroke that comes near, and compare with ideal chamfers."""
    d = unit(normals.sum(axis=0))
    u = unit(np.cross(d, np.eye(3)[np.argmin(np.abs(d))]))
    axis = np.arange(-HALF_M + 0.5 * CELL_M, HALF_M, CELL_M)
    a, b = (g.ravel() for g in np.meshgrid(axis, axis))
    foot = corner_m + a[:, None] * u + b[:, None] * np.cross(d, u)
    height = _lowest(foot, d, normals, np.tile(corner_m, (3, 1)))[0]
    for path in paths:
        for stroke in path.strokes:
            _grind(foot, height, d, corner_m, stroke, dict(path.tool))
    planes = [(n, corner_m) for n in normals]
    for i in range(3):
        n, other = normals[i], normals[(i + 1) % 3]
        half = 0.5 * (np.pi - np.arccos(np.clip(n @ other, -1.0, 1.0)))
        outward = unit(n + other)
        planes.append((outward, corner_m - 0.5 * width_m / np.tan(half) * outward))
    ideal, square = _lowest(foot, d, *(np.array(v) for v in zip(*planes, strict=True)))
    over = ((ideal - height) * square)[np.hypot(a, b) < JUDGED_M]
    return CornerCut(
        over_max_m=float(over.max()), over_p99_m=float(np.quantile(over, 0.99)), left_max_m=float(-over.min())
    )


def _lowest(foot: Array, d: Array, normals: Array, through: Array) -> tuple[Array, Array]:
    """Return the height along d of the lowest plane over each foot, and the cosine between d and its normal."""
    cosine = normals @ d
    heights = np.einsum("pi,npi->np", normals, through[None] - foot[:, None]) / cosine
    lowest = heights.argmin(axis=1)
    return heights[np.arange(len(foot)), lowest], cosine[lowest]


def _grind(foot: Array, height: Array, d: Array, corner_m: Array, stroke: Stroke, tool: dict) -> None:
    near = np.linalg.norm(stroke.position_m - corner_m, axis=1) < HALF_M + 1e-3
    for i in np.flatnonzero(near[:-1] | near[1:]).tolist():
        length = float(stroke.step_lengths_m[i])
        n = 2 * max(1, int(np.ceil(0.5 * length / STEP_M)))
        bounds = np.linspace(0.0, 1.0, n + 1)
        v = np.sqrt(stroke.speed_m_per_s[i] ** 2 * (1.0 - bounds) + stroke.speed_m_per_s[i + 1] ** 2 * bounds)
        for k in range(n):
            share = 0.5 * (bounds[k] + bounds[k + 1])
            position, axis, travel = (
                w[i] * (1.0 - share) + w[i + 1] * share for w in (stroke.position_m, stroke.tool_axis, stroke.travel)
            )
            force = float(stroke.process_value[i] * (1.0 - share) + stroke.process_value[i + 1] * share)
            feed = 0.5 * (v[k] + v[k + 1])
            _press(foot, height, d, position, axis, travel, force, tool, length / n / feed, feed)


def _press(
    foot: Array,
    height: Array,
    d: Array,
    position: Array,
    axis: Array,
    travel: Array,
    force: float,
    tool: dict,
    seconds: float,
    feed: float,
) -> None:
    z = unit(axis)
    x = unit(travel - travel @ z * z)
    local = (foot + height[:, None] * d - position) @ np.stack([x, np.cross(z, x), z], axis=1)
    gap = local[:, 2] + _rim(tool, local[:, 0], local[:, 1])
    cosine = float(-z @ d)
    # what a cell covers square on the tool once it is ground flat
    face = np.full(len(gap), CELL_M**2 / cosine)
    # no cell may take the tool for the only thing there is: the part goes on beyond the patch
    if cosine < 0.2 or not np.isfinite(gap).any():
        return
    decay = 1.0 - np.exp(
        -tool["preston_per_pa"]
        * tool["stiffness_pa_per_m"]
        * _speed(tool, local[:, 0], local[:, 1], feed)
        * seconds
        / SUB_STEPS
    )
    for _ in range(SUB_STEPS):
        # the mean pressure of a sub-step, in which part of what is pressed in goes, carries the force
        mean = decay / np.maximum(-np.log1p(-np.minimum(decay, 1.0 - 1e-15)), 1e-12)
        advance = _advance(gap, face * mean, force / tool["stiffness_pa_per_m"])
        if advance is None:
            return
        lost = np.where(np.isfinite(gap), np.maximum(advance - gap, 0.0) * decay, 0.0)
        gap = gap + lost
        height -= lost / cosine
