"""Meshes fit for a process: edges of one length, the shape and its sharp edges kept."""

import numpy as np

from cell_core.decimate import decimated
from cell_core.errors import InputRefusedError
from cell_core.subdivide import split_triangles, triangle_edges
from cell_core.surface import Surface

EDGE_MAX_RATIO = 1.5
"""No edge of a process mesh is longer than this times the edge length asked for."""
TRIANGLES_MAX = 20_000_000
EQUILATERAL = np.sqrt(3.0) / 4.0


def process_mesh(surface: Surface, edge_m: float) -> Surface:
    """Return a mesh of the same shape whose edges are about `edge_m` and never longer than 1.5 `edge_m`.

    Raises:
        InputRefusedError: `edge_m` is not positive, or so small that more than 20 million triangles would be needed.
    """
    _refuse_edge(surface, edge_m)
    target = surface.area_m2 / (EQUILATERAL * edge_m**2)
    coarse = decimated(surface, max(int(target), 64)) if len(surface.triangles) > 1.5 * target else surface
    return split_long_edges(coarse, EDGE_MAX_RATIO * edge_m)


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
