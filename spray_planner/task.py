"""What every step of one spray plan needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.config import GunConfig, SprayRecipe
from cell_core.operator.footprint import GunFootprint
from cell_core.optimise.dwell import SpeedLimits
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array
from spray_planner.clearance import PartView, Surroundings
from spray_planner.goal import Goal
from spray_planner.masks import Masking
from spray_planner.service import Service

STANDOFF_PLAY_M = 0.01
"""Motion planning may shift the gun by this along its axis; the film changes by (1 +/- play / standoff)^-2 [m]."""
TRANSITION_S = 2.0
"""What a move from stroke to stroke costs when layouts are compared [s]."""
TIME_PRICE = 0.01
"""Residual fraction that strokes must gain to take as long again as the paint needs at full catch."""
SPEED_KNOT_DEPTHS = 0.8
"""Distance of the knots that speeds are fitted at, in half heights of the fan."""


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
    masking: Masking | None = None
    """What is kept free of paint; None: nothing is."""

    @property
    def paint(self) -> Array:
        """(P,) share of the film that is wanted at each sample, 1 where nothing is masked."""
        return np.ones(len(self.samples)) if self.masking is None else self.masking.paint

    @property
    def target_m(self) -> Array:
        """(P,) film wanted at each sample [m]."""
        return self.recipe.target_thickness_m * self.paint

    @property
    def wastes_freely(self) -> bool:
        """Whether paint costs nothing wherever it lands."""
        return self.recipe.overspray_price == 0.0 and self.masking is None

    def masked_near(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples not painted wholly that a gun over some of these might reach."""
        if self.masking is None:
            return np.zeros(0, np.int64)
        rest = np.flatnonzero(self.masking.weights > 0.0)
        points = self.samples.points_m
        near = KDTree(points[members]).query(points[rest], distance_upper_bound=self.fan_m)[0]
        return rest[np.isfinite(near)]

    def on_mask_fraction(self, film_m: Array, strokes: Sequence[Stroke]) -> float:
        """Return the film (P,) deep in a mask over what the whole cone of these strokes would have left."""
        if self.masking is None:
            return 0.0
        sprayed_m3 = self.footprint.volume_rate_m3_per_s * sum(float(s.dwell_s.sum()) for s in strokes)
        deep = self.masking.deep
        return float(self.samples.areas_m2[deep] @ film_m[deep]) / sprayed_m3

    def keeping_out(self, factor: float) -> "Task":
        """Return the task with film deep in masks counting so many times as much."""
        return self if self.masking is None else replace(self, masking=self.masking.weighed_up(factor))

    def weights(self, service: Service) -> Array:
        """Return the weight (P,) of each sample's squared error: its area where served, more or less on masks [m2]."""
        own = self.samples.areas_m2 * service.mask
        return own if self.masking is None else own + self.samples.areas_m2 * self.masking.weights

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

    @property
    def freedom(self) -> Freedom:
        """What motion may change of a pose at the recipe's standoff."""
        low, high = (limit - self.recipe.standoff_m for limit in (self.gun.standoff_m.low, self.gun.standoff_m.high))
        return Freedom(
            spin=self.gun.stroke_spin,
            tilt_rad=self.gun.tilt_max_rad,
            standoff_m=(max(low, -STANDOFF_PLAY_M), min(high, STANDOFF_PLAY_M)),
        )

    def goal(self, service: Service) -> Goal:
        """Return what strokes are to leave on all samples."""
        return self.goal_on(self.weights(service), self.target_m)

    def goal_on(self, weights: Array, target_m: Array) -> Goal:
        """Return the goal of targets [m] on samples with weights [m2], any number of them."""
        return Goal(
            target_m=target_m,
            weights=weights,
            thickness_m=self.recipe.target_thickness_m,
            price=self.recipe.overspray_price,
            volume_rate_m3_per_s=self.footprint.volume_rate_m3_per_s,
            limits=self.limits,
            knot_m=SPEED_KNOT_DEPTHS * self.depth_m,
        )

    @property
    def nominal_speed_m_per_s(self) -> float:
        """Speed of a flat raster at the target."""
        return self.footprint.volume_rate_m3_per_s / (self.recipe.target_thickness_m * self.spacing_m)
