"""Which values of a field become strokes: evenly spaced, set in from the borders, nothing left between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from cell_core.strokes.isolines import IsoCurve, iso_curves
from cell_core.strokes.working_patch import WorkingPatch
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

SIDE = 0.3
"""How much a normal that differs by 1 counts as distance, in spacings."""
BARE_LEAST = 0.25
"""Bare places smaller than a square of this side, in spacings, are left."""
TRIM_SHARE = 5e-4
"""Area at each end of a field's range that sets no level: spikes of a ragged border."""


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """Levels of a field that grows by 1 per spacing."""

    inset: float = 0.5
    """Farthest that the outermost levels lie inside the field's range, in spacings."""
    stretch: float = 0.02
    """Share by which the spacing may differ from the asked one to fit the range."""
    run: float = 0.0
    """How far strokes serve past their ends, in spacings."""
    reach: float = 0.55
    """What a stroke serves to each side, in spacings: no place is to lie farther from one."""


def even_levels(field: Array, areas_m2: Array, rule: LevelRule) -> Array:
    """Return levels (L,) with the first and last at most `inset` inside the range of the field."""
    low, high = field_range(field, areas_m2)
    low, high = low + rule.inset, high - rule.inset
    if high <= low:
        return np.array([0.5 * (low + high)])
    n = max(int(np.ceil((high - low) / (1.0 + rule.stretch) - 1e-6)), 1)
    step = min(max((high - low) / n, 1.0 - rule.stretch), 1.0 + rule.stretch)
    return 0.5 * (low + high) + step * (np.arange(n + 1, dtype=float) - 0.5 * n)


def field_range(field: Array, areas_m2: Array) -> tuple[float, float]:
    """Return the least and greatest value but for a sliver of the area."""
    order = np.argsort(field)
    share = np.cumsum(areas_m2[order]) / areas_m2.sum()
    low, high = np.searchsorted(share, [TRIM_SHARE, 1.0 - TRIM_SHARE])
    return float(field[order[low]]), float(field[order[min(high, len(order) - 1)]])


def level_curves(patch: WorkingPatch, field: Array, levels: Array, rule: LevelRule) -> list[tuple[float, IsoCurve]]:
    """Return the curves at the levels, and between them where a part of the patch lies beyond reach of all.

    Such a part is a tip of the border or a pole: the field has its highest or lowest value there, short of the next
    level. Or the next level runs out beside it, at a step of the border. It gets a curve of its own, whose number ends
    in .5.
    """
    curves = [(float(curve.level), curve) for curve in iso_curves(patch.mesh, field, levels)]
    curves += _tip_curves(patch, field, levels, rule)
    return curves + _filling_curves(patch, field, levels, rule, curves)


def _tip_curves(patch: WorkingPatch, field: Array, levels: Array, rule: LevelRule) -> list[tuple[float, IsoCurve]]:
    band = np.searchsorted(levels, field, "right")
    low, high = patch.mesh.edges.T
    same = band[low] == band[high]
    ones = np.ones(int(same.sum()), np.int8)
    graph = scipy.sparse.coo_matrix((ones, (low[same], high[same])), shape=(len(field),) * 2)
    n, part = connected_components(graph, directed=False)
    below, above = (np.zeros(n, bool) for _ in range(2))
    for a, b in ((low, high), (high, low)):
        below[part[a[band[b] < band[a]]]] = True
        above[part[a[band[b] > band[a]]]] = True
    used = patch.real_vertices
    least, most = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(least, part[used], field[used])
    np.maximum.at(most, part[used], field[used])
    at = np.full(n, np.nan)
    ends = np.r_[-np.inf, levels, np.inf]
    of_part = np.zeros(n, np.int64)
    of_part[part] = band
    floor, roof = ends[of_part], ends[of_part + 1]
    peak = below & ~above & (most - floor > rule.reach)
    pit = above & ~below & (roof - least > rule.reach)
    lone = ~above & ~below & (most > least)
    at[peak] = (most - np.minimum(0.5, 0.5 * (most - floor)))[peak]
    at[pit] = (least + np.minimum(0.5, 0.5 * (roof - least)))[pit]
    at[lone] = (0.5 * (most + least))[lone]
    return _curves_in_parts(patch, field, part, at, of_part.astype(float) - 0.5)


