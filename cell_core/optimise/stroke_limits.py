"""Whether an arm can run a stroke's poses: bends of the path, turns of the axis, folds, and a caller's own test."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.optimise.pose_knots import PoseKnots, Poses
from cell_core.transforms import Array, unit

WINDOW_M = 0.015
"""Bends and turns are measured over this length [m]."""
SLACK = 1.02
"""What was beyond a limit at the start may stay there, and grow by this factor."""


@dataclass(frozen=True, kw_only=True)
class PathLimits:
    """What a path of the tool centre point may ask of an arm."""

    bend_per_m: float = 20.0
    """Largest curvature of the path [1/m]."""
    turn_rad_per_m: float = 12.0
    """Largest turn of the tool axis per length of the path [rad/m]."""
    shrink_min: float = 0.3
    """The path may be no shorter than this share of the one given, anywhere: else it would fold."""


def broken_strokes(
    poses: Poses,
    start: Poses,
    knots: PoseKnots,
    limits: PathLimits,
    valid: Callable[[Array], NDArray[np.bool_]] | None,
    start_valid: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which strokes break a limit that they did not break at the start."""
    n_strokes = len(knots.strokes)
    bend, turn, shrink = _measures(poses, knots)
    bend_start, turn_start, shrink_start = _measures(start, knots)
    broken = bend > np.maximum(limits.bend_per_m, SLACK * bend_start)
    broken |= turn > np.maximum(limits.turn_rad_per_m, SLACK * turn_start)
    broken |= shrink < np.minimum(limits.shrink_min, shrink_start / SLACK)
    if valid is not None:
        wrong = start_valid & ~valid(poses.frames)
        broken |= np.bincount(knots.stroke_of_sample[wrong], minlength=n_strokes) > 0
    return broken


def _measures(poses: Poses, knots: PoseKnots) -> tuple[Array, Array, Array]:
    """Return each stroke's sharpest bend [1/m], fastest turn [rad/m] and least length per length given."""
    cuts = np.cumsum(knots.counts)[:-1]
    out = [
        _of_one(position, axis, tangent)
        for position, axis, tangent in zip(
            *(np.split(a, cuts) for a in (poses.position_m, poses.axis, poses.tangent)), strict=True
        )
    ]
    bend, turn, shrink = np.array(out).T
    return bend, turn, shrink


def _of_one(position: Array, axis: Array, tangent: Array) -> tuple[float, float, float]:
    step = np.linalg.norm(np.diff(position, axis=0), axis=1)
    every = max(round(WINDOW_M / max(float(step.mean()), 1e-6)), 1)
    shrink = float(np.linalg.norm(tangent, axis=1).min())
    if len(position) <= 2 * every:
        return 0.0, 0.0, shrink
    chord = position[every:] - position[:-every]
    length = np.maximum(np.linalg.norm(chord, axis=1), 1e-9)
    direction = unit(chord)
    bend = _angle(direction[every:], direction[:-every]) / (0.5 * (length[every:] + length[:-every]))
    turn = _angle(axis[every:], axis[:-every]) / length
    return float(bend.max()), float(turn.max()), shrink


def _angle(a: Array, b: Array) -> Array:
    return 2.0 * np.arcsin(np.clip(0.5 * np.linalg.norm(a - b, axis=1), 0.0, 1.0))
