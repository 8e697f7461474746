"""The coverage operator: what a tool path leaves on a surface is A t, with t the time spent at each sample."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.operator.footprint import Footprint
from cell_core.operator.pair_rates import PairRates
from cell_core.operator.sweep import SweepPoses
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

CLEARANCE_M = 0.003
"""A ray to a point may touch the surface this close before it: scan noise, facets [m]."""
POSES_PER_BLOCK = 512
BLOCKS_MIN = 8
"""Short paths are cut finer, so that threads find work."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CoverageOperator:
    """Sparse rates of change: rows are surface points, columns the samples of all strokes, in stroke order."""

    matrix: Any
    """(V, N) scipy csr matrix, float32 rates [m/s]."""
    stroke_of_column: NDArray[np.int64]
    """(N,) stroke each sample belongs to, ascending."""
    along_m: Array = field(default_factory=lambda: np.empty(0))
    """(N,) path from the stroke's start to each sample [m]; may be empty where passes are not told apart."""
    keys: tuple[bytes, ...] = ()
    """Digest of each stroke's poses, by which `CoverageModel` finds columns again; empty for one made by hand."""
    model: "CoverageModel | None" = None
    """What the columns were computed with."""

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

    @property
    def n_strokes(self) -> int:
        """Strokes whose samples are columns."""
        return int(self.stroke_of_column[-1]) + 1 if len(self.stroke_of_column) else 0

    def visits(self, dwell_s: Array, threshold: float = 0.1, *, leave_m: float = np.inf) -> Array:
        """Return in how many passes each point (V,) is served: those that give it over `threshold` of its most.

        A stroke is one pass over a point, or several where it serves it again after `leave_m` of path [m] in which it
        did not (a footprint's length, say). With a RoundFootprint and threshold 0 each pass that covers a point counts.
        """
        A = self.matrix if self.matrix.has_sorted_indices else self.matrix.sorted_indices()
        given = A.data * np.asarray(dwell_s, np.float32)[A.indices]
        served = np.flatnonzero(given > 0.0)
        row = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))[served]
        column, given = A.indices[served], given[served]
        if len(served) == 0:
            return np.zeros(A.shape[0])
        stroke = self.stroke_of_column[column]
        fresh = (np.diff(row) != 0) | (np.diff(stroke) != 0)
        if np.isfinite(leave_m):
            if len(self.along_m) != len(self.stroke_of_column):
                raise InputRefusedError(f"visits: leave_m {leave_m:.6g} m needs an operator that knows along_m")
            fresh |= np.diff(self.along_m[column]) > leave_m
        starts = np.r_[0, np.flatnonzero(fresh) + 1]
        share = np.add.reduceat(given, starts)
        owner = row[starts]
        top = np.zeros(A.shape[0], share.dtype)
        np.maximum.at(top, owner, share)
        return np.bincount(owner[share > threshold * top[owner]], minlength=A.shape[0]).astype(float)

    def columns_of(self, strokes: NDArray[np.int64]) -> "CoverageOperator":
        """Return the operator of these strokes alone, renumbered in the order given."""
        own = [self._columns(k) for k in strokes]
        columns = np.concatenate([np.arange(c.start, c.stop) for c in own])
        return CoverageOperator(
            matrix=self.transposed[columns].T.tocsr(),
            stroke_of_column=np.repeat(np.arange(len(own)), [c.stop - c.start for c in own]),
            along_m=self.along_m[columns] if len(self.along_m) else self.along_m,
            keys=tuple(self.keys[k] for k in strokes) if self.keys else (),
            model=self.model,
        )

    def with_strokes(self, strokes: Sequence[Stroke], progress: Progress = no_progress) -> "CoverageOperator":
        """Return the operator of these strokes; columns of strokes with poses known to this one are taken over.

        The result is the same, bit for bit, as that of computing all columns anew. Speeds, process values and on/off
        are no part of the operator: strokes that differ in these alone count as known.

        Raises:
            InputRefusedError: the operator was made by hand and does not know what its columns were computed with.
        """
        if self.model is None:
            raise InputRefusedError("coverage: an operator made by hand cannot compute further strokes")
        return self.model.operator(strokes, known=self, progress=progress)

    def _columns(self, stroke: int) -> slice:
        start, stop = np.searchsorted(self.stroke_of_column, [stroke, stroke + 1])
        return slice(int(start), int(stop))


