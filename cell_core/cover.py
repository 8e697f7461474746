"""Pass over all of a part that a round tool can reach, as evenly as strokes can: patches, layouts, gaps, overlaps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.access import RoundTool, reached, seats, touches
from cell_core.errors import CoverageError, InputRefusedError
from cell_core.isolines import iso_curves
from cell_core.mesh_choice import LayoutFigures, candidates, choose_layout
from cell_core.mesh_layout import MeshLayoutRequest, Seed, prepare, strokes_on_mesh
from cell_core.mesh_lines import MeshLine
from cell_core.mesh_patches import MeshPatch, split_mesh
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.remesh import process_mesh
from cell_core.sampling import SurfaceSamples, sample_surface
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from cell_core.working_patch import WorkingPatch

SPACING_RADII = 1.86
"""Strokes this far apart leave no gap on what is flat, and little overlap."""
EDGES_PER_RADIUS = 3.0
SAMPLES_PER_RADIUS = 7.0
CHORD_M = 1e-4
SETTLE_ROUNDS = 7
GAP_ROUNDS_MAX = 12
GAP_AREA_FRACTION = 2e-4
"""Gaps are closed until this share of the serviceable area is left."""
GAP_REACH_RADII = 6.0
"""Gaps are closed by lines no longer than twice this."""
USELESS = 0.02
"""Lines that alone touch less than this share of what they sweep are left out, as far as gaps allow."""
UNCOVERED_PRICE = 20.0
STROKE_PRICE = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A part as a round tool finds it."""

    tool: RoundTool
    part: Surface
    mesh: Surface
    """The part in triangles much smaller than the tool."""
    caster: RayCaster
    seat: NDArray[np.bool_]
    """(T,) triangles of `mesh` the tool can stand on."""
    outward: Array
    """(T, 3) unit, from the contact along the tool."""
    samples: SurfaceSamples
    """The serviceable points of the part: those that a tool on some seat touches."""
    area_m2: float
    """Area of the whole part as sampled."""

    @property
    def serviceable_area_m2(self) -> float:
        """Area the tool can touch [m2]."""
        return float(self.samples.areas_m2.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Cover:
    """Lines over a part and what they pass over."""

    ground: Ground
    lines: tuple[MeshLine, ...]
    patch_of_line: NDArray[np.int64]
    """(L,) patch each line belongs to; -1: closes a gap."""
    patches: tuple[MeshPatch, ...]
    spacing_m: float
    """Asked for between neighbouring lines of a patch [m]."""
    passes: NDArray[np.int64]
    """(P,) lines that touch each of the ground's samples."""
    table: tuple[dict[str, Any], ...]
    """Every layout tried, a row each."""

    @property
    def strokes(self) -> list[Stroke]:
        """The lines as strokes of the contact point, at the speed and process value of a layout nobody optimised."""
        return strokes_on_mesh(self.lines, _request(self.ground, self.spacing_m, seed=Seed(kind="all_borders")))

    @property
    def length_m(self) -> float:
        """Length of all lines [m]."""
        return sum(_length(line) for line in self.lines)

    @property
    def unreached(self) -> dict[str, Any]:
        """Shares of the part's area that no line touches, by reason."""
        closed = max(1.0 - self.ground.serviceable_area_m2 / self.ground.area_m2, 0.0)
        missed = (1.0 - closed) * (1.0 - self.covered_area_fraction)
        reasons = {"no room for the tool": closed, "left between strokes": missed}
        return {"area_fraction": closed + missed, "reasons": {k: v for k, v in reasons.items() if v > 0.0}}

    @property
    def figures(self) -> dict[str, Any]:
        """Figures for reports."""
        return {
            "surface_area_m2": self.ground.area_m2,
            "serviceable_area_m2": self.ground.serviceable_area_m2,
            "coverage_area_fraction": self.covered_area_fraction,
            "mean_visits": self.mean_visits,
            "n_patches": len(self.patches),
            "n_strokes": len(self.lines),
            "length_m": self.length_m,
            "spacing_m": self.spacing_m,
        }

    @property
    def covered_area_fraction(self) -> float:
        """Share of the serviceable area touched by some line."""
        areas = self.ground.samples.areas_m2
        return float(areas[self.passes > 0].sum() / areas.sum())

    @property
    def mean_visits(self) -> float:
        """Lines that touch a serviceable point, on average over the area."""
        return float(np.average(self.passes, weights=self.ground.samples.areas_m2))


def find_ground(part: Surface, tool: RoundTool) -> Ground:
    """Return where the tool can stand on a part and what it can reach from there.

    Raises:
        CoverageError: the tool can stand nowhere.
    """
    caster = RayCaster(part)
    mesh = process_mesh(part, tool.radius_m / EDGES_PER_RADIUS)
    seat, outward = seats(mesh, caster, tool)
    if not seat.any():
        raise CoverageError(
            f"a round tool of {1e3 * tool.radius_m:.3g} mm radius can stand nowhere on {part.area_m2:.5f} m2",
            area_m2=part.area_m2,
        )
    samples = sample_surface(part, tool.radius_m / SAMPLES_PER_RADIUS)
    served = reached(samples.points_m, samples.normals, mesh.centroids_m[seat], outward[seat], tool)
    return Ground(
        tool=tool, part=part, mesh=mesh, caster=caster, seat=seat, outward=outward, samples=samples.select(served),
        area_m2=float(samples.areas_m2.sum()),
    )


def cover_part(
    part: Surface, tool: RoundTool, *, spacing_m: float | None = None, progress: Progress = no_progress
) -> Cover:
    """Return lines that pass over all a round tool can reach, few of it twice.

    Each patch gets the best of several layouts; what they miss gets lines of its own; then ends and whole lines that
    only repeat what others do are taken away.

    Args:
        spacing_m: between neighbouring lines along the surface; None: 1.86 radii.

    Raises:
        CoverageError: the tool can stand nowhere, or no line fits.
    """
    spacing_m = spacing_m or SPACING_RADII * tool.radius_m
    progress(0.0, "where the tool can stand")
    ground = find_ground(part, tool)
    patches = split_mesh(
        ground.mesh, ground.seat, scale_m=0.5 * tool.radius_m, area_min_m2=0.3 * tool.radius_m**2
    )
    lines: list[MeshLine] = []
    owner: list[int] = []
    table: list[dict[str, Any]] = []
    for k, patch in enumerate(patches):
        progress(0.1 + 0.7 * k / len(patches), f"layouts for patch {k + 1} of {len(patches)}")
        best, rows = _best_layout(ground, patch, spacing_m)
        table += [{"patch": k, **row} for row in rows]
        lines += best
        owner += [k] * len(best)
    progress(0.8, "closing gaps")
    extra = _close_gaps(ground, lines)
    lines, owner = [_settled(ground, line) for line in [*lines, *extra]], [*owner, *[-1] * len(extra)]
    progress(0.95, "taking away what only repeats")
    lines, kept = _trimmed(ground, lines)
    if not lines:
        raise CoverageError(f"no line fits the {ground.serviceable_area_m2:.5f} m2 that the tool can reach")
    return Cover(
        ground=ground, lines=tuple(lines), patch_of_line=np.array(owner)[kept], patches=tuple(patches),
        spacing_m=spacing_m, passes=_passes(ground, lines), table=tuple(table),
    )


def _request(ground: Ground, spacing_m: float, **changes: Any) -> MeshLayoutRequest:
    r = ground.tool.radius_m
    base = {
        "spacing_m": spacing_m, "reach_m": 0.97 * r, "step_m": 0.25 * r, "normal_radius_m": 0.6 * r,
        "smooth_shift_m": 0.01 * r, "gap_m": 0.0, "ring_min_m": 0.3 * r,
    }
    return MeshLayoutRequest(**{**base, **changes})


def _best_layout(
    ground: Ground, patch: MeshPatch, spacing_m: float
) -> tuple[list[MeshLine], list[dict[str, Any]]]:
    """Return the layout that covers most with least repetition and fewest lines, and a row for each one tried."""
    core = patch.triangles[patch.core]
    mesh = ground.mesh
    served = reached(
        ground.samples.points_m, ground.samples.normals, mesh.centroids_m[core], ground.outward[core], ground.tool
    )
    samples = ground.samples.select(served)
    if len(samples) == 0:
        return [], []
    rows: list[dict[str, Any]] = []

    def score(
        work: WorkingPatch, lines: Sequence[MeshLine], request: MeshLayoutRequest, figures: LayoutFigures
    ) -> float:
        row = _scored(samples, lines, ground.tool, figures)
        rows.append({"seed": str(request.seed), "inset_m": request.inset_m, **row})
        return row["score"]

    base = _request(ground, spacing_m, seed=Seed(kind="all_borders"), inset_m=0.5 * spacing_m)
    try:
        work = prepare(patch.surface, base)
        requests = [r for r in candidates(work, base) if r.link == "raster"]
        best, _ = choose_layout(patch.surface, requests, score, radius_m=ground.tool.radius_m, prepared=work)
        # lines along walls must run close to them, along free borders need not: the best is tried with both
        closer = replace(best.request, inset_m=0.1 * spacing_m)
        other, _ = choose_layout(patch.surface, [closer], score, radius_m=ground.tool.radius_m, prepared=work)
    except InputRefusedError:  # too small to mesh or to hold a stroke: what closes gaps will serve it
        return [], rows
    return list(min(best, other, key=lambda c: c.cost).lines), rows


def _scored(
    samples: SurfaceSamples, lines: Sequence[MeshLine], tool: RoundTool, figures: LayoutFigures
) -> dict[str, Any]:
    passes = _passes_over(samples, lines, tool)
    covered = float(samples.areas_m2[passes > 0].sum() / samples.areas_m2.sum())
    visits = float(np.average(passes, weights=samples.areas_m2)) / max(covered, 1e-9)
    uneven = 1.0 - figures.spacing_within
    return {
        "n_strokes": len(lines),
        "covered": covered,
        "mean_visits": visits,
        "spacing_within": figures.spacing_within,
        "length_m": figures.length_m,
        "turning_rad": figures.turning_rad,
        "score": UNCOVERED_PRICE * (1.0 - covered) + visits + uneven + STROKE_PRICE * len(lines),
    }


def _length(line: MeshLine) -> float:
    return float(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1).sum())


