"""Edges broken to a chamfer: which are found, which are ridden, how wide the new face is by an independent scorer.

For each part: convex and concave edges found by this benchmark's own finder (dihedral angles and borders of the mesh
alone), how much of the convex length a stroke rides and how many strokes ride a concave edge; what the plan refuses
and why; the width of the new face along the edges ridden (benchmarks/scorer_edge.py): mean and share of the length
within 20 % of the width wanted; CPU time of the plan. Borders are scored as square edges of a plate, on a scan after
their places and normals are calmed by parabolas over SCAN_MEAN_M to either side, from corner to corner. The mesh's own
edges on a scan are noise: there they only tell what is ridden.

QUICK=1: the small parts alone. PARTS=a,b: parts whose names begin so. TOOLS=a,b: instead of the recipe's.
PICTURES=folder writes a picture of each part.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import trimesh
from judged_parts import DATA
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree
from scorer_corner import corner_cut
from scorer_edge import Array, FeatureLine, measure, summary, unit

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.surface_io import Unit, load_surface
from grinding_planner.choice import plan_with_best_tool
from grinding_planner.planner import plan_grind

STRAIGHT_COSINE = 0.75
SAMPLE_M = 0.25e-3
RIDDEN_M = 0.5e-3
SCAN_RIDDEN_M = 1.5e-3
"""A stroke rides an edge where it passes this near; on a scan by the size of its triangles."""
SCAN_MEAN_M = 4e-3
SCAN_CORNER_RAD = np.deg2rad(60.0)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part to plan on."""

    name: str
    surface: Callable[[], Surface]
    scan: bool = False


def mesh_part(mesh: trimesh.Trimesh) -> Surface:
    """Return a trimesh body as a surface."""
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))


def bored_cylinder() -> Surface:
    """Return a tube: outer and inner rims above and below."""
    return mesh_part(trimesh.creation.annulus(r_min=0.012, r_max=0.03, height=0.03, sections=96))


def of_file(name: str, unit_: Unit) -> Callable[[], Surface]:
    """Return a reader of a data file."""
    return lambda: load_surface(DATA / name, unit_)[0]


PARTS = [
    Part(name="box", surface=lambda: mesh_part(trimesh.creation.box((0.06, 0.04, 0.03)))),
    Part(name="tube", surface=bored_cylinder),
    Part(name="featuretype.STL", surface=of_file("featuretype.STL", "inch")),
    Part(name="z1_Link01.obj", surface=of_file("z1_Link01.obj", "m")),
    Part(name="puzzle_piece_detailed.ply", surface=of_file("puzzle_piece_detailed.ply", "m"), scan=True),
]


def dihedral_lines(surface: Surface, angle_min_rad: float, length_min_m: float, convex: bool) -> list[FeatureLine]:
    """Return chains of mesh edges that turn over (or in) by more than an angle, longer than a length."""
    mesh = trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False)
    use = (mesh.face_adjacency_angles > angle_min_rad) & (mesh.face_adjacency_convex == convex)
    return chained(mesh, mesh.face_adjacency_edges[use], mesh.face_normals[mesh.face_adjacency[use]], length_min_m)


def border_lines(surface: Surface, length_min_m: float) -> list[FeatureLine]:
    """Return the open borders, the second face square on the first."""
    mesh = trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False)
    edges = np.sort(mesh.edges, axis=1)
    _, first, count = np.unique(edges, axis=0, return_index=True, return_counts=True)
    open_ = first[count == 1]
    start, stop = mesh.edges[open_].T
    face = mesh.face_normals[mesh.edges_face[open_]]
    outward = np.cross(unit(mesh.vertices[stop] - mesh.vertices[start]), face)
    return chained(mesh, mesh.edges[open_], np.stack([face, outward], axis=1), length_min_m)


