"""What each sample is to lose, and where nothing may touch: maps, spots, keep-outs and thin walls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.config import GrindRecipe, GrindToolConfig
from cell_core.raycast import RayCaster
from cell_core.regions import depth_inside, feathered
from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.edges import find_edges
from grinding_planner.samples import SurfaceSamples, linear_fit
from grinding_planner.task import GrindTask

MAP_REACH = 0.6
"""Values of a map count towards a sample within about this many sample spacings."""
EDGE_SPACINGS = 0.8
"""A sample this many spacings from an edge lies at it."""
INWARD_M = 1e-5
"""Rays for a wall's thickness start this far below its face."""
ASSUMED_DOUBT = 0.15
"""A Preston coefficient that nobody has identified may be higher by this share."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """The task at the samples."""

    depth_m: Array
    """(S,) depth to remove [m]."""
    forbidden: NDArray[np.bool_]
    """(S,) samples no tool may press: in a keep-out, or on a wall with nothing to spare."""
    figures: dict[str, float]
    """Areas kept out and walls guarded."""


def wanted_at(task: GrindTask, samples: SurfaceSamples) -> Wanted:
    """Return the depth wanted at samples and where nothing may touch."""
    recipe = task.recipe
    if task.wanted_m is not None:
        depth = carried(task.surface, task.wanted_m, samples)
    elif recipe.strategy == "spot":
        depth = recipe.target_depth_m * np.max([feathered(spot, samples.points_m) for spot in recipe.spots], axis=0)
    else:
        depth = np.full(len(samples), recipe.target_depth_m)
    return guarded(task, samples, depth)


def guarded(task: GrindTask, samples: SurfaceSamples, depth_m: Array) -> Wanted:
    """Return a depth (S,) less what keep-outs, kept edges and walls hold back, and where nothing may touch."""
    recipe, areas, depth = task.recipe, samples.areas_m2, depth_m
    forbidden = np.zeros(len(samples), bool)
    figures: dict[str, float] = {}
    if recipe.keep_out:
        share = np.max([feathered(region, samples.points_m) for region in recipe.keep_out], axis=0)
        forbidden |= np.any([depth_inside(region, samples.points_m) > 0.0 for region in recipe.keep_out], axis=0)
        depth = depth * (1.0 - share)
        figures["kept_out_area_m2"] = float(areas @ forbidden)
    if recipe.keep_edges:
        kept = _on_edges(task, samples)
        forbidden |= kept
        figures["kept_edge_area_m2"] = float(areas @ kept)
    if recipe.wall_min_m is not None:
        spare = spare_wall_m(samples, task.surface, task.cad, recipe.wall_min_m)
        figures["wall_limited_area_m2"] = float(areas @ (spare < depth))
        figures["wall_least_m"] = float(np.min(spare, initial=np.inf) + recipe.wall_min_m)
        depth, forbidden = np.clip(spare, 0.0, depth), forbidden | (spare <= 0.0)
    return Wanted(depth_m=np.where(forbidden, 0.0, depth), forbidden=forbidden, figures=figures)


def _on_edges(task: GrindTask, samples: SurfaceSamples) -> NDArray[np.bool_]:
    edges = find_edges(task.surface, task.recipe.edge_angle_min_rad, task.recipe.edge_length_min_m)
    if not edges:
        return np.zeros(len(samples), bool)
    crest = np.concatenate([edge.even(0.5 * samples.spacing_m).position_m for edge in edges])
    return KDTree(crest).query(samples.points_m)[0] < EDGE_SPACINGS * samples.spacing_m


def carried(surface: Surface, values: Array, samples: SurfaceSamples) -> Array:
    """Return a map on the surface's vertices (V,) at the samples (S,)."""
    carry = linear_fit(
        surface.vertices_m, surface.vertex_normals, samples.points_m, samples.normals, MAP_REACH * samples.spacing_m
    )
    # a plane through a map's rim dips below 0 and stands above its highest value
    return np.clip(carry @ values, 0.0, values.max())


def cautious(depth_m: Array, recipe: GrindRecipe, tool: GrindToolConfig) -> Array:
    """Return the depth (S,) [m] to plan for: less where a later cycle can take what a low coefficient leaves.

    What is gone nothing puts back. With cycles to come, a map is taken off as if the Preston coefficient were at the
    upper end of its interval; the scan after it tells the coefficient, and the next cycle takes the rest.
    """
    if recipe.cycles_max == 1:
        return depth_m
    interval = tool.preston_interval_per_pa
    return depth_m / (1.0 + ASSUMED_DOUBT if interval is None else interval.high / tool.preston_per_pa)


def spare_wall_m(samples: SurfaceSamples, surface: Surface, cad: Surface | None, wall_min_m: float) -> Array:
    """Return how much of the wall at each sample may go (S,) [m]; infinite where no far side is known, may be below 0.

    The thickness is that of the CAD under the sample, with what stands above it, or without a CAD the surface's own:
    from a face straight inwards to the first face that looks the other way.
    """
    if cad is None:
        return _thickness_m(surface, samples.points_m, samples.normals) - wall_min_m
    nearest, triangle = RayCaster(cad).closest(samples.points_m)
    normal = cad.triangle_normals[triangle]
    above = np.einsum("ij,ij->i", samples.points_m - nearest, normal)
    return _thickness_m(cad, nearest, normal) + above - wall_min_m


def _thickness_m(surface: Surface, points_m: Array, normals: Array) -> Array:
    distance, triangle = RayCaster(surface).first_hit(points_m - INWARD_M * normals, -normals)
    outward = -np.einsum("ij,ij->i", surface.triangle_normals[triangle], normals)
    return np.where(np.isfinite(distance) & (outward > 0.0), distance + INWARD_M, np.inf)
