"""What speaks for a pose of a part in a scan, and what against it: laid on, scanned inside it, seen through it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.near_cells import NearCells, NearTriangles
from cell_core.pose_sights import strange_m2
from cell_core.pose_votes import facing_cells, frames_of, scattered
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse, rotate

FACING_COS_MIN = 0.7
COVERS_COS_MIN = 0.3
"""A face within this cosine of what was scanned beneath it would have hidden that from the camera."""
SEEN_REACH_SHARE = 0.3
"""What was scanned farther beneath a face than this share of the diagonal says nothing about the space between."""
BOX_MARGIN_SHARE = 0.01
SIGHT_COS_MIN = 0.35
"""A camera sees a face within this cosine of its normal."""
N_SIGHTS = (24, 240)
"""Sight lines tried per scanned point, and for what they all find hidden once more."""
TURNED_COS = -0.3
"""Faces that meet at an edge may be taken for each other; the two sides of a sheet may not."""
FEW_CELLS = 1500
N_THREADS = 2
LEAF_POINTS = 64
GRID_SHARE, GRID_MARGIN_SHARE = 0.01, 0.06


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """The scan's cells and the target's cells, each weighed by area, at one pose."""

    gain_m2: Array
    """(S,) per cell of the scan: up to its area where it lies on the target, minus its area where it lies inside."""
    seen_through_m2: Array
    """(M,) per cell of the target: its area where the scan shows what it would have hidden."""
    on: NDArray[np.bool_]
    """(S,) cells of the scan on the target and facing as it does."""
    in_box_m2: float
    """Area of the scan within the target's box: what the pose has to explain."""
    on_m2: float
    """Area of the scan on the target."""
    inside_m2: float
    """Area of the scan inside the solid."""
    rms_m: float
    """Root mean square distance of what is on the target."""

    @cached_property
    def score_m2(self) -> float:
        """Area for the pose less area against it."""
        return float(self.gain_m2.sum() - self.seen_through_m2.sum())

    @property
    def against_m2(self) -> float:
        """Area against the pose."""
        return self.inside_m2 + float(self.seen_through_m2.sum())


