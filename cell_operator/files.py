"""What commands share: a pose as typed, a surface as read, the files of a plan."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cell_core.errors import ConfigurationError
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.surface_io import load_surface, write_ply

console = Console(highlight=False)


def parse_pose(text: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Read "x,y,z,rx,ry,rz" [m, rad].

    Raises:
        ConfigurationError: not six finite numbers.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigurationError(f"pose {text!r}: {error}; wanted six numbers x,y,z [m],rx,ry,rz [rad]") from error
    if len(numbers) != 6 or not np.all(np.isfinite(numbers)):
        raise ConfigurationError(
            f"pose {text!r}: {len(numbers)} number(s), wanted six finite: x,y,z [m],rx,ry,rz [rad]"
        )
    x, y, z, rx, ry, rz = numbers
    return (x, y, z), (rx, ry, rz)


def read_surface(path: Path, unit: Any) -> Surface:
    """Load a surface and say what it is and what was repaired."""
    surface, repair = load_surface(path, unit)
    size = " x ".join(f"{1e3 * v:.1f}" for v in np.ptp(surface.bounds_m, axis=0))
    console.print(
        f"{path.name}: {len(surface.triangles)} triangles, {size} mm, {surface.area_m2:.4f} m2; {repair.text}"
    )
    return surface


def new_folder(path: Path) -> Path:
    """Return the folder to write to.

    Raises:
        ConfigurationError: there is a file of that name.
    """
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"{path}: is a file, wanted a folder to write to")
    return path


def write_plan(plan: Plan, surface: Surface, out: Path) -> None:
    """Write a plan's files, its surface with the fields, and its picture."""
    from cell_operator.edge_figures import edge_plan_figure
    from cell_operator.figures import plan_figure

    plan.write(out)
    write_ply(out / "surface.ply", surface.with_fields(**plan.fields))
    if plan.edges is None:
        plan_figure(surface, plan, out / "plan.png")
    else:
        edge_plan_figure(surface, plan, out / "plan.png")
