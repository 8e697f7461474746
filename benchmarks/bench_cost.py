"""What the coverage operator costs: pairs per second and core, growth with the mesh, and one large problem end to end.

Parts are generated wavy shells. Speeds are per core: counted over the processor time of all threads, so that a loaded
machine tells the same. Every case runs in a process of its own, whose peak memory is told over that of a small one.

(a) gun: fan of 250 x 70 mm at 200 mm; jet: a gun with a round spot of 30 mm at 100 mm; disc: a contact disc of 30 mm,
    to which nothing occludes. Pairs are those with a positive rate and, for gun and jet, a ray of their own.
(b) time and memory of the gun's operator from 10k to 1M triangles on one part, against linear growth; a picture.
(c) 1M triangles, 200 m of path: surface, strokes, operator with occlusion on samples, speeds, operator with occlusion
    on all vertices, prediction.

    cell bench cost
    BENCH_OUT=folder cell bench cost      where growth.png goes (default ./bench_out)
    LARGEST=300000 cell bench cost        stop there, and leave (c) out
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from cell_core.config import GunConfig, load_named
from cell_core.operator.coverage import CoverageModel, coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta, Footprint, RoundFootprint
from cell_core.operator.pair_rates import PairRates
from cell_core.optimise.dwell import SpeedLimits, optimise_speed
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.statistics import field_statistics
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed, lay_on_mesh, strokes_on_mesh
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
REPEATS = 5
"""Runs of each operator in its process; the median is told."""
CLEARANCE_M = 0.003
GUN = {"a_m": 0.125, "b_m": 0.035, "reference_standoff_m": 0.2}
JET = {"a_m": 0.015, "b_m": 0.015, "reference_standoff_m": 0.1}
DISC = RoundFootprint(0.015, depth_m=0.003)
PAIRS_BOUND_PER_S = 2e6
GROWTH_BOUND = 1.15
TIME_BOUND_S, MEMORY_BOUND_GIB = 180.0, 8.0


def height(x_m: Array, y_m: Array) -> tuple[Array, Array, Array]:
    """Return the shell's height [m] and its slopes along x and y."""
    kx, ky, amplitude = 2.0 * np.pi / 0.5, 2.0 * np.pi / 0.7, 0.01
    sx, cx, sy, cy = np.sin(kx * x_m), np.cos(kx * x_m), np.sin(ky * y_m), np.cos(ky * y_m)
    return amplitude * sx * cy, amplitude * kx * cx * cy, -amplitude * ky * sx * sy


def wavy_shell(n_triangles: int, side_m: float) -> Surface:
    """Return a square shell of about `n_triangles`."""
    x = np.linspace(0.0, side_m, round(np.sqrt(n_triangles / 2.0)) + 1)
    X, Y = np.meshgrid(x, x, indexing="ij")
    vertices = np.stack([X, Y, height(X, Y)[0]], axis=-1).reshape(-1, 3)
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def raster(side_m: float, spacing_m: float, step_m: float, standoff_m: float, overtravel_m: float) -> list[Stroke]:
    """Return strokes along x over the shell, square to it."""
    n = round((side_m + 2.0 * overtravel_m) / step_m) + 1
    x = np.linspace(-overtravel_m, side_m + overtravel_m, n)
    strokes = []
    for y in np.arange(0.5 * spacing_m, side_m, spacing_m):
        z, slope_x, slope_y = height(x, np.full(n, y))
        normal = unit(np.stack([-slope_x, -slope_y, np.ones(n)], axis=1))
        stroke = Stroke(
            kind="area",
            position_m=np.stack([x, np.full(n, y), z], axis=1) + standoff_m * normal,
            tool_axis=-normal,
            travel=unit(np.stack([np.ones(n), np.zeros(n), slope_x], axis=1)),
            speed_m_per_s=np.full(n, 0.3),
            process_value=np.full(n, 1e-6),
            on=np.ones(n, bool),
        )
        strokes.append(stroke if len(strokes) % 2 == 0 else stroke.reversed())
    return strokes


def spray_gun(changes: dict[str, float]) -> EllipticDoubleBeta:
    """Return the first shipped gun with these measures."""
    return EllipticDoubleBeta(load_named(GunConfig, "guns", "hvlp_240").model_copy(update=changes))


def operator_case(tool: str, n_triangles: int) -> dict[str, float]:
    """Return figures of one operator on a shell of 1 x 1 m, preparation (ray tree, point runs) told apart."""
    footprint: Footprint = DISC if tool == "disc" else spray_gun(GUN if tool == "gun" else JET)
    if tool == "gun":
        strokes = raster(1.0, 0.093, 0.01, 0.2, 0.05)
    else:
        strokes = raster(1.0, 0.025, 0.005, 0.1 if tool == "jet" else 0.0, 0.0)
    surface = wavy_shell(n_triangles, 1.0)
    points, normals = surface.vertices_m, surface.vertex_normals
    before_gib = peak_gib()
    start = time.process_time()
    caster = RayCaster(surface) if footprint.occludes else None
    if caster is not None:
        caster.stopped(np.zeros((1, 6), np.float32))  # builds the tree
    pairs = PairRates(points_m=points, normals=normals, footprint=footprint, caster=caster, clearance_m=CLEARANCE_M)
    pairs.prepare()
    prepared = time.process_time()
    times_s, n_pairs, n_samples, memory_gib = [], 0, 0, 0.0
    for _ in range(REPEATS):
        start_s = time.process_time()
        matrix = CoverageModel(pairs=pairs).operator(strokes).matrix
        times_s.append(time.process_time() - start_s)
        memory_gib = memory_gib or peak_gib() - before_gib
        n_pairs, n_samples = matrix.nnz, matrix.shape[1]
        del matrix
    prepare_s, operator_s = prepared - start, float(np.median(times_s))
    return {
        "triangles": len(surface.triangles),
        "samples": n_samples,
        "pairs": n_pairs,
        "prepare_s": prepare_s,
        "operator_s": operator_s,
        "pairs_per_s": n_pairs / operator_s,
        "with_preparation_per_s": n_pairs / (prepare_s + operator_s),
        "memory_gib": memory_gib,
    }


def threads_case() -> dict[str, float]:
    """Return the wall time of the gun's operator at 300k triangles by number of threads; a busy machine blurs it."""
    gun, surface = spray_gun(GUN), wavy_shell(300_000, 1.0)
    pairs = PairRates(
        points_m=surface.vertices_m,
        normals=surface.vertex_normals,
        footprint=gun,
        caster=RayCaster(surface),
        clearance_m=CLEARANCE_M,
    )
    strokes = raster(1.0, 0.0465, 0.01, 0.2, 0.05)
    CoverageModel(pairs=pairs).operator(strokes)
    walls = {}
    for n in range(1, len(os.sched_getaffinity(0)) + 1):
        times_s = []
        for _ in range(REPEATS):
            start_s = time.perf_counter()
            CoverageModel(pairs=pairs, threads=n).operator(strokes)
            times_s.append(time.perf_counter() - start_s)
        walls[str(n)] = min(times_s)
    return walls


def large_case(side_m: float, spacing_m: float) -> dict[str, float]:
    """Return the wall time of each step of the 1M-triangle, 200 m problem [s], and the peak memory."""
    gun = spray_gun(GUN)
    processor_s = time.process_time()
    clock = [time.perf_counter()]
    surface = wavy_shell(1_000_000, side_m)
    points, normals, areas = surface.vertices_m, surface.vertex_normals, surface.vertex_areas_m2
    clock.append(time.perf_counter())
    strokes = raster(side_m, spacing_m, 0.01, 0.2, 0.05)
    clock.append(time.perf_counter())
    samples = sample_surface(surface, 0.5 * GUN["b_m"])
    caster = RayCaster(surface)
    scouts = coverage_of_points(samples.points_m, samples.normals, strokes, gun, caster=caster)
    clock.append(time.perf_counter())
    mean_m = float(np.average(scouts.predict(strokes), weights=samples.areas_m2))
    limits = SpeedLimits(low_m_per_s=0.08, high_m_per_s=1.0, acceleration_m_per_s2=2.0)
    result = optimise_speed(scouts, strokes, np.full(len(samples), mean_m), samples.areas_m2, limits, knot_m=0.03)
    clock.append(time.perf_counter())
    operator = coverage_of_points(points, normals, strokes, gun, caster=caster)
    clock.append(time.perf_counter())
    film = operator.predict(result.strokes)
    inside = np.abs(points[:, :2] - 0.5 * side_m).max(axis=1) < 0.5 * side_m - 0.2
    cv = field_statistics(film, np.full(len(film), mean_m), areas, 0.1, inside).cv
    clock.append(time.perf_counter())
    names = ("surface", "strokes", "operator on samples", "speeds", "operator on all vertices", "prediction")
    times = dict(zip(names, np.diff(clock).tolist(), strict=True))
    return {
        **times,
        "whole": clock[-1] - clock[0],
        "processor s": time.process_time() - processor_s,
        "path_m": sum(s.length_m for s in strokes),
        "pairs": operator.matrix.nnz,
        "cv": cv,
        "peak_gib": peak_gib(),
    }


def layout_case(n_triangles: int) -> dict[str, float]:
    """Return the processor time of a layout of strokes 93 mm apart on a 1 x 1 m shell, from mesh to strokes."""
    surface = wavy_shell(n_triangles, 1.0)
    across = Seed(kind="planar", direction=np.array([0.0, 1.0, 0.0]))
    request = MeshLayoutRequest(seed=across, spacing_m=0.093, step_m=0.01, standoff_m=0.2)
    lay_on_mesh(wavy_shell(1000, 1.0), request)  # libraries load on first use
    start_s = time.process_time()
    strokes = strokes_on_mesh(lay_on_mesh(surface, request), request)
    layout_s = time.process_time() - start_s
    n = len(surface.triangles)
    return {"triangles": n, "strokes": len(strokes), "layout_s": layout_s, "ms_per_10k": 1e7 * layout_s / n}


