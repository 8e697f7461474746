"""Border bands: strokes along the borders of what the gun can serve, sprayed before the area inside."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from cell_core.errors import CoverageError
from cell_core.strokes.layout import Line, strokes_from_lines
from cell_core.strokes.mesh_edges import border_lines
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from spray_planner.aim import PartView, aim_line
from spray_planner.candidates import SHORTEST_DEPTHS, request_for
from spray_planner.service import Service
from spray_planner.task import Task

INSET_FANS = 0.5
"""Bands lie so many half widths of the fan inside the border: most of the paint stays on the part."""
LEAN_SHARE = 0.4
"""The gun leans inward by this share of the tilt it may take."""
CORNER_FANS = 0.5
"""Bands are cut where they turn about a radius below so many half widths: no fan can turn with them there."""

TRIM = 0.8
"""Bands end this share of that radius before a corner, and run on from there."""
POINTS_LEAST = 8
"""Shorter lines, by a fan's height at most, show no heading."""
ALONG_COS = 0.9
NEAR_SPACINGS = 0.9
ALONG_SHARE = 0.6
"""A stroke runs along a band where more than this share of it heads the same way within NEAR_SPACINGS."""


def border_bands(task: Task, surface: Surface, service: Service) -> list[Stroke]:
    """Return strokes of kind "border" along the borders of the area served, the gun leaning inward.

    Bands are the curves `INSET_FANS` inside the borders along the surface; corners cut them, and pieces run on past
    both ends, straight. Pieces without room for the gun are left out. A part without borders has none.
    """
    (served,) = task.samples.spread(surface, service.mask.astype(float), nearest=True)
    keep = np.all((served > 0.5)[surface.triangles], axis=1)
    lines: list[Line] = []
    for region in _regions(surface, keep, 4.0 * task.fan_m * task.depth_m):
        lines += _lines(task, region)
    part = PartView(caster=task.caster, tree=task.samples.tree, triangle_normals=task.triangle_normals)
    aimed = [
        piece
        for line in lines
        for piece in aim_line(
            line,
            part,
            direction=unit(line.normal.mean(axis=0)),
            standoff_m=task.recipe.standoff_m,
            incidence_max_rad=task.gun.incidence_max_rad,
            surroundings=task.surroundings,
        )
    ]
    request = replace(request_for(task, np.array([0.0, 0.0, 1.0])), kind="border")
    return [s for s in strokes_from_lines(aimed, request) if s.length_m >= SHORTEST_DEPTHS * task.depth_m]


def beside_bands(task: Task, bands: Sequence[Stroke], strokes: Sequence[Stroke]) -> list[Stroke]:
    """Return the strokes without those that mostly run along a band: it stands in for them."""
    if not bands:
        return list(strokes)
    tree = KDTree(np.concatenate([_aimed(task, s) for s in bands]))
    heading = np.concatenate([s.travel for s in bands])
    kept = []
    for stroke in strokes:
        distance, index = tree.query(_aimed(task, stroke)[stroke.on])
        along = np.abs(np.einsum("ij,ij->i", heading[index], stroke.travel[stroke.on])) > ALONG_COS
        if ((distance < NEAR_SPACINGS * task.spacing_m) & along).mean() < ALONG_SHARE:
            kept.append(stroke)
    return kept


def _aimed(task: Task, stroke: Stroke) -> Array:
    return stroke.position_m + task.recipe.standoff_m * stroke.tool_axis


def _regions(surface: Surface, keep: NDArray[np.bool_], area_min_m2: float) -> list[Surface]:
    """Return the connected pieces of the triangles kept that have at least that area."""
    if not keep.any():
        return []
    served = surface.select_triangles(keep)
    label = connected_components(served.adjacency, directed=False)[1][served.triangles[:, 0]]
    areas = np.bincount(label, served.triangle_areas_m2)
    return [served.select_triangles(label == k) for k in np.flatnonzero(areas >= area_min_m2)]


