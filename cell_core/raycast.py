"""Batched ray casts on one surface; a thin, deterministic layer over Open3D's ray-casting scene (Embree)."""

from typing import Any

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array

RAYS_PER_BATCH = 1_000_000


def _tensor(array: NDArray) -> Any:
    return o3d.core.Tensor.from_numpy(array)


class RayCaster:
    """Rays against the triangles of one surface. Both sides of a triangle stop a ray."""

    def __init__(self, surface: Surface) -> None:
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            _tensor(surface.vertices_m.astype(np.float32)), _tensor(surface.triangles.astype(np.uint32))
        )

    def blocked(self, from_m: Array, to_m: Array, clearance_m: float = 0.0) -> NDArray[np.bool_]:
        """Return whether a triangle lies between each pair of points (N, 3), its last `clearance_m` not counted."""
        out = np.empty(len(from_m), bool)
        for start in range(0, len(from_m), RAYS_PER_BATCH):
            part = slice(start, start + RAYS_PER_BATCH)
            rays = np.empty((len(from_m[part]), 6), np.float32)
            rays[:, :3] = from_m[part]
            step = to_m[part] - from_m[part]
            length = np.sqrt(np.einsum("ij,ij->i", step, step))
            # unit directions, shortened by the clearance at the far end: one tfar for all rays of a call
            scale = np.maximum(length - clearance_m, 0.0) / np.maximum(length, 1e-12)
            rays[:, 3:] = step * scale[:, None]
            out[part] = self.stopped(rays) & (length > clearance_m)
        return out

    def stopped(self, rays: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return whether a triangle lies between the start and the end, start + direction, of each ray (N, 6)."""
        return self._scene.test_occlusions(_tensor(rays), tnear=0.0, tfar=1.0, nthreads=1).numpy()

    def first_hit(self, origins_m: Array, directions: Array) -> tuple[Array, NDArray[np.int64]]:
        """Return distance in units of `directions` (N,) (infinite: no hit) and triangle index (N,) (-1: none)."""
        rays = np.concatenate([origins_m, directions], axis=1).astype(np.float32)
        answer = self._scene.cast_rays(_tensor(rays), nthreads=1)
        triangle = answer["primitive_ids"].numpy().astype(np.int64)
        distance = answer["t_hit"].numpy().astype(float)
        return distance, np.where(np.isfinite(distance), triangle, -1)

    def closest(self, points_m: Array) -> tuple[Array, NDArray[np.int64]]:
        """Return the nearest surface point (N, 3) [m] and its triangle (N,) for each point."""
        answer = self._scene.compute_closest_points(_tensor(np.ascontiguousarray(points_m, np.float32)), nthreads=1)
        return answer["points"].numpy().astype(float), answer["primitive_ids"].numpy().astype(np.int64)

    def distance(self, points_m: Array) -> Array:
        """Return the unsigned distance (N,) [m] from each point to the surface."""
        return np.linalg.norm(self.closest(points_m)[0] - points_m, axis=1)

    def inside(self, points_m: Array) -> NDArray[np.bool_]:
        """Return whether each point (N, 3) lies inside the surface, which must be closed: most of three rays agree."""
        answer = self._scene.compute_occupancy(
            _tensor(np.ascontiguousarray(points_m, np.float32)), nthreads=1, nsamples=3
        )
        return answer.numpy() > 0.5
