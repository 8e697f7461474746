"""From curves on a working mesh to lines on the surface: cut, smoothed, sampled by chord error, run on past ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cell_core.strokes.isolines import IsoCurve
from cell_core.strokes.layout import Line
from cell_core.strokes.working_patch import WorkingPatch
from cell_core.transforms import Array, unit

BISECTIONS = 7
PROBES = (0.1, 0.23, 0.37, 0.5, 0.63, 0.77, 0.9)
"""Places on a chord where its distance to the surface is measured."""
REPEAT_M = 1e-6
"""Samples nearer than this are one [m]."""
CHORD_LEAST = 0.02
"""Pieces are not halved below this share of the step."""
TURN_MAX_RAD = 0.2
"""Normals turn by no more than this from sample to sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeshLine(Line):
    """A line on a mesh with its place in the layout."""

    level: float
    """Number of its level; x.5 for one put between two levels."""
    closed: bool
    """A ring: it ends where it began, or beyond by the overlap."""
    served: NDArray[np.bool_]
    """(N,) samples on the surface itself, neither past its border nor over a hole."""


@dataclass(frozen=True, kw_only=True)
class LineRule:
    """How curves become lines."""

    step_m: float
    """Longest distance between samples [m]."""
    chord_m: float = 1e-4
    """Farthest that a straight piece between samples may leave the surface [m]."""
    smooth_m: float = 0.0
    """Curves are smoothed over about this length [m]."""
    shift_max_m: float = 0.0
    """Smoothing moves no point farther than this [m]."""
    gap_m: float = 0.0
    """Holes up to this are crossed, longer ones cut the line [m]."""
    bridge_on: bool = False
    """Whether the process stays on over a hole."""
    min_length_m: float = 0.0
    """Shorter served lengths are left out [m]."""
    overtravel_m: float = 0.0
    """How far open lines run on past the border, straight [m]; negative: they stop before it."""
    on_margin_m: float = 0.0
    """How much of the overtravel has the process on [m]."""
    overlap_m: float = 0.0
    """How far a ring runs on past its start [m]."""
    lead_m: float = 0.0
    """Straight run with the process off before and after a ring [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """A dense polyline with normals; `air[i]` says whether piece i, after point i, lies over a hole."""

    points_m: Array
    normals: Array
    air: NDArray[np.bool_]
    level: float
    closed: bool

    @property
    def length_m(self) -> Array:
        """(N,) length from the start [m]."""
        return np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(self.points_m, axis=0), axis=1))]


def lines_from_curves(
    patch: WorkingPatch, curves: Sequence[tuple[float, IsoCurve]], normals: Array, rule: LineRule
) -> list[MeshLine]:
    """Return lines on the patch's real surface; `normals` are the working mesh's (V, 3), smoothed."""
    tracks = []
    for level, curve in curves:
        for track in _cut(_track(patch, level, curve, normals), rule.gap_m):
            served = track.length_m[-1] - float(np.diff(track.length_m)[track.air].sum())
            if served > max(rule.min_length_m, 1e-6):
                tracks.append(_trimmed(_smoothed(track, rule), rule))
    return lines_from_tracks(patch, tracks, rule)


def lines_from_tracks(patch: WorkingPatch, tracks: Sequence[Track], rule: LineRule) -> list[MeshLine]:
    """Return the tracks sampled on the patch's real surface."""
    tracks = [track for track in tracks if len(track.points_m) >= 2]
    if not tracks:
        return []
    return [line for line in map(_without_repeats, _on_surface(patch, tracks, rule)) if len(line.surface_m) >= 2]


def _track(patch: WorkingPatch, level: float, curve: IsoCurve, normals: Array) -> Track:
    points, normal, air = curve.points_m, unit(curve.interpolated(normals)), patch.filler[curve.triangles]
    if curve.closed:
        points, normal = np.vstack([points, points[:1]]), np.vstack([normal, normal[:1]])
    # crossings at a vertex repeat a point
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    far = step > 1e-9 + 1e-6 * step.mean()
    keep = np.r_[True, far]
    return Track(points_m=points[keep], normals=normal[keep], air=air[far], level=level, closed=curve.closed)


