"""Strokes over a patch: iso-curves of a distance field on a smooth sheet, cut to what they serve, extended past it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull

from cell_core.errors import CoverageError
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, sample_surface
from cell_core.strokes.fields import CrossField, FieldKind, cross_field
from cell_core.strokes.sheet import Sheet, fit_sheet
from cell_core.surface import Surface
from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array, unit

FOLD_MIN = 0.35
"""The tool's path may be no shorter than this share of the sheet under it: else the sheet is smoothed further."""
REFITS_MAX = 8
ALIKE = 0.95
"""Principal axes of a patch whose spreads differ by less than this ratio are no axes."""
ANY_SPIN = Freedom()


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutRequest:
    """How to lay strokes over one patch."""

    direction: Array
    """(3,) unit, from the patch towards the tool."""
    spacing_m: float
    """True distance between neighbouring strokes on the sheet [m]."""
    angle_rad: float = 0.0
    """Direction of the strokes in the plane across `direction`, from the patch's longest axis [rad]."""
    field: FieldKind = "arc_length"
    """planar: parallel cuts, evenly spaced on average; arc_length: evenly spaced everywhere."""
    step_m: float
    """Distance between samples along a stroke [m]."""
    wavelength_m: float
    """Waves of the surface shorter than this do not show in the strokes [m]."""
    standoff_m: float = 0.0
    """Distance of the tool centre point from the sheet, back along the tool axis [m]; 0 for contact tools."""
    edge_offset_m: float = 0.0
    """How far beyond the border of the patch the outermost strokes lie at least [m]; negative: inside it."""
    keep_spacing: bool = True
    """True: spacing is kept and the outermost strokes lie up to half of it farther out; False: strokes move closer."""
    phase: float = 0.0
    """All strokes move across by this share of the spacing, 0 to 1: between those of the same layout without it."""
    overtravel_m: float = 0.0
    """How far strokes run beyond what they serve [m]; negative: they stop before it."""
    on_margin_m: float = 0.0
    """How far beyond what they serve the process is on [m]; the rest of the overtravel is off."""
    band_m: float | None = None
    """A stroke serves the points within this true distance of it [m]; None: 0.6 spacings."""
    gap_m: float = 0.15
    """Longest stretch without served points that a stroke bridges with the process on [m]."""
    min_length_m: float = 0.0
    """Shorter served stretches are left out [m]."""
    snap_m: float = 0.0
    """Positions move onto the surface where it lies within this of the sheet [m]; 0: they stay on the sheet."""
    kind: Literal["area", "edge", "bead", "border"] = "area"
    speed_m_per_s: float = 0.1
    """Speed the strokes start with, before optimisation [m/s]."""
    process_value: float = 0.0
    """Force [N] or flow [m3/s]."""
    freedom: Freedom = ANY_SPIN


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One stroke still on the sheet."""

    surface_m: Array
    """(N, 3) points under the tool [m]."""
    normal: Array
    """(N, 3) unit, smooth, away from the surface."""
    on: NDArray[np.bool_]
    """(N,) process on."""


def lay_strokes(surface: Surface, request: LayoutRequest) -> list[Stroke]:
    """Return raster strokes over a whole surface taken as one patch; see `lay_lines` and `strokes_from_lines`."""
    samples = sample_surface(surface, min(0.3 * request.spacing_m, 2.0 * request.step_m))
    lines = lay_lines(samples, request, RayCaster(surface) if request.snap_m > 0.0 else None)
    return strokes_from_lines(lines, request)


def sheet_for(samples: SurfaceSamples, request: LayoutRequest) -> Sheet:
    """Return the thin-plate sheet the request's lines are drawn on; requests with the same wavelength may share it.

    Where the tool's path at the standoff would fold (hollow, radius near the standoff) it is smoothed further.
    """
    wavelength = request.wavelength_m
    for _ in range(REFITS_MAX):
        sheet = fit_sheet(
            samples.points_m,
            samples.areas_m2,
            request.direction,
            wavelength_m=wavelength,
            margin_m=1.5 * _margin(request),
        )
        hollow = sheet.concave_curvature(sheet.uvw(samples.points_m)[:, :2])
        if 1.0 - request.standoff_m * float(np.quantile(hollow, 0.999)) >= FOLD_MIN:
            break
        wavelength *= 1.4
    return sheet


def lay_lines(
    samples: SurfaceSamples, request: LayoutRequest, caster: RayCaster | None = None, sheet: Sheet | None = None
) -> list[Line]:
    """Return the patch's lines in raster order, every other one reversed.

    A thin-plate sheet is fitted to the samples; its field across the strokes (fields.py) is cut at equal true
    distances; each curve is kept where samples lie within `band_m` of it and extended along the sheet.

    Args:
        samples: the patch; weights come from their areas, normals are not used.
        caster: rays on the real surface, needed when `snap_m` > 0.
        sheet: from `sheet_for`, when it is at hand.

    Raises:
        CoverageError: no line is left.
    """
    lines = _cut(samples, sheet or sheet_for(samples, request), request)
    if not lines:
        area = float(samples.areas_m2.sum())
        raise CoverageError(
            f"layout: no stroke of at least {request.min_length_m:.3f} m fits a patch of {area:.5f} m2", area_m2=area
        )
    if caster is not None and request.snap_m > 0.0:
        lines = [_snapped(line, caster, request.snap_m) for line in lines]
    return lines


def strokes_from_lines(lines: Sequence[Line], request: LayoutRequest) -> list[Stroke]:
    """Return strokes with the tool `standoff_m` above the lines, along their normals, resampled at `step_m`."""
    return [
        stroke_from_poses(
            line.surface_m + request.standoff_m * line.normal,
            -line.normal,
            line.on,
            step_m=request.step_m,
            kind=request.kind,
            speed_m_per_s=request.speed_m_per_s,
            process_value=request.process_value,
            freedom=request.freedom,
        )
        for line in lines
    ]


def stroke_from_poses(
    position_m: Array,
    tool_axis: Array,
    on: NDArray[np.bool_],
    *,
    step_m: float,
    kind: Literal["area", "edge", "bead", "border"] = "area",
    speed_m_per_s: float,
    process_value: float,
    freedom: Freedom = ANY_SPIN,
) -> Stroke:
    """Return a stroke through positions (N, 3) with axes (N, 3), resampled to equal steps of about `step_m`.

    Travel is the tangent made perpendicular to the axis.
    """
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(position_m, axis=0), axis=1))]
    n = max(int(np.ceil(along[-1] / step_m)), 1) + 1
    at = np.linspace(0.0, along[-1], n)
    position = np.column_stack([np.interp(at, along, position_m[:, i]) for i in range(3)])
    axis = unit(np.column_stack([np.interp(at, along, tool_axis[:, i]) for i in range(3)]))
    nearest = np.clip(np.searchsorted(0.5 * (along[1:] + along[:-1]), at), 0, len(on) - 1)
    tangent = np.gradient(position, axis=0)
    travel = unit(tangent - np.sum(tangent * axis, axis=1, keepdims=True) * axis)
    return Stroke(
        kind=kind,
        position_m=position,
        tool_axis=axis,
        travel=travel,
        speed_m_per_s=np.full(n, speed_m_per_s),
        process_value=np.full(n, process_value),
        on=on[nearest],
        freedom=freedom,
    )


def longest_axis_rad(sheet: Sheet, samples: SurfaceSamples) -> float:
    """Return the angle, in the sheet's plane, of the patch's longest principal axis [rad].

    Patches about as wide as long, whose axes mean nothing, have that of the smallest rectangle around them.
    """
    uv = sheet.uvw(samples.points_m)[:, :2]
    w = samples.areas_m2 / samples.areas_m2.sum()
    centred = uv - w @ uv
    spread, axes = np.linalg.eigh((centred * w[:, None]).T @ centred)
    if spread[0] > ALIKE**2 * spread[1]:
        return _rectangle_rad(centred)
    u, v = axes[:, 1] * (1.0 if axes[0, 1] >= 0.0 else -1.0)
    return float(np.arctan2(v, u))


def _rectangle_rad(points_m: Array) -> float:
    """Return the angle of the smaller-area rectangle around points (N, 2): one of its sides lies along their hull."""
    hull = points_m[ConvexHull(points_m).vertices]
    side = np.roll(hull, -1, axis=0) - hull
    # sides of a hull of samples are short and ragged: whole degrees are as good
    angles = np.unique(np.round(np.degrees(np.arctan2(side[:, 1], side[:, 0])))) % 90.0
    angles = np.radians(np.unique(np.r_[angles, np.arange(0.0, 90.0, 5.0)]))
    along, across = np.stack([np.cos(angles), np.sin(angles)]), np.stack([-np.sin(angles), np.cos(angles)])
    long, wide = np.ptp(hull @ along, axis=0), np.ptp(hull @ across, axis=0)
    best = int(np.argmin(long * wide))
    return float(angles[best] if long[best] >= wide[best] else angles[best] - 0.5 * np.pi)


def _band(request: LayoutRequest) -> float:
    return request.band_m if request.band_m is not None else 0.6 * request.spacing_m


def _margin(request: LayoutRequest) -> float:
    return max(request.overtravel_m, 0.0) + max(request.edge_offset_m, 0.0) + request.spacing_m + _band(request)


def _cut(samples: SurfaceSamples, sheet: Sheet, request: LayoutRequest) -> list[Line]:
    uv = sheet.uvw(samples.points_m)[:, :2]
    field = cross_field(
        sheet,
        uv,
        samples.areas_m2,
        angle_rad=longest_axis_rad(sheet, samples) + request.angle_rad,
        kind=request.field,
        pitch_m=min(0.2 * request.spacing_m, 0.02),
        smooth_m=0.25 * request.wavelength_m,
        margin_m=_margin(request),
    )
    xy = field.xy(uv)
    value = field.at(xy)
    lines: list[Line] = []
    for k, level in enumerate(_levels(value, samples.areas_m2, request)):
        curve = _Curve.of(field, level, request)
        pieces = curve.pieces(xy[np.abs(value - level) <= _band(request), 0], request)
        found = [curve.line(*piece) for piece in pieces]
        lines += [_reversed(line) for line in reversed(found)] if k % 2 else found
    return lines


def _levels(value: Array, weights: Array, request: LayoutRequest) -> Array:
    order = np.argsort(value)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = value[order[np.searchsorted(share, 0.001)]], value[order[np.searchsorted(share, 0.999)]]
    low, high = low - request.edge_offset_m, high + request.edge_offset_m
    if high <= low:
        return np.array([0.5 * (low + high)])
    n = int(np.ceil((high - low) / request.spacing_m - 1e-6)) + 1
    step = request.spacing_m if request.keep_spacing else (high - low) / (n - 1)
    levels = 0.5 * (low + high) + (np.arange(-1.0 if request.phase else 0.0, n) - 0.5 * (n - 1) + request.phase) * step
    # moved lines lie no farther out than those they were moved from
    return levels[(levels > low - 0.5 * step - 1e-9) & (levels < high + 0.5 * step + 1e-9)]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Curve:
    """One iso-curve, densely, with its length along the sheet."""

    x_m: Array
    length_m: Array
    surface_m: Array
    normal: Array

    @staticmethod
    def of(field: CrossField, level: float, request: LayoutRequest) -> "_Curve":
        y = field.curve(level)
        sigma = max(0.1 * request.wavelength_m / (field.x_m[1] - field.x_m[0]), 0.5)
        y = gaussian_filter1d(y, sigma, mode="nearest")
        n = max(4, int(np.ceil(np.ptp(field.x_m) / (0.7 * request.step_m))) + 1)
        x = np.linspace(field.x_m[0], field.x_m[-1], n)
        uv = field.uv(np.column_stack([x, np.interp(x, field.x_m, y)]))
        surface = field.sheet.points(uv)
        length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(surface, axis=0), axis=1))]
        pitch = length[-1] / (n - 1)
        normal = gaussian_filter1d(field.sheet.normals(uv), 0.1 * request.wavelength_m / pitch, axis=0, mode="nearest")
        return _Curve(x_m=x, length_m=length, surface_m=surface, normal=unit(normal))

    def pieces(self, served_x: Array, request: LayoutRequest) -> list[tuple[float, float, list[tuple[float, float]]]]:
        """Return stretches (start, stop, [(on, off)...]) in length along the curve [m]."""
        at = np.sort(np.interp(served_x, self.x_m, self.length_m))
        if len(at) == 0:
            return []
        cuts = np.flatnonzero(np.diff(at) > request.gap_m)
        spans = zip(at[np.r_[0, cuts + 1]], at[np.r_[cuts, len(at) - 1]], strict=True)
        out: list[tuple[float, float, list[tuple[float, float]]]] = []
        for low, high in spans:
            start, stop = low - request.overtravel_m, high + request.overtravel_m
            on = (low - request.on_margin_m, high + request.on_margin_m)
            if high - low < request.min_length_m or stop - start <= 2.0 * request.step_m:
                continue
            start, stop = max(start, 0.0), min(stop, float(self.length_m[-1]))
            if out and start <= out[-1][1]:
                out[-1] = (out[-1][0], stop, [*out[-1][2], on])
            else:
                out.append((start, stop, [on]))
        return out

    def line(self, start: float, stop: float, on_spans: list[tuple[float, float]]) -> Line:
        """Return the stretch as a line."""
        inside = self.length_m[(self.length_m > start) & (self.length_m < stop)]
        at = np.r_[start, inside, stop]
        surface = np.column_stack([np.interp(at, self.length_m, self.surface_m[:, i]) for i in range(3)])
        normal = unit(np.column_stack([np.interp(at, self.length_m, self.normal[:, i]) for i in range(3)]))
        on = np.any([(at >= low) & (at <= high) for low, high in on_spans], axis=0)
        return Line(surface_m=surface, normal=normal, on=on)


def _reversed(line: Line) -> Line:
    return Line(surface_m=line.surface_m[::-1], normal=line.normal[::-1], on=line.on[::-1])


def _snapped(line: Line, caster: RayCaster, reach_m: float) -> Line:
    """Move points along the normal onto the surface where it lies within `reach_m`; carry the shift on elsewhere."""
    distance, triangle = caster.first_hit(line.surface_m + reach_m * line.normal, -line.normal)
    found = (triangle >= 0) & (distance <= 2.0 * reach_m)
    if not found.any():
        return line
    along = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1))]
    shift = np.interp(along, along[found], (reach_m - distance)[found])
    return replace(line, surface_m=line.surface_m + shift[:, None] * line.normal)
