"""The floors of spray planning on shells and parts, judged apart from the planner.

Planned is every part with one recipe and gun. Scored is the film (scorer_spray) at dense points of the area a gun can
see by a test of this folder's own (scorer_visible), served by the planner or not. Ratio: CV of plane slicing at one
uniform speed, in the best setting an operator would find (bench_peer), over this project's, at the same points.
Agreement: planner's film against the simulator's droplets over what the planner serves, RMS.

    cell bench spray                                     generated shells and, where ../shared/data exists, its parts
    PARTS="bowl door a.stl:mm:hung:deep" cell bench spray   these; hung: no table, outside: free sky only, deep: floor
    SCALED=1: gun scaled to small parts; PEER=0: no plane slicing; PICTURES=folder: thickness maps; RECIPE, GUN: names
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_peer import Case, best_peer, peer_paths, scaled
from judged_parts import SprayPart, parts
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scorer_guns import detail_m
from scorer_spray import Array, DensePoints, film_of, scene_of
from scorer_visible import seen, seen_points
from spray_pictures import thickness_picture

from cell_core.config import GunConfig, SprayRecipe, load_named, load_recipe
from cell_core.errors import CellError
from cell_core.plan import Plan
from cell_core.statistics import FieldStatistics, field_statistics
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_simulation.predict import predict
from spray_planner.planner import plan_spray

CV_FLOOR = {False: 0.03, True: 0.06}
"""Largest CV by `deep`."""
IN_15_FLOOR = 0.98
RATIO_FLOOR = 4.0
PLAN_FLOOR_S = 20.0
"""For 1 m2 at 100 000 triangles."""
PLAN_MOST_S = float(os.environ.get("PLAN_MOST_S", "300"))
"""Planning is given up after this much CPU time."""
TOLERANCE = 0.15
POINTS_MOST = 40_000
PITCH = 0.15
"""Distance of points over half the width of the gun's smallest feature; instants stand STEP of it apart."""
STEP = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One part's figures."""

    plan: Plan
    points: DensePoints
    film_m: Array
    film: FieldStatistics
    """Over the seen area."""
    cv_served: float
    """CV over what of the seen area the planner says it serves."""
    unserved: float
    """Share of the seen area that the planner calls unserved."""
    agreement: float
    """RMS of the planner's film minus the droplets' over the target."""
    catch: float
    """Droplets on the part over those sprayed."""
    ratio: float | None
    """CV of plane slicing over this plan's; None: not tried, or no stroke fits."""
    wall_s: float
    cpu_s: float


