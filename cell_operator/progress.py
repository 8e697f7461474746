"""Progress and tables on the terminal."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

# how a figure's unit suffix is shown to people: (suffix, factor, unit, decimals)
_SHOWN = (
    ("_rad_per_s", 57.29577951308232, "deg/s", 2),
    ("_rad_per_m", 57.29577951308232e-3, "deg/mm", 3),
    ("_m_per_s", 1e3, "mm/s", 1),
    ("_m2", 1.0, "m2", 4),
    ("_m3", 1e6, "cm3", 3),
    ("_fraction", 1e2, "%", 2),
    ("_s", 1.0, "s", 2),
    ("_n", 1.0, "N", 1),
    ("_j", 1.0, "J", 0),
    ("_w", 1.0, "W", 1),
    ("_kg", 1.0, "kg", 4),
    ("_hz", 1.0, "Hz", 1),
    ("_rad", 57.29577951308232, "deg", 2),
)


class StepProgress:
    """A progress bar that is also the `Progress` callback of the pure functions."""

    def __init__(self, console: Console, title: str) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description:<18}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}"),
            console=console,
            transient=False,
        )
        self._task = self._bar.add_task(title, total=1.0, message="")

    def __call__(self, fraction: float, message: str) -> None:
        self._bar.update(self._task, completed=fraction, message=message)

    def __enter__(self) -> "StepProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._bar.update(self._task, completed=1.0, message="done")
        self._bar.stop()


def shown_figure(name: str, value: Any) -> tuple[str, str, str]:
    """Return a figure's label, value and unit as people read them; lengths are shown in m, mm or um by size."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return name.replace("_", " "), str(value), ""
    for suffix, factor, unit, decimals in _SHOWN:
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), f"{factor * value:.{decimals}f}", unit
    if name.endswith("_m"):
        label = name.removesuffix("_m").replace("_", " ")
        if abs(value) < 1.5e-3:
            return label, f"{1e6 * value:.1f}", "um"
        return (label, f"{1e3 * value:.2f}", "mm") if abs(value) < 1.0 else (label, f"{value:.3f}", "m")
    if name == "cv" or name.endswith("_cv"):
        return name.replace("_", " ").replace("cv", "CV"), f"{100 * value:.2f}", "%"
    number = f"{value:d}" if isinstance(value, int | np.integer) else f"{value:.4g}"
    return name.replace("_", " "), number, ""


def print_figures(console: Console, title: str, figures: Mapping[str, Any]) -> None:
    """Print scalar figures as a table with units."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in figures.items():
        if isinstance(value, int | float | np.number | str):
            label, number, unit = shown_figure(name, value)
            table.add_row(label, f"[bold]{number}[/]", unit)
    console.print(table)
