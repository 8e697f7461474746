"""Run strokes over a bead in the model: the balance solved anew as the surface goes down under the pad."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cell_core.config import PadTool
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from grinding_planner.contact import pad_pairs, relative_speed
from grinding_planner.samples import SurfaceSamples

SUBSTEP = 0.25
"""Removal per sub-step over the layer's compression, at most: the explicit step is stable up to 1."""


def run_strokes(surface: SurfaceSamples, removed_m: Array, strokes: Sequence[Stroke], tool: PadTool) -> Array:
    """Return what strokes one after the other take off every sample (S,)."""
    taken = np.zeros(len(surface))
    for stroke in strokes:
        taken += _run_stroke(surface, removed_m + taken, stroke, tool)
    return taken


def _run_stroke(samples: SurfaceSamples, removed_m: Array, stroke: Stroke, tool: PadTool) -> Array:
    """Return what one stroke takes off every sample (S,), the balance solved anew as the surface goes down under it."""
    now = _lowered(samples, removed_m)
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


def _lowered(samples: SurfaceSamples, removed_m: Array) -> SurfaceSamples:
    """Return the samples moved inwards by the depth removed."""
    return replace(samples, points_m=samples.points_m - removed_m[:, None] * samples.normals)
