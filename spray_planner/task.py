"""What every step of one spray plan needs."""

from dataclasses import dataclass

from cell_core.config import GunConfig, SprayRecipe
from cell_core.operator.footprint import GunFootprint
from cell_core.optimise.dwell import SpeedLimits
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.transforms import Array
from spray_planner.service import Surroundings


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

    @property
    def nominal_speed_m_per_s(self) -> float:
        """Speed of a flat raster at the target."""
        return self.footprint.volume_rate_m3_per_s / (self.recipe.target_thickness_m * self.spacing_m)
