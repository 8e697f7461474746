"""The published blade: both sides coated with 50 um, freely and under the publication's own constraints.

Wu and Tang, Robotica 41 (2023) 1794, table III: 6.59 and 7.04 % CV, in 4350 and 3771 s (table V). Gun a 150 mm,
b 30 mm, beta 2 and 2, reference standoff 100 mm; standoff 50 to 150 mm. The free variant is `plan_spray` with a recipe
and a gun. The equal-constraint one keeps neighbouring strokes 150 to 200 mm apart and gives each stroke one speed in
0.1 to 0.2 m/s; its flow, a constant of the gun, is chosen once and printed. Both are scored by scorer_spray.py.
Standoff is along the axis where that meets the side: where strokes run past a border the axis meets it farther off, and
the nearest distance tells where the nozzle is. A picture per variant goes to BENCH_OUT (./bench_out).

    cell bench blade
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from bench_pictures import film_picture
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree
from scorer_spray import Score, score

from cell_core.config import GunConfig, Interval, SprayRecipe
from cell_core.errors import CoverageError
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.optimise.dwell import SpeedLimits
from cell_core.optimise.refine import RefineLimits, RefineResult, refine_strokes
from cell_core.optimise.stroke_limits import PathLimits
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.strokes.layout import LayoutRequest, lay_lines, sheet_for, strokes_from_lines
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from spray_planner import plan_spray

BLADE = Path(__file__).resolve().parents[2] / "shared" / "data" / "wu_tang_blade"
SIDES = {"concave": ("turbine_blade.STL", 6.59, 4350), "convex": ("turbine_blade_convex.STL", 7.04, 3771)}
TARGET_M = 50e-6
STANDOFF_M = (0.05, 0.15)
SPACING_M = (0.15, 0.20)
SPACING_MARGIN_M = 0.004
ONE_SPEED_M_PER_S = (0.1, 0.2)
NOMINAL_M_PER_S = 0.141
SCORING_PITCH_M = 0.008
TRIED = tuple(product((0.12, 0.145), (0.16, 0.175), (-0.05, 0.0, 0.05), (0.0, np.pi / 2)))
"""Standoff, spacing, offset of the outermost strokes [m] and direction [rad] of the layouts compared."""


def gun(flow_m3_per_s: float, speed_m_per_s: tuple[float, float]) -> GunConfig:
    """Return the publication's gun; what it does not say is this project's default."""
    return GunConfig(
        format="grind_spray_cell/gun",
        version=1,
        name="wu_tang",
        kind="elliptic_double_beta",
        a_m=0.15,
        b_m=0.03,
        beta_1=2.0,
        beta_2=2.0,
        reference_standoff_m=0.1,
        flow_m3_per_s=flow_m3_per_s,
        solids_volume_fraction=0.45,
        transfer_efficiency=0.65,
        on_delay_s=0.0,
        off_delay_s=0.0,
        standoff_m=Interval(low=STANDOFF_M[0], high=STANDOFF_M[1]),
        speed_m_per_s=Interval(low=speed_m_per_s[0], high=speed_m_per_s[1]),
        acceleration_m_per_s2=3.0,
        tilt_max_rad=0.35,
        incidence_max_rad=1.047,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """Strokes and what it took."""

    strokes: tuple[Stroke, ...]
    gun: GunConfig
    cpu_s: float
    wall_s: float
    note: str


def plan_free(surface: Surface) -> Planned:
    """Return what plan_spray makes of the side."""
    free = gun(3e-6, (0.02, 1.0))
    recipe = SprayRecipe(
        format="grind_spray_cell/recipe",
        version=1,
        process="spray",
        name="blade",
        gun=free.name,
        target_thickness_m=TARGET_M,
        standoff_m=0.1,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    plan = plan_spray(surface, recipe, free, table=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Planned(strokes=tuple(plan.toolpath.strokes), gun=free, cpu_s=cpu, wall_s=wall, note="0.02-1 m/s, 3 m/s2")


def plan_equal(surface: Surface) -> Planned:
    """Return the best of a few layouts, refined, under the publication's constraints."""
    wall, cpu = time.perf_counter(), time.process_time()
    equal, best, request = gun(3e-6, ONE_SPEED_M_PER_S), None, None
    samples = sample_surface(surface, 0.012)
    caster = RayCaster(surface)
    tried = []
    for choice in TRIED:
        candidate = _request(surface, *choice)
        trial = _refined(samples, candidate, equal, caster, 2)
        if trial is not None:
            tried.append((trial.history[-1], candidate))
    tried.sort(key=lambda pair: pair[0])
    for _, candidate in tried[:3]:
        trial = _refined(samples, candidate, equal, caster, 14)
        if trial is not None and (best is None or trial.residual_rms_m < best.residual_rms_m):
            best, request = trial, candidate
    if best is None or request is None:
        raise CoverageError("no layout keeps the spacing on this side")
    used = _flow(equal, request)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gaps = spacings_m(best.strokes, caster)
    note = (
        f"flow {60e6 * used.flow_m3_per_s:.0f} cm3/min, spacing {1e3 * gaps.min():.0f}-{1e3 * gaps.max():.0f} mm, "
        f"laid at {1e3 * request.standoff_m:.0f} mm"
    )
    return Planned(strokes=best.strokes, gun=used, cpu_s=cpu, wall_s=wall, note=note)


def _flow(equal: GunConfig, request: LayoutRequest) -> GunConfig:
    """Return the gun at the flow that a flat raster at the layout's spacing needs at the middle speed."""
    flow = NOMINAL_M_PER_S * TARGET_M * request.spacing_m / (equal.solids_volume_fraction * equal.transfer_efficiency)
    return equal.model_copy(update={"flow_m3_per_s": flow})