class PoseJudge:
    """Weighs poses of one scan on one target."""

    def __init__(self, scan: SurfaceSamples, scan_cell_m: float, target: Surface, target_cell_m: float) -> None:
        self.scan = scan
        # what is asked lies far off mostly: few large leaves are gone through faster than many small ones
        self._tree = KDTree(scan.points_m, leafsize=LEAF_POINTS)
        self._known: dict[tuple[bytes, float], Evidence] = {}
        self.caster = RayCaster(target)
        self._cells = facing_cells(target, target_cell_m)
        diagonal_m = float(np.linalg.norm(np.ptp(target.bounds_m, axis=0)))
        step_m = GRID_SHARE * diagonal_m
        self.grid = NearCells(facing_cells(target, step_m), step_m, GRID_MARGIN_SHARE * diagonal_m)
        self.exact = NearTriangles(target, self.caster, self.grid)
        self._bounds_m = target.bounds_m
        self._few_scan, self._few_cells = (_some(s, FEW_CELLS) for s in (scan, self._cells))
        self._lateral_m = scan_cell_m
        self._diagonal_m = diagonal_m
        # each edge of a closed surface has two triangles
        self._closed = 3 * len(target.triangles) == 2 * len(target.edges)

    def roughly(self, T: Array, reach_m: float) -> float:
        """Return about the score [m2] of a pose, from some of the cells and distances to cells."""
        return self._weighed(T, reach_m, self._few_scan, self._few_cells, self.grid).score_m2

    def at(self, T: Array, reach_m: float) -> Evidence:
        """Return what speaks for and against a pose, scan within `reach_m` being on the target."""
        key = (np.asarray(T, float).tobytes(), reach_m)
        if key not in self._known:
            self._known[key] = self._weighed(T, reach_m, self.scan, self._cells, self.exact)
        return self._known[key]

    def less(self, T: Array, one: Evidence, T_other: Array, other: Evidence, within_m: float) -> Array:
        """Return by how much cells speak more for one pose than for another (S + 2 M,) [m2].

        Only where the target lies differently by more than `within_m`: elsewhere it is noise.
        """
        there = T_other @ inverse(T)
        gain = one.gain_m2 - other.gain_m2
        asked = np.flatnonzero(gain)
        same = np.ones(len(asked), bool)
        for pose, way in ((T, there), (T_other, inverse(there))):
            at, triangle = self.caster.closest(apply(pose, self.scan.points_m[asked]))
            same &= self._lies(at, self.exact.normals_of(triangle), way, within_m)
        gain[asked[same]] = 0.0
        seen = [other.seen_through_m2.copy(), -one.seen_through_m2]
        for areas, way in zip(seen, (inverse(there), there), strict=True):
            some = np.flatnonzero(areas)
            areas[some[self._lies(self._cells.points_m[some], self._cells.normals[some], way, within_m)]] = 0.0
        return np.concatenate([gain, *seen])

    def _lies(self, points: Array, normals: Array, way: Array, within_m: float) -> NDArray[np.bool_]:
        # whether pieces of the target, moved, lie on it and face as it does there
        moved = apply(way, points)
        closest, triangle = self.caster.closest(moved)
        cosine = np.einsum("ij,ij->i", rotate(way, normals), self.exact.normals_of(triangle))
        return (np.linalg.norm(closest - moved, axis=1) < within_m) & (cosine > TURNED_COS)

    def hidden_m2(self, T: Array, lift_m: float) -> float:
        """Return the area of the scan within the target's box that no camera could have seen past the target.

        A point was seen along some line within reach of its normal; the lines start `lift_m` above it.
        """
        points, normals = apply(T, self.scan.points_m), rotate(T, self.scan.normals)
        left = np.flatnonzero(self._in_box(points))
        for n in N_SIGHTS:
            ways = _cone(normals[left], n)
            start = np.broadcast_to((points[left] + lift_m * normals[left])[:, None], ways.shape)
            rays = np.concatenate([start, 3.0 * self._diagonal_m * ways], axis=2).reshape(-1, 6).astype(np.float32)
            left = left[self.caster.stopped(rays).reshape(len(left), n).all(axis=1)]
        return float(self.scan.areas_m2[left].sum())

    def strange_m2(self, on: NDArray[np.bool_]) -> float:
        """Return the area of the scan in one piece with what lies on the target (`on`) that does not lie on it.

        Zero for a target that is open, and so may be a part of the whole.
        """
        if not self._closed:
            return 0.0
        return strange_m2(self.scan, on, self._lateral_m, self._diagonal_m)

    def _in_box(self, points: Array) -> NDArray[np.bool_]:
        margin = BOX_MARGIN_SHARE * self._diagonal_m
        low, high = self._bounds_m[0] - margin, self._bounds_m[1] + margin
        return np.all((points > low) & (points < high), axis=1)

    def _weighed(
        self, T: Array, reach_m: float, scan: SurfaceSamples, cells: SurfaceSamples, surface: NearTriangles | NearCells
    ) -> Evidence:
        points = apply(T, scan.points_m)
        near = np.flatnonzero(self._in_box(points))
        gap, normals, on = surface.pairs(points[near], rotate(T, scan.normals[near]), reach_m, FACING_COS_MIN)
        distance = np.linalg.norm(gap, axis=1)
        gain = np.where(on, 1.0 - (distance / reach_m) ** 2, 0.0)
        inside = np.zeros(len(near), bool)
        deep = np.flatnonzero(~on & ~self._within(surface, points[near], distance, normals, reach_m))
        if self._closed and len(deep):
            inside[deep] = self.caster.inside(points[near[deep]])
        areas = scan.areas_m2[near]
        gains, mask = np.zeros(len(points)), np.zeros(len(points), bool)
        gains[near], mask[near] = areas * np.where(inside, -1.0, gain), on
        on_m2 = float(areas[on].sum())
        rms = float(np.sqrt(areas[on] @ distance[on] ** 2 / on_m2)) if on_m2 > 0.0 else self._diagonal_m
        return Evidence(
            gain_m2=gains,
            seen_through_m2=cells.areas_m2 * self._seen_through(T, reach_m, cells),
            on=mask,
            in_box_m2=float(areas.sum()),
            on_m2=on_m2,
            inside_m2=float(areas[inside].sum()),
            rms_m=rms,
        )

    def _within(
        self, surface: NearTriangles | NearCells, points: Array, distance: Array, normals: Array, reach_m: float
    ) -> NDArray[np.bool_]:
        # near the target, whichever way it faces there; the grid answers for what it ruled out
        if surface is self.grid:
            return self.grid.may_be_within(points, reach_m)
        return (distance <= reach_m) & normals.any(axis=1)

    def _seen_through(self, T: Array, reach_m: float, cells: SurfaceSamples) -> NDArray[np.bool_]:
        # faces that cover what the scan shows beneath them
        back = inverse(T)
        points, normals = apply(back, cells.points_m), rotate(back, cells.normals)
        span_max = SEEN_REACH_SHARE * self._diagonal_m
        index = np.asarray(self._tree.query(points, distance_upper_bound=span_max, workers=N_THREADS)[1])
        found = np.flatnonzero(index < len(self.scan))
        below = index[found]
        span = points[found] - self.scan.points_m[below]
        height = np.einsum("ij,ij->i", span, self.scan.normals[below])
        aside = np.linalg.norm(span - height[:, None] * self.scan.normals[below], axis=1)
        covers = np.einsum("ij,ij->i", normals[found], self.scan.normals[below]) > COVERS_COS_MIN
        out = np.zeros(len(points), bool)
        out[found] = (height > reach_m) & (aside < self._lateral_m) & covers
        return out


def _cone(normals: Array, n: int) -> Array:
    # directions (P, n, 3) spread evenly over what a camera may see each normal from, the normal first
    cosine = np.linspace(1.0, SIGHT_COS_MIN, n)
    turn = np.arange(n) * (np.pi * (3.0 - np.sqrt(5.0)))
    local = np.stack([cosine, np.sqrt(1.0 - cosine**2) * np.cos(turn), np.sqrt(1.0 - cosine**2) * np.sin(turn)], axis=1)
    return np.einsum("nk,pkj->pnj", local, frames_of(normals))


def _some(samples: SurfaceSamples, n: int) -> SurfaceSamples:
    few = samples.select(scattered(len(samples), n))
    scale = float(samples.areas_m2.sum() / few.areas_m2.sum())
    return SurfaceSamples(points_m=few.points_m, normals=few.normals, areas_m2=scale * few.areas_m2)
