"""What the coverage operator asks of a footprint: how fast a tool pose changes the surface at each point around it."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating[Any]]
"""float32 or float64; answers have the precision of the question."""


class Footprint(Protocol):
    """Rates in tool coordinates: x along travel, y across it, z from the tool into the surface, origin the TCP."""

    @property
    def reach_m(self) -> float:
        """No point farther than this from the TCP gets anything [m]."""
        ...

    @property
    def occludes(self) -> bool:
        """True where the line from TCP to point must be free, as for guns."""
        ...

    def rates(self, local_points_m: Reals, local_normals: Reals, pose_index: NDArray[np.int64]) -> Reals:
        """Return the rate of change (P,) [m/s], >= 0, for the process at the value the footprint was made with.

        Points (P, 3) and their outward normals (P, 3) are each in the tool coordinates of sample `pose_index` (P,),
        float32 or float64. The coverage operator asks only about points that `may_reach` lets through as balls of
        radius 0. Work element by element, in the precision given: a sum over pairs or a call into BLAS would let the
        result depend on how pairs are grouped.
        """
        ...

    def may_reach(self, local_centres_m: Reals, radius_m: Reals) -> NDArray[np.bool_]:
        """Return whether balls (P, 3), radii (P,), in tool coordinates may hold a point with a rate; True if unsure."""
        ...


@runtime_checkable
class SweptFootprint(Footprint, Protocol):
    """A footprint that knows its mean over a short straight sweep: for sharp edges no number of poses is enough."""

    def swept_rates(
        self,
        local_points_m: Reals,
        local_normals: Reals,
        pose_index: NDArray[np.int64],
        behind_m: Reals,
        ahead_m: Reals,
    ) -> Reals:
        """Return the mean rate (P,) [m/s] while the tool moves along its x axis from -behind_m to +ahead_m (P,)."""
        ...
