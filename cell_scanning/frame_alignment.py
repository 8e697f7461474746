"""Lay one depth image onto the surface seen so far: projective point-to-plane alignment, coarse to fine."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial.transform import Rotation

from cell_core.icp import huber_weights
from cell_core.transforms import Array, apply, inverse, rotate
from cell_scanning.camera import Intrinsics

SAMPLE_PX = 4
"""Readings are taken every so many pixels."""
NORMAL_PX = 8
"""Baseline of the slopes that tell a reading's normal."""
VIEW_PX = 2
"""The model is looked at every so many pixels."""
REACH_SHARES = (0.1, 0.05, 0.025)
"""Pairs may lie this share of the median range apart, from the first round to the last but one."""
REACH_SIGMAS, REACH_VOXELS = 4.0, 2.0
"""And so many standard deviations of the noise plus voxels in the last."""
ITERATIONS = (8, 6, 6, 8)
NORMALS_COS_MIN = 0.7
PAIRS_MIN = 150
CONVERGED = 2e-5
"""Turn [rad] and shift as a share of range below which a round ends."""
BROAD_PX = 11
"""Normals are averaged over windows this wide (in the view) where it is asked which motions they fix."""
NORMAL_VOXELS = 2.0
FLATTEST = 0.75
STIFFNESS_FLOOR = 5e-4
STIFFNESS_NOISE = 2.0
"""A direction is fixed when its stiffness exceeds the floor plus so many times what noise of the normals makes up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """A sample of one image."""

    points_m: Array
    """(N, 3) in the camera's frame [m]."""
    normals: Array
    """(N, 3) unit, towards the camera; NaN where the neighbours do not tell."""
    sigma_m: Array
    """(N,) standard deviation along the ray [m]."""

    @property
    def range_m(self) -> float:
        """Median depth [m]; 0 without readings."""
        return float(np.median(self.points_m[:, 2])) if len(self.points_m) else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelView:
    """The surface seen so far, as it looks from a pose."""

    T_part_camera: Array
    """(4, 4) where it is seen from."""
    points_m: NDArray[np.float32]
    """(h, w, 3) in that camera's frame [m]; NaN where there is no surface."""
    normals: NDArray[np.float32]
    """(h, w, 3) unit."""
    step_px: int
    """Pixels of the camera per pixel of the view."""
    voxel_m: float
    """Resolution of the surface [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """Where an image lies on the model, and how far that can be believed."""

    T_part_camera: Array
    """(4, 4) pose."""
    overlap: float
    """Share of the readings behind which the model has a surface."""
    agreement: float
    """Share of those that lie on it."""
    residual_m: float
    """Median distance of readings from the planes they lie on [m]."""
    residual_sigmas: float
    """The same in standard deviations of the noise, of half a voxel at least."""
    loose: tuple[str, ...] = ()
    """Motions that the model does not fix: "slide" or "turn", each once per direction."""


def sampled(depth_m: NDArray[np.float32], camera: Intrinsics) -> Readings:
    """Return a sample of an image's readings with their normals."""
    points = camera.back_project(depth_m)
    s, half = SAMPLE_PX, NORMAL_PX // 2
    rows = slice(half, depth_m.shape[0] - half, s)
    columns = slice(half, depth_m.shape[1] - half, s)
    p = points[rows, columns]
    n_rows, n_columns = p.shape[:2]

    def neighbour(row: int, column: int) -> NDArray[np.float32]:
        return points[half + row :: s, half + column :: s][:n_rows, :n_columns]

    above, below, left, right = (neighbour(*o) for o in ((-half, 0), (half, 0), (0, -half), (0, half)))
    with np.errstate(invalid="ignore", divide="ignore"):
        normals = np.cross(right - left, above - below)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    whole = (above[..., 2] > 0) & (below[..., 2] > 0) & (left[..., 2] > 0) & (right[..., 2] > 0)
    normals[~whole] = np.nan
    towards = np.sum(normals * p, axis=-1) > 0.0
    normals[towards] *= -1.0
    has = p[..., 2] > 0.0
    found = p[has].astype(float)
    return Readings(points_m=found, normals=normals[has].astype(float), sigma_m=camera.axial_noise_m(found[:, 2]))


