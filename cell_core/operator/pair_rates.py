"""Rates of the (point, pose) pairs of a block of poses: opened run by run, cut off by support, facing and occlusion."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.operator.footprint import Footprint, Reals, SweptFootprint
from cell_core.operator.point_runs import POINTS_PER_RUN, PointRuns
from cell_core.operator.sweep import SweepPoses
from cell_core.raycast import RayCaster
from cell_core.transforms import Array

RUNS_PER_CHUNK = 2048
"""(run, pose) pairs opened at a time: what they need stays in a core's second-level cache."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairRates:
    """Points with normals, a footprint, and what may stand between them."""

    points_m: Array
    """(V, 3) [m]."""
    normals: Array
    """(V, 3) unit, outward."""
    footprint: Footprint
    caster: RayCaster | None
    """None: nothing occludes."""
    clearance_m: float
    """A ray may touch the surface this close before its point [m]."""

    @cached_property
    def runs(self) -> PointRuns:
        """The points along a space-filling curve."""
        return PointRuns.of(self.points_m)

    @cached_property
    def _swept(self) -> SweptFootprint | None:
        return self.footprint if isinstance(self.footprint, SweptFootprint) else None

    @cached_property
    def _columns(self) -> tuple[Float32, Float32]:
        points, normals = (np.ascontiguousarray(a.T, np.float32) for a in (self.points_m, self.normals))
        return points, normals

    def prepare(self) -> None:
        """Compute what is kept for all blocks, so that threads need not race for it."""
        _ = self.runs, self._columns, self._swept

    def block(self, poses: SweepPoses, start: int, stop: int) -> Any:
        """Return the csr matrix (samples, V) of rates [m/s], float32, of the samples that poses start..stop-1 make up.

        Values are those of element by element float32 arithmetic on offsets from poses, so they do not depend on how
        poses are cut into blocks. Rows are not sorted.
        """
        run, pose, centre = self.runs.near(
            poses.axes,
            poses.origins_m,
            np.arange(start, stop),
            lambda local, radius, pose: self._worth(local, radius + self._slack(poses, pose)),
        )
        cuts = [slice(k, k + RUNS_PER_CHUNK) for k in range(0, len(run), RUNS_PER_CHUNK)]
        parts = [self._pairs(poses, run[cut], pose[cut], centre[:, cut]) for cut in cuts]
        at, point, rate = (np.concatenate(p) for p in zip(*parts, strict=True)) if parts else _NOTHING
        indptr = np.r_[0, np.cumsum(np.bincount(at - start, minlength=stop - start))]
        shape = (stop - start, len(self.points_m))
        rates: Any = scipy.sparse.csr_matrix((rate, point, indptr), shape=shape, copy=False)
        column = poses.column[start:stop] - poses.column[start]
        if column[-1] + 1 == stop - start:
            return rates
        gather = scipy.sparse.csr_matrix((poses.weight[start:stop], (column, np.arange(stop - start))))
        return gather @ rates

    def _slack(self, poses: SweepPoses, pose: NDArray[np.int64]) -> Any:
        """Return how far a footprint that is averaged over the sweep reaches beyond itself [m]."""
        if self._swept is None:
            return np.float32(0.0)
        return np.maximum(poses.behind_m, poses.ahead_m)[pose]

    def _worth(self, local_m: Reals, radius_m: Reals) -> NDArray[np.bool_]:
        x, y, z = local_m.T
        limit = radius_m + self.footprint.reach_m
        return self.footprint.may_reach(local_m, radius_m) & (x * x + y * y + z * z <= limit * limit)

    def _pairs(
        self, poses: SweepPoses, run: NDArray[np.int64], pose: NDArray[np.int64], centre_m: Array
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], Float32]:
        """Return poses, points and positive rates of the points of these runs, pose by pose."""
        n = len(run)
        axes = poses.axes[:, :, pose].astype(np.float32)
        local = _turned(np.take(self.runs.offsets_m, run, axis=2), axes)
        local += centre_m.astype(np.float32)[:, None, :]
        local = local.reshape(3, -1)
        slack = np.broadcast_to(np.asarray(self._slack(poses, pose), np.float32), (POINTS_PER_RUN, n)).reshape(-1)
        inside = self._worth(local.T, slack)
        place = np.flatnonzero(inside.reshape(POINTS_PER_RUN, n).T)
        nth, slot = place // POINTS_PER_RUN, place % POINTS_PER_RUN
        local = np.take(local, slot * n + nth, axis=1)
        point = self.runs.order[run[nth] * POINTS_PER_RUN + slot]
        points, normals = self._columns
        local_normal = _turned(np.take(normals, point, axis=1), np.take(axes, nth, axis=2))
        at = pose[nth]
        rate = self._rates(poses, local.T, local_normal.T, at)
        keep = np.flatnonzero(rate > 0.0)
        if self.caster is not None and len(keep):
            rays, free = _rays(points, poses.origins_m, point[keep], at[keep], local[:, keep], self.clearance_m)
            keep = keep[free | ~self.caster.stopped(rays)]
        return at[keep], point[keep].astype(np.int32), rate[keep].astype(np.float32)

    def _rates(self, poses: SweepPoses, local_m: Float32, local_normal: Float32, pose: NDArray[np.int64]) -> Any:
        column = poses.column[pose]
        if self._swept is not None:
            return self._swept.swept_rates(local_m, local_normal, column, poses.behind_m[pose], poses.ahead_m[pose])
        return self.footprint.rates(local_m, local_normal, column)


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def _turned(vectors: Float32, axes: Float32) -> Float32:
    """Return vectors (3, ..., P) in tool coordinates; element by element, as BLAS may round by position."""
    out = np.empty_like(vectors)
    term = np.empty_like(vectors[0])
    for j in range(3):
        np.multiply(vectors[0], axes[0, j], out=out[j])
        for i in (1, 2):
            np.multiply(vectors[i], axes[i, j], out=term)
            out[j] += term
    return out


def _rays(
    points_m: Float32,
    origins_m: Array,
    point: NDArray[np.int64],
    pose: NDArray[np.int64],
    local_m: Float32,
    clearance_m: float,
) -> tuple[Float32, NDArray[np.bool_]]:
    """Return rays (P, 6) from tool centre points that end `clearance_m` before their points, and which have no way."""
    x, y, z = local_m
    length = np.sqrt(x * x + y * y + z * z)
    scale = np.maximum(length - np.float32(clearance_m), np.float32(0.0)) / np.maximum(length, np.float32(1e-12))
    rays = np.empty((len(point), 6), np.float32)
    for i in range(3):
        start = origins_m[i].astype(np.float32)[pose]
        rays[:, i] = start
        np.multiply(points_m[i][point] - start, scale, out=rays[:, 3 + i])
    return rays, length <= clearance_m
