"""Ray casting and closest points on one surface (Open3D, single precision inside)."""

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array


class RayScene:
    """A surface prepared for rays."""

    def __init__(self, surface: Surface) -> None:
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(surface.vertices_m.astype(np.float32)), o3d.core.Tensor(surface.triangles.astype(np.uint32))
        )

    def hit_distances_m(self, origins_m: Array, directions: Array) -> NDArray[np.float32]:
        """Return the distance (N,) to the first hit along directions (N, 3) in units of their length; inf where none."""
        return self._cast(origins_m, directions)["t_hit"].numpy()

    def first_hits(self, origins_m: Array, directions: Array) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
        """Return distance (N,) and triangle index (N,) of the first hit; inf and 2**32 - 1 where none."""
        result = self._cast(origins_m, directions)
        return result["t_hit"].numpy(), result["primitive_ids"].numpy()

    def _cast(self, origins_m: Array, directions: Array) -> dict[str, o3d.core.Tensor]:
        rays = np.concatenate(np.broadcast_arrays(origins_m, directions), axis=-1).astype(np.float32)
        return self._scene.cast_rays(o3d.core.Tensor(rays))
