"""What a tool that bisects an edge takes off its cross-section: a Winkler contact marched along the edge.

Every cell of the edge is a cross-section: depth below the crest along the tool axis over the way across. The tool's
face stands back from its lowest line by its gap along travel and by the edge's own curvature. At each step of the tool
its advance d balances the force, the sum of K (d - gap - depth)+ over the cells under it, and every cell follows
Preston's law for the time of the step, exactly for an advance that stands still: (d - gap - depth) decays by
exp(-k_p K v t). So volume is k_p F v t whatever the step. A stiff tool leaves a flat, area w^2 / (4 tan(phi / 2)) of
width w and opening phi; a soft one rounds. Validity: the cross-section changes little over the contact's length; the
tool's axis is held; what the tool meets besides the edge's two faces is no contact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cell_core.config import BurrTool, GrindToolConfig, PadTool
from cell_core.errors import InputRefusedError
from cell_core.transforms import Array
from grinding_planner.contact import nominal_speed, relative_speed

CELLS_ACROSS = 20
WIDTH_CELLS = 14
"""Of the cells across, as many make half the wanted width."""
STEPS_PER_CONTACT = 8
NEWTON_MAX = 40
NEW_FACE_DEPTH = 0.1
"""Where the removal is this share of the crest's, extrapolated to none, the new face ends."""


def section_depth_m(across_m: ArrayLike, opening_rad: ArrayLike, rounding_m: ArrayLike) -> Array:
    """Return how far an edge's faces lie below its crest, along the bisector, at a way across it [m]."""
    y, half = np.abs(np.asarray(across_m, float)), 0.5 * np.asarray(opening_rad, float)
    radius = np.asarray(rounding_m, float)
    foot = radius * np.cos(half)
    round_ = radius - np.sqrt(np.maximum(radius**2 - np.minimum(y, foot) ** 2, 0.0))
    return round_ + np.maximum(y - foot, 0.0) / np.tan(half)


