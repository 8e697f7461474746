"""How far apart the lines of offset coats lie, so that all coats together are as even as their spacing allows."""

import numpy as np

from cell_core.operator.footprint import Footprint
from cell_core.transforms import Array

GRID = 201
TRIED = 120
OWN_LEAST = 0.55
"""A coat on a plane leaves at least this share of its mean everywhere: no bare stripes between its lines."""
WIDEST_SHARE = 0.6
"""Spacings down to this share of the widest are tried: closer lines take more strokes."""


def stripe_of(
    footprint: Footprint, standoff_m: float, half_width_m: float, half_height_m: float
) -> tuple[Array, Array]:
    """Return places across a straight stroke (M,) [m] and the film it leaves there on a plane, any scale (M,)."""
    across = np.linspace(-half_width_m, half_width_m, 2 * GRID + 1)
    along = np.linspace(-half_height_m, half_height_m, GRID)
    x, y = (g.ravel() for g in np.meshgrid(along, across, indexing="ij"))
    points = np.column_stack([x, y, np.full(len(x), standoff_m)])
    normals = np.tile([0.0, 0.0, -1.0], (len(x), 1))
    rates = footprint.rates(points, normals, np.zeros(len(x), np.int64))
    return across, np.asarray(rates, float).reshape(GRID, -1).sum(axis=0)


def film_between(across_m: Array, stripe: Array, spacing_m: float) -> Array:
    """Return the film of parallel strokes on a plane, from one line to the next, over its mean (GRID,)."""
    at = np.linspace(0.0, spacing_m, GRID, endpoint=False)
    reach = int(np.ceil(across_m[-1] / spacing_m)) + 1
    film = sum(np.interp(at - k * spacing_m, across_m, stripe, 0.0, 0.0) for k in range(-reach, reach + 2))
    return np.asarray(film, float) / float(np.mean(film))


def offset_spacing_m(across_m: Array, stripe: Array, coats: int, lowest_m: float, highest_m: float) -> float:
    """Return the distance of one coat's lines where `coats` coats share a pattern of that distance over their number.

    Widest is what leaves no bare stripes between the lines of a coat; from there down, the one is taken whose whole
    pattern has the least ripple, which is near a zero of the stripe's spectrum.

    Args:
        lowest_m: bounds of the distance [m]; where they leave nothing else, the nearer of them is returned.
    """
    tried = np.linspace(0.3, 2.0, TRIED) * across_m[-1]
    sound = [d for d in tried if film_between(across_m, stripe, d).min() >= OWN_LEAST]
    widest = max(sound, default=float(tried[0]))
    low, high = max(WIDEST_SHARE * widest, lowest_m), min(widest, highest_m)
    if low >= high:
        return float(np.clip(widest, lowest_m, max(highest_m, lowest_m)))
    tried = np.linspace(low, high, TRIED)
    uneven = [float(np.std(film_between(across_m, stripe, d / coats))) for d in tried]
    return float(tried[int(np.argmin(uneven))])
