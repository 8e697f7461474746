"""Evenly spread, area-true points on a surface: what the contact model presses on.

CAD meshes have vertices only where they bend, scans have them everywhere and noisy; both become the same kind of cloud.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit

DENSE_PER_SAMPLE = 8
# a normal turned by 90 degrees counts like this many spacings of distance: faces across an edge stay apart
NORMAL_WEIGHT = 2.0
RIM_SHARE = 0.4
"""Pieces beside a sharp edge are so much narrower."""
RIM_REACH, RIM_TURN_RAD, FAR_SIDE_COSINE = 1.2, np.deg2rad(30.0), -0.2
"""A sharp edge lies between samples so many spacings apart that turn by more; opposite faces have none between them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceSamples:
    """Points that stand for small pieces of a surface."""

    points_m: Array
    """(S, 3) positions [m]."""
    normals: Array
    """(S, 3) unit outward normals, averaged over the piece."""
    areas_m2: Array
    """(S,) area of the piece [m2]; sums to the surface area."""
    spacing_m: float
    """Nominal distance between neighbours [m]."""
    forbidden: NDArray[np.bool_] | None = None
    """(S,) samples that no tool may press; None: all may be."""
    rim: NDArray[np.bool_] | None = None
    """(S,) pieces beside a sharp edge, smaller than the others; None: there are none."""

    def __len__(self) -> int:
        return len(self.points_m)

    @cached_property
    def tree(self) -> KDTree:
        """Nearest-point tree."""
        return KDTree(self.points_m)

    @cached_property
    def tree_6d(self) -> KDTree:
        """Nearest-sample tree over positions and normals, so that faces across an edge stay apart."""
        return KDTree(_lifted(self.points_m, self.normals, self.spacing_m))

    def subset(self, keep: NDArray) -> "SurfaceSamples":
        """Return the samples kept (mask or indices)."""
        return SurfaceSamples(
            points_m=self.points_m[keep],
            normals=self.normals[keep],
            areas_m2=self.areas_m2[keep],
            spacing_m=self.spacing_m,
            forbidden=None if self.forbidden is None else self.forbidden[keep],
            rim=None if self.rim is None else self.rim[keep],
        )

    def weights_at(self, points_m: Array, normals: Array, n_nearest: int = 4) -> scipy.sparse.csr_matrix:
        """Return the (Q, S) matrix that carries a per-sample field to query points; rows sum to 1.

        Gaussian weights over the nearest samples in position and normal, so that nothing bleeds round an edge.
        """
        k = min(n_nearest, len(self))
        distance, index = self.tree_6d.query(_lifted(points_m, normals, self.spacing_m), k=k)
        distance, index = distance.reshape(len(points_m), k), index.reshape(len(points_m), k)
        weight = np.exp(-((distance - distance[:, :1]) * (distance + distance[:, :1])) / (0.5 * self.spacing_m**2))
        weight /= weight.sum(axis=1, keepdims=True)
        rows = np.repeat(np.arange(len(points_m)), k)
        return scipy.sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), shape=(len(points_m), len(self)))