def section_area_m2(width_m: float, opening_rad: Array, rounding_m: Array) -> Array:
    """Return the cross-section above a flat of that width across the bisector [m2]."""
    y = (np.arange(64) + 0.5) / 64 * 0.5 * width_m
    depth = section_depth_m(y, np.asarray(opening_rad)[..., None], np.asarray(rounding_m)[..., None])
    bottom = section_depth_m(0.5 * width_m, opening_rad, rounding_m)
    return width_m * (bottom[..., None] - depth).mean(axis=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """A tool's face on an edge, cell by cell along travel."""

    tool: GrindToolConfig
    stiffness_pa_per_m: float
    step_m: float
    """Length of a cell [m]."""
    x_m: Array
    """(X,) cells' middles from the tool centre point, along travel [m]."""
    gap_m: Array
    """(X,) how far the face stands back from its lowest line [m]."""

    @property
    def reach_m(self) -> float:
        """Half the length along travel that is looked at [m]."""
        return float(self.x_m[-1])

    def speed_m_per_s(self, feed_m_per_s: Array) -> Array:
        """Return v_rel (B, X) at feeds (B,)."""
        return relative_speed(self.tool, self.x_m[None], 0.0, feed_m_per_s[:, None])


def contact_reach_m(tool: GrindToolConfig, depth_m: float) -> float:
    """Return how far before and behind its centre the tool meets an edge it has sunk into by that depth [m].

    Raises:
        InputRefusedError: a tool of a kind that has no Winkler layer.
    """
    if isinstance(tool, PadTool):
        return tool.radius_m
    if isinstance(tool, BurrTool):
        return float(np.sqrt(max(2.0 * tool.radius_m * depth_m - depth_m**2, 0.0)))
    raise InputRefusedError(f"tool {tool.name}: kind {tool.kind} cannot break edges, wanted pad or burr")


def face_on_edge(tool: GrindToolConfig, depth_m: float) -> Face:
    """Return the tool's face as it meets an edge it sinks into by up to that depth."""
    reach = contact_reach_m(tool, depth_m)
    assert isinstance(tool, PadTool | BurrTool)
    if isinstance(tool, PadTool):
        step = 2.0 * reach / (6 * STEPS_PER_CONTACT + 1)
        x = step * np.arange(-3 * STEPS_PER_CONTACT, 3 * STEPS_PER_CONTACT + 1)
        gap = np.zeros_like(x)
    else:
        step = reach / STEPS_PER_CONTACT
        half = round(1.4 * STEPS_PER_CONTACT)  # room for a face that a bend or a skew flattens along the edge
        x = step * np.arange(-half, half + 1)
        gap = tool.radius_m - np.sqrt(tool.radius_m**2 - x**2)
    return Face(
        tool=tool,
        stiffness_pa_per_m=tool.stiffness_pa_per_m,
        step_m=step,
        x_m=x.astype(float),
        gap_m=gap.astype(float),
    )


def feed_for_area(tool: GrindToolConfig, force_n: ArrayLike, area_m2: ArrayLike) -> Array:
    """Return the feed [m/s] at which a pass takes off that cross-section: k_p F v_rel / area, v_rel with the feed."""
    rate = tool.preston_per_pa * np.asarray(force_n, float)
    area = np.asarray(area_m2, float)
    feed = rate * nominal_speed(tool) / area
    if isinstance(tool, PadTool):
        # the edge lies along the pad's diameter: over it omega |x| is R / 2 in the mean, not 2/3 R
        return feed * (0.75 if tool.motion == "disc" else 1.0)
    return feed / np.maximum(1.0 - rate / area, 0.1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A tool's way over some cells of an edge; it may jump and come back."""

    depth_m: Array
    """(C, Y) cross-sections at the start: depth below the crest over the way across [m]."""
    closed: bool
    """Whether the last cell lies before the first."""
    curvature_per_m: Array
    """(C,) how fast the crest falls away from the tool on both sides: gap x^2 / 2 times this [1/m]."""
    centre: NDArray[np.int64]
    """(K,) cell over which the tool stands; beyond the ends there is nothing."""
    force_n: Array
    """(K,) force."""
    feed_m_per_s: Array
    """(K,) speed."""


def across_m(width_m: float) -> Array:
    """Return the cells' middles (Y,) across one half of an edge [m]."""
    return (np.arange(CELLS_ACROSS) + 0.5) * 0.5 * width_m / WIDTH_CELLS


def march(passages: Sequence[Passage], face: Face, width_m: float) -> list[Array]:
    """Return the cross-sections (C, Y) that each passage leaves; all are marched side by side."""
    most = max(len(p.depth_m) for p in passages)
    n_steps = np.array([len(p.centre) for p in passages])
    depth = np.full((len(passages), most + 1, CELLS_ACROSS), np.inf)
    bend = np.zeros((len(passages), most + 1))
    rows, under, force, feed = [], [], [], []
    offsets = np.arange(len(face.x_m)) - len(face.x_m) // 2
    for b, p in enumerate(passages):
        n = len(p.depth_m)
        depth[b, :n], bend[b, :n] = p.depth_m, p.curvature_per_m
        cells = p.centre[:, None] + offsets
        rows.append(cells % n if p.closed else np.where((cells >= 0) & (cells < n), cells, most))
        under.append(p.centre % n)
        force.append(p.force_n)
        feed.append(p.feed_m_per_s)
    parabola = 0.5 * face.x_m**2
    area = 2.0 * face.step_m * 0.5 * width_m / WIDTH_CELLS
    advance = np.zeros(len(passages))
    for k in range(n_steps.max()):
        who = np.flatnonzero(n_steps > k)
        row, centre, push, speed = (
            np.stack([values[b][k] for b in who.tolist()]) for values in (rows, under, force, feed)
        )
        at = who[:, None]
        before = depth[at, row]
        # the curvature of the crest where the tool stands holds for all cells it meets
        gap = before + (face.gap_m + bend[who, centre][:, None] * parabola)[..., None]
        decay = np.exp(
            -face.tool.preston_per_pa
            * face.stiffness_pa_per_m
            * face.speed_m_per_s(speed)
            * (face.step_m / speed)[:, None]
        )
        # stiffness of a step's mean pressure: what is pressed in at its start is partly gone at its end
        yielding = face.stiffness_pa_per_m * (1.0 - decay) / np.maximum(-np.log(decay), 1e-12) * area
        advance[who] = _balance(gap, yielding, push, advance[who])
        sunk = np.maximum(advance[who][:, None, None] - gap, 0.0)
        sunk[~np.isfinite(gap)] = 0.0
        depth[at, row] = before + sunk * (1.0 - decay)[..., None]
    return [depth[b, : len(p.depth_m)] for b, p in enumerate(passages)]


def _balance(gap: Array, yielding: Array, force: Array, start: Array) -> Array:
    """Return the advance (B,) at which cells (B, X, Y) of stiffness (B, X) [N/m] carry the force.

    Newton's method on a convex, piecewise linear function: from any start with a slope it comes from above and ends.
    """
    weight = np.broadcast_to(yielding[..., None], gap.shape)
    finite = np.isfinite(gap)
    height = np.where(finite, gap, 0.0)
    lowest = gap.min(axis=(1, 2))
    advance = np.maximum(start, np.where(np.isfinite(lowest), lowest + 1e-9, 0.0))
    for _ in range(NEWTON_MAX):
        active = np.where(finite & (gap < advance[:, None, None]), weight, 0.0)
        slope, moment = active.sum(axis=(1, 2)), (active * height).sum(axis=(1, 2))
        after = np.divide(force + moment, slope, out=np.zeros_like(slope), where=slope > 0.0)
        if np.all(np.abs(after - advance) < 1e-10):
            break
        advance = after
    return advance


def new_face_width_m(before_m: Array, after_m: Array, width_m: float) -> Array:
    """Return the width of the new face (C,) [m]: where what was removed runs out, 0 where nothing was."""
    gone = after_m - before_m
    y = across_m(width_m)
    crest = gone[:, 0] + (gone[:, 0] - gone[:, 1]) * y[0] / (y[1] - y[0])
    least = NEW_FACE_DEPTH * crest[:, None]
    inside = np.cumprod(gone > least, axis=1).sum(axis=1)
    last = np.clip(inside - 1, 0, len(y) - 2)
    at = np.arange(len(gone))
    here, there = gone[at, last], gone[at, last + 1]
    share = np.clip((here - least[:, 0]) / np.maximum(here - there, 1e-12), 0.0, 1.0)
    edge = y[last] + share * (y[1] - y[0])
    return np.where(inside > 0, 2.0 * edge / (1.0 - NEW_FACE_DEPTH), 0.0)