@dataclass(frozen=True, kw_only=True, eq=False)
class CoverageModel:
    """Points and a footprint: what it takes to compute the columns of any stroke."""

    pairs: PairRates
    substeps: int = 1
    """Poses per sample step; see SweepPoses."""
    threads: int = 0
    """Threads to compute with; 0: one for every core this process may use. The result does not depend on it."""

    def operator(
        self,
        strokes: Sequence[Stroke],
        *,
        known: CoverageOperator | None = None,
        progress: Progress = no_progress,
    ) -> CoverageOperator:
        """Return the operator of these strokes; columns that `known`, of this model, already has are taken over."""
        if not strokes:
            raise InputRefusedError("coverage: 0 strokes, at least 1 needed")
        keys = tuple(_key(stroke) for stroke in strokes)
        have: dict[bytes, int] = {}
        if known is not None and known.model is self:
            have = {key: k for k, key in enumerate(known.keys)}
        missing = [k for k, key in enumerate(keys) if key not in have]
        counts = np.array([len(s) for s in strokes])
        new: Any = self._rows([strokes[k] for k in missing], progress) if missing else None
        if known is None or len(missing) == len(strokes):
            transposed = new
        else:
            transposed = _spliced(keys, have, known, missing, counts, new)
        return CoverageOperator(
            matrix=transposed.T.tocsr(),
            stroke_of_column=np.repeat(np.arange(len(strokes)), counts),
            along_m=np.concatenate([np.r_[0.0, np.cumsum(s.step_lengths_m)] for s in strokes]),
            keys=keys,
            model=self,
        )

    def _rows(self, strokes: Sequence[Stroke], progress: Progress) -> Any:
        """Return A^T (N, V) of these strokes, computed block by block."""
        poses = SweepPoses.of(strokes, self.substeps)
        blocks = _blocks(poses.column)
        self.pairs.prepare()
        done = []
        for block in self._computed(poses, blocks):
            done.append(block)
            progress(len(done) / len(blocks), "coverage")
        return scipy.sparse.vstack(done, format="csr")

    def _computed(self, poses: SweepPoses, blocks: list[tuple[int, int]]) -> Iterator[Any]:
        threads = min(self.threads or len(os.sched_getaffinity(0)), len(blocks))
        if threads == 1:
            yield from (self.pairs.block(poses, start, stop) for start, stop in blocks)
            return
        pool = ThreadPoolExecutor(threads)
        try:
            yield from pool.map(lambda block: self.pairs.block(poses, *block), blocks)
        finally:
            pool.shutdown(cancel_futures=True)


def _blocks(column: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return runs of poses, each with all poses of its samples."""
    n = len(column)
    size = int(np.clip(n // BLOCKS_MIN, 32, POSES_PER_BLOCK))
    cuts = np.searchsorted(column, column[np.arange(0, n, size)])
    edges = np.unique(np.r_[cuts, n]).tolist()
    return list(pairwise(edges))


def _spliced(
    keys: tuple[bytes, ...],
    have: dict[bytes, int],
    known: CoverageOperator,
    missing: list[int],
    counts: NDArray[np.int64],
    new: Any,
) -> Any:
    """Return A^T with the rows of each stroke from where they are: `known`, or `new` for the missing ones in turn."""
    stop_of = dict(zip(missing, np.cumsum(counts[missing]).tolist(), strict=True))
    parts = []
    for k, key in enumerate(keys):
        if k in stop_of:
            parts.append(new[stop_of[k] - counts[k] : stop_of[k]])
        else:
            parts.append(known.transposed[known._columns(have[key])])
    return scipy.sparse.vstack(parts, format="csr")


def _key(stroke: Stroke) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for values in (stroke.position_m, stroke.tool_axis, stroke.travel):
        digest.update(values.tobytes())
    return digest.digest()


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
    substeps: int = 1,
    threads: int = 0,
    progress: Progress = no_progress,
) -> CoverageOperator:
    """Return the operator from dwell at each stroke sample to change at each vertex of `surface`.

    Rays from the TCP to a vertex are cast where the footprint says it `occludes` and `occlusion` is on.
    """
    return coverage_of_points(
        surface.vertices_m,
        surface.vertex_normals,
        strokes,
        footprint,
        caster=RayCaster(surface) if occlusion and footprint.occludes else None,
        substeps=substeps,
        threads=threads,
        progress=progress,
    )


def coverage_of_points(
    points_m: Array,
    normals: Array,
    strokes: Sequence[Stroke],
    footprint: Footprint,
    *,
    caster: RayCaster | None,
    clearance_m: float = CLEARANCE_M,
    substeps: int = 1,
    threads: int = 0,
    progress: Progress = no_progress,
) -> CoverageOperator:
    """Return the operator for points (V, 3) with unit outward normals (V, 3); `caster` None: nothing occludes.

    Points lie in runs along a space-filling curve; for blocks of poses a tree of balls around them gives (run, pose)
    pairs by the footprint's coarse test, which are opened into (point, pose) pairs, cut off exactly by support, and
    kept where the rate is positive and the ray is free. Rates are float32 of offsets from the pose: to about 1e-6 of
    the peak. `substeps` (odd) puts that many poses on a sample step and averages them into the sample's column, so
    that coarsely sampled strokes integrate right (`sweep.substeps_needed`); footprints that know their mean over a
    sweep are averaged over each pose's own piece of path in any case.

    Args:
        threads: 0: one for every core this process may use. The result does not depend on it, bit for bit.

    Raises:
        InputRefusedError: no strokes, no points, or an even number of sub-steps.
    """
    if len(points_m) == 0:
        raise InputRefusedError("coverage: 0 points, at least 1 needed")
    pairs = PairRates(
        points_m=points_m,
        normals=normals,
        footprint=footprint,
        caster=caster if footprint.occludes else None,
        clearance_m=clearance_m,
    )
    return CoverageModel(pairs=pairs, substeps=substeps, threads=threads).operator(strokes, progress=progress)
