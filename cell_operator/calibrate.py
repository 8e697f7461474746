"""`cell calibrate gun`: from measured stripes to a gun file, with intervals and a picture of the residuals."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cell_core.config import GunConfig, load_named
from cell_core.errors import ConfigurationError
from spray_planner.calibration import Calibration, calibrate_gun
from spray_planner.gun_file import write_gun
from spray_planner.stripes import read_stripes


def calibrate(args: argparse.Namespace, console: Console) -> int:
    """Run `cell calibrate gun` and return its exit code; nothing is written unless the stripes identify the gun."""
    from cell_operator.calibration_figure import calibration_figure

    out: Path = args.out
    if out.suffix not in (".yaml", ".yml") or out.is_dir():
        raise ConfigurationError(f"--out {out}: wanted a file name ending in .yaml")
    start = load_named(GunConfig, "guns", args.gun)
    keep = [name.strip() for name in (args.keep or "").split(",") if name.strip()]
    found = calibrate_gun(start, read_stripes(args.stripes), name=args.name or out.stem, keep=keep)
    picture = out.with_suffix(".png")
    calibration_figure(found, picture)
    write_gun(out, found.gun)
    _print(found, start, console)
    console.print(f"written to {out} and {picture}")
    return 0


def _print(found: Calibration, start: GunConfig, console: Console) -> None:
    title = f"{found.gun.name}: {start.kind}, residual {1e6 * found.rms_residual_m:.2f} um rms"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("number", "start", "calibrated", "95 % interval"):
        table.add_column(column, justify="left" if column == "number" else "right", no_wrap=True)
    for name, value in found.gun.numbers.items():
        interval = found.gun.confidence.get(name)
        between = "kept" if interval is None else f"{interval.low:.4g} .. {interval.high:.4g}"
        table.add_row(name, f"{start.numbers[name]:.4g}", f"[bold]{value:.4g}[/]", between)
    console.print(table)
    for warning in found.warnings:
        console.print(f"[bold yellow]warning:[/] {warning}")
