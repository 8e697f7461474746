"""Spray plans against the open peers' method: plane slicing at one uniform speed (noether's raster), one gun, one run.

Both are scored by the simulator's process model, not the planner's. The uniform speed is set so that the mean film is
the target: the baseline is given what a patient operator would find by trial. Prints one table; ratios compare within
the run.

    cell bench peer            generated shell
    PARTS="a.ply b.stl" cell bench peer
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table

from cell_core.config import GunConfig, SprayRecipe, load_named, load_recipe
from cell_core.statistics import FieldStatistics, field_statistics
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.toolpath import Freedom, Stroke, ToolPath
from cell_core.transforms import Array, unit
from cell_simulation.demo_parts import freeform_shell
from cell_simulation.predict import predict
from spray_planner.planner import plan_spray

SAMPLE_M = 0.01
MIN_STROKE_M = 0.05


def plane_sliced(
    surface: Surface, spacing_m: float, standoff_m: float, overtravel_m: float, speed_m_per_s: float, flow: float
) -> list[Stroke]:
    """Return noether-like strokes: parallel planes normal to the second principal axis, one cut each `spacing_m`."""
    centre = np.average(surface.vertices_m, axis=0, weights=surface.vertex_areas_m2)
    spread = (surface.vertices_m - centre) * np.sqrt(surface.vertex_areas_m2)[:, None]
    axes = np.linalg.svd(spread, full_matrices=False)[2]
    across = axes[1]
    height = (surface.vertices_m - centre) @ across
    mesh = trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False)
    strokes: list[Stroke] = []
    for level in np.arange(height.min() + 0.5 * spacing_m, height.max(), spacing_m):
        section = mesh.section(plane_origin=centre + level * across, plane_normal=across)
        for entity in section.entities if section is not None else ():
            stroke = _stroke(surface, section.vertices[entity.points], standoff_m, overtravel_m, speed_m_per_s, flow)
            if stroke is not None:
                strokes.append(stroke if len(strokes) % 2 else stroke.reversed())
    return strokes


def _stroke(
    surface: Surface, line: Array, standoff_m: float, overtravel_m: float, speed: float, flow: float
) -> Stroke | None:
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    if length[-1] < MIN_STROKE_M:
        return None
    at = np.linspace(0.0, length[-1], max(int(length[-1] / SAMPLE_M), 2) + 1)
    points = np.stack([np.interp(at, length, line[:, i]) for i in range(3)], axis=1)
    near = surface.tree.query_ball_point(points, 0.02)
    normals = unit(np.stack([surface.vertex_normals[i].mean(axis=0) if i else np.array([0, 0, 1.0]) for i in near]))
    first, last = unit(points[0] - points[1]), unit(points[-1] - points[-2])
    steps = SAMPLE_M * np.arange(1, int(overtravel_m / SAMPLE_M) + 1)[:, None]
    points = np.concatenate([(points[0] + steps * first)[::-1], points, points[-1] + steps * last])
    n = len(steps)
    normals = np.concatenate([np.tile(normals[0], (n, 1)), normals, np.tile(normals[-1], (n, 1))])
    position = points + standoff_m * normals
    travel = unit(np.gradient(position, axis=0))
    sound = np.linalg.norm(np.cross(travel, normals), axis=1) > 0.05
    position, normals, travel = position[sound], normals[sound], travel[sound]
    if len(position) < 2:
        return None
    ones = np.ones(len(position))
    return Stroke(
        kind="area",
        position_m=position,
        tool_axis=-normals,
        travel=travel,
        speed_m_per_s=speed * ones,
        process_value=flow * ones,
        on=ones.astype(bool),
        freedom=Freedom(spin="fixed"),
    )


def score(surface: Surface, toolpath: ToolPath, target: Array, tolerance: float) -> tuple[FieldStatistics, Array]:
    """Return figures of the film the simulator's model predicts over the target area, and the film."""
    film = predict(surface, toolpath, seed=0)
    return field_statistics(film, target, surface.vertex_areas_m2, tolerance, target > 0.0), film


def main() -> int:
    """Run the benchmark over the parts named in PARTS, or the generated shell."""
    recipe = load_recipe("spray_50um")
    assert isinstance(recipe, SprayRecipe)
    gun = load_named(GunConfig, "guns", recipe.gun)
    parts = [(Path(p).name, load_surface(Path(p))[0]) for p in os.environ.get("PARTS", "").split()]
    parts = parts or [("generated shell", freeform_shell())]
    table = Table(
        "part", "method", "strokes", "length m", "on-part s", "CV %", "in 15 % tolerance %", "covered %", "plan s"
    )
    for name, surface in parts:
        started = time.perf_counter()
        plan = plan_spray(surface, recipe, gun)
        ours_s = time.perf_counter() - started
        target = plan.fields["target_change_m"]
        ours, _ = score(surface, plan.toolpath, target, 0.15)
        started = time.perf_counter()
        strokes = plane_sliced(
            surface, 0.5 * 2.0 * gun.a_m, recipe.standoff_m, recipe.overtravel_m, 0.3, gun.flow_m3_per_s
        )
        peer_s = time.perf_counter() - started
        if not strokes:
            table.add_row(name, "plane slicing", "0", *["-"] * 6)
            continue
        path = replace(plan.toolpath, strokes=strokes)
        _, film = score(surface, path, target, 0.15)
        region = target > 0.0
        gain = float(np.average(film[region], weights=surface.vertex_areas_m2[region]) / target[region].mean())
        path = replace(path, strokes=[replace(s, speed_m_per_s=gain * s.speed_m_per_s) for s in strokes])
        peer, _ = score(surface, path, target, 0.15)
        for method, figures, tool_path, seconds in (
            ("this project", ours, plan.toolpath, ours_s),
            ("plane slicing", peer, path, peer_s),
        ):
            table.add_row(
                name,
                method,
                str(len(tool_path.strokes)),
                f"{tool_path.length_m:.1f}",
                f"{tool_path.duration_s:.1f}",
                f"{100 * figures.cv:.2f}",
                f"{100 * figures.in_tolerance_area_fraction:.1f}",
                f"{100 * figures.covered_area_fraction:.1f}",
                f"{seconds:.1f}",
            )
        table.add_row("", f"CV ratio {peer.cv / ours.cv:.1f}", *[""] * 7, end_section=True)
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
