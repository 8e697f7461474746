"""Edges of a mesh that mean what they are: sharp ones between CAD faces, and the borders of one-sided sheets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.meshes.topology import Joints, half_edges
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.edge import Edge

CORNER_RAD = np.deg2rad(40.0)
"""Where an edge turns by more between two mesh edges it is split; circles of nine and more corners go round whole."""


def turns(surface: Surface, met: Joints) -> Array:
    """Return the angle (M,) by which the outside turns over at each joint [rad], negative where it turns in."""
    start, end = half_edges(surface.triangles)
    left, right = (surface.triangle_normals[h // 3] for h in (met.first, met.second))
    along = surface.vertices_m[end[met.first]] - surface.vertices_m[start[met.first]]
    sine = np.einsum("ij,ij->i", np.cross(left, right), unit(along))
    turn = np.arctan2(sine, np.einsum("ij,ij->i", left, right))
    # a triangle without area has no normal
    flat = np.minimum(np.abs(left).max(axis=1), np.abs(right).max(axis=1)) == 0.0
    return np.where(flat | met.same_direction, 0.0, turn)


def sharp_edges(surface: Surface, met: Joints, angle_min_rad: float, length_min_m: float) -> list[Edge]:
    """Return the mesh edges that turn over by more than an angle, joined from corner to corner."""
    start, end = half_edges(surface.triangles)
    sharp = turns(surface, met) > angle_min_rad
    first, second = met.first[sharp], met.second[sharp]
    return _joined(
        surface,
        _Segments(
            start=start[first],
            end=end[first],
            left=surface.triangle_normals[first // 3],
            right=surface.triangle_normals[second // 3],
        ),
        "sharp",
        length_min_m,
    )


def border_edges(surface: Surface, met: Joints, length_min_m: float) -> list[Edge]:
    """Return the open borders as edges of a plate, the unseen wall square on the face."""
    start, end = half_edges(surface.triangles)
    start, end, face = start[met.open], end[met.open], surface.triangle_normals[met.open // 3]
    along = unit(surface.vertices_m[end] - surface.vertices_m[start])
    return _joined(
        surface,
        _Segments(start=start, end=end, left=face, right=unit(np.cross(along, face))),
        "border",
        length_min_m,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Segments:
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    left: Array
    right: Array


def _joined(surface: Surface, segments: _Segments, kind: Literal["sharp", "border"], length_min_m: float) -> list[Edge]:
    points = surface.vertices_m
    n = len(segments.start)
    if n == 0:
        return []
    # segment k has the ends 2 k at its start and 2 k + 1
    vertex = np.stack([segments.start, segments.end], axis=1).ravel()
    step = points[segments.end] - points[segments.start]
    away = np.repeat(unit(step), 2, axis=0) * np.tile([1.0, -1.0], n)[:, None]
    bisector = np.repeat(unit(segments.left + segments.right), 2, axis=0)
    partner, linked = _partners(vertex, away, bisector)
    chains = [(np.array(walk), closed) for walk, closed in _walks(partner)]
    group = _groups(chains, linked, n)
    length = np.linalg.norm(step, axis=1)
    total = np.zeros(len(chains))
    own = np.array([length[walk // 2].sum() for walk, _ in chains])
    np.add.at(total, group, own)
    return [
        _edge(points, segments, walk, closed, kind)
        for (walk, closed), whole in zip(chains, total[group], strict=True)
        if whole >= length_min_m
    ]


def _partners(vertex: NDArray[np.int64], away: Array, bisector: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which end (2 M,) each end goes on into, -1 at a corner, and likewise however sharp the corner.

    Where more than two ends meet, the straightest go on into each other; corners of two ends are one edge all the same.
    """
    partner, linked = np.full(len(vertex), -1), np.full(len(vertex), -1)
    order = np.argsort(vertex, kind="stable")
    for ends in np.split(order, np.flatnonzero(np.diff(vertex[order])) + 1):
        if len(ends) == 2:
            linked[ends] = ends[::-1]
        i, j = np.triu_indices(len(ends), 1)
        straight = -np.einsum("ij,ij->i", away[ends[i]], away[ends[j]])
        alike = np.einsum("ij,ij->i", bisector[ends[i]], bisector[ends[j]])
        for k in np.argsort(-straight, kind="stable"):
            a, b = ends[i[k]], ends[j[k]]
            if min(straight[k], alike[k]) > np.cos(CORNER_RAD) and partner[a] < 0 and partner[b] < 0:
                partner[a], partner[b] = b, a
    return partner, np.where(linked >= 0, linked, partner)


def _walks(partner: NDArray[np.int64]) -> Iterator[tuple[list[int], bool]]:
    """Yield every chain as the ends through which its segments are entered, and whether it closes."""
    seen = np.zeros(len(partner) // 2, bool)
    starts = np.flatnonzero(partner < 0)
    for enter in (*starts.tolist(), *range(0, len(partner), 2)):
        if seen[enter // 2]:
            continue
        walk, at = [], enter
        while at >= 0 and not seen[at // 2]:
            seen[at // 2] = True
            walk.append(at)
            at = int(partner[at ^ 1])
        yield walk, at == enter


def _groups(chains: list[tuple[NDArray[np.int64], bool]], linked: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    # chains that meet in corners of two ends are one edge, however sharp the corner
    chain_of = np.empty(n, np.int64)
    for k, (walk, _) in enumerate(chains):
        chain_of[walk // 2] = k
    group = np.arange(len(chains))
    for end in np.flatnonzero(linked >= 0):
        a, b = (_root(group, int(chain_of[e // 2])) for e in (int(end), int(linked[end])))
        group[max(a, b)] = min(a, b)
    return np.array([_root(group, k) for k in range(len(chains))])


def _root(group: NDArray[np.int64], k: int) -> int:
    while group[k] != k:
        group[k] = group[group[k]]
        k = int(group[k])
    return k


def _edge(
    points: Array, segments: _Segments, walk: NDArray[np.int64], closed: bool, kind: Literal["sharp", "border"]
) -> Edge:
    segment, backwards = walk // 2, walk % 2 == 1
    enter = np.where(backwards, segments.end[segment], segments.start[segment])
    leave = np.where(backwards, segments.start[segment], segments.end[segment])
    left = np.where(backwards[:, None], segments.right[segment], segments.left[segment])
    right = np.where(backwards[:, None], segments.left[segment], segments.right[segment])
    return Edge(
        position_m=points[np.r_[enter, leave[-1]]],
        normal_left=_at_vertices(left, closed),
        normal_right=_at_vertices(right, closed),
        rounding_m=np.zeros(len(walk) + 1),
        closed=closed,
        kind=kind,
    )


def _at_vertices(normals: Array, closed: bool) -> Array:
    before = np.vstack([normals[-1:] if closed else normals[:1], normals])
    after = np.vstack([normals, normals[:1] if closed else normals[-1:]])
    return unit(before + after)
