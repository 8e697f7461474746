"""Strokes over one patch of any triangle mesh: a field, its curves at equal spacing, lines on the surface in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from cell_core.errors import CoverageError, InputRefusedError
from cell_core.strokes.isolines import Index, IsoCurve, iso_curves
from cell_core.strokes.levels import LevelRule, even_levels, field_range, level_curves
from cell_core.strokes.mesh_fields import turns_about
from cell_core.strokes.mesh_lines import LineRule, MeshLine, lines_from_curves, run_on
from cell_core.strokes.working_patch import WorkingPatch, working_patch
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array, unit

SeedKind = Literal["planar", "point", "curve", "border", "all_borders", "between_borders", "given"]
STEEP = 0.1
"""A heading with less than this share across the normal tells nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seed:
    """What a field starts from; equal spacing then shapes it."""

    kind: SeedKind
    """planar: parallel planes across `direction`; point, curve, border, all_borders: distance from it;
    between_borders: harmonic from one border to another; given: a field the patch carries."""
    direction: Array | None = None
    """(3,) planar: across the strokes."""
    points_m: Array | None = None
    """(K, 3) point (K = 1) or curve, on the surface or near it [m]."""
    borders: tuple[int, ...] = ()
    """Loops of the patch, 0 the longest; one for border, two for between_borders."""
    name: str = ""
    """given: name of the patch's field."""

    def __str__(self) -> str:
        if self.direction is not None:
            return f"{self.kind} ({', '.join(f'{x:.2f}' for x in self.direction)})"
        return " ".join([self.kind, *map(str, self.borders), self.name]).strip()