def _filling_curves(
    patch: WorkingPatch,
    field: Array,
    levels: Array,
    rule: LevelRule,
    curves: Sequence[tuple[float, IsoCurve]],
) -> list[tuple[float, IsoCurve]]:
    """Return curves through what is still farther than `reach` from any, where they are no nearer one than half."""
    mesh = patch.mesh
    if not curves:
        return []
    local = _local_spacing(patch, field)
    spacing = float(np.median(local))
    # the far side of a thin part is near in space, but faces away
    lift = SIDE * spacing
    points = np.concatenate([curve.points_m for _, curve in curves])
    facing = np.concatenate([curve.interpolated(mesh.vertex_normals) for _, curve in curves])
    if rule.run > 0.0:
        ends, ahead = (np.concatenate(x) for x in zip(*(_ends(curve.points_m) for _, curve in curves), strict=True))
        owner = KDTree(points).query(ends)[1]
        for part in (0.5, 1.0):
            points = np.vstack([points, ends + part * rule.run * spacing * ahead])
            facing = np.vstack([facing, facing[owner]])
    tree = KDTree(np.hstack([points, lift * facing]))
    distance = tree.query(np.hstack([mesh.vertices_m, lift * mesh.vertex_normals]))[0] / local
    wide = distance > 0.5 + rule.stretch
    low, high = mesh.edges.T
    linked = wide[low] & wide[high]
    ones = np.ones(int(linked.sum()), np.int8)
    graph = scipy.sparse.coo_matrix((ones, (low[linked], high[linked])), shape=(len(field),) * 2)
    n, part = connected_components(graph, directed=False)
    weight = np.where(patch.real_vertices & (distance > rule.reach), patch.real_areas_m2, 0.0)
    bare = np.bincount(part, weight, n)
    mean = np.bincount(part, weight * field, n) / np.maximum(bare, 1e-300)
    at = np.where(bare > (BARE_LEAST * spacing) ** 2, mean, np.nan)
    at[part[~wide]] = np.nan
    return _curves_in_parts(patch, field, part, at, np.searchsorted(levels, mean).astype(float) - 0.5)


def _local_spacing(patch: WorkingPatch, field: Array) -> Array:
    """Return over what length the field grows by 1 around each vertex (V,) [m]; near ridges, where it stalls, usual."""
    mesh = patch.mesh
    slope = np.linalg.norm((patch.fields.gradient @ field).reshape(-1, 3), axis=1)
    shares = mesh.triangle_areas_m2 * slope / 3.0
    total = np.bincount(mesh.triangles.ravel(), np.repeat(shares, 3), len(field))
    at_vertex = total / np.maximum(mesh.vertex_areas_m2, 1e-300)
    # where patches hang together by slivers the field stands still on parts of them
    usual = float(np.median(at_vertex[at_vertex > 0.0]))
    return 1.0 / np.where(at_vertex > 0.3 * usual, at_vertex, usual)


def _ends(points: Array) -> tuple[Array, Array]:
    """Return both ends of a curve and the headings out of them; a closed curve's only lead round it."""
    back = min(3, len(points) - 1)
    return points[[0, -1]], unit(np.stack([points[0] - points[back], points[-1] - points[-1 - back]]))


def _curves_in_parts(
    patch: WorkingPatch, field: Array, part: NDArray[np.int32], at: Array, number: Array
) -> list[tuple[float, IsoCurve]]:
    chosen = np.isfinite(at[part])
    touched = chosen[patch.mesh.triangles].any(axis=1)
    if not touched.any():
        return []
    corners = patch.mesh.triangles[touched]
    # vertices outside a chosen part are beyond the level it is bounded by: any chosen neighbour's level tells the side
    level = np.where(chosen, at[part], -np.inf)
    corner_level = np.max(level[corners], axis=1)
    for k in range(3):
        outside = ~chosen[corners[:, k]]
        level[corners[outside, k]] = corner_level[outside]
    sub = Surface(vertices_m=patch.mesh.vertices_m, triangles=corners)
    kept = []
    for curve in iso_curves(sub, np.where(np.isfinite(level), field - level, 0.0), np.zeros(1)):
        met = curve.corners[chosen[curve.corners]]
        if len(met):
            level_number = float(number[part[met[0]]])
            kept.append((level_number, replace(curve, triangles=np.flatnonzero(touched)[curve.triangles])))
    return kept
