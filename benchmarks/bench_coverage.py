"""Geometric coverage with a 30 mm round face on every part: covered area, visits, spacing, distance from the surface.

Counted by scorer_coverage.py on random points, apart from the planner. Serviceable is what the face touches from some
pose on the surface whose body is clear of the part (cell_core/strokes/access.py). Spacing is the true surface distance
between neighbouring strokes of a patch over the one asked for. Beside it, noether's method with the same face: the
whole mesh cut by parallel planes at the same spacing.

    cell bench coverage                                   generated shapes and, where ../shared/data exists, its parts
    PARTS="a.ply b.stl:mm c.stl:inch" cell bench coverage these instead
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from plane_slicer import SlicerSettings, plane_slicer
from rich.console import Console
from rich.table import Table
from scorer_coverage import CoverageScore, random_points, score_coverage

from cell_core.errors import CellError
from cell_core.strokes.access import RoundTool, reached
from cell_core.strokes.cover import Cover, cover_part
from cell_core.strokes.spacing import stroke_distances
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.toolpath import Stroke
from cell_core.transforms import unit
from cell_operator.cover_figures import cover_figure
from cell_simulation import shapes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA_PARTS = (
    "fanuc_DAC/DAC_580813_cad.stl",
    "fanuc_DAC/DAC_580813_scan.ply",
    "fanuc_DAC/DAC_580813_defect.ply",
    "noether_raw_mesh.ply",
    "crs_part_2.stl",
    "crs_part_3.stl",
    "puzzle_piece_detailed.ply",
    "puzzle_piece.ply",
    "featuretype.STL:inch",
    "z1_Link01.obj",
    "42400-IDGH.stl:inch",
    "kr150r3100_2_link_1.stl",
    "wu_tang_blade/turbine_blade.STL:mm",
    "wu_tang_blade/turbine_blade_convex.STL:mm",
)
SHAPES: dict[str, Callable[[], Surface]] = {
    "torus": shapes.torus,
    "sphere": shapes.sphere,
    "helix tube, 1.5 turns": shapes.helix_tube,
    "plate with 40 holes": shapes.holed_plate,
}
TOOL = RoundTool.of_radius(0.015)
POINTS_PER_M2, POINTS_MAX = 500_000, 300_000
SEED = 1
OUT = Path(os.environ.get("BENCH_OUT", "bench_out"))


def parts() -> Iterator[tuple[str, Callable[[], Surface]]]:
    """Yield names and loaders: those of PARTS, or the generated shapes and the shared parts."""
    named = os.environ.get("PARTS", "").split()
    if not named:
        yield from SHAPES.items()
        named = [str(DATA / p) for p in DATA_PARTS if (DATA / p.split(":")[0]).is_file()]
    for word in named:
        path, _, unit_name = word.partition(":")
        yield Path(path).name, partial(_load, Path(path), unit_name or "m")


def _load(path: Path, unit_name: Any) -> Surface:
    return load_surface(path, unit_name)[0]


def judged(part: Surface, cover: Cover, strokes: Sequence[Stroke]) -> CoverageScore:
    """Return the score of strokes over random points of the part that the tool can reach."""
    n = int(np.clip(POINTS_PER_M2 * part.area_m2, 20_000, POINTS_MAX))
    points, normals = random_points(part, n, SEED)
    ground = cover.ground
    seats = ground.mesh.centroids_m[ground.seat]
    serviceable = reached(points, normals, seats, ground.outward[ground.seat], TOOL)
    return score_coverage(
        part, points, normals, serviceable, strokes,
        radius_m=TOOL.radius_m, depth_m=TOOL.depth_m, incidence_rad=TOOL.incidence_max_rad,
    )


def sliced(part: Surface, spacing_m: float) -> list[Stroke]:
    """Return noether's strokes over the whole mesh, holes up to the face's width crossed."""
    settings = SlicerSettings(point_spacing_m=0.005, min_segment_m=0.005, min_hole_m=2.0 * TOOL.radius_m)
    strokes = []
    for line in plane_slicer(part, spacing_m, settings):
        tangent = np.gradient(line.points_m, axis=0)
        tangent -= np.einsum("ij,ij->i", tangent, line.normals)[:, None] * line.normals
        sound = np.linalg.norm(tangent, axis=1) > 1e-9
        if sound.sum() < 2:
            continue
        n = int(sound.sum())
        strokes.append(
            Stroke(
                kind="area", position_m=line.points_m[sound], tool_axis=-unit(line.normals[sound]),
                travel=unit(tangent[sound]), speed_m_per_s=np.ones(n), process_value=np.zeros(n), on=np.ones(n, bool),
            )
        )
    return strokes


def spacing_within(cover: Cover) -> tuple[float, float]:
    """Return the share of stroke length whose neighbour is within 5 % of the spacing asked for, and the length."""
    good = total = 0.0
    for k in range(len(cover.patches)):
        lines = [line for line, owner in zip(cover.lines, cover.patch_of_line, strict=True) if owner == k]
        if len(lines) < 2:
            continue
        distances = stroke_distances(cover.ground.caster, lines, cover.spacing_m)
        weight = float(distances.weight_m.sum())
        good, total = good + distances.within * weight, total + weight
    return (good / total if total else 1.0), total


def main() -> int:
    """Run the benchmark; the exit code is 1 where a part misses a bound."""
    OUT.mkdir(parents=True, exist_ok=True)
    console = Console(width=170)
    table = Table(
        "part", "serviceable m2", "of area %", "patches", "strokes", "covered %", "visits", "off mm",
        "spacing within 5 %", "length m", "CPU s", "plane slicing: covered %", "visits", "length m",
    )
    missed = 0
    for name, load in parts():
        console.print(f"{name} ...", style="dim")
        try:
            part = load()
            started = time.process_time()
            cover = cover_part(part, TOOL)
            seconds = time.process_time() - started
        except CellError as error:
            table.add_row(name, f"refused: {error}", *[""] * 12)
            continue
        ours, peer = judged(part, cover, cover.strokes), judged(part, cover, sliced(part, cover.spacing_m))
        within, _ = spacing_within(cover)
        good = ours.covered >= 0.995 and ours.mean_visits <= 1.5 and ours.off_surface_m <= 2e-4 and within >= 0.95
        missed += not good
        table.add_row(
            name if good else f"[red]{name}[/]",
            f"{ours.serviceable_area_m2:.4f}", f"{100 * ours.serviceable_share:.1f}",
            str(len(cover.patches)), str(len(cover.lines)), f"{100 * ours.covered:.2f}", f"{ours.mean_visits:.2f}",
            f"{1e3 * ours.off_surface_m:.2f}", f"{100 * within:.1f}", f"{ours.length_m:.2f}", f"{seconds:.1f}",
            f"{100 * peer.covered:.2f}", f"{peer.mean_visits:.2f}", f"{peer.length_m:.2f}",
        )
        cover_figure(cover, OUT / f"coverage_{name.split('.')[0].split(',')[0].replace(' ', '_')}.png")
    console.print(table)
    console.print(
        "bounds: covered >= 99.5 %, visits <= 1.5, off <= 0.2 mm, spacing >= 95 %; "
        "published: 95.9-96.4 % covered, 2.40 visits"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