@dataclass(frozen=True, kw_only=True, eq=False)
class MeshLayoutRequest:
    """How to lay strokes over one patch of a mesh."""

    seed: Seed
    spacing_m: float
    """Distance between neighbouring strokes along the surface [m]."""
    spacing_field: str | None = None
    """Field of the patch with the spacing at each vertex [m]; `spacing_m` then only sets the mesh and what scales
    with it."""
    equal: bool = True
    """True: equal distance everywhere, curves bend for it; False: curves of the seed's field, equal on average."""
    inset_m: float | None = None
    """Farthest that the outermost strokes lie inside the border [m]; None: half a spacing."""
    stretch: float = 0.02
    """Share by which the spacing may differ to fit the patch; 0 keeps it."""
    reach_m: float | None = None
    """What a stroke serves to each side [m]; tips and poles farther away get their own; None: 0.55 spacings."""
    link: Literal["raster", "one_way", "spiral"] = "raster"
    """raster: there and back; one_way: all in one direction; spiral: one winding stroke where curves are rings."""
    step_m: float
    """Longest distance between samples [m]."""
    chord_m: float = 1e-4
    """Farthest that a straight piece between samples may leave the surface [m]."""
    smooth_shift_m: float | None = None
    """Smoothing moves no point farther than this [m]; None: 2 % of the spacing."""
    normal_radius_m: float | None = None
    """Normals are means over about this radius [m]; None: half a spacing."""
    gap_m: float | None = None
    """Holes up to this across are crossed, larger ones cut strokes [m]; None: 1.5 spacings."""
    bridge_on: bool = False
    """Whether the process stays on over a hole that is crossed."""
    min_length_m: float = 0.0
    """Shorter strokes are left out [m]."""
    ring_min_m: float | None = None
    """Rings less than this across are left out [m]; what they would have served counts as a tip; None: spacing / 3."""
    overtravel_m: float = 0.0
    """How far open strokes run on past the border, straight [m]; negative: they stop before it."""
    on_margin_m: float = 0.0
    """How much of the overtravel has the process on [m]."""
    overlap_m: float = 0.0
    """How far a ring runs on past its start [m]."""
    lead_m: float = 0.0
    """Straight run with the process off before and after a ring [m]."""
    standoff_m: float = 0.0
    """Distance of the tool centre point from the surface, back along the tool axis [m]."""
    kind: Literal["area", "edge", "bead", "border"] = "area"
    speed_m_per_s: float = 0.1
    """Speed the strokes start with, before optimisation [m/s]."""
    process_value: float = 0.0
    """Force [N] or flow [m3/s]."""
    freedom: Freedom = field(default_factory=Freedom)

    def __post_init__(self) -> None:
        for name in ("spacing_m", "step_m", "chord_m", "speed_m_per_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise InputRefusedError(f"layout: {name} is {value}, must be > 0")
        if not 0.0 <= self.stretch <= 0.2:
            raise InputRefusedError(f"layout: stretch is {self.stretch}, must be within 0..0.2")
        if self.inset_m is not None and self.inset_m < 0.0:
            raise InputRefusedError(f"layout: inset_m is {self.inset_m}, must be >= 0 m: a mesh ends at its border")

    @property
    def hole_m(self) -> float:
        """Largest hole that strokes cross [m]."""
        return 1.5 * self.spacing_m if self.gap_m is None else self.gap_m

    @property
    def levels(self) -> LevelRule:
        """Return how levels are chosen, in spacings."""
        s = self.spacing_m
        return LevelRule(
            inset=0.5 if self.inset_m is None else self.inset_m / s,
            stretch=self.stretch,
            run=max(min(self.on_margin_m, self.overtravel_m), 0.0) / s,
            reach=0.55 if self.reach_m is None else self.reach_m / s,
        )

    @property
    def lines(self) -> LineRule:
        """Return how curves become lines."""
        return LineRule(
            step_m=self.step_m,
            chord_m=self.chord_m,
            smooth_m=0.25 * self.spacing_m,
            shift_max_m=0.02 * self.spacing_m if self.smooth_shift_m is None else self.smooth_shift_m,
            gap_m=self.hole_m,
            bridge_on=self.bridge_on,
            min_length_m=self.min_length_m,
            overtravel_m=self.overtravel_m,
            on_margin_m=self.on_margin_m,
            overlap_m=self.overlap_m,
            lead_m=self.lead_m,
        )


def lay_on_mesh(
    patch: Surface, request: MeshLayoutRequest, prepared: WorkingPatch | None = None
) -> list[MeshLine]:
    """Return the patch's lines in the order they are run.

    Args:
        prepared: from `prepare`, when several layouts of one patch share it.

    Raises:
        CoverageError: no line is left.
        InputRefusedError: the seed or spacing field does not fit the patch.
    """
    work = prepared or prepare(patch, request)
    curves = _spiral(work, request) if request.link == "spiral" else _rings_and_rows(work, request)
    normals = work.smooth_normals(_or(request.normal_radius_m, 0.5 * request.spacing_m))
    lines = lines_from_curves(work, curves, normals, request.lines)
    if not lines:
        raise CoverageError(
            f"layout: no stroke of at least {request.min_length_m:.3f} m fits a patch of {patch.area_m2:.5f} m2",
            area_m2=patch.area_m2,
        )
    return [run_on(line, request.lines) for line in in_order(lines, both_ways=request.link != "one_way")]


def prepare(patch: Surface, request: MeshLayoutRequest) -> WorkingPatch:
    """Return the working mesh that layouts of about this spacing share."""
    return working_patch(patch, request.spacing_m, hole_m=request.hole_m)


def strokes_on_mesh(lines: Sequence[MeshLine], request: MeshLayoutRequest) -> list[Stroke]:
    """Return strokes with the tool `standoff_m` above the lines, along their normals, at the lines' own samples."""
    strokes = []
    for line in lines:
        position = line.surface_m + request.standoff_m * line.normal
        n = len(position)
        strokes.append(
            Stroke(
                kind=request.kind,
                position_m=position,
                tool_axis=-line.normal,
                travel=_travel(position, line.normal),
                speed_m_per_s=np.full(n, request.speed_m_per_s),
                process_value=np.full(n, request.process_value),
                on=line.on,
                freedom=request.freedom,
            )
        )
    return strokes


def _travel(position: Array, normal: Array) -> Array:
    """Return the heading (N, 3) across the normal; where a line drops along it, over an edge, that of the nearest."""
    tangent = unit(np.gradient(position, axis=0))
    across = tangent - np.einsum("ij,ij->i", tangent, normal)[:, None] * normal
    clear = np.flatnonzero(np.linalg.norm(across, axis=1) > STEEP)
    if len(clear):
        middle = 0.5 * (clear[1:] + clear[:-1])
        across = across[clear[np.searchsorted(middle, np.arange(len(across)))]]
    else:
        across = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
    return unit(across - np.einsum("ij,ij->i", across, normal)[:, None] * normal)


def seed_field(work: WorkingPatch, seed: Seed) -> Array:
    """Return the seed's field (V,) on the working mesh."""
    fields = work.fields
    if seed.kind == "planar":
        if seed.direction is None:
            raise InputRefusedError("layout: a planar seed needs a direction")
        return fields.planar(np.asarray(seed.direction, float))
    if seed.kind == "given":
        if seed.name not in work.mesh.fields:
            raise InputRefusedError(f"layout: the patch has no field {seed.name!r}; known: {sorted(work.mesh.fields)}")
        return np.asarray(work.mesh.fields[seed.name])
    if seed.kind in ("point", "curve"):
        return fields.distance(*_near(work, seed))
    if seed.kind == "all_borders" and work.loops:
        return fields.distance(np.unique(np.concatenate(work.loops)))
    wanted = 2 if seed.kind == "between_borders" else 1
    if len(seed.borders) != wanted or max(seed.borders, default=0) >= len(work.loops):
        raise InputRefusedError(
            f"layout: {seed.kind} of borders {seed.borders}: {wanted} needed, the patch has {len(work.loops)}"
        )
    loops = [work.loops[k] for k in seed.borders]
    return fields.harmonic(*loops) if seed.kind == "between_borders" else fields.distance(loops[0])


def in_order(lines: Sequence[MeshLine], *, both_ways: bool) -> list[MeshLine]:
    """Return the lines level by level, each time the nearest next one, turned where that is nearer and allowed.

    A ring starts at its point nearest to where the last line ended.
    """
    ordered: list[MeshLine] = []
    at = None
    for level in sorted({line.level for line in lines}):
        left = [line for line in lines if line.level == level]
        while left:
            choices = [_turned(line, at, both_ways) for line in left]
            start = [0.0 if at is None else float(np.linalg.norm(c.surface_m[0] - at)) for c in choices]
            best = int(np.argmin(start))
            ordered.append(choices[best])
            at = choices[best].surface_m[-1]
            del left[best]
    return ordered


def _turned(line: MeshLine, at: Array | None, both_ways: bool) -> MeshLine:
    if at is None:
        return line
    gap = np.linalg.norm(line.surface_m - at, axis=1)
    if line.closed:
        start = int(np.argmin(gap[:-1]))
        order = np.r_[np.arange(start, len(gap) - 1), np.arange(start + 1)]
    elif both_ways and gap[-1] < gap[0]:
        order = np.arange(len(gap))[::-1]
    else:
        return line
    return replace(
        line, surface_m=line.surface_m[order], normal=line.normal[order], on=line.on[order], served=line.served[order]
    )


def _spacing(work: WorkingPatch, request: MeshLayoutRequest) -> Array | float:
    if request.spacing_field is None:
        return request.spacing_m
    if request.spacing_field not in work.mesh.fields:
        raise InputRefusedError(
            f"layout: the patch has no field {request.spacing_field!r}; known: {sorted(work.mesh.fields)}"
        )
    spacing = np.asarray(work.mesh.fields[request.spacing_field])
    if spacing.min() <= 0.0:
        raise InputRefusedError(f"layout: {request.spacing_field} is {spacing.min():.4g} m somewhere, must be > 0 m")
    return spacing


def _in_spacings(work: WorkingPatch, request: MeshLayoutRequest) -> Array:
    """Return the field that grows by 1 over each spacing."""
    raw, spacing = seed_field(work, request.seed), _spacing(work, request)
    if request.equal:
        return work.fields.equally_spaced(raw, spacing, _zero(work, request.seed))
    slope = np.linalg.norm((work.fields.gradient @ raw).reshape(-1, 3), axis=1)
    wanted = 1.0 / np.broadcast_to(spacing, len(raw))[work.mesh.triangles].mean(axis=1)
    areas = work.mesh.triangle_areas_m2
    return raw * float(areas @ wanted) / float(areas @ slope)


def _zero(work: WorkingPatch, seed: Seed) -> Index | None:
    """Return the vertices where the field stays 0: strokes that start from a border keep to it."""
    if seed.kind == "all_borders":
        return np.unique(np.concatenate(work.loops))
    return work.loops[seed.borders[0]] if seed.kind == "border" else None


def _rings_and_rows(work: WorkingPatch, request: MeshLayoutRequest) -> list[tuple[float, IsoCurve]]:
    value = _in_spacings(work, request)
    areas = work.real_areas_m2
    levels = even_levels(value, areas, request.levels)
    curves = level_curves(work, value, levels, request.levels)
    ring_min = _or(request.ring_min_m, request.spacing_m / 3.0)
    return [(k, c) for k, c in curves if not c.closed or np.linalg.norm(np.ptp(c.points_m, axis=0)) > ring_min]


def _spiral(work: WorkingPatch, request: MeshLayoutRequest) -> list[tuple[float, IsoCurve]]:
    value = _in_spacings(work, request)
    origin, axis = _axis(work, request.seed)
    turns, windings = turns_about(work.mesh, origin, axis)
    corners = (value + turns)[work.mesh.triangles] + windings
    gradient = np.einsum(
        "tki,tk->ti", np.asarray(work.fields.gradient.data).reshape(-1, 3, 3).transpose(0, 2, 1), corners
    )
    wound = value + turns + work.fields.equal_spacing(gradient, _spacing(work, request))
    low, high = field_range(wound - turns, work.real_areas_m2)
    whole = np.arange(np.floor(low) - 2.0, np.ceil(high) + 3.0)
    return [(0.0, c) for c in iso_curves(work.mesh, wound, whole, windings)]


def _axis(work: WorkingPatch, seed: Seed) -> tuple[Array, Array]:
    mesh = work.mesh
    if seed.kind == "planar" and seed.direction is not None:
        return np.average(mesh.vertices_m, axis=0, weights=mesh.vertex_areas_m2), np.asarray(seed.direction, float)
    if seed.kind == "point" and seed.points_m is not None:
        point, triangle = work.caster.closest(np.asarray(seed.points_m, float)[:1])
        return point[0], work.real.triangle_normals[triangle[0]]
    if not work.loops:
        raise InputRefusedError(f"layout: a spiral from {seed.kind} needs a border, the patch has none")
    loop = mesh.vertices_m[work.loops[seed.borders[0] if seed.borders else 0]]
    centre = loop.mean(axis=0)
    return centre, np.cross(loop - centre, np.roll(loop, -1, axis=0) - centre).sum(axis=0)


def _near(work: WorkingPatch, seed: Seed) -> tuple[Index, Array]:
    """Return vertices and weights that stand for the seed's points, filled in along a curve."""
    if seed.points_m is None or len(seed.points_m) == 0:
        raise InputRefusedError(f"layout: a {seed.kind} seed needs points")
    points = np.asarray(seed.points_m, float).reshape(-1, 3)
    if seed.kind == "curve" and len(points) > 1:
        along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        at = np.linspace(0.0, along[-1], int(np.ceil(along[-1] / (0.3 * work.fields.mean_edge_m))) + 2)
        points = np.stack([np.interp(at, along, points[:, k]) for k in range(3)], axis=1)
    return work.nearest(points)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
