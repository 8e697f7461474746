"""The surface that beads stand on: local quadratics, blended.

`parent_of` outvotes what stands on it, for beads narrower than about half its window on parents that a quadratic
follows over the window to well under the height looked for; `fit_parent` is told what to leave out. Where the window
sees an edge, a fillet or mostly bead, nothing is claimed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.samples import sample_surface
from grinding_planner.seating import any_perpendicular, pad_axes

WINDOW_M = 0.040
SUPPORT_SPACING_M = 0.008
SAME_SIDE_COSINE = np.cos(np.deg2rad(35.0))
ROUNDS = 10
FIT_WINDOW_M = 0.030
FIT_ROUNDS = 4
FIT_POINTS_MIN = 30
PARENT_SUPPORT_MIN = 0.45
"""Share of the window that must be parent, and lie on its quadratic."""
PARENT_RMS_MAX_M = 0.15e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent:
    """The surface without what stands on it: quadratics about support points."""

    support_m: Array
    """(K, 3) support points [m]."""
    frames: Array
    """(K, 3, 3) rows u, v, w; w outward."""
    coefficients: Array
    """(K, 6) height over (1, u, v, uu, uv, vv), lengths over WINDOW_M, height in m."""
    rms_m: Array
    """(K,) scatter of the parent's own points about the quadratic [m]; infinite where nothing can be claimed."""

    def at(self, points_m: Array, normals: Array) -> tuple[Array, Array, Array]:
        """Return height over the parent (N,) [m], the parent's outward normals (N, 3) and its scatter (N,) [m]."""
        tree = KDTree(self.support_m)
        distance, near = tree.query(points_m, k=min(6, len(self.support_m)))
        distance, near = distance.reshape(len(points_m), -1), near.reshape(len(points_m), -1)
        turned = np.einsum("nkj,nj->nk", self.frames[near, 2], normals) < 0.5
        weight = np.exp(-0.5 * (distance / SUPPORT_SPACING_M) ** 2) * ~turned + 1e-12
        weight *= np.where(np.isfinite(self.rms_m[near]), 1.0, 1e-6)
        weight /= weight.sum(axis=1, keepdims=True)
        local = np.einsum("nkij,nkj->nki", self.frames[near], points_m[:, None] - self.support_m[near])
        u, v = local[..., 0] / WINDOW_M, local[..., 1] / WINDOW_M
        c = self.coefficients[near]
        height = local[..., 2] - np.einsum("nkc,nkc->nk", c, _basis(u, v))
        slope = (
            np.stack(
                [-(c[..., 1] + 2 * c[..., 3] * u + c[..., 4] * v), -(c[..., 2] + c[..., 4] * u + 2 * c[..., 5] * v)],
                axis=-1,
            )
            / WINDOW_M
        )
        upward = unit(np.concatenate([slope, np.ones((*slope.shape[:2], 1))], axis=-1))
        outward = unit(np.einsum("nk,nki->ni", weight, np.einsum("nkij,nki->nkj", self.frames[near], upward)))
        scatter = np.where(np.isfinite(self.rms_m[near[:, 0]]), self.rms_m[near[:, 0]], np.inf)
        return np.einsum("nk,nk->n", weight, height * upward[..., 2]), outward, scatter


