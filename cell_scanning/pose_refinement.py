"""Correct camera poses: all frames at once, so that they see one surface."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse, rotate, unit
from cell_scanning.balanced_rays import balanced_readings
from cell_scanning.camera import Intrinsics
from cell_scanning.hand_eye_readings import surface_cells
from cell_scanning.pose_system import ViewReadings, solve_poses

N_RAYS = 3000
"""Of every frame, where it is asked how far readings lie from the model."""
READINGS_MIN = 200
"""A frame with fewer keeps its pose."""
CELL_PX = 4.0
"""Readings of one frame within a cell as wide as so many pixels count as one."""
CELL_READINGS_MIN = 2
"""Lone readings in a cell are mostly such as lie next to an edge."""
ROUNDS = 3
"""Readings pair with the model anew this often; the model itself stays as it is."""
SHARED_CELLS_MIN = 100
"""Fewer cells than this that two frames saw tell nothing."""
TURN_M_PER_RAD = 0.3
"""Poses given by an arm and a hand-eye calibration are off by about 0.5 mm and 0.1 degrees."""
GAUGE_ROUNDS = 20
GAUGE_FLOOR = 0.3
"""Corrections below this share of the usual one weigh alike in what all have in common."""
N_THREADS = 2


def refined_poses(
    model: Surface,
    depths_m: Sequence[NDArray[np.float32]],
    poses: Sequence[Array],
    camera: Intrinsics,
    reach_m: float,
    caster: RayCaster | None = None,
) -> list[Array]:
    """Return T_part_camera of every frame, corrected so that all frames see the same surface.

    Readings pair with the model along their own rays; pairs farther apart than `reach_m` do not count. The model only
    says which readings belong together: its heights are unknowns that are eliminated (`pose_system`), so that errors of
    the poses that are in the model do not hold the frames where they are. What the corrections have in common is taken
    out again: the given poses are right on average, and only that ties the surface to the part frame. A frame that
    sees too little of the model keeps its pose. `caster` is the model's, where there is one already.
    """
    caster = caster or RayCaster(model)
    facing = unit(model.vertex_normals[model.triangles].sum(axis=1))
    samples = _each(lambda d: balanced_readings(d, camera), depths_m)
    used = [i for i, (_, z) in enumerate(samples) if len(z) >= READINGS_MIN]
    given = [np.asarray(poses[i], float) for i in used]
    now, twists = given, np.zeros((len(used), 6))
    for _ in range(ROUNDS):
        hits = _each(
            lambda k: _hits(caster, now[k], samples[used[k]][0], samples[used[k]][1], reach_m),  # noqa: B023
            range(len(used)),
        )
        views, n_cells = _views(model, facing, hits, now, twists, camera)
        if not views:
            return list(poses)
        twists = solve_poses(views, np.zeros((len(views), 6, 0)), n_cells).deviation
        now = _without_common([T @ _motion(e[3:], e[:3]) for T, e in zip(given, twists, strict=True)], given)
        twists = np.array([_twist(inverse(old) @ new) for new, old in zip(now, given, strict=True)])
    refined = list(poses)
    for i, T in zip(used, now, strict=True):
        refined[i] = T
    return refined


def model_residual_m(
    model: Surface,
    depths_m: Sequence[NDArray[np.float32]],
    poses: Sequence[Array],
    camera: Intrinsics,
    reach_m: float,
    caster: RayCaster | None = None,
) -> float:
    """Return how far readings lie from the model across its surface [m], the median over all frames.

    Readings without a model within `reach_m` count as that far. A median, since a part with layers has readings
    that belong to another. `caster` is the model's, where there is one already.
    """
    hitting = caster or RayCaster(model)

    def residual(i: int) -> Array:
        slopes, z = _even_readings(depths_m[i], camera)
        found = np.full(len(z), reach_m)
        hits = _hits(hitting, poses[i], slopes, z, reach_m)
        rays = rotate(poses[i], hits.slopes)
        a, b, c = (model.vertices_m[model.triangles[hits.triangle, k]] for k in range(3))
        normals = unit(np.cross(b - a, c - a))
        found[: len(hits.gap_m)] = np.abs(np.sum(normals * rays, axis=1) * hits.gap_m)
        return found if len(z) >= READINGS_MIN else found[:0]

    found = np.concatenate([np.zeros(0), *_each(residual, range(len(poses)))])
    return float(np.median(found)) if len(found) else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hits:
    """Readings of one frame that have the model within reach along their rays."""

    slopes: Array
    z_m: Array
    gap_m: Array
    triangle: NDArray[np.int64]


def _each(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    # ray casts and most of numpy's work leave other threads running
    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(work, items))


def _even_readings(depth_m: NDArray[np.float32], camera: Intrinsics) -> tuple[Array, Array]:
    rows, columns = np.nonzero(depth_m)
    pick = np.linspace(0, len(rows) - 1, min(N_RAYS, len(rows))).astype(int)
    rows, columns = rows[pick], columns[pick]
    x, y = (columns - camera.cx_px) / camera.fx_px, (rows - camera.cy_px) / camera.fy_px
    slopes = np.stack([x, y, np.ones(len(x))], axis=1).astype(float)
    return slopes, depth_m[rows, columns].astype(float)


def _hits(caster: RayCaster, T: Array, slopes: Array, z: Array, reach_m: float) -> _Hits:
    t, triangle = caster.first_hit(np.broadcast_to(T[:3, 3], slopes.shape), rotate(T, slopes))
    gap = np.where(np.isfinite(t), z - np.where(np.isfinite(t), t, 0.0), np.inf)
    pair = np.abs(gap) * np.linalg.norm(slopes, axis=1) < reach_m
    return _Hits(slopes=slopes[pair], z_m=z[pair], gap_m=gap[pair], triangle=triangle[pair])


def _views(
    model: Surface,
    facing: Array,
    hits: Sequence[_Hits],
    poses: Sequence[Array],
    twists: Array,
    camera: Intrinsics,
) -> tuple[list[ViewReadings], int]:
    """Return what each frame reads in the cells that two or more saw, and the number of cells; none where too few."""
    if sum(len(h.triangle) for h in hits) == 0:
        return [], 0
    cell_m = CELL_PX * float(np.median(np.concatenate([h.z_m for h in hits]))) / camera.fx_px
    cell_of, centres_m, _ = surface_cells(model, cell_m, np.concatenate([h.triangle for h in hits]))
    parts = [_by_cell(h, facing, T, e, camera, cell_of) for h, T, e in zip(hits, poses, twists, strict=True)]
    shared = np.bincount(np.concatenate([p.cell for p in parts]), minlength=len(centres_m)) >= 2
    if shared.sum() < SHARED_CELLS_MIN:
        return [], 0
    return [
        ViewReadings(
            jacobian=p.jacobian[shared[p.cell]],
            residual_m=p.residual_m[shared[p.cell]],
            sigma_m=p.sigma_m[shared[p.cell]],
            cell=p.cell[shared[p.cell]],
        )
        for p in parts
    ], len(centres_m)


def _by_cell(
    hits: _Hits, facing: Array, T: Array, twist: Array, camera: Intrinsics, cell_of: NDArray[np.int64]
) -> ViewReadings:
    """Return one frame's readings by cell, as they would be at the pose given: `twist` led from there to T."""
    cell, index = np.unique(cell_of[hits.triangle], return_inverse=True)
    normal = facing[hits.triangle] @ T[:3, :3]
    w = np.maximum(camera.axial_noise_m(hits.z_m), 1e-6) ** -2
    total = np.bincount(index, w, len(cell))
    point = hits.slopes * (hits.z_m - hits.gap_m)[:, None]
    rows = np.column_stack(
        [normal, np.cross(point, normal), np.sum(normal * hits.slopes, axis=1) * hits.gap_m],
    )
    means = np.stack([np.bincount(index, w * column, len(cell)) for column in rows.T], axis=1) / total[:, None]
    keep = np.bincount(index, minlength=len(cell)) >= CELL_READINGS_MIN
    means = means[keep]
    return ViewReadings(
        jacobian=means[:, :6],
        residual_m=means[:, 6] - means[:, :6] @ twist,
        sigma_m=1.0 / np.sqrt(total[keep]),
        cell=cell[keep],
    )


