"""Place one surface on another without a guess: features and sampled consensus, then point-to-plane alignment."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import open3d as o3d
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.icp import huber_weights, point_to_plane_step
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, rotate

N_POINTS_QUICK, N_POINTS = 800, 4000
"""Samples of the source that ranking and final alignment work on."""
QUICK_SHARES, FINE_SHARES = (0.05, 0.02, 0.01), (0.02, 0.008, 0.004)
"""Reach of pairing, step by step, as shares of the diagonal."""
ITERATIONS_MAX = 20
CONVERGED_SHARE = 2e-6
N_REFINED = 3
"""Different poses that are aligned to the end."""
N_TRIALS = 4
"""Independent runs of the coarse step; their results compete."""
COARSE_SHARE = 0.025
"""Spacing of the coarse step as a share of the smaller surface's diagonal."""
OVERLAP_SHARE = 0.004
"""Samples within this share of the diagonal, facing the same way, overlap."""
OVERLAP_MIN = 0.4
AMBIGUOUS_SHARE = 0.97
"""A second, different pose that overlaps at least this share of the best makes the result ambiguous."""
DIFFERENT_SHARE = 0.04
"""Poses that move the source's points this share of the diagonal apart are different ones."""
NORMAL_COS_MIN = 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """Where the source lies on the target."""

    T_target_source: Array
    """(4, 4) source coordinates in, target coordinates out."""
    rms_m: float
    """Root mean square distance [m] of overlapping samples to the target's surface."""
    overlap_fraction: float
    """Share of the source's area that lies on the target."""
    ambiguous: bool
    """A clearly different pose fits nearly as well."""
    second_overlap_fraction: float
    """Overlap of the best clearly different pose; 0 when none was found."""


def register(source: Surface, target: Surface, *, overlap_min: float = OVERLAP_MIN, seed: int = 0) -> Registration:
    """Find the rigid motion that lays `source` (a scan, perhaps partial) on `target` (its CAD, or another scan).

    Coarse: FPFH features matched by RANSAC at several random starts, plus half and quarter turns of the best about the
    target's own axes, which uncover symmetric parts. Fine: point-to-plane on the target's triangles at shrinking reach.

    Raises:
        InputRefusedError: less than `overlap_min` of the source comes to lie on the target; `facts` carries
            the best try.
    """
    diagonal_m = float(min(np.linalg.norm(np.ptp(s.bounds_m, axis=0)) for s in (source, target)))
    sizes = [float(np.linalg.norm(np.ptp(s.bounds_m, axis=0))) for s in (source, target)]
    if sizes[0] > 20.0 * sizes[1] or sizes[1] > 20.0 * sizes[0]:
        raise InputRefusedError(
            f"registration: source is {sizes[0]:.4g} m and target {sizes[1]:.4g} m across: do their units agree?"
        )
    quick, fine = _Fine(source, target, diagonal_m, N_POINTS_QUICK), _Fine(source, target, diagonal_m, N_POINTS)
    tries = [quick.run(T, QUICK_SHARES) for T in _coarse_poses(source, target, COARSE_SHARE * diagonal_m, seed)]
    tries += [quick.run(T, QUICK_SHARES) for T in _turned(min(tries, key=_rank).T_target_source, target)]
    kept: list[Registration] = []
    for candidate in sorted(tries, key=_rank):
        if len(kept) < N_REFINED and all(_differ(candidate, k, source, diagonal_m) for k in kept):
            kept.append(candidate)
    best = sorted((fine.run(k.T_target_source, FINE_SHARES) for k in kept), key=_rank)
    winner = best[0]
    if winner.overlap_fraction < overlap_min:
        raise InputRefusedError(
            f"registration: only {winner.overlap_fraction:.2f} of the source lies on the target, at least {overlap_min}"
            " needed: another part, too little overlap or too much clutter",
            overlap_fraction=winner.overlap_fraction,
            T_target_source=winner.T_target_source,
        )
    others = [b for b in best[1:] if _differ(b, winner, source, diagonal_m)]
    second = others[0].overlap_fraction if others else 0.0
    return Registration(
        T_target_source=winner.T_target_source,
        rms_m=winner.rms_m,
        overlap_fraction=winner.overlap_fraction,
        ambiguous=second >= AMBIGUOUS_SHARE * winner.overlap_fraction,
        second_overlap_fraction=second,
    )


def align(source: Surface, target: Surface, reach_m: float, mask: NDArray[np.bool_] | None = None) -> Registration:
    """Return the small correction that lays `source` on `target` from where they are, within `reach_m` [m].

    Args:
        source: moved.
        target: stays.
        reach_m: pairs farther apart do not count.
        mask: (V,) vertices of the source to use; None for all.
    """
    fine = _Fine(source, target, reach_m / OVERLAP_SHARE, N_POINTS, mask)
    T = fine.descend(np.eye(4), (reach_m, 0.3 * reach_m))
    return fine.judged(T)


def without_table(surface: Surface, clearance_m: float = 0.004, share_min: float = 0.15, seed: int = 0) -> Surface:
    """Return what stands on the largest plane: that plane cut away with `clearance_m`, what lies behind it too.

    Unchanged when no plane holds `share_min` of the area. The plane's normal decides which side stands on it.
    """
    points, normals = _samples(surface, 20_000)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    o3d.utility.random.seed(seed)
    plane, inliers = cloud.segment_plane(0.5 * clearance_m, 3, 2000)
    if len(inliers) < share_min * len(points):
        return surface
    normal, offset = np.asarray(plane[:3]), plane[3]
    if np.mean(normals[inliers] @ normal) < 0.0:
        normal, offset = -normal, -offset
    above = surface.vertices_m @ normal + offset > clearance_m
    kept = above[surface.triangles].all(axis=1)
    if not kept.any():
        raise InputRefusedError("scan: nothing stands on the table plane")
    return surface.select_triangles(kept)


