"""What each view reads of the surface that all views fuse to, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.facing import facing_keys
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse, rotate, unit
from cell_scanning.camera import Intrinsics
from cell_scanning.pose_system import ViewReadings
from cell_scanning.tsdf import mean_mesh

N_RAYS = 8000
CELL_VOXELS = 4.0
REACH_VOXELS = 3.0
READINGS_MIN = 2
"""Readings of one frame in one cell."""
CELLS_MIN = 200
"""Cells that at least two views must have seen."""
WEIGHT_MIN = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """All views against their mean surface."""

    views: list[ViewReadings]
    n_cells: int
    n_shared_cells: int
    """Cells that at least two views saw."""
    paired_fraction: float
    """Share of the readings that had the mean surface within reach."""


def read_views(
    depths_m: Sequence[NDArray[np.float32]],
    T_base_camera: Sequence[Array],
    group: NDArray[np.int64],
    camera: Intrinsics,
    voxel_m: float,
    extras: Sequence[str] = (),
) -> Readings:
    """Fuse depth images to a mean surface and compare each view (frames of one `group`) with it in cells.

    Args:
        depths_m: filtered depth images.
        T_base_camera: their poses.
        group: (F,) number of the view each frame belongs to.
        camera: intrinsics.
        voxel_m: of the mean surface; cells are four of them wide.
        extras: "depth_offset_m", "depth_slope": unknowns beside the poses.

    Raises:
        InputRefusedError: no surface, or too little of it seen by two views.
    """
    vertices_m, triangles = mean_mesh(depths_m, T_base_camera, camera, voxel_m, WEIGHT_MIN)
    if len(triangles) == 0:
        raise InputRefusedError("hand-eye: no surface that two frames saw: views must overlap")
    model = Surface(vertices_m=vertices_m, triangles=triangles, frame="base")
    caster = RayCaster(model)
    hits = [_hits(caster, d, T, camera, REACH_VOXELS * voxel_m) for d, T in zip(depths_m, T_base_camera, strict=True)]
    paired = sum(len(h.triangle) for h in hits) / max(sum(h.n_rays for h in hits), 1)
    triangles_hit = np.concatenate([h.triangle for h in hits])
    cell_of, centres_m, normals = surface_cells(model, CELL_VOXELS * voxel_m, triangles_hit)
    parts = [
        _by_cell(h, T, camera, cell_of, centres_m, normals, extras) for h, T in zip(hits, T_base_camera, strict=True)
    ]
    seen = np.zeros(len(centres_m), np.int64)
    n_groups = int(group.max()) + 1
    for g in range(n_groups):
        seen[np.unique(np.concatenate([parts[f].cell for f in np.flatnonzero(group == g)]))] += 1
    shared = seen >= 2
    if shared.sum() < CELLS_MIN:
        raise InputRefusedError(
            f"hand-eye: {int(shared.sum())} cells of {1e3 * CELL_VOXELS * voxel_m:.0f} mm were seen by two views, "
            f"at least {CELLS_MIN} needed: views must overlap, and the hand-eye must be near enough for them to meet",
            n_shared_cells=int(shared.sum()),
        )
    views = [_joined([parts[f] for f in np.flatnonzero(group == g)], shared) for g in range(n_groups)]
    return Readings(
        views=views, n_cells=len(centres_m), n_shared_cells=int(shared.sum()), paired_fraction=float(paired)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hits:
    """Readings of one frame that meet the surface along their own rays."""

    slopes: Array
    z_m: Array
    gap_m: Array
    triangle: NDArray[np.int64]
    n_rays: int


def _hits(caster: RayCaster, depth_m: NDArray[np.float32], T: Array, camera: Intrinsics, reach_m: float) -> _Hits:
    rows, columns = np.nonzero(depth_m)
    pick = np.linspace(0, len(rows) - 1, min(N_RAYS, len(rows))).astype(int)
    rows, columns = rows[pick], columns[pick]
    slopes = np.ones((len(rows), 3))
    slopes[:, 0] = (columns - camera.cx_px) / camera.fx_px
    slopes[:, 1] = (rows - camera.cy_px) / camera.fy_px
    z = depth_m[rows, columns].astype(float)
    t, triangle = caster.first_hit(np.broadcast_to(T[:3, 3], slopes.shape), rotate(T, slopes))
    pair = np.isfinite(t)
    gap = np.where(pair, z - np.where(pair, t, 0.0), np.inf)
    pair &= np.abs(gap) * np.linalg.norm(slopes, axis=1) < reach_m
    return _Hits(slopes=slopes[pair], z_m=z[pair], gap_m=gap[pair], triangle=triangle[pair], n_rays=len(rows))


def surface_cells(model: Surface, cell_m: float, hit: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array, Array]:
    """Return the cell of each triangle (-1: not hit), and centre and mean normal of each cell.

    Cells are cubes of the model's triangles, told apart by the way they face. Which cell a reading belongs to is the
    triangle's matter: were it the reading's own, a boundary would part readings by their error.
    """
    used, count = np.unique(hit, return_counts=True)
    corners = model.vertices_m[model.triangles[used]]
    normal = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    centre = corners.mean(axis=1)
    _, cell = np.unique(facing_keys(centre, normal, cell_m), return_inverse=True)
    n = int(cell.max(initial=-1)) + 1
    weight = np.bincount(cell, count, n)
    centres = np.stack([np.bincount(cell, count * centre[:, i], n) / weight for i in range(3)], axis=1)
    normals = unit(np.stack([np.bincount(cell, count * normal[:, i], n) for i in range(3)], axis=1))
    cell_of = np.full(len(model.triangles), -1)
    cell_of[used] = cell
    return cell_of, centres, normals


def _by_cell(
    hits: _Hits,
    T: Array,
    camera: Intrinsics,
    cell_of: NDArray[np.int64],
    centres_m: Array,
    normals: Array,
    extras: Sequence[str],
) -> ViewReadings:
    cell, index = np.unique(cell_of[hits.triangle], return_inverse=True)
    n_camera = normals[cell] @ T[:3, :3]
    # the cell's normal, not the triangle's: that one carries the readings' own noise
    along = np.sum(n_camera[index] * hits.slopes, axis=1)
    w = 1.0 / np.maximum(camera.axial_noise_m(hits.z_m), 1e-6) ** 2
    total = np.bincount(index, w, len(cell))
    residual = np.bincount(index, w * along * hits.gap_m, len(cell)) / total
    p = apply(inverse(T), centres_m[cell])
    columns = [n_camera, np.cross(p, n_camera)]
    per_depth = np.sum(n_camera * p, axis=1) / p[:, 2]
    for name in extras:
        columns.append((per_depth if name == "depth_offset_m" else per_depth * p[:, 2])[:, None])
    keep = np.bincount(index, minlength=len(cell)) >= READINGS_MIN
    return ViewReadings(
        jacobian=np.concatenate(columns, axis=1)[keep],
        residual_m=residual[keep],
        sigma_m=1.0 / np.sqrt(total[keep]),
        cell=cell[keep],
    )


def _joined(parts: Sequence[ViewReadings], shared: NDArray[np.bool_]) -> ViewReadings:
    jacobian, residual, sigma, cell = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("jacobian", "residual_m", "sigma_m", "cell")
    )
    keep = shared[cell]
    return ViewReadings(jacobian=jacobian[keep], residual_m=residual[keep], sigma_m=sigma[keep], cell=cell[keep])
