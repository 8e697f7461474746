"""Spray plans against the open peers' method: plane slicing at one uniform speed (noether's raster), one gun, one run.

The baseline is given a patient operator's best: the region that this project's planner found serviceable, cut out and
clustered, with or without its rim; every usual cut direction, line spacing and kind of normals tried, the best kept;
and the one speed at which its mean film is the target, whatever the gun's limits. Both methods are scored over that
region by the simulator's process model, not the planner's, and by a second judge that draws no droplets. Guns are
scaled to the part.
Ratios compare within the run. What either covers with a round tool is in bench_coverage.

    cell bench peer                                        generated shell and, where ../shared/data exists, its parts
    PARTS="a.ply b.stl:mm c.stl:inch:hung" cell bench peer these instead; hung: sprayed from all sides, on no table
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import scipy.sparse.csgraph
from plane_slicer import Line, SlicerSettings, plane_slicer, spray_strokes
from rich.console import Console
from rich.table import Table
from scorer_spray import DensePoints, dense_points, film_of

from cell_core.config import GunConfig, Interval, SprayRecipe, load_named, load_recipe
from cell_core.errors import CellError
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.statistics import FieldStatistics, field_statistics
from cell_core.surface import Surface
from cell_core.surface_io import UNIT_M, load_surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array, unit
from cell_simulation.demo_parts import freeform_shell
from cell_simulation.predict import predict
from spray_planner.planner import plan_spray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA_PARTS = (
    "noether_raw_mesh.ply",
    "crs_part_2.stl",
    "crs_part_3.stl",
    "wu_tang_blade/turbine_blade.STL:mm:hung",
    "wu_tang_blade/turbine_blade_convex.STL:mm:hung",
    "kr150r3100_2_link_1.stl",
    "fanuc_DAC/DAC_580813_cad.stl",
    "fanuc_DAC/DAC_580813_defect.ply",
    "puzzle_piece_detailed.ply",
    "puzzle_piece.ply",
    "42400-IDGH.stl:inch",
    "featuretype.STL:inch",
    "z1_Link01.obj",
)
TOLERANCE = 0.15
FAN_SHARE = 0.6
"""The widest fan used, as a share of the part's second largest extent."""
SCALE_LEAST = 0.25
"""The smallest gun: its standoff stays clear of what the gun model leaves out."""
CLUSTER_SHARE = 0.01
"""Clusters below this share of the region's area get no strokes."""
FACE_COS = (0.7, 0.95)
"""What is turned farther from a region's mean normal may be taken for its rim, not its face."""
PLAN_MOST_S = 90.0
"""Parts that take the planner longer are left out."""