def _rank(candidate: Registration) -> tuple[float, float]:
    return (-round(candidate.overlap_fraction, 2), candidate.rms_m)


def _samples(surface: Surface, n: int) -> tuple[Array, Array]:
    # low-discrepancy positions along the running area: even, and the same every time
    area = np.cumsum(surface.triangle_areas_m2)
    triangle = np.searchsorted(area, (np.arange(n) + 0.5) / n * area[-1])
    u, v = (np.arange(n) * 0.7548776662466927) % 1.0, (np.arange(n) * 0.5698402909980532) % 1.0
    fold = u + v > 1.0
    u, v = np.where(fold, 1.0 - u, u), np.where(fold, 1.0 - v, v)
    a, b, c = (surface.vertices_m[surface.triangles[triangle, i]] for i in range(3))
    return a + u[:, None] * (b - a) + v[:, None] * (c - a), surface.triangle_normals[triangle]


def _coarse_poses(source: Surface, target: Surface, spacing_m: float, seed: int) -> list[Array]:
    clouds, features = [], []
    for surface in (source, target):
        n = int(np.clip(8.0 * surface.area_m2 / spacing_m**2, 2000, 60_000))
        points, normals = _samples(surface, n)
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
        cloud.normals = o3d.utility.Vector3dVector(normals)
        cloud = cast(Any, cloud).voxel_down_sample(spacing_m)
        cloud.normalize_normals()
        clouds.append(cloud)
        search = o3d.geometry.KDTreeSearchParamHybrid(radius=5.0 * spacing_m, max_nn=100)
        features.append(cast(Any, o3d.pipelines.registration.compute_fpfh_feature)(cloud, search))
    poses = []
    registration = o3d.pipelines.registration
    for trial in range(N_TRIALS):
        o3d.utility.random.seed(seed * N_TRIALS + trial)
        result = registration.registration_ransac_based_on_feature_matching(
            clouds[0],
            clouds[1],
            features[0],
            features[1],
            trial % 2 == 0,
            1.5 * spacing_m,
            registration.TransformationEstimationPointToPoint(False),
            3,
            [
                registration.CorrespondenceCheckerBasedOnEdgeLength(0.9),
                registration.CorrespondenceCheckerBasedOnDistance(1.5 * spacing_m),
            ],
            registration.RANSACConvergenceCriteria(200_000, 0.999),
        )
        poses.append(np.array(result.transformation))
    return poses


def _turned(T: Array, target: Surface) -> list[Array]:
    # turns about the principal axes of the target's area
    points, _ = _samples(target, 2000)
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    poses = []
    for axis in axes:
        for angle in (np.pi, 0.5 * np.pi, -0.5 * np.pi):
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_rotvec(angle * axis).as_matrix()
            turn[:3, 3] = points.mean(axis=0) - turn[:3, :3] @ points.mean(axis=0)
            poses.append(turn @ T)
    return poses


def _differ(a: Registration, b: Registration, source: Surface, diagonal_m: float) -> bool:
    points = source.vertices_m[:: max(len(source.vertices_m) // 500, 1)]
    moved = np.linalg.norm(apply(a.T_target_source, points) - apply(b.T_target_source, points), axis=1)
    return float(np.sqrt(np.mean(moved**2))) > DIFFERENT_SHARE * diagonal_m


class _Fine:
    """Point-to-plane alignment of samples of the source on the triangles of the target."""

    def __init__(
        self,
        source: Surface,
        target: Surface,
        diagonal_m: float,
        n_points: int,
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        part = source if mask is None else source.select_triangles(np.all(mask[source.triangles], axis=1))
        self._points, self._normals = _samples(part, n_points)
        self._caster = RayCaster(target)
        self._target = target
        self._diagonal_m = diagonal_m

    def run(self, T: Array, shares: tuple[float, ...]) -> Registration:
        return self.judged(self.descend(T, tuple(s * self._diagonal_m for s in shares)))

    def descend(self, T: Array, reaches_m: tuple[float, ...]) -> Array:
        for reach_m in reaches_m:
            for _ in range(ITERATIONS_MAX):
                points, gap, normals, near = self._pairs(T, reach_m)
                if near.sum() < 50:
                    return T
                residual = np.sum(gap * normals, axis=1)[near]
                length = max(float(np.linalg.norm(points[near].std(axis=0))), 1e-6)
                step = point_to_plane_step(points[near], residual, normals[near], huber_weights(residual), length)
                T = step @ T
                if np.abs(apply(step, points[::50]) - points[::50]).max() < CONVERGED_SHARE * self._diagonal_m:
                    break
        return T

    def judged(self, T: Array) -> Registration:
        _, gap, _, near = self._pairs(T, OVERLAP_SHARE * self._diagonal_m)
        distance = np.linalg.norm(gap[near], axis=1)
        return Registration(
            T_target_source=T,
            rms_m=float(np.sqrt(np.mean(distance**2))) if near.any() else float(self._diagonal_m),
            overlap_fraction=float(near.mean()),
            ambiguous=False,
            second_overlap_fraction=0.0,
        )

    def _pairs(self, T: Array, reach_m: float) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        points, facing = apply(T, self._points), rotate(T, self._normals)
        closest, triangle = self._caster.closest(points)
        normals = self._target.triangle_normals[triangle]
        gap = points - closest
        near = (np.linalg.norm(gap, axis=1) < reach_m) & (np.sum(facing * normals, axis=1) > NORMAL_COS_MIN)
        return points, gap, normals, near
