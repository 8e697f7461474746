"""Run strokes over a bead in the model: the balance solved anew as the surface goes down under the pad."""

from collections.abc import Sequence

import numpy as np

from cell_core.config import PadTool
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.contact import PadPairs, pad_pairs, relative_speed
from grinding_planner.samples import SurfaceSamples

SUBSTEP = 0.25
"""Removal per sub-step over the layer's compression, at most: the explicit step is stable up to 1."""


def run_strokes(surface: SurfaceSamples, removed_m: Array, strokes: Sequence[Stroke], tool: PadTool) -> Array:
    """Return what strokes one after the other take off every sample (S,)."""
    passes = [(stroke, pad_pairs(surface, stroke.frames, tool.radius_m)) for stroke in strokes]
    return run_passes(removed_m, passes, tool)


def run_passes(removed_m: Array, passes: Sequence[tuple[Stroke, PadPairs]], tool: PadTool) -> Array:
    """Return what strokes take off every sample (S,), given what lies under each of their poses on the first surface.

    Args:
        removed_m: (S,) what is gone of that surface already.
    """
    taken = np.zeros(len(removed_m))
    for stroke, pairs in passes:
        taken += _run_stroke(removed_m + taken, stroke, pairs, tool)
    return taken


def part_of(pairs: PadPairs, run: slice, *, back: bool = False) -> PadPairs:
    """Return the pairs of some poses; `back`: in the opposite order, as of a pad that travels the other way."""
    first, stop = (int(b) for b in pairs.bounds[[run.start, run.stop]])
    own = np.arange(first, stop)
    pose, n, sign = pairs.pose[own] - run.start, run.stop - run.start, 1.0
    if back:
        pose, sign = n - 1 - pose, -1.0
        order = np.argsort(pose, kind="stable")
        pose, own = pose[order], own[order]
    return PadPairs(
        pose=pose,
        point=pairs.point[own],
        x_m=sign * pairs.x_m[own],
        y_m=sign * pairs.y_m[own],
        gap_m=pairs.gap_m[own],
        cosine=pairs.cosine[own],
        share=pairs.share[own],
        area_m2=pairs.area_m2[own],
        n_poses=n,
        n_points=pairs.n_points,
    )


def _run_stroke(removed_m: Array, stroke: Stroke, pairs: PadPairs, tool: PadTool) -> Array:
    """Return what one stroke takes off every sample (S,), the balance solved anew as the surface goes down under it."""
    taken = np.zeros(pairs.n_points)
    before = pairs.gap_m + removed_m[pairs.point] / pairs.cosine
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
            gap = before[own] + taken[point] / cosine
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