Try = tuple[str, ToolPath, float]
"""Settings in words, tool path, CPU time."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is sprayed, or why it was not loaded."""

    name: str
    surface: Surface | CellError
    hung: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What is to be coated."""

    surface: Surface
    region: Surface
    """The triangles that the planner can serve."""
    target_m: Array
    """(V,) film wanted on the surface's vertices."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method's result on one part."""

    path: ToolPath
    simulated: FieldStatistics
    judged: FieldStatistics
    plan_s: float
    how: str = ""


def named_parts() -> Iterator[Part]:
    """Yield the shell and the parts asked for."""
    yield Part(name="generated shell", surface=freeform_shell())
    asked = os.environ.get("PARTS")
    names = asked.split() if asked is not None else [str(DATA / p) for p in DATA_PARTS if DATA.is_dir()]
    for text in names:
        file, *options = text.split(":")
        unit_name = next((u for u in UNIT_M if u in options), "m")
        try:
            surface = load_surface(Path(file), unit_name)[0]  # pyright: ignore[reportArgumentType]
        except CellError as error:
            surface = error
        yield Part(name=Path(file).name, surface=surface, hung="hung" in options)


def scaled(recipe: SprayRecipe, gun: GunConfig, surface: Surface) -> tuple[SprayRecipe, GunConfig, float]:
    """Return recipe and gun with every length scaled to the part, and the scale; speeds stay as they are."""
    middle = float(np.sort(np.ptp(surface.bounds_m, axis=0))[1])
    k = float(np.clip(FAN_SHARE * middle / (2.0 * gun.a_m), SCALE_LEAST, 1.0))
    lengths = ("a_m", "b_m", "reference_standoff_m", "flow_m3_per_s", "flow_min_m3_per_s")
    reach = Interval(low=k * gun.standoff_m.low, high=k * gun.standoff_m.high)
    gun = gun.model_copy(update={n: k * v for n in lengths if (v := getattr(gun, n))} | {"standoff_m": reach})
    settings = ("standoff_m", "overtravel_m", "flow_m3_per_s", "spacing_m")
    return recipe.model_copy(update={n: k * v for n in settings if (v := getattr(recipe, n))}), gun, k


def slice_region(region: Surface, settings: SlicerSettings) -> list[Line]:
    """Return the lines of each cluster of the region, cut about its own principal axes."""
    n, labels = scipy.sparse.csgraph.connected_components(region.adjacency, directed=False)
    of_triangle = labels[region.triangles[:, 0]]
    areas = np.bincount(of_triangle, region.triangle_areas_m2, minlength=n)
    lines: list[Line] = []
    for cluster in np.flatnonzero(areas >= CLUSTER_SHARE * areas.sum()):
        piece = region.select_triangles(of_triangle == cluster)
        lines += plane_slicer(piece, settings.line_spacing_m, settings)
    return lines


def areas_to_cut(region: Surface) -> dict[str, Surface]:
    """Return the region, and, where most of it faces one way, only what does: operators leave rims out."""
    mean = unit(region.triangle_area_vectors_m2.sum(axis=0))
    areas = {"": region}
    for cos in FACE_COS:
        face = np.flatnonzero(region.triangle_normals @ mean > cos)
        if 0.5 < float(region.triangle_areas_m2[face].sum()) / region.area_m2 < 1.0:
            areas[f", within {np.degrees(np.arccos(cos)):.0f}°"] = region.select_triangles(face)
    return areas


def peer_paths(region: Surface, recipe: SprayRecipe, gun: GunConfig, tool_path: ToolPath) -> Iterator[Try]:
    """Yield the baseline at 0.3 m/s in every setting an operator would try.

    Cuts of the region or of its face without the rim, along either principal axis, spaced by half the fan or
    ripple-free, with the mesh's normals, those smoothed over two line spacings as Scan-N-Plan's example does, or the
    one carried along the line.
    """
    flow = recipe.flow_m3_per_s or gun.flow_m3_per_s
    normals = {"raw normals": {}, "smoothed": {"smoothing_points": 21}, "carried": {"normals": "carried"}}
    spacings = gun.a_m, EllipticDoubleBeta(gun).spacing_m()
    for (crop, area), spacing, degrees, named in product(areas_to_cut(region).items(), spacings, (0, 90), normals):
        started = time.process_time()
        settings = SlicerSettings(
            line_spacing_m=spacing,
            point_spacing_m=0.1 * spacing,
            min_segment_m=0.5 * spacing,
            min_hole_m=spacing,
            rotation_rad=np.radians(degrees),
            **normals[named],
        )
        strokes = spray_strokes(slice_region(area, settings), recipe.standoff_m, recipe.overtravel_m, 0.3, flow)
        seconds = time.process_time() - started
        if strokes:
            how = f"{1e3 * spacing:.0f} mm, {degrees}°, {named}{crop}"
            yield how, replace(tool_path, strokes=strokes), seconds


def best_peer(case: Case, tries: Iterator[Try]) -> Row | None:
    """Return the try with the least CV, at the uniform speed whose mean film is the target; None: no stroke fits.

    Tried on the second judge, coarsely: the film at one speed is that at another, scaled.
    """
    rows = [(judge(case, path, pitch=0.5, step=0.3, points_most=4_000), how, path, s) for how, path, s in tries]
    rows = [row for row in rows if row[0].mean_m > 0.0]
    if not rows:
        return None
    _, how, path, seconds = min(rows, key=lambda row: row[0].cv)
    gain = judge(case, path).mean_m / float(case.target_m.max())
    strokes = [replace(s, speed_m_per_s=gain * s.speed_m_per_s) for s in path.strokes]
    return score(case, replace(path, strokes=strokes), seconds, how)


def judge(
    case: Case, path: ToolPath, *, pitch: float = 0.15, step: float = 0.1, points_most: int = 40_000
) -> FieldStatistics:
    """Return the second judge's figures over the region, at points and instants so many b apart."""
    b_m = path.tool["b_m"]
    every = dense_points(case.region.vertices_m, case.region.triangles, pitch * b_m)
    some = slice(None, None, -(-len(every.points_m) // points_most))
    points = DensePoints(points_m=every.points_m[some], normals=every.normals[some], areas_m2=every.areas_m2[some])
    whole = case.surface.vertices_m, case.surface.triangles
    film = film_of(points, *whole, path.strokes, path.tool, step_m=step * b_m)
    wanted = np.full(len(film), float(case.target_m.max()))
    return field_statistics(film, wanted, points.areas_m2, TOLERANCE, wanted > 0.0)


def score(case: Case, path: ToolPath, plan_s: float, how: str = "") -> Row:
    """Return both judges' figures over the region."""
    film = predict(case.surface, path, seed=0)
    simulated = field_statistics(film, case.target_m, case.surface.vertex_areas_m2, TOLERANCE, case.target_m > 0.0)
    return Row(path=path, simulated=simulated, judged=judge(case, path), plan_s=plan_s, how=how)


def compare(surface: Surface, recipe: SprayRecipe, gun: GunConfig, hung: bool) -> tuple[Case, Row, Row | None]:
    """Return what was to be coated, this project's row and the baseline's."""
    started = time.process_time()

    def give_up(fraction: float, message: str) -> None:
        if time.process_time() - started > PLAN_MOST_S:
            raise CellError(f"no plan in {PLAN_MOST_S:.0f} s of CPU time (at {100 * fraction:.0f} %: {message})")

    plan = plan_spray(surface, recipe, gun, table=not hung, progress=give_up)
    seconds = time.process_time() - started
    target = plan.fields["target_change_m"]
    served = np.flatnonzero(np.all(target[surface.triangles] > 0.0, axis=1))
    region = surface.select_triangles(served)
    case = Case(surface=surface, region=region, target_m=target)
    ours = score(case, plan.toolpath, seconds)
    return case, ours, best_peer(case, peer_paths(region, recipe, gun, plan.toolpath))


def main() -> int:
    """Run the benchmark and print its table."""
    console = Console(width=150)
    recipe = load_recipe("spray_50um")
    assert isinstance(recipe, SprayRecipe)
    gun = load_named(GunConfig, "guns", recipe.gun)
    simulated, judged = ("CV %", "in ±15 %", "covered %"), ("judge 2: CV %", "in ±15 %")
    films = Table("part", "method", "strokes", "length m", "on-part s", *simulated, *judged, "plan CPU s")
    for part in named_parts():
        console.print(f"{part.name} ...", style="dim")
        if isinstance(part.surface, CellError):
            films.add_row(part.name, f"not loaded: {part.surface}", end_section=True)
            continue
        own_recipe, own_gun, scale = scaled(recipe, gun, part.surface)
        try:
            case, ours, peer = compare(part.surface, own_recipe, own_gun, part.hung)
        except CellError as error:
            films.add_row(part.name, f"refused: {error}", end_section=True)
            continue
        _add_films(films, [part.name, f"{case.region.area_m2:.3f} m2, gun × {scale:.2f}", ""], ours, peer)
    console.print(films)
    return 0


def _add_films(table: Table, first: list[str], ours: Row, peer: Row | None) -> None:
    for method, row in (("this project", ours), ("plane slicing", peer)):
        if row is None:
            table.add_row(first.pop(0), f"{method}: no stroke fits")
            continue
        figures = (
            f"{row.path.length_m:.1f}",
            f"{row.path.duration_s:.1f}",
            f"{100 * row.simulated.cv:.2f}",
            f"{100 * row.simulated.in_tolerance_area_fraction:.1f}",
            f"{100 * row.simulated.covered_area_fraction:.1f}",
            f"{100 * row.judged.cv:.2f}",
            f"{100 * row.judged.in_tolerance_area_fraction:.1f}",
            f"{row.plan_s:.2f}",
        )
        table.add_row(first.pop(0), f"{method} {row.how}".strip(), str(len(row.path.strokes)), *figures)
    if peer is not None:
        ratios = peer.simulated.cv / ours.simulated.cv, peer.judged.cv / ours.judged.cv
        table.add_row(first.pop(0), f"CV ratio {ratios[0]:.1f}, judge 2 {ratios[1]:.1f}")
    table.add_section()


if __name__ == "__main__":
    sys.exit(main())
