"""A flat pad with a Winkler layer pressed on the true surface, and what Preston's law then removes.

Pressure p = K max(0, d - gap) where gap is how far a surface point lies ahead of the pad's face along the tool axis
and d the advance of the pad; d follows from the force balance: the sum of p over the pad's projected area is the
force. Removal rate dz/dt = k_p p v_rel (Preston). Validity: the axis is held by the arm (the pad does not tilt by
itself), friction does not deflect it, and the pad's curvature under load is the layer's compression alone. PROCESS.md
section 1.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from scipy.special import ellipe

from cell_core.config import BeltTool, GrindToolConfig, PadTool
from cell_core.transforms import Array
from grinding_planner.samples import SurfaceSamples

POSES_PER_BLOCK = 500
"""Blocks whose pairs fit a processor's cache are several times faster than all poses at once."""
FACING_COSINE_MIN = 0.2
"""Steeper faces than this are walls to the pad, not ground."""
FEW_SHARE, FOREMOST_FACTOR = 0.6, 20.0
"""Points so many times further behind the first than a pad lying flat would yield are not among the foremost."""
RUBBED_COSINE_MIN = 0.05
"""Where a layer wraps an edge it rubs the wall behind it as far down as it yields, unless that is all but square."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PadPairs:
    """All (pose, point) pairs with the point in front of the pad; sorted by pose."""

    pose: NDArray[np.int64]
    """(P,) index of the pose."""
    point: NDArray[np.int64]
    """(P,) index of the sample."""
    x_m: Array
    """(P,) along travel from the pad's centre [m]."""
    y_m: Array
    """(P,) across travel [m]."""
    gap_m: Array
    """(P,) how far the point lies ahead of the pad's face at the nominal tool centre point [m]."""
    cosine: Array
    """(P,) cosine between the tool axis and the point's inward normal."""
    share: Array
    """(P,) how much of the point's piece lies under the pad, 0..1; the mean over a sample's way where asked for."""
    area_m2: Array
    """(P,) projected area of the piece under the pad [m2]."""
    n_poses: int
    n_points: int

    @property
    def bounds(self) -> NDArray[np.int64]:
        """(N+1,) first pair of every pose."""
        return np.searchsorted(self.pose, np.arange(self.n_poses + 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class PadContact:
    """How the pad sits in each pose."""

    advance_m: Array
    """(N,) travel of the pad's face along the tool axis from the tool centre point to balance [m]; 0: none."""
    pressure_pa: Array
    """(P,) pressure at each pair [Pa]."""
    force_n: Array
    """(N,) force carried by the surface [N]; 0 where there is nothing under the pad."""
    contact_area_m2: Array
    """(N,) projected area with pressure [m2]."""
    pressure_max_pa: Array
    """(N,) highest pressure [Pa]."""
    centre_offset_m: Array
    """(N,) distance of the centre of pressure from the pad's centre [m]."""


def pad_pairs(
    samples: SurfaceSamples, frames: Array, radius_m: float, *, behind_m: float | None = None, step_m: float = 0.0
) -> PadPairs:
    """Return which samples lie under the pad in each tool frame (N, 4, 4), in tool coordinates.

    Args:
        behind_m: points further behind the pad's face than this are not ground but bodies; default half the radius.
        step_m: distance to the next frame along travel; shares are then means over the way between the neighbours,
            nearness to the frame as weight, as the dwell of a sample has it. 0: the pad as it stands.
    """
    behind = 0.5 * radius_m if behind_m is None else behind_m
    blocks = [slice(k, k + POSES_PER_BLOCK) for k in range(0, max(len(frames), 1), POSES_PER_BLOCK)]
    found = [_pairs_of_block(samples, frames, block, radius_m, behind, step_m) for block in blocks]
    return PadPairs(
        **{name: np.concatenate([block[name] for block in found]) for name in found[0]},
        n_poses=len(frames),
        n_points=len(samples),
    )


def _pairs_of_block(
    samples: SurfaceSamples, frames: Array, block: slice, radius_m: float, behind_m: float, step_m: float
) -> dict[str, NDArray]:
    frames = frames[block]
    reach = radius_m + 0.5 * samples.spacing_m
    lists = samples.tree.query_ball_point(frames[:, :3, 3], np.hypot(reach + step_m, behind_m), return_sorted=False)
    counts = np.fromiter((len(found) for found in lists), np.int64, len(lists))
    point = np.concatenate([np.asarray(found, np.int64) for found in lists]) if counts.sum() else np.zeros(0, np.int64)
    pose = np.repeat(np.arange(len(frames)), counts)
    axis = frames[:, :3, 2]
    cosine = -np.einsum("ij,ij->i", samples.normals[point], axis[pose])
    facing = cosine > RUBBED_COSINE_MIN
    pose, point, cosine = pose[facing], point[facing], cosine[facing]
    offset = samples.points_m[point] - frames[pose, :3, 3]
    x, y, z = (np.einsum("ij,ij->i", offset, frames[pose, :3, k]) for k in range(3))
    still = np.clip((reach - np.hypot(x, y)) / samples.spacing_m, 0.0, 1.0)
    share = _swept_share(x, y, radius_m, step_m, samples.spacing_m) if step_m > 0.0 else still
    under = ((still > 0.0) | (share > 0.0)) & (z > -behind_m) & (z < radius_m)
    pose, point, cosine, share, still = pose[under], point[under], cosine[under], share[under], still[under]
    return {
        "pose": pose + block.start,
        "point": point,
        "x_m": x[under],
        "y_m": y[under],
        "gap_m": z[under],
        "cosine": cosine,
        "share": share,
        "area_m2": samples.areas_m2[point] * cosine * still,
    }


def _swept_share(x_m: Array, y_m: Array, radius_m: float, step_m: float, spacing_m: float) -> Array:
    """Return how much of pieces at (x, y) a pad lies on as it comes from the frame before and goes to the next."""
    # a piece is as wide as samples are apart: its mean over y by three lines, over x together with the way
    reach = np.hypot(step_m, 0.5 * spacing_m)

    def before(at: Array) -> Array:
        # share of a triangle of half width 1 to the left of a point
        t = np.clip(at / reach, -1.0, 1.0)
        return 0.5 + t - 0.5 * t * np.abs(t)

    share = np.zeros_like(x_m)
    for shift in (-spacing_m / 3.0, 0.0, spacing_m / 3.0):
        chord = np.sqrt(np.maximum(radius_m**2 - (y_m + shift) ** 2, 0.0))
        share += (before(x_m + chord) - before(x_m - chord)) / 3.0
    return share


def balance(pairs: PadPairs, force_n: ArrayLike, stiffness_pa_per_m: float, gap_m: Array | None = None) -> PadContact:
    """Solve the force balance of every pose at once.

    The force is a convex, piecewise linear function of the advance, so Newton's method started with every point in
    contact comes down to the exact solution in finitely many steps. Where few touch it goes on from those before the
    advance that the foremost alone would balance: the same solution in fewer steps.

    Args:
        force_n: one force, or (N,) forces [N].
        gap_m: (P,) gaps on a surface changed since the pairs were made [m].
    """
    gap = pairs.gap_m if gap_m is None else gap_m
    force = np.broadcast_to(np.asarray(force_n, float), (pairs.n_poses,))
    has_ground = np.bincount(pairs.pose, pairs.area_m2, pairs.n_poses) > 0.0
    advance = np.zeros(pairs.n_poses)
    # points that lift off stay off, and poses in balance are done with
    pose, area, height = pairs.pose, pairs.area_m2, gap
    for turn in range(200):
        total = np.bincount(pose, area, pairs.n_poses)
        moment = np.bincount(pose, area * height, pairs.n_poses)
        np.divide(force / stiffness_pa_per_m + moment, total, out=advance, where=total > 0.0)
        touching = height < advance[pose]
        n_touching = np.count_nonzero(touching)
        if n_touching == len(touching):
            break
        if turn == 0 and n_touching < FEW_SHARE * len(touching):
            near = _foremost(pairs, gap, force / stiffness_pa_per_m)
            pose, area, height = pose[near], area[near], height[near]
            continue
        moving = np.zeros(pairs.n_poses, bool)
        moving[pose[~touching]] = True
        left = touching & moving[pose]
        pose, area, height = pose[left], area[left], height[left]
    pressure = stiffness_pa_per_m * np.maximum(0.0, advance[pairs.pose] - gap)
    pressed = np.flatnonzero(pressure > 0.0)
    pose, area = pairs.pose[pressed], pairs.area_m2[pressed]
    load = pressure[pressed] * area
    carried = np.bincount(pose, load, pairs.n_poses).astype(float)
    x, y = (np.bincount(pose, load * c[pressed], pairs.n_poses) for c in (pairs.x_m, pairs.y_m))
    highest = np.zeros(pairs.n_poses)
    np.maximum.at(highest, pose, np.where(area > 0.0, pressure[pressed], 0.0))
    return PadContact(
        advance_m=np.where(has_ground, advance, 0.0),
        pressure_pa=pressure,
        force_n=carried,
        contact_area_m2=np.bincount(pose, area, pairs.n_poses).astype(float),
        pressure_max_pa=highest,
        centre_offset_m=np.hypot(x, y) / np.maximum(carried, 1e-12),
    )


def _foremost(pairs: PadPairs, gap_m: Array, volume_m3: Array) -> NDArray[np.int64]:
    """Return pairs (Q,) that hold all that touch: those before the advance that the foremost alone would balance."""
    pose, area = pairs.pose, pairs.area_m2
    first = np.full(pairs.n_poses, np.inf)
    bounds = pairs.bounds
    filled = np.flatnonzero(np.diff(bounds) > 0)
    if len(filled) == 0:
        return np.zeros(0, np.int64)
    first[filled] = np.minimum.reduceat(np.where(area > 0.0, gap_m, np.inf), bounds[filled])
    whole = np.bincount(pose, area, pairs.n_poses)
    yields = np.divide(FOREMOST_FACTOR * volume_m3, whole, out=np.zeros(pairs.n_poses), where=whole > 0.0)
    some = np.flatnonzero(gap_m <= (first + yields)[pose])
    total = np.bincount(pose[some], area[some], pairs.n_poses)
    moment = np.bincount(pose[some], area[some] * gap_m[some], pairs.n_poses)
    most = np.divide(volume_m3 + moment, total, out=np.full(pairs.n_poses, -np.inf), where=total > 0.0)
    # a bound: with rounding it must not cut what just touches
    return np.flatnonzero(gap_m <= (most + 1e-9 * np.abs(most) + 1e-12)[pose])


def relative_speed(tool: GrindToolConfig, x_m: ArrayLike, y_m: ArrayLike, feed_m_per_s: ArrayLike) -> Array:
    """Return the mean speed of the abrasive over the surface at tool coordinates (x along the feed) [m/s].

    Orbital: every point of the pad goes round a circle of the orbit radius, so the mean of |circle + feed| over a
    turn is a complete elliptic integral. Disc: |omega x r + feed|. Rollers run against the feed: omega R + feed, or the
    belt's speed + feed.
    """
    omega = tool.rpm * 2.0 * np.pi / 60.0
    x, y, feed = np.asarray(x_m, float), np.asarray(y_m, float), np.asarray(feed_m_per_s, float)
    shape = np.broadcast_shapes(x.shape, y.shape, feed.shape)
    if not isinstance(tool, PadTool):
        return np.broadcast_to(nominal_speed(tool) + feed, shape)
    if tool.motion == "orbital":
        circle = omega * tool.orbit_radius_m
        total = circle + feed
        return np.broadcast_to(2.0 / np.pi * total * ellipe(4.0 * circle * feed / np.maximum(total, 1e-12) ** 2), shape)
    return np.hypot(feed - omega * y, omega * x)


def removal_rates(
    pairs: PadPairs, contact: PadContact, tool: GrindToolConfig, feed_m_per_s: ArrayLike = 0.0
) -> scipy.sparse.csr_matrix:
    """Return the (S, N) removal rates [m/s]: k_p p v_rel, for the share of each piece that the tool touches."""
    speed = relative_speed(tool, pairs.x_m, pairs.y_m, feed_m_per_s)
    rate = tool.preston_per_pa * contact.pressure_pa * speed * pairs.share
    keep = rate > 0.0
    return scipy.sparse.csr_matrix(
        (rate[keep], (pairs.point[keep], pairs.pose[keep])), shape=(pairs.n_points, pairs.n_poses)
    )


def nominal_speed(tool: GrindToolConfig) -> float:
    """Return v_rel over the face at rest [m/s]: omega e (orbital), 2/3 omega R as mean (disc), the rim's (roller)."""
    omega = tool.rpm * 2.0 * np.pi / 60.0
    if isinstance(tool, BeltTool):
        return tool.belt_speed_m_per_s
    if not isinstance(tool, PadTool):
        return omega * tool.radius_m
    return omega * tool.orbit_radius_m if tool.motion == "orbital" else 2.0 / 3.0 * omega * tool.radius_m
