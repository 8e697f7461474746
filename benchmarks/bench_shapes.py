"""Film on shape classes of 0.6 x 0.6 m, planned by plan_spray and judged by another implementation.

Gun a 120 mm, b 40 mm, beta 2 and 2, reference standoff 200 mm. Convex and concave are cylinders of radius 300 mm with
an arc of 0.6 m (on a sphere of that radius 0.6 m would be the whole diameter); the saddle has curvatures of +1 / 600 mm
and -1 / 600 mm at its middle; the corner turns by 90 degrees over a radius of 40 mm, hollow side up. The recipe asks
for the third ripple-free spacing, 65 mm (PROCESS.md section 1: 0.54 a). Judged by scorer_spray.py over the whole area,
occlusion on. Pictures go to BENCH_OUT (./bench_out).

    cell bench shapes
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_pictures import film_picture
from rich.console import Console
from rich.table import Table
from scorer_spray import score

from cell_core.config import GunConfig, Interval, SprayRecipe
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.surface import Surface
from cell_core.transforms import Array
from spray_planner import plan_spray

SIDE_M = 0.6
RADIUS_M = 0.3
FILLET_M = 0.04
PITCH_M = 0.006
SCORING_PITCH_M = 0.0065
GOALS = {"flat": 0.6, "convex R300": 0.9, "concave R300": 1.3, "saddle": 2.0, "fillet r40": 3.0}
MOONSHOTS = {"flat": 0.5, "convex R300": 0.7, "concave R300": 1.0, "saddle": 1.5, "fillet r40": 2.5}
GUN = GunConfig(
    format="grind_spray_cell/gun",
    version=1,
    name="shapes",
    kind="elliptic_double_beta",
    a_m=0.12,
    b_m=0.04,
    beta_1=2.0,
    beta_2=2.0,
    reference_standoff_m=0.2,
    flow_m3_per_s=3e-6,
    solids_volume_fraction=0.45,
    transfer_efficiency=0.65,
    on_delay_s=0.0,
    off_delay_s=0.0,
    standoff_m=Interval(low=0.12, high=0.3),
    speed_m_per_s=Interval(low=0.05, high=1.0),
    acceleration_m_per_s2=2.0,
    tilt_max_rad=0.35,
    incidence_max_rad=1.047,
)
RECIPE = SprayRecipe(
    format="grind_spray_cell/recipe",
    version=1,
    process="spray",
    name="shapes",
    gun="shapes",
    target_thickness_m=50e-6,
    standoff_m=0.2,
    spacing_m=round(EllipticDoubleBeta(GUN).spacing_m(3), 4),
)


def sheet(place: Callable[[Array, Array], Array]) -> Surface:
    """Return a 0.6 x 0.6 m sheet, parameters in -0.3..0.3 m, that `place` puts in space."""
    grid = np.linspace(-0.5 * SIDE_M, 0.5 * SIDE_M, int(SIDE_M / PITCH_M) + 1)
    u, v = np.meshgrid(grid, grid, indexing="ij")
    i = np.arange(u.size).reshape(u.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=place(u.ravel(), v.ravel()), triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def _bent(u: Array, v: Array) -> Array:
    return np.column_stack([RADIUS_M * np.sin(u / RADIUS_M), v, RADIUS_M * np.cos(u / RADIUS_M)])


def _hollow(u: Array, v: Array) -> Array:
    return np.column_stack([RADIUS_M * np.sin(u / RADIUS_M), v, -RADIUS_M * np.cos(u / RADIUS_M)])


def _corner(u: Array, v: Array) -> Array:
    """Return a right-angled hollow corner, its two legs rising by 45 degrees."""
    turned = np.clip(u / FILLET_M, -np.pi / 4, np.pi / 4)
    rest = u - FILLET_M * turned
    x = FILLET_M * np.sin(turned) + rest * np.cos(turned)
    z = FILLET_M * (1.0 - np.cos(turned)) + rest * np.sin(turned)
    return np.column_stack([x, v, z])


def shapes() -> dict[str, Surface]:
    """Return the shape classes by name."""
    return {
        "flat": sheet(lambda u, v: np.column_stack([u, v, np.zeros_like(u)])),
        "convex R300": sheet(_bent),
        "concave R300": sheet(_hollow),
        "saddle": sheet(lambda u, v: np.column_stack([u, v, (u * u - v * v) / (2.0 * 0.6)])),
        "fillet r40": sheet(_corner),
    }


def main() -> int:
    """Plan and judge every shape."""
    out = Path(os.environ.get("BENCH_OUT", "bench_out"))
    table = Table(
        "shape", "CV %", "goal %", "moonshot %", "before refinement %", "max dev. %", "plan s (CPU)", "strokes"
    )
    for column in ("length m", "time s", "speed m/s", "standoff mm", "incidence deg"):
        table.add_column(column)
    for name, surface in shapes().items():
        wall, cpu = time.perf_counter(), time.process_time()
        plan = plan_spray(surface, RECIPE, GUN, table=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        strokes = plan.toolpath.strokes
        judged, points, film = score(
            surface.vertices_m, surface.triangles, strokes, plan.toolpath.tool, pitch_m=SCORING_PITCH_M
        )
        title = f"{name}: CV {100 * judged.cv:.2f} %"
        film_picture(out / f"shape_{name.replace(' ', '_')}.png", points, film, strokes, title)
        print(title, flush=True)
        table.add_row(
            name,
            f"{100 * judged.cv:.2f}",
            f"{GOALS[name]}",
            f"{MOONSHOTS[name]}",
            f"{100 * plan.figures['refinement'][0]['residual_fraction'][0]:.2f}",
            f"{100 * judged.max_deviation:.1f}",
            f"{wall:.1f} ({cpu:.1f})",
            str(len(strokes)),
            f"{judged.length_m:.1f}",
            f"{judged.duration_s:.0f}",
            f"{judged.speed_low_m_per_s:.2f}-{judged.speed_high_m_per_s:.2f}",
            f"{1e3 * judged.standoff_low_m:.0f}-{1e3 * judged.standoff_high_m:.0f}",
            f"{np.degrees(judged.incidence_high_rad):.0f}",
        )
    console = Console(width=180)
    console.print(table)
    console.print(
        f"gun: {GUN.speed_m_per_s.low}-{GUN.speed_m_per_s.high} m/s, {GUN.acceleration_m_per_s2} m/s2, "
        f"standoff {GUN.standoff_m.low}-{GUN.standoff_m.high} m, tilt {GUN.tilt_max_rad} rad, "
        f"spacing {RECIPE.spacing_m} m"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