def _lines(task: Task, region: Surface) -> list[Line]:
    """Return the bands of one region, normals leaning outward: the gun stands beyond what it points at."""
    request = MeshLayoutRequest(
        seed=Seed(kind="all_borders"),
        spacing_m=task.fan_m,
        step_m=task.step_m,
        normal_radius_m=0.5 * task.fan_m,
        smooth_shift_m=0.1 * task.fan_m,
        gap_m=2.0 * task.fan_m,
    )
    try:
        rings = border_lines(region, request, INSET_FANS * task.fan_m)
    except CoverageError:
        return []
    lean = LEAN_SHARE * task.gun.tilt_max_rad
    lines = []
    for ring in rings:
        if _n_distinct(ring) < POINTS_LEAST:
            continue
        outward = _outward(ring, region)
        normal = unit(np.cos(lean) * ring.normal + np.sin(lean) * outward)
        distinct = ring.surface_m[: _n_distinct(ring)]
        for first, last in _straights(distinct, closed=ring.closed, reach_m=CORNER_FANS * task.fan_m):
            piece = np.arange(first, last) % _n_distinct(ring)
            lines.append(_run_on(ring.surface_m[piece], normal[piece], task))
    return lines


def _n_distinct(ring: MeshLine) -> int:
    """Return the points of a line, without the last of a ring, which is its first again."""
    return len(ring.surface_m) - 1 if ring.closed else len(ring.surface_m)


def _outward(line: Line, region: Surface) -> Array:
    """Return unit directions (N, 3) along the surface, across the line, to the side where the border is."""
    tangent = unit(np.gradient(line.surface_m, axis=0))
    side = unit(np.cross(tangent, line.normal))
    once = np.sort(region.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, count = np.unique(once, axis=0, return_counts=True)
    border = region.vertices_m[np.unique(edges[count == 1])]
    at = line.surface_m[:: max(len(line.surface_m) // 64, 1)]
    nearest = border[((at[:, None] - border[None]) ** 2).sum(axis=2).argmin(axis=1)]
    sides = np.einsum("ij,ij->i", nearest - at, side[:: max(len(line.surface_m) // 64, 1)])
    # the whole ring lies on one side of its border
    return side if np.sign(sides).sum() >= 0.0 else -side


def _straights(points_m: Array, *, closed: bool, reach_m: float) -> list[tuple[int, int]]:
    """Return [first, last) of the pieces between corners; on a closed line they count on past its end."""
    pitch = float(np.linalg.norm(np.diff(points_m, axis=0), axis=1).mean())
    mode = "wrap" if closed else "nearest"
    ahead = np.roll(points_m, -1, axis=0) - np.roll(points_m, 1, axis=0)
    if not closed:
        ahead[[0, -1]] = points_m[[1, -1]] - points_m[[0, -2]]
    tangent = unit(gaussian_filter1d(unit(ahead), max(0.3 * reach_m / pitch, 1.0), axis=0, mode=mode))
    turn = np.linalg.norm(np.roll(tangent, -1, axis=0) - tangent, axis=1)
    turn[-1] *= closed
    sharp = turn / pitch > 1.0 / reach_m
    if not sharp.any():
        return [(0, len(points_m))]
    # a ring is rounded around its corners: what is near one is no good heading
    near = maximum_filter1d(sharp, 2 * max(int(TRIM * reach_m / pitch), 1) + 1, mode=mode)
    start = int(np.argmax(near)) if closed else 0
    edges = np.flatnonzero(np.diff(np.r_[True, np.roll(near, -start), True].astype(int)))
    pieces = zip((start + edges[::2]).tolist(), (start + edges[1::2]).tolist(), strict=True)
    return [(a, b) for a, b in pieces if b - a >= POINTS_LEAST]


def _run_on(points_m: Array, normal: Array, task: Task) -> Line:
    """Return the line run on straight past both ends, to the border it meets there and over it, gun off at the last."""
    to_border_m = (INSET_FANS + TRIM * CORNER_FANS) * task.fan_m
    on_m = to_border_m + min(task.recipe.overtravel_m, task.depth_m)
    beyond_m = to_border_m + task.recipe.overtravel_m
    step = float(np.linalg.norm(np.diff(points_m, axis=0), axis=1).mean())
    away = np.arange(1, int(np.ceil(beyond_m / step)) + 1) * step
    # the heading of a short stretch, not of the last step
    k = min(max(int(0.4 * task.fan_m / step), 1), len(points_m) - 1)
    head, tail = unit(points_m[0] - points_m[k]), unit(points_m[-1] - points_m[-1 - k])
    before, after = points_m[0] + away[::-1, None] * head, points_m[-1] + away[:, None] * tail
    on = np.r_[away[::-1] <= on_m, np.ones(len(points_m), bool), away <= on_m]
    ends = np.ones((len(away), 1))
    return Line(
        surface_m=np.concatenate([before, points_m, after]),
        normal=np.concatenate([ends * normal[0], normal, ends * normal[-1]]),
        on=on,
    )
