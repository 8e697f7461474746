"""Where the paint goes: catch against evenness at several prices of overspray, and what lands on masks.

Plates of 0.6 and 1.2 m under a 240 mm fan, planned at each price over the same lines; then masks on a plate (a disc of
200 mm, a strip over half of it) and on a curved shell (a window). Scored by scorer_spray.py, which shares no code with
the planner, on points less than half as far apart as the planner's own (a quarter of the area each, or less), and on
the mask's true shape; for the chosen price also by the simulator's droplets. Catch is film landed over film of the
whole cone. The bound of the process time is film volume / (transfer x solids x flow x catch), with the film as wanted.

    cell bench material
    PRICES="0 0.001" cell bench material       these prices of overspray instead
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scorer_spray import DensePoints, dense_points, film_of

from cell_core.config import GunConfig, SprayRecipe, load_named, load_recipe
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_simulation.demo_parts import freeform_shell
from cell_simulation.predict import predict
from spray_planner import PRICES, plan_prices, plan_spray

HALF_FAN_M = 0.12
PITCH_M = 0.003
STEP_M = 0.00125
INSIDE_M = 0.02
"""Film may run out over this distance inside a mask's edge [m]."""
GRID_M = 0.005
UP_COS = 0.5

Depth = Callable[[Array], Array]
"""How far points (P, 3) lie inside a mask [m]; below 0 outside."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a judge finds."""

    mean_m: float
    cv: float
    catch: float
    on_s: float
    strokes_s: float
    """With the ends of strokes where the gun is off."""
    bound_s: float
    on_mask: float = 0.0
    beside_cv: float = 0.0
    """CV of the film farther than INSIDE_M from a mask."""


