"""Edges of a scan (to come)."""

from cell_core.meshes.topology import Joints
from cell_core.surface import Surface
from grinding_planner.edge import Edge


def scan_edges(surface: Surface, met: Joints, angle_min_rad: float, length_min_m: float) -> list[Edge]:
    """Return none yet."""
    return []
