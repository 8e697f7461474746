"""Which pieces of edges a tool can ride: room for its body on one side or the other, keep-outs, bends too tight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cell_core.config import BurrTool, GrindToolConfig
from cell_core.raycast import RayCaster
from cell_core.regions import depth_inside
from cell_core.transforms import Array, tool_frames, unit
from grinding_planner.chamfer import DEEPEST_RADII, face_on_edge, section_depth_m
from grinding_planner.edge import Edge
from grinding_planner.edge_bodies import blocked, bodies, faces_down
from grinding_planner.edge_speeds import too_strong
from grinding_planner.task import GrindTask

INSET_REACHES = 0.35
"""Strokes end so far before the end of an edge, in reaches of the contact: what lies before the tool is cut too, and
in a corner what its other edges have left of it is cut deeper."""
RUN_MIN_M = 1.2e-3
"""Shorter pieces between places that cannot be reached are left."""
TOUCH_AHEAD = 0.1
TOUCH_AHEAD_FLAT = 1.0
"""A face may come nearer to the edge before and behind its middle than there by this share of the depth; a flat one,
which cuts with its rim anyway, by all of it."""
SKEWS_RAD = (0.0, 0.35, -0.35, 0.7, -0.7)
"""More would stretch the contact along the edge by more than a third."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Posture:
    """How the tool is held on an edge, apart from its axis on the bisector."""

    backwards: bool
    """It travels against the edge's own way: a burr's shank lies over the other face."""
    skew_rad: float
    """Turn about the tool axis away from square on the edge: a burr's shank leans along it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """Along one edge: in which postures the tool has room, and why it has none."""

    postures: Sequence[Posture]
    free: Mask
    """(P, N) the tool has room."""
    reasons: dict[str, Mask]
    """(N,) by reason, for what can be ridden in no posture, one per sample: keep_out; too_sharp: the tool would sink in
    too deep; force_too_high: even its lowest force is; too_curved: a bend tighter than the tool; faces_down: on
    a table there is room from below alone; body_blocked: the part is in the way of head, shank or spindle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A piece of an edge that one stroke rides, run so that the tool has room."""

    edge: Edge
    """Evenly sampled, one sample per position of the tool."""
    skew_rad: float
    before_m: float
    """How far the edge goes on before the first position [m]."""
    behind_m: float
    on_way_m: Array
    """(M,) way of each sample of the whole edge from the first position of the tool [m]."""

    @property
    def travel(self) -> Array:
        """(N, 3) unit, the tool's x: along the edge, turned by the skew about the tool axis."""
        along, axis = self.edge.along, -self.edge.outward
        along = unit(along - np.einsum("ij,ij->i", along, axis)[:, None] * axis)
        return np.cos(self.skew_rad) * along + np.sin(self.skew_rad) * np.cross(axis, along)


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeReach:
    """What of an edge is ridden, and why the rest is not."""

    ways: list[Way]
    ridden: Mask
    """(N,) samples of the edge that a way serves."""
    reasons: dict[str, Mask]


def room_on(task: GrindTask, tool: GrindToolConfig, edges: Sequence[Edge], contact_m: float) -> list[Room]:
    """Try the tool at every sample of every edge, square on it both ways, and skewed where neither has room."""
    recipe = task.recipe
    every = _Samples(
        *(
            np.concatenate([getattr(edge, name) for edge in edges])
            for name in ("position_m", "outward", "along", "opening_rad", "rounding_m", "curvature_per_m")
        )
    )
    # the face lies on the edge before and behind the tool as well
    kept = np.zeros(len(every.position_m), bool)
    for region in recipe.keep_out:
        kept |= depth_inside(region, every.position_m) > -contact_m
    depth = section_depth_m(0.5 * recipe.chamfer_width_m, every.opening_rad, every.rounding_m)
    sharp = ~kept & (depth > DEEPEST_RADII * tool.radius_m)
    face = face_on_edge(tool, float(np.max(depth[~sharp], initial=0.5 * recipe.chamfer_width_m)))
    strong = ~kept & ~sharp
    strong &= too_strong(every.opening_rad, every.rounding_m, every.curvature_per_m, face, tool, recipe)
    caster, parts = RayCaster(task.surface), bodies(tool, 0.0)
    ahead = TOUCH_AHEAD if isinstance(tool, BurrTool) else TOUCH_AHEAD_FLAT
    skews = SKEWS_RAD if isinstance(tool, BurrTool) else (0.0,)
    postures = [Posture(backwards=back, skew_rad=skew) for skew in skews for back in (False, True)]
    free, curved, below = (np.zeros((len(postures), len(kept)), bool) for _ in range(3))
    for k, posture in enumerate(postures):
        asked = np.flatnonzero(~kept & ~sharp & ~strong & ~(free[:2].any(axis=0) if k > 1 else kept))
        some = _Samples(*(values[asked] for values in every))
        bend = some.curvature_per_m + skew_bend_per_m(tool, posture.skew_rad)
        stands = (face.gap_m + 0.5 * bend[:, None] * face.x_m**2).min(axis=1)
        curved[k, asked] = stands < -ahead * depth[asked]
        frames = _frames(some, posture)
        room = ~curved[k, asked] & ~blocked(caster, frames, some.opening_rad, some.rounding_m, parts)
        below[k, asked] = room & task.on_table & faces_down(frames, tool)
        free[k, asked] = room & ~below[k, asked]
    none = ~free.any(axis=0) & ~kept & ~strong & ~sharp
    why = {"keep_out": kept, "too_sharp": sharp, "force_too_high": strong}
    why["too_curved"] = none & curved[:2].all(axis=0)
    why["faces_down"] = none & below.any(axis=0)
    why["body_blocked"] = none & ~why["too_curved"] & ~why["faces_down"]
    cuts = np.cumsum([len(edge) for edge in edges])[:-1]
    split = {name: np.split(mask, cuts) for name, mask in why.items()}
    return [
        Room(postures=postures, free=own, reasons={name: masks[k] for name, masks in split.items()})
        for k, own in enumerate(np.split(free, cuts, axis=1))
    ]


