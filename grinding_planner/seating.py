"""How a pad sits on a surface: its axis, whether its body is free and it stands firmly, what such poses press."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GrindToolConfig, RollerTool
from cell_core.raycast import RayCaster
from cell_core.transforms import Array, tool_frames, unit
from grinding_planner.contact import FACING_COSINE_MIN, PadContact, PadPairs, pad_pairs
from grinding_planner.face import pairs_under, press, reach_m
from grinding_planner.roller import roller_is_free
from grinding_planner.samples import SurfaceSamples

BODY_LENGTH_M = 0.10
BODY_MARGIN_M = 0.003
LAYER_RADII = 0.12
"""Thickness of the layer that yields, in radii, at least 4 mm: the body begins behind it."""
GROUND_OFFSET_MAX = 0.62
"""Centre of the ground under the pad, in radii from the pad's centre: that of a straight border 0.35 R inside the pad's
centre, with 28 % of the face on the ground. The force goes down with the ground, so that the moment the arm must hold
is greatest where the border passes through the centre and less beyond."""
DOWNWARD_NORMAL_Z_MIN = -0.3
"""Surfaces facing further down than this lie towards the table."""
PRESSURE_FACTOR_MAX = 1.0
"""Over an edge the force goes down so that the ground carries at most this many times the pressure of a full pad."""
PRESSURE_ROUNDS = 6
PRESSURE_SLACK = 1.02
PRESSED_FRACTION_MIN = 0.5
"""A point counts as pressed from this share of the typical pressure of the pose: with less in every pose it cannot come
within a third of a uniform depth without its neighbours losing too much."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seating:
    """Pad poses with the contact they make."""

    frames: Array
    """(N, 4, 4) tool frames, z into the surface."""
    force_n: Array
    """(N,) force, lowered where the pad hangs over an edge [N]."""
    pairs: PadPairs
    contact: PadContact
    ground_area_m2: Array
    """(N,) projected area of the ground before the pad's face [m2]."""
    reasons: dict[str, NDArray[np.bool_]]
    """Why poses are not valid: body_blocked, overhang, faces_down, no_ground, force_too_high."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(N,) poses that may be used."""
        return ~np.any(list(self.reasons.values()), axis=0)

    def select(self, keep: NDArray[np.bool_]) -> "Seating":
        """Return the poses kept (N,)."""
        own, pairs = keep[self.pairs.pose], self.pairs
        per_pair = {k: getattr(pairs, k)[own] for k in ("point", "x_m", "y_m", "gap_m", "cosine", "share", "area_m2")}
        number = np.cumsum(keep) - 1
        chosen = replace(pairs, pose=number[pairs.pose[own]], n_poses=int(keep.sum()), **per_pair)
        per_pose = {f.name: getattr(self.contact, f.name) for f in fields(PadContact)}
        contact = {k: v[own if k == "pressure_pa" else keep] for k, v in per_pose.items()}
        return Seating(
            frames=self.frames[keep],
            force_n=self.force_n[keep],
            pairs=chosen,
            contact=PadContact(**contact),
            ground_area_m2=self.ground_area_m2[keep],
            reasons={k: v[keep] for k, v in self.reasons.items()},
        )

    def joined(self, other: "Seating") -> "Seating":
        """Return these poses and the others on the same samples."""
        n = self.pairs.n_poses
        a, b = self.pairs, other.pairs
        per_pair = {
            k: np.concatenate([getattr(a, k), getattr(b, k)])
            for k in ("point", "x_m", "y_m", "gap_m", "cosine", "share", "area_m2")
        }
        pairs = replace(a, pose=np.r_[a.pose, b.pose + n], n_poses=n + b.n_poses, **per_pair)
        contact = {
            f.name: np.concatenate([getattr(self.contact, f.name), getattr(other.contact, f.name)])
            for f in fields(PadContact)
        }
        return Seating(
            frames=np.concatenate([self.frames, other.frames]),
            force_n=np.r_[self.force_n, other.force_n],
            pairs=pairs,
            contact=PadContact(**contact),
            ground_area_m2=np.r_[self.ground_area_m2, other.ground_area_m2],
            reasons={k: np.r_[v, other.reasons[k]] for k, v in self.reasons.items()},
        )

    @property
    def refusals(self) -> dict[str, float]:
        """Share of the poses refused, by reason."""
        return {reason: float(np.mean(mask)) for reason, mask in self.reasons.items()}