def plate(side_m: float) -> Surface:
    """Return a square plate with vertices GRID_M apart."""
    n = round(side_m / GRID_M) + 1
    g = np.linspace(-0.5 * side_m, 0.5 * side_m, n)
    x, y = np.meshgrid(g, g, indexing="ij")
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = (k.ravel() for k in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    vertices = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    return Surface(vertices_m=vertices, triangles=np.concatenate([np.c_[a, b, c], np.c_[a, c, d]]))


def disc(points_m: Array) -> Array:
    """Return the depth in a disc of 200 mm at the plate's middle."""
    return 0.1 - np.hypot(points_m[:, 0], points_m[:, 1])


def half_strip(points_m: Array) -> Array:
    """Return the depth in a strip of 150 mm from the plate's middle to its border."""
    return np.minimum(0.075 - np.abs(points_m[:, 0]), points_m[:, 1])


def window(points_m: Array) -> Array:
    """Return the depth in a window of 160 x 120 mm about the shell's middle, seen from above."""
    return np.minimum(0.08 - np.abs(points_m[:, 0]), 0.06 - np.abs(points_m[:, 1]))


def judged(surface: Surface, path: ToolPath, target_m: float, depth: Depth | None = None) -> Score:
    """Return the figures of a tool path; evenness over what is to be painted."""
    points = dense_points(surface.vertices_m, surface.triangles, PITCH_M)
    film = film_of(points, surface.vertices_m, surface.triangles, path.strokes, path.tool, step_m=STEP_M)
    inside = depth(points.points_m) if depth else np.full(len(film), -1.0)
    return _scored(points, film, inside, path, target_m)


def simulated(surface: Surface, path: ToolPath, target_m: float) -> Score:
    """Return the figures by the simulator's droplets, at the vertices."""
    film = predict(surface, path, seed=0)
    points = DensePoints(
        points_m=surface.vertices_m, normals=surface.vertex_normals, areas_m2=surface.vertex_areas_m2
    )
    return _scored(points, film, np.full(len(film), -1.0), path, target_m)


def _scored(points: DensePoints, film: Array, inside: Array, path: ToolPath, target_m: float) -> Score:
    tool, areas = path.tool, points.areas_m2
    rate = tool["flow_m3_per_s"] * tool["solids_volume_fraction"] * tool["transfer_efficiency"]
    on_s = float(sum(s.dwell_s.sum() for s in path.strokes))
    # the shell is closed and stands on its rim: its outside is what faces up
    up = points.normals[:, 2] > UP_COS
    painted = (inside <= 0.0) & up
    mean, cv = _mean_cv(film, areas, painted)
    _, beside = _mean_cv(film, areas, (inside < -INSIDE_M) & up)
    catch = float(areas @ film) / (rate * on_s)
    return Score(
        mean_m=mean,
        cv=cv,
        catch=catch,
        on_s=on_s,
        strokes_s=float(sum(s.times_s[-1] for s in path.strokes)),
        bound_s=target_m * float(areas[painted].sum()) / (rate * catch),
        on_mask=float((areas * film)[inside > INSIDE_M].sum()) / (rate * on_s),
        beside_cv=beside,
    )


def _mean_cv(film: Array, areas: Array, at: NDArray[np.bool_]) -> tuple[float, float]:
    w = areas[at] / areas[at].sum()
    mean = float(w @ film[at])
    return mean, float(np.sqrt(w @ (film[at] - mean) ** 2)) / mean


def prices_table(recipe: SprayRecipe, gun: GunConfig, prices: tuple[float, ...], console: Console) -> Table:
    """Return catch against evenness on both plates."""
    times = ("on s", "on / bound", "strokes s / bound", "strokes")
    columns = ("price", "mean um", "CV %", "catch %", *times, "planner: CV %", "catch %")
    table = Table("plate", *columns, title="price of overspray, 240 mm fan; simulator in brackets")
    for side_m in (0.6, 1.2):
        surface = plate(side_m)
        started = time.process_time()
        plans = plan_prices(surface, recipe, gun, prices=prices)
        console.print(f"{side_m} m: {len(plans)} plans, {time.process_time() - started:.1f} s of CPU time", style="dim")
        for priced in plans:
            path, figures = priced.plan.toolpath, priced.plan.figures
            own = judged(surface, path, recipe.target_thickness_m)
            cv, catch = f"{100 * own.cv:.2f}", f"{100 * own.catch:.1f}"
            if priced.chosen:
                other = simulated(surface, path, recipe.target_thickness_m)
                cv, catch = f"{cv} ({100 * other.cv:.2f})", f"{catch} ({100 * other.catch:.1f})"
            table.add_row(
                f"{side_m} m",
                f"{priced.price:g}",
                f"{1e6 * own.mean_m:.2f}",
                cv,
                catch,
                f"{own.on_s:.1f}",
                f"{own.on_s / own.bound_s:.3f}",
                f"{own.strokes_s / own.bound_s:.3f}",
                str(len(path.strokes)),
                f"{100 * figures['cv']:.2f}",
                f"{100 * figures['catch_fraction']:.1f}",
                style="bold" if priced.chosen else None,
            )
        table.add_section()
    return table


def masks_table(recipe: SprayRecipe, gun: GunConfig) -> Table:
    """Return what lands on masks, and the film beside them."""
    columns = ("on mask %", "planner", "CV %", "CV % off edge", "mean um", "catch %", "strokes", "triggers", "CPU s")
    table = Table("mask", *columns, title=f"masks: film more than {1e3 * INSIDE_M:.0f} mm inside, of what was sprayed")
    cases: tuple[tuple[str, Surface, Depth], ...] = (
        ("plate, disc 200 mm", plate(0.6), disc),
        ("plate, half strip", plate(0.6), half_strip),
        ("shell, window", freeform_shell(), window),
    )
    for name, surface, depth in cases:
        started = time.process_time()
        mask = (depth(surface.vertices_m) <= 0.0).astype(float)
        plan: Plan = plan_spray(surface, recipe, gun, mask=mask)
        seconds = time.process_time() - started
        own = judged(surface, plan.toolpath, recipe.target_thickness_m, depth)
        numbers = (own.on_mask, plan.figures["on_mask_fraction"], own.cv, own.beside_cv)
        table.add_row(
            name,
            *(f"{100 * n:.2f}" for n in numbers),
            f"{1e6 * own.mean_m:.2f}",
            f"{100 * own.catch:.1f}",
            str(len(plan.toolpath.strokes)),
            str(plan.figures["n_triggers"]),
            f"{seconds:.1f}",
        )
    return table


def main() -> int:
    """Run the benchmark and print its tables."""
    console = Console(width=150)
    recipe = load_recipe("spray_50um")
    assert isinstance(recipe, SprayRecipe)
    gun = load_named(GunConfig, "guns", recipe.gun).model_copy(update={"a_m": HALF_FAN_M})
    words = os.environ.get("PRICES", "").split()
    prices = tuple(float(word) for word in words) or PRICES
    console.print(prices_table(recipe, gun, prices, console))
    console.print(masks_table(recipe, gun))
    return 0


if __name__ == "__main__":
    sys.exit(main())
