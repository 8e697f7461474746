"""How far the pad's bristles stand above the part as it is now."""

import numpy as np
import open3d as o3d

from cell_core.transforms import Array
from cell_simulation.faces import Face
from cell_simulation.true_part import TruePart

CAST_BACK_M = 0.015
"""Bristles are cast from so far behind the pad face: what stands higher than that beside the pad is no contact."""
FACING_MIN = 0.17
"""Smallest cosine between a surface normal and the tool axis that the pad still touches: 80 degrees."""


class Bristles:
    """Rays along the tool axis onto the raw mesh; what was ground off since is added to their lengths."""

    def __init__(self, part: TruePart, face: Face) -> None:
        self._part, self._face = part, face
        b = len(face.bristles_m)
        self._feet = np.column_stack([face.bristles_m, np.full(b, -CAST_BACK_M)])
        self._offset = face.set_back_m - CAST_BACK_M
        self._lost = np.zeros(b)
        self._rays = np.empty((b, 6), np.float32)
        self._tensor = o3d.core.Tensor.from_numpy(self._rays)

    @property
    def count(self) -> int:
        """Number of bristles."""
        return len(self._feet)

    @property
    def feet_m(self) -> Array:
        """(B, 2) where they stand on the face, in tool x, y."""
        return self._face.bristles_m

    def gaps(self, T_base_tool: Array) -> tuple[Array, float]:
        """Return the gap (K, B) from pad face to current surface along the tool axis, and the side the pad meets.

        inf where there is nothing; side +1: the outside of the mesh, -1: the inside of an open sheet.
        """
        k, b = len(T_base_tool), len(self._feet)
        feet = self._feet @ np.swapaxes(T_base_tool[:, :3, :3], 1, 2) + T_base_tool[:, None, :3, 3]
        direction = np.broadcast_to(T_base_tool[:, None, :3, 2], feet.shape).reshape(-1, 3)
        hits = self._part.cast(feet.reshape(-1, 3), direction)
        gaps = np.full(k * b, np.inf)
        cosine = -np.einsum("ij,ij->i", self._part.surface.triangle_normals[hits.triangle], direction[hits.ray])
        removed = np.einsum("ij,ij->i", hits.weights, self._part.removed_m[self._part.surface.triangles[hits.triangle]])
        gaps[hits.ray] = hits.distance - CAST_BACK_M + removed / np.maximum(np.abs(cosine), FACING_MIN)
        return gaps.reshape(k, b) + self._face.set_back_m, 1.0 if cosine.sum() >= 0.0 else -1.0

    def gaps_at(self, T_base_tool: Array, refresh: bool) -> Array:
        """Return the gaps (B,) at one pose (4, 4): what `gaps` gives, in less time.

        What was ground off is looked up only on `refresh`; between, each bristle keeps what it found last: within a few
        milliseconds a pad moves by less than the mesh resolves.
        """
        part, axis = self._part, T_base_tool[:3, 2]
        self._rays[:, :3] = self._feet @ T_base_tool[:3, :3].T + T_base_tool[:3, 3]
        self._rays[:, 3:] = axis
        answer = part.scene.cast_rays(self._tensor, nthreads=1)
        gaps = answer["t_hit"].numpy().astype(float)
        if refresh:
            self._lost = np.zeros(len(gaps))
            hit = np.flatnonzero(np.isfinite(gaps))
            triangle = answer["primitive_ids"].numpy()[hit]
            uv = answer["primitive_uvs"].numpy()[hit]
            a, b, c = part.removed_m[part.surface.triangles[triangle]].T
            cosine = np.abs(part.surface.triangle_normals[triangle] @ axis)
            self._lost[hit] = (a + uv[:, 0] * (b - a) + uv[:, 1] * (c - a)) / np.maximum(cosine, FACING_MIN)
        return gaps + (self._offset + self._lost)