def body_is_free(caster: RayCaster, frames: Array, advance_m: Array, radius_m: float) -> NDArray[np.bool_]:
    """Return for each pose whether a short cylinder behind the pad's face meets nothing (N,).

    Spokes from the axis find walls, rays back along the axis find roofs.
    """
    radius = radius_m + BODY_MARGIN_M
    lift = max(0.004, LAYER_RADII * radius_m)
    centre = frames[:, :3, 3] + frames[:, :3, 2] * advance_m[:, None]
    angle = np.arange(16) * (2.0 * np.pi / 16)
    spokes = np.cos(angle)[:, None, None] * frames[:, :3, 0] + np.sin(angle)[:, None, None] * frames[:, :3, 1]

    def clear(origins: Array, directions: Array, length_m: float) -> NDArray[np.bool_]:
        distance, _ = caster.first_hit(
            np.broadcast_to(origins, directions.shape).reshape(-1, 3), directions.reshape(-1, 3)
        )
        return np.all(distance.reshape(directions.shape[:2]) > length_m, axis=0)

    free = np.ones(len(frames), bool)
    for height in (lift, 0.3 * BODY_LENGTH_M, BODY_LENGTH_M):
        free &= clear(centre - height * frames[:, :3, 2], spokes, radius)
    for share in (0.0, 0.6, 1.0):
        origins = centre - lift * frames[:, :3, 2] + share * radius * spokes[:: 16 if share == 0.0 else 2]
        free &= clear(origins, np.broadcast_to(-frames[:, :3, 2], origins.shape), BODY_LENGTH_M)
    return free


def pad_axes(
    samples: SurfaceSamples,
    points_m: Array,
    normals: Array,
    radius_m: float,
    n_rounds: int = 2,
    *,
    middle_m: float = np.inf,
) -> Array:
    """Return the tool axis (N, 3) that lays a pad flat on the ground round each point.

    Least-squares plane of the ground under the pad, with a ridge towards the mean normal so that a narrow strip does
    not turn the pad about its length.

    Args:
        middle_m: the ground counts less beyond this distance from the point [m]; then a pad that hangs over the border
            of bent ground is not turned towards what is left of it.
    """
    normal = unit(normals)
    for _ in range(n_rounds):
        frames = tool_frames(points_m, -normal, any_perpendicular(normal))
        pairs = pad_pairs(samples, frames, radius_m)
        lying = pairs.cosine > 0.5
        middle = np.exp(-(pairs.x_m**2 + pairs.y_m**2) / middle_m**2)
        pose, w = pairs.pose[lying], (pairs.area_m2 * middle)[lying]
        x, y, z = pairs.x_m[lying], pairs.y_m[lying], pairs.gap_m[lying]

        def total(values: Array, pose: NDArray = pose, n: int = len(frames)) -> Array:
            return np.bincount(pose, values, n).astype(float)

        area = total(w)
        safe = np.maximum(area, 1e-12)
        mx, my, mz = total(w * x) / safe, total(w * y) / safe, total(w * z) / safe
        ridge = 0.02 * radius_m**2
        xx, yy = total(w * x * x) / safe - mx**2 + ridge, total(w * y * y) / safe - my**2 + ridge
        xy, xz, yz = (
            total(w * x * y) / safe - mx * my,
            total(w * x * z) / safe - mx * mz,
            total(w * y * z) / safe - my * mz,
        )
        det = xx * yy - xy**2
        slope_x, slope_y = (yy * xz - xy * yz) / det, (xx * yz - xy * xz) / det
        tilted = frames[:, :3, 2] - slope_x[:, None] * frames[:, :3, 0] - slope_y[:, None] * frames[:, :3, 1]
        normal = np.where((area > 0.0)[:, None], -unit(tilted), normal)
    return -normal


