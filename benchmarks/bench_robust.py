"""What the errors of a real cell leave of a plan: seeded draws, computed exactly by the judge and linearised by us.

Errors of a draw (spray_planner.disturbances): place of the strokes 0.5 mm and tool axis 0.2 degrees, one standard
deviation; flow +/- 2 %, standoff +/- 2 mm, every switching +/- 10 ms, even; with BOX also fan width and height, even
over that share. Drawn twice: place and axis in common for all strokes (registration), and for each stroke on its own.
Exact: the scorer's film at points of the seen area, coarse in time; its figures for the plan as it is, coarse and
fine, say what the coarseness costs. Linearised: the planner's own film model, at the planner's points, same draws.

    cell bench robust                              0.6 m plate, shells and, where ../shared/data exists, the bumper
    PARTS="door a.stl:mm:hung" cell bench robust    these, named as for bench_spray
    EXACT=200: so many of the thousand draws exactly, all of them linearised; BOX=0.05: gun's lengths open by 5 %
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from judged_parts import DATA, SprayPart, parts
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scorer_guns import detail_m
from scorer_spray import Array, DensePoints, Instants, film_of, film_of_instants, instants, scene_of
from scorer_visible import seen_points

from cell_core.config import GunConfig, Interval, SprayRecipe, load_named, load_recipe
from cell_core.errors import CellError
from cell_core.plan import Plan
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from spray_planner.disturbances import Disturbances, Draws
from spray_planner.planner import plan_spray
from spray_planner.robustness import Points, RobustFigures, figures_of, film_model

P95_CV_FLOOR, IN_12_FLOOR = 0.04, 0.985
DRAWS = 1000
PITCH, STEP, FINE_STEP = 0.15, 0.25, 0.05
"""Distance of points, of coarse and of fine instants over half the width of the gun's smallest feature."""
POINTS_MOST = 1500


def drawn_instants(
    strokes: Sequence[Stroke], step_m: float, on_s: Sequence[float], off_s: Sequence[float]
) -> Iterator[Instants]:
    """Yield each stroke's instants, about `step_m` of path together, switched on and off so much late."""
    for stroke, late_on, late_off in zip(strokes, on_s, off_s, strict=True):
        nozzle, axis, travel, seconds, flow = instants(stroke, 1e9)
        open_s = _open_seconds(seconds, flow > 0.0, late_on, late_off)
        speeds = np.interp(np.cumsum(seconds) - 0.5 * seconds, stroke.times_s, stroke.speed_m_per_s)
        group = np.unique(np.floor(np.cumsum(seconds * speeds) / step_m), return_inverse=True)[1].astype(np.int64)
        weights = np.maximum(open_s, 1e-9 * seconds)
        nozzle, axis, travel = (_means(values, group, weights) for values in (nozzle, axis, travel))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        travel -= np.sum(travel * axis, axis=1, keepdims=True) * axis
        travel /= np.linalg.norm(travel, axis=1, keepdims=True)
        opened = np.bincount(group, open_s).astype(float)
        yield nozzle, axis, travel, opened, np.where(opened > 0.0, flow.max(), 0.0)


def _open_seconds(seconds: Array, on: NDArray[np.bool_], late_on: float, late_off: float) -> Array:
    """Return for how long of each instant (N,) the gun is open.

    Where the gun is on at a stroke's very end it stands there for what it is late; nothing is known of the path beyond.
    """
    end = np.cumsum(seconds)
    start = end - seconds
    padded = np.r_[False, on, False]
    firsts, lasts = np.flatnonzero(~padded[:-1] & padded[1:]), np.flatnonzero(padded[:-1] & ~padded[1:]) - 1
    opened = np.zeros(len(seconds))
    for first, last in zip(firsts, lasts, strict=True):
        t0, t1 = start[first] + late_on, end[last] + late_off
        opened += np.clip(np.minimum(end, t1) - np.maximum(start, t0), 0.0, None)
        opened[first] += max(-t0, 0.0)
        opened[last] += max(t1 - end[-1], 0.0)
    return opened


def _means(values: Array, group: NDArray[np.int64], weights: Array) -> Array:
    sums = [np.bincount(group, weights * column) for column in values.T]
    return np.column_stack(sums) / np.bincount(group, weights)[:, None]


def exact_films(
    points: DensePoints, surface: Surface, plan: Plan, gun: GunConfig, draws: Draws, step_m: float, n: int
) -> Array:
    """Return the judge's film (P, n) of the first n draws."""
    scene = scene_of(surface.vertices_m, surface.triangles)
    films = []
    for i in range(n):
        strokes = draws.strokes(i, plan.toolpath.strokes)
        tool = {**plan.toolpath.tool, **{name: draws.gun(i, gun).numbers[name] for name in draws.names}}
        runs = drawn_instants(strokes, step_m, draws.on_s[i].tolist(), draws.off_s[i].tolist())
        films.append((1.0 + draws.flow[i]) * film_of_instants(points, scene, runs, tool))
    return np.column_stack(films)


