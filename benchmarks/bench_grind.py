"""Area sanding of 30 um on open shells and a casting, judged by scorer_grind.py beside a plane-sliced raster.

Judged over the area that some standing pad with a free body presses, as the scorer finds it; of closed parts on a
table, what does not face down. Points lie half as far apart as the planner's samples. The raster is noether's plane
slicing (plane_slicer.py) at the spacing of half a radius, one force and one feed, chosen so that its mean over the same
area is the target.

    cell bench grind
    PARTS="plate,lug" cell bench grind             some of the parts, or files
    PARTS=file.stl:mm TOOL=orbital_32 cell bench grind
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from judged_parts import DATA, door, plate, sheet, wavy
from plane_slicer import plane_slicer, spray_strokes
from rich.console import Console
from rich.table import Table
from scorer_grind import removed_depth, serviceable

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, points_by_area
from cell_core.statistics import weighted_quantile
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.transforms import Array
from cell_simulation.shapes import saddle
from grinding_planner.planner import plan_grind

TOLERANCE = 0.15
IN_TOLERANCE_MIN, OVER_CUT_MAX, PEER_MIN, PLAN_S_PER_HALF_M2 = 0.95, 1.5, 5.0, 30.0
UNTOUCHED = 0.05
SAMPLES_PER_RADIUS, SAMPLES_MAX = 12.0, 60_000
"""The planner's, which the scorer's points are twice as close as."""
RASTER_RADII = 0.5
DOWN = -0.3


def dome(size_m: float = 0.6, radius_m: float = 0.8) -> Surface:
    """Return a square cut out of a sphere, seen from outside."""

    def place(u: Array, v: Array) -> list[Array]:
        x, y = size_m * (u - 0.5), size_m * (v - 0.5)
        return [x, y, np.sqrt(radius_m**2 - x**2 - y**2) - radius_m]

    return sheet(place, size_m, size_m)


def _file(name: str, unit: str = "m", *, up: bool = False) -> Surface:
    surface = load_surface(DATA / name, unit)[0]  # pyright: ignore[reportArgumentType]
    # the outer sheet of a closed panel
    return surface.select_triangles(surface.triangle_normals[:, 2] > 0.3) if up else surface


PARTS: dict[str, tuple[Callable[[], Surface], str]] = {
    "plate": (plate, "orbital_125"),
    "wavy": (partial(wavy, 0.7), "orbital_125"),
    "dome": (dome, "orbital_125"),
    "saddle": (partial(saddle, 0.6, 0.8), "orbital_125"),
    "door": (door, "orbital_125"),
    "door, small pad": (door, "orbital_32"),
    "bumper": (partial(_file, "noether_raw_mesh.ply"), "orbital_32"),
    "panel": (partial(_file, "crs_part_2.stl", up=True), "orbital_125"),
    "blade": (partial(_file, "wu_tang_blade/turbine_blade.STL", "mm"), "orbital_125"),
    "blade convex": (partial(_file, "wu_tang_blade/turbine_blade_convex.STL", "mm"), "orbital_125"),
    "lug": (partial(_file, "fanuc_DAC/DAC_580813_cad.stl"), "orbital_125"),
    "lug, small pad": (partial(_file, "fanuc_DAC/DAC_580813_cad.stl"), "orbital_32"),
}
"""Maker and tool by name; wavy has 0.5 m2 in 100k triangles."""


class Judge:
    """The scorer's points on a part, and which of them count."""

    def __init__(self, surface: Surface, tool: GrindToolConfig, force_n: float) -> None:
        spacing = max(tool.radius_m / SAMPLES_PER_RADIUS, float(np.sqrt(surface.area_m2 / SAMPLES_MAX)))
        self.surface, self.block = surface, tool.model_dump(mode="json")
        self.points: SurfaceSamples = points_by_area(surface, 0.5 * spacing)
        self.caster = RayCaster(surface)
        self.counts = serviceable(surface, self.points, self.block, force_n, caster=self.caster)
        closed = np.linalg.norm(surface.triangle_area_vectors_m2.sum(axis=0)) < 0.01 * surface.area_m2
        self.counts &= (self.points.normals[:, 2] > DOWN) | (not closed)

    def depth(self, strokes: object) -> Array:
        """Return what strokes take off every point (P,) [m]."""
        return removed_depth(self.surface, self.points, strokes, self.block, caster=self.caster)  # pyright: ignore[reportArgumentType]

    def raster(self, tool: GrindToolConfig, recipe: GrindRecipe) -> tuple[Array, float]:
        """Return what the plane-sliced raster takes off every point (P,) [m] at the best feed, and that feed."""
        lines = plane_slicer(self.surface, RASTER_RADII * tool.radius_m)
        feed = tool.speed_m_per_s.high
        for _ in range(2):
            depth = self.depth(spray_strokes(lines, 0.0, 0.0, feed, recipe.force_n))
            mean = float(np.average(depth[self.counts], weights=self.points.areas_m2[self.counts]))
            feed *= mean / recipe.target_depth_m
        return np.asarray(depth * (recipe.target_depth_m / mean)), feed


