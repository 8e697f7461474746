"""Lines for what layouts miss, and stretches of lines that only repeat what others do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.sampling import SurfaceSamples
from cell_core.strokes.access import RoundTool, touches
from cell_core.strokes.ground import Ground, passes_over
from cell_core.strokes.isolines import iso_curves
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.transforms import Array, unit

CHORD_M = 1e-4
PROBES = (0.25, 0.5, 0.75)
"""Places on a chord where its distance to the part is measured."""
SETTLE_ROUNDS = 7
ROUNDS_MAX = 12
SPARE_FRACTION = 7e-4
"""Gaps are closed until this share of the area is left; lines of little use may open as much again."""
OVERLAP_PRICE = 0.02
"""What a line that closes a gap may pass over again, for each gain."""
REACH_RADII = 6.0
"""Gaps are closed by lines no longer than twice this."""
USELESS = 0.02
"""Lines that alone touch less than this share of what they sweep are left out, as far as SPARE_FRACTION allows."""


def lines_for_gaps(
    ground: Ground, samples: SurfaceSamples, lines: Sequence[MeshLine], seats: NDArray[np.int64]
) -> list[MeshLine]:
    """Return lines for the samples that the given ones miss: over the best seats, along each gap's longest direction.

    Args:
        samples: what is to be touched.
        seats: triangles of the ground's mesh the tool may stand on.
    """
    tool, mesh = ground.tool, ground.mesh
    bare = passes_over(samples, lines, tool) == 0
    total, extra = samples.areas_m2.sum(), []
    for _ in range(ROUNDS_MAX):
        if samples.areas_m2[bare].sum() <= SPARE_FRACTION * total:
            break
        gaps = samples.select(bare)
        distance, _ = gaps.tree.query(mesh.centroids_m[seats], distance_upper_bound=2.0 * tool.radius_m)
        near = seats[np.isfinite(distance)]
        hits = touches(samples, mesh.centroids_m[near], ground.outward[near], tool).T
        worth = hits @ np.where(bare, samples.areas_m2, -OVERLAP_PRICE * samples.areas_m2)
        new = _lines_over(ground, gaps, near, np.asarray(worth))
        if not new:
            break
        for line in new:
            bare &= np.diff(touches(samples, line.surface_m, line.normal, tool).indptr) == 0
        extra += new
    return extra


def _lines_over(ground: Ground, gaps: SurfaceSamples, near: NDArray[np.int64], worth: Array) -> list[MeshLine]:
    """Return one line through each seat that is worth most for 2 radii around."""
    mesh, tool = ground.mesh, ground.tool
    out: list[MeshLine] = []
    order = near[np.argsort(-worth, kind="stable")]
    value = np.sort(-worth, kind="stable") * -1.0
    taken = np.empty((0, 3))
    for triangle, w in zip(order, value, strict=True):
        if w <= 0.0:
            break
        centre = mesh.centroids_m[triangle]
        if len(taken) and np.linalg.norm(taken - centre, axis=1).min() < 4.0 * tool.radius_m:
            continue
        taken = np.vstack([taken, centre])
        line = _line_through(ground, gaps, int(triangle))
        if line is not None:
            out.append(line)
    return out


def _line_through(ground: Ground, gaps: SurfaceSamples, triangle: int) -> MeshLine | None:
    """Return a line over a seat along the gap around it, no longer than the gap."""
    mesh, tool = ground.mesh, ground.tool
    centre, normal = mesh.centroids_m[triangle], ground.outward[triangle]
    around = np.array(gaps.tree.query_ball_point(centre, REACH_RADII * tool.radius_m), np.int64)
    around = around[gaps.normals[around] @ normal >= np.cos(tool.incidence_max_rad)]
    flat = gaps.points_m[around] - centre
    flat = flat - (flat @ normal)[:, None] * normal
    along = unit(np.linalg.eigh(flat.T @ flat + 1e-12 * np.eye(3))[1][:, -1])
    across = np.cross(normal, along)
    near = np.array(sorted(ground.tree.query_ball_point(centre, REACH_RADII * tool.radius_m)), np.int64)
    near = near[ground.seat[near] & (ground.outward[near] @ normal >= np.cos(tool.incidence_max_rad))]
    local = mesh.select_triangles(near)
    curves = iso_curves(local, (local.vertices_m - centre) @ across, np.array([0.0]))
    if not curves:
        return None
    curve = min(curves, key=lambda c: float(np.linalg.norm(c.points_m - centre, axis=1).min()))
    points, own = curve.points_m, np.r_[curve.triangles, curve.triangles[-1:]][: len(curve.points_m)]
    index = near[own]
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    at = np.linspace(0.0, length[-1], max(int(np.ceil(length[-1] / (0.1 * tool.radius_m))), 1) + 1)
    position = np.column_stack([np.interp(at, length, points[:, k]) for k in range(3)])
    outward = unit(np.column_stack([np.interp(at, length, ground.outward[index, k]) for k in range(3)]))
    position, _ = ground.caster.closest(position)
    n = len(position)
    line = MeshLine(
        surface_m=position, normal=outward, on=np.ones(n, bool), level=0.0, closed=False, served=np.ones(n, bool)
    )
    hits = touches(gaps, position, outward, tool).tocsr()
    span = _needed(hits)
    return None if span is None else _piece(line, *span)


def length_of(line: MeshLine) -> float:
    """Return the length of a line [m]."""
    return float(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1).sum())


def settled(ground: Ground, line: MeshLine) -> MeshLine:
    """Return the line with its points on the part itself, as many as keep the chords within CHORD_M of it."""
    points, normal, on, served = line.surface_m, line.normal, line.on, line.served
    points, _ = ground.caster.closest(points)
    for _ in range(SETTLE_ROUNDS):
        probes = [points[:-1] + share * (points[1:] - points[:-1]) for share in PROBES]
        down = [ground.caster.closest(probe)[0] for probe in probes]
        off = np.max([np.linalg.norm(d - probe, axis=1) for d, probe in zip(down, probes, strict=True)], axis=0)
        split = np.flatnonzero(off > CHORD_M)
        if len(split) == 0:
            break
        points = np.insert(points, split + 1, down[len(PROBES) // 2][split], axis=0)
        normal = np.insert(normal, split + 1, unit(normal[split] + normal[split + 1]), axis=0)
        on, served = (np.insert(flag, split + 1, flag[split] & flag[split + 1]) for flag in (on, served))
    apart = np.r_[True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6]
    return replace(line, surface_m=points[apart], normal=normal[apart], on=on[apart], served=served[apart])


def _needed(hits: Any) -> tuple[int, int] | None:
    """Return the first and last sample of the shortest stretch that touches every point some sample touches."""
    rows = np.flatnonzero(np.diff(hits.indptr))
    if len(rows) == 0:
        return None
    # a stretch touches a point when it starts no later than the point's last touch and ends no earlier than its first
    starts = hits.indptr[rows]
    first = np.minimum.reduceat(hits.indices, starts) if len(rows) else np.empty(0)
    last = np.maximum.reduceat(hits.indices, starts)
    low, high = int(last.min()), int(first.max())
    return (low, high) if low <= high else ((low + high) // 2, (low + high) // 2)


def _needed_pieces(line: MeshLine, hits: Any, apart_m: float) -> list[MeshLine]:
    """Return the stretches of a line that touch every point that some sample touches, parted where it is long idle."""
    rows = np.flatnonzero(np.diff(hits.indptr))
    if len(rows) == 0:
        return [line]
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1))]
    starts = hits.indptr[rows]
    first, last = (f.reduceat(hits.indices, starts) for f in (np.minimum, np.maximum))
    middle = 0.5 * (length[first] + length[last])
    order = np.argsort(middle, kind="stable")
    group = np.cumsum(np.r_[0, np.diff(middle[order]) > apart_m])
    spans = [_needed(hits[rows[order[group == g]]]) for g in range(group[-1] + 1)]
    return [_piece(line, *span) for span in spans if span is not None]


def _piece(line: MeshLine, first: int, last: int) -> MeshLine:
    """Return samples first..last, widened to at least two."""
    if last == first:
        first, last = (first - 1, last) if first > 0 else (first, last + 1)
    part = slice(first, last + 1)
    if last - first + 1 == len(line.surface_m):
        return line
    return replace(
        line, surface_m=line.surface_m[part], normal=line.normal[part], on=line.on[part], served=line.served[part],
        closed=False,
    )


def trimmed(
    samples: SurfaceSamples, lines: Sequence[MeshLine], tool: RoundTool
) -> tuple[list[MeshLine], NDArray[np.int64]]:
    """Return the lines without what only repeats others, least useful shortened first, and where each comes from."""
    hits, touched = [], []
    for line in lines:
        whole = touches(samples, line.surface_m, line.normal, tool)
        touched.append(np.flatnonzero(np.diff(whole.indptr)))
        hits.append(whole[touched[-1]])  # rows of the touched alone: a large part has many samples and many lines
    count = np.bincount(np.concatenate(touched), minlength=len(samples)) if touched else np.zeros(len(samples), int)
    own = [float(samples.areas_m2[t[count[t] == 1]].sum()) for t in touched]
    spare = SPARE_FRACTION * float(samples.areas_m2.sum())
    kept: dict[int, list[MeshLine]] = {}
    for k in np.argsort(own, kind="stable"):
        only = count[touched[k]] == 1
        alone = touched[k][only]
        area = float(samples.areas_m2[alone].sum())
        swept = 2.0 * tool.radius_m * length_of(lines[k])
        if area <= spare and area <= USELESS * swept:
            spare -= area
            count[touched[k]] -= 1
            continue
        pieces = [lines[k]] if lines[k].closed else _needed_pieces(lines[k], hits[k][only], 2.0 * tool.radius_m)
        count[touched[k]] -= 1
        for piece in pieces:
            count[np.diff(touches(samples, piece.surface_m, piece.normal, tool).indptr) > 0] += 1
        kept[int(k)] = pieces
    order = np.array(sorted(kept), np.int64)
    return [piece for k in order for piece in kept[k]], np.repeat(order, [len(kept[k]) for k in order])
