"""A part as a round tool finds it: where it can stand, what it can reach from there, what lines of it pass over."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.errors import CoverageError
from cell_core.meshes.remesh import process_mesh
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, points_by_area
from cell_core.strokes.access import RoundTool, reached, seats, touches
from cell_core.strokes.layout import Line
from cell_core.surface import Surface
from cell_core.transforms import Array

EDGES_PER_RADIUS = 3.0
SAMPLES_PER_RADIUS = 7.0
SAMPLES_MIN = 60_000
"""Small parts are sampled finer than the tool asks for: their features are small."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A part as a round tool finds it."""

    tool: RoundTool
    part: Surface
    mesh: Surface
    """The part in triangles much smaller than the tool."""
    caster: RayCaster
    seat: NDArray[np.bool_]
    """(T,) triangles of `mesh` the tool can stand on."""
    outward: Array
    """(T, 3) unit, from the contact along the tool."""
    samples: SurfaceSamples
    """The serviceable points of the part: those that a tool on some seat touches."""
    area_m2: float
    """Area of the whole part as sampled."""

    @cached_property
    def tree(self) -> KDTree:
        """Nearest centroid of the mesh's triangles."""
        return KDTree(self.mesh.centroids_m)

    def samples_near(self, seats: NDArray[np.int64]) -> SurfaceSamples:
        """Return the samples that a tool on some of these seats touches."""
        at, reach_m = self.mesh.centroids_m[seats], float(np.hypot(self.tool.radius_m, self.tool.depth_m))
        low, high = at.min(axis=0) - reach_m, at.max(axis=0) + reach_m
        points = self.samples.points_m
        near = self.samples.select(((points >= low) & (points <= high)).all(axis=1))
        return near.select(reached(near.points_m, near.normals, at, self.outward[seats], self.tool))

    @property
    def serviceable_area_m2(self) -> float:
        """Area the tool can touch [m2]."""
        return float(self.samples.areas_m2.sum())


def find_ground(part: Surface, tool: RoundTool) -> Ground:
    """Return where the tool can stand on a part and what it can reach from there.

    Raises:
        CoverageError: the tool can stand nowhere.
    """
    caster = RayCaster(part)
    mesh = process_mesh(part, tool.radius_m / EDGES_PER_RADIUS)
    seat, outward = seats(mesh, caster, tool)
    if not seat.any():
        raise CoverageError(
            f"a round tool of {1e3 * tool.radius_m:.3g} mm radius can stand nowhere on {part.area_m2:.5f} m2",
            area_m2=part.area_m2,
        )
    spacing_m = min(tool.radius_m / SAMPLES_PER_RADIUS, float(np.sqrt(part.area_m2 / SAMPLES_MIN)))
    samples = points_by_area(part, spacing_m)
    served = reached(samples.points_m, samples.normals, mesh.centroids_m[seat], outward[seat], tool)
    return Ground(
        tool=tool, part=part, mesh=mesh, caster=caster, seat=seat, outward=outward, samples=samples.select(served),
        area_m2=float(samples.areas_m2.sum()),
    )


def passes_over(samples: SurfaceSamples, lines: Sequence[Line], tool: RoundTool) -> NDArray[np.int64]:
    """Return how many of the lines touch each sample (P,)."""
    count = np.zeros(len(samples), np.int64)
    for line in lines:
        count += np.diff(touches(samples, line.surface_m, line.normal, tool).indptr) > 0
    return count
