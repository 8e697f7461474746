"""Noise of a fused surface taken out by local quadratic fits, as wide as the noise asks for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.facing import facing_keys
from cell_core.pose_votes import frames_of
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

REACH_PER_NOISE = 30.0
"""Fits reach so many times the standard error of the surface: noise of 0.25 mm is averaged over 7.5 mm to all sides."""
REACH_VOXELS = (4.0, 12.0)
"""Below the first of these a fit would have nothing to average, and is left out; the second is the widest."""
CELLS_PER_REACH = 3.2
BEND_RAD = 0.5
"""A neighbour whose normal differs by this much counts a third."""
N_AROUND = 40
"""Cells of a fit at most."""
N_THREADS = 2
N_BLENDED = 4
"""Fits that a vertex is moved by."""
SUPPORT_MIN = 9.0
"""Cells that a fit of six unknowns needs, by weight."""
FITS, FITS_NOT = 2.0, 4.0
"""A fit counts in full where its mean squared residual is below so many times the usual one, and not at all above."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cells:
    """The surface in patches of one side."""

    points_m: Array
    normals: Array
    sigma_m: Array
    """Standard error of the vertices [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fits:
    """Height over each cell's own tangent plane, quadratic."""

    tangents: Array
    """(C, 2, 3) unit."""
    normals: Array
    """(C, 3) unit."""
    origins_m: Array
    coefficients: Array
    """(C, 6) of 1, u, v, u2, uv, v2 with u and v in reaches [m]."""
    trust: Array
    """(C,) 0 to 1."""


def standard_error_m(surface: Surface) -> Array:
    """Return how far noise may have moved each vertex (V,) [m]: the scatter of its readings over their root number."""
    n = np.maximum(surface.fields["frame_count"], 1.0)
    return np.asarray(surface.fields["residual_m"] / np.sqrt(n), float)


def smoothing_reach_m(surface: Surface, voxel_m: float) -> float:
    """Return how far around a vertex its fit reaches [m]; 0 where the surface has too little noise for any."""
    measured = surface.fields["frame_count"] > 1.0
    if not measured.any():
        return 0.0
    reach_m = REACH_PER_NOISE * float(np.median(standard_error_m(surface)[measured]))
    low_m, high_m = (n * voxel_m for n in REACH_VOXELS)
    return min(reach_m, high_m) if reach_m >= low_m else 0.0


def smoothed_surface(surface: Surface, voxel_m: float) -> Surface:
    """Return the surface with each vertex moved along its normal onto fits of what lies around it, on its own side.

    How wide the fits are follows from the scatter of the readings (`smoothing_reach_m`); where a fit leaves more than
    that scatter, as over edges and steps, it counts less or not at all.
    """
    reach_m = smoothing_reach_m(surface, voxel_m)
    if reach_m == 0.0:
        return surface
    cells = _cells(surface, reach_m / CELLS_PER_REACH)
    fits = _fitted(cells, reach_m)
    moved_m = _moves(surface, cells, fits, reach_m)
    vertices_m = surface.vertices_m + moved_m[:, None] * surface.vertex_normals
    return Surface(vertices_m=vertices_m, triangles=surface.triangles, fields=surface.fields, frame=surface.frame)


def _cells(surface: Surface, size_m: float) -> _Cells:
    normals = surface.vertex_normals
    keys = facing_keys(surface.vertices_m, normals, size_m, surface.bounds_m[0])
    _, index, count = np.unique(keys, return_inverse=True, return_counts=True)

    def mean(values: Array) -> Array:
        return np.bincount(index, values, len(count)) / count

    points, facing = (np.stack([mean(x[:, i]) for i in range(3)], axis=1) for x in (surface.vertices_m, normals))
    sigma = np.sqrt(mean(standard_error_m(surface) ** 2))
    return _Cells(points_m=points, normals=unit(facing), sigma_m=np.maximum(sigma, 0.2 * np.median(sigma)))