def _cut(track: Track, gap_m: float) -> list[Track]:
    """Cut where the track is over a hole for longer than `gap_m`, and drop air at its ends."""
    if not track.air.any():
        return [track]
    if track.air.all():
        return []
    length = track.length_m
    if track.closed:
        track = _rolled(track, int(np.argmin(track.air)))
        length = track.length_m
    change = np.flatnonzero(np.diff(np.r_[False, track.air, False].astype(int)))
    starts, stops = change[::2], change[1::2]
    n = len(track.air)
    wide = (length[stops] - length[starts] > gap_m) | (((starts == 0) | (stops == n)) & (not track.closed))
    if not wide.any():
        return [track]
    cut_from, cut_to = starts[wide], stops[wide]
    pieces = list(zip(np.r_[0, cut_to], np.r_[cut_from, n], strict=True))
    if track.closed:
        track = _rolled(track, int(cut_to[-1]))
        shift = int(cut_to[-1])
        pieces = [(a - shift, b - shift) for a, b in pieces[1:-1]]
        pieces = [(0, int(cut_from[0]) + n - shift), *[(a + n, b + n) for a, b in pieces]]
    return [
        Track(
            points_m=track.points_m[a : b + 1],
            normals=track.normals[a : b + 1],
            air=track.air[a:b],
            level=track.level,
            closed=False,
        )
        for a, b in pieces
        if b > a
    ]


def _rolled(track: Track, start: int) -> Track:
    points = np.roll(track.points_m[:-1], -start, axis=0)
    normals = np.roll(track.normals[:-1], -start, axis=0)
    return replace(
        track,
        points_m=np.vstack([points, points[:1]]),
        normals=np.vstack([normals, normals[:1]]),
        air=np.roll(track.air, -start),
    )


def _smoothed(track: Track, rule: LineRule) -> Track:
    if rule.smooth_m <= 0.0 or rule.shift_max_m <= 0.0:
        return track
    length = track.length_m
    n = max(int(np.ceil(length[-1] / (0.5 * rule.smooth_m))), 4)
    at = np.linspace(0.0, length[-1], n + 1)
    points = _interpolated(at, length, track.points_m)
    sigma = 0.5 * rule.smooth_m * n / length[-1]
    if track.closed:
        soft = gaussian_filter1d(points[:-1], sigma, axis=0, mode="wrap")
        soft = np.vstack([soft, soft[:1]])
    else:
        # odd about the ends: they stay, and straight lines stay straight
        pad = min(int(4.0 * sigma) + 1, n)
        before, after = 2.0 * points[0] - points[pad:0:-1], 2.0 * points[-1] - points[-2 : -pad - 2 : -1]
        soft = gaussian_filter1d(np.vstack([before, points, after]), sigma, axis=0)[pad : pad + n + 1]
    shift = soft - points
    size = np.linalg.norm(shift, axis=1, keepdims=True)
    points = points + shift * np.minimum(1.0, rule.shift_max_m / np.maximum(size, 1e-12))
    middle = 0.5 * (at[1:] + at[:-1])
    air = track.air[np.clip(np.searchsorted(length, middle) - 1, 0, len(track.air) - 1)]
    return replace(track, points_m=points, normals=unit(_interpolated(at, length, track.normals)), air=air)


def _trimmed(track: Track, rule: LineRule) -> Track:
    if rule.overtravel_m >= 0.0 or track.closed:
        return track
    length = track.length_m
    low, high = -rule.overtravel_m, length[-1] + rule.overtravel_m
    if high <= low:
        return replace(track, points_m=track.points_m[:1], normals=track.normals[:1], air=track.air[:0])
    inner = (length > low) & (length < high)
    at = np.r_[low, length[inner], high]
    air = track.air[np.clip(np.searchsorted(length, 0.5 * (at[1:] + at[:-1])) - 1, 0, len(track.air) - 1)]
    return replace(
        track,
        points_m=_interpolated(at, length, track.points_m),
        normals=unit(_interpolated(at, length, track.normals)),
        air=air,
    )


