"""Which measurements stand behind each vertex of a fused surface."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from cell_core.transforms import Array, apply, inverse
from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import FilteredDepth

VIEW_DISTANCE_M = 0.03
VIEW_ANGLE_RAD = 0.1
"""Poses nearer to each other than this count as one view."""
WORTH_RANGE_M = 0.5
N_THREADS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Support:
    """Per-vertex evidence."""

    confidence: Array
    """(V,) how many head-on readings at 0.5 m the vertex's readings are worth, by variance."""
    view_count: Array
    """(V,) how many different views measured the vertex."""
    frame_count: Array
    """(V,) how many frames measured it."""
    residual_m: Array
    """(V,) root mean square distance of its readings along the ray [m]; 0 without any."""


def view_labels(poses: Sequence[Array]) -> NDArray[np.int64]:
    """Number the distinct views (F,) among T_part_camera poses; a camera that moved little stays in one view."""
    if len(poses) < 2:
        return np.zeros(len(poses), np.int64)
    T = np.asarray(poses)
    # chordal distance of directions, scaled so that both bounds become 1
    features = np.concatenate(
        [T[:, :3, 3] / VIEW_DISTANCE_M, T[:, :3, 2] / VIEW_ANGLE_RAD, T[:, :3, 0] / VIEW_ANGLE_RAD], axis=1
    )
    return fcluster(linkage(features, "complete"), 1.5, "distance").astype(np.int64) - 1


def measure_support(
    vertices_m: Array,
    normals: Array,
    depths: Sequence[FilteredDepth],
    poses: Sequence[Array],
    camera: Intrinsics,
    tolerance_m: float,
) -> Support:
    """Count the readings within `tolerance_m` along the ray of each vertex that faces the camera."""
    labels = view_labels(poses)
    n = len(vertices_m)
    confidence, squares, frames, views = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    order = np.argsort(labels, kind="stable").tolist()
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = pool.map(lambda f: _readings(vertices_m, normals, depths[f], poses[f], camera, tolerance_m), order)
        for _, of_label in groupby(zip(labels[order].tolist(), found, strict=True), lambda item: item[0]):
            seen = np.zeros(n, bool)
            for _, (hit, worth, residual) in of_label:
                seen[hit] = True
                confidence[hit] += worth
                squares[hit] += residual**2
                frames[hit] += 1.0
            views += seen
    return Support(
        confidence=confidence,
        view_count=views,
        frame_count=frames,
        residual_m=np.sqrt(squares / np.maximum(frames, 1.0)),
    )


def _readings(
    vertices_m: Array,
    normals: Array,
    depth: FilteredDepth,
    T_part_camera: Array,
    camera: Intrinsics,
    tolerance_m: float,
) -> tuple[NDArray[np.int64], Array, Array]:
    p = apply(inverse(T_part_camera), vertices_m)
    ahead = np.flatnonzero(
        (p[:, 2] > camera.range_m[0]) & (np.einsum("ij,ij->i", normals, T_part_camera[:3, 3] - vertices_m) > 0.0)
    )
    pixels = np.rint(camera.project(p[ahead])).astype(np.int64)
    inside = (
        (pixels[:, 0] >= 0) & (pixels[:, 0] < camera.width_px) & (pixels[:, 1] >= 0) & (pixels[:, 1] < camera.height_px)
    )
    ahead, pixels = ahead[inside], pixels[inside]
    reading = depth.depth_m[pixels[:, 1], pixels[:, 0]]
    residual = reading - p[ahead, 2]
    near = (reading > 0.0) & (np.abs(residual) < tolerance_m)
    cos = depth.cos_incidence[pixels[near, 1], pixels[near, 0]]
    # axial noise grows with the square of range
    worth = (cos * (WORTH_RANGE_M / reading[near]) ** 2) ** 2
    return ahead[near], worth, residual[near]


def frame_spread(poses: Sequence[Array]) -> float:
    """Return the median number of frames per distinct view."""
    labels = view_labels(poses)
    return float(np.median(np.bincount(labels))) if len(labels) else 0.0
