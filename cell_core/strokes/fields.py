"""Scalar fields over a sheet whose iso-curves are strokes; the field's value is true distance across the strokes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cell_core.strokes.sheet import Sheet
from cell_core.transforms import Array

FieldKind = Literal["planar", "arc_length"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossField:
    """A field f(x, y) that grows with y; x runs along the strokes, y across, both turned by `angle_rad` from u, v."""

    sheet: Sheet
    angle_rad: float
    x_m: Array
    """(X,) nodes along [m]."""
    y_m: Array
    """(Y,) nodes across [m]."""
    value_m: Array
    """(X, Y) field at the nodes [m], rising along y."""

    def xy(self, uv_m: Array) -> Array:
        """Return coordinates along and across (N, 2) of plane coordinates (N, 2)."""
        return uv_m @ _turn(self.angle_rad)

    def uv(self, xy_m: Array) -> Array:
        """Return plane coordinates (N, 2) of coordinates along and across (N, 2)."""
        return xy_m @ _turn(self.angle_rad).T

    def at(self, xy_m: Array) -> Array:
        """Return the field (N,) [m] by bilinear interpolation; x is clamped to the nodes."""
        i, f = _cell(self.x_m, xy_m[:, 0])
        j, g = _cell(self.y_m, xy_m[:, 1])
        v = self.value_m
        low = v[i, j] + g * (v[i, j + 1] - v[i, j])
        high = v[i + 1, j] + g * (v[i + 1, j + 1] - v[i + 1, j])
        return low + f * (high - low)

    def curve(self, level_m: float) -> Array:
        """Return y (X,) [m] of the iso-curve at the nodes along, extended by the edge slope beyond the nodes."""
        return np.array([_invert(row, self.y_m, level_m) for row in self.value_m])


def cross_field(
    sheet: Sheet,
    uv_m: Array,
    weights: Array,
    *,
    angle_rad: float,
    kind: FieldKind,
    pitch_m: float,
    smooth_m: float,
    margin_m: float,
) -> CrossField:
    """Return the field for strokes at `angle_rad` over a sheet whose served points are at `uv_m` (N, 2).

    planar: strokes are cuts by parallel planes; one stretch per cut, the mean over the points near it, makes levels
    true distances on average. arc_length: every section across the strokes is measured on its own, from the middle,
    so that neighbours stay a true distance apart everywhere; smoothed by `smooth_m` along. Nodes reach `margin_m`
    beyond the served points.
    """
    turn = _turn(angle_rad)
    served = uv_m @ turn
    low, high = served.min(axis=0) - margin_m, served.max(axis=0) + margin_m
    x = np.linspace(low[0], high[0], max(4, int(np.ceil((high[0] - low[0]) / pitch_m)) + 1))
    y = np.linspace(low[1], high[1], max(4, int(np.ceil((high[1] - low[1]) / pitch_m)) + 1))
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    uv = np.clip(grid @ turn.T, [sheet.u_m[0], sheet.v_m[0]], [sheet.u_m[-1], sheet.v_m[-1]])
    slope = (sheet.gradient(uv) @ turn[:, 1]).reshape(len(x), len(y))
    stretch = np.sqrt(1.0 + slope**2)
    if kind == "planar":
        at = _cell(y, served[:, 1])[0]
        own = np.sqrt(1.0 + (sheet.gradient(uv_m) @ turn[:, 1]) ** 2)
        total, count = np.bincount(at, weights * own, len(y)), np.bincount(at, weights, len(y))
        sigma = max(smooth_m / (y[1] - y[0]), 1.0)
        total, count = gaussian_filter1d(total, sigma, mode="nearest"), gaussian_filter1d(count, sigma, mode="nearest")
        mean = np.divide(total, count, out=np.ones_like(total), where=count > 1e-9 * count.max())
        stretch = np.broadcast_to(mean, stretch.shape)
    value = np.zeros_like(stretch)
    value[:, 1:] = np.cumsum(0.5 * (stretch[:, 1:] + stretch[:, :-1]), axis=1) * (y[1] - y[0])
    middle = int(np.searchsorted(y, np.median(served[:, 1])))
    value = value - value[:, [min(middle, len(y) - 1)]]
    if kind == "arc_length":
        value = gaussian_filter1d(value, max(smooth_m / (x[1] - x[0]), 1e-6), axis=0, mode="nearest")
    return CrossField(sheet=sheet, angle_rad=angle_rad, x_m=x, y_m=y, value_m=np.ascontiguousarray(value))


def _turn(angle_rad: float) -> Array:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s], [s, c]])


def _cell(nodes: Array, at: Array) -> tuple[NDArray[np.int64], Array]:
    t = (at - nodes[0]) / (nodes[1] - nodes[0])
    i = np.clip(np.floor(t).astype(np.int64), 0, len(nodes) - 2)
    return i, np.clip(t - i, 0.0, 1.0)


def _invert(row: Array, y: Array, level: float) -> float:
    if level < row[0]:
        return float(y[0] + (level - row[0]) * (y[1] - y[0]) / (row[1] - row[0]))
    if level > row[-1]:
        return float(y[-1] + (level - row[-1]) * (y[-1] - y[-2]) / (row[-1] - row[-2]))
    return float(np.interp(level, row, y))
