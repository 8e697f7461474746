"""Wear: a Preston coefficient that halves during a job, and a wear law that is not the tool file's.

Halving. A removal map (20..120 um, sigma 1.2 R, 25 mm orbital pad, flat panel) is planned with k_0. At a random moment
of the job, 10 to 90 % of its friction work, the true coefficient halves. Known afterwards: the log of force and spindle
power (friction falls by sqrt(1/2), 3 % scatter a reading, force ripple), and one rescan; both scans have 10 um of noise
on every vertex, 2.5 mm apart. `identify` finds moment and levels, the second pass is planned on the rescan with the
tool as identified for what is then left, and the truth (the scorer of its own, scorer_grind) says what both passes
leave. Judged on `open` ground, 1.36 R and more from the border, where every pose that touches a point is firm (see
bench_map); the RMS of what is left over the RMS of the map. `no signal`: the same without the log.
`reacting`: one job, no rescan: its log is looked at 5 % of the job after the halving and the rest slowed by the square
of the friction's ratio, a guess that is right in this truth.

Wear law. The abrasive's floor and E_0 are 20 % lower than the tool file says. Three maps are ground with one abrasive,
one pass each: with the file as it is, and identified after each job for the next.

    cell bench wear
    QUICK=1 cell bench wear        three seeds
"""

import os
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from bench_map import FINE_RADII, HIGH_M, OPEN_RADII, SHAPES, SIZE_RADII, Panel, random_map, rms
from bench_map import tool as tool_of
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.interpolate import RegularGridInterpolator
from scorer_grind import removed_depth

from cell_core.config import GrindRecipe, PadTool, WearLaw, load_recipe
from cell_core.plan import Plan
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array
from cell_inspection import removed_between
from grinding_planner.identification import Identification, identify
from grinding_planner.planner import plan_grind
from grinding_planner.process_signal import ProcessSignal, friction_along
from grinding_planner.remaining import removed_so_far
from grinding_planner.wear_plan import replan_rest

RADIUS_M = 0.025
FORCE_N, FORCE_HIGH_N = 15.0, 20.0
NOISE_M = 10e-6
IDLE_W, RATE_HZ, POWER_NOISE, FORCE_RIPPLE_N = 60.0, 25.0, 0.03, 0.3
LOOK_SHARE = 0.05
SEEDS = 12
N_JOBS = 3


def pad(wear: WearLaw | None = None) -> PadTool:
    """Return the random-orbital sander of bench_map, with an abrasive that wears."""
    return tool_of(RADIUS_M, FORCE_HIGH_N).model_copy(update={"wear": wear})


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A flat panel: what is scanned, and fine points that the truth is kept on."""

    panel: Panel
    surface: Surface
    caster: RayCaster
    fine: SurfaceSamples
    open_: NDArray[np.bool_]

    @staticmethod
    def of(size_radii: tuple[float, float]) -> "Bench":
        """Return the panel of this size."""
        panel = Panel(size_m=(size_radii[0] * RADIUS_M, size_radii[1] * RADIUS_M), height=SHAPES["flat"])
        fine = panel.samples(FINE_RADII * RADIUS_M)
        surface = panel.surface(0.1 * RADIUS_M)
        return Bench(
            panel=panel,
            surface=surface,
            caster=RayCaster(surface),
            fine=fine,
            open_=panel.inside(fine.points_m) >= OPEN_RADII * RADIUS_M,
        )

    def scan(self, gone_m: Array, rng: np.random.Generator) -> Surface:
        """Return the panel as scanned with this much gone from the fine points (P,)."""
        x, y = self.panel.grid(FINE_RADII * RADIUS_M, centres=True)
        vertices = self.surface.vertices_m.copy()
        depth = _bilinear(x[:, 0], y[0], gone_m.reshape(x.shape), vertices[:, 0], vertices[:, 1])
        vertices[:, 2] += rng.normal(scale=NOISE_M, size=len(vertices)) - depth
        return Surface(vertices_m=vertices, triangles=self.surface.triangles)

    def left(self, goal_m: Array, gone_m: Array) -> float:
        """Return the RMS of what is left on open ground, over that of the goal."""
        own = self.open_
        return rms((goal_m - gone_m)[own], self.fine.areas_m2[own]) / rms(goal_m[own], self.fine.areas_m2[own])

    def depth(self, strokes: list[Stroke], tool: PadTool, factor: float) -> Array:
        """Return what strokes take off the fine points (P,) with this factor on the tool's Preston coefficient."""
        if not strokes:
            return np.zeros(len(self.fine))
        block = {**tool.model_dump(), "preston_per_pa": factor * tool.preston_per_pa}
        return removed_depth(self.surface, self.fine, strokes, block, caster=self.caster)


