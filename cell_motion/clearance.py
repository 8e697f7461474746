"""How much room a motion keeps: the least margin at which something comes too near, over time."""

from dataclasses import dataclass

import numpy as np

from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_motion.collision import Margins, Scene, contact_link
from robot_description.model import Cell

MARGINS_M = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MOMENTS = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Clearance:
    """What is certainly kept, in steps of MARGINS_M."""

    time_s: Array
    """(N,)."""
    kept_m: dict[str, Array]
    """By kind of obstacle, (N,) the largest of MARGINS_M that is kept there; the pad and the part are not a pair."""


def clearance(cell: Cell, trajectory: JointTrajectory, part: Surface, *, moments: int = MOMENTS) -> Clearance:
    """Return the room a trajectory keeps from itself, the cell and the part at evenly spaced moments."""
    scene = Scene(cell, part=part, T_base_part=trajectory.T_base_part)
    process = next((t.process for t in cell.tools if t.tcp_frame == trajectory.tool_frame), "spray")
    pad = contact_link(cell, process)
    time_s = np.linspace(0.0, trajectory.duration_s, moments)
    position, _ = trajectory.sample(time_s)
    kept: dict[str, Array] = {}
    for kind in ("self", "cell", "part"):
        kept[kind] = np.zeros(moments)
        left = np.arange(moments)
        for margin in MARGINS_M[1:]:
            checker = scene.checker(Margins(**{f"{kind}_m": margin}), contact=pad)
            left = left[checker.free(position[left])]
            kept[kind][left] = margin
    return Clearance(time_s=time_s, kept_m=kept)