def row(name: str, surface: Surface, tool: GrindToolConfig, recipe: GrindRecipe) -> tuple[list[str], bool]:
    """Return the figures of one part as text, and whether all bounds are met."""
    started = time.process_time()
    plan = plan_grind(surface, recipe, tool)
    seconds = time.process_time() - started
    judge = Judge(surface, tool, recipe.force_n)
    counts, areas = judge.counts, judge.points.areas_m2[judge.counts]
    share = judge.depth(plan.toolpath.strokes) / recipe.target_depth_m
    own = share[counts]
    peer, feed = judge.raster(tool, recipe)
    rms = float(np.sqrt(np.average((own - 1.0) ** 2, weights=areas)))
    peer_rms = float(np.sqrt(np.average((peer[counts] / recipe.target_depth_m - 1.0) ** 2, weights=areas)))
    within = float(np.average(np.abs(own - 1.0) <= TOLERANCE, weights=areas))
    high, highest = weighted_quantile(share, judge.points.areas_m2, 0.999), float(share.max())
    touched = float(np.average(own >= UNTOUCHED, weights=areas))
    good = within >= IN_TOLERANCE_MIN, highest <= OVER_CUT_MAX, touched == 1.0, peer_rms >= PEER_MIN * rms
    bounds = [
        _marked(f"{100 * within:.1f}", good[0]), _marked(f"{highest:.2f}", good[1]), f"{high:.2f}",
        _marked(f"{100 * touched:.2f}", good[2]), f"{100 * rms:.1f}", f"{100 * peer_rms:.1f}",
        _marked(f"{peer_rms / rms:.1f}", good[3]),
    ]  # fmt: skip
    predicted = 100 * plan.figures["residual_rms_m"] / recipe.target_depth_m
    fine = seconds <= PLAN_S_PER_HALF_M2 * max(1.0, surface.area_m2 / 0.5)
    return [
        name, tool.name, f"{areas.sum():.4f}", f"{100 * plan.figures['serviceable_area_m2'] / surface.area_m2:.1f}",
        f"{100 * counts.mean():.1f}", *bounds, f"{predicted:.1f}", f"{plan.figures['duration_s']:.0f}",
        f"{plan.figures['length_m']:.1f}", f"{feed:.2f}", _marked(f"{seconds:.1f}", fine),
    ], all(good) and fine  # fmt: skip


def _marked(text: str, good: bool) -> str:
    return text if good else f"[red]{text}[/]"


def main() -> int:
    """Run the benchmark; the exit code is 1 where a part misses a bound."""
    console = Console(width=200)
    asked = os.environ.get("PARTS", "")
    names = [name.strip() for name in asked.split(",")] if asked else list(PARTS)
    recipe = load_recipe("grind_30um")
    assert isinstance(recipe, GrindRecipe)
    table = Table(
        "part", "tool", "judged m2", "served %", "judged %", "in 15 %", "max", "P99.9", "touched %", "RMS %",
        "raster RMS %", "ratio", "predicted RMS %", "on part s", "length m", "raster m/s", "plan CPU s",
    )  # fmt: skip
    missed = 0
    for name in names:
        console.print(f"{name} ...", style="dim")
        file, _, unit = name.partition(":")
        make, own = PARTS.get(name) or (partial(_given, file, unit or "m"), "orbital_125")
        tool = load_named(GrindToolConfig, "tools", os.environ.get("TOOL", own))
        force = float(np.clip(recipe.force_n, tool.force_n.low, 0.625 * tool.force_n.high))
        used = recipe.model_copy(update={"tool": tool.name, "force_n": force})
        cells, good = row(Path(name).stem, make(), tool, used)
        table.add_row(*cells)
        console.print("  ".join(f"{column.header} {cell}" for column, cell in zip(table.columns, cells, strict=True)))
        missed += not good
    console.print(table)
    console.print(
        "depths over the target; bounds: >= 95 % within 15 %, over-cut <= 1.5, touched 100 %, raster RMS >= 5 x, "
        "30 s per 0.5 m2"
    )
    return 1 if missed else 0


def _given(file: str, unit: str) -> Surface:
    return load_surface(Path(file), unit)[0]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    sys.exit(main())
