"""What a fit aims at: film wanted per sample, how much each sample counts, and what a second of spraying costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult, SpeedLimits
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.grouped import optimise_in_groups


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """Even film at the price of overspray, on some samples."""

    target_m: Array
    """(P,) film wanted [m]."""
    weights: Array
    """(P,) >= 0, usually the areas they stand for [m2]."""
    thickness_m: float
    """Film that squared errors are taken over [m]."""
    price: float
    """Squared CV that may be given up to spray one film volume less."""
    volume_rate_m3_per_s: float
    limits: SpeedLimits
    knot_m: float

    @cached_property
    def mean_m(self) -> float:
        """Weighted mean of the target [m]."""
        return float(self.weights @ self.target_m / self.weights.sum())

    @cached_property
    def price_per_s(self) -> float:
        """What a second of spraying adds to the squared error over the squared mean target [1/s]."""
        volume_m3 = float(self.weights @ self.target_m)
        return self.price * self.volume_rate_m3_per_s * self.thickness_m / (volume_m3 * self.mean_m)

    def fitted(self, operator: CoverageOperator, strokes: Sequence[Stroke], *, rounds_max: int = 20) -> DwellResult:
        """Return the strokes at the speeds that meet the goal best."""
        return optimise_in_groups(
            operator,
            strokes,
            self.target_m,
            self.weights,
            self.limits,
            knot_m=self.knot_m,
            dwell_price_per_s=self.price_per_s,
            rounds_max=rounds_max,
        )

    def merit(self, fit: DwellResult) -> float:
        """Return the squared residual over the squared mean target plus the price of what misses: less is better."""
        time_s = sum(float(s.dwell_s.sum()) for s in fit.strokes)
        landed_s = float(self.weights @ self.target_m) / self.volume_rate_m3_per_s
        return (fit.residual_rms_m / self.mean_m) ** 2 + self.price_per_s * (time_s - landed_s)

    def score(self, fit: DwellResult) -> float:
        """Return the root of the merit: the residual fraction where paint costs nothing."""
        return float(np.sqrt(max(self.merit(fit), 0.0)))
