"""Edges of a scan: crests along which smoothed normals turn over, and the smoothed rims of one-sided sheets.

A scan's edge is spread over two or three triangles and its mesh edges zigzag, so lines are traced through space: at a
place the normals of the triangles around tell the way along the edge (they do not vary along it), the two faces (the
extremes of their spread across it) and where between them the crest lies. A step is taken along the edge, the place put
right, and so on until the edge ends, turns a corner or closes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import savgol_filter

from cell_core.meshes.topology import Joints
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from grinding_planner.edge import Edge
from grinding_planner.edge_cloud import Cloud, around, chunks, cloud_of

BALL = 2.6
"""Triangles within so many mesh edges tell what a place is like."""
WIDE_BALL = 4.5
STEP = 0.7
SEED_TURN = 0.9
"""A trace may begin where the spread of normals says so much of the least angle; seeds tell less than the faces do."""
LENGTHWISE_MAX = 0.35
"""Variance of normals along an edge over that across it: more at corners, and in noise."""
FACE_QUANTILE = 0.12
"""Share of the area on either side that tells a face's normal."""
TURN_MAX_RAD = 0.7
VISITED = 1.4


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """What the surface is like at a place on a crest."""

    point_m: Array
    along: Array
    left: Array
    right: Array
    turn_rad: float
    rounding_m: float


def crest_edges(cloud: Cloud, angle_min_rad: float, length_min_m: float) -> list[Edge]:
    """Return the crests of a scan whose faces turn by more than an angle, in order of how sharp they begin."""
    turn = _seed_turns(cloud)
    seeds = np.flatnonzero(turn > SEED_TURN * angle_min_rad)
    taken = np.zeros(len(turn), bool)
    found: list[Edge] = []
    for seed in seeds[np.argsort(-turn[seeds], kind="stable")]:
        if taken[seed]:
            continue
        places, closed = _trace(cloud, cloud.points_m[seed], angle_min_rad, taken)
        if len(places) < 5:
            continue
        # all of the round belongs to this crest
        reach = [max(VISITED * cloud.mesh_m, 0.5 * p.turn_rad * p.rounding_m + 0.7 * cloud.mesh_m) for p in places]
        near = cloud.tree.query_ball_point(np.array([p.point_m for p in places]), np.array(reach))
        taken[np.unique(np.concatenate([np.asarray(t, np.int64) for t in near]))] = True
        edge = _edge(places, closed)
        if edge.length_m >= length_min_m and np.mean([p.turn_rad for p in places]) > angle_min_rad:
            found.append(edge)
    return found


def _seed_turns(cloud: Cloud) -> Array:
    turn = np.zeros(len(cloud.points_m))
    for part in chunks(len(turn)):
        near, weight = around(cloud.tree, cloud.points_m[part], BALL * cloud.mesh_m, cloud.areas_m2)
        normals = cloud.normals[near]
        weight = weight * (np.einsum("nki,ni->nk", normals, cloud.normals[part]) > -0.3)
        weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-15)
        tensor = np.einsum("nk,nki,nkj->nij", weight, normals, normals)
        values = np.linalg.eigvalsh(tensor)
        mean = np.einsum("nk,nki->ni", weight, normals)
        middle = np.einsum("nk,nki->ni", weight, cloud.points_m[near])
        spread = np.einsum("nk,nki,nki->n", weight, normals - mean[:, None], cloud.points_m[near] - middle[:, None])
        angle = 2.0 * np.arctan(np.sqrt(np.maximum(values[:, 1], 0.0) / np.maximum(values[:, 2], 1e-15)))
        line = (spread > 0.0) & (values[:, 0] < LENGTHWISE_MAX * values[:, 1])
        turn[part] = np.where(line, angle, 0.0)
    return turn


def _place(cloud: Cloud, at_m: Array, along: Array | None) -> _Place | None:
    """Return the place on the crest next to a point, or None where there is no edge."""
    first = _seen(cloud, at_m, along, BALL)
    # once more from the crest itself, where both faces are seen alike
    place = None if first is None else _seen(cloud, first.point_m, first.along, BALL)
    if place is None:
        return None
    # the faces of a wide round lie further out, a narrow face is lost among what lies around it
    wide = _seen(cloud, place.point_m, place.along, WIDE_BALL)
    if wide is None or wide.turn_rad <= place.turn_rad:
        return place
    return replace(wide, point_m=place.point_m, along=place.along)


