"""The ground under a bead between two passes, and what is wrong with it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from grinding_planner.samples import SurfaceSamples

AIM_M = 5e-6
"""Passes aim this high above the parent: they end above their aim, which 30 um left and 15 um of undercut allow for."""
UNDERCUT_WEIGHT, UNDERCUT_FREE_M = 12.0, 7e-6
"""Down to so far below the parent counts little, further for so much more."""
UNDERCUT_WEIGHT_FREE = 2.0
PEAK_M, PEAK_WEIGHT_MAX = 20e-6, 10.0
"""What stands high counts for more than its square, up to so much more: the highest is judged, not the mean."""
ENOUGH_M, ENOUGH_DOUBT = 3e-6, 0.2
"""No more passes once what surely is left above the aim comes down to this much, and this share of what is in doubt."""
HIGHEST_M = 12e-6
"""Nor does any place stand this high by then: a rim of a millimetre weighs little in a cost over the whole bead."""
TOUCHED_M = 1e-7


@dataclass(frozen=True, kw_only=True)
class Care:
    """What passes are careful about."""

    force_error_n: float
    """Force control may be off by this much: what a pass could take too much stays standing."""
    undercut_max_m: float
    """No pass is run that goes deeper below the parent in the model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadState:
    """The ground between two passes; arrays are (S,)."""

    surface: SurfaceSamples
    height_m: Array
    wanted: NDArray[np.bool_]
    removed_m: Array
    doubt_m: Array
    harmed_m: Array
    """What the parent lost at worst."""
    guard: Array
    """How much more than others a sample's undercut weighs."""
    care: Care

    @cached_property
    def left_m(self) -> Array:
        """What surely stands above the parent, or is missing of it."""
        return np.where(
            self.wanted, self.height_m - self.removed_m - self.doubt_m, np.minimum(self.height_m - self.harmed_m, 0.0)
        )

    @cached_property
    def cost(self) -> float:
        """What is wrong with the ground: squares over its area [m4]."""
        return cost_of(self.surface.areas_m2, self.left_m)

    @cached_property
    def enough(self) -> float:
        """The cost at which no more passes are worth it."""
        own = self.wanted
        return cost_of(self.surface.areas_m2[own], AIM_M + ENOUGH_M + ENOUGH_DOUBT * self.doubt_m[own])

    @property
    def done(self) -> bool:
        """Whether no more passes are worth it."""
        return self.cost <= self.enough and float(self.left_m.max()) <= HIGHEST_M

    def without(self, taken_m: Array, harm_m: Array, force_n: float) -> "BeadState":
        """Return the ground after a pass at that force; `harm_m` (S,) is what the parent lost at worst."""
        return replace(
            self,
            removed_m=self.removed_m + taken_m,
            doubt_m=self.doubt_m + np.where(self.wanted, taken_m, 0.0) * (self.care.force_error_n / force_n),
            harmed_m=self.harmed_m + harm_m,
        )

    def too_deep(self, before: "BeadState") -> NDArray[np.bool_]:
        """Return where the last pass took what it must not."""
        low = np.where(self.wanted, self.height_m - self.removed_m, np.minimum(self.height_m, 0.0) - self.harmed_m)
        changed = (self.removed_m - before.removed_m) + (self.harmed_m - before.harmed_m)
        return (low < -self.care.undercut_max_m) & (changed > TOUCHED_M)


def cost_of(areas_m2: Array, left_m: Array) -> float:
    """Return the cost of what surely stands above the parent (S,), or is missing of it where below 0."""
    over = np.maximum(left_m - AIM_M, 0.0)
    under = np.maximum(-left_m, 0.0)
    deep = np.maximum(under - UNDERCUT_FREE_M, 0.0)
    return float(areas_m2 @ (peak_weight(over) * over**2 + under**2 + UNDERCUT_WEIGHT * deep**2))


def miss_weight(left_m: Array, wanted: NDArray[np.bool_]) -> Array:
    """Return what a squared error of a pass weighs where so much surely stands above the parent (S,)."""
    undercut = np.where(left_m < -UNDERCUT_FREE_M, UNDERCUT_WEIGHT, UNDERCUT_WEIGHT_FREE)
    return np.where(wanted & (left_m > AIM_M), peak_weight(np.maximum(left_m - AIM_M, 0.0)), undercut)


def peak_weight(over_m: Array) -> Array:
    """Return how much more than its square counts what stands so high above the aim (S,)."""
    return np.minimum(1.0 + (over_m / PEAK_M) ** 2, PEAK_WEIGHT_MAX)