def _passes_over(samples: SurfaceSamples, lines: Sequence[MeshLine], tool: RoundTool) -> NDArray[np.int64]:
    count = np.zeros(len(samples), np.int64)
    for line in lines:
        count += np.diff(touches(samples, line.surface_m, line.normal, tool).indptr) > 0
    return count


def _passes(ground: Ground, lines: Sequence[MeshLine]) -> NDArray[np.int64]:
    return _passes_over(ground.samples, lines, ground.tool)


def _close_gaps(ground: Ground, lines: Sequence[MeshLine]) -> list[MeshLine]:
    """Return lines for what the others miss: through the middle of each gap's seats, along its longest direction."""
    samples, tool, mesh = ground.samples, ground.tool, ground.mesh
    bare = _passes(ground, lines) == 0
    total, extra = samples.areas_m2.sum(), []
    at = np.flatnonzero(ground.seat)
    for _ in range(GAP_ROUNDS_MAX):
        if samples.areas_m2[bare].sum() <= GAP_AREA_FRACTION * total:
            break
        gaps = samples.select(bare)
        near = at[np.isfinite(gaps.tree.query(mesh.centroids_m[at], distance_upper_bound=2.0 * tool.radius_m)[0])]
        worth = touches(gaps, mesh.centroids_m[near], ground.outward[near], tool).T @ gaps.areas_m2
        new = _lines_over(ground, gaps, near, np.asarray(worth))
        if not new:
            break
        for line in new:
            hit = np.diff(touches(samples, line.surface_m, line.normal, tool).indptr) > 0
            bare &= ~hit
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
    around = np.array(gaps.tree.query_ball_point(centre, GAP_REACH_RADII * tool.radius_m), np.int64)
    around = around[gaps.normals[around] @ normal >= np.cos(tool.incidence_max_rad)]
    flat = gaps.points_m[around] - centre
    flat = flat - (flat @ normal)[:, None] * normal
    along = unit(np.linalg.eigh(flat.T @ flat + 1e-12 * np.eye(3))[1][:, -1])
    across = np.cross(normal, along)
    near = ground.seat & (np.linalg.norm(mesh.centroids_m - centre, axis=1) < GAP_REACH_RADII * tool.radius_m)
    near &= ground.outward @ normal >= np.cos(tool.incidence_max_rad)
    local = mesh.select_triangles(near)
    curves = iso_curves(local, (local.vertices_m - centre) @ across, np.array([0.0]))
    if not curves:
        return None
    curve = min(curves, key=lambda c: float(np.linalg.norm(c.points_m - centre, axis=1).min()))
    points, own = curve.points_m, np.r_[curve.triangles, curve.triangles[-1:]][: len(curve.points_m)]
    index = np.flatnonzero(near)[own]
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


def _settled(ground: Ground, line: MeshLine) -> MeshLine:
    """Return the line with its points on the part itself, as many as keep the chords within CHORD_M of it."""
    points, normal, on, served = line.surface_m, line.normal, line.on, line.served
    points, _ = ground.caster.closest(points)
    for _ in range(SETTLE_ROUNDS):
        middle = 0.5 * (points[1:] + points[:-1])
        down, _ = ground.caster.closest(middle)
        split = np.flatnonzero(np.linalg.norm(down - middle, axis=1) > CHORD_M)
        if len(split) == 0:
            break
        points = np.insert(points, split + 1, down[split], axis=0)
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


def _trimmed(ground: Ground, lines: Sequence[MeshLine]) -> tuple[list[MeshLine], NDArray[np.int64]]:
    """Return the lines without what only repeats others, and which they are: least useful first."""
    samples, tool = ground.samples, ground.tool
    hits = [touches(samples, line.surface_m, line.normal, tool) for line in lines]
    touched = [np.flatnonzero(np.diff(h.indptr)) for h in hits]
    count = np.bincount(np.concatenate(touched), minlength=len(samples)) if touched else np.zeros(len(samples), int)
    own = [float(samples.areas_m2[t[count[t] == 1]].sum()) for t in touched]
    spare = GAP_AREA_FRACTION * float(samples.areas_m2.sum())
    kept: dict[int, MeshLine] = {}
    for k in np.argsort(own, kind="stable"):
        alone = touched[k][count[touched[k]] == 1]
        area = float(samples.areas_m2[alone].sum())
        swept = 2.0 * tool.radius_m * _length(lines[k])
        if area <= spare and area <= USELESS * swept:
            spare -= area
            count[touched[k]] -= 1
            continue
        line = lines[k]
        span = None if line.closed else _needed(hits[k][alone])
        if span is not None:
            line = _piece(line, *span)
            first, last = (span[0] - 1, span[1]) if span[0] == span[1] and span[0] > 0 else span
            last = max(last, first + 1)
            rest = np.flatnonzero(np.diff(hits[k][:, first : last + 1].indptr))
            count[touched[k]] -= 1
            count[rest] += 1
        kept[int(k)] = line
    order = np.array(sorted(kept), np.int64)
    return [kept[k] for k in order], order
