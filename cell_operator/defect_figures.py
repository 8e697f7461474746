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
LABEL_PX, LABEL_WIDE, LABEL_ROUNDS = 16.0, 1.5, 60
"""Least distance of two numbers in the picture upwards, so many times more sideways."""
LABEL_OFF_PX = 22.0
CLOSED_MEAN = 0.5
"""Surfaces whose mean normal is shorter have another side to show."""


def defect_figure(found: DefectMap, deviation_m: Array, path: Path, title: str, *, faint: bool = False) -> None:
    """Write a signed deviation map [mm] with the defects outlined and numbered, from both sides where there are two.

    Args:
        found: what was found.
        deviation_m: (V,) shown.
        path: of the picture.
        title: above it.
        faint: outline those that may be mere noise too.
    """
    surface, shown = found.surface, _listed(found, faint)
    main = viewing_direction(surface)
    mean = surface.triangle_area_vectors_m2.sum(axis=0) / surface.area_m2
    ways = [main] if np.linalg.norm(mean) > CLOSED_MEAN else [main, -main]
    figure, axes = plt.subplots(1, len(ways), figsize=(13.0 * len(ways), 9.0), squeeze=False)
    for ax, way in zip(axes[0], ways, strict=True):
        view = view_of(surface.vertices_m, way.tolist(), width_px=1080, height_px=760)
        deviation_axes(ax, surface, view, deviation_m, _range_mm(found, deviation_m))
        _outline(ax, found, view, shown)
    more = f", the first {N_NUMBERED} numbered" if len(shown) > N_NUMBERED else ""
    rest = len(found.defects) - len(shown)
    hidden = f", {rest} faint regions not shown" if rest else ""
    figure.suptitle(f"{title}: {len(shown)} defects{more}{hidden}; grey: not judged")
    save(figure, path)


def _listed(found: DefectMap, faint: bool) -> list[int]:
    return [i for i, d in enumerate(found.defects) if faint or d.sure]


def _range_mm(found: DefectMap, deviation_m: Array) -> float:
    # wide enough for the noise to be pale and the middle defect to be in full colour
    heights = [abs(d.height_m) for d in found.defects]
    known = np.abs(deviation_m[np.isfinite(deviation_m)])
    usual = float(np.quantile(known, 0.98)) if len(known) else 0.0
    return 1e3 * max(usual, float(np.median(heights)) if heights else 0.0, 5e-5)


def _outline(axes: Axes, found: DefectMap, view: View, shown: list[int]) -> None:
    surface = found.surface
    label = np.where(np.isin(found.label, shown), found.label, -1)
    picture = render_surface(surface, view)
    a, b = surface.edges.T
    across = (label[a] != label[b]) & (np.maximum(label[a], label[b]) >= 0)
    middle = 0.5 * (surface.vertices_m[a[across]] + surface.vertices_m[b[across]])
    slack = _slack_m(surface)
    pixels, seen = picture.visible(middle, slack)
    # a thin sheet hides little: what faces away is on its other side
    seen &= np.einsum("ij,ij->i", surface.vertex_normals[a[across]], view.eye_m - middle) > 0.0
    axes.plot(*pixels[seen].T, ".", color="black", markersize=2.0)
    numbered, places = [], []
    for i in shown[:N_NUMBERED]:
        defect = found.defects[i]
        centre = np.array(defect.centre_m)
        pixels, seen = picture.visible(centre[None], slack)
        if seen[0] and float(np.array(defect.normal) @ (view.eye_m - centre)) > 0.0:
            numbered.append(i + 1)
            places.append(pixels[0])
    if not places:
        return
    for number, place, label_at in zip(numbered, places, _apart(np.array(places)), strict=True):
        axes.annotate(
            str(number),
            place,
            xytext=tuple(label_at),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "linewidth": 0.5},
            bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def _apart(places: Array) -> Array:
    # labels up and right of their places, pushed off one another
    at = places + [LABEL_OFF_PX, -LABEL_OFF_PX]
    for _ in range(LABEL_ROUNDS):
        gap = at[:, None] - at[None]
        gap[..., 0] /= LABEL_WIDE
        length = np.linalg.norm(gap, axis=2)
        close = (length < LABEL_PX) & ~np.eye(len(at), dtype=bool)
        if not close.any():
            break
        turn = np.arange(len(at)) * 2.4
        away = np.where(length[..., None] > 1e-6, gap, np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None])
        away = away / np.maximum(np.linalg.norm(away, axis=2, keepdims=True), 1e-9)
        at += (close[..., None] * away * 0.3 * (LABEL_PX - length)[..., None]).sum(axis=1)
    return at


def _slack_m(surface: Surface) -> float:
    return 4e-3 * float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))


def print_defects(console: Console, found: DefectMap, *, faint: bool = False) -> None:
    """Print the defects as a table, lengths in mm; those that may be mere noise are counted, or listed too if told."""
    shown = _listed(found, faint)
    order = "sure ones by volume, then faint ones by confidence" if faint else "largest volume first"
    table = Table(title=f"defects, {order}; mm, mm2, mm3", title_justify="left", box=None, pad_edge=False)
    for name in ("no", "class", "x y z mm", "height", "length", "width", "area", "volume", "edge"):
        table.add_column(name, justify="left" if name in ("class", "x y z mm") else "right", no_wrap=True)
    table.add_column("sigmas", justify="right")
    table.add_column("confidence", justify="right")
    for i in shown[:N_PRINTED]:
        number, d = i + 1, found.defects[i]
        gap = f"{1e3 * d.edge_distance_m:.1f}" if np.isfinite(d.edge_distance_m) else "-"
        table.add_row(
            *(str(number), d.kind, " ".join(f"{1e3 * x:.0f}" for x in d.centre_m), f"{1e3 * d.height_m:+.3f}"),
            *(f"{1e3 * d.length_m:.1f}", f"{1e3 * d.width_m:.1f}", f"{1e6 * d.area_m2:.1f}"),
            *(f"{1e9 * d.volume_m3:+.2f}", gap, f"{d.significance:.1f}", f"{d.confidence:.2f}"),
        )
    console.print(table)
    if len(shown) > N_PRINTED:
        console.print(f"and {len(shown) - N_PRINTED} more in defects.csv")
    if len(shown) < len(found.defects):
        console.print(f"{len(found.defects) - len(shown)} faint regions not listed; --all shows them")