def _interpolated(at: Array, length: Array, values: Array) -> Array:
    return np.stack([np.interp(at, length, values[:, k]) for k in range(values.shape[1])], axis=1)


def _on_surface(patch: WorkingPatch, tracks: Sequence[Track], rule: LineRule) -> list[MeshLine]:
    """Sample all tracks together: even steps, halved until every chord keeps to the surface and normals turn little."""
    lengths = [track.length_m for track in tracks]
    # one axis for all: a gap of 1 m between tracks
    starts = np.cumsum([0.0, *[length[-1] + 1.0 for length in lengths[:-1]]])
    axis = np.concatenate([length + start for length, start in zip(lengths, starts, strict=True)])
    points = np.concatenate([track.points_m for track in tracks])
    normals = np.concatenate([track.normals for track in tracks])
    in_air = np.concatenate([np.r_[track.air, True] for track in tracks])

    def evaluated(at: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        place = np.clip(np.searchsorted(axis, at, "right") - 1, 0, len(axis) - 1)
        before = np.clip(np.searchsorted(axis, at, "left") - 1, 0, len(axis) - 1)
        air = in_air[place] & in_air[before]
        position = _interpolated(at, axis, points)
        position[~air] = patch.caster.closest(position[~air])[0]
        return position, unit(_interpolated(at, axis, normals)), air

    at = np.concatenate([
        start + np.linspace(0.0, length[-1], max(int(np.ceil(length[-1] / rule.step_m)), 2) + 1)
        for start, length in zip(starts, lengths, strict=True)
    ])
    switches = np.flatnonzero(in_air[1:] != in_air[:-1]) + 1
    inner = switches[(np.diff(axis)[switches - 1] < 1.0 - 1e-9) & ~np.isin(axis[switches], at)]
    at = np.sort(np.r_[at, axis[inner[~_last_points(lengths)[inner]]]])
    position, normal, air = evaluated(at)
    fresh, off = np.ones(len(at), bool), np.zeros(len(at))
    for _ in range(BISECTIONS):
        off[fresh] = _chord_errors(patch, position, air, np.flatnonzero(fresh))
        inside = np.r_[(np.diff(np.searchsorted(starts, at, "right")) == 0), False]
        short = np.r_[np.diff(at), 0.0] <= CHORD_LEAST * rule.step_m
        turned = np.r_[np.einsum("ij,ij->i", normal[1:], normal[:-1]) < np.cos(TURN_MAX_RAD), False]
        split = np.flatnonzero(inside & ~short & (turned | (off > rule.chord_m)))
        if not len(split):
            break
        middle = 0.5 * (at[split] + at[split + 1])
        new = evaluated(middle)
        fresh = np.zeros(len(at), bool)
        fresh[split] = True
        order = np.argsort(np.r_[at, middle], kind="stable")
        at, off = np.r_[at, middle][order], np.r_[off, np.zeros(len(middle))][order]
        position, normal = (np.vstack([a, b])[order] for a, b in zip((position, normal), new[:2], strict=True))
        air = np.r_[air, new[2]][order]
        fresh = np.r_[fresh, np.ones(len(middle), bool)][order]
    # what still leaves the surface crosses a notch of the border too fine for the working mesh
    air = air | (inside & (off > 2.0 * rule.chord_m))
    owner = np.searchsorted(starts, at, "right") - 1
    edges = np.searchsorted(owner, np.arange(len(tracks) + 1))
    return [
        MeshLine(
            surface_m=position[a:b],
            normal=normal[a:b],
            on=~air[a:b] | rule.bridge_on,
            served=~air[a:b],
            level=track.level,
            closed=track.closed,
        )
        for track, a, b in zip(tracks, edges[:-1], edges[1:], strict=True)
    ]


def _without_repeats(line: MeshLine) -> MeshLine:
    """Drop samples that fell together, as those put back onto a ragged border may."""
    step = np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1)
    keep = np.r_[True, step > REPEAT_M]
    if keep.all():
        return line
    return replace(
        line, surface_m=line.surface_m[keep], normal=line.normal[keep], on=line.on[keep], served=line.served[keep]
    )