def _bilinear(x: Array, y: Array, values: Array, at_x: Array, at_y: Array) -> Array:
    inside = np.c_[np.clip(at_x, x[0], x[-1]), np.clip(at_y, y[0], y[-1])]
    return RegularGridInterpolator((x, y), values)(inside)


def cut(strokes: tuple[Stroke, ...], share: float) -> tuple[list[Stroke], list[Stroke]]:
    """Return the strokes before and after this share of the impulse, one of them cut in two at a sample."""
    impulse = [s.process_value * s.dwell_s for s in strokes]
    done, total = 0.0, sum(float(i.sum()) for i in impulse)
    for k, own in enumerate(impulse):
        if done + own.sum() >= share * total:
            at = int(np.clip(np.searchsorted(done + np.cumsum(own), share * total), 1, len(own) - 2))
            stroke = strokes[k]
            return [*strokes[:k], stroke.part(0, at + 1)], [stroke.part(at, len(stroke)), *strokes[k + 1 :]]
        done += float(own.sum())
    raise ValueError(f"share {share}")


def log_of(strokes: tuple[Stroke, ...], share: float, tool: PadTool, rng: np.random.Generator) -> ProcessSignal:
    """Return force and power as logged when friction falls by sqrt(1/2) at this share of the impulse."""
    rows: list[tuple[Array, Array, Array]] = []
    clock, done = 0.0, 0.0
    total = sum(float((s.process_value * s.dwell_s).sum()) for s in strokes)
    speed = tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m
    for stroke in strokes:
        # half a second of idling before every stroke
        lead = np.arange(-0.5, 0.0, 1.0 / RATE_HZ)
        t = np.r_[lead, np.arange(0.0, stroke.times_s[-1], 1.0 / RATE_HZ)]
        wanted = np.where(t < 0.0, 0.0, np.interp(t, stroke.times_s, stroke.process_value))
        force = np.where(wanted > 0.0, wanted + FORCE_RIPPLE_N * rng.standard_normal(len(t)), 0.0)
        spent = done + np.cumsum(wanted) / RATE_HZ
        friction = 0.36 * np.where(spent < share * total, 1.0, np.sqrt(0.5))
        power = IDLE_W + friction * force * speed
        rows.append((clock + t - t[0], force, power * (1.0 + POWER_NOISE * rng.standard_normal(len(t)))))
        clock, done = clock + t[-1] - t[0] + 1.0, done + float((stroke.process_value * stroke.dwell_s).sum())
    times, force, power = (np.concatenate([row[k] for row in rows]) for k in range(3))
    return ProcessSignal(time_s=times, on=np.ones(len(times), bool), force_n=force, power_w=power)


def goal_map(bench: Bench, seed: int) -> tuple[Array, Array]:
    """Return a random map at the fine points (P,) and at the scan's vertices (V,) [m]."""
    wanted = random_map(bench.panel, 1.2 * RADIUS_M, seed)
    fine, coarse = bench.fine.points_m, bench.surface.vertices_m
    return wanted(fine[:, 0], fine[:, 1]), wanted(coarse[:, 0], coarse[:, 1])


def planned(bench: Bench, scan: Surface, tool: PadTool, target_m: Array, energy_j: float = 0.0) -> Plan:
    """Return the plan of a map on a scan."""
    recipe = load_recipe("grind_30um")
    assert isinstance(recipe, GrindRecipe)
    recipe = recipe.model_copy(
        update={"strategy": "target", "target_depth_m": HIGH_M, "force_n": FORCE_N, "tool": tool.name}
    )
    return plan_grind(scan, recipe, tool, target_m=target_m, disc_energy_j=energy_j)


