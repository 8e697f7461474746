"""Curves of equal value of a per-vertex field, as ordered polylines through the triangles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.meshes.remesh import triangle_edges
from cell_core.surface import Surface
from cell_core.transforms import Array

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class IsoCurve:
    """One connected curve of N >= 2 points on edges, the higher values on its left seen from outside.

    Point i is vertex `corners[i, 0]` times (1 - share[i]) plus vertex `corners[i, 1]` times share[i]. A closed curve
    does not repeat its first point.
    """

    level: int
    """Index of its level, where it starts if the field winds."""
    points_m: Array
    """(N, 3) [m]."""
    corners: Index
    """(N, 2) vertices of the edge each point lies on."""
    share: Array
    """(N,) from the first vertex of the edge to the second."""
    triangles: Index
    """(N - 1,), closed (N,): the triangle crossed after each point."""
    closed: bool

    def interpolated(self, values: Array) -> Array:
        """Return per-vertex values (V, ...) at the points."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return (1.0 - share) * values[self.corners[:, 0]] + share * values[self.corners[:, 1]]


def iso_curves(surface: Surface, field: Array, levels: Array, windings: Index | None = None) -> list[IsoCurve]:
    """Return the curves on which the field, linear in each triangle, takes each of the levels, by level.

    A value equal to a level counts as above it, so a level through vertices or along edges still gives plain curves.
    Curves end at borders and at edges of three or more triangles. Linear in triangles plus points.

    Args:
        field: (V,) values.
        levels: (L,) increasing; consecutive whole numbers where the field winds.
        windings: (T, 3) for a field that gains whole numbers round an axis: what to add to the field's value at the
            corners of each triangle; a triangle around the axis itself has equal windings and no curve.

    Raises:
        InputRefusedError: a value that is not finite, or levels that do not increase.
    """
    levels = np.asarray(levels, float)
    if not np.isfinite(field).all():
        raise InputRefusedError(f"iso-curves: field[{int(np.flatnonzero(~np.isfinite(field))[0])}] is not finite")
    if np.any(np.diff(levels) <= 0.0):
        raise InputRefusedError("iso-curves: levels must increase")
    added = np.zeros_like(surface.triangles) if windings is None else windings
    corner_values = field[surface.triangles] + added
    low = np.searchsorted(levels, corner_values.min(axis=1), "right")
    count = np.searchsorted(levels, corner_values.max(axis=1), "right") - low
    triangle = np.repeat(np.arange(len(count)), count)
    level = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count) + low[triangle]
    above = corner_values[triangle] >= levels[level][:, None]
    lone_above = above.sum(axis=1) == 1
    lone = np.where(lone_above, np.argmax(above, axis=1), np.argmin(above, axis=1))
    # local edges are ab, bc, ca: the lone corner meets its own edge and the one before it
    sides = np.stack([lone, (lone + 2) % 3], axis=1)
    sides = np.where(lone_above[:, None], sides, sides[:, ::-1])
    nodes, corners, share = _nodes(surface, corner_values, added, triangle, level, sides, levels)
    points = (1.0 - share[:, None]) * surface.vertices_m[corners[:, 0]] + share[:, None] * surface.vertices_m[
        corners[:, 1]
    ]
    curves = []
    for segments, closed in chains(nodes):
        at = nodes[segments, 0] if closed else np.r_[nodes[segments, 0], nodes[segments[-1], 1]]
        curves.append(
            IsoCurve(
                level=int(level[segments[0]]),
                points_m=points[at],
                corners=corners[at],
                share=share[at],
                triangles=triangle[segments],
                closed=closed,
            )
        )
    return sorted(curves, key=lambda curve: curve.level)


def _nodes(
    surface: Surface,
    corner_values: Array,
    windings: Index,
    triangle: Index,
    level: Index,
    sides: Index,
    levels: Array,
) -> tuple[Index, Index, Array]:
    """Return segments' end nodes (S, 2) and, per node, its edge's vertices (M, 2) and place on it (M,)."""
    _, edge_of = triangle_edges(surface.triangles)
    first, second = sides, (sides + 1) % 3
    rows = triangle[:, None]
    swap = surface.triangles[rows, first] > surface.triangles[rows, second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    # around an axis the same crossing has another level in the next triangle: count from the edge's lower vertex
    relative = level[:, None] - windings[rows, first]
    span = int(np.ptp(relative)) + 1 if relative.size else 1
    key = edge_of[rows, sides] * span + relative - relative.min(initial=0)
    _, where, nodes = np.unique(key, return_index=True, return_inverse=True)
    at = np.unravel_index(where, key.shape)
    t, p, q = triangle[at[0]], first[at], second[at]
    low, high = corner_values[t, p], corner_values[t, q]
    share = np.clip((levels[level[at[0]]] - low) / (high - low), 0.0, 1.0)
    return nodes.reshape(-1, 2), np.stack([surface.triangles[t, p], surface.triangles[t, q]], axis=1), share


def chains(ends: Index) -> list[tuple[Index, bool]]:
    """Return the segments (S, 2), each from one node to another, as runs of segment indices, and whether each closes.

    A run goes on where exactly one segment ends and exactly one starts.
    """
    n = int(ends.max(initial=-1)) + 1
    leaving, arriving = np.bincount(ends[:, 0], minlength=n), np.bincount(ends[:, 1], minlength=n)
    plain = (leaving == 1) & (arriving == 1)
    after = np.full(n, -1)
    after[ends[:, 0]] = np.arange(len(ends))
    follower = np.where(plain[ends[:, 1]], after[ends[:, 1]], -1).tolist()
    heads = np.flatnonzero(~plain[ends[:, 0]]).tolist()
    seen = bytearray(len(ends))
    runs: list[tuple[Index, bool]] = []
    for closed, starts in ((False, heads), (True, range(len(ends)))):
        for start in starts:
            if seen[start]:
                continue
            run, segment = [], start
            while segment >= 0 and not seen[segment]:
                seen[segment] = 1
                run.append(segment)
                segment = follower[segment]
            runs.append((np.array(run), closed))
    return runs
