"""Pictures of a motion: what becomes of every sample of a tool path, on the part, and the room kept over time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_motion.clearance import MARGINS_M, Clearance
from cell_motion.reach import REASONS
from cell_operator.figures import save, shade_segments, surface_view
from cell_operator.render import render_meshes

NO_STROKE = -1
NEAR_SPACINGS = 1.5
"""Vertices farther from any sample than this many times the usual distance belong to no stroke."""
COLOURS: dict[str, tuple[int, int, int]] = {
    "reached": (76, 166, 96),
    "slower": (178, 211, 104),
    "ik": (120, 30, 120),
    "limits": (196, 78, 170),
    "singularity": (240, 160, 220),
    "self": (230, 120, 40),
    "cell": (200, 40, 40),
    "part": (120, 60, 30),
    "flip": (60, 90, 200),
    "speed": (240, 200, 60),
    "transition": (80, 180, 220),
    "time": (110, 110, 110),
}
PLAIN = (205, 208, 212)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReachMap:
    """What becomes of the samples nearest to each vertex."""

    surface: Surface
    code: NDArray[np.int64]
    """(V,) index into REASONS; NO_STROKE where no stroke runs."""

    @property
    def colours(self) -> NDArray[np.uint8]:
        """(V, 3)."""
        table = np.array([*(COLOURS[name] for name in REASONS), PLAIN], np.uint8)
        return table[self.code]

    def write(self, folder: Path) -> None:
        """Write reach.ply (colours, and the field `reach_code`) and reach.png."""
        fields = {"reach_code": self.code.astype(float)}
        write_ply(folder / "reach.ply", replace(self.surface, fields=fields), self.colours)
        figure, ax = plt.subplots(figsize=(11, 6.6))
        shown = [k for k in range(len(REASONS)) if np.any(self.code == k)]
        ax.imshow(self._picture())
        ax.set_axis_off()
        share = {k: float(self.surface.vertex_areas_m2[self.code == k].sum()) for k in shown}
        total = max(sum(share.values()), 1e-12)
        names = {k: f"{REASONS[k]} {share[k] / total:.1%}" for k in shown}
        patches = [Patch(color=np.array(COLOURS[REASONS[k]]) / 255.0, label=names[k]) for k in shown]
        ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.0, 0.5), title="share of the area with strokes")
        save(figure, folder / "reach.png")

    def _picture(self) -> NDArray:
        mesh = (self.surface.vertices_m, self.surface.triangles, self.colours / 255.0)
        return render_meshes([mesh], surface_view(self.surface)).rgb


def clearance_figure(room: Clearance, trajectory: JointTrajectory, path: Path) -> None:
    """Write the room that a motion keeps over time to a PNG; process segments are shaded."""
    figure, ax = plt.subplots(figsize=(15, 3.2))
    for kind, kept in room.kept_m.items():
        ax.step(room.time_s, 1e3 * kept, where="mid", linewidth=1.1, label=f"to {'itself' if kind == 'self' else kind}")
    shade_segments(ax, trajectory)
    ax.set_yscale("symlog", linthresh=2.0)
    ticks = [1e3 * m for m in MARGINS_M]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_ylim(-0.2, 1.3e3 * MARGINS_M[-1])
    ax.set_ylabel("clearance kept, at least [mm]")
    ax.set_xlabel("time [s]; green: process segments, the pad itself left out")
    ax.legend(loc="upper right", ncols=3, fontsize=8)
    save(figure, path)


def reach_map(surface: Surface, toolpath: ToolPath, outcomes: Sequence[NDArray], pivot_m: float) -> ReachMap:
    """Return what becomes of the samples nearest to each vertex.

    Args:
        surface: the part, in the tool path's frame.
        toolpath: as planned.
        outcomes: per stroke (N,) indices into REASONS.
        pivot_m: how far ahead of the tool centre point the surface lies.
    """
    aim: Array = np.concatenate([s.position_m + pivot_m * s.tool_axis for s in toolpath.strokes])
    on = np.concatenate([s.on for s in toolpath.strokes])
    code = np.concatenate(list(outcomes))[on]
    distance, nearest = KDTree(aim[on]).query(surface.vertices_m)
    usual = float(np.quantile(distance, 0.9)) if len(distance) else 0.0
    return ReachMap(surface=surface, code=np.where(distance <= NEAR_SPACINGS * usual, code[nearest], NO_STROKE))
