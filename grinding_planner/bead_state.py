"""The ground under a bead between two passes, and what is wrong with it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from grinding_planner.samples import SurfaceSamples

AIM_M = 8e-6
"""Passes aim this high above the parent: the middle between the 30 um that may be left and 15 um of undercut."""
UNDERCUT_WEIGHT = 8.0
ENOUGH, ENOUGH_DOUBT = 0.1, 0.25
"""No more passes once what surely is left comes down to these shares of what may be left and of what is in doubt."""
HIGH, HIGH_DOUBT, HIGH_WEIGHT_MAX = 0.5, 0.4, 10.0
"""The bound is on the highest that is left: what stands so high, in the same shares, weighs twice as much."""
RESERVE, DEEP_DOUBT = 1.0, 0.1
"""So much stands for what is in doubt, and a pass may use up this much of it, both as shares of the doubt."""
TOUCHED_M = 1e-7


@dataclass(frozen=True, kw_only=True)
class Care:
    """What passes are careful about."""

    gain_error: float
    """The tool may take so much more or less than its coefficient says, the same share in every pass."""
    force_error_n: float
    """Force control may be off by this much."""
    left_max_m: float
    """So much of a bead may be left."""
    spare_m: float
    """What is in doubt by no more than this needs nothing left standing for it."""
    undercut_max_m: float
    """No pass is run that goes deeper below the parent in the model."""

    def error_at(self, force_n: float) -> float:
        """Return by which share of its depth a pass at that force may be off."""
        return float(np.hypot(self.gain_error, self.force_error_n / force_n))


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadState:
    """The ground between two passes; arrays are (S,)."""

    surface: SurfaceSamples
    height_m: Array
    wanted: NDArray[np.bool_]
    removed_m: Array
    seen_m: Array
    """How far the height may be wrong from the start."""
    ground_m: Array
    """How far off what the passes took may be: what makes it so is the same in all of them, so it adds up."""
    harmed_m: Array
    """What the parent lost at worst."""
    guard: Array
    """How much more than others a sample's undercut weighs."""
    care: Care

    @property
    def doubt_m(self) -> Array:
        """How far off the ground may be by now."""
        return np.hypot(self.seen_m, self.ground_m)

    @property
    def lowest_m(self) -> Array:
        """What the ground may have lost by now, were the bead as low as it may be."""
        return self.removed_m + np.where(self.wanted, self.doubt_m, 0.0)

    @property
    def left_m(self) -> Array:
        """What surely stands above the parent, or is missing of it."""
        reserve = np.maximum(RESERVE * self.doubt_m - self.care.spare_m, 0.0)
        return np.where(
            self.wanted, self.height_m - self.removed_m - reserve, np.minimum(self.height_m - self.harmed_m, 0.0)
        )

    @property
    def cost(self) -> float:
        """What is wrong with the ground: squares over its area [m4]."""
        left = self.left_m
        over = np.maximum(left - AIM_M, 0.0) ** 2 * self._high_weight
        return float(self.surface.areas_m2 @ (over + UNDERCUT_WEIGHT * np.minimum(left, 0.0) ** 2))

    @property
    def enough(self) -> float:
        """The cost at which no more passes are worth it."""
        own = self.wanted
        return float(
            self.surface.areas_m2[own] @ (ENOUGH * self.care.left_max_m + ENOUGH_DOUBT * self.doubt_m[own]) ** 2
        )

    def goal_m(self, force_n: float) -> Array:
        """Return what a pass at that force is to take: with it grows what must stay for what may go wrong."""
        goal = np.where(self.wanted, np.maximum(self.left_m - AIM_M, 0.0), 0.0)
        for _ in range(2):
            after = np.hypot(self.seen_m, self.ground_m + self.care.error_at(force_n) * goal)
            reserve = np.maximum(RESERVE * after - self.care.spare_m, 0.0)
            goal = np.where(self.wanted, np.maximum(self.height_m - self.removed_m - reserve - AIM_M, 0.0), 0.0)
        return goal

    def without(self, taken_m: Array, harm_m: Array, force_n: float) -> "BeadState":
        """Return the ground after a pass at that force; `harm_m` (S,) is what the parent lost at worst."""
        return replace(
            self,
            removed_m=self.removed_m + taken_m,
            ground_m=self.ground_m + np.where(self.wanted, taken_m, 0.0) * self.care.error_at(force_n),
            harmed_m=self.harmed_m + harm_m,
        )

    @property
    def weights(self) -> Array:
        """(S,) weight of what is wrong there, as the ground is now."""
        left = self.left_m
        on_bead = (left > AIM_M) & self.wanted
        return self.surface.areas_m2 * np.where(on_bead, self._high_weight, UNDERCUT_WEIGHT) * self.guard

    @property
    def _high_weight(self) -> Array:
        high = HIGH * self.care.left_max_m + HIGH_DOUBT * self.doubt_m
        return np.minimum(1.0 + (np.maximum(self.left_m - AIM_M, 0.0) / high) ** 2, HIGH_WEIGHT_MAX)

    def too_deep(self, before: "BeadState") -> NDArray[np.bool_]:
        """Return where the last pass took what it must not."""
        changed = (self.removed_m - before.removed_m) + (self.harmed_m - before.harmed_m)
        bound = self.care.undercut_max_m + DEEP_DOUBT * np.where(self.wanted, self.doubt_m, 0.0)
        return (self.left_m < -bound) & (changed > TOUCHED_M)
