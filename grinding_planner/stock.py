"""What a scan has too much against its CAD: signed deviation, and what of it is certain."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from cell_core.errors import InputRefusedError
from cell_core.icp import point_to_plane_step
from cell_core.raycast import RayCaster
from cell_core.statistics import weighted_quantile
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse, rotate

CAD_DISTANCE_MAX_M = 0.02
FACING_COSINE_MIN = 0.5
CERTAIN_SIGMAS, FOLLOWED_SIGMAS = 3.0, 1.0
"""A region of stock stands somewhere this many standard deviations above the CAD, and is followed down to so many."""
MISSING_WEIGHT, OUTLIER_SIGMAS = 100.0, 3.0
NORMAL_QUARTILE = 0.6745
"""Median of one half of a normal distribution, in standard deviations."""
FIT_POINTS, FIT_POINTS_MIN, FIT_ROUNDS, FIT_CONVERGED_M = 8000, 50, 40, 2e-6
NOISE_SIGMAS = 3.0
"""What lies below the CAD by less than this is not missing."""
ANCHOR_WEIGHT, ANCHOR_EVERY = 0.02, 40
AREA_MIN_M2 = 0.5e-4


def fit_inside(surface: Surface, cad: Surface, T_surface_cad: Array) -> Array:
    """Return a pose of the CAD (4, 4) close to a given one at which stock lies upon it rather than is missing of it.

    Point-to-plane steps in which what lies below the CAD by more than the scan's noise weighs MISSING_WEIGHT times
    the rest, and neither side counts beyond OUTLIER_SIGMAS of its own: a casting's allowance may be uneven, but cannot
    be put on.
    """
    keep = np.arange(0, len(surface.vertices_m), max(1, len(surface.vertices_m) // FIT_POINTS))
    points, facing = surface.vertices_m[keep], surface.vertex_normals[keep]
    caster, T = RayCaster(cad), inverse(T_surface_cad)
    heights, near, _ = _heights(cad, caster, apply(T, surface.vertices_m), rotate(T, surface.vertex_normals))
    missing_m = -NOISE_SIGMAS * _scatter(surface, heights, near)
    for _ in range(FIT_ROUNDS):
        moved = apply(T, points)
        deviation, own, normal = _heights(cad, caster, moved, rotate(T, facing))
        if own.sum() < FIT_POINTS_MIN:
            raise InputRefusedError(
                f"CAD: only {int(own.sum())} points of the scan lie near it, {FIT_POINTS_MIN} needed"
            )
        # a corner that is missing outright would pull as stock twenty times as high does
        below, above = (OUTLIER_SIGMAS * half_sigma(side * deviation[own]) for side in (-1.0, 1.0))
        reach = np.maximum(np.where(deviation < 0.0, below, above), FIT_CONVERGED_M)
        weight = np.maximum(1.0 - (deviation / reach) ** 2, 0.0) ** 2
        weight[deviation < missing_m] *= MISSING_WEIGHT
        # held a little where they were: a shell slides on itself for next to nothing
        anchors = moved[own][::ANCHOR_EVERY]
        drift = anchors - apply(inverse(T_surface_cad), points[own][::ANCHOR_EVERY])
        hold = ANCHOR_WEIGHT * float(weight[own].sum()) / drift.size
        step = point_to_plane_step(
            np.vstack([moved[own], np.repeat(anchors, 3, axis=0)]),
            np.r_[deviation[own], drift.ravel()],
            np.vstack([normal[own], np.tile(np.eye(3), (len(anchors), 1))]),
            np.r_[weight[own], np.full(drift.size, hold)],
            float(np.linalg.norm(moved[own].std(axis=0))),
        )
        T = step @ T
        if np.abs(apply(step, moved) - moved).max() < FIT_CONVERGED_M:
            break
    return inverse(T)


def half_sigma(deviation_m: Array, weights: Array | None = None) -> float:
    """Return the standard deviation of the normal distribution whose half the positive values are [m]; 0: none are.

    By their median: how many there are, and what lies far out such as a neck cast too narrow, do not matter.
    """
    side = deviation_m > 0.0
    if not side.any():
        return 0.0
    even = np.ones(int(side.sum())) if weights is None else np.maximum(weights[side], 1e-15)
    return weighted_quantile(deviation_m[side], even, 0.5) / NORMAL_QUARTILE


def _below(deviation_m: Array, weights: Array) -> float:
    # what is missing outright is no noise: it lifts a mean where there is much of it below, a median where little is
    far = OUTLIER_SIGMAS * float(np.median(np.abs(deviation_m)))
    below = np.clip(-deviation_m, 0.0, far)
    spread = float(np.sqrt(2.0 * np.average(below**2, weights=np.maximum(weights, 1e-15))))
    return min(half_sigma(-deviation_m, weights), spread)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stock:
    """What stands above the CAD."""

    deviation_m: Array
    """(V,) height of each vertex over the CAD, negative below it [m]; 0 where it is no part of it."""
    own: NDArray[np.bool_]
    """(V,) vertices that belong to the part: near the CAD and facing as it does."""
    sigma_m: float
    """How far what lies below the CAD does so, taken for one half of a normal distribution: stock never does, so that
    is noise, form and alignment; no less than the scan's scatter from vertex to vertex."""
    regions: tuple[NDArray[np.int64], ...]
    """Vertices of each region of certain stock, largest volume first."""

    def depth_m(self, deepest_m: float) -> Array:
        """Return how much to take off each vertex (V,): its height where it is stock, cut to [0, deepest_m] [m]."""
        depth = np.zeros(len(self.deviation_m))
        for region in self.regions:
            depth[region] = np.clip(self.deviation_m[region], 0.0, deepest_m)
        return depth


