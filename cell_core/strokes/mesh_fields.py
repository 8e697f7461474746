"""Scalar fields on a mesh whose curves of equal value are strokes: plane, distance, harmonic, equally spaced."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from cell_core.errors import InputRefusedError
from cell_core.strokes.isolines import Index, chains
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

EQUAL_SPACING_STEPS = 40
EQUAL_SPACING_GOAL = 0.985
"""Share of the area whose slope is to be within 2.5 % of the wanted one before the steps end."""
SLOPE_TOLERANCE = 0.025
GAUGE = 1e-11
"""Weight, relative to the diagonal, that pins the constant a Laplacian leaves free."""
HEAT_CELLS = 60
"""Heat runs far enough to be told from zero over this many times its own length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeshFields:
    """Fields (V,) on one surface; matrices are built and factorised once.

    Gradients are constant per triangle. Everything is weighted by triangle area, so slivers count for nothing.
    """

    surface: Surface

    @cached_property
    def gradient(self) -> Any:
        """(3T, V) gradient: rows x, y, z of triangle 0, 1, ..."""
        surface = self.surface
        a, b, c = (surface.vertices_m[surface.triangles[:, i]] for i in range(3))
        n_triangles = len(surface.triangles)
        doubled = 2.0 * surface.triangle_areas_m2
        inverse = np.divide(1.0, doubled, out=np.zeros_like(doubled), where=doubled > self._sliver_m2)
        across = np.stack([c - b, a - c, b - a], axis=1) * inverse[:, None, None]
        slopes = np.cross(surface.triangle_normals[:, None, :], across)
        columns = np.repeat(surface.triangles[:, None, :], 3, axis=1)
        return scipy.sparse.csr_matrix(
            (slopes.transpose(0, 2, 1).ravel(), columns.ravel(), np.arange(0, 9 * n_triangles + 1, 3)),
            shape=(3 * n_triangles, len(surface.vertices_m)),
        )

    @property
    def _sliver_m2(self) -> float:
        return 1e-9 * self.surface.area_m2 / len(self.surface.triangles)

    @cached_property
    def divergence(self) -> Any:
        """(V, 3T) G^T times area: minus the integrated divergence of a vector per triangle."""
        weights = scipy.sparse.diags(np.repeat(self.surface.triangle_areas_m2, 3))
        return (self.gradient.T @ weights).tocsr()

    @cached_property
    def laplacian(self) -> Any:
        """(V, V) positive semidefinite cotangent Laplacian."""
        return (self.divergence @ self.gradient).tocsc()

    @cached_property
    def _factor(self) -> Any:
        diagonal = self.laplacian.diagonal()
        pinned = np.where(diagonal > 0.0, GAUGE * diagonal, 1.0)
        return _factorised(self.laplacian + scipy.sparse.diags(pinned))

    @cached_property
    def mean_edge_m(self) -> float:
        """Mean edge length [m]."""
        i, j = self.surface.edges.T
        return float(np.linalg.norm(self.surface.vertices_m[i] - self.surface.vertices_m[j], axis=1).mean())

    @cached_property
    def loops(self) -> list[Index]:
        """Border loops as vertex indices in order along the border, longest first."""
        return border_loops(self.surface)

    def planar(self, direction: Array) -> Array:
        """Return the coordinate along `direction` (3,) [m]."""
        return self.surface.vertices_m @ unit(direction)

    def harmonic(self, low: Index, high: Index) -> Array:
        """Return the harmonic field that is 0 at the vertices `low` and 1 at `high`.

        Raises:
            InputRefusedError: a set is empty, or they share a vertex.
        """
        if len(low) == 0 or len(high) == 0 or len(np.intersect1d(low, high)):
            raise InputRefusedError(
                f"harmonic field: borders of {len(low)} and {len(high)} vertices, both need some and may share none"
            )
        fixed = np.concatenate([low, high])
        value = np.zeros(len(self.surface.vertices_m))
        value[high] = 1.0
        free = np.setdiff1d(np.arange(len(value)), fixed)
        if len(free):
            inner = self.laplacian[free][:, free]
            inner = inner + scipy.sparse.diags(GAUGE * inner.diagonal() + 1e-300)
            value[free] = _factorised(inner).solve(-(self.laplacian[free][:, fixed] @ value[fixed]))
        return value

    def distance(self, sources: Index, weights: Array | None = None) -> Array:
        """Return the distance from a set of vertices [m], by the heat method; `equally_spaced` refines it.

        `weights` (K,) spread a source that lies between vertices, as a curve does; their mean distance is 0.

        Raises:
            InputRefusedError: no source.
        Source: Crane, Weischedel, Wardetzky, Geodesics in heat, 2013.
        """
        if len(sources) == 0:
            raise InputRefusedError("distance field: 0 source vertices, at least 1 needed")
        across = float(np.linalg.norm(np.ptp(self.surface.bounds_m, axis=0)))
        length = max(self.mean_edge_m, across / HEAT_CELLS)
        areas = np.maximum(self.surface.vertex_areas_m2, self._sliver_m2)
        weights = areas[sources] if weights is None else weights
        start = np.bincount(sources, weights, len(areas))
        heat = _factorised(scipy.sparse.diags(areas) + length**2 * self.laplacian).solve(start)
        field = self.integrated(-unit((self.gradient @ heat).reshape(-1, 3)))
        return field - float(np.average(field[sources], weights=weights))

    def integrated(self, vectors: Array) -> Array:
        """Return the field whose gradient is nearest to the vectors (T, 3), by area; its mean is 0."""
        field = self._factor.solve(self.divergence @ vectors.ravel())
        return field - float(np.average(field, weights=self.surface.vertex_areas_m2))

    def equal_spacing(
        self, gradient: Array, spacing_m: Array | float = 1.0, still: Index | None = None
    ) -> Array:
        """Return what to add (V,) to a field of this gradient (T, 3) so that its slope is 1 / spacing everywhere.

        Local-global steps: scale every gradient to the wanted length, take the field nearest to them, repeat. It
        bends curves no more than equal spacing asks, keeps them straight into borders (a distance would bend there)
        and averages the noise of a scan out. The sum of squared slope errors never grows.

        Args:
            gradient: of the field to start from; it may wind round holes or an axis.
            spacing_m: (V,) or one number: what the field is to grow by 1 over [m].
            still: vertices where nothing is added; None: all may move.
        """
        integrate = self.integrated if still is None else self._integrator(still)
        spacing = np.broadcast_to(np.asarray(spacing_m, float), len(self.surface.vertices_m))
        wanted = 1.0 / spacing[self.surface.triangles].mean(axis=1)
        areas = self.surface.triangle_areas_m2
        added, current = np.zeros(len(spacing)), gradient
        for _ in range(EQUAL_SPACING_STEPS):
            slope = np.linalg.norm(current, axis=1)
            good = np.abs(slope / wanted - 1.0) < SLOPE_TOLERANCE
            if areas @ good > EQUAL_SPACING_GOAL * areas.sum():
                break
            added = integrate(unit(current) * wanted[:, None] - gradient)
            current = gradient + (self.gradient @ added).reshape(-1, 3)
        return added

    def equally_spaced(
        self, field: Array, spacing_m: Array | float = 1.0, zero: Index | None = None
    ) -> Array:
        """Return a field near `field` in shape that grows by 1 over each spacing; see `equal_spacing`.

        With `zero` it is 0 at those vertices: a distance from them.
        """
        if zero is not None:
            field = field.copy()
            field[zero] = 0.0
        gradient = (self.gradient @ field).reshape(-1, 3)
        return field + self.equal_spacing(gradient, spacing_m, zero)

    def _integrator(self, still: Index) -> Callable[[Array], Array]:
        """Return `integrated` with the vertices `still` held at 0."""
        free = np.setdiff1d(np.arange(len(self.surface.vertices_m)), still)
        inner = self.laplacian[free][:, free]
        factor = _factorised(inner + scipy.sparse.diags(GAUGE * inner.diagonal() + 1e-300))

        def integrate(vectors: Array) -> Array:
            field = np.zeros(len(self.surface.vertices_m))
            field[free] = factor.solve((self.divergence @ vectors.ravel())[free])
            return field

        return integrate


