"""Points spread evenly over a surface, whatever its triangles: what planners predict on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit

CANDIDATES_PER_SAMPLE = 4.0
MEAN_NEIGHBOURS = 48
"""Samples at most that a mean normal is taken over: a ball of three spacings holds about 28 of one sheet."""
SAME_SIDE_COS = 0.5
COHERENT = 0.75
"""Normals whose mean is at least this long lie on one side: noise gives more, an edge of 90 degrees 0.71 at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceSamples:
    """Points on a surface, each standing for a piece of its area."""

    points_m: Array
    """(P, 3) points on the surface [m]."""
    normals: Array
    """(P, 3) unit outward normals, averaged over the piece."""
    areas_m2: Array
    """(P,) area of each piece across its normal [m2]; sums to the surface's area but for its roughness."""

    def __len__(self) -> int:
        return len(self.points_m)

    @cached_property
    def tree(self) -> KDTree:
        """Nearest-point tree."""
        return KDTree(self.points_m)

    def select(self, keep: NDArray) -> "SurfaceSamples":
        """Return the samples kept (mask or indices)."""
        return SurfaceSamples(
            points_m=self.points_m[keep], normals=self.normals[keep], areas_m2=self.areas_m2[keep]
        )

    def mean_normals(self, at_m: Array, facing: Array, radius_m: float, facing_cos: float) -> Array:
        """Return mean normals (N, 3) over the ball of `radius_m` around points (N, 3): not unit, short where bent.

        Means are weighted by area and by 1 - (distance / radius)^2, over the samples whose normal is within
        `facing_cos` of the unit vectors `facing` (N, 3), so that the far side of a thin wall does not count; where
        there are none, `facing` is returned. `radius_m` should be about three sample spacings.
        """
        k = min(MEAN_NEIGHBOURS, len(self))
        distance, index = self.tree.query(at_m, k=k, distance_upper_bound=radius_m)
        distance, index = distance.reshape(len(at_m), k), index.reshape(len(at_m), k)
        found = np.isfinite(distance)
        index, distance = np.where(found, index, 0), np.where(found, distance, radius_m)
        normals = self.normals[index]
        own = np.einsum("nki,ni->nk", normals, facing) > facing_cos
        weight = np.where(own, self.areas_m2[index] * (1.0 - (distance / radius_m) ** 2), 0.0)
        total = weight.sum(axis=1, keepdims=True)
        mean = np.einsum("nk,nki->ni", weight, normals) / np.maximum(total, 1e-300)
        return np.where(total > 0.0, mean, facing)

    def spread(self, surface: Surface, *values: Array, nearest: bool = False) -> list[Array]:
        """Carry per-sample values (P,) to the vertices (V,) of `surface`.

        Inverse-square-distance mean of the four nearest samples that face the same way; `nearest` takes the first of
        them, for flags. A vertex without any such sample gets the nearest sample's value.
        """
        k = min(6, len(self))
        distance, index = self.tree.query(surface.vertices_m, k=k)
        distance, index = distance.reshape(-1, k), index.reshape(-1, k)
        facing = np.einsum("vki,vi->vk", self.normals[index], surface.vertex_normals) > SAME_SIDE_COS
        facing[~facing.any(axis=1), 0] = True
        if nearest:
            first = index[np.arange(len(index)), np.argmax(facing, axis=1)]
            return [v[first] for v in values]
        rank = np.cumsum(facing, axis=1)
        weight = np.where(facing & (rank <= 4), 1.0 / (distance**2 + 1e-12), 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        return [np.einsum("vk,vk->v", weight, v[index]) for v in values]


def sample_surface(surface: Surface, spacing_m: float, *, rims: bool = False) -> SurfaceSamples:
    """Return about area / spacing^2 samples of the surface, at least one.

    Every triangle gets quasi-random points by area; points are grouped by cubes of `spacing_m` and side (so that the
    two faces of a sheet stay apart), and each group is kept as its point nearest the mean. Deterministic.

    Args:
        rims: what lies across both faces of a sheet thinner than the spacing, its rim, also gets samples of its own;
            otherwise it counts with the lesser face.
    """
    points, normals, areas = _candidates(surface, spacing_m)
    key = np.floor((points - surface.bounds_m[0]) / spacing_m).astype(np.int64)
    n = key.max(axis=0) + 1
    _, cube = np.unique((key[:, 0] * n[1] + key[:, 1]) * n[2] + key[:, 2], return_inverse=True)
    largest_first = np.lexsort((np.arange(len(cube)), -areas, cube))
    starts = np.flatnonzero(np.r_[True, np.diff(cube[largest_first]) > 0])
    mean = np.stack([np.bincount(cube, areas * normals[:, i]) for i in range(3)], axis=1)
    coherent = np.linalg.norm(mean, axis=1) > COHERENT * np.bincount(cube, areas)
    reference = normals[largest_first[starts]][cube]
    facing = np.einsum("ij,ij->i", normals, reference)
    side = (coherent[cube] | (facing > SAME_SIDE_COS)).astype(np.int64)
    if rims:
        side[(side == 0) & (facing > -SAME_SIDE_COS)] = 2
    _, group = np.unique(3 * cube + side, return_inverse=True)
    total: Array = np.bincount(group, areas).astype(float)
    mean = np.stack([np.bincount(group, areas * points[:, i]) for i in range(3)], axis=1) / total[:, None]
    vector = np.stack([np.bincount(group, areas * normals[:, i]) for i in range(3)], axis=1)
    normal = unit(vector)
    nearest_first = np.lexsort((np.linalg.norm(points - mean[group], axis=1), group))
    chosen = nearest_first[np.flatnonzero(np.r_[True, np.diff(group[nearest_first]) > 0])]
    normal = np.where(np.linalg.norm(normal, axis=1)[:, None] > 0.5, normal, normals[chosen])
    # crinkles smaller than a sample add area that no process sees: count what lies across the mean normal
    seen = np.maximum(np.linalg.norm(vector, axis=1), 0.5 * total)
    return SurfaceSamples(points_m=points[chosen], normals=normal, areas_m2=seen)


def points_by_area(surface: Surface, spacing_m: float) -> SurfaceSamples:
    """Return area / spacing^2 points on the triangles, at least one, each for the same area, with its face's normal.

    Unlike `sample_surface` it smooths nothing: what a fine edge or a noisy facet does counts as it is. Points are
    spread by a quasi-random sequence over triangles laid end to end. Deterministic.
    """
    areas = surface.triangle_areas_m2
    n = max(1, round(surface.area_m2 / spacing_m**2))
    k = np.arange(n)
    owner = np.searchsorted(np.cumsum(areas), (k + 0.5) / n * areas.sum(), side="right")
    owner = np.minimum(owner, len(areas) - 1)
    s, t = (0.5 + 0.7548776662466927 * k) % 1.0, (0.5 + 0.5698402909980532 * k) % 1.0
    fold = s + t > 1.0
    s, t = np.where(fold, 1.0 - s, s)[:, None], np.where(fold, 1.0 - t, t)[:, None]
    a, b, c = (surface.vertices_m[surface.triangles[owner, i]] for i in range(3))
    points = a + s * (b - a) + t * (c - a)
    return SurfaceSamples(
        points_m=points, normals=surface.triangle_normals[owner], areas_m2=np.full(n, surface.area_m2 / n)
    )


def _candidates(surface: Surface, spacing_m: float) -> tuple[Array, Array, Array]:
    areas = surface.triangle_areas_m2
    sound = np.flatnonzero(areas > 0.0)
    counts = np.maximum(np.ceil(CANDIDATES_PER_SAMPLE * areas[sound] / spacing_m**2), 1).astype(np.int64)
    owner = np.repeat(sound, counts)
    k = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    # R2 sequence folded into the triangle: even for slivers, where a grid would pile up; one point sits at the centroid
    s, t = (0.5 + 0.7548776662466927 * k) % 1.0, (0.5 + 0.5698402909980532 * k) % 1.0
    fold = s + t > 1.0
    s, t = np.where(fold, 1.0 - s, s), np.where(fold, 1.0 - t, t)
    single = np.repeat(counts == 1, counts)
    s, t = np.where(single, 1.0 / 3.0, s)[:, None], np.where(single, 1.0 / 3.0, t)[:, None]
    a, b, c = (surface.vertices_m[surface.triangles[owner, i]] for i in range(3))
    points = a + s * (b - a) + t * (c - a)
    return points, surface.triangle_normals[owner], areas[owner] / np.repeat(counts, counts)
