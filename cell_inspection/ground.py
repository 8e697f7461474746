"""Ground that no tool came to: what two scans of one part are laid on each other by, and how firmly it holds them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.errors import InputRefusedError
from cell_core.registration import align
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse
from cell_inspection.removal import removed_between

CLEARANCE_M = 0.008
"""Ground this near to what was worked is not taken for untouched: tools brush it, scans round it."""
CELL_M = 0.010
CELLS_MIN = 25
"""So many patches of CELL_M must lie untouched for a scan to be laid on them."""
REACHES_M = (5e-3, 1e-3)
"""A part may have moved by the first between two scans; the second settles them."""
NEIGHBOURS_ALIKE = 4.0
"""Patches that stand for one independent measurement: the errors of views are alike over wide ground."""
RIM_EDGES = 2
"""So many edges from its border inwards a scan is not taken at its word."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundFit:
    """How a scan lies on an earlier one of the same part."""

    T_before_after: Array
    """(4, 4) lays the later scan on the earlier one."""
    area_m2: float
    """Untouched ground it was laid on."""
    rms_m: float
    """Root mean square of what is left between the two on patches of that ground."""
    sigma_m: Array
    """(V,) standard deviation along its normal that this leaves at each vertex of the earlier scan [m]."""

    @property
    def shift_m(self) -> float:
        """How far the origin of the part moved."""
        return float(np.linalg.norm(self.T_before_after[:3, 3]))


def untouched_ground(before: Surface, worked: NDArray[np.bool_], clearance_m: float = CLEARANCE_M) -> NDArray[np.bool_]:
    """Return the vertices (V,) that lie farther than `clearance_m` from all that was worked, and off the scan's rim."""
    free = before.vertex_areas_m2 > 0.0
    free &= ~near_rim(before)
    if worked.any():
        distance, _ = KDTree(before.vertices_m[worked]).query(before.vertices_m, distance_upper_bound=clearance_m)
        free &= ~np.isfinite(distance)
    return free


def near_rim(surface: Surface, n_edges: int = RIM_EDGES) -> NDArray[np.bool_]:
    """Return the vertices (V,) within so many edges of an open border."""
    i, j, k = surface.triangles.T
    pairs = np.sort(np.concatenate([np.c_[i, j], np.c_[j, k], np.c_[k, i]]), axis=1)
    edges, count = np.unique(pairs[:, 0] * len(surface.vertices_m) + pairs[:, 1], return_counts=True)
    rim = np.zeros(len(surface.vertices_m), bool)
    rim[np.concatenate(np.divmod(edges[count == 1], len(surface.vertices_m)))] = True
    if not rim.any():
        return rim
    for _ in range(n_edges):
        rim = rim | (surface.adjacency @ rim.astype(np.float32) > 0.0)
    return rim


def lay_on_ground(before: Surface, after: Surface, ground: NDArray[np.bool_]) -> GroundFit:
    """Return how the later scan lies on the earlier one, by the ground alone that nothing was done to.

    Point-to-plane, outliers weighing less: ground that did change after all hardly pulls. Where the ground leaves a
    motion loose (one flat face slides on itself), faces that look along that motion get a large standard deviation.

    Raises:
        InputRefusedError: less than CELLS_MIN patches of ground, or the later scan does not show it.
    """
    _, patch = patches(before, ground)
    n_patches = int(patch.max()) + 1 if len(patch) else 0
    if n_patches < CELLS_MIN:
        raise InputRefusedError(
            f"registration of the scan after: {n_patches} patches of {1e3 * CELL_M:g} mm lie untouched, "
            f"at least {CELLS_MIN} needed"
        )
    T = np.eye(4)
    for reach_m in REACHES_M:
        moved = before.transformed(T, after.frame)
        T = align(moved, after, reach_m, mask=ground).T_target_source @ T
    laid = after.transformed(inverse(T), before.frame)
    left = removed_between(before, laid, REACHES_M[0])
    seen = np.isfinite(left[ground])
    if seen.mean() < 0.5:
        raise InputRefusedError(
            f"registration of the scan after: {100.0 * seen.mean():.0f} % of the untouched ground lies within "
            f"{1e3 * REACHES_M[0]:g} mm of it, at least 50 % wanted: the part was moved or is another one"
        )
    mean, arms = _patch_means(before, left, ground)
    spread = 1.4826 * float(np.median(np.abs(mean - np.median(mean))))
    return GroundFit(
        T_before_after=inverse(T),
        area_m2=float(before.vertex_areas_m2[ground].sum()),
        rms_m=float(np.sqrt(np.mean(np.clip(mean, -4.0 * spread, 4.0 * spread) ** 2))),
        sigma_m=_left_loose(before, arms, spread),
    )


def patches(
    surface: Surface, chosen: NDArray[np.bool_], cell_m: float = CELL_M
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the chosen vertices (N,) and the patch, a cube of `cell_m` and a side, each lies in (N,)."""
    rows = np.flatnonzero(chosen).astype(np.int64)
    place = np.floor((surface.vertices_m[rows] - surface.bounds_m[0]) / cell_m).astype(np.int64)
    normal = surface.vertex_normals[rows]
    axis = np.argmax(np.abs(normal), axis=1) if len(rows) else np.zeros(0, np.int64)
    side = 2 * axis + (normal[np.arange(len(rows)), axis] > 0.0)
    patch = np.unique(np.c_[place, side], axis=0, return_inverse=True)[1]
    return rows, patch.reshape(-1).astype(np.int64)


def _patch_means(before: Surface, left_m: Array, ground: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return each patch's mean difference (P,) [m] and its row (P, 6) of the point-to-plane problem."""
    rows, patch = patches(before, ground & np.isfinite(left_m))
    weight = before.vertex_areas_m2[rows]
    total = np.bincount(patch, weight)
    mean = np.bincount(patch, weight * left_m[rows]) / total
    middle, normal = (
        np.stack([np.bincount(patch, weight * v[rows, k]) / total for k in range(3)], axis=1)
        for v in (before.vertices_m, before.vertex_normals)
    )
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return mean, np.concatenate([np.cross(middle - before.bounds_m.mean(axis=0), normal), normal], axis=1)


def _left_loose(before: Surface, arms: Array, spread_m: float) -> Array:
    length = 0.5 * float(np.linalg.norm(np.ptp(before.bounds_m, axis=0)))
    scale = np.r_[np.full(3, length), np.ones(3)]
    values, vectors = np.linalg.eigh((arms / scale).T @ (arms / scale))
    centred = before.vertices_m - before.bounds_m.mean(axis=0)
    own = np.concatenate([np.cross(centred, before.vertex_normals), before.vertex_normals], axis=1) / scale
    # a motion nothing holds may be as large as the fit reaches
    variance = np.minimum(NEIGHBOURS_ALIKE * spread_m**2 / np.maximum(values, 1e-12), REACHES_M[0] ** 2)
    return np.sqrt((own @ vectors) ** 2 @ variance)