def planned_points(surface: Surface, plan: Plan, points: DensePoints, target_m: float) -> Points:
    """Return the judge's points that the planner serves, as the planner's film model wants them."""
    near = surface.tree.query(points.points_m)[1]
    served = plan.fields["serviceable"][near] >= 0.5
    target = np.full(len(served), target_m)
    return Points.thinned(
        points.points_m, points.normals, points.areas_m2 * served, target, RayCaster(surface), POINTS_MOST
    )


def run(part: SprayPart, surface: Surface, recipe: SprayRecipe, gun: GunConfig, n: int) -> Iterator[list[str]]:
    """Yield a part's rows: as planned, then each way of drawing, by the judge and linearised."""
    plan = plan_spray(surface, recipe, gun, table=not part.hung)
    tool, strokes = plan.toolpath.tool, plan.toolpath.strokes
    gun = gun.model_copy(update={"flow_m3_per_s": tool["flow_m3_per_s"]})
    detail = detail_m(tool)
    points = seen_points(surface, PITCH * detail, POINTS_MOST, recipe.standoff_m, hung=part.hung, outside=part.outside)
    target = np.full(len(points.points_m), recipe.target_thickness_m)
    fine = film_of(points, surface.vertices_m, surface.triangles, strokes, tool, step_m=FINE_STEP * detail)
    yield ["as planned, fine", *_cells(figures_of(fine[:, None], target, points.areas_m2)), ""]
    still = Draws.of(_none(), gun.model_copy(update={"confidence": {}}), len(strokes), 1, per_stroke=False, seed=0)
    coarse = exact_films(points, surface, plan, gun, still, STEP * detail, 1)
    yield ["as planned, coarse", *_cells(figures_of(coarse, target, points.areas_m2)), ""]
    own = planned_points(surface, plan, points, recipe.target_thickness_m)
    for per_stroke in (False, True):
        how = "by stroke" if per_stroke else "in common"
        started = time.process_time()
        draws = Draws.of(Disturbances(), gun, len(strokes), DRAWS, per_stroke=per_stroke, seed=0)
        films = exact_films(points, surface, plan, gun, draws, STEP * detail, n)
        seconds = time.process_time() - started
        found = figures_of(films, target, points.areas_m2)
        yield [f"{how}, {n} exact", *_cells(found, judged=True), f"{seconds:.1f}"]
        started = time.process_time()
        films = film_model(own, strokes, gun).films(draws)
        seconds = time.process_time() - started
        yield [
            f"{how}, {DRAWS} linear, served",
            *_cells(figures_of(films, own.target_m, own.weights)),
            f"{seconds:.1f}",
        ]


def _none() -> Disturbances:
    return Disturbances(position_m=0.0, axis_rad=0.0, flow_fraction=0.0, standoff_m=0.0, trigger_s=0.0)


def _cells(found: RobustFigures, *, judged: bool = False) -> list[str]:
    mean = found.in_12_percent_area_fraction
    marks = [" x" if judged and missed else "" for missed in (found.p95_cv > P95_CV_FLOOR, mean < IN_12_FLOOR)]
    return [
        f"{100 * found.p95_cv:.2f}{marks[0]}",
        f"{100 * mean:.2f}{marks[1]}",
        f"{100 * found.in_12_percent_area_fraction_p05:.2f}",
    ]


def boxed(gun: GunConfig, share: float) -> GunConfig:
    """Return the gun with its pattern's lengths open by this share either way."""
    lengths = {name: number for name, number in gun.numbers.items() if name.endswith("_m")}
    box = {name: Interval(low=(1.0 - share) * m, high=(1.0 + share) * m) for name, m in lengths.items()}
    return gun.model_copy(update={"confidence": box})


def main() -> int:
    """Run the benchmark and print its table."""
    recipe = load_recipe(os.environ.get("RECIPE", "spray_50um"))
    assert isinstance(recipe, SprayRecipe)
    gun = load_named(GunConfig, "guns", os.environ.get("GUN", recipe.gun))
    if share := float(os.environ.get("BOX", "0")):
        gun = boxed(gun, share)
    bumper = [str(DATA / "noether_raw_mesh.ply")] if DATA.is_dir() else []
    asked = os.environ.get("PARTS", " ".join(["plate", "freeform", "door", *bumper]))
    table = Table("part", "draws", "P95 CV %", "in ±12 %: mean", "P5", "CPU s")
    console = Console(width=150)
    for part in parts(asked):
        console.print(f"{part.name} ...", style="dim")
        if isinstance(part.surface, CellError):
            table.add_row(part.name, f"not loaded: {part.surface}", end_section=True)
            continue
        try:
            for row in run(part, part.surface, recipe, gun, min(int(os.environ.get("EXACT", "1000")), DRAWS)):
                console.print("  ".join(row), style="dim")
                table.add_row(part.name, *row)
        except CellError as error:
            table.add_row(part.name, f"refused: {error}")
        table.add_section()
    console.print(table)
    console.print(
        f"judged: P95 of CV <= {100 * P95_CV_FLOOR:.0f} %, >= {100 * IN_12_FLOOR:.1f} % within ±12 %. x: missed. "
        "Linear rows hold what the planner serves, the others what a gun can see"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