def chained(mesh: trimesh.Trimesh, edges: Array, normals: Array, length_min_m: float) -> list[FeatureLine]:
    """Return the edges as polylines, walked straight on at every vertex."""
    points = np.asarray(mesh.vertices)
    at: dict[int, list[int]] = {}
    for k, (a, b) in enumerate(edges.tolist()):
        at.setdefault(a, []).append(k)
        at.setdefault(b, []).append(k)
    free = np.ones(len(edges), bool)
    lines = []
    for seed in range(len(edges)):
        if not free[seed]:
            continue
        free[seed] = False
        walk, own = list(edges[seed]), [seed]
        for forward in (True, False):
            while True:
                here, before = (walk[-1], walk[-2]) if forward else (walk[0], walk[1])
                ahead = unit(points[here] - points[before])
                best, straight = -1, STRAIGHT_COSINE
                for k in at[here]:
                    other = edges[k][0] if edges[k][1] == here else edges[k][1]
                    if free[k] and ahead @ unit(points[other] - points[here]) > straight:
                        best, straight = k, ahead @ unit(points[other] - points[here])
                if best < 0:
                    break
                free[best] = False
                other = edges[best][0] if edges[best][1] == here else edges[best][1]
                walk = [*walk, other] if forward else [other, *walk]
                own = [*own, best] if forward else [best, *own]
        lines.append(feature_line(points[walk], normals[own]))
    return [line for line in lines if length_of(line) >= length_min_m]


def feature_line(points: Array, normals: Array) -> FeatureLine:
    """Return a polyline with face normals (M, 2, 3) of its segments as one whose left face lies to its left."""
    along = unit(np.diff(points, axis=0))
    outward = unit(normals.sum(axis=1))
    left_first = np.einsum("mi,mi->m", normals[:, 0] - normals[:, 1], np.cross(outward, along)) > 0.0
    left, right = (np.where((left_first == want)[:, None], normals[:, 0], normals[:, 1]) for want in (True, False))
    ends = [np.vstack([n, n[-1:]]) for n in (left, right)]
    starts = [np.vstack([n[:1], n]) for n in (left, right)]
    return FeatureLine(points_m=points, normal_left=unit(ends[0] + starts[0]), normal_right=unit(ends[1] + starts[1]))


def length_of(line: FeatureLine) -> float:
    """Return a polyline's length [m]."""
    return float(np.linalg.norm(np.diff(line.points_m, axis=0), axis=1).sum())


def dense(line: FeatureLine) -> Array:
    """Return points along a polyline, SAMPLE_M apart."""
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.points_m, axis=0), axis=1))]
    at = np.arange(0.5 * SAMPLE_M, s[-1], SAMPLE_M)
    return np.stack([np.interp(at, s, line.points_m[:, k]) for k in range(3)], axis=1)


def calmed(line: FeatureLine) -> list[FeatureLine]:
    """Return a scan's border by local parabolas, from corner to corner, its second face square on the first again."""
    closed = bool(np.allclose(line.points_m[0], line.points_m[-1], atol=1e-9))
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.points_m, axis=0), axis=1))]
    at = np.arange(0.0, s[-1], SAMPLE_M)
    points, face = (
        np.stack([np.interp(at, s, values[:, k]) for k in range(3)], axis=1)
        for values in (line.points_m, line.normal_left)
    )
    n = int(SCAN_MEAN_M / SAMPLE_M)
    if len(at) <= 2 * n + 2:
        return []
    stops = corners(points, n, closed)
    if closed and len(stops) == 0:
        # once round, and as far as a parabola reaches on either side
        around = np.arange(-n, len(at) + n + 1) % len(at)
        points, face = (parabolas(values[around], n)[n:-n] for values in (points, face))
        return [squared(np.vstack([points[:-1], points[:1]]), np.vstack([face[:-1], face[:1]]))]
    if closed:
        points, face = (np.roll(values, -stops[0], axis=0) for values in (points, face))
        stops = stops[1:] - stops[0]
    bounds = [0, *stops.tolist(), len(points)]
    pieces = [(a, b) for a, b in pairwise(bounds) if b - a > n]
    return [squared(parabolas(points[a:b], n), parabolas(face[a:b], n)) for a, b in pieces]


