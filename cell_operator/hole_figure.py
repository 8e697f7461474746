"""Picture of what a scan left open, and why."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_operator.figures import save, viewing_direction
from cell_operator.render import render_surface, view_of
from cell_scanning.holes import Hole

REASON_COLOR = {
    "floor": "#9a9a9a", "open": "#2a9d4a", "cut": "#6a51a3", "unknown": "#000000", "specular": "#00a6d6",
    "grazing": "#f2a900", "occluded": "#d62728", "out_of_range": "#8c564b", "out_of_reach": "#e377c2",
    "not_looked_at": "#1f4fd6",
}  # fmt: skip
SLACK_SHARE = 0.01
"""Border this far behind what the picture shows, in sizes of the surface, still counts as seen."""


def hole_figure(surface: Surface, holes: Sequence[Hole], path: Path) -> None:
    """Write the surface from above and from below to a PNG, its borders coloured by the reason why they are there."""
    looking = viewing_direction(surface)
    figure, axes = plt.subplots(1, 2, figsize=(16, 5.8))
    for ax, way in zip(axes, (looking, looking * np.array([-1.0, -1.0, 1.0])), strict=True):
        _draw(ax, surface, holes, way)
    total: dict[str, float] = {}
    for hole in holes:
        total[hole.reason] = total.get(hole.reason, 0.0) + hole.length_m
    legend = [
        Line2D([], [], color=REASON_COLOR[r], lw=2.5, label=f"{r.replace('_', ' ')}: {m:.2f} m")
        for r, m in sorted(total.items(), key=lambda item: -item[1])
    ]
    if legend:
        figure.legend(handles=legend, loc="lower center", ncol=5, title="border by main reason", frameon=False)
    save(figure, path)


def _draw(ax: Axes, surface: Surface, holes: Sequence[Hole], looking: Array) -> None:
    view = view_of(surface.vertices_m, looking.tolist(), 1000, 660)
    picture = render_surface(surface, view)
    ax.imshow(1.0 - 0.6 * (1.0 - picture.rgb))
    ax.set_axis_off()
    slack = SLACK_SHARE * float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))
    for hole in holes:
        pixels, seen = picture.visible(surface.vertices_m[hole.vertices], slack)
        pieces = np.stack([pixels, np.roll(pixels, -1, axis=0)], axis=1)
        both = seen & np.roll(seen, -1)
        for shown, alpha, width in ((False, 0.2, 0.7), (True, 1.0, 2.2)):
            ax.add_collection(
                LineCollection(
                    list(pieces[both == shown]), colors=REASON_COLOR[hole.reason], linewidths=width, alpha=alpha
                )
            )
    ax.set_xlim(0, view.width_px)
    ax.set_ylim(view.height_px, 0)