def _without_common(new: Sequence[Array], given: Sequence[Array]) -> list[Array]:
    gauge = _common_motion([inverse(T) for T in given], [n @ inverse(T) for n, T in zip(new, given, strict=True)])
    back = inverse(gauge)
    return [back @ T for T in new]


def _common_motion(T_camera_part: Sequence[Array], corrections: Sequence[Array]) -> Array:
    """Return the motion (4, 4) of the part frame that is most likely behind what the corrections have in common.

    A given pose is off by a turn about its camera and a shift of it, TURN_M_PER_RAD apart in size. So the cameras'
    places tell more than where their pictures fall on the part, a range away. Frames that were moved little count for
    more than frames that were moved far: the sums of the lengths of turns and shifts are the least, not of squares.
    """
    A, b = np.zeros((len(corrections), 6, 6)), np.zeros((len(corrections), 6))
    A[:, :3, :3], A[:, 3:, 3:] = np.eye(3), np.eye(3)
    for f, (T, C) in enumerate(zip(T_camera_part, corrections, strict=True)):
        # small motions of the part frame as the camera feels them: turn, and shift at its own place
        eye = -T[:3, :3].T @ T[:3, 3]
        A[f, 3:, :3] = -np.array([[0.0, -eye[2], eye[1]], [eye[2], 0.0, -eye[0]], [-eye[1], eye[0], 0.0]])
        b[f] = A[f] @ np.r_[Rotation.from_matrix(C[:3, :3]).as_rotvec(), C[:3, 3]]
    weight, motion = np.tile([TURN_M_PER_RAD**2, 1.0], (len(b), 1)), np.zeros(6)
    for _ in range(GAUGE_ROUNDS):
        W = np.repeat(weight, 3, axis=1)
        motion = np.linalg.solve(np.einsum("fij,fi,fik->jk", A, W, A), np.einsum("fij,fi,fi->j", A, W, b))
        size = np.linalg.norm((b - A @ motion).reshape(-1, 2, 3), axis=2)
        usual = np.maximum(np.median(size, axis=0), 1e-9)
        weight = 1.0 / (np.maximum(size, GAUGE_FLOOR * usual) * usual)
    return _motion(motion[:3], motion[3:])


def _motion(turn_rad: Array, shift_m: Array) -> Array:
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(turn_rad).as_matrix()
    T[:3, 3] = shift_m
    return T


def _twist(T: Array) -> Array:
    return np.r_[T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_rotvec()]
