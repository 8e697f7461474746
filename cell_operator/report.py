"""report.html of a job folder: self-contained, made from the folder alone, whatever steps it holds."""

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from cell_core.config import JobConfig, load_one_layer
from cell_core.errors import CellError, ConfigurationError, InputRefusedError
from cell_core.files import read_json, read_npz, write_text
from cell_core.jobs import MANIFEST, STEPS, JobFolder, project_version
from cell_core.plan import Plan
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.surface_io import read_ply
from cell_core.toolpath import ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array, transform_from_xyz_rpy
from cell_operator import figures as fig
from cell_operator.interruptions import interruptions
from cell_operator.progress import shown_figure
from robot_description import Cell, load_cell


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report: a title, words, a picture, rows of figures."""

    title: str
    text: str = ""
    picture: str = ""
    """PNG in base64, empty for none."""
    rows: tuple[tuple[str, str, str], ...] = ()


def write_report(folder: Path) -> Path:
    """Write report.html into a job folder and return its path.

    A step whose files are missing or damaged is named in the report instead of stopping it.

    Raises:
        ConfigurationError: the folder is no job folder.
    """
    job = JobFolder(path=Path(folder))
    if not (job.path / "job.yaml").is_file():
        raise ConfigurationError(f"{folder}: holds no job.yaml: not a job folder")
    config = job.config
    state = job.read_state()
    sections = _guarded(_scan, job, config)
    for cycle in job.cycles:
        head = "" if len(job.cycles) == 1 else f"Cycle {cycle.cycle}: "
        for build in (_strokes, _change, _judged, _motion, _pauses):
            sections += [replace(s, title=head + s.title if s.title else "") for s in _guarded(build, cycle, config)]
    sections += _guarded(_times, job, config)
    verdicts = [verdict for cycle in job.cycles if (verdict := _verdict(cycle))]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("cell_operator").joinpath("templates/report.html").read_text(encoding="utf-8")
    )
    html = template.render(
        config=config,
        recipe=_recipe_rows(config),
        verdict=verdicts[-1] if verdicts else {},
        verdicts=verdicts,
        state=state,
        sections=sections,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
        version=project_version(),
        folder=job.path.resolve().name,
        verdict_rows=_rows,
    )
    path = job.path / "report.html"
    write_text(path, html)
    return path


def _guarded(
    build: Callable[[JobFolder, JobConfig], Iterator[Section]], job: JobFolder, config: JobConfig
) -> list[Section]:
    name = build.__name__.strip("_")
    try:
        return list(build(job, config))
    except CellError as error:
        return [Section(title=name.capitalize(), text=f"not shown: {error}")]


def _image(figure: Figure) -> str:
    return base64.b64encode(fig.png(figure)).decode("ascii")


def _rows(figures: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    return tuple(shown_figure(k, v) for k, v in figures.items() if isinstance(v, bool | int | float | str))


def _verdict(job: JobFolder) -> dict[str, Any]:
    path = job.step("inspection") / "verdict.json"
    return read_json(path) if path.is_file() else {}


def _recipe_rows(config: JobConfig) -> tuple[tuple[str, str, str], ...]:
    try:
        recipe = load_one_layer(config.recipe, config.layer)
    except CellError as error:
        return (("recipe", str(error), ""),)
    flat: dict[str, Any] = {}
    for key, value in recipe.model_dump(mode="json").items():
        flat.update({f"{key} {k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value})
    shown = {k: v for k, v in flat.items() if k not in ("format", "version") and v is not None and v != []}
    return tuple(shown_figure(k, v) for k, v in shown.items())


def _scan_surface(job: JobFolder) -> Surface:
    return read_ply(job.looked_at / "surface.ply")


def _truth(job: JobFolder) -> Surface | None:
    path = job.step("execution") / "truth.ply"
    return read_ply(path) if path.is_file() else None


def _simulated_part(job: JobFolder, config: JobConfig) -> Surface | None:
    from cell_core.surface_io import load_surface
    from robot_description import resting_pose

    part = config.simulated_part
    if part is None:
        return None
    path = Path(part.path) if Path(part.path).is_absolute() else job.path / part.path
    if not path.is_file():
        return None
    surface, _ = load_surface(path, part.unit)
    pose = transform_from_xyz_rpy(part.pose.xyz_m, part.pose.rpy_rad) if part.pose else resting_pose(surface)
    return surface.transformed(pose, "part")


def _scan(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    surface = _scan_surface(job)
    truth = _simulated_part(job, config)
    view = fig.surface_view(surface)
    rows = _rows(job.figures("scan")) if (job.path / "scan" / MANIFEST).is_file() else ()
    if truth is None:
        figure, ax = plt.subplots(figsize=(9, 6))
        ax.imshow(fig.render_surface(surface, view).rgb)
        ax.set_axis_off()
        yield Section(title="Scan", picture=_image(figure), rows=rows)
        return
    deviation = _distance_to(truth, surface)
    high_mm = max(0.2, 1e3 * float(np.quantile(np.abs(deviation), 0.98)))
    figure, axes = plt.subplots(1, 3, figsize=(22, 5.0), width_ratios=[1, 1, 1.12])
    for ax, shape, title in ((axes[0], truth, "the physical part (simulator)"), (axes[1], surface, "the scan")):
        ax.imshow(fig.render_surface(shape, view).rgb)
        ax.set_title(title)
        ax.set_axis_off()
    fig.deviation_axes(axes[2], surface, view, deviation, high_mm)
    axes[2].set_title("scan against truth")
    weight = surface.vertex_areas_m2
    error = np.abs(deviation)
    order = np.argsort(error)
    p95 = error[order][np.searchsorted(np.cumsum(weight[order]), 0.95 * weight.sum())]
    extra = {"scan_to_truth_mean_m": float(np.average(error, weights=weight)), "scan_to_truth_p95_m": float(p95)}
    yield Section(title="Scan against truth", picture=_image(figure), rows=_rows(extra) + rows)


def _distance_to(truth: Surface, surface: Surface) -> Array:
    nearest, _ = RayCaster(truth).closest(surface.vertices_m)
    away = surface.vertices_m - nearest
    return np.linalg.norm(away, axis=1) * np.sign(np.sum(away * surface.vertex_normals, axis=1))


def _strokes(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    plan = job.step("plan")
    if not (plan / "toolpath.json").is_file():
        return
    surface = _scan_surface(job)
    toolpath = ToolPath.read(plan / "toolpath.json")
    plan_figures = read_json(plan / "figures.json")
    picture = _image(fig.strokes_figure(surface, toolpath))
    yield Section(title="Strokes", text=_limits_text(plan_figures), picture=picture, rows=_rows(plan_figures))


def _limits_text(plan_figures: dict[str, Any]) -> str:
    """Say what keeps the plan from its specification, and what would help."""
    return "; ".join(
        f"{100.0 * limit['area_fraction']:.1f} % of {limit['of']}: {limit['reason']} (would help: {limit['change']})"
        for limit in plan_figures.get("limits", ())
    )


def _change(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    if not (job.step("plan") / "fields.npz").is_file():
        return
    surface = _scan_surface(job)
    plan = Plan.read(job.step("plan"))
    label = fig.CHANGE[config.process]
    predicted = fig.UM_PER_M * plan.fields["predicted_change_m"]
    target = fig.UM_PER_M * plan.fields["target_change_m"]
    region = target > 0.0
    if not region.any():
        raise InputRefusedError("plan/fields.npz: target_change_m is nowhere positive")
    high = 1.5 * float(np.quantile(target[region], 0.99))
    view = fig.surface_view(surface)
    truth = _truth(job)
    figure, axes = plt.subplots(1, 3, figsize=(22, 5.0), width_ratios=[1, 1, 0.7])
    cmap = fig.COLORMAP[config.process]
    fig.map_axes(axes[0], surface, view, predicted, 0.0, high, cmap, f"predicted {label} [um]", region)
    axes[0].set_title("predicted by the planner; grey: no target")
    areas = surface.vertex_areas_m2
    reference = float(np.median(target[region]))
    fig.histogram_axes(axes[2], predicted[region], areas[region], "predicted", "#2a6f9d", reference)
    if truth is None:
        axes[1].set_axis_off()
    else:
        true_um = fig.UM_PER_M * truth.fields["change_m"]
        fig.map_axes(axes[1], truth, view, true_um, 0.0, high, cmap, f"true {label} [um]")
        axes[1].set_title("true since the first scan, on the physical part (simulator)")
        mapped = _inspected(job, "true_m")
        if mapped is not None and len(mapped) == len(region):
            known = region & np.isfinite(mapped)
            fig.histogram_axes(axes[2], fig.UM_PER_M * mapped[known], areas[known], "true", "#d1495b", reference)
    yield Section(title=f"{label.capitalize()}: predicted and true", picture=_image(figure))


def _inspected(job: JobFolder, name: str) -> np.ndarray | None:
    path = job.step("inspection") / "fields.npz"
    return read_npz(path).get(name) if path.is_file() else None


def _judged(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    """What was there before and after the cycle, what was measured of it, and what is still missing."""
    verdict = _verdict(job)
    if not verdict or "by" not in verdict:
        return
    scan = read_ply(job.path / "scan" / "surface.ply")
    fields = read_npz(job.step("inspection") / "fields.npz")
    rescan = job.step("rescan") / "surface.ply"
    view, cmap = fig.surface_view(scan), fig.COLORMAP[config.process]
    target = fig.UM_PER_M * fields["target_m"]
    high = 1.5 * float(np.quantile(target[target > 0.0], 0.99)) if np.any(target > 0.0) else 1.0
    label, maps = fig.CHANGE[config.process], []
    if "measured_m" in fields:
        maps.append((fields["measured_m"], f"measured {label} since the first scan"))
    maps.append((fields["change_m"], f"{label} judged: {verdict['by']}"))
    handed = ", handed to the next cycle" if verdict["stop"] is None else ""
    maps.append((fields["wanted_m"], f"still missing{handed}"))
    pictures = [(_scan_surface(job), "before this cycle")]
    if rescan.is_file():
        pictures.append((read_ply(rescan), "after it"))
    n = len(pictures) + len(maps)
    figure, axes = plt.subplots(1, n, figsize=(6.2 * n, 5.0))
    for ax, (surface, title) in zip(axes, pictures, strict=False):
        ax.imshow(fig.render_surface(surface, view).rgb)
        ax.set_title(title)
        ax.set_axis_off()
    for ax, (values, title) in zip(axes[len(pictures) :], maps, strict=True):
        shown = np.isfinite(values) & (target > 0.0)
        fig.map_axes(ax, scan, view, fig.UM_PER_M * np.nan_to_num(values), 0.0, high, cmap, f"{label} [um]", shown)
        ax.set_title(title)
    stop = verdict["stop"]
    text = verdict["basis"] + "; " + (f"stopped: {stop['text']}" if stop else "another cycle follows")
    rows = _rows(verdict["figures"])
    if verdict.get("truth"):
        rows += _rows({f"true_{k}": v for k, v in verdict["truth"]["figures"].items() if k in TRUE_SHOWN})
        own = ("agreement_rms_m", "measurement_error_rms_m", "measurement_error_mean_m")
        rows += _rows({k: v for k, v in verdict["truth"]["figures"].items() if k in own})
    yield Section(title="Before and after", text=text, picture=_image(figure), rows=rows)


TRUE_SHOWN = ("mean_m", "in_tolerance_area_fraction", "covered_area_fraction", "undercut_p999_m")


def _motion(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    motion = job.step("motion")
    path = motion / "trajectory.json"
    if not path.is_file():
        return
    cell: Cell = load_cell(config.cell)
    trajectory = JointTrajectory.read(path)
    run = motion / "toolpath.json"
    toolpath = ToolPath.read(run) if run.is_file() else None
    motion_figures = motion / "figures.json"
    rows = _rows(read_json(motion_figures)) if motion_figures.is_file() else ()
    yield Section(title="Joints", picture=_image(fig.joints_figure(cell.robot, trajectory)), rows=rows)
    yield Section(title="Tool speed", picture=_image(fig.speed_figure(cell.robot, trajectory, toolpath)))


def _pauses(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    for k, one in enumerate(interruptions(job)):
        yield Section(title="Pauses and stops" if k == 0 else "", text=one.text)


def _times(job: JobFolder, config: JobConfig) -> Iterator[Section]:
    done = {
        cycle.label(s): cycle.step(s) / MANIFEST
        for cycle in job.cycles
        for s in STEPS
        if (cycle.step(s) / MANIFEST).is_file()
    }
    if not done:
        return
    seconds = [float(read_json(manifest)["duration_s"]) for manifest in done.values()]
    yield Section(title="Time per step", picture=_image(fig.bars_figure(list(done), seconds)))