def judge(part: SprayPart, surface: Surface, recipe: SprayRecipe, gun: GunConfig, *, peer: bool = True) -> Judged:
    """Plan a part and score it."""
    wall, cpu = time.perf_counter(), time.process_time()
    give_up_at = cpu + PLAN_MOST_S

    def watch(fraction: float, message: str) -> None:
        if time.process_time() > give_up_at:
            raise CellError(f"no plan in {PLAN_MOST_S:.0f} s of CPU time (at {100 * fraction:.0f} %: {message})")

    plan = plan_spray(surface, recipe, gun, table=not part.hung, progress=watch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    how = {"hung": part.hung, "outside": part.outside}
    points = seen_points(surface, PITCH * detail_m(plan.toolpath.tool), POINTS_MOST, recipe.standoff_m, **how)
    film = film_at(points, surface, plan.toolpath)
    target = float(plan.toolpath.tool["target_thickness_m"])
    everywhere = np.ones(len(film), bool)
    statistics = statistics_at(points, film, target, everywhere)
    agreement, catch = against_droplets(surface, plan)
    ratio = None
    if peer:
        try:
            ratio = _peer_cv(part, surface, recipe, gun, plan, points) / statistics.cv
        except CellError:
            ratio = None
    served = _at_points(surface, plan.fields["serviceable"], points) >= 0.5
    return Judged(
        plan=plan,
        points=points,
        film_m=film,
        film=statistics,
        cv_served=statistics_at(points, film, target, served).cv if served.any() else float("nan"),
        unserved=float(points.areas_m2[~served].sum() / points.areas_m2.sum()),
        agreement=agreement,
        catch=catch,
        ratio=ratio,
        wall_s=wall,
        cpu_s=cpu,
    )


def film_at(points: DensePoints, surface: Surface, path: ToolPath) -> Array:
    """Return the film at the points, with instants STEP of the gun's smallest feature apart."""
    step = STEP * detail_m(path.tool)
    return film_of(points, surface.vertices_m, surface.triangles, path.strokes, path.tool, step_m=step)


def statistics_at(points: DensePoints, film_m: Array, target_m: float, where: NDArray[np.bool_]) -> FieldStatistics:
    """Return the figures over some of the points."""
    return field_statistics(film_m, np.full(len(film_m), target_m), points.areas_m2, TOLERANCE, where)


def against_droplets(surface: Surface, plan: Plan) -> tuple[float, float]:
    """Return RMS of planner's film minus droplets' where it serves, over the target, and the catch of the droplets."""
    path, target = plan.toolpath, float(plan.toolpath.tool["target_thickness_m"])
    truth = predict(surface, path, seed=0)
    served = surface.vertex_areas_m2 * (plan.fields["target_change_m"] > 0.0)
    rms = np.sqrt(np.average((plan.fields["predicted_change_m"] - truth) ** 2, weights=served))
    solids = path.tool["solids_volume_fraction"] * path.tool["transfer_efficiency"]
    sprayed = solids * sum(float(s.dwell_s @ s.process_value) for s in path.strokes)
    return float(rms) / target, float(surface.vertex_areas_m2 @ truth) / sprayed


def _peer_cv(
    part: SprayPart, surface: Surface, recipe: SprayRecipe, gun: GunConfig, plan: Plan, points: DensePoints
) -> float:
    """Return the CV of the best plane slicing of the seen triangles, at the same points."""
    how = {"hung": part.hung, "outside": part.outside}
    keep = seen(surface.centroids_m, surface.triangle_normals, surface, recipe.standoff_m, **how)
    region = surface.select_triangles(keep)
    target = np.full(len(surface.vertices_m), recipe.target_thickness_m)
    row = best_peer(
        Case(surface=surface, region=region, target_m=target), peer_paths(region, recipe, gun, plan.toolpath)
    )
    if row is None:
        raise CellError("no stroke of plane slicing fits")
    film = film_at(points, surface, row.path)
    return statistics_at(points, film, recipe.target_thickness_m, np.ones(len(film), bool)).cv


def _at_points(surface: Surface, field: Array, points: DensePoints) -> Array:
    """Return a per-vertex field at points on the surface, linear within triangles."""
    scene = scene_of(surface.vertices_m, surface.triangles)
    near = scene.compute_closest_points(np.ascontiguousarray(points.points_m, np.float32))
    u, v = near["primitive_uvs"].numpy().T.astype(float)
    corners = np.asarray(field, float)[surface.triangles[near["primitive_ids"].numpy().astype(np.int64)]]
    return np.einsum("nk,nk->n", np.column_stack([1.0 - u - v, u, v]), corners)


def main() -> int:
    """Run the benchmark and print its table."""
    console = Console(width=190)
    recipe = load_recipe(os.environ.get("RECIPE", "spray_50um"))
    assert isinstance(recipe, SprayRecipe)
    gun = load_named(GunConfig, "guns", os.environ.get("GUN", recipe.gun))
    table = Table("part", "triangles", "m2 seen", "served", "unserved %", "mean/target", "CV %", "on served %")
    for column in ("in ±15 %", "P1", "P99", "CV ratio", "agreement %", "catch %", "strokes", "length m", "on s"):
        table.add_column(column)
    table.add_column("plan s (CPU)")
    for part in parts(os.environ.get("PARTS")):
        row = [f"{part.name}{' (d)' if part.deep else ''}", *_row(part, recipe, gun)]
        console.print("  ".join(row), style="dim")
        table.add_row(*row)
    console.print(table)
    console.print(
        f"judged: CV <= {100 * CV_FLOOR[False]:.0f} %, deep (d) <= {100 * CV_FLOOR[True]:.0f} %; "
        f">= {100 * IN_15_FLOOR:.0f} % within ±15 % of the target; CV ratio >= {RATIO_FLOOR:.0f}; "
        f"1 m2 at 100 000 triangles in <= {PLAN_FLOOR_S:.0f} s. x: missed. On served: CV over what the planner serves. "
        "P1, P99: over the target"
    )
    return 0


def _row(part: SprayPart, recipe: SprayRecipe, gun: GunConfig) -> list[str]:
    """Return a part's cells: its figures, or why there are none."""
    if isinstance(part.surface, CellError):
        return [f"not loaded: {part.surface}"]
    if os.environ.get("SCALED"):
        recipe, gun, _ = scaled(recipe, gun, part.surface)
    try:
        found = judge(part, part.surface, recipe, gun, peer=os.environ.get("PEER") != "0")
    except CellError as error:
        return [f"refused: {error}"]
    film, figures, path = found.film, found.plan.figures, found.plan.toolpath
    target = recipe.target_thickness_m
    if folder := os.environ.get("PICTURES"):
        title = f"{part.name}: CV {100 * film.cv:.2f} %, in ±15 % {100 * film.in_tolerance_area_fraction:.1f} %"
        thickness_picture(Path(folder) / f"{part.name}.png", found.points, found.film_m / target, path.strokes, title)
    return [
        f"{len(part.surface.triangles)}",
        f"{film.area_m2:.3f}",
        f"{figures['serviceable_area_m2']:.3f}",
        f"{100 * found.unserved:.1f}",
        f"{film.mean_m / target:.3f}",
        _marked(f"{100 * film.cv:.2f}", film.cv <= CV_FLOOR[part.deep]),
        f"{100 * found.cv_served:.2f}",
        _marked(f"{100 * film.in_tolerance_area_fraction:.1f}", film.in_tolerance_area_fraction >= IN_15_FLOOR),
        f"{film.p01_m / target:.2f}",
        f"{film.p99_m / target:.2f}",
        "-" if found.ratio is None else _marked(f"{found.ratio:.1f}", found.ratio >= RATIO_FLOOR),
        f"{100 * found.agreement:.1f}",
        f"{100 * found.catch:.1f}",
        f"{len(path.strokes)}",
        f"{path.length_m:.1f}",
        f"{sum(float(s.dwell_s.sum()) for s in path.strokes):.1f}",
        _marked(f"{found.wall_s:.1f} ({found.cpu_s:.1f})", found.wall_s <= PLAN_FLOOR_S),
    ]


def _marked(text: str, met: bool) -> str:
    return text if met else f"{text} x"


if __name__ == "__main__":
    sys.exit(main())