def _seen(cloud: Cloud, at_m: Array, along: Array | None, ball: float) -> _Place | None:
    reach = ball * cloud.mesh_m
    near = np.asarray(cloud.tree.query_ball_point(at_m, reach), np.int64)
    if len(near) < 8:
        return None
    points, normals = cloud.points_m[near] - at_m, cloud.normals[near]
    distance = np.linalg.norm(points, axis=1)
    weight = cloud.areas_m2[near] * (1.0 - (distance / reach) ** 2)
    weight = weight * (normals @ normals[np.argmin(distance)] > -0.5)
    weight /= weight.sum()
    values, vectors = np.linalg.eigh(np.einsum("k,ki,kj->ij", weight, normals, normals))
    if values[0] > LENGTHWISE_MAX * values[1]:
        return None
    way = vectors[:, 0] if along is None or vectors[:, 0] @ along >= 0.0 else -vectors[:, 0]
    up = weight @ normals
    up = unit(up - up @ way * way)
    side = np.cross(way, up)
    angle = np.arctan2(normals @ side, normals @ up)
    low, high = _quantiles(angle, weight)
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    up, side = np.cos(middle) * up + np.sin(middle) * side, np.cos(middle) * side - np.sin(middle) * up
    y, z = points @ side, points @ up
    crest = _divide(y, angle > middle, weight)
    if abs(crest) >= 0.8 * reach or half <= 0.05:
        return None
    point = cloud.caster.closest((at_m + crest * side)[None])[0][0]
    apex = _apex(y - crest, z, angle - middle, half, weight) - float((point - at_m) @ up)
    return _Place(
        point_m=point,
        along=way,
        left=np.cos(half) * up - np.sin(half) * side,
        right=np.cos(half) * up + np.sin(half) * side,
        turn_rad=2.0 * half,
        # the faces would meet this far above the crest of an edge rounded by r: r (1 / cos(half) - 1)
        rounding_m=max(apex, 0.0) / (1.0 / np.cos(min(half, 1.4)) - 1.0),
    )


def _quantiles(values: Array, weight: Array) -> tuple[float, float]:
    order = np.argsort(values)
    share = np.cumsum(weight[order])
    low, high = np.searchsorted(share, [FACE_QUANTILE, 1.0 - FACE_QUANTILE])
    return float(values[order[low]]), float(values[order[min(high, len(order) - 1)]])


def _divide(y: Array, right: NDArray[np.bool_], weight: Array) -> float:
    """Return the place across the edge that best parts the left face's triangles from the right's."""
    order = np.argsort(y)
    signed = np.where(right[order], -weight[order], weight[order])
    # wrong ones with the border behind each triangle: right ones before it, left ones behind
    best = int(np.argmax(np.cumsum(signed)))
    if best == len(y) - 1:
        return np.inf
    return float(0.5 * (y[order[best]] + y[order[best + 1]]))


def _apex(y: Array, z: Array, angle: Array, half: float, weight: Array) -> float:
    """Return how high the two faces would meet over the crest [m]."""
    offsets = []
    for sign in (-1.0, 1.0):
        own = weight * (sign * angle > 0.7 * half)
        if own.sum() <= 0.0:
            return 0.0
        offsets.append(float(own @ (np.cos(half) * z + sign * np.sin(half) * y) / own.sum()))
    return 0.5 * (offsets[0] + offsets[1]) / float(np.cos(half))


def _trace(cloud: Cloud, seed_m: Array, angle_min_rad: float, taken: NDArray[np.bool_]) -> tuple[list[_Place], bool]:
    first = _place(cloud, seed_m, None)
    if first is None or first.turn_rad < angle_min_rad:
        return [], False
    step = STEP * cloud.mesh_m
    halves: list[list[_Place]] = []
    for sign in (1.0, -1.0):
        places, at, along = [], first.point_m, sign * first.along
        while len(places) < 100_000:
            place = _place(cloud, at + step * along, along)
            if place is None or place.turn_rad < 0.8 * angle_min_rad or place.along @ along < np.cos(TURN_MAX_RAD):
                break
            moved = place.point_m - at
            if moved @ along < 0.3 * step or taken[cloud.tree.query(place.point_m)[1]]:
                break
            if len(places) > 5 and np.linalg.norm(place.point_m - first.point_m) < 1.01 * step:
                return [first, *places], True
            places.append(place)
            at, along = place.point_m, place.along
        halves.append(places)
    back = [
        _Place(
            point_m=p.point_m, along=-p.along, left=p.right, right=p.left, turn_rad=p.turn_rad, rounding_m=p.rounding_m
        )
        for p in reversed(halves[1])
    ]
    return [*back, first, *halves[0]], False


def _edge(places: list[_Place], closed: bool) -> Edge:
    points, left, right = (np.array([getattr(p, name) for p in places]) for name in ("point_m", "left", "right"))
    rounding = np.array([p.rounding_m for p in places])
    mode = "wrap" if closed else "interp"
    window = min(9, (len(points) - 1) // 2 * 2 + 1)
    points: Array = np.asarray(savgol_filter(points, window, 2, axis=0, mode=mode), float)
    soft = "wrap" if closed else "nearest"
    left, right = (unit(gaussian_filter1d(n, 2.0, axis=0, mode=soft)) for n in (left, right))
    rounding = gaussian_filter1d(median_filter(rounding, 9, mode=soft), 3.0, mode=soft)
    if closed:
        points, left, right = (np.vstack([a, a[:1]]) for a in (points, left, right))
        rounding = np.r_[rounding, rounding[0]]
    return Edge(
        position_m=points, normal_left=left, normal_right=right, rounding_m=rounding, closed=closed, kind="round"
    )  # fmt: skip


def scan_edges(surface: Surface, met: Joints, angle_min_rad: float, length_min_m: float) -> list[Edge]:
    """Return the crests of a scan and those of its borders that are not a crest's already."""
    from grinding_planner.edge_rims import rim_edges

    cloud = cloud_of(surface, met)
    crests = crest_edges(cloud, angle_min_rad, length_min_m)
    return crests + rim_edges(surface, cloud, crests, length_min_m)