def _basis(u: Array, v: Array) -> Array:
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def parent_of(surface: Surface) -> Parent:
    """Fit the parent: least squares, then again and again without what stands above or lies below it."""
    support = sample_surface(surface, SUPPORT_SPACING_M)
    axes = pad_axes(support, support.points_m, support.normals, 0.6 * WINDOW_M)
    w = -axes
    u = any_perpendicular(w)
    frames = np.stack([u, np.cross(w, u), w], axis=1)
    pairs = support.tree.query_pairs(WINDOW_M, output_type="ndarray")
    n = len(support)
    i = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(n)])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(n)])
    same = np.einsum("ij,ij->i", w[i], support.normals[j]) > SAME_SIDE_COSINE
    i, j = i[same], j[same]
    order = np.argsort(i, kind="stable")
    i, j = i[order], j[order]
    local = np.einsum("pij,pj->pi", frames[i], support.points_m[j] - support.points_m[i])
    basis = _basis(local[:, 0] / WINDOW_M, local[:, 1] / WINDOW_M)
    taper = support.areas_m2[j] * (1.0 - np.minimum(np.sum(local[:, :2] ** 2, axis=1) / WINDOW_M**2, 1.0)) ** 0.5
    upper = np.triu_indices(6)
    products = np.hstack([basis[:, upper[0]] * basis[:, upper[1]], basis * local[:, 2:]])
    starts = np.searchsorted(i, np.arange(n))

    trust = np.ones(n)
    coefficients, rms = np.zeros((n, 6)), np.zeros(n)
    for _ in range(ROUNDS):
        weight = taper * trust[j]
        # every point is its own neighbour, so no run of `i` is empty
        total = np.add.reduceat(weight, starts)
        sums = np.add.reduceat(products * weight[:, None], starts, axis=0) / np.maximum(total, 1e-15)[:, None]
        normal = np.empty((n, 6, 6))
        normal[:, upper[0], upper[1]] = normal[:, upper[1], upper[0]] = sums[:, :21]
        normal += 1e-6 * np.eye(6)
        coefficients = np.linalg.solve(normal, sums[:, 21:, None])[..., 0]
        own = local[:, 2] - np.einsum("pc,pc->p", basis, coefficients[i])
        rms = np.sqrt(np.add.reduceat(weight * own**2, starts) / np.maximum(total, 1e-15))
        # the calm fifth tells the noise; windows over edges and rounds, often the most, tell only form
        scale = max(1.5 * float(np.quantile(rms, 0.2)), 0.04e-3)
        trust = 1.0 / (1.0 + (coefficients[:, 0] / (2.5 * scale)) ** 4)
    share = np.bincount(i, taper * trust[j], n) / np.maximum(np.bincount(i, taper, n), 1e-15)
    neighbours = np.bincount(i, minlength=n)
    poor = (share < PARENT_SUPPORT_MIN) | (rms > PARENT_RMS_MAX_M) | (neighbours < 25)
    return Parent(
        support_m=support.points_m,
        frames=frames,
        coefficients=np.asarray(coefficients, np.float64),
        rms_m=np.where(poor, np.inf, rms),
    )


def fit_parent(surface: Surface, is_parent: NDArray[np.bool_]) -> Parent:
    """Return the parent near something known to stand on it, from the vertices (V,) that are parent only.

    Plain weighted quadratics over FIT_WINDOW_M: shorter than the window of `parent_of`, for nothing has to be outvoted.
    """
    support = sample_surface(surface, SUPPORT_SPACING_M)
    points, normals = surface.vertices_m[is_parent], surface.vertex_normals[is_parent]
    areas = surface.vertex_areas_m2[is_parent]
    w = -pad_axes(sample_surface(surface, 0.5 * SUPPORT_SPACING_M), support.points_m, support.normals, FIT_WINDOW_M)
    u = any_perpendicular(w)
    frames = np.stack([u, np.cross(w, u), w], axis=1)
    near = KDTree(points).query_ball_point(support.points_m, FIT_WINDOW_M)
    coefficients, rms = np.zeros((len(support), 6)), np.full(len(support), np.inf)
    for k, found in enumerate(near):
        own = np.asarray(found, np.int64)
        own = own[normals[own] @ w[k] > SAME_SIDE_COSINE]
        if len(own) < FIT_POINTS_MIN:
            continue
        local = (points[own] - support.points_m[k]) @ frames[k].T
        basis = _basis(local[:, 0] / WINDOW_M, local[:, 1] / WINDOW_M)
        taper = areas[own] * np.sqrt(np.maximum(1.0 - np.sum(local[:, :2] ** 2, axis=1) / FIT_WINDOW_M**2, 0.0))
        weight = taper
        for _ in range(FIT_ROUNDS):
            normal = (basis * weight[:, None]).T @ basis
            ridge = 1e-9 * np.trace(normal) * np.eye(6)
            coefficients[k] = np.linalg.solve(normal + ridge, (basis * weight[:, None]).T @ local[:, 2])
            miss = local[:, 2] - basis @ coefficients[k]
            rms[k] = np.sqrt(np.average(miss**2, weights=weight))
            weight = taper / (1.0 + (miss / max(2.5 * rms[k], 1e-9)) ** 4)
    return Parent(support_m=support.points_m, frames=frames, coefficients=coefficients, rms_m=rms)