def turns_about(surface: Surface, origin_m: Array, axis: Array) -> tuple[Array, Index]:
    """Return the angle round an axis in turns (V,), in [-0.5, 0.5), and the windings (T, 3) that make it continuous.

    A triangle pierced by the axis gets no windings.
    """
    z = unit(axis)
    x = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = unit(x - (x @ z) * z)
    offset = surface.vertices_m - origin_m
    turns = np.arctan2(offset @ np.cross(z, x), offset @ x) / (2.0 * np.pi)
    corner = turns[surface.triangles]
    windings = -np.round(corner - corner[:, :1]).astype(np.int64)
    unwound = corner + windings
    pierced = np.abs(unwound[:, 2] - unwound[:, 1]) > 0.5
    windings[pierced] = 0
    return turns, windings


def border_loops(surface: Surface) -> list[Index]:
    """Return the border as loops of vertices in order, the surface on their left seen from outside, longest first.

    Where borders meet in a vertex each goes on along its own side of the surface. Runs that do not close, at edges of
    three triangles, are left out.
    """
    directed = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n = len(surface.vertices_m)
    low, high = directed.min(axis=1), directed.max(axis=1)
    _, first, count = np.unique(low * n + high, return_index=True, return_counts=True)
    single = np.sort(first[count == 1])
    border = directed[single]
    ends = border.copy()
    leaving = np.bincount(border[:, 0], minlength=n)
    pinched = np.flatnonzero(leaving > 1)
    if len(pinched):
        ends = _unpinched(surface, border, single // 3, pinched)
    loops = [border[run, 0] for run, closed in chains(ends) if closed]
    return sorted(loops, key=lambda loop: -loop_length_m(surface, loop))


def _unpinched(surface: Surface, border: Index, triangle: Index, pinched: Index) -> Index:
    """Return the border edges' ends, with a number for each fan of triangles at a vertex where borders meet."""
    around = np.flatnonzero(np.isin(surface.triangles, pinched).any(axis=1))
    owner = {}
    for t in around.tolist():
        corners = surface.triangles[t].tolist()
        for k in range(3):
            owner[corners[k], corners[(k + 1) % 3]] = t
    ends, at = border.copy(), set(pinched.tolist())
    leaves = {(int(u), int(v)): row for row, (u, v) in enumerate(border.tolist())}
    fresh = len(surface.vertices_m)
    for row, (_, v) in enumerate(border.tolist()):
        if v not in at:
            continue
        t, w = int(triangle[row]), -1
        # turn about v, triangle by triangle, until an edge has none behind it
        for _ in range(len(around) + 1):
            corners = surface.triangles[t].tolist()
            w = corners[(corners.index(v) + 1) % 3]
            if (w, v) not in owner:
                break
            t = owner[w, v]
        if (v, w) in leaves:
            ends[row, 1] = ends[leaves[v, w], 0] = fresh
            fresh += 1
    return ends


def loop_length_m(surface: Surface, loop: Index) -> float:
    """Return the length of a closed loop of vertices [m]."""
    points = surface.vertices_m[loop]
    return float(np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1).sum())


def _factorised(matrix: Any) -> Any:
    # symmetric ordering and no pivoting: as good as Cholesky in fill for these matrices
    return scipy.sparse.linalg.splu(
        matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )

