"""Removal maps: how much of a smooth random map is left open loop, scored by a fine Winkler model of its own.

Targets are white noise filtered by a Gaussian and scaled to 20..120 um. Feature size is the filter's sigma: waves
shorter than 1.64 pad radii, where the transfer of a flat round pad is zero, then carry next to nothing at 0.8 R. One
row per tool takes the stricter reading, a correlation length (1/e) of 0.8 R, which is a sigma of 0.4 R.

Scored by scorer_grind.py with steps of R/20 over points R/20 apart on the true surface. Judged twice: `all` is what
some firm pose can press on, up to the border (half the pad may hang over a straight one), `open` is 1.36 R and more
from the border.

The first table is the problem without borders: a zone of a larger flat plate, lines run 1.5 R past it, nothing is asked
of what lies around; speeds from cell_core's operator and optimise_speed alone, the same score.

    cell bench map
    QUICK=1 cell bench map        flat plate, 25 mm pad only
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter
from scipy.special import jn_zeros
from scorer_grind import removed_depth

from cell_core.config import GrindRecipe, PadTool, load_recipe
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import RoundFootprint
from cell_core.optimise.dwell import SpeedLimits, optimise_speed
from cell_core.sampling import SurfaceSamples
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array, unit
from grinding_planner.planner import plan_grind

LOW_M, HIGH_M = 20e-6, 120e-6
FINE_RADII = 1.0 / 20.0
MESH_RADII = 1.0 / 10.0
SIZE_RADII = (12.0, 10.0)
FEATURES_RADII = (0.8, 1.2, 2.0)
STRICT_RADII = 0.4
OPEN_RADII = 1.36
ZONE_RIPPLE_ZERO = 8
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "flat": lambda x, y: 0.0 * x,
    "cylinder R1 m": lambda x, y: np.sqrt(1.0 - x**2) - 1.0,
    "saddle": lambda x, y: 0.4 * (x**2 - y**2),
}


def tool(radius_m: float, force_high_n: float) -> PadTool:
    """Return a random-orbital sander with a pad of this radius; figures as in config/tools/orbital_32.yaml."""
    return PadTool.model_validate(
        {
            "format": "grind_spray_cell/grind_tool",
            "version": 1,
            "name": f"orbital_r{1e3 * radius_m:.0f}",
            "kind": "pad",
            "radius_m": radius_m,
            "stiffness_pa_per_m": 2.0e7,
            "preston_per_pa": 1.0e-9,
            "motion": "orbital",
            "rpm": 8000.0,
            "orbit_radius_m": 0.0015,
            "force_n": {"low": 5.0, "high": force_high_n},
            "speed_m_per_s": {"low": 0.005, "high": 0.4},
            "acceleration_m_per_s2": 1.0,
            "tilt_max_rad": 0.02,
            "slide_stroke_m": 0.02,
            "slide_stiffness_n_per_m": 3.0e4,
            "spin_up_s": 0.5,
            "spin_down_s": 0.5,
        }
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """A height field z = f(x, y), as mesh and as fine points of area."""

    size_m: tuple[float, float]
    height: Callable[[Array, Array], Array]

    def grid(self, step_m: float, *, centres: bool) -> tuple[Array, Array]:
        """Return x and y (nx, ny) [m] of the nodes, or of the cells' centres."""
        axes = []
        for size in self.size_m:
            n = int(np.ceil(size / step_m))
            at = np.linspace(-0.5 * size, 0.5 * size, n + 1)
            axes.append(0.5 * (at[1:] + at[:-1]) if centres else at)
        x, y = np.meshgrid(*axes, indexing="ij")
        return x, y

    def surface(self, step_m: float) -> Surface:
        """Return the mesh, normals up."""
        x, y = self.grid(step_m, centres=False)
        i = np.arange(x.size).reshape(x.shape)
        a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
        vertices = np.c_[x.ravel(), y.ravel(), self.height(x, y).ravel()]
        return Surface(vertices_m=vertices, triangles=np.concatenate([np.c_[a, b, c], np.c_[a, c, d]]))

    def samples(self, step_m: float) -> SurfaceSamples:
        """Return points of equal cells in x and y, on the true surface."""
        x, y = self.grid(step_m, centres=True)
        e = 1e-5
        dx, dy = ((self.height(x + e * k, y + e * (1 - k)) - self.height(x - e * k, y - e * (1 - k))) for k in (1, 0))
        normal = np.c_[-dx.ravel() / (2 * e), -dy.ravel() / (2 * e), np.ones(x.size)]
        cell = self.size_m[0] * self.size_m[1] / x.size
        return SurfaceSamples(
            points_m=np.c_[x.ravel(), y.ravel(), self.height(x, y).ravel()],
            normals=unit(normal),
            areas_m2=cell * np.linalg.norm(normal, axis=1),
        )

    def inside(self, points_m: Array) -> Array:
        """Return the distance to the border (P,) [m], seen from above."""
        return np.min(0.5 * np.array(self.size_m) - np.abs(points_m[:, :2]), axis=1)


def random_map(panel: Panel, sigma_m: float, seed: int) -> Callable[[Array, Array], Array]:
    """Return filtered noise over the panel as a function of x and y, its values from LOW_M to HIGH_M."""
    step = sigma_m / 8.0
    axes = [np.arange(-0.5 * s - step, 0.5 * s + 2 * step, step) for s in panel.size_m]
    noise = np.random.default_rng(seed).normal(size=tuple(len(a) for a in axes))
    smooth = gaussian_filter(noise, 8.0, mode="wrap")
    smooth = LOW_M + (HIGH_M - LOW_M) * (smooth - smooth.min()) / np.ptp(smooth)
    spline = RegularGridInterpolator(tuple(axes), smooth, method="cubic")
    return lambda x, y: np.clip(spline(np.stack([x, y], axis=-1)), LOW_M, HIGH_M)


def removed(path: ToolPath, panel: Panel, samples: SurfaceSamples) -> Array:
    """Return the depth (P,) [m] that a tool path takes off, by the scorer's model on a mesh as fine as the points."""
    surface = panel.surface(FINE_RADII * path.tool["radius_m"])
    return removed_depth(surface, samples, path.strokes, path.tool, step_radii=FINE_RADII)


def zone_path(pad: PadTool, panel: Panel, wanted: Callable[[Array, Array], Array], force_n: float) -> ToolPath:
    """Return parallel lines over a flat zone and past it, speeds fitted by the core's operator of a round face."""
    radius = pad.radius_m
    spacing = 2.0 * np.pi / jn_zeros(1, ZONE_RIPPLE_ZERO)[-1] * radius
    past = 1.5 * radius
    along, across = 0.5 * np.array(panel.size_m) + past
    x = np.linspace(-along, along, int(2.0 * along / (0.1 * radius)) + 1)
    rows = np.arange(-across, across + spacing, spacing)
    orbit = pad.rpm * 2.0 * np.pi / 60.0 * pad.orbit_radius_m
    rate = pad.preston_per_pa * force_n / (np.pi * radius**2) * orbit
    strokes = [
        Stroke(
            kind="area",
            position_m=np.c_[at, np.full(len(x), y), np.zeros(len(x))],
            tool_axis=np.tile([0.0, 0.0, -1.0], (len(x), 1)),
            travel=np.tile([np.sign(at[1] - at[0]), 0.0, 0.0], (len(x), 1)),
            speed_m_per_s=np.full(len(x), 0.1),
            process_value=np.full(len(x), force_n),
            on=np.ones(len(x), bool),
        )
        for y, at in ((y, x if k % 2 == 0 else x[::-1]) for k, y in enumerate(rows))
    ]
    samples = panel.samples(0.08 * radius)
    points, areas = samples.points_m, samples.areas_m2
    face = RoundFootprint(radius, depth_m=0.1 * radius)
    unit_rate = coverage_of_points(points, samples.normals, strokes, face, caster=None)
    operator = replace(unit_rate, matrix=unit_rate.matrix * np.float32(rate))
    limits = SpeedLimits(
        low_m_per_s=pad.speed_m_per_s.low,
        high_m_per_s=pad.speed_m_per_s.high,
        acceleration_m_per_s2=pad.acceleration_m_per_s2,
    )
    target = wanted(points[:, 0], points[:, 1])
    fit = optimise_speed(operator, strokes, target, areas, limits, knot_m=0.2 * radius, smoothness=1e-5, rounds_max=6)
    return ToolPath(process="grind", strokes=fit.strokes, tool=pad.model_dump(), surface={"path": "", "sha256": ""})


