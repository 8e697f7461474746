"""The open peers' stroke layout, written as a baseline: parallel plane cuts through a mesh, as noether's plane slicer.

A re-implementation of the method of noether_tpp 0.16 (its plane slicer with the point spacing, segment and hole
settings, raster and snake order, smoothing of orientations, extrapolation, offset), not of its code:
- The cut runs along the second principal axis of the vertices, turned about the third; one plane passes through the
  vertices' mean, others stand at multiples of the line spacing, as far as a box about that mean reaches.
- On each plane the cuts through the triangles are chained; pieces closer than `min_hole_m`, end to start, are joined
  straight across; pieces shorter than `min_segment_m` are dropped; points are laid `point_spacing_m` apart.
- Normals: noether's cut carries the vertices' normals, and its resampling then replaces all but the first by turning it
  along the line, so that the tool no longer follows a surface that tilts across the stroke. `normals` picks either.
It is kinder than the original where the original gives up: it throws on non-manifold cuts and on pieces of fewer than
three points, and joins over a hole only where its sorting happened to put the two pieces in order.
test/benchmarks compares it with noether's own output.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from plane_cuts import cut_at_whole_heights

from cell_core.errors import ConfigurationError
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array, unit

FACING_LEAST = 0.05
"""Samples whose travel is closer to the tool axis than this sine have no fan direction and are left out."""


@dataclass(frozen=True, kw_only=True)
class SlicerSettings:
    """noether's settings with the values its panel opens with."""

    line_spacing_m: float = 0.1
    point_spacing_m: float = 0.025
    min_segment_m: float = 0.1
    min_hole_m: float = 0.1
    rotation_rad: float = 0.0
    """Of the cut direction about the third principal axis."""
    normals: Literal["mesh", "carried"] = "mesh"
    """mesh: of the vertices, along the whole cut; carried: what the original's resampling leaves of them."""
    smoothing_points: int = 1
    """Normals are averaged over so many points, the first and last point's kept."""

    def __post_init__(self) -> None:
        for name in ("line_spacing_m", "point_spacing_m"):
            if not getattr(self, name) > 0.0:
                raise ConfigurationError(f"plane slicer: {name} is {getattr(self, name)} m, must be > 0 m")


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One uninterrupted piece of a plane's cut, resampled."""

    points_m: Array
    """(N, 3) on the surface."""
    normals: Array
    """(N, 3) unit, outward."""
    plane: int
    """Number of the plane, in raster order."""

    @property
    def length_m(self) -> float:
        """Length [m]."""
        return float(np.linalg.norm(np.diff(self.points_m, axis=0), axis=1).sum())

    def reversed(self) -> "Line":
        """Return the line run backwards."""
        return replace(self, points_m=self.points_m[::-1], normals=self.normals[::-1])


def plane_slicer(surface: Surface, line_spacing_m: float, settings: SlicerSettings | None = None) -> list[Line]:
    """Return the lines of a snake-ordered raster; without settings, noether's defaults in its ratio to the spacing."""
    scaled = SlicerSettings(
        line_spacing_m=line_spacing_m,
        point_spacing_m=0.25 * line_spacing_m,
        min_segment_m=line_spacing_m,
        min_hole_m=line_spacing_m,
    )
    return snake(slice_surface(surface, replace(settings, line_spacing_m=line_spacing_m) if settings else scaled))


def slice_surface(surface: Surface, settings: SlicerSettings) -> list[Line]:
    """Return the lines in raster order: by plane, then along the cut direction, all running along it."""
    origin, direction, heights, planes = _cutting(surface, settings)
    cuts = cut_at_whole_heights(surface, heights, planes)
    normals = _face_mean_normals(surface)
    lines = []
    for plane in np.unique(cuts.plane):
        pieces = [_oriented(cuts.polyline(surface, normals, chain), direction) for chain in cuts.chains(plane)]
        pieces.sort(key=lambda piece: float((piece[0][0] - origin) @ direction))
        for points, ns in _join(pieces, settings.min_hole_m):
            if len(points) > 1 and _length(points) >= settings.min_segment_m:
                lines.append(_resampled(points, ns, settings, int(plane)))
    return [line for line in map(_with_normals_only, lines) if len(line.points_m) > 1]


def snake(lines: Sequence[Line]) -> list[Line]:
    """Return lines in raster order with every other plane run backwards."""
    planes = list(dict.fromkeys(line.plane for line in lines))
    rows = [[line for line in lines if line.plane == plane] for plane in planes]
    turned = [[line.reversed() for line in reversed(row)] if i % 2 else row for i, row in enumerate(rows)]
    return [line for row in turned for line in row]


def spray_strokes(
    lines: Sequence[Line], standoff_m: float, overtravel_m: float, speed_m_per_s: float, flow_m3_per_s: float
) -> list[Stroke]:
    """Return one stroke a line: prolonged straight at both ends, at the standoff along its normals, at one speed."""
    strokes = []
    for line in lines:
        travel = unit(np.diff(line.points_m, axis=0, append=2.0 * line.points_m[-1:] - line.points_m[-2:-1]))
        points, normals = line.points_m, line.normals
        if overtravel_m > 0.0:
            ends = points[0] - overtravel_m * travel[0], points[-1] + overtravel_m * travel[-1]
            points, normals, travel = (
                np.concatenate([[ends[0]], points, [ends[1]]]),
                np.concatenate([normals[:1], normals, normals[-1:]]),
                np.concatenate([travel[:1], travel, travel[-1:]]),
            )
        along = travel - np.sum(travel * normals, axis=1, keepdims=True) * normals
        sound = np.linalg.norm(along, axis=1) > FACING_LEAST
        n = int(sound.sum())
        if n < 2:
            continue
        strokes.append(
            Stroke(
                kind="area",
                position_m=(points + standoff_m * normals)[sound],
                tool_axis=-normals[sound],
                travel=unit(along[sound]),
                speed_m_per_s=np.full(n, speed_m_per_s),
                process_value=np.full(n, flow_m3_per_s),
                on=np.ones(n, bool),
                freedom=Freedom(spin="fixed"),
            )
        )
    return strokes


