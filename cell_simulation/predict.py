"""Run the simulator's process models along an ideal tool path on a mesh: a second opinion on a planner's prediction."""

import numpy as np

from cell_core.plan import Progress, no_progress
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array, tool_frames
from cell_simulation.actuators import Actuator
from cell_simulation.cell import BLOCK_S
from cell_simulation.grind import FORCE_LAG_S, GrindTruth
from cell_simulation.spray import SprayTruth
from cell_simulation.tool_parameters import GunTruth, PadTruth, ToolErrors
from cell_simulation.true_part import TruePart

POSES_PER_BLOCK = 10
POSE_S = BLOCK_S / POSES_PER_BLOCK


def predict(surface: Surface, toolpath: ToolPath, *, seed: int = 0, progress: Progress = no_progress) -> Array:
    """Return what a tool path leaves on each vertex (V,): film thickness or removed depth [m].

    Strokes run one after the other at exactly the path's poses, speeds, switches and process values, with a device that
    is exactly as the tool path's tool block says; only the droplets' places are random.

    Args:
        surface: mesh in the tool path's frame.
        toolpath: as planned.
        seed: of the droplets.
        progress: called after each stroke.

    Raises:
        InputRefusedError: the tool block lacks a number the process model needs.
    """
    part = TruePart(surface)
    errors = ToolErrors.none()
    if toolpath.process == "spray":
        spray = SprayTruth(part, GunTruth.from_mapping(toolpath.tool), seed=seed, errors=errors, block_s=BLOCK_S)
        grind = None
    else:
        spray, grind = None, GrindTruth(part, PadTruth.from_mapping(toolpath.tool), seed=seed, errors=errors)
    block = 0
    for i, stroke in enumerate(toolpath.strokes):
        progress(i / len(toolpath.strokes), f"stroke {i + 1} of {len(toolpath.strokes)}")
        if spray is not None:
            block = _spray_stroke(spray, stroke, block)
        elif grind is not None:
            if i in toolpath.tool.get("disc_changes", ()):
                grind.renew_abrasive()
            _grind_stroke(grind, stroke)
    progress(1.0, "done")
    change = part.film_thickness_m if spray is not None else part.removed_m
    return part.on_given_vertices(change)


def _spray_stroke(spray: SprayTruth, stroke: Stroke, block: int) -> int:
    """Spray one stroke starting with a fresh block; return the next free block."""
    duration = stroke.times_s[-1]
    n_blocks = int(np.ceil(duration / BLOCK_S - 1e-9))
    start = block * BLOCK_S
    switch = _switch(stroke)

    def flow(times_s: Array) -> Array:
        t = times_s - start
        value = np.interp(t, stroke.times_s, stroke.process_value)
        return np.where(t <= duration, switch.at(t) * value, 0.0)

    for i in range(n_blocks):
        times = np.asarray((block + i) * BLOCK_S + POSE_S * np.arange(POSES_PER_BLOCK + 1), np.float64)
        spray.spray(block + i, times, stroke_frames(stroke, times - start), flow)
    return block + n_blocks


def _grind_stroke(grind: GrindTruth, stroke: Stroke) -> None:
    duration = stroke.times_s[-1]
    switch = _switch(stroke)
    grind.settle(float(stroke.process_value[0]) if stroke.on[0] else 0.0)
    n_blocks = max(round(duration / BLOCK_S), 1)
    # the stroke is cut into whole blocks; each pose stands for the middle of its tick
    tick = duration / (n_blocks * POSES_PER_BLOCK)
    for i in range(n_blocks):
        times = (i * POSES_PER_BLOCK + np.arange(POSES_PER_BLOCK) + 0.5) * tick
        opening = switch.at(times)
        force = opening * np.interp(times, stroke.times_s, stroke.process_value)
        grind.grind(times, stroke_frames(stroke, times), force, opening)


def _switch(stroke: Stroke) -> Actuator:
    """Return the process switch over the stroke's time: it changes half way between two samples."""
    switch = Actuator()
    switch.switch(-FORCE_LAG_S, bool(stroke.on[0]))
    middle = 0.5 * (stroke.times_s[:-1] + stroke.times_s[1:])
    for i in np.flatnonzero(stroke.on[1:] != stroke.on[:-1]):
        switch.switch(float(middle[i]), bool(stroke.on[i + 1]))
    return switch


def stroke_frames(stroke: Stroke, times_s: Array) -> Array:
    """Return tool frames (K, 4, 4) at times (K,) since the stroke's start.

    Acceleration is constant and axes are linear between samples.
    """
    t = np.clip(times_s, 0.0, stroke.times_s[-1])
    i = np.clip(np.searchsorted(stroke.times_s, t, side="right") - 1, 0, len(stroke) - 2)
    duration, length = stroke.step_durations_s[i], stroke.step_lengths_m[i]
    dt = t - stroke.times_s[i]
    v0, v1 = stroke.speed_m_per_s[i], stroke.speed_m_per_s[i + 1]
    way = v0 * dt + 0.5 * (v1 - v0) / np.maximum(duration, 1e-12) * dt**2
    u = np.divide(way, length, out=np.zeros_like(way), where=length > 0.0)[:, None]
    blend = [(1.0 - u) * a[i] + u * a[i + 1] for a in (stroke.position_m, stroke.tool_axis, stroke.travel)]
    return tool_frames(*blend)
