"""An independent judge of spray plans: the film on a raw mesh from what toolpath.json says alone.

Written apart from cell_core's footprint and coverage: it integrates the gun model over time in steps of its own, on
points of its own, and casts its own rays. Film rate, Wu and Tang, Robotica 41 (2023) 1794, eqs 2-4:
q = q0(x, y) (h0 / l)^2 cos(alpha) / cos^3(theta), nothing where the surface turns away or the nozzle is hidden.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scorer_guns import cone_tangent, density, detail_m, half_axes_m, reach_m

from cell_core.toolpath import Stroke

Array = NDArray[np.float64]
Instants = tuple[Array, Array, Array, Array, Array]
"""Nozzle, axis, travel (N, 3), the seconds (N,) each instant stands for and the flow (N,)."""

LIFT_M = 5e-5
"""Rays start this far above the point they serve, along its normal [m]."""
FARTHEST_STANDOFFS = 4.0
BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class DensePoints:
    """Centroids of the pieces a mesh is cut into."""

    points_m: Array
    normals: Array
    areas_m2: Array


@dataclass(frozen=True, kw_only=True)
class Score:
    """Area-weighted figures over the whole mesh."""

    mean_m: float
    cv: float
    min_m: float
    max_m: float
    in_15_percent_area_fraction: float
    max_deviation: float
    """Largest |film / mean - 1|."""
    length_m: float
    duration_s: float
    speed_low_m_per_s: float
    speed_high_m_per_s: float
    standoff_low_m: float
    """Least distance along the tool axis where it meets the mesh."""
    standoff_high_m: float
    nearest_low_m: float
    """Least distance from a spraying nozzle to the mesh."""
    nearest_high_m: float
    incidence_high_rad: float
    """Largest angle between tool axis and the normal it meets."""


def dense_points(vertices_m: Array, triangles: NDArray[np.int64], pitch_m: float) -> DensePoints:
    """Return points about `pitch_m` apart: each triangle is cut into n x n equal ones, which keep its normal."""
    corners = vertices_m[triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    parts = np.maximum(np.ceil(edges / (1.5 * pitch_m)), 1).astype(int)
    points, normals, areas = [], [], []
    for n in np.unique(parts):
        a, b, c = corners[parts == n].transpose(1, 0, 2)
        cross = np.cross(b - a, c - a)
        double = np.linalg.norm(cross, axis=1)
        sound = double > 0.0
        i, j = (g.ravel() for g in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
        up, down = i + j < n, i + j < n - 1
        s = np.r_[i[up] + 1.0 / 3.0, i[down] + 2.0 / 3.0] / n
        t = np.r_[j[up] + 1.0 / 3.0, j[down] + 2.0 / 3.0] / n
        where = a[sound, None] + s[:, None] * (b - a)[sound, None] + t[:, None] * (c - a)[sound, None]
        points.append(where.reshape(-1, 3))
        normals.append(np.repeat(cross[sound] / double[sound, None], len(s), axis=0))
        areas.append(np.repeat(0.5 * double[sound] / n**2, len(s)))
    return DensePoints(
        points_m=np.concatenate(points), normals=np.concatenate(normals), areas_m2=np.concatenate(areas)
    )


def film_of(
    points: DensePoints,
    vertices_m: Array,
    triangles: NDArray[np.int64],
    strokes: Sequence[Stroke],
    tool: Mapping[str, Any],
    *,
    step_m: float,
) -> Array:
    """Return the film [m] at the points; `step_m` is the longest path between two instants."""
    return film_of_instants(points, scene_of(vertices_m, triangles), (instants(s, step_m) for s in strokes), tool)


def film_of_instants(points: DensePoints, scene: Any, runs: Iterable[Instants], tool: Mapping[str, Any]) -> Array:
    """Return the film [m] that runs of instants, as `instants` gives them, leave at the points of a `scene_of`."""
    h0, (half_x, half_y) = tool["reference_standoff_m"], half_axes_m(tool)
    lifted = points.points_m + LIFT_M * points.normals
    tree = KDTree(points.points_m)
    reach = reach_m(tool, FARTHEST_STANDOFFS)
    film = np.zeros(len(points.points_m))

    def spray(near: NDArray[np.int64], nozzles: Array, axes: Array, travels: Array, volumes: Array) -> None:
        for nozzle, axis, travel, volume in zip(nozzles, axes, travels, volumes, strict=True):
            ray = points.points_m[near] - nozzle
            depth = ray @ axis
            ahead = np.flatnonzero(depth > 1e-3)
            scale = h0 / depth[ahead]
            x, y = scale * (ray[ahead] @ travel), scale * (ray[ahead] @ np.cross(axis, travel))
            inside = (x / half_x) ** 2 + (y / half_y) ** 2 < 1.0
            kept = ahead[inside]
            rate = _rate(ray[kept], depth[kept], x[inside], y[inside], points.normals[near[kept]], tool)
            hit, rate = near[kept[rate > 0.0]], rate[rate > 0.0]
            rays = np.concatenate([lifted[hit], nozzle - lifted[hit]], axis=1).astype(np.float32)
            free = ~scene.test_occlusions(rays, tnear=0.0, tfar=1.0).numpy()
            film[hit[free]] += rate[free] * volume

    for nozzle, axis, travel, seconds, flow in runs:
        for start in range(0, len(nozzle), BATCH):
            part = slice(start, start + BATCH)
            if not np.any(flow[part] > 0.0):
                continue
            middle = nozzle[part].mean(axis=0)
            spread = np.linalg.norm(nozzle[part] - middle, axis=1).max()
            near = np.array(tree.query_ball_point(middle, reach + spread), np.int64)
            near = near[_ahead(points.points_m[near], nozzle[part], axis[part], cone_tangent(tool))]
            if len(near) == 0:
                continue
            spray(near, nozzle[part], axis[part], travel[part], flow[part] * seconds[part])
    return film


def _ahead(points_m: Array, nozzle: Array, axis: Array, tangent: float) -> NDArray[np.bool_]:
    """Return which points may lie in the cone, of that half-opening tangent, of any of a few neighbouring poses."""
    mean = axis.mean(axis=0)
    mean /= np.linalg.norm(mean)
    opening = np.arctan(tangent) + float(np.arccos(np.clip((axis @ mean).min(), -1.0, 1.0)))
    if opening > 1.4:
        return np.ones(len(points_m), bool)
    # a cone drawn back until it holds every nozzle of the batch
    middle = nozzle.mean(axis=0)
    spread = np.linalg.norm(nozzle - middle, axis=1).max()
    ray = points_m - (middle - spread / np.sin(opening) * mean)
    return ray @ mean >= np.cos(opening) * np.linalg.norm(ray, axis=1)


def _rate(ray: Array, depth: Array, x: Array, y: Array, normals: Array, tool: Mapping[str, Any]) -> Array:
    """Return film growth per volume flow [m/s per m3/s] of points inside the cone."""
    h0 = tool["reference_standoff_m"]
    # mass balance: the integral of q0 over the plane is flow x solids x efficiency
    q0 = tool["transfer_efficiency"] * tool["solids_volume_fraction"] * density(tool, x, y)
    length = np.linalg.norm(ray, axis=1)
    cos_alpha = np.maximum(-np.sum(ray * normals, axis=1) / length, 0.0)
    cos_theta = depth / length
    return q0 * (h0 / length) ** 2 * cos_alpha / cos_theta**3


def instants(stroke: Stroke, step_m: float) -> Instants:
    """Return nozzle, axis, travel (N, 3), the seconds (N,) each stands for and the flow (N,), 0 while off.

    The file's rules: acceleration is constant between samples, axis and process value are linear, `on` switches half
    way between two samples.
    """
    steps = np.linalg.norm(np.diff(stroke.position_m, axis=0), axis=1)
    n = 2 * max(int(np.ceil(steps.max() / (2.0 * step_m))), 1)
    at = (np.arange(n) + 0.5) / n
    edge = np.arange(n + 1) / n
    v0, v1 = stroke.speed_m_per_s[:-1, None], stroke.speed_m_per_s[1:, None]
    # constant acceleration: time to a share of the step is 2 s / (v0 + v(s))
    speed = np.sqrt(v0**2 + edge * (v1**2 - v0**2))
    clock = 2.0 * edge * steps[:, None] / (v0 + speed)
    seconds = np.diff(clock, axis=1).ravel()

    def between(values: Array) -> Array:
        first, second = values[:-1, None], values[1:, None]
        share = at[None, :, None] if values.ndim == 2 else at[None, :]
        mixed = first + share * (second - first)
        return mixed.reshape(-1, *values.shape[1:])

    nozzle, axis, travel = between(stroke.position_m), between(stroke.tool_axis), between(stroke.travel)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    travel = travel - np.sum(travel * axis, axis=1, keepdims=True) * axis
    travel /= np.linalg.norm(travel, axis=1, keepdims=True)
    on = np.where(at < 0.5, stroke.on[:-1, None], stroke.on[1:, None]).ravel()
    return nozzle, axis, travel, seconds, np.where(on, between(stroke.process_value), 0.0)


def score(
    vertices_m: Array,
    triangles: NDArray[np.int64],
    strokes: Sequence[Stroke],
    tool: Mapping[str, Any],
    *,
    pitch_m: float = 0.004,
    step_m: float | None = None,
) -> tuple[Score, DensePoints, Array]:
    """Return the figures, the points they were taken at and the film [m] there.

    Args:
        pitch_m: about the distance of points; a quarter of a planner's area per point, or less.
        step_m: longest path between two instants; None: a 28th of the pattern's smallest half width.
    """
    points = dense_points(vertices_m, triangles, pitch_m)
    film = film_of(points, vertices_m, triangles, strokes, tool, step_m=step_m or detail_m(tool) / 28.0)
    weights = points.areas_m2 / points.areas_m2.sum()
    mean = float(weights @ film)
    deviation = film / mean - 1.0
    speeds = np.concatenate([s.speed_m_per_s for s in strokes])
    standoff, nearest, incidence = _standoffs(vertices_m, triangles, strokes)
    return (
        Score(
            mean_m=mean,
            cv=float(np.sqrt(weights @ deviation**2)),
            min_m=float(film.min()),
            max_m=float(film.max()),
            in_15_percent_area_fraction=float(weights[np.abs(deviation) <= 0.15].sum()),
            max_deviation=float(np.abs(deviation).max()),
            length_m=sum(s.length_m for s in strokes),
            duration_s=float(sum(s.times_s[-1] for s in strokes)),
            speed_low_m_per_s=float(speeds.min()),
            speed_high_m_per_s=float(speeds.max()),
            standoff_low_m=float(standoff.min()),
            standoff_high_m=float(standoff.max()),
            nearest_low_m=float(nearest.min()),
            nearest_high_m=float(nearest.max()),
            incidence_high_rad=float(incidence.max()),
        ),
        points,
        film,
    )


def scene_of(vertices_m: Array, triangles: NDArray[np.int64]) -> Any:
    """Return the mesh for rays."""
    scene: Any = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.asarray(vertices_m, np.float32), np.asarray(triangles, np.uint32))
    return scene


def _standoffs(
    vertices_m: Array, triangles: NDArray[np.int64], strokes: Sequence[Stroke]
) -> tuple[Array, Array, Array]:
    """Return distances along the axes of spraying samples and to the nearest point, and incidence where axes meet.

    Axes that miss the mesh or meet its back are left out, but for the nearest point.
    """
    scene = scene_of(vertices_m, triangles)
    nozzle = np.concatenate([s.position_m[s.on] for s in strokes])
    axis = np.concatenate([s.tool_axis[s.on] for s in strokes])
    answer = scene.cast_rays(np.concatenate([nozzle, axis], axis=1).astype(np.float32))
    distance = answer["t_hit"].numpy().astype(float)
    cos = -np.einsum("ij,ij->i", answer["primitive_normals"].numpy().astype(float), axis)
    met = np.isfinite(distance) & (cos > 0.0)
    nearest = scene.compute_distance(nozzle.astype(np.float32)).numpy().astype(float)
    return distance[met], nearest, np.arccos(np.clip(cos[met], 0.0, 1.0))
