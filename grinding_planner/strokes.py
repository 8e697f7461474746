"""Lay strokes over the ground on which a pad can stand: patches by direction, parallel lines, a line along each border.

The planner starts from seats: valid pad poses spread over the part. Seats that see each other form patches within a
cone of directions; each patch is flattened along its mean axis, and lines are interpolated between its seats.
"""

from dataclasses import dataclass

import contourpy
import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, gaussian_filter1d
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, KDTree

from cell_core.transforms import Array, unit

CONE_RAD = np.deg2rad(50.0)
STEP_RAD = np.deg2rad(30.0)
NEAR_SEAT = 1.0
"""Lines keep this close to a seat, in seat spacings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """A stroke before forces and speeds: where the pad's centre goes and which way it presses."""

    position_m: Array
    """(N, 3) pad centre [m]."""
    tool_axis: Array
    """(N, 3) unit, into the surface."""
    travel: Array
    """(N, 3) unit, along the line."""

    def __len__(self) -> int:
        return len(self.position_m)

    def part(self, which: slice) -> "Line":
        """Return some of the samples."""
        return Line(position_m=self.position_m[which], tool_axis=self.tool_axis[which], travel=self.travel[which])

    @property
    def reach_m(self) -> Array:
        """(N,) length that belongs to each sample: half of each neighbouring step [m]."""
        return np.convolve(np.linalg.norm(np.diff(self.position_m, axis=0), axis=1), [0.5, 0.5])


def patches_of(points_m: Array, axes: Array, spacing_m: float) -> list[NDArray[np.int64]]:
    """Return groups of seat indices, connected and within CONE_RAD of a common direction, largest area first.

    Greedy: of 200 directions the one with the largest connected group wins, its seats are taken away, and so on.
    """
    pairs = KDTree(points_m).query_pairs(1.7 * spacing_m, output_type="ndarray")
    pairs = pairs[np.einsum("ij,ij->i", axes[pairs[:, 0]], axes[pairs[:, 1]]) > np.cos(STEP_RAD)]
    directions = _sphere(200)
    inside = axes @ directions.T > np.cos(CONE_RAD)
    free = np.ones(len(points_m), bool)
    found = []
    while free.any():
        best = np.zeros(0, np.int64)
        for column in np.argsort(-(inside & free[:, None]).sum(axis=0)):
            candidate = inside[:, column] & free
            if candidate.sum() <= len(best):
                break
            group = _largest_component(candidate, pairs)
            if len(group) > len(best):
                best = group
        if len(best) == 0:
            break
        found.append(best)
        free[best] = False
    return found


def _largest_component(mask: NDArray[np.bool_], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    inner = pairs[mask[pairs[:, 0]] & mask[pairs[:, 1]]]
    graph = scipy.sparse.coo_matrix((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(mask), len(mask)))
    _, label = connected_components(graph, directed=False)
    members = np.flatnonzero(mask)
    sizes = np.bincount(label[members])
    return members[label[members] == np.argmax(sizes)]


def _sphere(n: int) -> Array:
    k = np.arange(n) + 0.5
    z, turn = 1.0 - 2.0 * k / n, np.pi * (1.0 + 5.0**0.5) * k
    return np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1)


