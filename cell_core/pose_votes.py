"""Poses that many pairs of oriented points agree on: where a part may lie in a scan, clutter and symmetry included."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.facing import facing_keys
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

SAMPLES_PER_CELL = 12.0
SAMPLES_MIN, SAMPLES_MAX = 2000, 400_000
COHERENT = 0.85
"""Cells whose mean normal is shorter hold an edge or noise; they are dropped."""
N_REFERENCES, N_PARTNERS = 80, 500
N_DISTANCES, N_ANGLES, N_TURNS = 20, 12, 24
"""Steps that a pair's distance, its three angles and the turn about a normal are told apart by."""
BUCKET_MAX = 100
"""Model pairs taken at most for one scene pair: what is alike everywhere says little."""
PEAKS_PER_REFERENCE = 8


def spread_samples(surface: Surface, n: int) -> tuple[Array, Array]:
    """Return n points (n, 3) spread evenly over the area, the same every time, and their triangles' normals (n, 3)."""
    area = np.cumsum(surface.triangle_areas_m2)
    triangle = np.minimum(np.searchsorted(area, (np.arange(n) + 0.5) / n * area[-1]), len(area) - 1)
    u, v = (np.arange(n) * 0.7548776662466927) % 1.0, (np.arange(n) * 0.5698402909980532) % 1.0
    fold = u + v > 1.0
    u, v = np.where(fold, 1.0 - u, u), np.where(fold, 1.0 - v, v)
    a, b, c = (surface.vertices_m[surface.triangles[triangle, i]] for i in range(3))
    return a + u[:, None] * (b - a) + v[:, None] * (c - a), surface.triangle_normals[triangle]


def facing_cells(surface: Surface, cell_m: float) -> SurfaceSamples:
    """Return the mean point and normal of what lies in each cubic cell and faces one of six ways.

    Noise averages out and the two sides of a thin wall stay apart; cells across an edge are left out.
    """
    n = int(np.clip(SAMPLES_PER_CELL * surface.area_m2 / cell_m**2, SAMPLES_MIN, SAMPLES_MAX))
    points, normals = spread_samples(surface, n)
    key = facing_keys(points, normals, cell_m, points.min(axis=0))
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0])
    size = np.diff(np.r_[first, n])
    means = np.add.reduceat(points[order], first) / size[:, None]
    facing = np.add.reduceat(normals[order], first) / size[:, None]
    whole = np.linalg.norm(facing, axis=1) >= COHERENT
    return SurfaceSamples(
        points_m=means[whole], normals=unit(facing[whole]), areas_m2=size[whole] * (surface.area_m2 / n)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Pairs of oriented points, first about its normal."""

    key: NDArray[np.int64]
    """What does not change as the pair moves, in steps."""
    turn_rad: Array
    """Where the second point lies about the first one's normal."""


class PoseVotes:
    """A model's pairs, sorted by what does not change as they move (Drost and others, CVPR 2010)."""

    def __init__(self, model: SurfaceSamples, diameter_m: float) -> None:
        self._model, self._diameter_m = model, diameter_m
        n = len(model)
        self._frames = frames_of(model.normals)
        first, second = np.divmod(np.arange(n * n), n)
        apart = first != second
        first, second = first[apart], second[apart]
        pairs = _pairs(model, self._frames, first, second, diameter_m)
        order = np.argsort(pairs.key, kind="stable")
        self._key, self._first, self._turn = pairs.key[order], first[order], pairs.turn_rad[order]

    def poses(self, scene: SurfaceSamples) -> Array:
        """Return candidate poses (K, 4, 4), scene coordinates in and model coordinates out, several per reference."""
        frames = frames_of(scene.normals)
        found = [self._of(scene, frames, int(i)) for i in scattered(len(scene), N_REFERENCES)]
        return np.concatenate(found)

    def _of(self, scene: SurfaceSamples, frames: Array, reference: int) -> Array:
        distance = np.linalg.norm(scene.points_m - scene.points_m[reference], axis=1)
        near = np.flatnonzero((distance < self._diameter_m) & (distance > 0.0))
        if len(near) == 0:
            return np.zeros((0, 4, 4))
        near = near[scattered(len(near), N_PARTNERS)]
        pairs = _pairs(scene, frames, np.full(len(near), reference), near, self._diameter_m)
        low, high = np.searchsorted(self._key, pairs.key, "left"), np.searchsorted(self._key, pairs.key, "right")
        taken = np.minimum(high - low, BUCKET_MAX)
        pair = np.repeat(np.arange(len(near)), taken)
        nth = np.arange(len(pair)) - np.repeat(np.cumsum(taken) - taken, taken)
        entry = low[pair] + nth * (high - low)[pair] // np.maximum(taken[pair], 1)
        turn = (self._turn[entry] - pairs.turn_rad[pair]) % (2.0 * np.pi)
        step = np.floor(turn * (N_TURNS / (2.0 * np.pi))).astype(np.int64) % N_TURNS
        n = len(self._model)
        votes = np.bincount(self._first[entry] * N_TURNS + step, minlength=n * N_TURNS).reshape(n, N_TURNS)
        votes = votes + np.roll(votes, -1, axis=1)
        best = np.argpartition(votes.ravel(), -PEAKS_PER_REFERENCE)[-PEAKS_PER_REFERENCE:]
        at, step = np.divmod(best, N_TURNS)
        turn = (step + 1.0) * (2.0 * np.pi / N_TURNS)
        spin = Rotation.from_rotvec(np.outer(turn, [1.0, 0.0, 0.0])).as_matrix()
        T = np.tile(np.eye(4), (len(best), 1, 1))
        T[:, :3, :3] = np.swapaxes(self._frames[at], 1, 2) @ spin @ frames[reference]
        T[:, :3, 3] = self._model.points_m[at] - T[:, :3, :3] @ scene.points_m[reference]
        return T


def scattered(n: int, wanted: int) -> NDArray[np.int64]:
    """Return about as many of n indices as wanted, scattered: cells lie in the order of a grid."""
    if n <= wanted:
        return np.arange(n)
    return np.unique((np.arange(wanted) * 0.6180339887498949 % 1.0 * n).astype(np.int64))


def frames_of(normals: Array) -> Array:
    """Return frames (N, 3, 3) on unit normals (N, 3); rows: the normal, and two directions across it."""
    other = np.eye(3)[np.abs(normals).argmin(axis=1)]
    second = unit(np.cross(normals, other))
    return np.stack([normals, second, np.cross(normals, second)], axis=1)


def _pairs(
    samples: SurfaceSamples, frames: Array, first: NDArray[np.int64], second: NDArray[np.int64], diameter_m: float
) -> _Pairs:
    span = samples.points_m[second] - samples.points_m[first]
    distance = np.linalg.norm(span, axis=1)
    way = span / np.maximum(distance, 1e-12)[:, None]
    a, b = samples.normals[first], samples.normals[second]
    cosines = [np.einsum("ij,ij->i", *pair) for pair in ((a, way), (b, way), (a, b))]
    key = np.minimum((distance * (N_DISTANCES / diameter_m)).astype(np.int64), N_DISTANCES)
    for cosine in cosines:
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        # steps lie about multiples, so that right angles and planes do not fall between two
        key = key * (N_ANGLES + 1) + np.rint(angle * (N_ANGLES / np.pi)).astype(np.int64)
    local = np.einsum("kij,kj->ki", frames[first][:, 1:], span)
    return _Pairs(key=key, turn_rad=np.arctan2(local[:, 1], local[:, 0]))
