"""The borders of a scanned sheet as edges of a plate: smoothed between corners, the unseen wall square on the face."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter
from scipy.spatial import KDTree

from cell_core.meshes.borders import borders
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.edge import Edge
from grinding_planner.edge_cloud import Cloud

STEP = 0.5
"""Distance of samples in mesh edges."""
SMOOTHING = 5.0
"""Length of the parabolas that replace the staircase of the mesh, in mesh edges."""
CORNER_RAD = np.deg2rad(50.0)
CORNER_REACH = 3.0
"""A corner turns by CORNER_RAD between chords so many mesh edges long."""
FACE_REACH = 1.0
FACE_REACH_MIN = 0.7
"""The face is seen within so many mesh edges of the border, but not beyond the next crest."""
DOUBLE = 0.7
"""A border this near to a crest, in mesh edges, is the same edge."""


def rim_edges(surface: Surface, cloud: Cloud, crests: Sequence[Edge], length_min_m: float) -> list[Edge]:
    """Return the borders of a sheet as edges, without what runs along a crest."""
    crest = KDTree(np.concatenate([e.position_m for e in crests])) if crests else None
    ends = np.concatenate([_is_end(e) for e in crests]) if crests else np.zeros(0, bool)
    found = []
    for border in borders(surface):
        if border.length_m < length_min_m:
            continue
        for points, closed in _pieces(surface.vertices_m[border.vertices], cloud.mesh_m):
            away, nearest = crest.query(points) if crest else (np.full(len(points), np.inf), None)
            face = _faces(cloud, points, away, closed)
            edge = _edge(points, face, closed)
            # beyond the end of a crest the border goes on alone
            own = (away > DOUBLE * cloud.mesh_m) | (False if nearest is None else ends[nearest])
            found += [part for part in _apart(edge, own) if part.length_m >= length_min_m]
    return found


def _is_end(edge: Edge) -> NDArray[np.bool_]:
    end = np.zeros(len(edge), bool)
    end[[0, -1]] = not edge.closed
    return end


def _pieces(loop: Array, mesh_m: float) -> Iterator[tuple[Array, bool]]:
    """Yield the loop in even steps, smoothed, in one piece or from corner to corner."""
    closed = np.vstack([loop, loop[:1]])
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))]
    n = max(8, round(s[-1] / (STEP * mesh_m)))
    even = np.stack([np.interp(np.arange(n) * s[-1] / n, s, closed[:, k]) for k in range(3)], axis=1)
    window = min(round(SMOOTHING / STEP) // 2 * 2 + 1, (n - 1) // 2 * 2 + 1)
    corners = _corners(even, max(1, round(CORNER_REACH / STEP)))
    if len(corners) == 0:
        smooth: Array = np.asarray(savgol_filter(even, window, 2, axis=0, mode="wrap"), float)
        yield np.vstack([smooth, smooth[:1]]), True
        return
    turned = np.roll(even, -corners[0], axis=0)
    stops = [*(corners - corners[0]).tolist(), n]
    turned = np.vstack([turned, turned[:1]])
    for a, b in pairwise(stops):
        piece = turned[a : b + 1]
        own = min(window, (len(piece) - 1) // 2 * 2 + 1)
        yield np.asarray(savgol_filter(piece, own, min(2, own - 1), axis=0, mode="interp"), float), False


def _corners(points: Array, reach: int) -> NDArray[np.int64]:
    before, behind = points - np.roll(points, reach, axis=0), np.roll(points, -reach, axis=0) - points
    turn = np.arccos(np.clip(np.einsum("ij,ij->i", unit(before), unit(behind)), -1.0, 1.0))
    # a bend as round as the chords are long is none: it goes on turning beyond them
    further = np.maximum(np.roll(turn, reach), np.roll(turn, -reach))
    highest = np.max([np.roll(turn, k) for k in range(-reach, reach + 1)], axis=0)
    return np.flatnonzero((turn == highest) & (turn > CORNER_RAD) & (further < 0.5 * turn))


def _faces(cloud: Cloud, points: Array, to_crest_m: Array, closed: bool) -> Array:
    reach = np.clip(0.7 * to_crest_m, FACE_REACH_MIN * cloud.mesh_m, FACE_REACH * cloud.mesh_m)
    normals = np.empty_like(points)
    for i, near in enumerate(cloud.tree.query_ball_point(points, reach)):
        own = np.asarray(near, np.int64) if near else np.array([cloud.tree.query(points[i])[1]])
        nearest = own[np.argmin(np.linalg.norm(cloud.points_m[own] - points[i], axis=1))]
        same = cloud.normals[own] @ cloud.normals[nearest] > 0.5
        normals[i] = cloud.areas_m2[own] * same @ cloud.normals[own]
    return unit(gaussian_filter1d(unit(normals), 2.0, axis=0, mode="wrap" if closed else "nearest"))


def _edge(points: Array, face: Array, closed: bool) -> Edge:
    edge = Edge(
        position_m=points,
        normal_left=face,
        normal_right=face,
        rounding_m=np.zeros(len(points)),
        closed=closed,
        kind="border",
    )
    along = edge.along
    face = unit(face - np.einsum("ij,ij->i", face, along)[:, None] * along)
    return Edge(
        position_m=points,
        normal_left=face,
        normal_right=np.cross(along, face),
        rounding_m=edge.rounding_m,
        closed=closed,
        kind="border",
    )


def _apart(edge: Edge, keep: NDArray[np.bool_]) -> list[Edge]:
    if keep.all():
        return [edge]
    if edge.closed:
        first = int(np.argmin(keep))
        edge, keep = edge.rolled(first), np.r_[keep[first:-1], keep[: first + 1]]
    arc = edge.arc_m
    steps = np.flatnonzero(np.diff(keep.astype(np.int8), prepend=0, append=0))
    return [edge.at(arc[a:b]) for a, b in zip(steps[::2], steps[1::2], strict=True) if b - a >= 3]