def _fitted(cells: _Cells, reach_m: float) -> _Fits:
    distance, around = _nearest(cells, cells.points_m, N_AROUND, reach_m)
    found = np.isfinite(distance)
    around[~found] = 0
    share = np.where(found, distance / reach_m, 1.0)
    turn = np.linalg.norm(cells.normals[around] - cells.normals[:, None], axis=2) / BEND_RAD
    weight = (1.0 - share**2) ** 2 * np.exp(-(turn**2)) * found
    weight *= (cells.sigma_m[:, None] / np.maximum(cells.sigma_m[around], 0.3 * cells.sigma_m[:, None])) ** 2
    tangents = frames_of(cells.normals)[:, 1:]
    offset = (cells.points_m[around] - cells.points_m[:, None]) / reach_m
    u, v = (np.einsum("cki,ci->ck", offset, tangents[:, i]) for i in (0, 1))
    height = reach_m * np.einsum("cki,ci->ck", offset, cells.normals)
    A = _terms(u, v)
    weighted = weight[..., None] * A
    H = np.einsum("cki,ckj->cij", weighted, A)
    trace = np.trace(H, axis1=1, axis2=2)
    H[:, np.arange(6), np.arange(6)] += 1e-6 * trace[:, None] + 1e-12
    coefficients = np.linalg.solve(H, np.einsum("cki,ck->ci", weighted, height)[..., None])[..., 0]
    off = height - np.einsum("cki,ci->ck", A, coefficients)
    total = np.maximum(weight.sum(axis=1), 1e-12)
    rough = (weight * off**2).sum(axis=1) / total / cells.sigma_m**2
    enough = total**2 / np.maximum((weight**2).sum(axis=1), 1e-12) >= SUPPORT_MIN
    usual = float(np.median(rough[enough])) if enough.any() else np.inf
    trust = np.clip((FITS_NOT - rough / max(usual, 1e-12)) / (FITS_NOT - FITS), 0.0, 1.0) * enough
    return _Fits(
        tangents=tangents, normals=cells.normals, origins_m=cells.points_m, coefficients=coefficients, trust=trust
    )


def _moves(surface: Surface, cells: _Cells, fits: _Fits, reach_m: float) -> Array:
    near_m = 1.5 * reach_m / CELLS_PER_REACH
    distance, index = _nearest(cells, surface.vertices_m, N_BLENDED, near_m)
    total, weights = np.zeros(len(index)), np.zeros(len(index))
    for k in range(index.shape[1]):
        found = np.flatnonzero(np.isfinite(distance[:, k]))
        c = index[found, k]
        offset = (surface.vertices_m[found] - fits.origins_m[c]) / reach_m
        u, v = (np.einsum("ni,ni->n", offset, fits.tangents[c, i]) for i in (0, 1))
        height = reach_m * np.einsum("ni,ni->n", offset, fits.normals[c])
        along = np.einsum("ni,ni->n", surface.vertex_normals[found], fits.normals[c])
        move = np.einsum("ni,ni->n", _terms(u, v), fits.coefficients[c]) - height
        turn = np.maximum(2.0 - 2.0 * along, 0.0) / BEND_RAD**2
        w = np.maximum(1.0 - (distance[found, k] / near_m) ** 2, 0.0) ** 2 * np.exp(-turn)
        total[found] += w * fits.trust[c] * move / np.maximum(along, 0.5)
        weights[found] += w
    return np.divide(total, weights, out=np.zeros(len(index)), where=weights > 1e-6)


def _nearest(cells: _Cells, points_m: Array, n: int, reach_m: float) -> tuple[Array, NDArray[np.int64]]:
    n = min(n, len(cells.points_m))
    distance, index = KDTree(cells.points_m).query(points_m, n, distance_upper_bound=reach_m, workers=N_THREADS)
    return distance.reshape(-1, n), index.reshape(-1, n)


def _terms(u: Array, v: Array) -> NDArray[np.float64]:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)