def zone_table(radius: float, force: float) -> Table:
    """Return what is left of maps on a zone inside a larger flat plate."""
    pad = tool(radius, force)
    panel = Panel(size_m=(SIZE_RADII[0] * radius, SIZE_RADII[1] * radius), height=SHAPES["flat"])
    table = Table(
        "feature", "RMS um", "left um", "% of map", "% of its variation", "least um", "on part s", "length m", "CPU s",
        title=f"a zone of a flat plate, R{1e3 * radius:.0f}",
    )  # fmt: skip
    for feature in FEATURES_RADII:
        wanted = random_map(panel, feature * radius, seed=7)
        started = time.process_time()
        path = zone_path(pad, panel, wanted, 0.75 * force)
        seconds = time.process_time() - started
        around = replace(panel, size_m=(panel.size_m[0] + 2.2 * radius, panel.size_m[1] + 2.2 * radius))
        fine = around.samples(FINE_RADII * radius)
        points, areas = fine.points_m, fine.areas_m2
        inside = panel.inside(points) > 0.0
        depth = removed(path, around, fine)[inside]
        goal, own = wanted(points[inside, 0], points[inside, 1]), areas[inside]
        left, size = rms(goal - depth, own), rms(goal, own)
        varied = rms(goal - np.average(goal, weights=own), own)
        table.add_row(
            f"{feature:g} R", f"{1e6 * size:.1f}", f"{1e6 * left:.2f}", f"{100 * left / size:.2f}",
            f"{100 * left / varied:.2f}", f"{1e6 * (goal - depth).min():.2f}", f"{path.duration_s:.0f}",
            f"{path.length_m:.1f}", f"{seconds:.1f}",
        )  # fmt: skip
    return table


def rms(values: Array, areas: Array) -> float:
    """Return the area-weighted root mean square."""
    return float(np.sqrt(np.average(values**2, weights=areas)))


def main() -> int:
    """Run all tools, shapes and features."""
    console = Console(width=200)
    console.print(zone_table(0.025, 20.0))
    quick = bool(os.environ.get("QUICK"))
    recipe = load_recipe("grind_30um")
    assert isinstance(recipe, GrindRecipe)
    table = Table(
        *("pad", "shape", "feature", "all: m2", "RMS um", "left um", "% of map", "% of its variation"),
        *("open: % of map", "% of its variation", "predicted all %", "on part s", "length m", "plan CPU s"),
    )
    for radius, force in ((0.025, 20.0),) if quick else ((0.025, 20.0), (0.037, 40.0)):
        pad = tool(radius, force)
        for shape, height in list(SHAPES.items())[: 1 if quick else 3]:
            panel = Panel(size_m=(SIZE_RADII[0] * radius, SIZE_RADII[1] * radius), height=height)
            surface = panel.surface(MESH_RADII * radius)
            samples = panel.samples(FINE_RADII * radius)
            fine, areas = samples.points_m, samples.areas_m2
            for feature in (*FEATURES_RADII, *((STRICT_RADII,) if shape == "flat" else ())):
                wanted = random_map(panel, feature * radius, seed=7)
                used = recipe.model_copy(
                    update={"strategy": "target", "target_depth_m": HIGH_M, "force_n": 0.75 * force, "tool": pad.name}
                )
                started = time.process_time()
                target = wanted(surface.vertices_m[:, 0], surface.vertices_m[:, 1])
                plan = plan_grind(surface, used, pad, target_m=target)
                seconds = time.process_time() - started
                goal = wanted(fine[:, 0], fine[:, 1])
                left = goal - removed(plan.toolpath, panel, samples)
                judged = plan.fields["serviceable"][surface.tree.query(fine)[1]] > 0.5
                inner = panel.inside(fine) >= OPEN_RADII * radius
                row = [
                    f"R{1e3 * radius:.0f}",
                    shape,
                    f"{feature:g} R" + (" (strict)" if feature == STRICT_RADII else ""),
                ]
                row += [f"{areas[judged].sum():.4f}"]
                for area in (judged, inner):
                    own = goal[area], left[area], areas[area]
                    size, rest = rms(own[0], own[2]), rms(own[1], own[2])
                    varied = rms(own[0] - np.average(own[0], weights=own[2]), own[2])
                    if area is judged:
                        row += [f"{1e6 * size:.1f}", f"{1e6 * rest:.2f}"]
                    row += [f"{100 * rest / size:.2f}", f"{100 * rest / varied:.2f}"]
                predicted = 100 * plan.figures["residual_rms_m"] / rms(goal[judged], areas[judged])
                row += [f"{predicted:.2f}"]
                row += [f"{plan.figures['duration_s']:.0f}", f"{plan.figures['length_m']:.1f}", f"{seconds:.1f}"]
                table.add_row(*row)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
