"""Layouts on meshes: time, growth with size, spacing error, coverage and distance from the surface, per part.

PARTS: further meshes (paths, metres), separated by colons. GROW=0 leaves the growth rows out.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cell_core.raycast import RayCaster
from cell_core.strokes.mesh_choice import candidates, choose_layout, layout_figures
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed, lay_on_mesh, prepare, strokes_on_mesh
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.strokes.spacing import stroke_distances
from cell_core.surface import Surface
from cell_simulation import shapes

SPACING_M = 0.027
RADIUS_M = 0.015
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> int:
    console = Console(width=200)
    console.print(_parts())
    if os.environ.get("GROW", "1") != "0":
        console.print(_growth())
    return 0


def parts() -> Iterator[tuple[str, Surface]]:
    for make in (
        shapes.plane, shapes.half_cylinder, shapes.cylinder, shapes.saddle, shapes.sphere, shapes.torus,
        shapes.helix_tube, shapes.holed_plate,
    ):  # fmt: skip
        yield make.__name__, make()
    scan = shapes.saddle(edge_m=0.005)
    noise = np.random.default_rng(0).normal(0.0, 3e-4, len(scan.vertices_m))
    yield "saddle, 0.3 mm noise", Surface(
        vertices_m=scan.vertices_m + noise[:, None] * scan.vertex_normals, triangles=scan.triangles
    )
    for name, unit_m in (("noether_raw_mesh.ply", 1.0), ("wu_tang_blade/turbine_blade.STL", 1e-3),
                         ("wu_tang_blade/turbine_blade_convex.STL", 1e-3)):  # fmt: skip
        if (DATA / name).exists():
            yield Path(name).stem, _scaled(DATA / name, unit_m)
    if (DATA / "crs_part_2.stl").exists():
        whole = _scaled(DATA / "crs_part_2.stl", 1.0)
        yield "crs_part_2, top", whole.select_triangles(whole.triangle_normals[:, 2] > 0.7)
    for path in filter(None, os.environ.get("PARTS", "").split(":")):
        yield Path(path).stem, _scaled(Path(path), 1.0)


def _scaled(path: Path, unit_m: float) -> Surface:
    import trimesh

    mesh: Any = trimesh.load(path, force="mesh")
    return Surface(vertices_m=unit_m * np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))


def _parts() -> Table:
    table = Table(title=f"layouts, spacing {1e3 * SPACING_M:.0f} mm, footprint {2e3 * RADIUS_M:.0f} mm: best candidate")
    for head in ("part", "triangles", "layout", "ms / 10k", "strokes", "length m", "spacing within 5 %", "p2.5",
                 "p97.5", "beside", "covered %", "visits", "off mm", "all s"):  # fmt: skip
        table.add_column(head, justify="left" if head in ("part", "layout") else "right", overflow="fold")
    for name, surface in parts():
        base = MeshLayoutRequest(
            seed=Seed(kind="planar", direction=np.array([1.0, 0.0, 0.0])),
            spacing_m=SPACING_M,
            step_m=0.01,
            overtravel_m=0.3 * SPACING_M,
            on_margin_m=0.3 * SPACING_M,
        )
        started = time.process_time()
        work = prepare(surface, base)
        best, _ = choose_layout(surface, candidates(work, base), radius_m=RADIUS_M, prepared=work)
        all_s = time.process_time() - started
        fresh = Surface(vertices_m=surface.vertices_m, triangles=surface.triangles)
        started = time.process_time()
        strokes_on_mesh(lay_on_mesh(fresh, best.request), best.request)
        layout_s = time.process_time() - started
        distances = stroke_distances(work.caster, best.lines, SPACING_M)
        figures = layout_figures(work, best.lines, SPACING_M, RADIUS_M)
        table.add_row(
            name,
            str(len(surface.triangles)),
            best.name,
            f"{1e7 * layout_s / len(surface.triangles):.0f}",
            str(figures.n_strokes),
            f"{figures.length_m:.1f}",
            f"{100 * distances.within:.1f}",
            f"{distances.quantile(0.025):.3f}",
            f"{distances.quantile(0.975):.3f}",
            f"{100 * distances.with_neighbour:.0f}",
            f"{100 * figures.covered:.2f}",
            f"{figures.mean_visits:.2f}",
            f"{1e3 * _off(work.caster, best.lines):.3f}",
            f"{all_s:.1f}",
        )
    return table


def _off(caster: RayCaster, lines: Sequence[MeshLine]) -> float:
    farthest = 0.0
    for line in lines:
        both = line.served[1:] & line.served[:-1]
        for t in (0.1, 0.35, 0.5, 0.6, 0.9):
            points = (1.0 - t) * line.surface_m[:-1][both] + t * line.surface_m[1:][both]
            farthest = max(farthest, float(caster.distance(points).max(initial=0.0)))
    return farthest


def _growth() -> Table:
    table = Table(title="growth: torus, the same 24 strokes, and the same strokes per area")
    for head in ("triangles", "spacing mm", "CPU s", "ms / 10k", "growth over linear"):
        table.add_column(head, justify="right")
    for per_area in (False, True):
        last = None
        for edge_m in (0.0157, 0.005, 0.00157):
            surface = shapes.torus(edge_m=edge_m)
            spacing = 3.0 * edge_m if per_area else SPACING_M
            request = MeshLayoutRequest(
                seed=Seed(kind="planar", direction=np.array([0.0, 0.0, 1.0])), spacing_m=spacing, step_m=0.4 * spacing
            )
            started = time.process_time()
            strokes_on_mesh(lay_on_mesh(surface, request), request)
            used = time.process_time() - started
            n = len(surface.triangles)
            growth = "" if last is None else f"{(used / last[0]) / (n / last[1]):.2f}"
            table.add_row(str(n), f"{1e3 * spacing:.1f}", f"{used:.2f}", f"{1e7 * used / n:.0f}", growth)
            last = (used, n)
        table.add_section()
    return table


if __name__ == "__main__":
    sys.exit(main())