def corners(points: Array, reach: int, closed: bool) -> NDArray[np.int64]:
    """Return where an even polyline turns by more than SCAN_CORNER_RAD between chords, most so within their length."""
    n = len(points)
    at = np.arange(n)
    before, behind = (at - reach, at + reach)
    inside = np.full(n, True) if closed else (before >= 0) & (behind < n)
    way = [unit(points[at] - points[before % n]), unit(points[behind % n] - points[at])]
    turn = np.where(inside, np.arccos(np.clip(np.einsum("ij,ij->i", *way), -1.0, 1.0)), 0.0)
    around = (at[:, None] + np.arange(-reach, reach + 1)) % n
    return np.flatnonzero((turn > SCAN_CORNER_RAD) & (turn >= turn[around].max(axis=1)))


def parabolas(values: Array, n: int) -> Array:
    """Return even samples (M, 3) by the parabolas that fit them best within n samples, the near ones most."""
    offsets = np.arange(-n, n + 1)
    window = np.hanning(2 * n + 3)[1:-1]
    inside = np.pad(np.ones(len(values)), n)
    fitted = np.empty_like(values)
    for i in range(len(values)):
        weight = np.sqrt(window * inside[i : i + 2 * n + 1])
        use = weight > 0.0
        basis = np.vander(offsets[use] * SAMPLE_M / SCAN_MEAN_M, 3) * weight[use, None]
        fitted[i] = np.linalg.lstsq(basis, values[i + offsets[use]] * weight[use, None], rcond=None)[0][2]
    return fitted


def squared(points: Array, face: Array) -> FeatureLine:
    """Return a border whose face is square on its way, and its wall on both."""
    way = unit(np.gradient(points, axis=0))
    face = unit(face - np.einsum("ij,ij->i", face, way)[:, None] * way)
    return FeatureLine(points_m=points, normal_left=face, normal_right=np.cross(way, face))


def stroke_points(plan: Plan) -> list[Array]:
    """Return every stroke as dense points."""
    return [
        dense(FeatureLine(points_m=s.position_m, normal_left=s.tool_axis, normal_right=s.tool_axis))
        for path in (plan.toolpath, *plan.further)
        for s in path.strokes
    ]