def halving(n_seeds: int) -> Table:
    """Return what a job with a halved coefficient and its second pass leave."""
    table = Table(
        *("seed", "halves at", "found at", "levels", "95 % +/-", "left after job 1, %", "reacting, %", "no signal, %"),
        *("signal and rescan, %", "over-cut um", "identify CPU s", "plan 2 CPU s"),
        title="a Preston coefficient that halves during a job; RMS left over RMS of the map, open ground",
    )  # fmt: skip
    bench, tool = Bench.of(SIZE_RADII), pad()
    rows = []
    for map_seed in range((n_seeds + 3) // 4):
        goal, target = goal_map(bench, 7 + map_seed)
        first = planned(bench, bench.surface, tool, target)
        for seed in range(4 * map_seed, min(4 * map_seed + 4, n_seeds)):
            row, figures = _halved(bench, tool, first.toolpath, goal, target, seed)
            table.add_row(*row)
            rows.append(figures)
    worst, mean = np.max(rows, axis=0), np.mean(rows, axis=0)
    table.add_section()
    for name, own in (("mean", mean), ("worst", worst)):
        table.add_row(name, *[""] * 4, *(f"{v:.2f}" for v in own[:4]), *(f"{v:.1f}" for v in own[4:]))
    return table


def _halved(
    bench: Bench, tool: PadTool, path: ToolPath, goal: Array, target: Array, seed: int
) -> tuple[list[str], list[float]]:
    rng = np.random.default_rng(seed)
    share = float(rng.uniform(0.1, 0.9))
    before_break, after_break = cut(path.strokes, share)
    gone = bench.depth(before_break, tool, 1.0) + bench.depth(after_break, tool, 0.5)
    before, after = bench.scan(np.zeros(len(bench.fine)), rng), bench.scan(gone, rng)
    measured = removed_between(before, after)
    signal = log_of(path.strokes, share, tool, rng)
    started = time.process_time()
    found = identify(before, measured, path, tool, signal=signal)
    told = time.process_time() - started
    started = time.process_time()
    left, removed = _second(bench, before, after, found, goal, target, gone)
    seconds = time.process_time() - started
    blind, _ = _second(bench, before, after, identify(before, measured, path, tool), goal, target, gone)
    reacted = bench.left(goal, _reacting(bench, path, tool, share, seed))
    over = float((removed - goal)[bench.open_].max())
    figures = [100.0 * bench.left(goal, gone), 100.0 * reacted, 100.0 * blind, 100.0 * left, 1e6 * over, told, seconds]
    row = [
        str(seed), f"{share:.4f}", ", ".join(f"{c.share:.4f}" for c in found.changes),
        " ".join(f"{v:.3f}" for v in found.levels), " ".join(f"{v:.3f}" for v in found.level_half_widths),
        *(f"{v:.2f}" for v in figures[:4]), *(f"{v:.1f}" for v in figures[4:]),
    ]  # fmt: skip
    return row, figures


def _reacting(bench: Bench, path: ToolPath, tool: PadTool, share: float, seed: int) -> Array:
    """Return what one job removes (P,) when its log is looked at LOOK_SHARE after the halving, and its rest slowed.

    Friction alone does not tell removal: the square of its ratio is the guess, right in this truth.
    """
    look = min(share + LOOK_SHARE, 0.99)
    done, rest = cut(path.strokes, look)
    signal = log_of(tuple(done), share / look, tool, np.random.default_rng(1000 + seed))
    told = friction_along(signal, done, tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m)
    slowed = list(replan_rest(path.strokes, tool, look, told.changes[-1].factor ** 2)) if told.changes else rest
    before_break, after_break = cut(tuple(done), share / look)
    return bench.depth(before_break, tool, 1.0) + bench.depth([*after_break, *slowed], tool, 0.5)


def _second(
    bench: Bench, before: Surface, after: Surface, found: Identification, goal: Array, target: Array, gone: Array
) -> tuple[float, Array]:
    """Return what is left when a second pass is planned on the rescan, and all that is then removed (P,)."""
    rest = np.maximum(target - removed_so_far(before, found, RADIUS_M), 0.0)
    assert isinstance(found.tool, PadTool)
    second = planned(bench, after, found.tool, rest, found.disc_energy_j)
    removed = gone + bench.depth(list(second.toolpath.strokes), pad(), 0.5)
    return bench.left(goal, removed), removed


def worn_depth(
    bench: Bench, strokes: tuple[Stroke, ...], tool: PadTool, law: WearLaw, energy_j: float
) -> tuple[Array, float]:
    """Return what strokes take off the fine points (P,) as the abrasive wears by this law, and its energy after them.

    Each stroke is cut into pieces over which the coefficient falls by half a percent at most.
    """
    power = tool.friction * tool.rpm * 2.0 * np.pi / 60.0 * tool.orbit_radius_m
    depth = np.zeros(len(bench.fine))
    for stroke in strokes:
        work = power * stroke.process_value * stroke.dwell_s
        n = max(1, int(np.ceil(work.sum() / (0.01 * law.energy_j))))
        edges = np.unique(np.round(np.linspace(0, len(stroke) - 1, n + 1)).astype(int))
        for a, b in pairwise(edges.tolist()):
            part = stroke.part(a, b + 1)
            own = float((power * part.process_value * part.dwell_s).sum())
            factor = law.floor_fraction + (1.0 - law.floor_fraction) * np.exp(-(energy_j + 0.5 * own) / law.energy_j)
            depth += bench.depth([part], tool, float(factor))
            energy_j += own
    return depth, energy_j


def wrong_law() -> Table:
    """Return what jobs leave when the abrasive wears otherwise than its file says."""
    table = Table(
        *("job", "tool", "k now: planned", "true", "identified", "95 % +/-", "left, %", "mean error, %"),
        title="floor 0.40 and E_0 1600 J where the tool file says 0.50 and 2000 J; maps, open ground",
    )
    said = WearLaw(floor_fraction=0.5, energy_j=2000.0, energy_max_j=20000.0)
    true = WearLaw(floor_fraction=0.4, energy_j=1600.0, energy_max_j=20000.0)
    bench = Bench.of(SIZE_RADII)
    for learns in (False, True):
        tool, energy = pad(said), 0.0
        for job in range(N_JOBS):
            goal, target = goal_map(bench, 11 + job)
            plan = planned(bench, bench.surface, tool, target, energy)
            rng = np.random.default_rng(job)
            gone, after_j = worn_depth(bench, plan.toolpath.strokes, pad(), true, energy)
            before, after = bench.scan(np.zeros(len(bench.fine)), rng), bench.scan(gone, rng)
            row = [str(job + 1), "identified" if learns else "as its file", f"{plan.figures['preston_end_per_pa']:.3g}"]
            k_true = 1e-9 * (0.4 + 0.6 * np.exp(-after_j / 1600.0))
            row += [f"{k_true:.3g}"]
            if learns:
                found = identify(before, removed_between(before, after), plan.toolpath, tool)
                half = 0.5 * (found.preston_now_interval.high - found.preston_now_interval.low)
                row += [f"{found.preston_now_per_pa:.3g} ({', '.join(found.identified)})", f"{half:.1g}"]
                assert isinstance(found.tool, PadTool)
                tool = found.tool
            else:
                row += ["", ""]
            own = bench.open_
            mean = np.average((gone - goal)[own], weights=bench.fine.areas_m2[own])
            mean /= np.average(goal[own], weights=bench.fine.areas_m2[own])
            table.add_row(*row, f"{100 * bench.left(goal, gone):.2f}", f"{100 * mean:+.2f}")
            energy = after_j
    return table


def main() -> int:
    """Run both parts."""
    console = Console(width=220)
    console.print(halving(3 if os.environ.get("QUICK") else SEEDS))
    console.print(wrong_law())
    return 0


if __name__ == "__main__":
    sys.exit(main())
