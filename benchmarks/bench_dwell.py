"""Dwell optimisation from small to very large problems: CPU time, memory, optimality gap, what bounds the speeds.

Flat plates, raster strokes with a wavy target that presses on the speed and acceleration bounds. Prints one table; the
growth column is CPU time per knot over that of the row before it.

    cell bench dwell
"""

import resource
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from cell_core.config import GunConfig, load_named
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.optimise.dwell import SpeedLimits, optimise_speed
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array

SIDES_M = (0.6, 1.3, 2.6, 4.4)
SAMPLE_M = 0.01
KNOT_M = 0.02
POINT_M = 0.02
SPEED_M_PER_S = 0.3
LIMITS = SpeedLimits(low_m_per_s=0.1, high_m_per_s=0.8, acceleration_m_per_s2=2.0)


def raster(side_m: float, spacing_m: float, standoff_m: float, flow: float) -> list[Stroke]:
    """Return strokes along x over a square plate, 0.1 m beyond it on every side."""
    n = round((side_m + 0.2) / SAMPLE_M) + 1
    x, ones = np.linspace(-0.1, side_m + 0.1, n), np.ones(n)
    return [
        Stroke(
            kind="area",
            position_m=np.c_[x, y * ones, standoff_m * ones],
            tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
            travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
            speed_m_per_s=SPEED_M_PER_S * ones,
            process_value=flow * ones,
            on=ones.astype(bool),
            freedom=Freedom(spin="fixed"),
        )
        for y in np.arange(0.0, side_m + spacing_m, spacing_m)
    ]


def plate(side_m: float) -> Array:
    """Return points (P, 3) on a square plate [m]."""
    at = np.arange(0.5 * POINT_M, side_m, POINT_M)
    x, y = np.meshgrid(at, at)
    return np.c_[x.ravel(), y.ravel(), np.zeros(x.size)]


def main() -> int:
    """Run all sizes."""
    gun = load_named(GunConfig, "guns", "hvlp_240")
    footprint = EllipticDoubleBeta(gun)
    table = Table(
        "path m", "knots", "points", "CPU s", "growth", "peak MiB", "rounds", "gap %", "RMS %", "at a %", "why"
    )
    before = 0.0
    for side in SIDES_M:
        strokes = raster(side, footprint.spacing_m(), gun.reference_standoff_m, gun.flow_m3_per_s)
        points = plate(side)
        normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
        operator = coverage_of_points(points, normals, strokes, footprint, caster=None)
        even = operator.predict(strokes)
        target = np.median(even) * (1.0 + 0.5 * np.sin(18.0 * points[:, 0]) * np.cos(9.0 * points[:, 1]))
        started = time.process_time()
        result = optimise_speed(operator, strokes, target, np.ones(len(points)), LIMITS, knot_m=KNOT_M)
        seconds = time.process_time() - started
        explained = optimise_speed(operator, strokes, target, np.ones(len(points)), LIMITS, knot_m=KNOT_M, explain=True)
        length = sum(s.length_m for s in strokes)
        knots = round(length / KNOT_M) + len(strokes)
        assert explained.causes is not None
        table.add_row(
            f"{length:.0f}",
            str(knots),
            str(len(points)),
            f"{seconds:.2f}",
            f"{seconds / knots / before:.2f}" if before else "",
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}",
            str(result.rounds),
            f"{100 * result.optimality_gap:.3f}",
            f"{100 * result.residual_rms_m / target.mean():.2f}",
            f"{100 * result.acceleration_bound_fraction:.0f}",
            explained.causes.text.split(": ")[1],
        )
        before = seconds / knots
    Console(width=200).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
