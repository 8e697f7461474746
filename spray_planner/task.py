"""What every step of one spray plan needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cell_core.config import GunConfig, SprayRecipe
from cell_core.operator.coverage import CoverageOperator
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.optimise.dwell import DwellResult, SpeedLimits, optimise_speed
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.masks import Masking
from spray_planner.service import Service, Surroundings

SPEED_KNOT_DEPTHS = 0.8
"""Distance of the knots that speeds are fitted at, in half heights of the fan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One surface, gun and recipe, with what is derived from them once."""

    samples: SurfaceSamples
    caster: RayCaster
    triangle_normals: Array
    footprint: EllipticDoubleBeta
    recipe: SprayRecipe
    gun: GunConfig
    surroundings: Surroundings
    limits: SpeedLimits
    spacing_m: float
    masking: Masking | None = None
    """What is kept free of paint; None: nothing is."""

    @property
    def target_m(self) -> Array:
        """(P,) film wanted at each sample [m]."""
        whole = np.full(len(self.samples), self.recipe.target_thickness_m)
        return whole if self.masking is None else whole * self.masking.paint

    def weights(self, service: Service) -> Array:
        """Return the weight (P,) of each sample's squared error: its area where served, more or less on masks [m2]."""
        own = self.samples.areas_m2 * service.mask
        return own if self.masking is None else own + self.samples.areas_m2 * self.masking.weights

    @property
    def fan_m(self) -> float:
        """Half width of the fan at the recipe's standoff [m]."""
        return self.gun.a_m * self.recipe.standoff_m / self.gun.reference_standoff_m

    @property
    def depth_m(self) -> float:
        """Half height of the fan at the recipe's standoff [m]."""
        return self.gun.b_m * self.recipe.standoff_m / self.gun.reference_standoff_m

    @property
    def step_m(self) -> float:
        """Distance between samples along a stroke [m]."""
        return self.depth_m / 7.0

    def dwell_price_per_s(self, target_m: Array, weights: Array) -> float:
        """Return what a second of spraying costs a fit to targets (P,) with weights (P,) [1/s].

        The recipe's price is on sprayed over wanted volume, against the squared error over the squared thickness; a
        fit has its own mean target.
        """
        volume = float(weights @ target_m)
        wanted_m3_per_s = self.recipe.overspray_price * self.footprint.volume_rate_m3_per_s
        return wanted_m3_per_s * self.recipe.target_thickness_m * float(weights.sum()) / volume**2

    def merit(self, fit: DwellResult, service: Service) -> float:
        """Return the squared residual over the squared mean target plus the price of the time: less is better."""
        target, weights = self.target_m, self.weights(service)
        time_s = sum(float(s.dwell_s.sum()) for s in fit.strokes)
        residual = fit.residual_rms_m / float(weights @ target / weights.sum())
        return residual**2 + self.dwell_price_per_s(target, weights) * time_s

    def fitted(self, operator: CoverageOperator, strokes: Sequence[Stroke], service: Service) -> DwellResult:
        """Return the strokes at the speeds that fit the target best."""
        target, weights = self.target_m, self.weights(service)
        return optimise_speed(
            operator,
            strokes,
            target,
            weights,
            self.limits,
            knot_m=SPEED_KNOT_DEPTHS * self.depth_m,
            dwell_price_per_s=self.dwell_price_per_s(target, weights),
        )

    @property
    def nominal_speed_m_per_s(self) -> float:
        """Speed of a flat raster at the target."""
        return self.footprint.volume_rate_m3_per_s / (self.recipe.target_thickness_m * self.spacing_m)
