"""Poses to integrate a stroke over: each sample stands for half a step either side, cut into equal sub-steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, tool_frames, unit


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepPoses:
    """Poses in the order they are passed, grouped by the sample (column) whose dwell they share."""

    axes: Array
    """(3, 3, M) cell coordinate i of tool axis j at [i, j]."""
    origins_m: Array
    """(3, M) tool centre points [m]."""
    column: NDArray[np.int64]
    """(M,) sample each pose belongs to, ascending."""
    weight: NDArray[np.float32]
    """(M,) share of the sample's dwell; sums to 1 for each sample."""
    behind_m: NDArray[np.float32]
    """(M,) path before the pose that it stands for [m]."""
    ahead_m: NDArray[np.float32]
    """(M,) path after the pose that it stands for [m]."""

    @staticmethod
    def of(strokes: Sequence[Stroke], substeps: int) -> "SweepPoses":
        """Return the poses of all strokes, `substeps` to a step, position and axes linear between samples.

        Together they are the trapezoid rule along the stroke at a step `substeps` times finer. Odd numbers only: then
        no pose falls half way between two samples, where it would have to be evaluated for both.

        Raises:
            InputRefusedError: `substeps` is even or below 1.
        """
        if substeps < 1 or substeps % 2 == 0:
            raise InputRefusedError(f"coverage: {substeps} sub-steps per step, must be odd and at least 1")
        parts = [_poses(stroke, substeps) for stroke in strokes]
        frames, column, weight, behind, ahead = (np.concatenate(p) for p in zip(*parts, strict=True))
        first = np.repeat(np.cumsum([0, *(len(s) for s in strokes)])[:-1], [len(p[1]) for p in parts])
        return SweepPoses(
            axes=np.ascontiguousarray(frames[:, :3, :3].transpose(1, 2, 0)),
            origins_m=np.ascontiguousarray(frames[:, :3, 3].T),
            column=column + first,
            weight=weight.astype(np.float32),
            behind_m=behind.astype(np.float32),
            ahead_m=ahead.astype(np.float32),
        )


def _poses(stroke: Stroke, k: int) -> tuple[Array, NDArray[np.int64], Array, Array, Array]:
    """Return frames, sample, weight and the path behind and ahead of each pose of one stroke."""
    n = len(stroke)
    place = np.arange(k * (n - 1) + 1)
    low = np.minimum(place // k, n - 2)
    share = ((place - k * low) / k)[:, None]
    if k == 1:
        frames = stroke.frames
    else:
        position, axis, travel = (
            (1.0 - share) * values[low] + share * values[low + 1]
            for values in (stroke.position_m, stroke.tool_axis, stroke.travel)
        )
        frames = tool_frames(position, unit(axis), travel)
    half = 0.5 * np.repeat(stroke.step_lengths_m, k) / k
    behind, ahead = np.r_[0.0, half], np.r_[half, 0.0]
    column = (place + k // 2) // k
    # at rest (no path at all) every pose counts alike
    span = behind + ahead
    whole = np.bincount(column, span)[column]
    weight = np.where(whole > 0.0, span / np.where(whole > 0.0, whole, 1.0), 1.0 / np.bincount(column)[column])
    return frames, column, weight, behind, ahead


def substeps_needed(strokes: Sequence[Stroke], step_m: float) -> int:
    """Return the smallest odd number of sub-steps that brings every step of the strokes down to `step_m` [m].

    `step_m` is usually the footprint's own (`EllipticDoubleBeta.step_m`).
    """
    if not step_m > 0.0:
        raise InputRefusedError(f"coverage: quadrature step {step_m:.6g} m, must be > 0 m")
    longest = max(float(stroke.step_lengths_m.max()) for stroke in strokes)
    return 2 * int(np.ceil(max(longest / step_m * (1.0 - 1e-9) - 1.0, 0.0) / 2.0)) + 1
