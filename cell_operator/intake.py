"""What `cell surface` reports of a loaded surface, as a file and as a table."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cell_core.files import sha256
from cell_core.meshes.borders import Border, borders
from cell_core.meshes.repair import RepairReport
from cell_core.meshes.topology import joints
from cell_core.surface import Surface
from cell_core.surface_io import STEP_SUFFIXES

ROWS_MAX = 12


def surface_report(path: Path, unit: str, surface: Surface, repair: RepairReport, n_filled: int) -> dict[str, Any]:
    """Return the report of a surface: unit, size, repairs, components, rims and holes; volume where it is closed."""
    found = joints(surface.vertices_m, surface.triangles)
    component = found.components
    areas = np.bincount(component, surface.triangle_areas_m2)
    is_open = np.bincount(component[found.open // 3], minlength=len(areas)) > 0
    volumes = np.bincount(
        component, np.einsum("ij,ij->i", surface.centroids_m, surface.triangle_area_vectors_m2) / 3.0, len(areas)
    )
    loops = borders(surface)
    return {
        "file": {"path": str(path), "sha256": sha256(path)},
        "unit": "as the file states" if path.suffix.lower() in STEP_SUFFIXES else unit,
        "size_m": np.ptp(surface.bounds_m, axis=0).tolist(),
        "n_vertices": len(surface.vertices_m),
        "n_triangles": len(surface.triangles),
        "area_m2": surface.area_m2,
        "volume_m3": None if is_open.any() else float(volumes.sum()),
        "repairs": asdict(repair),
        "n_holes_filled": n_filled,
        "components": [
            {
                "area_m2": float(areas[k]),
                "n_triangles": int((component == k).sum()),
                "closed": not bool(is_open[k]),
            }
            for k in np.argsort(-areas, kind="stable")
        ],
        "rims": [_row(b) for b in loops if b.is_rim],
        "holes": [_row(b) for b in loops if not b.is_rim],
    }


def _row(border: Border) -> dict[str, Any]:
    return {
        "component": border.component,
        "length_m": border.length_m,
        "diameter_m": border.diameter_m,
        "area_m2": border.area_m2,
        "off_plane_m": border.off_plane_m,
        "vertices": border.vertices.tolist(),
    }


def print_intake(console: Console, report: dict[str, Any]) -> None:
    """Print a surface report as two tables: what it is and was repaired, and its longest borders."""
    table = Table("surface", "value")
    size = " x ".join(f"{1e3 * v:.1f}" for v in report["size_m"])
    volume = "open" if report["volume_m3"] is None else f"{1e6 * report['volume_m3']:.1f} cm3"
    closed = sum(c["closed"] for c in report["components"])
    for row in (
        ("size", f"{size} mm ({report['unit']})"),
        ("triangles", str(report["n_triangles"])),
        ("area", f"{report['area_m2']:.4f} m2"),
        ("volume", volume),
        ("components", f"{len(report['components'])}, {closed} closed"),
        ("rims, holes", f"{len(report['rims'])}, {len(report['holes'])}"),
        ("holes filled", str(report["n_holes_filled"])),
        *((k.replace("_", " "), str(v)) for k, v in report["repairs"].items() if v),
    ):
        table.add_row(*row)
    console.print(table)
    rows = [("rim", b) for b in report["rims"]] + [("hole", b) for b in report["holes"]]
    if not rows:
        return
    table = Table("border", "component", "length mm", "diameter mm", "area cm2", "off plane mm")
    for kind, b in rows[:ROWS_MAX]:
        figures = (1e3 * b["length_m"], 1e3 * b["diameter_m"], 1e4 * b["area_m2"], 1e3 * b["off_plane_m"])
        table.add_row(kind, str(b["component"]), *(f"{v:.2f}" for v in figures))
    console.print(table)
    if len(rows) > ROWS_MAX:
        console.print(f"and {len(rows) - ROWS_MAX} more in report.json")
