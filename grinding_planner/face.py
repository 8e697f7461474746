"""One way to press any tool: flat pads on their layer, rollers on their rim."""

import numpy as np
from numpy.typing import ArrayLike

from cell_core.config import BeltTool, BurrTool, GrindToolConfig, PadTool, RollerTool, WheelTool
from cell_core.transforms import Array
from grinding_planner.contact import PadContact, PadPairs, balance, pad_pairs
from grinding_planner.roller import contact_half_sizes_m, press_elastic, roller_pairs
from grinding_planner.samples import SurfaceSamples

DEPTH_RADII = 0.25
"""Rollers may sink in by this share of their radius."""


def reach_m(tool: GrindToolConfig, force_n: float) -> float:
    """Return the radius of what touches flat ground [m]: the pad's, or the mean half size of a roller's contact."""
    if not isinstance(tool, RollerTool):
        return tool.radius_m
    along, across = contact_half_sizes_m(tool, force_n)
    return float(np.sqrt(along * across))


def pairs_under(samples: SurfaceSamples, frames: Array, tool: GrindToolConfig) -> PadPairs:
    """Return the samples under the tool in each frame (N, 4, 4), with their gaps to its face."""
    if isinstance(tool, RollerTool):
        return roller_pairs(samples, frames, tool, depth_m=DEPTH_RADII * tool.radius_m)
    return pad_pairs(samples, frames, tool.radius_m)


def press(pairs: PadPairs, force_n: ArrayLike, tool: GrindToolConfig, gap_m: Array | None = None) -> PadContact:
    """Solve the force balance of every pose; forces are one or (N,) [N], `gap_m` (P,) as changed since."""
    if isinstance(tool, WheelTool | BeltTool):
        return press_elastic(pairs, force_n, tool.effective_modulus_pa, gap_m)
    if not isinstance(tool, PadTool | BurrTool):
        raise TypeError(f"tool {tool.name}: kind {tool.kind} has no contact law")
    return balance(pairs, force_n, tool.stiffness_pa_per_m, gap_m)
