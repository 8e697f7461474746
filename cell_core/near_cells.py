"""Which piece of a surface is nearest a point and faces as it does: looked up in a grid, for poses by the hundred."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.transforms import Array

WAY_COS_MIN = 0.35
"""A normal faces along an axis, or against it, from this component on."""


class NearTriangles:
    """Nearest points on the triangles of a surface, exact."""

    def __init__(self, surface: Surface, caster: RayCaster, grid: "NearCells | None" = None) -> None:
        self._surface, self._caster, self._grid = surface, caster, grid

    def pairs(
        self, points_m: Array, facing: Array, reach_m: float, cos_min: float
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return gaps (N, 3) from the nearest on the surface, its normals (N, 3), and which pair within reach.

        Gap and normal are zero where a grid, if given, rules that out.
        """
        gap, normals = np.zeros((len(points_m), 3)), np.zeros((len(points_m), 3))
        asked = slice(None) if self._grid is None else np.flatnonzero(self._grid.may_be_within(points_m, reach_m))
        closest, triangle = self._caster.closest(points_m[asked])
        gap[asked] = points_m[asked] - closest
        normals[asked] = self._surface.triangle_normals[triangle]
        near = (np.linalg.norm(gap, axis=1) < reach_m) & (np.einsum("ij,ij->i", facing, normals) > cos_min)
        return gap, normals, near

    def normals_of(self, triangles: NDArray[np.int64]) -> Array:
        """Return normals (N, 3) of triangles."""
        return self._surface.triangle_normals[triangles]


class NearCells:
    """Cells of a surface in grids, one for each of six ways to face; every grid cell knows the nearest occupied one."""

    def __init__(self, cells: SurfaceSamples, step_m: float, margin_m: float) -> None:
        self._cells, self._step_m = cells, step_m
        self._low = cells.points_m.min(axis=0) - margin_m
        self._shape = np.ceil((cells.points_m.max(axis=0) + margin_m - self._low) / step_m).astype(np.int64) + 1
        at = self._at(cells.points_m)
        self._nearest = []
        for axis in range(3):
            for sign in (-1.0, 1.0):
                own = np.flatnonzero(sign * cells.normals[:, axis] > WAY_COS_MIN)
                self._nearest.append(self._filled(at[own], own))
        taken = np.ones(self._shape, bool)
        taken.flat[at] = False
        self._distance_m = step_m * np.asarray(scipy.ndimage.distance_transform_edt(taken), float).ravel()

    def may_be_within(self, points_m: Array, reach_m: float) -> NDArray[np.bool_]:
        """Return whether each point (N, 3) may lie within `reach_m` of the surface."""
        found = self._inside(points_m)
        # to the nearest cell's mean point and back: a diagonal each
        found[found] = self._distance_m[self._at(points_m[found])] < reach_m + 3.5 * self._step_m
        return found

    def pairs(
        self, points_m: Array, facing: Array, reach_m: float, cos_min: float
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return gaps (N, 3) across the plane of the nearest cell, its normal (N, 3), and which pair within reach."""
        n = len(points_m)
        span, best = np.zeros((n, 3)), np.full(n, np.inf)
        chosen = np.zeros(n, np.int64)
        inside = np.flatnonzero(self._inside(points_m))
        at = self._at(points_m[inside])
        for axis in range(3):
            way = 2 * axis + (facing[inside, axis] > 0.0)
            for k in (2 * axis, 2 * axis + 1):
                some = np.flatnonzero((way == k) & (np.abs(facing[inside, axis]) > WAY_COS_MIN))
                cell = self._nearest[k][at[some]]
                some, cell = some[cell >= 0], cell[cell >= 0]
                i = inside[some]
                apart = points_m[i] - self._cells.points_m[cell]
                distance = np.einsum("ij,ij->i", apart, apart)
                same = np.einsum("ij,ij->i", facing[i], self._cells.normals[cell]) > cos_min
                better = same & (distance < best[i])
                i = i[better]
                span[i], best[i], chosen[i] = apart[better], distance[better], cell[better]
        normals = self._cells.normals[chosen]
        height = np.einsum("ij,ij->i", span, normals)
        near = (np.sqrt(best) < reach_m + self._step_m) & (np.abs(height) < reach_m)
        return height[:, None] * normals, normals, near

    def _inside(self, points_m: Array) -> NDArray[np.bool_]:
        index = (points_m - self._low) / self._step_m
        return np.all((index >= 0.0) & (index < self._shape), axis=1)

    def _at(self, points_m: Array) -> NDArray[np.int64]:
        index = ((points_m - self._low) / self._step_m).astype(np.int64)
        return (index[:, 0] * self._shape[1] + index[:, 1]) * self._shape[2] + index[:, 2]

    def _filled(self, at: NDArray[np.int64], cell: NDArray[np.int64]) -> NDArray[np.int64]:
        # per grid cell the surface cell nearest by, -1 when none faces this way
        held = np.full(int(np.prod(self._shape)), -1)
        if len(cell) == 0:
            return held
        held[at] = cell
        empty = (held < 0).reshape(self._shape)
        nearest = scipy.ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
        assert nearest is not None
        return held.reshape(self._shape)[tuple(nearest)].ravel()