def picture(folder: Path, part: Part, surface: Surface, lines: list[FeatureLine], plan: Plan) -> None:
    """Write the edges found by the benchmark (black) with the strokes over them (red; further tools blue, green)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(20, 10))
    for k, (elevation, azimuth) in enumerate([(50, -60), (-30, 120)]):
        view = figure.add_subplot(1, 2, k + 1, projection="3d")
        for line in lines:
            view.plot(*line.points_m.T, color="black", lw=0.7)
        for path, color in zip((plan.toolpath, *plan.further), ("red", "blue", "green"), strict=False):
            for stroke in path.strokes:
                view.plot(*stroke.position_m.T, color=color, lw=1.6, alpha=0.7)
        view.view_init(elevation, azimuth)
        view.set_box_aspect(np.ptp(surface.vertices_m, axis=0))
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"edges_{part.name}.png", dpi=70)
    plt.close(figure)


def row_of(part: Part, recipe: GrindRecipe, tools: Sequence[GrindToolConfig], pictures: Path | None) -> list[str]:
    """Plan on a part and return its row of the table."""
    surface = part.surface()
    started = time.process_time()
    plan = plan_with_best_tool(surface, recipe, tools)
    seconds = time.process_time() - started
    angle, least, width = recipe.edge_angle_min_rad, recipe.edge_length_min_m, recipe.chamfer_width_m
    convex = dihedral_lines(surface, angle, least, True)
    borders = border_lines(surface, least)
    concave = dihedral_lines(surface, angle, least, False)
    strokes = stroke_points(plan)
    reach = SCAN_RIDDEN_M if part.scan else RIDDEN_M
    ridden = KDTree(np.concatenate(strokes))
    on_convex = np.concatenate([dense(line) for line in (*convex, *borders)])
    near = ridden.query(on_convex)[0] < reach
    wrong = 0
    if concave:
        tree, own = KDTree(np.concatenate([dense(line) for line in concave])), KDTree(on_convex)
        for points in strokes:
            inner = tree.query(points)[0]
            wrong += bool(np.mean((inner < RIDDEN_M) & (inner < own.query(points)[0])) > 0.5)
    chamfers, everywhere = [], []
    judged = [piece for line in borders for piece in calmed(line)] if part.scan else [*convex, *borders]
    for line in judged:
        chamfer = measure(surface, line, (plan.toolpath, *plan.further), width, square=part.scan)
        everywhere.append(chamfer)
        rides = ridden.query(chamfer.at_m)[0] < RIDDEN_M
        chamfers.append(type(chamfer)(**{k: v[rides] for k, v in vars(chamfer).items()}))
    told = summary(chamfers, width) if chamfers else {}
    whole = summary(everywhere, width) if everywhere else {}
    if pictures:
        picture(pictures, part, surface, [*convex, *borders], plan)
    figures = plan.figures
    refused = [
        f"{k.removeprefix('edge_refused_').removesuffix('_m')} {1e3 * v:.0f}"
        for k, v in figures.items()
        if k.startswith("edge_refused_") and v > 0.0
    ]
    return [
        part.name,
        " + ".join(f"{path.tool['name']} {len(path.strokes)}" for path in (plan.toolpath, *plan.further)),
        f"{len(convex)}+{len(borders)}",
        f"{1e3 * sum(map(length_of, (*convex, *borders))):.0f}",
        f"{100 * np.mean(near):.1f}",
        f"{figures['edges_found']:.0f}",
        f"{1e3 * figures['edge_length_m']:.0f}",
        f"{1e3 * figures['edge_planned_length_m']:.0f}",
        ", ".join(refused),
        str(wrong),
        f"{1e3 * figures['chamfer_width_mean_m']:.3f}",
        f"{100 * figures['chamfer_in_tolerance_length_fraction']:.1f}",
        f"{1e3 * told['mean_m']:.3f}" if told else "-",
        f"{100 * told['within']:.1f}" if told else "-",
        f"{100 * whole['within']:.1f}" if whole else "-",
        f"{100 * told['lopsided']:.1f}" if told else "-",
        f"{figures['duration_s']:.0f}",
        f"{seconds:.1f}",
    ]


def corner_table(recipe: GrindRecipe, tools: Sequence[GrindToolConfig]) -> Table:
    """Return how each tool leaves the corners of a box, where three chamfers meet."""
    table = Table(
        "tool", "cut below um", "its P99", "left above um", title="corners of a box against ideal chamfers, worst of 8"
    )
    half = np.array([0.015, 0.01, 0.01])
    surface = mesh_part(trimesh.creation.box(2.0 * half))
    for tool in tools:
        own = recipe.model_copy(update={"tool": tool.name, "tools": ()})
        path = plan_grind(surface, own, tool).toolpath
        cuts = [
            corner_cut(half * signs, np.diag(signs), (path,), recipe.chamfer_width_m)
            for signs in np.array(list(product((-1.0, 1.0), repeat=3)))
        ]
        worst = [1e6 * max(getattr(cut, name) for cut in cuts) for name in ("over_max_m", "over_p99_m", "left_max_m")]
        table.add_row(tool.name, *(f"{value:.0f}" for value in worst))
    return table


def main() -> int:
    """Run all parts."""
    recipe = load_recipe("grind_edges")
    assert isinstance(recipe, GrindRecipe)
    names = os.environ["TOOLS"].split(",") if os.environ.get("TOOLS") else recipe.tools
    tools = [load_named(GrindToolConfig, "tools", name) for name in names]
    pictures = Path(os.environ["PICTURES"]) if os.environ.get("PICTURES") else None
    table = Table(
        "part", "strokes", "edges by angle + borders", "mm", "ridden %", "planned: edges", "mm",
        "ridden mm", "refused mm", "on concave", "width mm, model", "within 20 %", "scorer", "within 20 %", "of all",
        "off-centre %", "on part s", "CPU s",
        title=f"chamfer {1e3 * recipe.chamfer_width_m:g} mm with {' and '.join(names)}",
    )  # fmt: skip
    wanted = tuple(os.environ.get("PARTS", "").split(","))
    for part in PARTS[: 2 if os.environ.get("QUICK") else None]:
        if not part.name.startswith(wanted):
            continue
        table.add_row(*row_of(part, recipe, tools, pictures))
    Console(width=230).print(table)
    Console(width=230).print(corner_table(recipe, tools))
    return 0


if __name__ == "__main__":
    sys.exit(main())
