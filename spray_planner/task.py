"""What every step of one spray plan needs."""

from dataclasses import dataclass
from functools import cached_property

from cell_core.config import GunConfig, SprayRecipe
from cell_core.operator.footprint import GunFootprint
from cell_core.optimise.dwell import DwellResult, SpeedLimits
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.transforms import Array
from spray_planner.clearance import PartView, Surroundings

STANDOFF_PLAY_M = 0.01
"""Motion planning may shift the gun by this along its axis; the film changes by (1 +/- play / standoff)^-2 [m]."""
TRANSITION_S = 2.0
"""What a move from stroke to stroke costs when layouts are compared [s]."""
TIME_PRICE = 0.01
"""Residual fraction that strokes must gain to take as long again as the paint needs at full catch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One surface, gun and recipe, with what is derived from them once."""

    samples: SurfaceSamples
    caster: RayCaster
    triangle_normals: Array
    footprint: GunFootprint
    recipe: SprayRecipe
    gun: GunConfig
    surroundings: Surroundings
    limits: SpeedLimits
    spacing_m: float

    @cached_property
    def part(self) -> PartView:
        """The part as a gun may not touch it."""
        return PartView(caster=self.caster, tree=self.samples.tree, triangle_normals=self.triangle_normals)

    @property
    def fan_m(self) -> float:
        """Half width of the fan at the recipe's standoff [m]."""
        return self.footprint.half_width_m * self._spread

    @property
    def depth_m(self) -> float:
        """Half height of the fan at the recipe's standoff [m]."""
        return self.footprint.half_height_m * self._spread

    @property
    def detail_m(self) -> float:
        """Half width of the fan's smallest feature at the recipe's standoff [m]."""
        return self.footprint.detail_m * self._spread

    @property
    def step_m(self) -> float:
        """Distance between samples along a stroke [m]."""
        return self.detail_m / 7.0

    @property
    def _spread(self) -> float:
        return self.recipe.standoff_m / self.gun.reference_standoff_m

    def dwell_price_per_s(self, target_m: Array, weights: Array) -> float:
        """Return what a second of spraying costs a fit to targets (P,) with weights (P,) [1/s].

        The recipe's price is on sprayed over wanted volume, against the squared error over the squared thickness; a
        fit has its own mean target.
        """
        volume = float(weights @ target_m)
        wanted_m3_per_s = self.recipe.overspray_price * self.footprint.volume_rate_m3_per_s
        return wanted_m3_per_s * self.recipe.target_thickness_m * float(weights.sum()) / volume**2

    def merit(self, fit: DwellResult, target_m: Array, weights: Array) -> float:
        """Return the squared residual over the squared mean target plus the price of the time: less is better."""
        mean = float(weights @ target_m / weights.sum())
        time_s = sum(float(s.dwell_s.sum()) for s in fit.strokes)
        return (fit.residual_rms_m / mean) ** 2 + self.dwell_price_per_s(target_m, weights) * time_s

    @property
    def nominal_speed_m_per_s(self) -> float:
        """Speed of a flat raster at the target."""
        return self.footprint.volume_rate_m3_per_s / (self.recipe.target_thickness_m * self.spacing_m)