def layout_table() -> Table:
    """Return the processor time of layouts by size; growth is told from size to size."""
    columns = ("triangles", "strokes", "CPU s", "ms per 10k", "growth over linear")
    table = Table(*columns, title="layout, bound 150 ms per 10k")
    last: dict[str, float] | None = None
    for size in SIZES:
        case = apart("layout", size)
        growth = case["ms_per_10k"] / last["ms_per_10k"] if last else 1.0
        row = f"{case['triangles']:,.0f}", f"{case['strokes']:.0f}", f"{case['layout_s']:.2f}"
        table.add_row(*row, f"{case['ms_per_10k']:.0f}", f"{growth:.2f}")
        last = case
    return table


def peak_gib() -> float:
    """Return the largest memory this process has held [GiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def apart(*case: object) -> dict[str, float]:
    """Return the figures of a case run in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, case)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def growth_picture(cases: list[dict[str, float]], path: Path) -> None:
    """Draw time and memory over triangles with the line of linear growth."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    n = np.array([c["triangles"] for c in cases])
    for ax, values, label in (
        (axes[0], [c["prepare_s"] + c["operator_s"] for c in cases], "processor time, s"),
        (axes[1], [1024.0 * c["memory_gib"] for c in cases], "peak memory over the surface, MiB"),
    ):
        ax.loglog(n, values, "o-", label="measured")
        ax.loglog(n, GROWTH_BOUND * values[0] * n / n[0], ":", label=f"{GROWTH_BOUND} x linear from the smallest")
        ax.set(xlabel="triangles", ylabel=label)
        ax.grid(True, which="both", alpha=0.3)
        ax.legend()
    figure.suptitle("Operator of an 11 m gun raster with occlusion, 1 x 1 m shell")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def growth_row(name: str, n: Array, values: Array) -> tuple[str, ...]:
    """Return fitted exponent, growth over linear from the smallest to the largest, and over the last step."""
    exponent = float(np.polyfit(np.log(n), np.log(values), 1)[0])
    whole = (values[-1] / values[0]) / (n[-1] / n[0])
    last = (values[-1] / values[-2]) / (n[-1] / n[-2])
    return name, f"{exponent:.3f}", f"{whole:.2f}", f"{last:.2f}", f"{GROWTH_BOUND}"


def main() -> int:
    """Print the tables and draw the growth."""
    if len(sys.argv) > 1:
        kind, *rest = sys.argv[1:]
        cases_by_kind: dict[str, Callable[[], dict[str, float]]] = {
            "large": lambda: large_case(*map(float, rest)),
            "threads": threads_case,
            "layout": lambda: layout_case(int(rest[0])),
        }
        figures = cases_by_kind.get(kind, lambda: operator_case(kind, int(rest[0])))()
        print(json.dumps(figures))
        return 0
    largest = int(os.environ.get("LARGEST", SIZES[-1]))
    sizes = [n for n in SIZES if n <= largest]
    console = Console(width=140)
    table = Table(
        "tool", "triangles", "samples", "pairs", "pairs a sample", "operator s", "M pairs/s/core", "with preparation",
        "bound", title="(a) operator, occlusion on",
    )  # fmt: skip
    cases = {tool: [apart(tool, n) for n in sizes] for tool in ("gun", "jet", "disc")}
    for tool, rows in cases.items():
        for c in rows:
            table.add_row(
                tool,
                f"{c['triangles']:,.0f}",
                f"{c['samples']:,.0f}",
                f"{c['pairs']:,.0f}",
                f"{c['pairs'] / c['samples']:.1f}",
                f"{c['operator_s']:.3f}",
                f"{1e-6 * c['pairs_per_s']:.2f}",
                f"{1e-6 * c['with_preparation_per_s']:.2f}",
                f"{1e-6 * PAIRS_BOUND_PER_S:.0f}",
            )
        table.add_section()
    console.print(table)
    walls = ", ".join(f"{n}: {wall_s:.3f} s" for n, wall_s in apart("threads").items())
    console.print(f"gun, 299,538 triangles, least wall time by threads: {walls}")
    gun = cases["gun"]
    n = np.array([c["triangles"] for c in gun])
    table = Table("gun", "exponent", "over linear", "last step", "bound", title="(b) growth with the mesh")
    table.add_row(*growth_row("time", n, np.array([c["prepare_s"] + c["operator_s"] for c in gun])))
    table.add_row(*growth_row("memory", n, np.array([c["memory_gib"] for c in gun])))
    console.print(table)
    picture = Path(os.environ.get("BENCH_OUT", "bench_out")) / "growth.png"
    growth_picture(gun, picture)
    console.print(f"growth drawn in {picture}")
    console.print(layout_table())
    if largest < SIZES[-1]:
        return 0
    table = Table("step", "4.3 m, spacing 93 mm", "2 m, spacing 20 mm", title="(c) 1M triangles, 200 m of path: wall s")
    problems = [apart("large", 4.3, 0.093), apart("large", 2.0, 0.02)]
    for key in problems[0]:
        table.add_row(key, *(f"{p[key]:,.3f}" if key != "pairs" else f"{p[key]:,.0f}" for p in problems))
    table.add_row("bounds", *[f"{TIME_BOUND_S:.0f} s, {MEMORY_BOUND_GIB:.0f} GiB"] * 2)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
