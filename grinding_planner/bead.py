"""Find what stands above its surroundings: weld beads, sprues, runs. The parent surface is a robust local quadratic.

Validity: beads narrower than about half the window on parents that a quadratic follows over the window to well under
the threshold. Where the window sees an edge, a fillet or mostly bead, nothing is claimed.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from cell_core.errors import CoverageError
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.samples import SurfaceSamples, sample_surface
from grinding_planner.seating import any_perpendicular, pad_axes

WINDOW_M = 0.040
SUPPORT_SPACING_M = 0.008
SAME_SIDE_COSINE = np.cos(np.deg2rad(35.0))
ROUNDS = 10
FIT_WINDOW_M = 0.030
FIT_ROUNDS = 4
FIT_POINTS_MIN = 30
HEIGHT_MIN_M = 0.35e-3
"""A bead somewhere stands at least this high."""
FOOT_M = 0.10e-3
"""It reaches down to this height."""
AREA_MIN_M2 = 0.5e-4
PARENT_SUPPORT_MIN = 0.45
"""Share of the window that must be parent, and lie on its quadratic."""
PARENT_RMS_MAX_M = 0.15e-3
RIM_FLAT_MIN = 0.7
"""Share of a bead's surroundings that must lie on the parent."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Bead:
    """One raised region."""

    members: NDArray[np.int64]
    """(M,) samples on it."""
    points_m: Array
    """(M, 3) their positions [m]."""
    spacing_m: float
    """Distance between them [m]."""
    middle_m: Array
    """(L, 3) polyline along its middle, end to end [m]."""
    width_m: float
    """Typical width: area over length [m]."""

    @property
    def length_m(self) -> float:
        """Length of the middle line [m]."""
        return float(np.linalg.norm(np.diff(self.middle_m, axis=0), axis=1).sum())


def find_beads(samples: SurfaceSamples, height_m: Array, scatter_m: Array) -> list[Bead]:
    """Return the raised regions, largest volume first.

    Connected above FOOT_M, somewhere above HEIGHT_MIN_M, and with the parent all around.

    Raises:
        CoverageError: there is none.
    """
    sure = np.isfinite(scatter_m)
    noise = float(np.median(np.abs(height_m[sure]))) if sure.any() else 0.0
    foot, top = max(FOOT_M, 2.5 * noise), max(HEIGHT_MIN_M, 6.0 * noise)
    raised = (height_m > foot) & sure
    graph = _neighbours(samples)
    label = _components(graph, raised)
    beads = []
    for k in range(label.max() + 1):
        members = np.flatnonzero(label == k)
        area = samples.areas_m2[members].sum()
        if area < AREA_MIN_M2 or np.quantile(height_m[members], 0.9) < top:
            continue
        inside = np.zeros(len(samples), bool)
        inside[members] = True
        ring = inside
        for _ in range(4):
            ring = ring | ((graph @ ring.astype(np.int8)) > 0)
        around = ring & ~inside
        flat = around & sure & (np.abs(height_m) < 2.0 * foot)
        if samples.areas_m2[flat].sum() < RIM_FLAT_MIN * samples.areas_m2[around].sum():
            continue
        beads.append(_bead(samples, graph, members, height_m))
    if not beads:
        raise CoverageError(
            f"bead: nothing stands {top * 1e3:.2f} mm above its surroundings over {AREA_MIN_M2 * 1e4:g} cm2 "
            f"({float(samples.areas_m2[sure].sum()):.4g} of {float(samples.areas_m2.sum()):.4g} m2 could be judged)"
        )
    return sorted(beads, key=lambda b: -float(samples.areas_m2[b.members] @ height_m[b.members]))


def known_beads(samples: SurfaceSamples, known_m: Array) -> list[Bead]:
    """Return the beads that stand, or stood, where the map (S,) is above 0, however high they are by now.

    Raises:
        CoverageError: there is none of any size.
    """
    graph = _neighbours(samples)
    label = _components(graph, known_m > 0.0)
    beads = []
    for k in range(label.max() + 1):
        members = np.flatnonzero(label == k)
        if samples.areas_m2[members].sum() >= AREA_MIN_M2:
            beads.append(_bead(samples, graph, members, known_m))
    if not beads:
        raise CoverageError(f"bead: the map is above 0 m nowhere over {AREA_MIN_M2 * 1e4:g} cm2")
    return beads


def _bead(samples: SurfaceSamples, graph: scipy.sparse.csr_matrix, members: NDArray[np.int64], height_m: Array) -> Bead:
    middle = _middle_line(samples, graph, members, height_m)
    length = max(np.linalg.norm(np.diff(middle, axis=0), axis=1).sum(), 1e-6)
    return Bead(
        members=members,
        points_m=samples.points_m[members],
        spacing_m=samples.spacing_m,
        middle_m=middle,
        width_m=float(samples.areas_m2[members].sum() / length),
    )


def _neighbours(samples: SurfaceSamples) -> scipy.sparse.csr_matrix:
    pairs = samples.tree.query_pairs(1.7 * samples.spacing_m, output_type="ndarray")
    pairs = pairs[np.einsum("ij,ij->i", samples.normals[pairs[:, 0]], samples.normals[pairs[:, 1]]) > 0.3]
    length = np.linalg.norm(samples.points_m[pairs[:, 0]] - samples.points_m[pairs[:, 1]], axis=1)
    n = len(samples)
    half = scipy.sparse.coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return (half + half.T).tocsr()


def _components(graph: scipy.sparse.csr_matrix, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    inner = np.flatnonzero(mask)
    label = np.full(len(mask), -1, np.int64)
    if len(inner):
        label[inner] = connected_components(graph[inner][:, inner], directed=False)[1]
    return label


def _middle_line(
    samples: SurfaceSamples, graph: scipy.sparse.csr_matrix, members: NDArray[np.int64], height_m: Array
) -> Array:
    inner = graph[members][:, members]
    first = int(np.argmax(_finite(dijkstra(inner, indices=0))))
    along = _finite(dijkstra(inner, indices=first))
    weight = samples.areas_m2[members] * np.maximum(height_m[members], 0.0)
    n_bins = max(2, int(along.max() / (2.5 * samples.spacing_m)))
    position = along / max(along.max(), 1e-9) * (n_bins - 1)
    nodes = np.arange(n_bins)
    spread = np.exp(-0.5 * ((position[None, :] - nodes[:, None]) / 0.7) ** 2) * weight
    return spread @ samples.points_m[members] / np.maximum(spread.sum(axis=1, keepdims=True), 1e-30)


def _finite(distance: Array) -> Array:
    return np.where(np.isfinite(distance), distance, 0.0)