def align(readings: Readings, view: ModelView, T_part_camera: Array, camera: Intrinsics) -> Alignment:
    """Return the pose that lays the readings onto the model, starting from a pose near it.

    Directions that the model does not fix (sliding on a plane, turning about an axis) keep what the start says.
    """
    range_m = max(readings.range_m, 1e-3)
    X = inverse(view.T_part_camera) @ T_part_camera
    noise_m = REACH_SIGMAS * readings.sigma_m + REACH_VOXELS * view.voxel_m
    broad, noise = _broad_normals(view, camera)
    floor = STIFFNESS_FLOOR + STIFFNESS_NOISE * noise
    loose: tuple[str, ...] = ()
    for level, iterations in enumerate(ITERATIONS):
        share = REACH_SHARES[level] if level < len(REACH_SHARES) else 0.0
        reach_m = np.maximum(share * range_m, noise_m)
        every = 2 if level < 2 else 1
        for _ in range(iterations):
            pairs = _pairs(readings, view, broad, X, camera, reach_m, every)
            if len(pairs.points) < PAIRS_MIN:
                break
            step, loose = _step(pairs, floor)
            X = step @ X
            moved = max(np.linalg.norm(step[:3, 3]) / range_m, np.abs(step[:3, :3] - np.eye(3)).max())
            if moved < CONVERGED:
                break
    pairs = _pairs(readings, view, broad, X, camera, noise_m, 1)
    residual_m = float(np.median(np.abs(pairs.gaps))) if len(pairs.gaps) else np.inf
    usual_m = max(float(np.median(readings.sigma_m)), 0.5 * view.voxel_m) if len(readings.sigma_m) else np.inf
    T = view.T_part_camera @ X
    # products of many poses drift away from rotations
    T[:3, :3] = Rotation.from_matrix(T[:3, :3]).as_matrix()
    return Alignment(
        T_part_camera=T,
        overlap=pairs.n_behind / max(len(readings.points_m), 1),
        agreement=len(pairs.points) / max(pairs.n_behind, 1),
        residual_m=residual_m,
        residual_sigmas=residual_m / usual_m,
        loose=loose,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    points: Array
    normals: Array
    broad: Array
    gaps: Array
    weights: Array
    n_behind: int


def _pairs(
    readings: Readings,
    view: ModelView,
    broad: NDArray[np.float32],
    X: Array,
    camera: Intrinsics,
    reach_m: Array,
    every: int,
) -> _Pairs:
    p = apply(X, readings.points_m[::every])
    h, w = view.points_m.shape[:2]
    z = np.maximum(p[:, 2], 1e-6)
    column = np.rint((camera.fx_px * p[:, 0] / z + camera.cx_px) / view.step_px).astype(np.int64)
    row = np.rint((camera.fy_px * p[:, 1] / z + camera.cy_px) / view.step_px).astype(np.int64)
    inside = np.flatnonzero((p[:, 2] > 0.0) & (column >= 0) & (column < w) & (row >= 0) & (row < h))
    inside = inside[np.isfinite(view.normals[row[inside], column[inside], 0])]
    q = view.points_m[row[inside], column[inside]].astype(float)
    n = view.normals[row[inside], column[inside]].astype(float)
    # a normal's sign depends on which side a voxel is seen from
    agree = np.abs(np.sum(rotate(X, readings.normals[::every][inside]) * n, axis=1))
    near = np.sum((p[inside] - q) ** 2, axis=1) < reach_m[::every][inside] ** 2
    near &= ~(agree < NORMALS_COS_MIN)
    pair, q, n = inside[near], q[near], n[near]
    gaps = np.sum(n * (p[pair] - q), axis=1)
    sigma = readings.sigma_m[::every][pair] + 0.5 * view.voxel_m
    return _Pairs(
        points=p[pair],
        normals=n,
        broad=broad[row[pair], column[pair]].astype(float),
        gaps=gaps,
        weights=huber_weights(gaps / sigma, 0.2) / sigma**2 if len(gaps) else gaps,
        n_behind=len(inside),
    )


def _step(pairs: _Pairs, floor: float) -> tuple[Array, tuple[str, ...]]:
    w = pairs.weights / pairs.weights.sum()
    centre = w @ pairs.points
    arms = pairs.points - centre
    length = max(float(np.sqrt(w @ np.sum(arms**2, axis=1))), 1e-6)
    # which motions are fixed at all is asked of normals without noise, which would hold any of them
    calm = np.concatenate([np.cross(arms / length, pairs.broad), pairs.broad], axis=1)
    values, vectors = np.linalg.eigh(calm.T @ (w[:, None] * calm))
    fixed = vectors[:, values > floor]
    turning = np.sum(vectors[:3, values <= floor] ** 2, axis=0) > 0.5
    J = np.concatenate([np.cross(arms / length, pairs.normals), pairs.normals], axis=1) @ fixed
    step = fixed @ np.linalg.lstsq(J.T @ (w[:, None] * J), J.T @ (w * pairs.gaps), rcond=None)[0]
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(-step[:3] / length).as_matrix()
    T[:3, 3] = centre - step[3:] - T[:3, :3] @ centre
    return T, tuple("turn" if t else "slide" for t in turning)


def _broad_normals(view: ModelView, camera: Intrinsics) -> tuple[NDArray[np.float32], float]:
    """Return the mean normals (h, w, 3) over windows of BROAD_PX, unit, 0 where there are none; and their variance.

    That is of one tangential direction, and told from how much shorter than 1 the mean of unit vectors is.
    """
    total = np.stack(
        [uniform_filter(np.nan_to_num(view.normals[..., i]), BROAD_PX, mode="constant") for i in range(3)], axis=-1
    )
    there = np.isfinite(view.normals[..., 0])
    share = uniform_filter(there.astype(np.float32), BROAD_PX, mode="constant")
    length = np.linalg.norm(total, axis=-1)
    whole = there & (share > 0.99)
    broad = total / np.maximum(length, 1e-9)[..., None]
    if not whole.any():
        return broad, 1.0
    # the flattest windows tell the noise, the others the shape
    scatter = max(1.0 - float(np.quantile(length[whole], FLATTEST)), 0.0)
    # normals of neighbouring voxels err alike
    width_m = BROAD_PX * view.step_px * float(np.median(view.points_m[..., 2][whole])) / camera.fx_px
    return broad, scatter / max((width_m / (NORMAL_VOXELS * view.voxel_m)) ** 2, 1.0)
