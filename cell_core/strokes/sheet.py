"""A smooth sheet over scattered surface points: what strokes are drawn on, across noise, holes and recesses."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.interpolate import RectBivariateSpline

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, unit

NODES_MAX = 16_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """A height field w(u, v) over the plane of a frame; its normals point along +w."""

    T_part_sheet: Array
    """(4, 4) frame whose z is the direction the sheet is seen from."""
    u_m: Array
    """(U,) nodes [m]."""
    v_m: Array
    """(W,) nodes [m]."""
    height_m: Array
    """(U, W) heights at the nodes [m]."""

    @cached_property
    def _spline(self) -> RectBivariateSpline:
        return RectBivariateSpline(self.u_m, self.v_m, self.height_m)

    def uvw(self, points_m: Array) -> Array:
        """Return points (N, 3) of the part frame in the sheet's frame."""
        return (points_m - self.T_part_sheet[:3, 3]) @ self.T_part_sheet[:3, :3]

    def points(self, uv_m: Array) -> Array:
        """Return the sheet's points (N, 3) in the part frame at plane coordinates (N, 2)."""
        w = self._spline.ev(uv_m[:, 0], uv_m[:, 1])
        return np.column_stack([uv_m, w]) @ self.T_part_sheet[:3, :3].T + self.T_part_sheet[:3, 3]

    def gradient(self, uv_m: Array) -> Array:
        """Return dw/du and dw/dv (N, 2) at plane coordinates (N, 2)."""
        u, v = uv_m.T
        return np.column_stack([self._spline.ev(u, v, dx=1), self._spline.ev(u, v, dy=1)])

    def concave_curvature(self, uv_m: Array) -> Array:
        """Return the larger principal curvature (N,) [1/m], positive where the sheet is hollow, at points (N, 2)."""
        u, v = uv_m.T
        p, q = self.gradient(uv_m).T
        uu, uv, vv = (self._spline.ev(u, v, dx=i, dy=2 - i) for i in (2, 1, 0))
        g = 1.0 + p * p + q * q
        mean = ((1.0 + q * q) * uu - 2.0 * p * q * uv + (1.0 + p * p) * vv) / (2.0 * g**1.5)
        gauss = (uu * vv - uv * uv) / g**2
        return mean + np.sqrt(np.maximum(mean * mean - gauss, 0.0))

    def normals(self, uv_m: Array) -> Array:
        """Return unit normals (N, 3) in the part frame at plane coordinates (N, 2)."""
        g = self.gradient(uv_m)
        return unit(np.column_stack([-g, np.ones(len(g))])) @ self.T_part_sheet[:3, :3].T


def sheet_frame(origin_m: Array, direction: Array) -> Array:
    """Return a (4, 4) frame at `origin_m` with z along `direction`, x along the part's y or x made perpendicular."""
    z = unit(direction)
    x = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = unit(x - (x @ z) * z)
    T = np.eye(4)
    T[:3, 0], T[:3, 1], T[:3, 2], T[:3, 3] = x, np.cross(z, x), z, origin_m
    return T


def fit_sheet(
    points_m: Array, areas_m2: Array, direction: Array, *, wavelength_m: float, margin_m: float
) -> Sheet:
    """Return the thin-plate smoothing sheet through points seen from `direction`.

    Minimises area (w - z)^2 + (wavelength / 2 pi)^4 (w_uu^2 + 2 w_uv^2 + w_vv^2) on a regular grid: waves shorter than
    `wavelength_m` are flattened, holes are bridged, and beyond the border the sheet goes on along its tangent, for
    `margin_m`. A banded Cholesky solve of at most NODES_MAX unknowns.

    Raises:
        InputRefusedError: fewer than 3 points.
    """
    if len(points_m) < 3:
        raise InputRefusedError(f"sheet: {len(points_m)} point(s), at least 3 needed")
    T = sheet_frame(points_m.mean(axis=0), direction)
    local = (points_m - T[:3, 3]) @ T[:3, :3]
    low, high = local[:, :2].min(axis=0) - margin_m, local[:, :2].max(axis=0) + margin_m
    pitch = max(wavelength_m / 12.0, float(np.sqrt(np.prod(high - low) / NODES_MAX)))
    n = np.maximum(np.ceil((high - low) / pitch).astype(int) + 1, 5)
    # the shorter side runs fastest, for a narrow band
    swap = n[1] > n[0]
    order = [1, 0] if swap else [0, 1]
    uv = local[:, order]
    heights = _thin_plate(uv, local[:, 2], areas_m2, low[order], pitch, n[order], wavelength_m)
    return Sheet(
        T_part_sheet=T,
        u_m=low[0] + pitch * np.arange(n[0]),
        v_m=low[1] + pitch * np.arange(n[1]),
        height_m=np.ascontiguousarray(heights.T if swap else heights),
    )


def _thin_plate(uv: Array, w: Array, areas: Array, low: Array, pitch: float, n: Array, wavelength: float) -> Array:
    cell = (uv - low) / pitch
    i = np.clip(np.floor(cell).astype(int), 0, n - 2)
    f = cell - i
    columns = (i[:, 0] * n[1] + i[:, 1])[:, None] + np.array([0, 1, n[1], n[1] + 1])
    values = np.stack(
        [(1 - f[:, 0]) * (1 - f[:, 1]), (1 - f[:, 0]) * f[:, 1], f[:, 0] * (1 - f[:, 1]), f[:, 0] * f[:, 1]], axis=1
    )
    rows = np.repeat(np.arange(len(uv)), 4)
    B = scipy.sparse.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=(len(uv), int(np.prod(n))))
    W = scipy.sparse.diags(areas)
    # bending energy per cell: second differences over pitch^2, squared, times the cell's area
    bending = (wavelength / (2.0 * np.pi)) ** 4 / pitch**2
    second = [_differences(int(m), (1.0, -2.0, 1.0)) for m in n]
    first = [_differences(int(m), (-1.0, 1.0)) for m in n]
    eye = [scipy.sparse.identity(m) for m in n]
    uu, vv = scipy.sparse.kron(second[0], eye[1]), scipy.sparse.kron(eye[0], second[1])
    mixed = scipy.sparse.kron(*first)
    K = (B.T @ W @ B + bending * (uu.T @ uu + vv.T @ vv + 2.0 * mixed.T @ mixed)).tocoo()
    width = 2 * int(n[1])
    lower = K.row >= K.col
    band = np.zeros((width + 1, K.shape[0]))
    np.add.at(band, (K.row[lower] - K.col[lower], K.col[lower]), K.data[lower])
    # a few points in one line leave a tilt free: hold it weakly
    band[0] += 1e-9 * band[0].max()
    heights = scipy.linalg.solveh_banded(band, B.T @ (areas * w), lower=True, check_finite=False)
    return np.asarray(heights).reshape(int(n[0]), int(n[1]))


def _differences(n: int, stencil: tuple[float, ...]) -> Any:
    m = n - len(stencil) + 1
    row = np.tile(np.arange(m), len(stencil))
    column = row + np.repeat(np.arange(len(stencil)), m)
    return scipy.sparse.csr_matrix((np.repeat(stencil, m), (row, column)), shape=(m, n))
