"""Whether a tool on an edge has room: its face, shank and spindle as cylinders that the part must not cross."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.config import BurrTool, GrindToolConfig
from cell_core.raycast import RayCaster
from cell_core.transforms import Array
from grinding_planner.seating import BODY_LENGTH_M, DOWNWARD_NORMAL_Z_MIN

MARGIN_M = 0.3e-3
"""Room that a burr's head and shank keep."""
SPINDLE_MARGIN_M = 0.002
"""Room that a spindle or a pad's body keeps."""
RAYS_AROUND = 16
SPOKE_PLACES = 7


@dataclass(frozen=True, kw_only=True)
class Cylinder:
    """A round body of the tool, in tool coordinates: from a point along a direction."""

    from_m: tuple[float, float, float]
    along: tuple[float, float, float]
    length_m: float
    radius_m: float
    """Radius with its margin [m]."""


def bodies(tool: GrindToolConfig, depth_m: float) -> list[Cylinder]:
    """Return what of the tool must not meet the part when it has sunk into an edge by that depth."""
    if not isinstance(tool, BurrTool):
        # the face rests on the crest, the body begins behind it
        start, back, radius = (0.0, 0.0, -SPINDLE_MARGIN_M), (0.0, 0.0, -1.0), tool.radius_m + SPINDLE_MARGIN_M
        return [Cylinder(from_m=start, along=back, length_m=BODY_LENGTH_M, radius_m=radius)]
    axis, half = depth_m - tool.radius_m, 0.5 * tool.width_m
    lengths = (tool.width_m + 2.0 * MARGIN_M, tool.shank_length_m, BODY_LENGTH_M)
    starts = (-half - MARGIN_M, half, half + tool.shank_length_m)
    radii = (
        tool.radius_m + MARGIN_M,
        tool.shank_radius_m + MARGIN_M,
        tool.spindle_radius_m + SPINDLE_MARGIN_M,
    )
    return [
        Cylinder(from_m=(0.0, y, axis), along=(0.0, 1.0, 0.0), length_m=length, radius_m=radius)
        for y, length, radius in zip(starts, lengths, radii, strict=True)
    ]


def blocked(caster: RayCaster, frames: Array, opening_rad: Array, parts: list[Cylinder]) -> NDArray[np.bool_]:
    """Return for each tool frame (N, 4, 4) on an edge of that opening (N,) whether the part crosses a body (N,).

    Lines along each cylinder's side and axis find what crosses it, spokes at its ends and between what pokes into it.
    What would end inside the edge's own material says nothing and is left out.
    """
    hit = np.zeros(len(frames), bool)
    slope = 1.0 / np.tan(0.5 * opening_rad)[:, None]
    R, at = frames[:, :3, :3], frames[:, :3, 3]
    for body in parts:
        start, stop = _rays(body)
        # where a ray is nearest to the edge's middle and deepest
        aside = np.where(start[:, 1] * stop[:, 1] <= 0.0, 0.0, np.minimum(np.abs(start[:, 1]), np.abs(stop[:, 1])))
        free = np.maximum(start[:, 2], stop[:, 2]) + MARGIN_M < aside * slope
        pose, ray = np.nonzero(free)
        a, b = (np.einsum("nij,nj->ni", R[pose], ends[ray]) + at[pose] for ends in (start, stop))
        crossed = caster.blocked(a, b)
        hit[pose[crossed]] = True
    return hit


def _rays(body: Cylinder) -> tuple[Array, Array]:
    along, foot = np.array(body.along), np.array(body.from_m)
    u = np.array([1.0, 0.0, 0.0])
    angle = np.arange(RAYS_AROUND) * 2.0 * np.pi / RAYS_AROUND
    rim = body.radius_m * (np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * np.cross(along, u))
    start, stop = [foot[None]], [(foot + body.length_m * along)[None]]
    for share in (1.0, 0.6):
        start.append(foot + share * rim)
        stop.append(foot + share * rim + body.length_m * along)
    for place in np.linspace(0.0, 1.0, SPOKE_PLACES):
        middle = foot + place * body.length_m * along
        start.append(np.broadcast_to(middle, rim.shape))
        stop.append(middle + rim)
    return np.concatenate(start), np.concatenate(stop)


def faces_down(frames: Array, tool: GrindToolConfig) -> NDArray[np.bool_]:
    """Return whether the tool's body would have to come from below (N,): a burr's lies along y, a pad's along -z."""
    body = frames[:, 2, 1] if isinstance(tool, BurrTool) else -frames[:, 2, 2]
    return body < DOWNWARD_NORMAL_Z_MIN