def _request(surface: Surface, standoff: float, spacing: float, offset: float, angle: float) -> LayoutRequest:
    return LayoutRequest(
        direction=_facing(surface),
        spacing_m=spacing,
        angle_rad=angle,
        step_m=0.03 / 6.0,
        wavelength_m=0.1,
        standoff_m=standoff,
        edge_offset_m=offset,
        overtravel_m=0.08,
        on_margin_m=0.08,
        gap_m=0.5,
        speed_m_per_s=NOMINAL_M_PER_S,
    )


def _facing(surface: Surface) -> Array:
    """Return the direction that the farthest normal is nearest to."""
    normals = surface.triangle_normals[surface.triangle_areas_m2 > 1e-7]
    direction = unit(normals.mean(axis=0))
    for k in range(1, 2000):
        # Badoiu and Clarkson's step towards the farthest point of a ball
        farthest = normals[np.argmin(normals @ direction)]
        direction = unit(direction + (farthest - direction) / (k + 1))
    return direction


def _refined(
    samples: Any, request: LayoutRequest, equal: GunConfig, caster: RayCaster, iterations: int
) -> RefineResult | None:
    used = _flow(equal, request)
    try:
        sheet = sheet_for(samples, request)
        lines = lay_lines(samples, request, sheet=sheet)
    except CoverageError:
        return None
    strokes = [
        replace(s, process_value=np.full(len(s), used.flow_m3_per_s)) for s in strokes_from_lines(lines, request)
    ]
    return refine_strokes(
        samples,
        np.full(len(samples), TARGET_M),
        samples.areas_m2,
        strokes,
        EllipticDoubleBeta(used),
        RefineLimits(
            speed=SpeedLimits(
                low_m_per_s=ONE_SPEED_M_PER_S[0], high_m_per_s=ONE_SPEED_M_PER_S[1], acceleration_m_per_s2=3.0
            ),
            shift_m=0.05,
            standoff_m=(STANDOFF_M[0] + 0.002 - request.standoff_m, STANDOFF_M[1] - 0.002 - request.standoff_m),
            tilt_rad=0.35,
            path=PathLimits(),
            one_speed=True,
            spacing_m=(SPACING_M[0] + SPACING_MARGIN_M, SPACING_M[1] - SPACING_MARGIN_M),
        ),
        caster=caster,
        pivot_m=request.standoff_m,
        speed_knot_m=0.03,
        pose_knot_m=0.09,
        iterations_max=iterations,
    )


def spacings_m(strokes: tuple[Stroke, ...], caster: RayCaster) -> Array:
    """Return distances from the points where one stroke's axes meet the surface to the next stroke's, ends left out."""
    lines = []
    for stroke in strokes:
        distance, triangle = caster.first_hit(stroke.position_m, stroke.tool_axis)
        met = (triangle >= 0) & (distance < 2.0 * STANDOFF_M[1])
        lines.append(stroke.position_m[met] + distance[met, None] * stroke.tool_axis[met])
    gaps = [np.empty(0)]
    for a, b in pairwise(line for line in lines if len(line) > 2):
        distance, index = KDTree(b).query(a)
        gaps.append(distance[(index > 0) & (index < len(b) - 1)])
    return np.concatenate(gaps)


def main() -> int:
    """Run both variants on both sides."""
    out = Path(os.environ.get("BENCH_OUT", "bench_out"))
    if not BLADE.is_dir():
        print(f"no {BLADE}: the blade's two STL files are needed")
        return 0
    table = Table("side", "variant", "CV %", "published %", "max dev. %", "plan s (CPU)", "published s", "length m")
    for column in ("time s", "strokes", "speed m/s", "standoff mm", "nearest mm", "incidence deg", "note"):
        table.add_column(column)
    for side, (name, published, seconds) in SIDES.items():
        surface, _ = load_surface(BLADE / name, unit="mm")
        for variant, plan in (("free", plan_free), ("equal", plan_equal)):
            planned = plan(surface)
            tool = planned.gun.model_dump()
            judged, points, film = score(
                surface.vertices_m, surface.triangles, planned.strokes, tool, pitch_m=SCORING_PITCH_M
            )
            title = f"{side}, {variant}: CV {100 * judged.cv:.2f} %"
            film_picture(out / f"blade_{side}_{variant}.png", points, film, planned.strokes, title)
            print(f"{title}, {planned.note}", flush=True)
            table.add_row(side, variant, *_cells(judged, planned, published, seconds), planned.note)
    Console(width=200).print(table)
    return 0


def _cells(judged: Score, planned: Planned, published: float, seconds: int) -> list[str]:
    return [
        f"{100 * judged.cv:.2f}",
        f"{published:.2f}",
        f"{100 * judged.max_deviation:.1f}",
        f"{planned.wall_s:.1f} ({planned.cpu_s:.1f})",
        str(seconds),
        f"{judged.length_m:.1f}",
        f"{judged.duration_s:.0f}",
        str(len(planned.strokes)),
        f"{judged.speed_low_m_per_s:.3f}-{judged.speed_high_m_per_s:.3f}",
        f"{1e3 * judged.standoff_low_m:.0f}-{1e3 * judged.standoff_high_m:.0f}",
        f"{1e3 * judged.nearest_low_m:.0f}-{1e3 * judged.nearest_high_m:.0f}",
        f"{np.degrees(judged.incidence_high_rad):.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
