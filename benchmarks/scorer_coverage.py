"""Count what a round contact face passes over, from the strokes' positions and axes alone.

Written apart from the planner: points are drawn at random on the triangles, strokes are filled in between their
samples, and every pair of point and pose within reach is tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import trimesh
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

CLOSE_M = 5e-5
"""Distances below this need no second look [m]."""


@dataclass(frozen=True, kw_only=True)
class CoverageScore:
    """Figures over the points a tool can serve."""

    serviceable_area_m2: float
    serviceable_share: float
    """Of the surface's whole area."""
    covered: float
    """Share of the serviceable area passed over at least once."""
    mean_visits: float
    """Passes over a serviceable point, on average; a stroke that comes back to a point counts again."""
    off_surface_m: float
    """Largest distance of a stroke from the surface, between samples as well [m]."""
    length_m: float


def random_points(surface: Surface, n: int, seed: int) -> tuple[Array, Array]:
    """Return n points (n, 3) on the surface, uniform by area, and their triangles' normals (n, 3)."""
    mesh = trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False)
    points, face = trimesh.sample.sample_surface(mesh, n, seed=seed)
    return np.asarray(points, float), np.asarray(mesh.face_normals, float)[face]


def filled(stroke: Stroke, step_m: float) -> tuple[Array, Array]:
    """Return positions and axes of a stroke no farther than `step_m` apart."""
    counts = np.maximum(np.ceil(stroke.step_lengths_m / step_m).astype(int), 1)
    at = np.concatenate([i + np.arange(k) / k for i, k in enumerate(counts)] + [[float(len(stroke) - 1)]])
    index = np.arange(len(stroke))
    position = np.stack([np.interp(at, index, stroke.position_m[:, i]) for i in range(3)], axis=1)
    axis = np.stack([np.interp(at, index, stroke.tool_axis[:, i]) for i in range(3)], axis=1)
    return position, axis / np.linalg.norm(axis, axis=1)[:, None]


def passes(
    points: Array, normals: Array, strokes: Sequence[Stroke], radius_m: float, depth_m: float, incidence_rad: float
) -> np.ndarray:
    """Return how often a round face passes over each point (P,)."""
    tree = KDTree(points)
    reach = float(np.hypot(radius_m, depth_m))
    count = np.zeros(len(points), int)
    for stroke in strokes:
        position, axis = filled(stroke, 0.1 * radius_m)
        for start in range(0, len(position), 2000):
            part = slice(max(start - 1, 0), start + 2000)
            near = tree.query_ball_point(position[part], reach)
            pose = np.repeat(np.arange(len(near)), [len(x) for x in near])
            point = np.concatenate([np.asarray(x, int) for x in near]) if len(pose) else np.empty(0, int)
            step = points[point] - position[part][pose]
            along = np.einsum("ij,ij->i", step, axis[part][pose])
            across2 = np.einsum("ij,ij->i", step, step) - along**2
            facing = -np.einsum("ij,ij->i", normals[point], axis[part][pose])
            hit = (across2 <= radius_m**2) & (np.abs(along) <= depth_m) & (facing >= np.cos(incidence_rad))
            point, pose = point[hit], pose[hit]
            order = np.lexsort((pose, point))
            point, pose = point[order], pose[order]
            # a pass begins where the pose before did not touch the point; the first pose of a later block only links
            begins = np.r_[True, (np.diff(point) != 0) | (np.diff(pose) > 1)][: len(point)]
            linked = (pose == 0) if start > 0 else np.zeros(len(point), bool)
            np.add.at(count, point[begins & ~linked], 1)
    return count


def _distances(surface: Surface, lines: Sequence[Array]) -> float:
    """Return the largest distance [m] of points on lines (N, 3) each from the surface.

    A single-precision query finds the points that may be far; on needles it errs by tenths of a millimetre, so those
    are measured again in double precision against every triangle whose box is as near as it said.
    """
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.float32(surface.vertices_m), np.uint32(surface.triangles))
    corners = surface.vertices_m[surface.triangles]
    low, high = corners.min(axis=1), corners.max(axis=1)
    farthest = 0.0
    for points in lines:
        rough = scene.compute_distance(np.float32(points)).numpy()
        for k in np.argsort(-rough):
            if rough[k] <= max(farthest, CLOSE_M):
                farthest = max(farthest, float(rough[k]))
                break
            box = np.linalg.norm(np.maximum(np.maximum(low - points[k], points[k] - high), 0.0), axis=1)
            near = corners[box <= rough[k] + 1e-6]
            at = trimesh.triangles.closest_point(near, np.broadcast_to(points[k], (len(near), 3)))
            farthest = max(farthest, float(np.linalg.norm(at - points[k], axis=1).min()))
    return farthest


def score_coverage(
    surface: Surface,
    points: Array,
    normals: Array,
    serviceable: np.ndarray,
    strokes: Sequence[Stroke],
    *,
    radius_m: float,
    depth_m: float,
    incidence_rad: float,
) -> CoverageScore:
    """Return the figures of strokes over points (P, 3) of which some are serviceable (P,)."""
    count = passes(points[serviceable], normals[serviceable], strokes, radius_m, depth_m, incidence_rad)
    distance = _distances(surface, [filled(s, 0.001)[0] for s in strokes])
    share = float(serviceable.mean())
    return CoverageScore(
        serviceable_area_m2=share * surface.area_m2,
        serviceable_share=share,
        covered=float((count > 0).mean()) if len(count) else 0.0,
        mean_visits=float(count.mean()) if len(count) else 0.0,
        off_surface_m=distance,
        length_m=float(sum(s.length_m for s in strokes)),
    )
