"""Pictures of plans, predictions, motions and deviations, as PNG files or matplotlib figures."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cell_core.files import write_bytes
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array, unit
from cell_operator.render import Picture, View, render_surface, view_of
from robot_description import RobotModel

UM_PER_M = 1e6
COLORMAP = {"spray": "viridis", "grind": "magma"}
CHANGE = {"spray": "film thickness", "grind": "removed depth"}
KIND_COLOR = {"approach": "#bbbbbb", "process": "#2a9d4a", "transition": "#d8d8f0", "retract": "#bbbbbb"}


def png(figure: Figure) -> bytes:
    """Return a figure as PNG and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically as PNG."""
    data = png(figure)
    write_bytes(path, data)


def viewing_direction(surface: Surface) -> Array:
    """Return a direction from which most of the surface is seen, across its longer horizontal side and slanted."""
    mean = surface.triangle_area_vectors_m2.sum(axis=0) / surface.area_m2
    if np.linalg.norm(mean) < 0.2:
        mean = np.array([0.0, 0.0, 1.0])
    extent = np.ptp(surface.bounds_m, axis=0)
    across = np.array([-1.0, 0.0, 0.0]) if extent[1] >= extent[0] else np.array([0.0, -1.0, 0.0])
    return -unit(unit(mean) + 0.55 * across + np.array([0.0, 0.0, 0.1]))


def surface_view(surface: Surface) -> View:
    """Return a view that shows the whole surface."""
    return view_of(surface.vertices_m, viewing_direction(surface).tolist())


def map_axes(
    axes: Axes,
    surface: Surface,
    view: View,
    values: Array,
    low: float,
    high: float,
    colormap: str,
    label: str,
    valid: NDArray[np.bool_] | None = None,
) -> Picture:
    """Draw a coloured surface with its colour bar into axes."""
    picture = render_surface(surface, view, values, low=low, high=high, colormap=colormap, valid=valid)
    axes.imshow(picture.rgb)
    axes.set_axis_off()
    scale = ScalarMappable(Normalize(low, high), colormap)
    axes.figure.colorbar(scale, ax=axes, shrink=0.75, label=label)
    return picture


def draw_strokes(axes: Axes, toolpath: ToolPath, picture: Picture, shift_m: float = 0.0) -> None:
    """Draw strokes over a picture of their surface: process on in colour by order, off dotted, dots at the starts."""
    colors = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(toolpath.strokes)))
    for stroke, color in zip(toolpath.strokes, colors, strict=True):
        pixels, _ = picture.view.project(stroke.position_m + shift_m * stroke.tool_axis)
        pieces = np.stack([pixels[:-1], pixels[1:]], axis=1)
        on = stroke.on[:-1] & stroke.on[1:]
        axes.add_collection(LineCollection(list(pieces[on]), colors=[color], linewidths=1.4))
        axes.add_collection(LineCollection(list(pieces[~on]), colors="0.5", linewidths=0.7, linestyles="dotted"))
        axes.plot(*pixels[0], "o", color=color, markersize=3.0)


def histogram_axes(
    axes: Axes,
    values_um: Array,
    areas: Array,
    label: str,
    color: str,
    reference_um: float | None = None,
    window_um: tuple[float, float] | None = None,
) -> None:
    """Draw an area-weighted histogram in um, from 0 or over a window; what lies beyond the window counts at its end."""
    high = max(float(np.quantile(values_um, 0.999)), 1e-9)
    window = (0.0, 1.15 * high) if window_um is None else window_um
    shown = values_um if window_um is None else np.clip(values_um, *window_um)
    axes.hist(shown, bins=80, range=window, weights=areas / areas.sum(), color=color, alpha=0.6, label=label)
    if reference_um is not None:
        axes.axvline(reference_um, color="k", linewidth=1.0, linestyle="--")
    axes.set_xlabel("um")
    axes.set_ylabel("share of area")
    axes.legend()


def strokes_figure(surface: Surface, toolpath: ToolPath) -> Figure:
    """Return a picture of the strokes on their surface, seen from above the surface and from the side."""
    figure, axes = plt.subplots(1, 2, figsize=(15, 5.2))
    main = viewing_direction(surface)
    shift = _standoff_m(toolpath)
    for ax, direction, title in (
        (axes[0], main, "strokes, dots where they begin"),
        (axes[1], [-main[1], main[0], main[2] * 0.35], "from the side"),
    ):
        points = np.concatenate([surface.vertices_m, *(s.position_m for s in toolpath.strokes)])
        view = view_of(points, list(direction))
        picture = render_surface(surface, view)
        ax.imshow(picture.rgb)
        draw_strokes(ax, toolpath, picture, shift if ax is axes[0] else 0.0)
        ax.set_title(title)
        ax.set_axis_off()
    return figure


def _standoff_m(toolpath: ToolPath) -> float:
    return float(toolpath.tool.get("reference_standoff_m", 0.0)) if toolpath.process == "spray" else 0.0


def plan_figure(surface: Surface, plan: Plan, path: Path) -> None:
    """Write strokes, predicted change and histogram of a plan to one PNG."""
    process = plan.toolpath.process
    change, target = plan.fields["predicted_change_m"] * UM_PER_M, plan.fields["target_change_m"] * UM_PER_M
    region = target > 0.0
    wanted = float(np.median(target[region]))
    view = surface_view(surface)
    figure, axes = plt.subplots(2, 2, figsize=(16.5, 10.5))
    picture = render_surface(surface, view)
    axes[0, 0].imshow(picture.rgb)
    axes[0, 0].set_axis_off()
    axes[0, 0].set_title(f"{len(plan.toolpath.strokes)} strokes, {plan.toolpath.length_m:.1f} m")
    draw_strokes(axes[0, 0], plan.toolpath, picture, _standoff_m(plan.toolpath))
    high, colormap = 1.5 * float(np.max(target)), COLORMAP[process]
    map_axes(axes[0, 1], surface, view, change, 0.0, high, colormap, f"predicted {CHANGE[process]} [um]", region)
    axes[0, 1].set_title("grey: no target")
    residual = change - target
    span = max(float(np.quantile(np.abs(residual[region]), 0.98)), 0.02 * wanted)
    map_axes(axes[1, 0], surface, view, residual, -span, span, "coolwarm", "predicted minus target [um]", region)
    areas = surface.vertex_areas_m2[region]
    rms = float(np.sqrt(np.average(residual[region] ** 2, weights=areas)))
    axes[1, 0].set_title(f"residual, {rms:.2f} um RMS")
    if "tolerance_fraction" in plan.figures:
        _film_histogram(axes[1, 1], change[region], areas, wanted, plan.figures)
    else:
        _residual_histogram(axes[1, 1], residual[region], areas, span, plan.figures)
    save(figure, path)


def _residual_histogram(axes: Axes, left_um: Array, areas: Array, span_um: float, figures: Mapping[str, Any]) -> None:
    """Draw how far the removal lies from its target; figures in the title."""
    histogram_axes(axes, left_um, areas, "predicted minus target", "#2a6f9d", 0.0, (-1.5 * span_um, 1.5 * span_um))
    rms, p99, over = (UM_PER_M * figures[k] for k in ("residual_rms_m", "residual_p99_m", "over_cut_max_m"))
    axes.set_title(
        f"residual {rms:.2f} um RMS, P99 {p99:.1f}, over-cut at most {over:.1f} um; "
        f"{100 * figures['in_tolerance_area_fraction']:.1f} % in tolerance, "
        f"{100 * figures['untouched_area_fraction']:.1f} % untouched"
    )


def _film_histogram(axes: Axes, film_um: Array, areas: Array, wanted_um: float, figures: Mapping[str, Any]) -> None:
    """Draw how the film is spread about its target, with its tolerance and bounds; figures in the title."""
    half = float(figures["tolerance_fraction"]) * wanted_um
    bounds = {k: UM_PER_M * figures[f"{k}_thickness_m"] for k in ("min", "max") if f"{k}_thickness_m" in figures}
    low, high = np.quantile(film_um, [0.002, 0.998])
    window = (
        max(min(low, wanted_um - 1.3 * half, *(0.97 * v for v in bounds.values())), 0.0),
        max(high, wanted_um + 1.3 * half, *(1.03 * v for v in bounds.values())),
    )
    axes.axvspan(wanted_um - half, wanted_um + half, color="#2a9d4a", alpha=0.12, linewidth=0, label="tolerance")
    for name, value in bounds.items():
        axes.axvline(value, color="#d1495b", linewidth=1.2, label=f"{name} {value:.0f} um")
    histogram_axes(axes, film_um, areas, "predicted", "#2a6f9d", wanted_um, window)
    axes.set_title(
        f"CV {100 * figures['cv']:.2f} %, {figures['min_m'] * UM_PER_M:.1f} to {figures['max_m'] * UM_PER_M:.1f} um, "
        f"{100 * figures['in_tolerance_area_fraction']:.1f} % in tolerance; "
        f"catch {100 * figures['catch_fraction']:.0f} %, {figures['n_triggers']} triggers"
    )


def field_figure(surface: Surface, change_m: Array, region: NDArray[np.bool_], process: str, path: Path) -> None:
    """Write a map and histogram of a change field to one PNG."""
    change = change_m * UM_PER_M
    figure, axes = plt.subplots(1, 2, figsize=(15, 5.2), width_ratios=[1, 0.7])
    high = 1.2 * float(np.quantile(change[region], 0.99))
    map_axes(
        axes[0], surface, surface_view(surface), change, 0.0, high, COLORMAP[process], f"{CHANGE[process]} [um]", region
    )
    histogram_axes(axes[1], change[region], surface.vertex_areas_m2[region], CHANGE[process], "#2a6f9d")
    save(figure, path)


def surface_figure(surface: Surface, path: Path) -> None:
    """Write a plain picture of a surface to a PNG."""
    figure, ax = plt.subplots(figsize=(10, 6.6))
    ax.imshow(render_surface(surface, surface_view(surface)).rgb)
    ax.set_axis_off()
    save(figure, path)


def deviation_axes(axes: Axes, surface: Surface, view: View, deviation_m: Array, high_mm: float) -> None:
    """Draw a signed deviation map [mm] into axes; vertices without a value are grey."""
    known = np.isfinite(deviation_m)
    map_axes(
        axes,
        surface,
        view,
        np.where(known, deviation_m, 0.0) * 1e3,
        -high_mm,
        high_mm,
        "coolwarm",
        "deviation [mm]",
        known,
    )


def deviation_figure(surface: Surface, deviation_m: Array, path: Path) -> None:
    """Write a signed deviation map to a PNG."""
    known = np.isfinite(deviation_m)
    high = max(1e3 * float(np.quantile(np.abs(deviation_m[known]), 0.98)), 0.05) if known.any() else 1.0
    figure, ax = plt.subplots(figsize=(11, 6.6))
    deviation_axes(ax, surface, surface_view(surface), deviation_m, high)
    save(figure, path)


def joints_figure(robot: RobotModel, trajectory: JointTrajectory) -> Figure:
    """Return joint positions and velocities over time as shares of their limits, with the process segments marked."""
    t = np.linspace(0.0, trajectory.duration_s, min(4000, max(200, int(trajectory.duration_s / 0.02))))
    position, velocity = trajectory.sample(t)
    middle, half = 0.5 * (robot.upper_rad + robot.lower_rad), 0.5 * (robot.upper_rad - robot.lower_rad)
    figure, axes = plt.subplots(2, 1, figsize=(15, 6.4), sharex=True)
    for i, name in enumerate(trajectory.joint_names):
        axes[0].plot(t, (position[:, i] - middle[i]) / half[i], linewidth=1.0, label=name)
        axes[1].plot(t, velocity[:, i] / robot.velocity_rad_per_s[i], linewidth=1.0)
    for ax, label in zip(axes, ("position in its range", "velocity / limit"), strict=True):
        shade_segments(ax, trajectory)
        ax.axhline(1.0, color="r", linewidth=0.8)
        ax.axhline(-1.0, color="r", linewidth=0.8)
        ax.set_ylim(-1.1, 1.1)
        ax.set_ylabel(label)
    axes[0].legend(ncols=6, loc="upper right", fontsize=8)
    axes[1].set_xlabel("time [s]; green: process segments")
    return figure


def speed_figure(robot: RobotModel, trajectory: JointTrajectory, toolpath: ToolPath | None) -> Figure:
    """Return the tool speed over time, and what the tool path asks for."""
    t = np.arange(0.0, trajectory.duration_s, max(0.01, trajectory.duration_s / 20000))
    position, _ = trajectory.sample(t)
    tcp = robot.forward(position, trajectory.tool_frame)[:, :3, 3]
    speed = np.linalg.norm(np.gradient(tcp, t, axis=0), axis=1)
    figure, ax = plt.subplots(figsize=(15, 3.2))
    ax.plot(t, speed, linewidth=0.8, color="0.4", label="tool speed")
    if toolpath is not None:
        for segment in trajectory.segments:
            if segment.kind == "process" and segment.stroke is not None and segment.stroke < len(toolpath.strokes):
                stroke = toolpath.strokes[segment.stroke]
                t0, t1 = trajectory.time_s[segment.i0], trajectory.time_s[segment.i1]
                asked = t0 + stroke.times_s * (t1 - t0) / max(stroke.times_s[-1], 1e-9)
                ax.plot(asked, stroke.speed_m_per_s, color="#d1495b", linewidth=1.4)
        high = max(float(s.speed_m_per_s.max()) for s in toolpath.strokes)
        ax.set_ylim(0.0, 2.0 * high)
        ax.plot([], [], color="#d1495b", label="asked by the tool path")
    shade_segments(ax, trajectory)
    ax.set_ylabel("tool speed [m/s]")
    ax.set_xlabel("time [s]")
    ax.legend(loc="upper right")
    return figure


def shade_segments(ax: Axes, trajectory: JointTrajectory) -> None:
    """Shade the process segments of a trajectory over time."""
    for segment in trajectory.segments:
        if segment.kind == "process":
            ax.axvspan(
                trajectory.time_s[segment.i0],
                trajectory.time_s[segment.i1],
                color=KIND_COLOR["process"],
                alpha=0.13,
                linewidth=0,
            )


def motion_figure(robot: RobotModel, trajectory: JointTrajectory, path: Path) -> None:
    """Write the joint plot of a trajectory to a PNG."""
    save(joints_figure(robot, trajectory), path)


def bars_figure(names: Sequence[str], seconds: Sequence[float]) -> Figure:
    """Return a bar chart of the time per step [s]."""
    figure, ax = plt.subplots(figsize=(9, 0.45 * len(names) + 0.8))
    bars = ax.barh(list(names), list(seconds), color="#2a6f9d")
    ax.bar_label(bars, fmt=" %.1f s")
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel("seconds")
    return figure
