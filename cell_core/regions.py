"""Regions of space that a recipe names: how deep points lie in them."""

import numpy as np

from cell_core.config.masks import BoxMask, MaskRegion, SphereMask
from cell_core.transforms import Array


def depth_inside(region: MaskRegion, points_m: Array) -> Array:
    """Return how far points (P, 3) lie inside a region's border [m]; below 0 outside."""
    if isinstance(region, SphereMask):
        return region.radius_m - np.linalg.norm(points_m - np.array(region.centre_m), axis=1)
    if isinstance(region, BoxMask):
        return (0.5 * np.array(region.size_m) - np.abs(points_m - np.array(region.centre_m))).min(axis=1)
    start, stop = np.array(region.from_m), np.array(region.to_m)
    length = float(np.linalg.norm(stop - start))
    axis = (stop - start) / length
    along = (points_m - start) @ axis
    aside = np.linalg.norm(points_m - start - along[:, None] * axis, axis=1)
    return np.minimum.reduce([region.radius_m - aside, along, length - along])


def feathered(region: MaskRegion, points_m: Array) -> Array:
    """Return the region's share at points (P, 3): 0 outside, rising evenly over soft_edge_m inside its border to 1."""
    depth = depth_inside(region, points_m)
    if region.soft_edge_m <= 0.0:
        return (depth > 0.0).astype(float)
    return np.clip(depth / region.soft_edge_m, 0.0, 1.0)
