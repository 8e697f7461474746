"""Rings of cells around evenly spread places: what local fits stand on, at one scale."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from cell_inspection.local_cells import Cells, cells_of

RING_INNER, RING_OUTER = 2.0, 5.0
"""Radii of a fit's ring in cells."""
N_AROUND = 90
"""Cells at most that a fit looks at: a flat disc of the outer radius holds 79."""
CENTRE_CELLS = 1.5
"""Fits stand this many cells apart."""
N_BLEND = 3
BLEND_CELLS = 3.0
"""Fits that each vertex is compared with, and how far off one may stand."""
COS_MIN = 0.6
"""Cells that face farther from a fit's normal belong to another face."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rings:
    """Rings of cells around fit centres, in the frame of each centre; made once per scale."""

    cells: Cells
    centres: NDArray[np.int64]
    """(N,) cell that each fit stands on."""
    axes: Array
    """(N, 3, 3) rows: two tangents and the normal of each centre."""
    around: NDArray[np.int64]
    """(N, K) cells around each centre."""
    weight: NDArray[np.float32]
    """(N, K) 1 on the ring, fading at its outer border; 0: not of it."""
    uv: NDArray[np.float32]
    """(N, K, 2) place in the tangent plane in outer radii."""
    height_m: NDArray[np.float32]
    """(N, K) over the tangent plane [m]."""
    blend: NDArray[np.int64]
    """(C, N_BLEND) fits nearest to each cell."""
    reach_m: float
    """Outer radius [m]."""

    def select(self, rows: NDArray[np.int64]) -> "Rings":
        """Return the rings of some fits."""
        names = ("centres", "axes", "around", "weight", "uv", "height_m")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def rings_of(surface: Surface, size_m: float) -> Rings:
    """Return the rings of a surface at cells of `size_m`."""
    cells = cells_of(surface, size_m)
    reach = RING_OUTER * size_m
    coarse = cells_of(surface, CENTRE_CELLS * size_m)
    # the cell nearest to the mean of each larger one
    _, nearest = cells.around(coarse.points_m, coarse.normals, reach, 1)
    centres = np.unique(nearest)
    points, facing = cells.points_m[centres], cells.normals[centres]
    distance, around = cells.around(points, facing, reach, N_AROUND)
    normals = cells.normals.astype(np.float32)[around]
    inner = (distance < 0.6 * reach).astype(np.float32)
    mean = unit(np.einsum("nkc,nk->nc", normals, inner).astype(float))
    facing = np.where(np.linalg.norm(mean, axis=1)[:, None] > 0.5, mean, facing)
    axes = _frames(facing)
    apart = (cells.points_m - cells.points_m[0]).astype(np.float32)
    local = (apart[around] - apart[centres][:, None]) @ axes.astype(np.float32).transpose(0, 2, 1)
    along2 = local[..., 0] ** 2 + local[..., 1] ** 2
    same = (normals @ facing.astype(np.float32)[..., None])[..., 0] > COS_MIN
    fading = np.clip(2.0 * (1.0 - distance / reach) / (1.0 - RING_INNER / RING_OUTER), 0.0, 1.0)
    # cells of few vertices are noisier and lie askew
    full = np.minimum(cells.n_vertices / np.median(cells.n_vertices), 1.0)[around]
    weight = np.where(same & np.isfinite(distance) & (along2 > (RING_INNER * size_m) ** 2), fading * full, 0.0)
    own = Cells(size_m=size_m, points_m=points, normals=facing, of_vertex=cells.of_vertex, n_vertices=cells.n_vertices)
    far, blend = own.around(cells.points_m, cells.normals, reach, N_BLEND)
    blend = np.where(np.isfinite(far), blend, -1)
    return Rings(
        cells=cells,
        centres=centres,
        axes=axes,
        around=around,
        weight=weight.astype(np.float32),
        uv=(local[..., :2] / reach).astype(np.float32),
        height_m=local[..., 2].astype(np.float32),
        blend=blend,
        reach_m=reach,
    )


def _frames(normals: Array) -> Array:
    helper = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = unit(np.cross(helper, normals))
    return np.stack([first, np.cross(normals, first), normals], axis=1)
