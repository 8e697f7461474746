"""What may lie beyond the borders of a surface scanned so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from cell_scanning.holes import boundary_edges
from cell_scanning.measurability import Patches

BENDS_RAD = (-np.pi / 2, -np.pi / 4, 0.0, np.pi / 4, np.pi / 2)
"""The surface may go on bent by these angles: rising wall, concave, flat, convex, falling wall."""
STEP_M = 0.008
"""Distance of a supposed patch from the border; more than the depth filter cuts at edges."""
WIDTH_M = 0.02
"""Supposed width of what is missing along a border."""
FLOOR_BAND_M = 0.010
"""Borders this near to the fixture plane are where it was cut away."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frontier:
    """Supposed continuations of the borders."""

    patches: Patches
    areas_m2: Array
    """(P,) surface each patch stands for; the bends of one border share its area."""
    bend_rad: Array
    """(P,) by how much the surface is supposed to bend there."""
    place: NDArray[np.int64]
    """(P,) number of the piece of border that the patch lies beyond."""


def find_frontier(
    surface: Surface, floor_z_m: float, edges: NDArray[np.int64] | None = None, step_m: float = STEP_M
) -> Frontier:
    """Return supposed patches beyond every border that is not the cut above the fixture plane.

    `edges` (E, 2) are the directed border edges to look beyond; None: all there are. Patches lie `step_m` beyond.
    """
    edges = boundary_edges(surface) if edges is None else edges
    a, b = surface.vertices_m[edges[:, 0]], surface.vertices_m[edges[:, 1]]
    along = b - a
    normals = unit(surface.vertex_normals[edges[:, 0]] + surface.vertex_normals[edges[:, 1]])
    middle = 0.5 * (a + b)
    # the surface lies to the left of its border edges
    outward = np.cross(along, normals)
    length = np.linalg.norm(along, axis=1)
    above = middle[:, 2] > floor_z_m + FLOOR_BAND_M
    points, (out, normal), weight = pooled(middle[above], [outward[above], normals[above]], length[above], STEP_M)
    straight = np.linalg.norm(out, axis=1) > 0.3 * weight
    points, out, normal, weight = points[straight], unit(out[straight]), unit(normal[straight]), weight[straight]
    out = unit(out - np.sum(out * normal, axis=1, keepdims=True) * normal)
    positions, facing = [], []
    for bend in BENDS_RAD:
        positions.append(points + step_m * (np.cos(bend) * out - np.sin(bend) * normal))
        facing.append(np.cos(bend) * normal + np.sin(bend) * out)
    position, direction = np.concatenate(positions), np.concatenate(facing)
    areas = np.tile(weight * WIDTH_M / len(BENDS_RAD), len(BENDS_RAD))
    keep = position[:, 2] > floor_z_m + 0.5 * FLOOR_BAND_M
    return Frontier(
        patches=Patches(points_m=position[keep], normals=direction[keep]),
        areas_m2=areas[keep],
        bend_rad=np.repeat(BENDS_RAD, len(points))[keep],
        place=np.tile(np.arange(len(points)), len(BENDS_RAD))[keep],
    )


def pooled(points_m: Array, vectors: list[Array], weights: Array, cell_m: float) -> tuple[Array, list[Array], Array]:
    """Pool weighted points (N, 3) in cubic cells; returns mean points, sums of vectors and sums of weights."""
    if len(points_m) == 0:
        return np.zeros((0, 3)), [np.zeros((0, 3)) for _ in vectors], np.zeros(0)
    cell = np.floor(points_m / cell_m).astype(np.int64)
    _, label = np.unique(cell, axis=0, return_inverse=True)
    label = label.reshape(-1)
    n = int(label.max()) + 1
    total = np.bincount(label, weights, n).astype(float)

    def summed(values: Array) -> Array:
        return np.stack([np.bincount(label, values[:, i], n).astype(float) for i in range(3)], axis=1)

    mean = summed(points_m * weights[:, None]) / np.maximum(total, 1e-30)[:, None]
    return mean, [summed(v) for v in vectors], total


def surface_patches(surface: Surface, cell_m: float) -> tuple[Patches, Array, NDArray[np.int64]]:
    """Return patches of the known surface, their areas (P,) [m2] and the patch number (V,) of each vertex."""
    cell = np.floor(surface.vertices_m / cell_m).astype(np.int64)
    # the two sides of a thin sheet must not be pooled
    side = np.argmax(np.abs(surface.vertex_normals), axis=1)
    sign = np.take_along_axis(surface.vertex_normals, side[:, None], axis=1)[:, 0] > 0.0
    _, label = np.unique(np.column_stack([cell, side, sign]), axis=0, return_inverse=True)
    label = label.reshape(-1).astype(np.int64)
    n = int(label.max()) + 1
    w = surface.vertex_areas_m2 + 1e-12
    area = np.bincount(label, w, n).astype(float)
    points = np.stack([np.bincount(label, surface.vertices_m[:, i] * w, n) for i in range(3)], axis=1) / area[:, None]
    normal = np.stack([np.bincount(label, surface.vertex_normals[:, i] * w, n) for i in range(3)], axis=1)
    return Patches(points_m=points, normals=unit(normal)), area, label
