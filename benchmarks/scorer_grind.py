"""Score a grinding path on any mesh: what a Winkler pad takes off along a tool path file, apart from the planner.

The pad is cut into equal pieces; the gap before each is a ray along the tool axis onto the true triangles, and the sorted
gaps give the exact force balance. Fine points of the surface within the pad lose k_p p v_rel dt, where dt follows from
the rules of the file: constant acceleration between samples, axis and force linear, a switch half way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples, points_by_area
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit

PIECES = 400
PAIRS_PER_BLOCK = 2_000_000
BEHIND_RADII = 0.5
"""What stands further than this behind the pad's face is no ground but a body."""
BODY_LENGTH_M = 0.1
STANDS_GROUND_MIN = 0.3
"""Least share of the face with ground before it."""
STANDS_CENTRE_MAX = 0.35
"""Largest distance of that ground's centre from the pad's, in radii: a straight border 0.15 R from the pad's centre."""
PRESSED_MIN = 0.5
"""A point is pressed where some such pose gives it this share of the pose's mean pressure."""


@dataclass(frozen=True, kw_only=True)
class Pad:
    """The tool block of a tool path, as far as it concerns a pad."""

    radius_m: float
    stiffness_pa_per_m: float
    preston_per_pa: float
    motion: str
    omega_rad_per_s: float
    orbit_radius_m: float

    @staticmethod
    def of(block: Mapping[str, Any]) -> "Pad":
        """Return the pad of a tool block."""
        return Pad(
            omega_rad_per_s=block["rpm"] * 2.0 * np.pi / 60.0,
            **{k: block[k] for k in ("radius_m", "stiffness_pa_per_m", "preston_per_pa", "motion", "orbit_radius_m")},
        )

    def pieces(self) -> Array:
        """Return the middles (PIECES, 2) [m] of pieces of one area each, laid like the seeds of a sunflower."""
        k = np.arange(PIECES) + 0.5
        r, turn = self.radius_m * np.sqrt(k / PIECES), np.pi * (1.0 + 5.0**0.5) * k
        return np.stack([r * np.cos(turn), r * np.sin(turn)], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Short pieces of strokes with the process on, each taken at its middle."""

    position_m: Array
    axis: Array
    travel: Array
    force_n: Array
    seconds: Array
    feed_m_per_s: Array

    def __len__(self) -> int:
        return len(self.position_m)

    def part(self, which: slice) -> "Moments":
        """Return some of the moments."""
        return Moments(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})


def moments_of(strokes: Sequence[Stroke], step_m: float) -> Moments:
    """Return the strokes cut into pieces no longer than `step_m`, an even number from sample to sample."""
    parts = [_moments(stroke, step_m) for stroke in strokes]
    return Moments(**{k: np.concatenate([getattr(p, k) for p in parts]) for k in Moments.__dataclass_fields__})


def _moments(stroke: Stroke, step_m: float) -> Moments:
    length = stroke.step_lengths_m
    n = 2 * np.maximum(1, np.ceil(0.5 * length / step_m).astype(int))
    step = np.repeat(np.arange(len(length)), n)
    k = np.arange(len(step)) - np.repeat(np.cumsum(n) - n, n)
    begin, middle, end = k / n[step], (k + 0.5) / n[step], (k + 1.0) / n[step]
    square = stroke.speed_m_per_s**2
    v0, v1 = (np.sqrt(square[step] + at * (square[step + 1] - square[step])) for at in (begin, end))
    on = np.where(middle < 0.5, stroke.on[step], stroke.on[step + 1])
    step, middle, feed, piece = step[on], middle[on], 0.5 * (v0 + v1)[on], (length / n)[step][on]

    def between(values: Array) -> Array:
        share = middle if values.ndim == 1 else middle[:, None]
        return values[step] * (1.0 - share) + values[step + 1] * share

    axis = unit(between(stroke.tool_axis))
    travel = np.diff(stroke.position_m, axis=0)[step]
    travel = unit(travel - np.einsum("ij,ij->i", travel, axis)[:, None] * axis)
    return Moments(
        position_m=between(stroke.position_m), axis=axis, travel=travel, force_n=between(stroke.process_value),
        seconds=piece / feed, feed_m_per_s=feed,
    )  # fmt: skip


def gaps_before(caster: RayCaster, moments: Moments, pad: Pad) -> Array:
    """Return how far the surface lies ahead of each piece of the pad's face (N, PIECES) [m]; inf: nothing there."""
    across = np.cross(moments.axis, moments.travel)
    x, y = pad.pieces().T
    start = moments.position_m - BEHIND_RADII * pad.radius_m * moments.axis
    origins = start[:, None] + x[:, None] * moments.travel[:, None] + y[:, None] * across[:, None]
    rays = np.broadcast_to(moments.axis[:, None], origins.shape)
    distance, _ = caster.first_hit(origins.reshape(-1, 3), rays.reshape(-1, 3))
    return distance.reshape(len(moments), -1) - BEHIND_RADII * pad.radius_m


def advances(gaps: Array, piece_m2: float, force_n: Array, stiffness_pa_per_m: float) -> Array:
    """Return d (N,) [m] with the sum of K max(0, d - gap) over pieces = force; -inf where there is no ground."""
    ordered = np.sort(gaps, axis=1)
    count = np.arange(1, gaps.shape[1] + 1)
    sums = np.cumsum(np.where(np.isfinite(ordered), ordered, 0.0), axis=1)
    # with the m nearest pieces in contact d is this; it is right for the last m whose own gap is still below it
    d = (force_n[:, None] / (stiffness_pa_per_m * piece_m2) + sums) / count
    touching = np.sum(np.isfinite(ordered) & (ordered < d), axis=1)
    chosen = np.take_along_axis(d, np.maximum(touching - 1, 0)[:, None], axis=1)[:, 0]
    return np.where(touching > 0, chosen, -np.inf)


def abrasive_speed(pad: Pad, x_m: Array, y_m: Array, feed_m_per_s: Array) -> Array:
    """Return the mean speed [m/s] over the surface at pad coordinates, x along travel."""
    if pad.motion == "disc":
        return np.hypot(feed_m_per_s - pad.omega_rad_per_s * y_m, pad.omega_rad_per_s * x_m)
    angle = (np.arange(64) + 0.5) * 2.0 * np.pi / 64
    orbit = pad.omega_rad_per_s * pad.orbit_radius_m
    levels = np.linspace(0.0, float(feed_m_per_s.max(initial=0.0)), 65)
    means = np.hypot(orbit * np.cos(angle) + levels[:, None], orbit * np.sin(angle)).mean(axis=1)
    return np.interp(feed_m_per_s, levels, means)


def _pressed(
    caster: RayCaster, tree: KDTree, samples: SurfaceSamples, moments: Moments, pad: Pad, soft_m: float
) -> Iterator[tuple[Moments, NDArray[np.int64], NDArray[np.int64], Array, Array, Array, Array]]:
    """Yield blocks of moments with pose, point, pressure, share under the rim, x and y of every pressed point."""
    per_pose = max(1.0, np.pi * pad.radius_m**2 * len(samples) / samples.areas_m2.sum())
    block = max(1, int(PAIRS_PER_BLOCK / max(PIECES, 2.0 * per_pose)))
    piece = np.pi * pad.radius_m**2 / PIECES
    reach = np.hypot(pad.radius_m + soft_m, BEHIND_RADII * pad.radius_m)
    for start in range(0, len(moments), block):
        now = moments.part(slice(start, start + block))
        advance = advances(gaps_before(caster, now, pad), piece, now.force_n, pad.stiffness_pa_per_m)
        lists = tree.query_ball_point(now.position_m, reach, return_sorted=False)
        counts = np.fromiter((len(one) for one in lists), np.int64, len(lists))
        if counts.sum() == 0:
            continue
        point = np.concatenate([np.asarray(one, np.int64) for one in lists])
        pose = np.repeat(np.arange(len(now)), counts)
        offset = samples.points_m[point] - now.position_m[pose]
        gap = np.einsum("ij,ij->i", offset, now.axis[pose])
        # the far side of a thin wall lies just as near, but faces away
        faces = np.einsum("ij,ij->i", samples.normals[point], now.axis[pose]) < 0.0
        near = faces & (gap < advance[pose]) & (gap > -BEHIND_RADII * pad.radius_m)
        pose, point, offset, gap = pose[near], point[near], offset[near], gap[near]
        x = np.einsum("ij,ij->i", offset, now.travel[pose])
        y = np.einsum("ij,ij->i", offset, np.cross(now.axis, now.travel)[pose])
        share = np.clip((pad.radius_m - np.hypot(x, y)) / soft_m + 0.5, 0.0, 1.0)
        under = share > 0.0
        pose, point, share, x, y = pose[under], point[under], share[under], x[under], y[under]
        yield now, pose, point, pad.stiffness_pa_per_m * (advance[pose] - gap[under]), share, x, y


def removed_depth(
    surface: Surface,
    samples: SurfaceSamples,
    strokes: Sequence[Stroke],
    tool: Mapping[str, Any],
    *,
    step_radii: float = 0.1,
    caster: RayCaster | None = None,
) -> Array:
    """Return the depth (P,) [m] that strokes with the tool of this block take off at points of the surface."""
    pad = Pad.of(tool)
    step = step_radii * pad.radius_m
    depth = np.zeros(len(samples))
    caster = caster or RayCaster(surface)
    # a point at the rim is under the pad for part of a moment
    for now, pose, point, pressure, share, x, y in _pressed(
        caster, samples.tree, samples, moments_of(strokes, step), pad, step
    ):
        rate = pad.preston_per_pa * pressure * share * abrasive_speed(pad, x, y, now.feed_m_per_s[pose])
        depth += np.bincount(point, rate * now.seconds[pose], len(samples))
    return depth


def serviceable(
    surface: Surface,
    samples: SurfaceSamples,
    tool: Mapping[str, Any],
    force_n: float,
    *,
    seat_radii: float = 0.2,
    caster: RayCaster | None = None,
) -> NDArray[np.bool_]:
    """Return which points (P,) some pad pose that stands with a free body presses.

    Poses are tried `seat_radii` apart all over the surface, flat on the ground that the pad's pieces meet.
    """
    pad = Pad.of(tool)
    caster = caster or RayCaster(surface)
    seats = points_by_area(surface, seat_radii * pad.radius_m)
    found = [
        _standing(caster, seats.points_m[part], seats.normals[part], pad, force_n)
        for part in (slice(k, k + 4000) for k in range(0, len(seats), 4000))
    ]
    poses = Moments(**{k: np.concatenate([getattr(f, k) for f in found]) for k in Moments.__dataclass_fields__})
    pressed = np.zeros(len(samples), bool)
    soft = 0.05 * pad.radius_m
    for now, pose, point, pressure, share, _, _ in _pressed(caster, samples.tree, samples, poses, pad, soft):
        weight = np.bincount(pose, pressure * share, len(now))
        mean = np.bincount(pose, pressure**2 * share, len(now)) / np.maximum(weight, 1e-12)
        pressed[point[(pressure >= PRESSED_MIN * mean[pose]) & (share >= 0.5)]] = True
    return pressed


def _standing(caster: RayCaster, points_m: Array, normals: Array, pad: Pad, force_n: float) -> Moments:
    """Return those poses over the points whose body is free and that have ground to stand on."""
    x, y = pad.pieces().T
    axis = -normals
    for _ in range(3):
        poses = _at_rest(points_m, axis, force_n)
        gaps = gaps_before(caster, poses, pad)
        ground = np.abs(gaps) < BEHIND_RADII * pad.radius_m
        fit = np.stack([np.ones_like(x), x / pad.radius_m, y / pad.radius_m], axis=1)
        normal = np.einsum("nk,ki,kj->nij", ground, fit, fit) + np.diag([1e-9, 8.0, 8.0])
        height = np.einsum("nk,ki->ni", np.where(ground, gaps, 0.0), fit)
        slope = np.linalg.solve(normal, height[..., None])[:, 1:, 0] / pad.radius_m
        axis = unit(axis - slope[:, :1] * poses.travel - slope[:, 1:] * np.cross(axis, poses.travel))
    poses = _at_rest(points_m, axis, force_n)
    gaps = gaps_before(caster, poses, pad)
    advance = advances(gaps, np.pi * pad.radius_m**2 / PIECES, poses.force_n, pad.stiffness_pa_per_m)
    ground = gaps < advance[:, None] + 0.2 * pad.radius_m
    area = np.maximum(ground.sum(axis=1), 1)
    centre = np.hypot((ground @ x) / area, (ground @ y) / area)
    stands = (ground.mean(axis=1) >= STANDS_GROUND_MIN) & (centre <= STANDS_CENTRE_MAX * pad.radius_m)
    stands[stands] = _body_free(caster, poses.part(stands), advance[stands], pad)
    return poses.part(stands)


def _at_rest(points_m: Array, axis: Array, force_n: float) -> Moments:
    helper = np.where(np.abs(axis[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    travel = unit(np.cross(axis, helper))
    n = np.ones(len(axis))
    return Moments(
        position_m=points_m, axis=axis, travel=travel, force_n=force_n * n, seconds=n, feed_m_per_s=0.0 * n
    )  # fmt: skip


def _body_free(caster: RayCaster, poses: Moments, advance_m: Array, pad: Pad) -> NDArray[np.bool_]:
    """Return whether the cylinder behind the pad's face (N,) meets nothing: rays up its wall and round its hoops."""
    across = np.cross(poses.axis, poses.travel)
    face = poses.position_m + (advance_m - 0.06 * pad.radius_m)[:, None] * poses.axis
    angle = np.arange(24) * 2.0 * np.pi / 24
    hoop = np.cos(angle)[:, None, None] * poses.travel + np.sin(angle)[:, None, None] * across
    starts, steps = [], []
    for share in (0.0, 0.5, 1.0):
        starts.append(face + share * pad.radius_m * hoop)
        steps.append(np.broadcast_to(-BODY_LENGTH_M * poses.axis, hoop.shape))
    for height in np.linspace(0.0, BODY_LENGTH_M, 5):
        ring = face - height * poses.axis + pad.radius_m * hoop
        starts += [ring, ring]
        steps += [np.roll(ring, -1, axis=0) - ring, np.roll(ring, 12, axis=0) - ring]
    free = np.ones(len(poses), bool)
    for start, step in zip(starts, steps, strict=True):
        rays = np.concatenate([start, step], axis=2).reshape(-1, 6).astype(np.float32)
        free &= ~caster.stopped(rays).reshape(len(angle), -1).any(axis=0)
    return free