def seat(
    samples: SurfaceSamples,
    caster: RayCaster,
    frames: Array,
    tool: GrindToolConfig,
    force_n: float,
    *,
    any_direction: bool = False,
    step_m: float = 0.0,
) -> Seating:
    """Press the pad in every frame (N, 4, 4) and say which poses stand firmly with a free body.

    Args:
        any_direction: what faces down is no underside that lies on a table.
        step_m: distance of the frames where they follow each other along a line, for what they remove.
    """
    pairs = pairs_under(samples, frames, tool, step_m=step_m)
    face = np.pi * reach_m(tool) ** 2
    depth = 0.25 * reach_m(tool)
    first = press(pairs, force_n, tool)
    ground = np.where(pairs.gap_m < first.advance_m[pairs.pose] + depth, pairs.area_m2, 0.0)
    area = np.bincount(pairs.pose, ground, pairs.n_poses).astype(float)
    x, y = (
        np.bincount(pairs.pose, ground * c, pairs.n_poses) / np.maximum(area, 1e-12) for c in (pairs.x_m, pairs.y_m)
    )
    wanted = force_n * np.minimum(1.0, PRESSURE_FACTOR_MAX * area / face)
    force, contact = _borne(pairs, np.clip(wanted, tool.force_n.low, tool.force_n.high), tool)
    return Seating(
        frames=frames,
        force_n=force,
        pairs=pairs,
        contact=contact,
        ground_area_m2=area,
        reasons={
            "no_ground": area <= 0.02 * face,
            "overhang": np.hypot(x, y) > GROUND_OFFSET_MAX * reach_m(tool),
            "force_too_high": wanted < 0.7 * tool.force_n.low,
            "faces_down": (-frames[:, 2, 2] < DOWNWARD_NORMAL_Z_MIN) & (not any_direction),
            "slide_stroke": np.abs(contact.advance_m) > 0.5 * tool.slide_stroke_m,
            "body_blocked": ~_free(caster, frames, contact.advance_m, tool),
            **_kept_out(samples, pairs, contact),
            **_too_hard(contact, tool),
        },
    )


def _free(caster: RayCaster, frames: Array, advance_m: Array, tool: GrindToolConfig) -> NDArray[np.bool_]:
    if isinstance(tool, RollerTool):
        return roller_is_free(caster, frames, advance_m, tool)
    return body_is_free(caster, frames, advance_m, tool.radius_m)


def _borne(pairs: PadPairs, force_n: Array, tool: GrindToolConfig) -> tuple[Array, PadContact]:
    """Return forces lowered to what the abrasive bears, as far as the tool goes, and the contact they make."""
    contact = press(pairs, force_n, tool)
    if tool.pressure_max_pa is None:
        return force_n, contact
    for _ in range(PRESSURE_ROUNDS):
        over = contact.pressure_max_pa / tool.pressure_max_pa
        if not (over > 1.0).any():
            break
        force_n = np.maximum(force_n / np.maximum(over, 1.0), tool.force_n.low)
        contact = press(pairs, force_n, tool)
    return force_n, contact


def _kept_out(samples: SurfaceSamples, pairs: PadPairs, contact: PadContact) -> dict[str, NDArray[np.bool_]]:
    if samples.forbidden is None:
        return {}
    touching = (contact.pressure_pa > 0.0) & samples.forbidden[pairs.point]
    return {"kept_out": np.bincount(pairs.pose, touching, pairs.n_poses) > 0}


def _too_hard(contact: PadContact, tool: GrindToolConfig) -> dict[str, NDArray[np.bool_]]:
    if tool.pressure_max_pa is None:
        return {}
    return {"pressure_too_high": contact.pressure_max_pa > PRESSURE_SLACK * tool.pressure_max_pa}


def pressed_by(seating: Seating) -> Array:
    """Return the highest pressure any valid pose brings to each sample (S,), over that pose's typical pressure.

    Typical is the pressure's mean weighted with itself: that of a flat contact, 4/3 of the mean of a ball's.
    """
    pairs, contact = seating.pairs, seating.contact
    square = np.bincount(pairs.pose, contact.pressure_pa**2 * pairs.area_m2, pairs.n_poses)
    typical = square / np.maximum(contact.force_n, 1e-12)
    relative = contact.pressure_pa / np.maximum(typical[pairs.pose], 1e-12)
    own = seating.valid[pairs.pose] & (pairs.share > 0.5) & (pairs.cosine > FACING_COSINE_MIN)
    relative = np.where(own, relative, 0.0)
    best = np.zeros(seating.pairs.n_points)
    np.maximum.at(best, seating.pairs.point, relative)
    return best


def any_perpendicular(directions: Array) -> Array:
    """Return a unit vector (N, 3) across each direction (N, 3)."""
    helper = np.where(np.abs(directions[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    return unit(np.cross(directions, helper))
