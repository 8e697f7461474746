"""Wheels, belts and burrs: rollers pressed on the true surface, elastic ones by Hertz.

The gap is how far a surface point lies ahead of the roller's rim along the tool axis; the rim stands back from the tool
centre point by R - sqrt(R^2 - x^2) along travel, and by its crown across.

Elastic contact: pressure p0 sqrt(1 - g/h) where the gap g over its least is below h, half the approach d of wheel and
part; p0 and h follow from the force and from the wheel's compliance at the deepest point, d = sum of p dA / (pi E* r).
Exact for Hertz's round contact (c^2 = R d, p0 = 3 F / 2 pi c^2). For other shapes it is the virtual penetration of Kik
and Piotrowski with one half for their 0.55: within a few percent for ellipses up to 1 : 3; on a straight rim the
contact comes out a fifth too long and its pressure that much too low, which what a pass takes off does not feel.
Validity: the rim is thick over the contact, friction does not deflect it, and the axle is held by the arm.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cell_core.config import BeltTool, BurrTool, RollerTool, WheelTool
from cell_core.raycast import RayCaster
from cell_core.transforms import Array
from grinding_planner.contact import FACING_COSINE_MIN, PadContact, PadPairs
from grinding_planner.samples import SurfaceSamples

BISECTIONS = 22
BODY_MARGIN_M = 0.003
BODY_HEIGHTS = np.array([0.3, 0.6, 1.0, 1.5, 2.0])
"""Heights over the rim, in radii, at which a roller must have room; lower it touches the ground beside its contact."""
DEEPEST_SHARE = 0.5
"""The rim is looked at to this share of its radius behind the tool centre point."""


def rim_m(tool: RollerTool, x_m: Array, y_m: Array) -> Array:
    """Return how far the rim stands back from the tool centre point at tool coordinates [m]; infinite beside it."""
    radius = tool.radius_m
    inside = (np.abs(x_m) < radius) & (np.abs(y_m) <= 0.5 * tool.width_m)
    crown = getattr(tool, "crown_radius_m", None)
    across = crown - np.sqrt(np.maximum(crown**2 - y_m**2, 0.0)) if crown else 0.0
    return np.where(inside, radius - np.sqrt(np.maximum(radius**2 - x_m**2, 0.0)) + across, np.inf)


def roller_pairs(samples: SurfaceSamples, frames: Array, tool: RollerTool, *, depth_m: float) -> PadPairs:
    """Return which samples lie under the roller in each tool frame (N, 4, 4), with their gaps to its rim.

    Args:
        depth_m: how far the tool may advance beyond its centre point and still meet a point listed.
    """
    depth = min(depth_m, DEEPEST_SHARE * tool.radius_m)
    along = np.sqrt(2.0 * tool.radius_m * depth - depth**2) + 0.5 * samples.spacing_m
    half = 0.5 * tool.width_m
    reach = float(np.hypot(np.hypot(along, half + 0.5 * samples.spacing_m), depth))
    lists = samples.tree.query_ball_point(frames[:, :3, 3], reach, return_sorted=False)
    counts = np.fromiter((len(found) for found in lists), np.int64, len(lists))
    point = np.concatenate([np.asarray(found, np.int64) for found in lists]) if counts.sum() else np.zeros(0, np.int64)
    pose = np.repeat(np.arange(len(frames)), counts)
    offset = samples.points_m[point] - frames[pose, :3, 3]
    x, y, z = (np.einsum("ij,ij->i", offset, frames[pose, :3, k]) for k in range(3))
    cosine = -np.einsum("ij,ij->i", samples.normals[point], frames[pose, :3, 2])
    share = np.clip((half + 0.5 * samples.spacing_m - np.abs(y)) / samples.spacing_m, 0.0, 1.0)
    gap = z + rim_m(tool, x, np.clip(y, -half, half))
    under = (share > 0.0) & (cosine > FACING_COSINE_MIN) & np.isfinite(gap) & (np.abs(x) < along) & (z > -depth)
    return PadPairs(
        pose=pose[under],
        point=point[under],
        x_m=x[under],
        y_m=y[under],
        gap_m=gap[under],
        cosine=cosine[under],
        share=share[under],
        area_m2=(samples.areas_m2[point] * cosine * share)[under],
        n_poses=len(frames),
        n_points=len(samples),
    )


def press_elastic(
    pairs: PadPairs, force_n: ArrayLike, effective_modulus_pa: float, gap_m: Array | None = None
) -> PadContact:
    """Press an elastic wheel in every pose at once; module docstring has the law.

    Args:
        force_n: one force, or (N,) forces [N].
        gap_m: (P,) gaps on a surface changed since the pairs were made [m].
    """
    gap = pairs.gap_m if gap_m is None else gap_m
    n = pairs.n_poses
    force = np.broadcast_to(np.asarray(force_n, float), (n,))
    least = np.full(n, np.inf)
    own, starts = np.unique(pairs.pose, return_index=True)
    if len(own):
        least[own] = np.minimum.reduceat(gap, starts)
    ahead = gap - least[pairs.pose]
    nearness = pairs.area_m2 / _distance_m(pairs, ahead)

    def total(values: Array) -> Array:
        return np.bincount(pairs.pose, values, n).astype(float)

    def profile(h: Array) -> Array:
        return np.sqrt(np.maximum(1.0 - ahead / h[pairs.pose], 0.0))

    low, high = np.full(n, 1e-7), np.full(n, 0.1)
    for _ in range(BISECTIONS):
        h = np.sqrt(low * high)
        s = profile(h)
        # the approach that this pressure causes, over the approach assumed
        caused = (
            force * total(s * nearness) / (np.pi * effective_modulus_pa * np.maximum(total(s * pairs.area_m2), 1e-15))
        )
        deeper = caused > 2.0 * h
        low, high = np.where(deeper, h, low), np.where(deeper, high, h)
    h = np.sqrt(low * high)
    s = profile(h)
    area = total(s * pairs.area_m2)
    peak = np.divide(force, area, out=np.zeros(n), where=area > 0.0)
    pressure = peak[pairs.pose] * s
    load = pressure * pairs.area_m2
    carried = total(load)
    x, y = (total(load * c) for c in (pairs.x_m, pairs.y_m))
    return PadContact(
        advance_m=np.where(np.isfinite(least), least + 2.0 * h, 0.0),
        pressure_pa=pressure,
        force_n=carried,
        contact_area_m2=total(np.where(pressure > 0.0, pairs.area_m2, 0.0)),
        pressure_max_pa=peak,
        centre_offset_m=np.hypot(x, y) / np.maximum(carried, 1e-12),
    )


def _distance_m(pairs: PadPairs, ahead_m: Array) -> Array:
    # from the deepest point of the pose; a piece's own share of the integral of 1/r is that of a disc of its area
    deepest = np.flatnonzero(ahead_m == 0.0)
    first = np.zeros(pairs.n_poses, np.int64)
    first[pairs.pose[deepest]] = deepest
    x, y = pairs.x_m - pairs.x_m[first][pairs.pose], pairs.y_m - pairs.y_m[first][pairs.pose]
    return np.sqrt(x**2 + y**2 + pairs.area_m2 / (4.0 * np.pi))


def contact_half_sizes_m(tool: RollerTool, force_n: float) -> tuple[float, float]:
    """Return the half length along travel and the half width across of the contact on flat ground [m]."""
    half = 0.5 * tool.width_m
    if not isinstance(tool, BurrTool | WheelTool | BeltTool):
        raise TypeError(f"roller of kind {tool.kind}")
    if isinstance(tool, BurrTool):
        # Winkler: F = K w integral of (d - x^2 / 2R) dx = K w (4/3) d sqrt(2 R d)
        depth = (0.75 * force_n / (tool.stiffness_pa_per_m * tool.width_m * np.sqrt(2.0 * tool.radius_m))) ** (
            2.0 / 3.0
        )
        return float(np.sqrt(2.0 * tool.radius_m * depth)), half
    if tool.crown_radius_m is None:
        return float(np.sqrt(4.0 * force_n / tool.width_m * tool.radius_m / (np.pi * tool.effective_modulus_pa))), half
    # of Hertz's ellipse: axes about as the 2/3 power of the radii, its area that of the round contact of equal mean
    mean = np.sqrt(tool.radius_m * tool.crown_radius_m)
    round_ = (0.75 * force_n * mean / tool.effective_modulus_pa) ** (1.0 / 3.0)
    longer = (tool.radius_m / tool.crown_radius_m) ** (1.0 / 3.0)
    return float(round_ * longer), float(min(round_ / longer, half))


def roller_is_free(caster: RayCaster, frames: Array, advance_m: Array, tool: RollerTool) -> NDArray[np.bool_]:
    """Return for each pose whether the roller and what holds it above meet nothing but the ground it runs on (N,)."""
    radius, half = tool.radius_m, 0.5 * tool.width_m + BODY_MARGIN_M
    centre = frames[:, :3, 3] + frames[:, :3, 2] * advance_m[:, None]
    angle = np.arange(16) * (2.0 * np.pi / 16)
    spokes = np.cos(angle)[:, None, None] * frames[:, :3, 0] + np.sin(angle)[:, None, None] * frames[:, :3, 1]
    free = np.ones(len(frames), bool)
    for height in BODY_HEIGHTS * radius:
        along = np.sqrt(max(radius**2 - (radius - min(height, radius)) ** 2, 0.0)) + BODY_MARGIN_M
        with np.errstate(divide="ignore"):
            length = np.minimum(along / np.abs(np.cos(angle)), half / np.abs(np.sin(angle)))
        origins = np.broadcast_to(centre - height * frames[:, :3, 2], spokes.shape)
        distance, _ = caster.first_hit(origins.reshape(-1, 3), spokes.reshape(-1, 3))
        free &= np.all(distance.reshape(spokes.shape[:2]) > length[:, None], axis=0)
    return free
