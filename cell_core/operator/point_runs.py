"""Points in runs along a space-filling curve, with balls around runs and runs of runs: what lies near many poses."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array

POINTS_PER_RUN = 16
RUNS_PER_NODE = 8
CURVE_BITS = 16
"""Steps of the curve along the longest extent are 2^-CURVE_BITS of it."""
NOWHERE_M = 1e6
"""Offset of the slots that the last run has no point for: out of every reach [m]."""

BallTest = Callable[[Array, Array, NDArray[np.int64]], NDArray[np.bool_]]
"""Takes local centres (P, 3) [m], radii (P,) [m] and poses (P,); returns whether each ball is worth opening."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointRuns:
    """Points (V, 3) cut into runs of POINTS_PER_RUN that lie close together; slot-major arrays, one column a run."""

    order: NDArray[np.int64]
    """(16 R,) point in each place along the curve, run by run; places behind the last point repeat it."""
    offsets_m: NDArray[np.float32]
    """(3, 16, R) points relative to the centre of their run [m]."""
    centres_m: tuple[Array, ...]
    """Per level (3, M): centres of the balls [m]; level 0 has the runs."""
    radii_m: tuple[Array, ...]
    """Per level (M,): radii [m]."""

    @staticmethod
    def of(points_m: Array) -> "PointRuns":
        """Return the runs of points (V, 3), V >= 1."""
        order = np.argsort(hilbert_keys(points_m), kind="stable")
        n = len(order)
        n_runs = -(-n // POINTS_PER_RUN)
        padded = np.r_[order, np.full(n_runs * POINTS_PER_RUN - n, order[-1])]
        slots = np.ascontiguousarray(points_m[padded].reshape(n_runs, POINTS_PER_RUN, 3).transpose(2, 1, 0))
        low, high = slots.min(axis=1), slots.max(axis=1)
        centre = 0.5 * (low + high)
        offsets = slots - centre[:, None, :]
        radius = np.sqrt((offsets**2).sum(axis=0).max(axis=0))
        offsets[:, POINTS_PER_RUN - (len(padded) - n) :, -1] = NOWHERE_M
        centres, radii = [centre], [radius]
        while len(radii[-1]) > RUNS_PER_NODE:
            starts = np.arange(0, len(radii[-1]), RUNS_PER_NODE)
            low, high = np.minimum.reduceat(low, starts, axis=1), np.maximum.reduceat(high, starts, axis=1)
            centre = 0.5 * (low + high)
            parent = np.arange(len(radii[-1])) // RUNS_PER_NODE
            away = np.linalg.norm(centres[-1] - centre[:, parent], axis=0)
            radii.append(np.maximum.reduceat(away + radii[-1], starts))
            centres.append(centre)
        return PointRuns(
            order=padded, offsets_m=offsets.astype(np.float32), centres_m=tuple(centres), radii_m=tuple(radii)
        )

    @cached_property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.radii_m[0])

    def near(
        self, axes: Array, origins_m: Array, poses: NDArray[np.int64], worth: BallTest
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """Return runs (P,), poses (P,) and the runs' centres in tool coordinates (3, P) where `worth` holds.

        Args:
            axes: (3, 3, N) cell coordinate i of tool axis j of each pose at [i, j].
            origins_m: (3, N) tool centre points [m].
            poses: which of them to look at; the answer keeps their order, and runs ascend for each.
            worth: conservative test of balls; run from the largest to the runs' own.
        """
        top = len(self.radii_m[-1])
        node, pose = np.tile(np.arange(top), len(poses)), np.repeat(poses, top)
        local = np.empty((3, 0))
        for level in range(len(self.radii_m) - 1, -1, -1):
            radius = self.radii_m[level][node]
            away = [c[node] - o[pose] for c, o in zip(self.centres_m[level], origins_m, strict=True)]
            local = np.empty((3, len(node)))
            for j in range(3):
                local[j] = away[0] * axes[0, j][pose] + away[1] * axes[1, j][pose] + away[2] * axes[2, j][pose]
            keep = np.flatnonzero(worth(local.T, radius, pose))
            node, pose, local = node[keep], pose[keep], local[:, keep]
            if level > 0:
                node = (node[:, None] * RUNS_PER_NODE + np.arange(RUNS_PER_NODE)).ravel()
                pose = np.repeat(pose, RUNS_PER_NODE)
                real = node < len(self.radii_m[level - 1])
                node, pose = node[real], pose[real]
        return node, pose, local


def hilbert_keys(points_m: Array) -> NDArray[np.int64]:
    """Return the place (V,) of each point (V, 3) along a Hilbert curve through the cube around them.

    Source: Skilling, AIP Conf. Proc. 707 (2004) 381, axes to transpose; then the bits are interleaved.
    """
    low = points_m.min(axis=0)
    size = float(np.ptp(points_m, axis=0).max())
    scale = (2.0**CURVE_BITS - 1.0) / size if size > 0.0 else 0.0
    x = ((points_m - low) * scale).astype(np.int64).T.copy()
    bit = 1 << (CURVE_BITS - 1)
    while bit > 1:
        lower = bit - 1
        for i in range(3):
            high = (x[i] & bit) != 0
            swap = np.where(high, 0, (x[0] ^ x[i]) & lower)
            x[0] = np.where(high, x[0] ^ lower, x[0] ^ swap)
            x[i] ^= swap
        bit >>= 1
    x[1] ^= x[0]
    x[2] ^= x[1]
    flip = np.zeros_like(x[0])
    bit = 1 << (CURVE_BITS - 1)
    while bit > 1:
        flip ^= np.where((x[2] & bit) != 0, bit - 1, 0)
        bit >>= 1
    x ^= flip
    key = np.zeros_like(x[0])
    for b in range(CURVE_BITS - 1, -1, -1):
        for i in range(3):
            key = (key << 1) | ((x[i] >> b) & 1)
    return key
