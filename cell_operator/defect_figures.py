"""Pictures and tables of defects: the deviation map with each one outlined and numbered."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_inspection.defects import DefectMap
from cell_operator.figures import deviation_axes, save, viewing_direction
from cell_operator.render import View, render_surface, view_of

N_NUMBERED = 60
N_PRINTED = 30
CLOSED_MEAN = 0.5
"""Surfaces whose mean normal is shorter have another side to show."""


def defect_figure(found: DefectMap, deviation_m: Array, path: Path, title: str) -> None:
    """Write a signed deviation map [mm] with the defects outlined and numbered, from both sides where there are two."""
    surface = found.surface
    main = viewing_direction(surface)
    mean = surface.triangle_area_vectors_m2.sum(axis=0) / surface.area_m2
    ways = [main] if np.linalg.norm(mean) > CLOSED_MEAN else [main, -main]
    figure, axes = plt.subplots(1, len(ways), figsize=(13.0 * len(ways), 9.0), squeeze=False)
    for ax, way in zip(axes[0], ways, strict=True):
        view = view_of(surface.vertices_m, way.tolist(), width_px=1080, height_px=760)
        deviation_axes(ax, surface, view, deviation_m, _range_mm(found, deviation_m))
        _outline(ax, found, view)
    n = len(found.defects)
    more = f", the {N_NUMBERED} largest numbered" if n > N_NUMBERED else ""
    figure.suptitle(f"{title}: {n} defects{more}; grey: not judged")
    save(figure, path)


def _range_mm(found: DefectMap, deviation_m: Array) -> float:
    # wide enough for the noise to be pale and the middle defect to be in full colour
    heights = [abs(d.height_m) for d in found.defects]
    known = np.abs(deviation_m[np.isfinite(deviation_m)])
    usual = float(np.quantile(known, 0.98)) if len(known) else 0.0
    return 1e3 * max(usual, float(np.median(heights)) if heights else 0.0, 5e-5)


def _outline(axes: Axes, found: DefectMap, view: View) -> None:
    surface, label = found.surface, found.label
    picture = render_surface(surface, view)
    a, b = surface.edges.T
    across = (label[a] != label[b]) & (np.maximum(label[a], label[b]) >= 0)
    middle = 0.5 * (surface.vertices_m[a[across]] + surface.vertices_m[b[across]])
    slack = _slack_m(surface)
    pixels, seen = picture.visible(middle, slack)
    axes.plot(*pixels[seen].T, ".", color="black", markersize=1.2)
    for number, defect in enumerate(found.defects[:N_NUMBERED], 1):
        centre = np.array(defect.centre_m)
        pixels, seen = picture.visible(centre[None], slack)
        facing = float(np.array(defect.normal) @ (view.eye_m - centre)) > 0.0
        if seen[0] and facing:
            axes.annotate(
                str(number),
                pixels[0],
                xytext=(9, 9),
                textcoords="offset points",
                fontsize=8,
                fontweight="bold",
                arrowprops={"arrowstyle": "-", "linewidth": 0.5},
                bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )


def _slack_m(surface: Surface) -> float:
    return 4e-3 * float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))


def print_defects(console: Console, found: DefectMap) -> None:
    """Print the defects as a table, lengths in mm."""
    table = Table(title="defects, largest volume first; mm, mm2, mm3", title_justify="left", box=None, pad_edge=False)
    for name in ("no", "class", "x y z mm", "height", "length", "width", "area", "volume", "edge"):
        table.add_column(name, justify="left" if name in ("class", "x y z mm") else "right", no_wrap=True)
    table.add_column("sigmas", justify="right")
    table.add_column("confidence", justify="right")
    for number, d in enumerate(found.defects[:N_PRINTED], 1):
        gap = f"{1e3 * d.edge_distance_m:.1f}" if np.isfinite(d.edge_distance_m) else "-"
        table.add_row(
            *(str(number), d.kind, " ".join(f"{1e3 * x:.0f}" for x in d.centre_m), f"{1e3 * d.height_m:+.3f}"),
            *(f"{1e3 * d.length_m:.1f}", f"{1e3 * d.width_m:.1f}", f"{1e6 * d.area_m2:.1f}"),
            *(f"{1e9 * d.volume_m3:+.2f}", gap, f"{d.significance:.1f}", f"{d.confidence:.2f}"),
        )
    console.print(table)
    if len(found.defects) > N_PRINTED:
        console.print(f"and {len(found.defects) - N_PRINTED} more in defects.csv")
