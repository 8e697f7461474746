"""Feature edges of a surface: where its outside turns over, in lines from corner to corner.

Three kinds. Sharp: mesh edges of a CAD surface whose faces turn by more than an angle, joined into chains. Border: an
open border of a one-sided sheet is an edge of a plate; its second face, the wall, was not seen and is taken to stand
square on the first. Round: on a scan, crests along which smoothed normals turn over within a few triangles.
"""

import numpy as np

from cell_core.meshes.topology import Joints, joints
from cell_core.surface import Surface
from grinding_planner.edge import Edge
from grinding_planner.edge_chains import border_edges, sharp_edges, turns
from grinding_planner.edge_crests import scan_edges

SCAN_AREA_SPREAD = 40.0
"""A scan's triangles are of one size: their areas' 95 % quantile over the 5 % one is below this."""
SCAN_MIXED_RAD = 0.035
SCAN_MIXED_SHARE = 0.06
"""And its noise turns that share of the triangles by SCAN_MIXED_RAD up over one side and down over another."""


def find_edges(surface: Surface, angle_min_rad: float, length_min_m: float) -> list[Edge]:
    """Return every convex edge that turns by more than an angle and is longer than a length, longest first.

    Length is that between places where edges meet, round corners. Concave edges are none of them.
    """
    met = joints(surface.vertices_m, surface.triangles)
    if is_scan(surface, met):
        found = scan_edges(surface, met, angle_min_rad, length_min_m)
    else:
        found = sharp_edges(surface, met, angle_min_rad, length_min_m) + border_edges(surface, met, length_min_m)
    return sorted(found, key=lambda e: (-round(e.length_m, 9), *np.round(e.position_m[0], 9)))


def is_scan(surface: Surface, met: Joints) -> bool:
    """Return whether the surface is a noisy reconstruction, whose mesh edges mean nothing one by one."""
    areas = surface.triangle_areas_m2
    low, high = np.quantile(areas[areas > 0.0], [0.05, 0.95])
    if high > SCAN_AREA_SPREAD * low:
        return False
    turn = turns(surface, met)
    up, down = (np.zeros(len(areas), bool) for _ in range(2))
    for half_edge in (met.first, met.second):
        up[half_edge[turn > SCAN_MIXED_RAD] // 3] = True
        down[half_edge[turn < -SCAN_MIXED_RAD] // 3] = True
    return float(np.mean(up & down)) > SCAN_MIXED_SHARE
