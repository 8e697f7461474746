"""How far neighbouring strokes of a layout really lie apart, along the surface."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.statistics import weighted_quantile
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.transforms import Array

FARTHEST = 1.6
"""A stroke farther than this times the asked distance is no neighbour."""
STEPS_PER_SPACING = 8
TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class StrokeDistances:
    """Distances from samples to the neighbouring strokes, one per sample and side that has a neighbour."""

    ratio: Array
    """(M,) true distance over the asked one."""
    weight_m: Array
    """(M,) length of stroke each stands for [m]."""
    with_neighbour: float
    """Share of the strokes' length, both sides counted, that has a neighbour."""

    @property
    def within(self) -> float:
        """Share of the length within 5 % of the asked distance; 1 where no stroke has a neighbour."""
        good = np.abs(self.ratio - 1.0) <= TOLERANCE
        return float(self.weight_m @ good / self.weight_m.sum()) if len(good) else 1.0

    def quantile(self, q: float) -> float:
        """Return the ratio below which the share q of the length lies; 1 where no stroke has a neighbour."""
        return weighted_quantile(self.ratio, self.weight_m, q) if len(self.ratio) else 1.0


def stroke_distances(
    caster: RayCaster, lines: Sequence[MeshLine], asked_m: float | Sequence[Array]
) -> StrokeDistances:
    """Return the distance along the surface between every stroke and its neighbours, both ways.

    Neighbours of level k are k - 1 and k + 1; strokes put in between (levels that end in .5) are left out. A sample has
    no neighbour on a side where there is no stroke of that level, where the nearest point of it is a free end (the
    strokes do not run side by side there) or where it lies beyond 1.6 times the asked distance: outermost strokes, ends
    at slanting borders, holes. Those count for nothing here; what they leave bare is the coverage's to tell.

    Args:
        caster: rays on the surface the strokes lie on.
        asked_m: one number, or the asked distance at each sample of each line.
    """
    runs = [run for i, line in enumerate(lines) for run in _runs(i, line, asked_m)]
    levels = sorted({run.level for run in runs})
    from_m, to_m, asked, weight, total = [], [], [], [], 0.0
    for level in levels:
        here = [run for run in runs if run.level == level]
        total += 2.0 * sum(float(run.weight_m.sum()) for run in here)
        for other in (level - 1.0, level + 1.0):
            there = [run for run in runs if run.level == other]
            if not there:
                continue
            for run in here:
                foot, foot_asked, free = _feet(run.points_m, there)
                wanted = 0.5 * (run.asked_m + foot_asked)
                beside = ~free & (np.linalg.norm(foot - run.points_m, axis=1) <= FARTHEST * wanted)
                from_m.append(run.points_m[beside])
                to_m.append(foot[beside])
                asked.append(wanted[beside])
                weight.append(run.weight_m[beside])
    if not weight:
        return StrokeDistances(ratio=np.empty(0), weight_m=np.empty(0), with_neighbour=0.0)
    weights = np.concatenate(weight)
    distance = path_lengths(caster, np.concatenate(from_m), np.concatenate(to_m))
    return StrokeDistances(
        ratio=distance / np.concatenate(asked), weight_m=weights, with_neighbour=float(weights.sum()) / total
    )


def path_lengths(caster: RayCaster, from_m: Array, to_m: Array) -> Array:
    """Return the length (M,) [m] of the straight line between points (M, 3) each, laid onto the surface.

    Between neighbouring strokes it is the distance along the surface: longer than the shortest way only by the square
    of the angle that the shortest way leaves the straight one by.
    """
    share = np.linspace(0.0, 1.0, STEPS_PER_SPACING + 1)[1:-1]
    inner = from_m[:, None] + share[None, :, None] * (to_m - from_m)[:, None]
    laid = caster.closest(inner.reshape(-1, 3))[0].reshape(inner.shape)
    whole = np.concatenate([from_m[:, None], laid, to_m[:, None]], axis=1)
    return np.linalg.norm(np.diff(whole, axis=1), axis=2).sum(axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """A served stretch of a line."""

    level: float
    points_m: Array
    asked_m: Array
    weight_m: Array
    closed: bool


def _runs(index: int, line: MeshLine, asked_m: float | Sequence[Array]) -> list[_Run]:
    if line.level % 1.0 != 0.0:
        return []
    asked = np.full(len(line.served), asked_m) if isinstance(asked_m, float | int) else np.asarray(asked_m[index])
    change = np.flatnonzero(np.diff(np.r_[False, line.served, False].astype(int)))
    out = []
    for a, b in zip(change[::2], change[1::2], strict=True):
        if b - a < 2:
            continue
        points = line.surface_m[a:b]
        half = 0.5 * np.linalg.norm(np.diff(points, axis=0), axis=1)
        out.append(
            _Run(
                level=line.level,
                points_m=points,
                asked_m=asked[a:b],
                weight_m=np.r_[half, 0.0] + np.r_[0.0, half],
                closed=line.closed and bool(np.all(line.served)),
            )
        )
    return out


def _feet(points: Array, runs: Sequence[_Run]) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the nearest point of the runs to each point (N, 3), the distance asked there, and if it is a free end."""
    start = np.concatenate([run.points_m[:-1] for run in runs])
    along = np.concatenate([np.diff(run.points_m, axis=0) for run in runs])
    asked = np.concatenate([0.5 * (run.asked_m[:-1] + run.asked_m[1:]) for run in runs])
    first, last = np.zeros(len(start), bool), np.zeros(len(start), bool)
    ends = np.cumsum([len(run.points_m) - 1 for run in runs])
    is_open = np.array([not run.closed for run in runs])
    first[np.r_[0, ends[:-1]]] = is_open
    last[ends - 1] = is_open
    # the nearest segment's middle is not always nearest: try a few
    k = min(6, len(start))
    _, tried = KDTree(start + 0.5 * along).query(points, k=k)
    tried = tried.reshape(len(points), k)
    offset = points[:, None] - start[tried]
    square = np.maximum(np.einsum("nki,nki->nk", along[tried], along[tried]), 1e-300)
    raw = np.einsum("nki,nki->nk", offset, along[tried]) / square
    share = np.clip(raw, 0.0, 1.0)
    foot = start[tried] + share[..., None] * along[tried]
    best = np.argmin(np.linalg.norm(points[:, None] - foot, axis=2), axis=1)
    rows = np.arange(len(points))
    chosen, raw = tried[rows, best], raw[rows, best]
    free = (first[chosen] & (raw <= 0.0)) | (last[chosen] & (raw >= 1.0))
    return foot[rows, best], asked[chosen], free
