"""One way to press any tool: flat pads on their layer, rollers on their rim."""

import numpy as np
from numpy.typing import ArrayLike

from cell_core.config import BeltTool, BurrTool, GrindToolConfig, PadTool, RollerTool, WheelTool
from cell_core.transforms import Array
from grinding_planner.contact import PadContact, PadPairs, balance, pad_pairs
from grinding_planner.roller import contact_half_sizes_m, press_elastic, roller_pairs
from grinding_planner.samples import SurfaceSamples

SINK_APPROACHES, SINK_MIN_M = 4.0, 1e-3
"""Rollers are looked at as if they sank in by so many times what they do on flat ground at their largest force."""


def reach_m(tool: GrindToolConfig, force_n: float | None = None) -> float:
    """Return the radius of what touches flat ground [m]: the pad's, or the mean half size of a roller's contact.

    Args:
        force_n: None: the middle of the tool's range.
    """
    if not isinstance(tool, RollerTool):
        return tool.radius_m
    force = 0.5 * (tool.force_n.low + tool.force_n.high) if force_n is None else force_n
    along, across = contact_half_sizes_m(tool, force)
    return float(np.sqrt(along * across))


def pairs_under(samples: SurfaceSamples, frames: Array, tool: GrindToolConfig, *, step_m: float = 0.0) -> PadPairs:
    """Return the samples under the tool in each frame (N, 4, 4), with their gaps to its face.

    Args:
        step_m: as in `pad_pairs`, for pads; the contact of a roller has no rim to smear.
    """
    if isinstance(tool, RollerTool):
        along, _ = contact_half_sizes_m(tool, tool.force_n.high)
        sunk = max(SINK_APPROACHES * along**2 / (2.0 * tool.radius_m), SINK_MIN_M)
        return roller_pairs(samples, frames, tool, depth_m=sunk)
    return pad_pairs(samples, frames, tool.radius_m, step_m=step_m)


def press(pairs: PadPairs, force_n: ArrayLike, tool: GrindToolConfig, gap_m: Array | None = None) -> PadContact:
    """Solve the force balance of every pose; forces are one or (N,) [N], `gap_m` (P,) as changed since."""
    if isinstance(tool, WheelTool | BeltTool):
        return press_elastic(pairs, force_n, tool.effective_modulus_pa, gap_m)
    if not isinstance(tool, PadTool | BurrTool):
        raise TypeError(f"tool {tool.name}: kind {tool.kind} has no contact law")
    return balance(pairs, force_n, tool.stiffness_pa_per_m, gap_m)