def stock_on(surface: Surface, cad: Surface) -> Stock:
    """Return what of a scan is certainly stock. Both are in one frame.

    Vertices further than CAD_DISTANCE_MAX_M from the CAD, or facing another way than its nearest face, belong to
    something else (fixture, clutter).

    Raises:
        InputRefusedError: no vertex belongs to the CAD.
    """
    deviation, own, _ = _heights(cad, RayCaster(cad), surface.vertices_m, surface.vertex_normals)
    if not own.any():
        raise InputRefusedError(
            f"CAD: no vertex of the scan lies within {CAD_DISTANCE_MAX_M:g} m of it and faces the same way: "
            "are both in one frame?"
        )
    areas = surface.vertex_areas_m2
    calm = _averaged(surface, deviation, own)
    sigma = max(_below(deviation[own], areas[own]), _scatter(surface, deviation, own))
    members = np.flatnonzero(own & (calm > FOLLOWED_SIGMAS * sigma))
    graph: scipy.sparse.csr_matrix = surface.adjacency[members][:, members]
    label = connected_components(graph, directed=False)[1] if len(members) else np.zeros(0, np.int64)
    regions = [members[label == k] for k in range(int(label.max(initial=-1)) + 1)]
    regions = [r for r in regions if calm[r].max() > CERTAIN_SIGMAS * sigma and areas[r].sum() >= AREA_MIN_M2]
    regions.sort(key=lambda r: -float(areas[r] @ deviation[r]))
    return Stock(deviation_m=deviation, own=own, sigma_m=sigma, regions=tuple(regions))


def _heights(
    cad: Surface, caster: RayCaster, points_m: Array, normals: Array
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Return height over the CAD (N,), 0 where it is no part of it, whether it is (N,), and the CAD's normal (N, 3)."""
    nearest, triangle = caster.closest(points_m)
    offset, normal = points_m - nearest, cad.triangle_normals[triangle]
    own = (np.linalg.norm(offset, axis=1) <= CAD_DISTANCE_MAX_M) & (
        np.einsum("ij,ij->i", normals, normal) > FACING_COSINE_MIN
    )
    return np.where(own, np.einsum("ij,ij->i", offset, normal), 0.0), own, normal


def _scatter(surface: Surface, deviation_m: Array, own: NDArray[np.bool_]) -> float:
    """Return the standard deviation from vertex to vertex, robust [m]: the scan's noise, whatever its form."""
    left = np.abs(deviation_m - _averaged(surface, deviation_m, own))[own]
    return float(np.median(left)) / NORMAL_QUARTILE if len(left) else 0.0


def _averaged(surface: Surface, values: Array, own: NDArray[np.bool_]) -> Array:
    # the mean over a vertex and its neighbours on the part
    links = surface.adjacency.astype(bool).astype(float) + scipy.sparse.identity(len(values))
    return (links @ (values * own)) / np.maximum(links @ own.astype(float), 1.0)
