"""Strokes along what bounds a surface: its borders, set in by choice, and its sharp edges."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cell_core.errors import CoverageError, InputRefusedError
from cell_core.meshes.remesh import triangle_edges
from cell_core.strokes.isolines import Index, iso_curves
from cell_core.strokes.mesh_layout import MeshLayoutRequest, in_order, prepare
from cell_core.strokes.mesh_lines import MeshLine, Track, lines_from_curves, lines_from_tracks, run_on
from cell_core.strokes.working_patch import WorkingPatch
from cell_core.surface import Surface
from cell_core.transforms import Array, unit


def border_lines(
    patch: Surface, request: MeshLayoutRequest, inset_m: float, prepared: WorkingPatch | None = None
) -> list[MeshLine]:
    """Return rings along every border of the patch, `inset_m` inside it along the surface; 0: on the border itself.

    Holes that the request's gap closes have none. The request's seed is not used.

    Raises:
        CoverageError: the patch has no border, or is nowhere that far from it.
        InputRefusedError: negative inset.
    """
    if inset_m < 0.0:
        raise InputRefusedError(f"border lines: inset {inset_m} m, must be >= 0: a mesh ends at its border")
    work = prepared or prepare(patch, request)
    if not work.loops:
        raise CoverageError("border lines: the patch is closed, it has no border", area_m2=patch.area_m2)
    radius = 0.5 * request.spacing_m if request.normal_radius_m is None else request.normal_radius_m
    normals = work.smooth_normals(radius)
    if inset_m == 0.0:
        closed = [np.r_[loop, loop[:1]] for loop in work.loops]
        tracks = [_track(work.mesh.vertices_m[loop], normals[loop], closed=True) for loop in closed]
        lines = lines_from_tracks(work, tracks, request.lines)
    else:
        border = np.unique(np.concatenate(work.loops))
        distance = work.fields.equally_spaced(work.fields.distance(border), 1.0, zero=border)
        curves = [(0.0, curve) for curve in iso_curves(work.mesh, distance, np.array([inset_m]))]
        lines = lines_from_curves(work, curves, normals, request.lines)
    if not lines:
        raise CoverageError(f"border lines: nothing lies {inset_m} m inside the border", area_m2=patch.area_m2)
    return [run_on(line, request.lines) for line in in_order(lines, both_ways=True)]


def edge_lines(
    surface: Surface, request: MeshLayoutRequest, least_angle_rad: float, prepared: WorkingPatch | None = None
) -> list[MeshLine]:
    """Return lines along the edges at which the surface turns by more than `least_angle_rad`, normals half way.

    Lines end where three such edges meet, and are left out below the request's `min_length_m`.

    Raises:
        CoverageError: no edge is that sharp, or none long enough.
    """
    work = prepared or prepare(surface, request)
    edges, normals = sharp_edges(surface, least_angle_rad)
    tracks = []
    for chain, closed in undirected_chains(edges):
        points = surface.vertices_m[chain]
        if np.linalg.norm(np.diff(points, axis=0), axis=1).sum() >= max(request.min_length_m, 1e-6):
            tracks.append(_track(points, normals[chain], closed=closed))
    lines = lines_from_tracks(work, tracks, request.lines)
    if not lines:
        raise CoverageError(
            f"edge lines: no edge turns by over {np.degrees(least_angle_rad):.0f} deg for {request.min_length_m:.3f} m",
            area_m2=surface.area_m2,
        )
    return [run_on(replace(line, level=0.0), request.lines) for line in in_order(lines, both_ways=True)]


def sharp_edges(surface: Surface, least_angle_rad: float) -> tuple[Index, Array]:
    """Return edges (E, 2) of two triangles that turn by more, and per vertex (V, 3) the mean normal of theirs."""
    edges, of_triangle = triangle_edges(surface.triangles)
    order = np.argsort(of_triangle.ravel(), kind="stable")
    count = np.bincount(of_triangle.ravel(), minlength=len(edges))
    first = np.cumsum(count) - count
    double = np.flatnonzero(count == 2)
    one, two = order[first[double]] // 3, order[first[double] + 1] // 3
    sound = (surface.triangle_areas_m2[one] > 0.0) & (surface.triangle_areas_m2[two] > 0.0)
    cosine = np.einsum("ij,ij->i", surface.triangle_normals[one], surface.triangle_normals[two])
    sharp = sound & (cosine < np.cos(least_angle_rad))
    total = np.zeros_like(surface.vertices_m)
    for k in range(2):
        np.add.at(
            total, edges[double[sharp], k], surface.triangle_normals[one[sharp]] + surface.triangle_normals[two[sharp]]
        )
    return edges[double[sharp]], unit(total)


def undirected_chains(edges: Index) -> list[tuple[Index, bool]]:
    """Return the edges (E, 2) as runs of vertices, cut where other than two meet, and whether each closes."""
    links: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        links.setdefault(a, []).append(b)
        links.setdefault(b, []).append(a)
    ends = [v for v in sorted(links) if len(links[v]) != 2]
    used: set[tuple[int, int]] = set()
    runs: list[tuple[Index, bool]] = []
    for closed, starts in ((False, ends), (True, sorted(links))):
        for start in starts:
            for second in links[start]:
                if (start, second) in used:
                    continue
                runs.append((np.array(_walk(links, used, start, second)), closed))
    return runs


def _walk(links: dict[int, list[int]], used: set[tuple[int, int]], start: int, second: int) -> Sequence[int]:
    run, before, at = [start, second], start, second
    used.update(((start, second), (second, start)))
    while len(links[at]) == 2 and at != start:
        before, at = at, links[at][0] if links[at][1] == before else links[at][1]
        used.update(((before, at), (at, before)))
        run.append(at)
    return run


def _track(points: Array, normals: Array, *, closed: bool) -> Track:
    return Track(points_m=points, normals=normals, air=np.zeros(len(points) - 1, bool), level=0.0, closed=closed)