class Sheet:
    """A patch of seats as a height field over the plane across its mean axis."""

    def __init__(self, points_m: Array, axes: Array, spacing_m: float) -> None:
        self.spacing_m = spacing_m
        self.origin_m = points_m.mean(axis=0)
        w = unit(axes.mean(axis=0))
        u = np.cross(w, [1.0, 0.0, 0.0] if abs(w[0]) < 0.7 else [0.0, 1.0, 0.0])
        u, v = unit(u), np.cross(w, unit(u))
        flat = (points_m - self.origin_m) @ np.stack([u, v], axis=1)
        along = _longer_side(flat)
        first = along[0] * u + along[1] * v
        self.basis: Array = np.stack([first, np.cross(w, first), w]).astype(float)
        local = (points_m - self.origin_m) @ self.basis.T
        self._seats_m, self._height_m = local[:, :2], local[:, 2]
        self._axes = axes @ self.basis.T
        self._tree = KDTree(self._seats_m)
        self.low_m, self.high_m = self._seats_m.min(axis=0), self._seats_m.max(axis=0)

    def distance_m(self, uv_m: Array) -> Array:
        """Return how far flat points (N, 2) are from the nearest seat (N,) [m]."""
        return self._tree.query(uv_m)[0]

    def outward(self, loop_m: Array) -> Array:
        """Return the unit direction away from the seats (N, 2) across a polyline along their rim (N, 2)."""
        closed = np.allclose(loop_m[0], loop_m[-1])
        wrapped = np.vstack([loop_m[-2:-1], loop_m, loop_m[1:2]]) if closed else loop_m
        along = unit(np.gradient(wrapped, axis=0)[1:-1] if closed else np.gradient(loop_m, axis=0))
        across = np.stack([along[:, 1], -along[:, 0]], axis=1)
        k = min(20, len(self._seats_m))
        middle = self._seats_m[self._tree.query(loop_m, k=k)[1].reshape(len(loop_m), k)].mean(axis=1)
        return across * np.sign(np.einsum("ij,ij->", loop_m - middle, across) or 1.0)

    def near(self, uv_m: Array) -> NDArray[np.bool_]:
        """Return whether flat points (N, 2) lie within NEAR_SEAT spacings of a seat (N,)."""
        return self._tree.query(uv_m)[0] <= NEAR_SEAT * self.spacing_m

    def lift(self, uv_m: Array) -> tuple[Array, Array]:
        """Return positions (N, 3) [m] and tool axes (N, 3) at flat points, by the tangent planes of seats around."""
        k = min(9, len(self._seats_m))
        distance, index = self._tree.query(uv_m, k=k)
        distance, index = distance.reshape(len(uv_m), k), index.reshape(len(uv_m), k)
        weight = np.exp(-0.5 * (distance / (0.7 * self.spacing_m)) ** 2) + 1e-12
        weight /= weight.sum(axis=1, keepdims=True)
        axis = self._axes[index]
        step = uv_m[:, None] - self._seats_m[index]
        height = self._height_m[index] - np.einsum("nkj,nkj->nk", step, axis[..., :2]) / axis[..., 2]
        local = np.c_[uv_m, np.einsum("nk,nk->n", weight, height)]
        return local @ self.basis + self.origin_m, unit(np.einsum("nk,nkj->nj", weight, axis)) @ self.basis


def _longer_side(flat_m: Array) -> Array:
    """Return the direction (2,) of the longer side of the smallest rectangle round points (N, 2).

    Lines along it end square to most borders.
    """
    if np.linalg.matrix_rank(flat_m - flat_m[0], tol=1e-9) < 2:
        return np.array([1.0, 0.0]) if len(flat_m) < 2 else unit(flat_m[-1] - flat_m[0])
    hull = flat_m[ConvexHull(flat_m).vertices]
    sides = unit(np.roll(hull, -1, axis=0) - hull)
    extent = np.stack([np.ptp(hull @ sides.T, axis=0), np.ptp(hull @ np.c_[-sides[:, 1], sides[:, 0]].T, axis=0)])
    best = int(np.argmin(np.prod(extent, axis=0)))
    along = sides[best]
    return along if extent[0, best] >= extent[1, best] else np.array([-along[1], along[0]])


def parallel_lines(
    sheet: Sheet, spacing_m: float, step_m: float, *, across: bool = False, exact: bool = False
) -> list[Line]:
    """Return lines along the sheet's longer direction (or across it), every other one the other way round.

    They are at most `spacing_m` apart and reach both sides; `exact`: just that far apart, up to half of it short.
    """
    a, b = (1, 0) if across else (0, 1)
    width = sheet.high_m[b] - sheet.low_m[b]
    n = max(1, int(np.floor(width / spacing_m) if exact else np.ceil(width / spacing_m)) + 1)
    half = 0.5 * spacing_m * (n - 1) if exact or n == 1 else 0.5 * width
    rows = np.linspace(-half, half, n) + 0.5 * (sheet.low_m[b] + sheet.high_m[b])
    lines = []
    for k, row in enumerate(rows):
        m = max(2, int(np.ceil((sheet.high_m[a] - sheet.low_m[a]) / step_m)) + 1)
        uv = np.empty((m, 2))
        uv[:, a], uv[:, b] = np.linspace(sheet.low_m[a], sheet.high_m[a], m), row
        for run in runs_of(sheet.near(uv)):
            lines.append(line_through(*sheet.lift(uv[run][:: -1 if k % 2 else 1])))
    return [line for line in lines if line is not None]