def _last_points(lengths: Sequence[Array]) -> NDArray[np.bool_]:
    last = np.zeros(sum(map(len, lengths)), bool)
    last[np.cumsum([len(length) for length in lengths]) - 1] = True
    return last


def _chord_errors(
    patch: WorkingPatch, position: Array, air: NDArray[np.bool_], after: NDArray[np.int64]
) -> Array:
    """Return how far the straight piece after each sample leaves the surface [m]; 0 over a hole and for the last."""
    error = np.zeros(len(after))
    asked = np.flatnonzero(after < len(position) - 1)
    asked = asked[~(air[after[asked]] & air[after[asked] + 1])]
    a, b = position[after[asked]], position[after[asked] + 1]
    probes = np.concatenate([(1.0 - t) * a + t * b for t in PROBES])
    error[asked] = patch.caster.distance(probes).reshape(len(PROBES), -1).max(axis=0)
    return error


def run_on(line: MeshLine, rule: LineRule) -> MeshLine:
    """Return the line with its overtravel, or a ring with its overlap and leads."""
    if line.closed:
        line = _overlapped(line, rule.overlap_m)
        return _extended(line, rule.lead_m, 0.0, rule.step_m) if rule.lead_m > 0.0 else line
    return _extended(line, rule.overtravel_m, rule.on_margin_m, rule.step_m) if rule.overtravel_m > 0.0 else line


def _overlapped(line: MeshLine, overlap_m: float) -> MeshLine:
    if overlap_m <= 0.0:
        return line
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1))]
    n = int(np.searchsorted(length, min(overlap_m, 0.5 * length[-1]))) + 1
    again = np.r_[np.arange(len(length)), np.arange(1, n)]
    return replace(
        line, surface_m=line.surface_m[again], normal=line.normal[again], on=line.on[again], served=line.served[again]
    )


def _extended(line: MeshLine, run_m: float, on_m: float, step_m: float) -> MeshLine:
    """Run on straight from both ends, square to the normal there."""
    n = max(int(np.ceil(run_m / step_m)), 1)
    ahead = run_m * np.arange(1, n + 1) / n
    if 0.0 < on_m < run_m:
        ahead = np.unique(np.r_[ahead, on_m])
    parts = []
    for end, inner in ((0, 1), (-1, -2)):
        normal = line.normal[end]
        # a few samples back, so that one short step does not set the heading
        length = np.linalg.norm(line.surface_m - line.surface_m[end], axis=1)
        near = length[: len(length)] >= min(0.5 * step_m, 0.5 * length.max())
        pick = int(np.flatnonzero(near)[0 if end == 0 else -1]) if near.any() else inner
        tangent = line.surface_m[end] - line.surface_m[pick]
        tangent = unit(tangent - (tangent @ normal) * normal)
        parts.append(line.surface_m[end] + ahead[:, None] * tangent)
    m = len(ahead)
    on = ahead <= on_m + 1e-12
    off = np.zeros(m, bool)
    return replace(
        line,
        surface_m=np.vstack([parts[0][::-1], line.surface_m, parts[1]]),
        normal=np.vstack([np.repeat(line.normal[:1], m, 0), line.normal, np.repeat(line.normal[-1:], m, 0)]),
        on=np.r_[on[::-1], line.on, on],
        served=np.r_[off, line.served, off],
    )
