"""The coverage operator: what a tool path leaves on a surface is A t, with t the time spent at each sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.footprint import Footprint
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

CLEARANCE_M = 0.003
"""A ray to a point may touch the surface this close before it: scan noise, facets [m]."""
PAIRS_PER_CHUNK = 1_000_000
POINTS_PER_CELL = 16
SAMPLES_PER_BLOCK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class CoverageOperator:
    """Sparse rates of change: rows are surface points, columns the samples of all strokes, in stroke order."""

    matrix: Any
    """(V, N) scipy csr matrix, float32 rates [m/s]."""
    stroke_of_column: NDArray[np.int64]
    """(N,) stroke each sample belongs to."""

    def predict(self, path: Array | Sequence[Stroke]) -> Array:
        """Return the change (V,) [m] that dwell times (N,) [s], or the dwell of strokes as they are, leave."""
        return self.matrix @ dwell_of(path)

    def adjoint(self, weights: Array) -> Array:
        """Return A^T w (N,): with w the areas [m2], the volume rate each sample lays on the surface [m3/s]."""
        return self.transposed @ np.asarray(weights, np.float32)

    @cached_property
    def transposed(self) -> Any:
        """(N, V) A^T by rows."""
        return self.matrix.T.tocsr()

    def visits(self, dwell_s: Array, threshold: float = 0.1) -> Array:
        """Return by how many strokes each point (V,) is served: those that give it over `threshold` of its most."""
        n_strokes = int(self.stroke_of_column.max()) + 1 if len(self.stroke_of_column) else 0
        gather = scipy.sparse.csr_matrix(
            (dwell_s, (np.arange(len(dwell_s)), self.stroke_of_column)), shape=(len(dwell_s), n_strokes)
        )
        share: Any = self.matrix @ gather
        top = np.asarray(share.max(axis=1).todense()).ravel()
        row = np.repeat(np.arange(share.shape[0]), np.diff(share.indptr))
        counted = (share.data > threshold * top[row]) & (share.data > 0.0)
        return np.bincount(row[counted], minlength=share.shape[0]).astype(float)

    def columns_of(self, strokes: NDArray[np.int64]) -> "CoverageOperator":
        """Return the operator of these strokes alone, renumbered in the order given."""
        columns = np.concatenate([np.flatnonzero(self.stroke_of_column == k) for k in strokes])
        counts = [int((self.stroke_of_column == k).sum()) for k in strokes]
        matrix = self.matrix.tocsc()[:, columns].tocsr()
        return CoverageOperator(matrix=matrix, stroke_of_column=np.repeat(np.arange(len(strokes)), counts))


def dwell_of(path: Array | Sequence[Stroke]) -> Array:
    """Return dwell times (N,) [s]: those given, or those of the strokes one after the other."""
    if isinstance(path, np.ndarray):
        return path
    return np.concatenate([stroke.dwell_s for stroke in path])


def build_coverage(
    surface: Surface,
    strokes: Sequence[Stroke],
    footprint: Footprint,
    *,
    occlusion: bool = True,
    progress: Progress = no_progress,
) -> CoverageOperator:
    """Return the operator from dwell at each stroke sample to change at each vertex of `surface`.

    Rays from the TCP to a vertex are cast where the footprint says it `occludes` and `occlusion` is on.
    """
    caster = RayCaster(surface) if occlusion and footprint.occludes else None
    return coverage_of_points(
        surface.vertices_m, surface.vertex_normals, strokes, footprint, caster=caster, progress=progress
    )


def coverage_of_points(
    points_m: Array,
    normals: Array,
    strokes: Sequence[Stroke],
    footprint: Footprint,
    *,
    caster: RayCaster | None,
    clearance_m: float = CLEARANCE_M,
    progress: Progress = no_progress,
) -> CoverageOperator:
    """Return the operator for points (V, 3) with unit outward normals (V, 3); `caster` None: nothing occludes.

    Points are grouped into cells of a few dozen; (cell, sample) pairs come from a tree query within the footprint's
    reach and its own coarse test, are opened into (point, sample) pairs chunk by chunk, and kept where the rate is
    positive and the ray is free.
    """
    frames = np.concatenate([stroke.frames for stroke in strokes])
    stroke_of_column = np.repeat(np.arange(len(strokes)), [len(s) for s in strokes])
    cells = _Cells.of(points_m)
    pairs = _cell_pairs(cells, frames, footprint)
    rows, columns, rates = [], [], []
    for start, stop in _chunks(cells.counts[pairs[:, 0]]):
        cell, sample = pairs[start:stop].T
        point, pair = cells.open(cell)
        sample = sample[pair]
        local, local_normal = _local(points_m, normals, frames, point, sample)
        rate = footprint.rates(local, local_normal, sample)
        keep = np.flatnonzero(rate > 0.0)
        if caster is not None and len(keep):
            nozzle = frames[sample[keep], :3, 3]
            keep = keep[~caster.blocked(nozzle, points_m[point[keep]], clearance_m)]
        rows.append(point[keep].astype(np.int32))
        columns.append(sample[keep].astype(np.int32))
        rates.append(rate[keep].astype(np.float32))
        progress(stop / max(len(pairs), 1), "coverage")
    shape = (len(points_m), len(frames))
    if rows:
        entries = (np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns)))
        matrix = scipy.sparse.csr_matrix(entries, shape=shape, dtype=np.float32)
    else:
        matrix = scipy.sparse.csr_matrix(shape, dtype=np.float32)
    return CoverageOperator(matrix=matrix, stroke_of_column=stroke_of_column)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """Points grouped by a balanced split along the longest extent."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    centre_m: Array
    radius_m: Array

    @staticmethod
    def of(points_m: Array) -> "_Cells":
        groups = [np.arange(len(points_m))]
        while groups and max(map(len, groups)) > POINTS_PER_CELL:
            halves = []
            for group in groups:
                if len(group) <= POINTS_PER_CELL:
                    halves.append(group)
                    continue
                axis = int(np.argmax(np.ptp(points_m[group], axis=0)))
                ranked = np.argpartition(points_m[group, axis], len(group) // 2)
                halves += [group[ranked[: len(group) // 2]], group[ranked[len(group) // 2 :]]]
            groups = halves
        counts = np.array([len(g) for g in groups], np.int64)
        order = np.concatenate(groups)
        cell = np.repeat(np.arange(len(groups)), counts)
        centre = np.stack([np.bincount(cell, points_m[order, i]) for i in range(3)], axis=1) / counts[:, None]
        radius = np.zeros(len(groups))
        np.maximum.at(radius, cell, np.linalg.norm(points_m[order] - centre[cell], axis=1))
        starts = np.r_[0, np.cumsum(counts)[:-1]]
        return _Cells(order=order, starts=starts, counts=counts, centre_m=centre, radius_m=radius)

    def open(self, cell: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the points of each cell in the list, and for each the index in the list."""
        counts = self.counts[cell]
        pair = np.repeat(np.arange(len(cell)), counts)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.order[self.starts[cell][pair] + within], pair


def _cell_pairs(cells: _Cells, frames: Array, footprint: Footprint) -> NDArray[np.int64]:
    """Return (cell, sample) pairs (P, 2) that may meet, in sample order.

    Whole blocks of samples go against the tree, then every sample of a block against the cells found, densely.
    """
    tree = KDTree(cells.centre_m)
    widest = float(cells.radius_m.max())
    found = []
    for start in range(0, len(frames), SAMPLES_PER_BLOCK):
        block = frames[start : start + SAMPLES_PER_BLOCK]
        middle = block[:, :3, 3].mean(axis=0)
        spread = float(np.linalg.norm(block[:, :3, 3] - middle, axis=1).max())
        near = np.array(sorted(tree.query_ball_point(middle, footprint.reach_m + spread + widest)), np.int64)
        if len(near) == 0:
            continue
        centre = cells.centre_m[near] - middle
        origin = block[:, :3, 3] - middle
        local = np.empty((len(block), len(near), 3))
        for axis in range(3):
            direction = block[:, :3, axis]
            offset = np.einsum("ij,ij->i", direction, origin)
            np.subtract(direction @ centre.T, offset[:, None], out=local[:, :, axis])
        radius = np.broadcast_to(cells.radius_m[near], local.shape[:2]).ravel()
        local = local.reshape(-1, 3)
        keep = np.flatnonzero(
            footprint.may_reach(local, radius)
            & (np.einsum("ij,ij->i", local, local) <= (footprint.reach_m + radius) ** 2)
        )
        found.append(np.stack([near[keep % len(near)], start + keep // len(near)], axis=1))
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _local(
    points_m: Array, normals: Array, frames: Array, point: NDArray[np.int64], sample: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Return points and normals of the pairs in tool coordinates; `sample` is sorted, so runs share one product."""
    local, local_normal = points_m[point], normals[point]
    edges = np.r_[0, np.flatnonzero(np.diff(sample)) + 1, len(sample)]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        frame = frames[sample[start]]
        run = slice(start, stop)
        local[run] = (local[run] - frame[:3, 3]) @ frame[:3, :3]
        local_normal[run] = local_normal[run] @ frame[:3, :3]
    return local, local_normal


def _chunks(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    total = np.cumsum(counts)
    if len(total) == 0:
        return []
    cuts = np.searchsorted(total, np.arange(PAIRS_PER_CHUNK, int(total[-1]) + PAIRS_PER_CHUNK, PAIRS_PER_CHUNK))
    edges = np.unique(np.r_[0, np.minimum(cuts + 1, len(counts)), len(counts)])
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
