"""Meshes fit for a process: edges of one length, the shape and its sharp edges kept."""

import numpy as np

from cell_core.errors import InputRefusedError
from cell_core.meshes.decimate import carried_fields, decimated
from cell_core.meshes.edge_collapse import collapse_round, flip_round
from cell_core.meshes.subdivide import split_triangles, triangle_edges
from cell_core.meshes.topology import Index
from cell_core.surface import Surface
from cell_core.transforms import Array

EDGE_MAX_RATIO = 1.5
"""No edge of a process mesh is longer than this times the edge length asked for."""
SPLIT_RATIO, COLLAPSE_RATIO = 4.0 / 3.0, 4.0 / 5.0
DEVIATION_RATIO = 0.1
"""Collapses and flips together move the surface by no more than this times the edge length, as they count it."""
TURNS, COLLAPSE_ROUNDS, FLIP_ROUNDS = 4, 8, 4
SETTLED = 0.002
"""Rounds that change less than this share of the triangles end a turn."""
TRIANGLES_MAX = 20_000_000
EQUILATERAL = np.sqrt(3.0) / 4.0


def process_mesh(surface: Surface, edge_m: float) -> Surface:
    """Return a mesh of the same shape whose edges are about `edge_m` and never longer than 1.5 `edge_m`.

    Short edges are collapsed, long ones halved, poor ones flipped, in turns. Vertices stay where the surface had them
    or halve an edge, so sharp edges stay sharp. Each step counts how far it moves the surface and stops at 0.1 `edge_m`
    in sum: where the shape is finer than that, so are the triangles. A mesh of more than four times the triangles
    wanted is first brought to twice as many by quadrics, which is not counted; deviations of up to 0.23 `edge_m` have
    been seen. Fields are carried over linearly. Linear in the number of triangles.

    Source: Botsch & Kobbelt 2004 (lengths at which to collapse and halve), without their relocation of vertices.

    Raises:
        InputRefusedError: `edge_m` is not positive, or so small that more than 20 million triangles would be needed.
    """
    _refuse_edge(surface, edge_m)
    wanted = int(surface.area_m2 / (EQUILATERAL * edge_m**2))
    plain = Surface(vertices_m=surface.vertices_m, triangles=surface.triangles, frame=surface.frame)
    coarse = decimated(plain, max(2 * wanted, 64)) if len(surface.triangles) > 4 * wanted else plain
    points, triangles = coarse.vertices_m, coarse.triangles
    strain = np.zeros(len(points))
    for level_m in _levels(points, triangles, edge_m):
        points, triangles, strain = _turn(points, triangles, strain, edge_m, level_m)
    result = split_long_edges(_compact(points, triangles, strain), EDGE_MAX_RATIO * edge_m)
    return Surface(
        vertices_m=result.vertices_m,
        triangles=result.triangles,
        fields=carried_fields(surface, result.vertices_m),
        frame=surface.frame,
    )


def quick_mesh(surface: Surface, edge_m: float) -> Surface:
    """Return a mesh of about the same shape with no edge longer than 1.5 `edge_m`, in a tenth of the time.

    Quadric decimation where there are many more triangles than wanted, then halving of long edges: no bound on the
    deviation, and needles stay needles. Good enough to reckon smooth fields on.

    Raises:
        InputRefusedError: as `process_mesh`.
    """
    _refuse_edge(surface, edge_m)
    wanted = int(surface.area_m2 / (EQUILATERAL * edge_m**2))
    coarse = decimated(surface, max(wanted, 64)) if len(surface.triangles) > 1.5 * wanted else surface
    return split_long_edges(coarse, EDGE_MAX_RATIO * edge_m)


def _levels(points: Array, triangles: Index, edge_m: float) -> list[float]:
    # long edges are halved in steps with flips between: slender triangles cut up at once would be very many
    edges = triangle_edges(triangles)[0]
    longest = float(np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).max())
    n = max(int(np.ceil(np.log2(longest / edge_m))), 0)
    return [edge_m * 2.0**k for k in range(n, 0, -1)] + [edge_m] * TURNS


def _turn(
    points: Array, triangles: Index, strain: Array, edge_m: float, level_m: float
) -> tuple[Array, Index, Array]:
    bound_m = DEVIATION_RATIO * edge_m
    for _ in range(COLLAPSE_ROUNDS):
        triangles, strain, n = collapse_round(
            points,
            triangles,
            strain,
            short_m=COLLAPSE_RATIO * edge_m,
            long_m=SPLIT_RATIO * level_m,
            bound_m=bound_m,
        )
        if n < SETTLED * len(triangles):
            break
    halved = split_long_edges(_compact(points, triangles, strain), SPLIT_RATIO * level_m)
    points, triangles, strain = halved.vertices_m, halved.triangles, halved.fields["strain_m"]
    for _ in range(FLIP_ROUNDS):
        triangles, strain, n = flip_round(points, triangles, strain, long_m=SPLIT_RATIO * level_m, bound_m=bound_m)
        if n < SETTLED * len(triangles):
            break
    return points, triangles, strain


def _compact(points: Array, triangles: Index, strain: Array) -> Surface:
    used, index = np.unique(triangles, return_inverse=True)
    return Surface(vertices_m=points[used], triangles=index.reshape(-1, 3), fields={"strain_m": strain[used]})


def split_long_edges(surface: Surface, edge_max_m: float) -> Surface:
    """Return the surface with no edge longer than `edge_max_m`; shape and fields (linear) are the same.

    Every long edge is halved, in both its triangles, until none is left: conforming, no T-junctions.
    """
    _refuse_edge(surface, edge_max_m)
    vertices = np.column_stack([surface.vertices_m, *surface.fields.values()])
    active, done = surface.triangles, []
    while len(active):
        edges, of_triangle = triangle_edges(active)
        length = np.linalg.norm(vertices[edges[:, 0], :3] - vertices[edges[:, 1], :3], axis=1)
        long = length > edge_max_m
        busy = long[of_triangle].any(axis=1)
        # a triangle without a long edge is finished: halving adds none to it
        done.append(active[~busy])
        middle = np.full(len(edges), -1)
        middle[long] = len(vertices) + np.arange(int(long.sum()))
        vertices = np.vstack([vertices, vertices[edges[long]].mean(axis=1)])
        active, _ = split_triangles(active[busy], middle[of_triangle[busy]], vertices[:, :3])
    fields = {name: vertices[:, 3 + i] for i, name in enumerate(surface.fields)}
    return Surface(
        vertices_m=vertices[:, :3], triangles=np.concatenate(done), fields=fields, frame=surface.frame
    )


def _refuse_edge(surface: Surface, edge_m: float) -> None:
    if not (np.isfinite(edge_m) and edge_m > 0.0):
        raise InputRefusedError(f"edge length {edge_m} m: must be positive")
    n = surface.area_m2 / (EQUILATERAL * edge_m**2)
    if n > TRIANGLES_MAX:
        raise InputRefusedError(
            f"edge length {edge_m:.3g} m: {surface.area_m2:.3g} m2 would take {n:.3g} triangles, "
            f"at most {TRIANGLES_MAX} allowed"
        )
