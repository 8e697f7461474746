"""A depth camera that looks at the true part and its surroundings by ray casting, with the noise of a real one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.config.models import CameraConfig
from cell_core.transforms import Array
from cell_simulation.true_part import TruePart, add_mesh, ray_scene

BANK_SIZE = 1 << 21
EDGE_JUMP_M = 0.008
"""Neighbouring pixels farther apart in depth than this lie across an edge."""
EDGE_MIXED_FRACTION = 0.35
"""Share of the pixels at an edge whose depth is a mixture of both sides."""
GRAZING_SOFT_COS = 0.12
"""Over this width of the cosine above the limit, returns become rarer down to none."""
REBUILD_M = 10e-6
"""The scene follows the part once its shape has changed this much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthFrame:
    """One depth image."""

    depth_m: NDArray[np.float32]
    """(H, W) depth along the optical axis [m]; 0 where nothing came back."""
    stamp_s: float
    """Simulated time of exposure [s]."""
    T_base_camera: Array
    """(4, 4) true pose of the optical frame."""


class DepthCamera:
    """Pinhole camera; pixel centres at integers. Frame i is the same for a seed, a scene and a pose."""

    def __init__(
        self, config: CameraConfig, part: TruePart, boxes: Sequence[tuple[Array, Array]] = (), *, seed: int
    ) -> None:
        """Set up the camera.

        Args:
            config: intrinsics, range and noise.
            part: true part in the base frame.
            boxes: (T_base_box (4, 4), size_m (3,)) of table, fixture and walls.
            seed: of the noise.
        """
        self.config, self._shape = config, part.shape
        self._boxes = [_box(T, size) for T, size in boxes]
        h, w = config.height_px, config.width_px
        u, v = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
        self._x = (u - np.float32(config.cx_px)) / np.float32(config.fx_px)
        self._y = (v - np.float32(config.cy_px)) / np.float32(config.fy_px)
        rng = np.random.default_rng([seed, 21])
        size = max(BANK_SIZE, 2 * h * w)
        self._normal = rng.standard_normal(size, dtype=np.float32)
        self._uniform = rng.random(size, dtype=np.float32)
        self._seed = seed
        self._count = 0
        self._built: Array | None = None
        self._scene = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: an Embree scene is built there anew."""
        return {**self.__dict__, "_scene": None, "_built": None}

    def follow(self, removed_m: Array) -> None:
        """Take the removed depth (V,) of the part from another process' part."""
        self._shape.removed_m[:] = removed_m

    def render(self, T_base_camera: Array, stamp_s: float, noise: bool = True) -> DepthFrame:
        """Return the depth image from a pose (4, 4); the next image's noise is another."""
        config = self.config
        h, w = config.height_px, config.width_px
        offsets = np.random.default_rng([self._seed, 22, self._count]).integers(0, len(self._normal) - h * w, 6)
        self._count += 1
        x, y = self._x, self._y
        if noise and config.lateral_noise_px > 0.0:
            x = x + self._draw(self._normal, offsets[0]) * np.float32(config.lateral_noise_px / config.fx_px)
            y = y + self._draw(self._normal, offsets[1]) * np.float32(config.lateral_noise_px / config.fy_px)
        rays = np.empty((h, w, 6), np.float32)
        rays[..., :3] = T_base_camera[:3, 3]
        R = T_base_camera[:3, :3].astype(np.float32)
        for i in range(3):
            rays[..., 3 + i] = R[i, 0] * x + R[i, 1] * y + R[i, 2]
        answer = self._current_scene().cast_rays(o3d.core.Tensor.from_numpy(rays))
        depth = answer["t_hit"].numpy()
        normals = answer["primitive_normals"].numpy()
        # cosine of incidence: ray directions have length sqrt(1 + x2 + y2)
        cosine = np.abs(np.einsum("hwi,hwi->hw", normals, rays[..., 3:])) / np.sqrt(1.0 + x * x + y * y)
        limit = np.float32(np.cos(config.incidence_max_rad))
        keep = np.isfinite(depth) & (depth >= config.range_m.low) & (depth <= config.range_m.high)
        if config.specular_cone_rad > 0.0:
            # light and camera look the same way: what mirrors one into the other is overexposed
            keep &= cosine <= np.float32(np.cos(config.specular_cone_rad))
        if not noise:
            keep &= cosine >= limit
            return self._frame(np.where(keep, depth, np.float32(0.0)), stamp_s, T_base_camera)
        keep &= cosine >= limit + np.float32(GRAZING_SOFT_COS) * self._draw(self._uniform, offsets[2])
        keep &= self._draw(self._uniform, offsets[3]) >= config.dropout_fraction
        depth[~np.isfinite(depth)] = 0.0
        self._mix_edges(depth, keep, offsets[4])
        depth += np.float32(config.axial_noise_at_1m_m) * depth * depth * self._draw(self._normal, offsets[5])
        return self._frame(np.where(keep, depth, np.float32(0.0)), stamp_s, T_base_camera)

    def _draw(self, bank: NDArray[np.float32], offset: int) -> NDArray[np.float32]:
        h, w = self._x.shape
        return bank[offset : offset + h * w].reshape(h, w)

    def _mix_edges(self, depth: NDArray[np.float32], keep: NDArray[np.bool_], offset: int) -> None:
        """Let some pixels beside a depth edge report a mixture of both sides, in place."""
        flat, w = depth.ravel(), depth.shape[1]
        for step, pair in ((1, (depth[:, :-1], depth[:, 1:])), (w, (depth[:-1], depth[1:]))):
            jump = np.abs(pair[0] - pair[1]) > EDGE_JUMP_M
            i = np.flatnonzero(jump)
            i = i + i // jump.shape[1] * (w - jump.shape[1])
            draw = self._uniform[offset + i]
            mixed = (draw < EDGE_MIXED_FRACTION) & keep.ravel()[i] & keep.ravel()[i + step]
            i, share = i[mixed], draw[mixed] / np.float32(EDGE_MIXED_FRACTION)
            flat[i] += share * (flat[i + step] - flat[i])

    def _frame(self, depth: NDArray[np.float32], stamp_s: float, T_base_camera: Array) -> DepthFrame:
        return DepthFrame(
            depth_m=depth.astype(np.float32, copy=False), stamp_s=stamp_s, T_base_camera=T_base_camera.copy()
        )

    def _current_scene(self) -> o3d.t.geometry.RaycastingScene:
        removed = self._shape.removed_m
        if self._scene is None or self._built is None or np.max(np.abs(removed - self._built)) > REBUILD_M:
            self._built = removed.copy()
            self._scene = ray_scene(self._shape.current_vertices_m(), self._shape.triangles)
            for vertices, triangles in self._boxes:
                add_mesh(self._scene, vertices, triangles)
        return self._scene


def _box(T_base_box: Array, size_m: Array) -> tuple[Array, NDArray[np.int64]]:
    corners = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)]) * np.asarray(size_m)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return corners @ T_base_box[:3, :3].T + T_base_box[:3, 3], triangles
