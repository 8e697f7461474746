"""`cell identify`: from a job and the scan after it to a tool file with Preston coefficient and wear as they are."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cell_core.config import GrindToolConfig, load_named
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import read_npz, write_npz
from cell_core.registration import align
from cell_core.surface import Surface
from cell_core.surface_io import read_ply
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_inspection import removed_between
from cell_operator.files import read_surface
from grinding_planner.face import reach_m
from grinding_planner.identification import Identification, highest_force_n, identify
from grinding_planner.process_signal import ProcessSignal
from grinding_planner.remaining import removed_so_far
from grinding_planner.tool_file import write_tool

LOG_ARRAYS = ("time_s", "on", "process_value", "spindle_power_w")
ALIGN_REACH_M = 2e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """What was run, what was measured."""

    path: ToolPath
    before: Surface
    removed_m: Array
    signal: ProcessSignal | None
    source: str
    wanted_m: Array | None
    """(V,) what the plan was to remove, where its fields lie beside it and belong to the scan before."""


def run_identify(args: argparse.Namespace, console: Console) -> int:
    """Run `cell identify` and return its exit code; nothing is written unless the job tells the coefficient."""
    from cell_operator.identification_figure import identification_figure

    out: Path = args.out
    if out.suffix not in (".yaml", ".yml") or out.is_dir():
        raise ConfigurationError(f"--out {out}: wanted a file name ending in .yaml")
    rest: Path | None = args.rest
    if rest is not None and (rest.suffix != ".npz" or rest.is_dir()):
        raise ConfigurationError(f"--rest {rest}: wanted a file name ending in .npz")
    job = _job(args)
    if rest is not None and job.wanted_m is None:
        raise InputRefusedError(
            f"--rest: no fields.npz with target_change_m beside the plan for the {len(job.before.vertices_m)} "
            "vertices of the scan before"
        )
    tool = load_named(GrindToolConfig, "tools", args.tool or str(job.path.tool["name"]))
    tool = tool.model_copy(update={"name": args.name or out.stem})
    found = identify(job.before, job.removed_m, job.path, tool, signal=job.signal)
    picture = out.with_suffix(".png")
    identification_figure(found, job.before, picture)
    write_tool(out, found, job.source)
    if rest is not None and job.wanted_m is not None:
        gone = removed_so_far(job.before, found, reach_m(tool, highest_force_n(job.path)))
        write_npz(rest, target_m=np.maximum(job.wanted_m - gone, 0.0))
        console.print(f"what is left to remove, per vertex of the scan before: {rest}")
    _print(found, tool, job, console)
    console.print(f"written to {out} and {picture}")
    return 0


def _job(args: argparse.Namespace) -> _Job:
    folder: Path = args.job or args.plan
    if args.job:
        # motion may have slowed strokes or left some out
        paths = [folder / step / "toolpath.json" for step in ("motion", "plan")]
    else:
        paths = [folder / "toolpath.json"]
    path_file = next((path for path in paths if path.is_file()), None)
    if path_file is None:
        raise InputRefusedError(f"{folder}: holds no {paths[-1].relative_to(folder)}")
    path = ToolPath.read(path_file)
    if path.process != "grind":
        raise InputRefusedError(f"{path_file}: process is {path.process}; wear is identified on grinding")
    before = _before(args)
    return _Job(
        path=path,
        before=before,
        removed_m=_removed(args, before),
        signal=_signal(args),
        source=f"{folder.name}, {len(path.strokes)} strokes",
        wanted_m=_wanted(folder / "plan" if args.job else folder, len(before.vertices_m)),
    )


def _wanted(plan: Path, n_vertices: int) -> Array | None:
    fields = read_npz(plan / "fields.npz") if (plan / "fields.npz").is_file() else {}
    wanted = fields.get("target_change_m")
    return None if wanted is None or len(wanted) != n_vertices else np.asarray(wanted, float)


def _before(args: argparse.Namespace) -> Surface:
    if args.before is not None:
        return read_surface(args.before, args.unit)
    if args.job is None:
        raise ConfigurationError("--before: needed with --plan: the scan the job was planned on")
    return read_ply(args.job / "scan" / "surface.ply")


def _removed(args: argparse.Namespace, before: Surface) -> Array:
    if args.after is not None:
        after = read_surface(args.after, args.unit)
        if args.register:
            after = after.transformed(align(after, before, ALIGN_REACH_M).T_target_source, before.frame)
        return removed_between(before, after)
    measured = None if args.job is None else args.job / "inspection" / "fields.npz"
    if measured is None or not measured.is_file() or args.before is not None:
        raise ConfigurationError(
            "--after: needed, the scan after the job" + " (the job was not inspected)" * (not args.plan)
        )
    fields = read_npz(measured)
    return np.asarray(fields["raw_m"] if "raw_m" in fields else fields["change_m"], float)


def _signal(args: argparse.Namespace) -> ProcessSignal | None:
    if args.log is not None:
        return _read_log(args.log)
    logs = [] if args.job is None else sorted((args.job / "execution").glob("executed_*.npz"))
    # a job taken up again has a log for each attempt, and none of them the whole of it
    if len(logs) != 1:
        return None
    signal = _read_log(logs[0])
    # a spindle that does not tell its power logs zeros
    return signal if signal.power_w.any() else None


def _read_log(file: Path) -> ProcessSignal:
    arrays = read_npz(file)
    missing = [name for name in LOG_ARRAYS if name not in arrays]
    if missing:
        raise InputRefusedError(f"{file}: no array {missing[0]}; wanted {', '.join(LOG_ARRAYS)}, has {sorted(arrays)}")
    time_s, on, force, power = (arrays[name] for name in LOG_ARRAYS)
    return ProcessSignal(time_s=time_s, on=on, force_n=force, power_w=power)


def _print(found: Identification, start: GrindToolConfig, job: _Job, console: Console) -> None:
    area = float(job.before.vertex_areas_m2[found.touched].sum())
    title = f"{found.tool.name}: {1e4 * area:.0f} cm2, noise {1e6 * found.noise_m:.1f} um"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("number", "file", "identified", "95 % interval"):
        table.add_column(column, justify="left" if column == "number" else "right", no_wrap=True)
    now, own = found.preston_now_interval, found.tool.preston_interval_per_pa
    assert own is not None
    table.add_row(
        "preston_per_pa", f"{start.preston_per_pa:.4g}", f"[bold]{found.tool.preston_per_pa:.4g}[/]",
        f"{own.low:.4g} .. {own.high:.4g}",
    )  # fmt: skip
    table.add_row(
        "Preston coefficient now", "", f"[bold]{found.preston_now_per_pa:.4g}[/]", f"{now.low:.4g} .. {now.high:.4g}"
    )
    for key in ("energy_j", "floor_fraction"):
        values = [None if tool.wear is None else getattr(tool.wear, key) for tool in (start, found.tool)]
        told = f"wear.{key}" in found.identified
        texts = ["none" if value is None else f"{value:.4g}" for value in values]
        table.add_row(f"wear.{key}", texts[0], f"[bold]{texts[1]}[/]" if told else "not identified", "")
    console.print(table)
    for change, stroke in zip(found.changes, found.change_strokes, strict=True):
        console.print(
            f"sudden change in stroke {stroke}, at {100 * change.share:.1f} % of the job: "
            f"friction times {change.factor:.2f}"
        )
    if job.signal is None:
        console.print("no log of force and spindle power: sudden changes are not told")
    console.print(
        f"the abrasive in use has done {found.disc_energy_j:.0f} J: "
        f"plan its next job with --disc-energy {found.disc_energy_j:.0f}"
    )
    for warning in found.warnings:
        console.print(f"[bold yellow]warning:[/] {warning}")
