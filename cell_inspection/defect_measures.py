"""One defect: its measures and its class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit

CLASSES = ("bead", "dent", "burr", "pore", "form error", "missing material", "excess")
PORE_WIDTH_M = 4.5e-3
"""Compact hollows no wider are pores."""
PORE_STEEPNESS = 0.08
"""So are steeper ones: depth over width."""
COMPACT = 2.0
"""Length over width of what is no longer than wide."""
EDGE_M = 2e-3
"""What begins within this distance of an edge is at it."""
BURR_WIDTH_M = 6e-3
DEEP_M = 3e-3
"""Deeper is missing material, taller is excess."""

SURE = 0.9
"""Confidence from which a defect is listed unasked: noise alone makes one on a part in ten at most."""


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A place where material stands out or is missing."""

    kind: str
    """bead, dent, burr, pore, form error, missing material, excess."""
    centre_m: tuple[float, float, float]
    """Middle, on the surface [m]."""
    normal: tuple[float, float, float]
    """Outward unit normal there."""
    height_m: float
    """Largest deviation, smoothed over two edges of the mesh [m]; negative: depth."""
    height_max_m: float
    """Largest deviation of a single vertex, noise included [m]."""
    length_m: float
    """Longest extent along the surface above twice the noise [m]."""
    width_m: float
    """Extent across it [m]."""
    area_m2: float
    volume_m3: float
    """Deviation times area, summed, signed [m3]."""
    edge_distance_m: float
    """From its border to the nearest sharp edge or rim [m]; infinite: the surface has none."""
    significance: float
    """Largest smoothed deviation in standard deviations of the noise around it."""
    confidence: float
    """1 less the chance that noise alone makes such a place on this part, less what of its border was not judged."""

    @property
    def sure(self) -> bool:
        """Whether it is listed unasked."""
        return self.confidence >= SURE


def measured(
    surface: Surface,
    members: NDArray[np.int64],
    deviation_m: Array,
    smooth_m: Array,
    sigma_m: Array,
    sign: float,
    edges: KDTree | None,
    confidence: float,
) -> Defect:
    """Return the measures of the vertices `members` as one defect of the given sign."""
    points, areas = surface.vertices_m[members], surface.vertex_areas_m2[members]
    value = np.clip(sign * deviation_m[members], 0.0, None)
    weight = areas * (value + 1e-12)
    centre = weight @ points / weight.sum()
    centre = points[np.argmin(np.linalg.norm(points - centre, axis=1))]
    normal = unit(areas @ surface.vertex_normals[members])
    length, width = _extents(points, areas, normal)
    peak = int(np.argmax(sign * smooth_m[members]))
    height = sign * _peak(surface, members, sign * deviation_m, points[peak])
    gap = np.inf
    if edges is not None:
        gap = float(edges.query(points)[0].min())
    return Defect(
        kind=classified(sign, abs(height), length, width, gap),
        centre_m=(float(centre[0]), float(centre[1]), float(centre[2])),
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        height_m=float(height),
        height_max_m=float(sign * value.max()),
        length_m=length,
        width_m=width,
        area_m2=float(areas.sum()),
        volume_m3=float(areas @ deviation_m[members]),
        edge_distance_m=gap,
        significance=float((sign * smooth_m[members] / sigma_m[members]).max()),
        confidence=confidence,
    )


def _peak(surface: Surface, members: NDArray[np.int64], value: Array, at_m: Array) -> float:
    # the top of a parabola through what lies around the smoothed peak: unbiased where plain smoothing cuts it off
    apart = np.linalg.norm(surface.vertices_m[members] - at_m, axis=1)
    near = members[apart < max(1.8e-3, float(np.sort(apart)[min(8, len(apart) - 1)]))]
    r2 = ((surface.vertices_m[near] - at_m) ** 2).sum(axis=1)
    if len(near) < 6:
        return float(np.mean(value[near]))
    slope, top = np.polyfit(r2, value[near], 1)
    return float(top if slope < 0.0 else value[near].mean())


def _extents(points_m: Array, areas_m2: Array, normal: Array) -> tuple[float, float]:
    centre = areas_m2 @ points_m / areas_m2.sum()
    flat = points_m - centre
    flat -= np.outer(flat @ normal, normal)
    _, _, axes = np.linalg.svd(flat * np.sqrt(areas_m2)[:, None], full_matrices=False)
    edge = float(np.sqrt(np.median(areas_m2)))
    along, across = (np.ptp(flat @ axis) + edge for axis in axes[:2])
    area = float(areas_m2.sum())
    if area < 0.4 * along * across and along > COMPACT * np.sqrt(area):
        # bent: as wide as its area says
        return float(along), area / float(along)
    return float(max(along, across)), float(min(along, across))


def classified(sign: float, height_m: float, length_m: float, width_m: float, edge_distance_m: float) -> str:
    """Return the class of a local defect of that sign, height, length, width and distance from the nearest edge."""
    compact = length_m < COMPACT * width_m
    if sign > 0.0:
        if edge_distance_m < EDGE_M and width_m < BURR_WIDTH_M:
            return "burr"
        return "excess" if height_m > DEEP_M else "bead"
    if height_m > DEEP_M or (edge_distance_m < EDGE_M and not compact):
        return "missing material"
    if compact and (width_m < PORE_WIDTH_M or height_m > PORE_STEEPNESS * width_m):
        return "pore"
    return "dent"