def skew_bend_per_m(tool: GrindToolConfig, skew_rad: float) -> float:
    """Return the curvature [1/m] that a skew takes off a round face along the edge: cos^2 / r is left of 1 / r."""
    return -(np.sin(skew_rad) ** 2) / tool.radius_m if isinstance(tool, BurrTool) else 0.0


class _Samples(NamedTuple):
    position_m: Array
    outward: Array
    along: Array
    opening_rad: Array
    rounding_m: Array
    curvature_per_m: Array


def _frames(samples: _Samples, posture: Posture) -> Array:
    sign = -1.0 if posture.backwards else 1.0
    square = tool_frames(samples.position_m, -samples.outward, sign * samples.along)
    x = np.cos(posture.skew_rad) * square[:, :3, 0] + np.sin(posture.skew_rad) * square[:, :3, 1]
    return tool_frames(samples.position_m, -samples.outward, x)


def ways_of(edge: Edge, room: Room, contact_m: float) -> EdgeReach:
    """Return the strokes that ride an edge, with as few changes of posture as a greedy choice leaves.

    Args:
        contact_m: reach of the contact before and behind the tool.
    """
    posture = _chosen(room.free)
    ridden = np.zeros(len(edge), bool)
    ways: list[Way] = []
    if edge.closed and posture[0] >= 0 and np.all(posture == posture[0]):
        ridden[:] = True
        ways.append(_held(edge, room.postures[posture[0]], 0.0, 0.0, edge.arc_m))
    else:
        # a closed edge is opened where its posture changes, so that no stroke is cut in two for nothing
        first = int(np.argmax(np.diff(posture) != 0)) + 1 if edge.closed else 0
        turned = edge.rolled(first) if edge.closed else edge
        order = np.r_[first : len(edge) - 1, 0 : first + 1] if edge.closed else np.arange(len(edge))
        own = posture[order]
        for a, b in _runs(own):
            arc = turned.arc_m
            if arc[b] - arc[a] < RUN_MIN_M:
                continue
            # at an end or another posture the edge is left to its corner or neighbour; elsewhere more of it lies there
            shared = [own[c] >= 0 if 0 <= c < len(own) else not edge.closed for c in (a - 1, b + 1)]
            inset = [INSET_REACHES * contact_m if s else 0.0 for s in shared]
            before, behind = (i if s else contact_m for i, s in zip(inset, shared, strict=True))
            start, stop = arc[a] + inset[0], arc[b] - inset[1]
            n = max(3, round((stop - start) / (arc[1] - arc[0])) + 1)
            piece = turned.at(np.linspace(start, stop, n))
            on_way = np.empty(len(edge))
            on_way[order[::-1] if a == 0 else order] = (arc[::-1] if a == 0 else arc) - start
            on_way[-1] = on_way[0] if edge.closed else on_way[-1]
            ways.append(_held(piece, room.postures[own[a]], before, behind, on_way))
            ridden[order[a : b + 1]] = True
        ridden[-1] |= edge.closed & ridden[0]
    reasons = dict(room.reasons)
    reasons["too_short"] = ~ridden & (posture >= 0)
    return EdgeReach(ways=ways, ridden=ridden, reasons=reasons)


def _held(edge: Edge, posture: Posture, before_m: float, behind_m: float, on_way_m: Array) -> Way:
    if posture.backwards:
        edge, before_m, behind_m, on_way_m = edge.reversed(), behind_m, before_m, edge.length_m - on_way_m
    return Way(edge=edge, skew_rad=posture.skew_rad, before_m=before_m, behind_m=behind_m, on_way_m=on_way_m)


def _chosen(free: Mask) -> NDArray[np.int64]:
    """Return each sample's posture (N,), -1: none; the posture that rides the longest piece comes first, and so on."""
    chosen = np.full(free.shape[1], -1)
    left = free.copy()
    while left.any():
        changes = np.diff(left.astype(np.int8), prepend=0, append=0, axis=1)
        posture, start = np.nonzero(changes > 0)
        _, stop = np.nonzero(changes < 0)
        k = int(np.argmax(stop - start))
        chosen[start[k] : stop[k]] = posture[k]
        left[:, start[k] : stop[k]] = False
    return chosen


def _runs(posture: NDArray[np.int64]) -> list[tuple[int, int]]:
    starts = np.flatnonzero(np.diff(posture, prepend=-2))
    stops = np.r_[starts[1:] - 1, len(posture) - 1]
    return [(int(a), int(b)) for a, b in zip(starts, stops, strict=True) if posture[a] >= 0 and b > a]
