"""How the tool axis turns along lines: what an arm can follow, as rows of a least-squares problem and as figures.

What an arm feels is not how far the axis turns but how suddenly: its wrist has bounds of acceleration and jerk. Where
the pad creeps it has time.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.strokes import Line

BRISK_M_PER_S = 0.1
"""From this speed on a turn counts in full, below with the square of the speed, like the wrist's acceleration."""
CREEP_SHARE = 0.1
"""The speed's share counts as this at least: no axis jumps."""


def bending(lines: Sequence[Line], radius_m: float, slope_max: float) -> tuple[scipy.sparse.csr_matrix, Array]:
    """Return matrix (3 M, 2 N) and offset (3 M,) whose square sum says how unevenly the axes turn along the lines.

    Unknown is the slope along travel of all samples, then across it, over the largest; the offset is what the lines'
    own axes do. The sum is the mean squared change, over a radius, of the turn over a radius, over the largest slope.
    """
    way = sum(float(line.reach_m.sum()) for line in lines)
    blocks = [_second_differences(line, radius_m**2 / slope_max, way) for line in lines]
    second = scipy.sparse.csr_matrix(scipy.sparse.block_diag(blocks))
    axis, travel = (np.concatenate([getattr(line, name) for line in lines]) for name in ("tool_axis", "travel"))
    sides = travel, np.cross(axis, travel)
    parts = [[second @ scipy.sparse.diags(slope_max * side[:, k]) for side in sides] for k in range(3)]
    return scipy.sparse.csr_matrix(scipy.sparse.bmat(parts)), (second @ axis).T.ravel()


def _second_differences(line: Line, scale_m2: float, way_m: float) -> scipy.sparse.csr_matrix:
    steps = np.linalg.norm(np.diff(line.position_m, axis=0), axis=1)
    if len(steps) < 2:
        return scipy.sparse.csr_matrix((0, len(line)))
    middle = 0.5 * (steps[1:] + steps[:-1])
    size = np.sqrt(middle / way_m) * scale_m2 / middle
    entries = [size / steps[:-1], -size * (1.0 / steps[:-1] + 1.0 / steps[1:]), size / steps[1:]]
    return scipy.sparse.csr_matrix(scipy.sparse.diags(entries, [0, 1, 2], shape=(len(middle), len(line))))  # pyright: ignore[reportArgumentType]


def haste(speed_m_per_s: Sequence[Array]) -> Array:
    """Return how much each row (3 M,) of `bending` counts at these speeds, one array for each line."""
    inner = np.concatenate([speed[1:-1] for speed in speed_m_per_s])
    return np.tile(np.clip(inner / BRISK_M_PER_S, CREEP_SHARE, 1.0) ** 2, 3)


def turn_figures(strokes: Sequence[Stroke]) -> dict[str, float]:
    """Return how fast the axis turns from sample to sample, and by how much speed changes, at most and P95.

    `axis_turn_*_rad_per_m` goes by length, `axis_turn_*_rad_per_s` by time; `speed_step_*` is the change of speed over
    the lower of both.
    """
    turn, pace, step = [], [], []
    for stroke in strokes:
        speed, length = stroke.speed_m_per_s, stroke.step_lengths_m
        chord = np.linalg.norm(np.diff(stroke.tool_axis, axis=0), axis=1)
        rate = 2.0 * np.arcsin(np.clip(0.5 * chord, 0.0, 1.0)) / length
        turn.append(rate)
        pace.append(rate * 0.5 * (speed[1:] + speed[:-1]))
        step.append(np.abs(np.diff(speed)) / np.minimum(speed[1:], speed[:-1]))
    figures = {}
    for name, unit, parts in (
        ("axis_turn", "_rad_per_m", turn),
        ("axis_turn", "_rad_per_s", pace),
        ("speed_step", "", step),
    ):
        values = np.concatenate([np.zeros(1), *parts])
        figures[f"{name}_p95{unit}"] = float(np.quantile(values, 0.95))
        figures[f"{name}_max{unit}"] = float(values.max())
    return figures