def _cutting(surface: Surface, settings: SlicerSettings) -> tuple[Array, Array, Array, range]:
    """Return origin, cut direction, the vertices' heights (V,) in line spacings, and the planes to cut, at whole ones.

    The box the planes fill stands about the vertices' mean, not about its own middle: as in the original, a lopsided
    mesh loses cuts on its longer side.
    """
    origin = surface.vertices_m.mean(axis=0)
    centred = surface.vertices_m - origin
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T
    axes *= np.where(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1) < 0.0, -1.0, 1.0)
    axes[2] = np.cross(axes[0], axes[1])
    c, s = np.cos(settings.rotation_rad), np.sin(settings.rotation_rad)
    direction = c * axes[1] + s * np.cross(axes[2], axes[1])
    across = unit(np.cross(direction, axes[2]))
    half = 0.5 * float(np.abs(axes @ across) @ np.ptp(centred @ axes.T, axis=0)) / settings.line_spacing_m
    first = -int(np.floor(half))
    return origin, direction, centred @ across / settings.line_spacing_m, range(first, first + int(np.ceil(2.0 * half)))


def _face_mean_normals(surface: Surface) -> Array:
    """Return vertex normals (V, 3): the mean of the triangles' unit normals, areas not counted, as the original's."""
    sums = [
        np.bincount(surface.triangles.ravel(), np.repeat(surface.triangle_normals[:, i], 3), len(surface.vertices_m))
        for i in range(3)
    ]
    return unit(np.stack(sums, axis=1))


def _oriented(piece: tuple[Array, Array], direction: Array) -> tuple[Array, Array]:
    """Return a piece run along the direction from end to end; a closed one by its first step."""
    points, normals = piece
    way = points[-1] - points[0]
    if np.linalg.norm(way) < 1e-9 and len(points) > 1:
        way = points[1] - points[0]
    return (points[::-1], normals[::-1]) if way @ direction < 0.0 else piece


def _join(pieces: list[tuple[Array, Array]], gap_m: float) -> list[tuple[Array, Array]]:
    joined = pieces[:1]
    for points, normals in pieces[1:]:
        before = joined[-1]
        if np.linalg.norm(points[0] - before[0][-1]) < gap_m:
            joined[-1] = np.concatenate([before[0], points]), np.concatenate([before[1], normals])
        else:
            joined.append((points, normals))
    return joined


def _length(points: Array) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _resampled(points: Array, normals: Array, settings: SlicerSettings, plane: int) -> Line:
    """Return the line with both ends kept, points one spacing apart between, and what is left over shared at the ends.

    A remainder under half a spacing gives its place to the outermost point, so that end steps are half to one spacing.
    """
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    points, normals = points[np.r_[True, steps > 1e-9]], normals[np.r_[True, steps > 1e-9]]
    at = np.r_[0.0, np.cumsum(steps[steps > 1e-9])]
    spacing, length = settings.point_spacing_m, at[-1]
    rest = float(np.fmod(length, spacing))
    first = 0.5 * (rest + spacing) if rest < 0.5 * spacing else 0.5 * rest
    where = np.r_[0.0, np.arange(first, length, spacing), length]
    laid = np.stack([np.interp(where, at, points[:, i]) for i in range(3)], axis=1)
    if settings.normals == "mesh":
        ns = unit(np.stack([np.interp(where, at, normals[:, i]) for i in range(3)], axis=1))
    else:
        span = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(points) - 2)
        ns = _carried(normals[0], unit(np.diff(points, axis=0))[span])
    return Line(points_m=laid, normals=_smoothed(ns, settings.smoothing_points // 2), plane=plane)


def _with_normals_only(line: Line) -> Line:
    """Return the line without the points where faces turned against each other left no normal."""
    sound = np.linalg.norm(line.normals, axis=1) > 0.5
    return line if sound.all() else replace(line, points_m=line.points_m[sound], normals=line.normals[sound])


def _smoothed(normals: Array, each_side: int) -> Array:
    """Return the normals but for the ends averaged with up to so many neighbours on either side.

    As the original does it, in place: those before are smoothed already, so that a turn comes late.
    """
    out = normals.copy()
    for i in range(1, len(out) - 1 if each_side else 0):
        out[i] = unit(out[max(i - each_side, 0) : i + each_side + 1].sum(axis=0))
    return out


def _carried(normal: Array, tangents: Array) -> Array:
    """Return a normal turned along a line: at each tangent (N, 3) what is left of the last, made perpendicular."""
    out = np.empty_like(tangents)
    for i, tangent in enumerate(tangents):
        left = normal - (normal @ tangent) * tangent
        normal = out[i] = unit(left)
    return out
