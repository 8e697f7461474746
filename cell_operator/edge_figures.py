"""Pictures of edge plans: which edges are worked and how wide, in lines that a chamfer's width would not show."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cell_core.edge_lines import EdgeLines
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_operator.figures import save, viewing_direction
from cell_operator.render import render_surface, view_of

TOOL_COLORS = ("#1e8449", "#2471a3", "#7d3c98")
OFF_COLOR = "#f39c12"
REASON_COLORS = ("#5d4037", "#e91e63", "#8e44ad", "#ff7f50", "#34495e", "#d60000", "#000000")
SLACK_SHARE = 0.004
"""Of the part's size: edges lie in the surface and are drawn where the picture's depth says it is seen."""
MM_PER_M = 1e3


def edge_plan_figure(surface: Surface, plan: Plan, path: Path) -> None:
    """Write edges by what becomes of them from two sides, and the new face's width along and over them, to one PNG."""
    lines = plan.edges
    assert lines is not None
    color, legend = _outcomes(lines)
    figure, axes = plt.subplots(2, 2, figsize=(17, 11), height_ratios=[1.35, 1.0])
    main = viewing_direction(surface)
    _draw(axes[0, 0], surface, lines, color, main)
    worked = lines.share_m[lines.tool >= 0].sum() / lines.share_m.sum()
    n_strokes = sum(len(p.strokes) for p in (plan.toolpath, *plan.further))
    axes[0, 0].set_title(f"{n_strokes} strokes, {100 * worked:.1f} % of {lines.share_m.sum():.2f} m of edges")
    _draw(axes[0, 1], surface, lines, color, -main)
    axes[0, 1].set_title("from the other side; hidden edges pale")
    axes[0, 0].legend(handles=legend, loc="lower left", fontsize=8, framealpha=0.85)
    _along(axes[1, 0], lines, color)
    _histogram(axes[1, 1], lines, color)
    save(figure, path)


def _outcomes(lines: EdgeLines) -> tuple[NDArray[np.str_], list[Line2D]]:
    """Return each sample's colour (S,) and a legend with lengths."""
    names = np.full(len(lines.edge), "", dtype=object)
    legend: list[Line2D] = []

    def tell(mask: NDArray[np.bool_], color: str, text: str) -> None:
        names[mask] = color
        if mask.any():
            length = MM_PER_M * lines.share_m[mask].sum()
            legend.append(Line2D([], [], color=color, linewidth=3, label=f"{text}: {length:.0f} mm"))

    for k, tool in enumerate(lines.tools):
        tell((lines.tool == k) & lines.in_tolerance, TOOL_COLORS[k % len(TOOL_COLORS)], f"{tool}, width in tolerance")
    tell((lines.tool >= 0) & ~lines.in_tolerance, OFF_COLOR, "width out of tolerance")
    for k, reason in enumerate(lines.reasons):
        tell(lines.reason == k, REASON_COLORS[k % len(REASON_COLORS)], f"left, {reason}")
    return names.astype(str), legend


def _draw(axes: Axes, surface: Surface, lines: EdgeLines, color: NDArray[np.str_], looking: Array) -> None:
    view = view_of(surface.vertices_m, looking.tolist(), 1000, 660)
    picture = render_surface(surface, view)
    axes.imshow(1.0 - 0.55 * (1.0 - picture.rgb))
    axes.set_axis_off()
    slack = SLACK_SHARE * float(np.linalg.norm(np.ptp(surface.bounds_m, axis=0)))
    pixels, seen = picture.visible(lines.position_m, slack)
    same = lines.edge[:-1] == lines.edge[1:]
    # what is left is drawn last, over what is worked
    for left in (False, True):
        own = same & ((lines.reason[:-1] >= 0) == left)
        for shown, alpha, width in ((False, 0.25, 0.8), (True, 1.0, 2.6 if left else 1.8)):
            some = own & ((seen[:-1] & seen[1:]) == shown)
            pieces = np.stack([pixels[:-1], pixels[1:]], axis=1)[some]
            axes.add_collection(
                LineCollection(list(pieces), colors=color[:-1][some].tolist(), linewidths=width, alpha=alpha)
            )
    axes.set_xlim(0, view.width_px)
    axes.set_ylim(view.height_px, 0)


def _along(axes: Axes, lines: EdgeLines, color: NDArray[np.str_]) -> None:
    wanted = MM_PER_M * lines.width_wanted_m
    way = np.cumsum(lines.share_m) - 0.5 * lines.share_m
    _tolerance(axes.axhspan, lines)
    axes.scatter(way, MM_PER_M * lines.width_m, c=color.tolist(), s=3.0, linewidths=0)
    starts = way[np.flatnonzero(np.diff(lines.edge, prepend=-1))]
    axes.plot(starts, np.zeros_like(starts), "|", color="0.4", markersize=7)
    axes.set_xlim(0.0, way[-1])
    axes.set_ylim(-0.05 * wanted, 1.6 * wanted)
    axes.set_xlabel("way along all edges, one after the other [m]; ticks where one begins")
    axes.set_ylabel("width of the new face [mm]")


def _histogram(axes: Axes, lines: EdgeLines, color: NDArray[np.str_]) -> None:
    worked = lines.tool >= 0
    wanted = MM_PER_M * lines.width_wanted_m
    width, share = MM_PER_M * lines.width_m[worked], lines.share_m[worked] / lines.share_m.sum()
    _tolerance(axes.axvspan, lines)
    for name in dict.fromkeys(color[worked].tolist()):
        own = color[worked] == name
        shown = np.clip(width[own], 0.0, 1.6 * wanted)
        axes.hist(shown, bins=64, range=(0.0, 1.6 * wanted), weights=100 * share[own], color=name, alpha=0.75)
    axes.set_yscale("log")
    axes.set_xlabel("width of the new face [mm]")
    axes.set_ylabel("% of the length of all edges")
    inside = lines.share_m @ (worked & lines.in_tolerance)
    of_all, of_worked = (100 * inside / lines.share_m[some].sum() for some in (slice(None), worked))
    axes.set_title(
        f"wanted {wanted:g} mm +/- {100 * lines.tolerance_fraction:g} %: {of_all:.1f} % of all edges, "
        f"{of_worked:.1f} % of what is worked"
    )


def _tolerance(span: object, lines: EdgeLines) -> None:
    assert callable(span)
    wanted, half = MM_PER_M * lines.width_wanted_m, lines.tolerance_fraction
    span(wanted * (1.0 - half), wanted * (1.0 + half), color="#2a9d4a", alpha=0.12, linewidth=0)
