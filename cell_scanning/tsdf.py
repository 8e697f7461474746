"""Truncated signed distance fusion on Open3D's voxel block grid, and its triangles."""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, apply, inverse
from cell_scanning.camera import Intrinsics
from cell_scanning.depth_smoothing import doubled, doubled_camera

BLOCK_VOXELS = 8
TRUNCATION_VOXELS = 4.0
BYTES_PER_VOXEL = 8
"""A float for the distance, one for the weight."""
MESH_BYTES_PER_VOXEL = 24
"""What extracting the triangles takes on top, measured."""
MEMORY_MAX_BYTES = 4_000_000_000
FIRST_BLOCKS = 10_000
IMAGES_AHEAD = 2
SHELL_BLOCKS = 1.15
"""Blocks touched per block that holds a reading, measured: the band around a surface reaches into its neighbours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedDepth:
    """The window of a depth image that holds readings, ready to be fused."""

    depth_m: NDArray[np.float32]
    K: Array
    """(3, 3) camera matrix of it."""
    integrated_m: NDArray[np.float32]
    """The same, interpolated where the grid is fine."""
    K_integrated: Array


class DistanceGrid:
    """Depth images fused into a truncated signed distance field, one after the other."""

    def __init__(self, camera: Intrinsics, voxel_m: float, *, fine: bool = False, n_blocks: int = FIRST_BLOCKS) -> None:
        """Set up an empty grid.

        Args:
            camera: of all images.
            voxel_m: voxel size [m].
            fine: interpolate between pixels; a voxel otherwise takes the nearest pixel's depth, which costs half a
                pixel's slope in accuracy.
            n_blocks: how many blocks to make room for at first: making more room later costs some 40 us a block.
        """
        self.voxel_m, self.fine = voxel_m, fine
        self.n_images = 0
        self._camera = camera
        self._K = tensor(_pixel_corner_matrix(camera))
        self._grid = o3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight"),
            attr_dtypes=(o3d.core.float32, o3d.core.float32),
            attr_channels=(o3d.core.SizeVector([1]), o3d.core.SizeVector([1])),
            voxel_size=voxel_m,
            block_resolution=BLOCK_VOXELS,
            block_count=n_blocks,
        )

    @property
    def n_blocks(self) -> int:
        """Blocks in use."""
        return int(self._grid.hashmap().size())

    @property
    def n_bytes(self) -> int:
        """Memory that the blocks in use and the extraction of their triangles take [bytes]."""
        return _bytes_of(self.n_blocks)

    def add(self, depth_m: NDArray[np.float32], T_part_camera: Array) -> None:
        """Fuse one depth image (H, W) [m]; 0 = no reading.

        Raises:
            InputRefusedError: the grid has outgrown its memory bound; says at which voxel it would fit.
        """
        self.fuse(self.prepared(depth_m), T_part_camera)

    def add_all(self, depths_m: Iterable[NDArray[np.float32]], poses: Iterable[Array]) -> None:
        """Fuse depth images in their order; each is prepared while others are fused. As `add`."""
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[tuple[Future[PreparedDepth | None], Array]] = deque()
            for depth_m, T in zip(depths_m, poses, strict=True):
                ahead.append((pool.submit(self.prepared, depth_m), T))
                if len(ahead) > IMAGES_AHEAD:
                    work, T_first = ahead.popleft()
                    self.fuse(work.result(), T_first)
            for work, T in ahead:
                self.fuse(work.result(), T)

    def prepared(self, depth_m: NDArray[np.float32]) -> PreparedDepth | None:
        """Return what `fuse` takes of a depth image, None where it is empty; other threads may do this ahead."""
        hit_rows, hit_columns = np.flatnonzero(depth_m.any(axis=1)), np.flatnonzero(depth_m.any(axis=0))
        if len(hit_rows) == 0:
            return None
        # blocks are looked for at every fourth pixel: the same ones as in the whole image
        rows, columns = (slice(hits[0] // 4 * 4, hits[-1] + 1) for hits in (hit_rows, hit_columns))
        own = np.ascontiguousarray(depth_m[rows, columns])
        K = _pixel_corner_matrix(self._camera, rows.start, columns.start)
        if not self.fine:
            return PreparedDepth(depth_m=own, K=K, integrated_m=own, K_integrated=K)
        return PreparedDepth(
            depth_m=own,
            K=K,
            integrated_m=doubled(own),
            K_integrated=_pixel_corner_matrix(doubled_camera(self._camera), 2 * rows.start, 2 * columns.start),
        )

    def fuse(self, prepared: PreparedDepth | None, T_part_camera: Array) -> None:
        """Fuse what `prepared` returned; as `add`."""
        if prepared is None:
            return
        T_camera_part, far = tensor(inverse(T_part_camera)), float(self._camera.range_m[1])
        image, integrated = (_image(x) for x in (prepared.depth_m, prepared.integrated_m))
        blocks = self._grid.compute_unique_block_coordinates(
            image, tensor(prepared.K), T_camera_part, 1.0, far, TRUNCATION_VOXELS
        )
        self._grid.integrate(
            blocks, integrated, tensor(prepared.K_integrated), T_camera_part, 1.0, far, TRUNCATION_VOXELS
        )
        self.n_images += 1
        if self.n_bytes > MEMORY_MAX_BYTES:
            raise _too_large(self.n_bytes, self.voxel_m)

    def mesh(self, weight_min: float) -> tuple[Array, NDArray[np.int64]]:
        """Return vertices (V, 3) [m] and triangles (T, 3) where voxels have `weight_min` readings; V = 0 if none."""
        empty = np.zeros((0, 3)), np.zeros((0, 3), np.int64)
        if self._grid.hashmap().size() == 0:
            return empty
        try:
            # the threshold is exclusive
            mesh = self._grid.extract_triangle_mesh(weight_min - 0.5)
        except RuntimeError:  # Open3D raises a shape error when no voxel passes the threshold
            return empty
        if "indices" not in mesh.triangle or len(mesh.triangle.indices) == 0:
            return empty
        return _ordered(mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy().astype(np.int64))

    def seen_from(
        self, T_part_camera: Array, depth_m: NDArray[np.float32], step_px: int, weight_min: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return points (h, w, 3) [m] and unit normals of the surface as the camera sees it from a pose.

        Both are in the camera's frame, NaN where there is none; pixel (i, j) is pixel (i, j) * `step_px` of the camera.

        Args:
            T_part_camera: (4, 4) pose to look from.
            depth_m: (H, W) what it is about to see: blocks are looked for near these readings.
            step_px: every so many pixels.
            weight_min: readings a voxel needs.
        """
        h, w = -(-self._camera.height_px // step_px), -(-self._camera.width_px // step_px)
        K = self._camera.matrix
        K[:2] /= step_px
        T_camera_part, far = tensor(inverse(T_part_camera)), float(self._camera.range_m[1])
        image = o3d.t.geometry.Image(tensor(depth_m))
        blocks = self._grid.compute_unique_block_coordinates(
            image, self._K, T_camera_part, 1.0, far, TRUNCATION_VOXELS
        )
        wanted = ["depth", "index", "mask", "interp_ratio"]
        # it warns where it has to make room, which `Tracker` copes with
        with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
            found = self._grid.ray_cast(
                blocks, tensor(K), T_camera_part, w, h, wanted, 1.0, *self._camera.range_m, weight_min - 0.5,
                TRUNCATION_VOXELS, max(8 // step_px, 1),
            )  # fmt: skip
        depth, index, mask, share = (found[name].numpy() for name in wanted)
        # the ray stops within half a voxel in front of the surface: the field there says how far
        share = share * mask
        rest = np.sum(self._grid.attribute("tsdf").numpy().reshape(-1)[index] * share, axis=-1)
        rest /= np.maximum(share.sum(axis=-1), 1e-6)
        z = depth[..., 0] + rest * np.float32(TRUNCATION_VOXELS * self.voxel_m)
        u, v = self._camera.ray_slopes()
        points = np.stack([z * u[:, ::step_px], z * v[::step_px], z], axis=-1)
        points[depth[..., 0] <= 0.0] = np.nan
        return points, _normals(points)


def _normals(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit normals (h, w, 3) of an image of points, from neighbours two pixels away; NaN without one."""
    normals = np.full_like(points, np.nan)
    across, down = points[2:-2, 4:] - points[2:-2, :-4], points[4:, 2:-2] - points[:-4, 2:-2]
    inner = np.cross(down, across)
    with np.errstate(invalid="ignore", divide="ignore"):
        normals[2:-2, 2:-2] = inner / np.linalg.norm(inner, axis=-1, keepdims=True)
    return normals


def mean_mesh(
    depths_m: Iterable[NDArray[np.float32]],
    poses: Iterable[Array],
    camera: Intrinsics,
    voxel_m: float,
    weight_min: float,
    *,
    fine: bool = False,
) -> tuple[Array, NDArray[np.int64]]:
    """Fuse depth images taken at T_part_camera poses; returns vertices (V, 3) [m] and triangles (T, 3), V = 0 if empty.

    Raises:
        InputRefusedError: the grid would outgrow its memory bound; says at which voxel it would fit.
    """
    grid = DistanceGrid(camera, voxel_m, fine=fine)
    grid.add_all(depths_m, poses)
    return grid.mesh(weight_min)


def fusion_bytes(
    depths_m: Iterable[NDArray[np.float32]], poses: Iterable[Array], camera: Intrinsics, voxel_m: float
) -> int:
    """Estimate the memory that fusing depth images takes [bytes], from the blocks their readings lie in."""
    block_m = BLOCK_VOXELS * voxel_m
    u, v = camera.ray_slopes()
    found: NDArray[np.int64] = np.zeros(0, np.int64)
    for depth_m, T in zip(depths_m, poses, strict=True):
        z = depth_m[depth_m > 0.0]
        if len(z) == 0:
            continue
        # readings stand closer together than blocks
        step = int(np.clip(0.7 * block_m * min(camera.fx_px, camera.fy_px) / np.quantile(z, 0.9), 1, 16))
        z = depth_m[::step, ::step]
        points = np.stack([z * u[:, ::step], z * v[::step], z], axis=-1)[z > 0.0]
        cells = np.floor(apply(T, points) / block_m).astype(np.int64) + (1 << 20)
        found = np.union1d(found, (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2])
    return _bytes_of(int(SHELL_BLOCKS * len(found)))


def require_memory(n_bytes: int, voxel_m: float) -> None:
    """Refuse a fusion that would take more memory than is allowed, and say at which voxel it would fit."""
    if n_bytes > MEMORY_MAX_BYTES:
        raise _too_large(n_bytes, voxel_m)


def fitting_memory_m(n_bytes: int, voxel_m: float) -> float:
    """Return the finest voxel [m], in tenths of a millimetre, at which a fusion of `n_bytes` at `voxel_m` would fit."""
    # a surface takes blocks by its area
    return float(np.ceil(1e4 * voxel_m * max(np.sqrt(1.05 * n_bytes / MEMORY_MAX_BYTES), 1.0)) / 1e4)


def tensor(array: NDArray[Any]) -> o3d.core.Tensor:
    """Return an Open3D tensor of an array."""
    return cast(Any, o3d.core.Tensor)(np.ascontiguousarray(array))


def _image(depth_m: NDArray[np.float32]) -> o3d.t.geometry.Image:
    # shares the array's memory
    return o3d.t.geometry.Image(o3d.core.Tensor.from_numpy(depth_m))


def _pixel_corner_matrix(camera: Intrinsics, row: int = 0, column: int = 0) -> Array:
    """Return the camera matrix of the image from this row and column on, for what truncates pixel coordinates."""
    # integrate() truncates them where it should round (isl-org/Open3D#7580)
    K = camera.matrix
    K[:2, 2] += 0.5 - np.array([column, row])
    return K


def _ordered(vertices_m: NDArray[np.float32], triangles: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Return vertices and triangles in an order of their own: Open3D's depends on which thread was first."""
    order = np.lexsort(vertices_m.T)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    triangles = rank[triangles]
    first = triangles.argmin(axis=1)
    a, b, c = (np.take_along_axis(triangles, ((first + k) % 3)[:, None], axis=1)[:, 0] for k in range(3))
    by_edge = np.argsort(a * len(order) + b, kind="stable")
    return vertices_m[order].astype(float), np.stack([a, b, c], axis=1)[by_edge]


def _bytes_of(n_blocks: int) -> int:
    return n_blocks * BLOCK_VOXELS**3 * (BYTES_PER_VOXEL + MESH_BYTES_PER_VOXEL)


def _too_large(n_bytes: int, voxel_m: float) -> InputRefusedError:
    return InputRefusedError(
        f"fusion: {n_bytes / 1e9:.1f} GB at voxels of {voxel_m} m, at most {MEMORY_MAX_BYTES / 1e9:.1f} GB:"
        f" crop the scene, or take voxels of {fitting_memory_m(n_bytes, voxel_m):.4f} m",
        n_bytes=n_bytes,
    )
