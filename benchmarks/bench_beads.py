"""Weld beads ground away in a closed loop: scan with noise, plan, grind in a model of its own, scan again.

Beads of 1.5 x 14 mm (height x width, rounded ends, 60 to 150 mm long, heights 5 % uneven), straight, curved and
S-shaped, on flat, convex (R 0.15 to 1 m) and concave (R 0.2 to 1 m) cylinders and spheres in any direction. Each scan
is an open sheet with a ragged rim, vertices 1.5 to 2 mm apart, new in every cycle. From the second cycle on the planner
is told where the bead stood (the first plan's target), and always which of the three cycles it plans.

What is uncertain (NOISE, all of it unknown to the planner):
- `judged`, the main table: scans off by white noise of 10 um RMS at every vertex; the tool takes up to 5 % more or less
  than its coefficient says, one factor for the whole job; forces off by a constant 1 N either way, drawn anew in every
  cycle, and by a ripple of 1 N RMS (scorer_bead.py).
- `gain`: the same with up to 15 % more or less.
- `harsh`: the same as `gain`, and every scan is off by a smooth field of 30 to 100 um RMS, correlated over SMOOTH_M,
  and its white noise is 10 to 30 um. No planner can know the parent under a bead to 15 um from such scans: this one
  tells how it fails, not whether.
- `exact`: no noise and no errors: what the process model and the plan alone leave.

Judged on the true surface: what is left over the bead's footprint (30 um), how deep it goes below the parent anywhere
(15 um), in at most three cycles; the loop ends earlier where the planner finds nothing more.

Detection first, always with the harsh scans: the same 50 beads on their first scan; 20 round stubs of 6 to 15 mm and 2
to 5 mm high; 20 sheets without anything, noise of 0.03 to 0.1 mm RMS correlated over 3 to 30 mm and as much white
noise, with and without a rim that is off by 0.3 mm RMS besides; and the shared scans, none of which carries a bead.

    cell bench beads
    BEADS=8 cell bench beads        the first eight
    SEEDS=3,7 TOLD=1 cell bench beads    these, cycle by cycle
    NOISE=harsh cell bench beads    judged, gain, harsh or exact
    EDGE=1.0 cell bench beads       scans with edges of about 1 mm instead of 1.75
    DATA=folder                     where the shared scans lie
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scorer_bead import Chart, Part

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.errors import CellError, CoverageError
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.transforms import Array
from grinding_planner.bead import find_beads, rim_distance
from grinding_planner.bead_parent import parent_of
from grinding_planner.bead_plan import LOOK_SAMPLES_MAX, LOOK_SPACING_M
from grinding_planner.planner import plan_grind
from grinding_planner.samples import sample_surface

HEIGHT_M, WIDTH_M = 1.5e-3, 14e-3
LEFT_MAX_M, UNDERCUT_MAX_M = 30e-6, 15e-6
CYCLES_MAX = 3
N_BEADS = 50
MARGIN_M = 0.055
SMOOTH_M = 0.030
FORCE_ERROR_N = 1.0
EDGE_M, EDGE_SPREAD = 1.75e-3, 1.0 / 7.0
GAIN_ERROR = {"judged": 0.05, "gain": 0.15, "harsh": 0.15, "exact": 0.0}
JUDGED_WHITE_M = 10e-6
DATA = Path(__file__).parents[2] / "shared" / "data"
SCANS = ("noether_raw_mesh.ply", "puzzle_piece.ply", "fanuc_DAC/DAC_580813_scan.ply")
KINDS = ("flat", "convex", "concave")
COURSES = ("straight", "arc", "S")
NOISES = tuple(GAIN_ERROR)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bead and how it is scanned."""

    seed: int
    kind: str
    chart: Chart
    course: str
    length_m: float
    bend_m: float
    vertex_m: float
    smooth_m: float
    white_m: float
    gain: float
    """What the tool takes over what its coefficient says."""
    force_error_n: float
    """Constant error of the force and RMS of its ripple."""

    @staticmethod
    def draw(seed: int, noise: str = "harsh", edge_m: float = EDGE_M) -> "Case":
        """Return case number `seed`, scanned with edges about so long; kinds and courses take turns."""
        rng = np.random.default_rng([41, seed])
        kind, course = KINDS[seed % 3], COURSES[seed // 3 % 3]
        low = 0.15 if kind == "convex" else 0.2
        radius = float(np.exp(rng.uniform(np.log(low), 0.0)))
        length = float(rng.uniform(0.06, 0.15))
        form = str(rng.choice(["cylinder", "sphere"]))
        chart = (
            Chart(form="flat")
            if kind == "flat"
            else Chart(
                form=form, radius_m=radius if kind == "convex" else -radius, turn_rad=float(rng.uniform(0, np.pi))
            )
        )
        harsh = Case(
            seed=seed,
            kind=kind,
            chart=chart,
            course=course,
            length_m=length,
            bend_m=0.0 if course == "straight" else float(rng.uniform(0.08, 0.18)) * length,
            vertex_m=edge_m * float(rng.uniform(1.0 - EDGE_SPREAD, 1.0 + EDGE_SPREAD)),
            smooth_m=float(rng.uniform(0.03e-3, 0.10e-3)),
            white_m=float(rng.uniform(0.01e-3, 0.03e-3)),
            gain=1.0 + GAIN_ERROR[noise] * float(rng.uniform(-1.0, 1.0)),
            force_error_n=FORCE_ERROR_N,
        )
        if noise == "harsh":
            return harsh
        if noise == "exact":
            return replace(harsh, smooth_m=0.0, white_m=0.0, force_error_n=0.0)
        return replace(harsh, smooth_m=0.0, white_m=JUDGED_WHITE_M)

    def middle(self) -> Array:
        """Return the middle line (N, 2) on the chart [m]; its ends are half a width inside the bead's."""
        t = np.linspace(-1.0, 1.0, 801)
        u = 0.5 * (self.length_m - WIDTH_M) * t
        shape = {"straight": 0.0 * t, "arc": 1.0 - t**2 - 0.5, "S": 0.5 * np.sin(np.pi * t)}[self.course]
        return np.c_[u, self.bend_m * shape]

    def part(self) -> tuple[Part, NDArray[np.bool_]]:
        """Return the part and where the bead stands, a mask over its cells."""
        line = self.middle()
        half = 0.5 * np.ptp(line, axis=0) + 0.5 * WIDTH_M + MARGIN_M
        part = Part(self.chart, (float(half[0]), float(half[1])))
        distance, near = KDTree(line).query(np.c_[part.u_m.ravel(), part.v_m.ravel()])
        rng = np.random.default_rng([43, self.seed])
        uneven = gaussian_filter(rng.normal(size=len(line)), 40.0)
        uneven = 1.0 + 0.05 * uneven / np.abs(uneven).max()
        height = HEIGHT_M * np.clip(1.0 - (2.0 * distance / WIDTH_M) ** 2, 0.0, None) * uneven[near]
        part.height_m = height.reshape(part.u_m.shape)
        return part, part.height_m > 0.0


def sheet(
    part: Part,
    vertex_m: float,
    smooth_m: float,
    white_m: float,
    rng: np.random.Generator,
    correlated_m: float = SMOOTH_M,
) -> Surface:
    """Return a scan: a jittered open sheet with a ragged rim, noise along the parent's normal."""
    half = [float(-part.u_m.min()), float(-part.v_m.min())]
    axes = [np.arange(-h, h + 1e-9, vertex_m) for h in half]
    u, v = np.meshgrid(*axes, indexing="ij")
    field = rng.normal(size=u.shape)
    field = gaussian_filter(np.pad(field, 60, mode="reflect"), correlated_m / vertex_m / np.sqrt(2.0), mode="reflect")
    field = field[60:-60, 60:-60] - field[60:-60, 60:-60].mean()
    noise = smooth_m * field / max(field.std(), 1e-12) + rng.normal(0.0, white_m, u.shape)
    i = np.arange(u.size).reshape(u.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    u, v = (x + rng.uniform(-0.25, 0.25, x.shape) * vertex_m for x in (u, v))
    points, normals = part.chart.place(u, v)
    points = points + (part.heights_at(u, v) + noise)[..., None] * normals
    triangles = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    # a ragged rim: near the border every other triangle is missing by chance
    middle = np.stack([u.ravel()[triangles].mean(axis=1), v.ravel()[triangles].mean(axis=1)], axis=1)
    inside = (np.array(half) - np.abs(middle)).min(axis=1)
    kept = (inside > 3.0 * vertex_m) | (rng.random(len(triangles)) > 0.25)
    return Surface(vertices_m=points.reshape(-1, 3), triangles=triangles).select_triangles(kept)


def carried(of: Surface, values: Array, to: Surface) -> Array:
    """Return values at the vertices of one scan at those of another, linear over the triangle nearest by."""
    points, triangle = RayCaster(of).closest(to.vertices_m)
    corners = of.vertices_m[of.triangles[triangle]]
    faces = [np.cross(corners[:, (k + 1) % 3] - points, corners[:, (k + 2) % 3] - points) for k in range(3)]
    share = np.stack([np.linalg.norm(f, axis=1) for f in faces], axis=1)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-30)
    return np.einsum("nk,nk->n", share, values[of.triangles[triangle]])


@dataclass(frozen=True, kw_only=True)
class Result:
    """One bead after the loop."""

    case: Case
    cycles: int
    left_max_m: float
    left_p99_m: float
    under_max_m: float
    under_p99_m: float
    seconds: float
    """CPU of the slowest plan."""
    strokes: int
    note: str

    @property
    def good(self) -> bool:
        """Whether both bounds hold."""
        return self.left_max_m <= LEFT_MAX_M and self.under_max_m <= UNDERCUT_MAX_M


def run(case: Case, recipe: GrindRecipe, tool: GrindToolConfig, told: bool = False) -> Result:
    """Grind one bead until nothing is found or three cycles are over."""
    part, bead = case.part()
    seconds, strokes, note, cycles = 0.0, 0, "", 0
    known: tuple[Surface, Array] | None = None
    for cycle in range(CYCLES_MAX):
        rng = np.random.default_rng([47, case.seed, cycle])
        scan = sheet(part, case.vertex_m, case.smooth_m, case.white_m, rng)
        started = time.process_time()
        try:
            zone = None if known is None else carried(*known, scan)
            plan = plan_grind(scan, recipe, tool, target_m=zone, cycle=cycle + 1)
        except CoverageError as error:
            note = "nothing more" if "nothing stands" in str(error) and cycle else str(error)
            break
        except CellError as error:
            note = f"{type(error).__name__}: {error}"
            break
        finally:
            seconds = max(seconds, time.process_time() - started)
        known = known or (scan, plan.fields["target_change_m"])
        cycles += 1
        strokes += len(plan.toolpath.strokes)
        error = case.force_error_n
        part.grind(plan.toolpath, rng, error * float(rng.choice([-1.0, 1.0])), error, case.gain)
        if told:
            h, f = 1e6 * part.height_m, plan.figures
            print(
                f"  {case.seed} cycle {cycle + 1}: left max {h[bead].max():.0f} P99 {np.quantile(h[bead], 0.99):.0f} "
                f"median {np.median(h[bead]):.0f} under {-h.min():.0f} um, {len(plan.toolpath.strokes)} strokes, "
                f"{f['duration_s']:.1f} s, predicted left {1e6 * f['left_max_m']:.0f}",
                flush=True,
            )
    low = np.maximum(-part.height_m, 0.0)
    around = np.asarray(gaussian_filter(bead.astype(float), 12.0) > 0.02)
    return Result(
        case=case,
        cycles=cycles,
        left_max_m=float(part.height_m[bead].max()),
        left_p99_m=float(np.quantile(part.height_m[bead], 0.99)),
        under_max_m=float(low.max()),
        under_p99_m=float(np.quantile(low[around], 0.99)),
        seconds=seconds,
        strokes=strokes,
        note=note,
    )


def main() -> int:
    """Run all beads and tell."""
    console = Console(width=200)
    recipe = load_recipe(os.environ.get("RECIPE", "grind_bead_flush"))
    assert isinstance(recipe, GrindRecipe)
    tool = load_named(GrindToolConfig, "tools", os.environ.get("TOOL", recipe.tool))
    noise = os.environ.get("NOISE", NOISES[0])
    if noise not in NOISES:
        console.print(f"NOISE is {noise}, must be one of {', '.join(NOISES)}")
        return 2
    edge_m = 1e-3 * float(os.environ.get("EDGE", 1e3 * EDGE_M))
    seeds = range(int(os.environ.get("BEADS", N_BEADS)))
    if os.environ.get("SEEDS"):
        seeds = [int(s) for s in os.environ["SEEDS"].split(",")]
    if not os.environ.get("SEEDS"):
        console.print(detection(len(seeds)))
    results = []
    for seed in seeds:
        case = Case.draw(seed, noise, edge_m)
        r = run(case, recipe, tool, told=bool(os.environ.get("TOLD")))
        results.append(r)
        console.print(
            f"{seed:3d} {case.kind:8s}{case.chart.form:9s}R {abs(case.chart.radius_m):5.2f} {case.course:9s}"
            f"{1e3 * case.length_m:4.0f} mm: {'ok ' if r.good else 'BAD'} {r.cycles} cycles, "
            f"left {1e6 * r.left_max_m:6.1f} (P99 {1e6 * r.left_p99_m:6.1f}), under {1e6 * r.under_max_m:6.1f} "
            f"(P99 {1e6 * r.under_p99_m:5.1f}) um, {r.strokes} strokes, plan CPU {r.seconds:.1f} s {r.note[:90]}",
            highlight=False,
        )
    console.print(table_of(results, noise))
    return 0


def looked_at(surface: Surface) -> int:
    """Return how many beads are found."""
    spacing = max(LOOK_SPACING_M, float(np.sqrt(surface.area_m2 / LOOK_SAMPLES_MAX)))
    look = sample_surface(surface, spacing)
    height, _, scatter = parent_of(surface).at(look.points_m, look.normals)
    try:
        return len(find_beads(look, height, scatter, rim_distance(surface, look.points_m)).beads)
    except CoverageError:
        return 0


def stub(part: Part, rng: np.random.Generator) -> Part:
    """Return the part with a round stub instead of its bead."""
    radius, height = float(rng.uniform(3e-3, 7.5e-3)), float(rng.uniform(2e-3, 5e-3))
    wall = (np.hypot(part.u_m - 0.01, part.v_m) - radius) / 0.15e-3
    part.height_m = height / (1.0 + np.exp(np.clip(wall, -50.0, 50.0)))
    return part


def detection(n_beads: int) -> Table:
    """Return what is found where something is and where nothing is."""
    table = Table("surfaces", "of", "as they should be", "found in the others", title="detection")
    tried: dict[str, tuple[int, list[int]]] = {}

    def ask(name: str, wanted: int, surface: Surface) -> None:
        tried.setdefault(name, (wanted, []))[1].append(looked_at(surface))

    for seed in range(n_beads):
        case = Case.draw(seed)
        rng = np.random.default_rng([47, seed, 0])
        ask("beads", 1, sheet(case.part()[0], case.vertex_m, case.smooth_m, case.white_m, rng))
    for seed in range(min(n_beads, 20)):
        case = Case.draw(seed)
        rng = np.random.default_rng([53, seed])
        part = stub(case.part()[0], rng)
        ask("stubs", 1, sheet(part, case.vertex_m, case.smooth_m, case.white_m, rng))
        part.height_m = 0.0 * part.height_m
        waves, smooth, white = (0.003, 0.006, 0.012, 0.030)[seed % 4], *rng.uniform(0.03e-3, 0.10e-3, 2)
        empty = sheet(part, case.vertex_m, smooth, white, rng, waves)
        ask("nothing", 0, empty)
        off = rng.normal(0.0, 0.3e-3, len(empty.vertices_m)) * (rim_distance(empty, empty.vertices_m) < 0.006)
        moved = empty.vertices_m + off[:, None] * empty.vertex_normals
        ask("nothing, a rough rim", 0, Surface(vertices_m=moved, triangles=empty.triangles))
    for name in SCANS:
        path = Path(os.environ.get("DATA", DATA)) / name
        if path.exists():
            ask(name, 0, load_surface(path, "m")[0])
    for name, (wanted, found) in tried.items():
        wrong = [n for n in found if n != wanted]
        table.add_row(name, str(len(found)), str(len(found) - len(wrong)), ", ".join(map(str, wrong)))
    return table


def table_of(results: list[Result], noise: str) -> Table:
    """Return the figures by parent kind."""
    table = Table(
        "parent", "beads", "within both", "left P99 um", "left max um", "undercut P99 um", "undercut max um", "cycles",
        "plan CPU s", title=f"beads {1e3 * HEIGHT_M:g} x {1e3 * WIDTH_M:g} mm, at most {CYCLES_MAX} cycles, {noise}",
    )  # fmt: skip
    for kind in (*KINDS, "all"):
        own = [r for r in results if kind in (r.case.kind, "all")]
        if not own:
            continue
        table.add_row(
            kind,
            str(len(own)),
            str(sum(r.good for r in own)),
            f"{1e6 * max(r.left_p99_m for r in own):.1f}",
            f"{1e6 * max(r.left_max_m for r in own):.1f}",
            f"{1e6 * max(r.under_p99_m for r in own):.1f}",
            f"{1e6 * max(r.under_max_m for r in own):.1f}",
            f"{np.mean([r.cycles for r in own]):.1f}",
            f"{max(r.seconds for r in own):.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
