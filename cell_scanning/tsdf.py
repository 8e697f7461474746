"""Truncated signed distance fusion on Open3D's voxel block grid, and its triangles."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics

BLOCK_VOXELS = 8
TRUNCATION_VOXELS = 4.0
BYTES_PER_VOXEL = 8
"""A float for the distance, one for the weight."""
MEMORY_MAX_BYTES = 2_000_000_000


def mean_mesh(
    depths_m: Iterable[NDArray[np.float32]],
    poses: Iterable[Array],
    camera: Intrinsics,
    voxel_m: float,
    weight_min: float,
    n_blocks_guess: int = 10_000,
) -> tuple[Array, NDArray[np.int64]]:
    """Fuse depth images taken at T_part_camera poses; returns vertices (V, 3) [m] and triangles (T, 3), V = 0 if empty.

    Raises:
        InputRefusedError: the grid would outgrow its memory bound; says at which voxel it would fit.
    """
    grid = o3d.t.geometry.VoxelBlockGrid(
        attr_names=("tsdf", "weight"),
        attr_dtypes=(o3d.core.float32, o3d.core.float32),
        attr_channels=(o3d.core.SizeVector([1]), o3d.core.SizeVector([1])),
        voxel_size=voxel_m,
        block_resolution=BLOCK_VOXELS,
        block_count=n_blocks_guess,
    )
    # integrate() truncates pixel coordinates where it should round (isl-org/Open3D#7580)
    K = camera.matrix
    K[:2, 2] += 0.5
    K_tensor = _tensor(K)
    depth_max = float(camera.range_m[1])
    for depth_m, T_part_camera in zip(depths_m, poses, strict=True):
        if not depth_m.any():
            continue
        image = o3d.t.geometry.Image(_tensor(depth_m))
        T_camera_part = _tensor(inverse(T_part_camera))
        blocks = grid.compute_unique_block_coordinates(
            image, K_tensor, T_camera_part, 1.0, depth_max, TRUNCATION_VOXELS
        )
        grid.integrate(blocks, image, K_tensor, T_camera_part, 1.0, depth_max, TRUNCATION_VOXELS)
        n_bytes = grid.hashmap().size() * BLOCK_VOXELS**3 * BYTES_PER_VOXEL
        if n_bytes > MEMORY_MAX_BYTES:
            raise InputRefusedError(
                f"fusion: more than {MEMORY_MAX_BYTES / 1e6:.0f} MB at voxels of {voxel_m} m:"
                " crop the scene or take larger voxels",
                n_bytes=n_bytes,
            )
    if grid.hashmap().size() == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    try:
        # the threshold is exclusive
        mesh = grid.extract_triangle_mesh(weight_min - 0.5)
    except RuntimeError:  # Open3D raises a shape error when no voxel passes the threshold
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    if "indices" not in mesh.triangle or len(mesh.triangle.indices) == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    return mesh.vertex.positions.numpy().astype(float), mesh.triangle.indices.numpy().astype(np.int64)


def _tensor(array: NDArray[Any]) -> o3d.core.Tensor:
    return cast(Any, o3d.core.Tensor)(np.ascontiguousarray(array))