def linear_fit(
    points_m: Array, normals: Array, at_m: Array, at_normals: Array, reach_m: float, n_nearest: int = 16
) -> scipy.sparse.csr_matrix:
    """Return the (Q, P) matrix that carries a field on points (P, 3) to query points (Q, 3).

    Least-squares plane through the nearest values, weighted by distance in position and normal over `reach_m`, or over
    half the farthest distance where points are sparse: linear fields come through exactly, noise is averaged.
    """
    k = min(n_nearest, len(points_m))
    distance, index = KDTree(_lifted(points_m, normals, reach_m)).query(_lifted(at_m, at_normals, reach_m), k=k)
    distance, index = distance.reshape(len(at_m), k), index.reshape(len(at_m), k)
    width = np.maximum(reach_m, 0.5 * distance[:, -1:])
    weight = np.exp(-((distance / width) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    offset = points_m[index] - at_m[:, None, :]
    offset -= np.einsum("qki,qi->qk", offset, at_normals)[:, :, None] * at_normals[:, None, :]
    basis = np.concatenate([np.ones((*weight.shape, 1)), offset / width[:, :, None]], axis=2)
    # the ridge leaves the plane level where points lie on a line or there is one only; it also fills the normal's row
    normal = np.einsum("qk,qki,qkj->qij", weight, basis, basis) + np.diag([0.0, 1e-6, 1e-6, 1e-6])
    first = np.linalg.solve(normal, np.broadcast_to(np.eye(4)[:, :1], (len(at_m), 4, 1)))[:, :, 0]
    share = weight * np.einsum("qki,qi->qk", basis, first)
    rows = np.repeat(np.arange(len(at_m)), k)
    return scipy.sparse.csr_matrix((share.ravel(), (rows, index.ravel())), shape=(len(at_m), len(points_m)))


def _lifted(points_m: Array, normals: Array, spacing_m: float) -> Array:
    return np.hstack([points_m, normals * (NORMAL_WEIGHT * spacing_m / np.sqrt(2.0))])


def scatter(surface: Surface, n: int) -> tuple[Array, NDArray[np.int64]]:
    """Return n points (n, 3) [m] spread over the triangles by area, and their triangles (n,); the same every time."""
    cumulative = np.cumsum(surface.triangle_areas_m2)
    triangle = np.searchsorted(cumulative, (np.arange(n) + 0.5) / n * cumulative[-1]).clip(max=len(cumulative) - 1)
    # additive recurrence of the plastic number: low discrepancy within a triangle that gets many points
    u, v = np.modf(np.arange(n)[:, None] * [0.7548776662466927, 0.5698402909980532])[0].T
    over = u + v > 1.0
    u, v = np.where(over, 1.0 - u, u), np.where(over, 1.0 - v, v)
    a, b, c = (surface.vertices_m[surface.triangles[triangle, i]] for i in range(3))
    return a + u[:, None] * (b - a) + v[:, None] * (c - a), triangle


def sample_surface(surface: Surface, spacing_m: float) -> SurfaceSamples:
    """Return samples about spacing_m apart, with areas and normals averaged over the piece each one stands for.

    Positions are averaged along the normal only: scan noise shorter than the spacing goes, edges stay.
    """
    n_dense = _n_dense(surface, spacing_m)
    points, triangle = scatter(surface, n_dense)
    return _gathered(surface, points, surface.triangle_normals[triangle], surface.area_m2 / n_dense, spacing_m)


def finer_at_rims(surface: Surface, samples: SurfaceSamples) -> SurfaceSamples:
    """Return the samples with those beside sharp convex edges in smaller pieces.

    A pad presses hardest where the ground turns away under it: a strip there loses more than the piece that a coarse
    sample stands for, the middle of which lies beyond it.
    """
    rim = _at_rims(samples)
    if not rim.any():
        return samples
    fine_m = RIM_SHARE * samples.spacing_m
    n_dense = _n_dense(surface, fine_m)
    points, triangle = scatter(surface, n_dense)
    near = KDTree(samples.points_m[rim]).query(points, distance_upper_bound=2.0 * samples.spacing_m)[0] < np.inf
    points, normals = points[near], surface.triangle_normals[triangle[near]]
    _, owner = samples.tree_6d.query(_lifted(points, normals, samples.spacing_m))
    points, normals = points[rim[owner]], normals[rim[owner]]
    fine = _gathered(surface, points, normals, surface.area_m2 / n_dense, fine_m)
    rest = samples.subset(~rim)
    return SurfaceSamples(
        points_m=np.concatenate([rest.points_m, fine.points_m]),
        normals=np.concatenate([rest.normals, fine.normals]),
        areas_m2=np.concatenate([rest.areas_m2, fine.areas_m2]),
        spacing_m=samples.spacing_m,
        rim=np.arange(len(rest) + len(fine)) >= len(rest),
    )


def _at_rims(samples: SurfaceSamples) -> NDArray[np.bool_]:
    # beside each other, turned away from each other, and each below the other's face
    pairs = samples.tree.query_pairs(RIM_REACH * samples.spacing_m, output_type="ndarray")
    normals = samples.normals[pairs]
    turn = np.einsum("ij,ij->i", normals[:, 0], normals[:, 1])
    turned = (turn < np.cos(RIM_TURN_RAD)) & (turn > FAR_SIDE_COSINE)
    pairs, normals = pairs[turned], normals[turned]
    offset = np.diff(samples.points_m[pairs], axis=1)[:, 0]
    falls = [-np.einsum("ij,ij->i", sign * offset, normals[:, k]) for k, sign in ((0, 1.0), (1, -1.0))]
    rim = np.zeros(len(samples), bool)
    rim[pairs[np.min(falls, axis=0) > 0.0]] = True
    return rim


def _n_dense(surface: Surface, spacing_m: float) -> int:
    return max(64, int(np.ceil(DENSE_PER_SAMPLE * surface.area_m2 / spacing_m**2)))


def _gathered(surface: Surface, points: Array, normals: Array, area_m2: float, spacing_m: float) -> SurfaceSamples:
    """Return dense points (D, 3), each for the same area, gathered into pieces about spacing_m wide."""
    cell = np.floor((points - surface.bounds_m[0]) / spacing_m).astype(np.int64)
    side = np.argmax(np.abs(normals), axis=1) * 2 + (
        np.take_along_axis(normals, np.argmax(np.abs(normals), axis=1)[:, None], 1)[:, 0] > 0
    )
    _, group = np.unique(np.c_[cell, side], axis=0, return_inverse=True)
    group = group.reshape(-1)
    counts = np.bincount(group)
    centre = np.stack([np.bincount(group, points[:, i]) for i in range(3)], axis=1) / counts[:, None]
    off_centre = np.linalg.norm(points - centre[group], axis=1)
    order = np.lexsort((off_centre, group))
    chosen = order[np.r_[0, np.cumsum(counts)[:-1]]]
    chosen = _thin(points[chosen], normals[chosen], counts, chosen, 0.6 * spacing_m)

    seeds = points[chosen]
    _, owner = KDTree(_lifted(seeds, normals[chosen], spacing_m)).query(_lifted(points, normals, spacing_m))
    count = np.bincount(owner, minlength=len(chosen))
    mean_normal = unit(np.stack([np.bincount(owner, normals[:, i], len(chosen)) for i in range(3)], axis=1))
    height = np.bincount(
        owner, np.einsum("ij,ij->i", points - seeds[owner], mean_normal[owner]), len(chosen)
    ) / np.maximum(count, 1)
    return SurfaceSamples(
        points_m=seeds + height[:, None] * mean_normal,
        normals=mean_normal,
        areas_m2=count.astype(float) * area_m2,
        spacing_m=spacing_m,
    )


def _thin(points: Array, normals: Array, counts: NDArray, chosen: NDArray, closest_m: float) -> NDArray:
    # of two chosen points closer than this on one side of an edge, the one standing for less goes
    pairs = KDTree(points).query_pairs(closest_m, output_type="ndarray")
    pairs = pairs[np.einsum("ij,ij->i", normals[pairs[:, 0]], normals[pairs[:, 1]]) > 0.7]
    weaker = np.where(counts[pairs[:, 0]] < counts[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    keep = np.ones(len(points), bool)
    keep[weaker] = False
    return chosen[keep]