def border_loops(sheet: Sheet, step_m: float) -> list[Array]:
    """Return loops (N, 2) along the rim of the sheet's ground, through its outermost seats, but no small ones."""
    pixel = 0.4 * sheet.spacing_m
    low = sheet.low_m - 4 * pixel
    counts = np.ceil((sheet.high_m + 4 * pixel - low) / pixel).astype(int) + 1
    u, v = (low[i] + pixel * np.arange(counts[i]) for i in range(2))
    grid = np.stack(np.meshgrid(u, v), axis=-1)
    distance = sheet.distance_m(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    ground = np.asarray(binary_closing(distance < 0.75 * sheet.spacing_m, iterations=2), bool)
    inside = KDTree(grid[~ground]).query(grid.reshape(-1, 2))[0].reshape(grid.shape[:2])
    loops = []
    for loop in map(np.asarray, contourpy.contour_generator(u, v, inside).lines(0.75 * sheet.spacing_m)):
        length = np.linalg.norm(np.diff(loop, axis=0), axis=1).sum()
        if length < 8.0 * sheet.spacing_m:
            continue
        closed = np.allclose(loop[0], loop[-1])
        smooth = resampled(loop, max(4, int(np.ceil(length / step_m))))
        body = gaussian_filter1d(smooth[:-1] if closed else smooth, 1.2, axis=0, mode="wrap" if closed else "nearest")
        loops.append(np.vstack([body, body[:1]]) if closed else body)
    return loops


def clear_of(border: list[Line], lines: list[Line], distance_m: float) -> list[Line]:
    """Return the parts of the lines that keep this far from the border lines."""
    if not border:
        return lines
    tree = KDTree(np.concatenate([line.position_m for line in border]))
    return [part for line in lines for part in cut(line, tree.query(line.position_m)[0] > distance_m)]


def line_through(position_m: Array, axis: Array) -> Line | None:
    """Return the line through these pad centres with travel along it; None when it is too short to be one."""
    if len(position_m) < 2 or np.min(np.linalg.norm(np.diff(position_m, axis=0), axis=1)) < 1e-6:
        return None
    travel = np.gradient(position_m, axis=0)
    travel -= np.einsum("ij,ij->i", travel, axis)[:, None] * axis
    return Line(position_m=position_m, tool_axis=unit(axis), travel=unit(travel))


def smoothed(values: Array, samples: float) -> Array:
    """Return even values (N, D) smoothed along by a Gaussian of so many samples; past the ends they run on straight.

    Held at their last value instead they would lag there: on a parent of radius R axes by 0.8 reaches over R.
    """
    n = min(int(np.ceil(4.0 * samples)), len(values) - 1)
    before, behind = 2.0 * values[0] - values[n:0:-1], 2.0 * values[-1] - values[-2 : -n - 2 : -1]
    smooth = gaussian_filter1d(np.concatenate([before, values, behind]), samples, axis=0, mode="nearest")
    return np.asarray(smooth[n : n + len(values)])


def turned(line: Line, tool_axis: Array, smoothing_samples: float) -> Line:
    """Return the line with other tool axes (N, 3), smoothed along it."""
    closed = np.allclose(line.position_m[0], line.position_m[-1])
    axis = unit(gaussian_filter1d(tool_axis, smoothing_samples, axis=0, mode="wrap" if closed else "nearest"))
    travel = line.travel - np.einsum("ij,ij->i", line.travel, axis)[:, None] * axis
    return Line(position_m=line.position_m, tool_axis=axis, travel=unit(travel))


def cut(line: Line, keep: NDArray[np.bool_], n_min: int = 2) -> list[Line]:
    """Return the runs of samples kept, those with at least n_min samples."""
    return [line.part(run) for run in runs_of(keep) if run.stop - run.start >= n_min]


def resampled(points: Array, n: int) -> Array:
    """Return n + 1 points at equal distances along a polyline (N, D)."""
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return np.stack(
        [np.interp(np.linspace(0.0, s[-1], n + 1), s, points[:, i]) for i in range(points.shape[1])], axis=1
    )


def runs_of(mask: NDArray[np.bool_]) -> list[slice]:
    """Return the runs of neighbouring true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
