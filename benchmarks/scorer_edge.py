"""An edge judged on its own: a strip of the part round it, ground by the strokes of a tool path, its chamfer measured.

Imports nothing of the planner. The strip is a height field over the way along the edge and the way across it, four
times as dense as the planner's model. Its heights are rays cast onto the part along the edge's own outward direction,
so corners, walls and neighbours are in it. The tool moves along each stroke by the tool path's rules, its whole face (a
cylinder of a burr's width, or a pad's disc) is pressed by a Winkler layer until it balances the force there, and
Preston's law takes k_p p v_rel dt off whatever it touches, the surface changing as it goes. That depth counts along the
tool axis: what is ground soon lies square on it. The new face is then what lies lower than it did: how wide, and how
evenly on both sides of the edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array, unit

ALONG_M = 0.04e-3
ACROSS_M = 0.025e-3
HALF_WIDTHS = 1.2
"""The strip reaches so many wanted widths to either side of the edge."""
ABOVE_M = 3e-3
"""Rays start so far above the edge."""
NEW_FACE_M = 4e-6
"""A cell this much lower belongs to the new face."""
SUB_STEPS_MAX = 12
CORNER_WIDTHS = 1.0
RIDES_M = 0.4e-3
RIDES_COSINE = 0.8
"""A stroke rides on a line where it is this near to it, beside it and in direction."""
PIECE_M = 0.012
"""Strips are cut into pieces of about this length along the edge, each ground alone with room on both sides."""
MARGIN_M = 0.004


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureLine:
    """An edge as the judge found it: a polyline with the normals of its two faces."""

    points_m: Array
    """(N, 3) [m]."""
    normal_left: Array
    """(N, 3)."""
    normal_right: Array

    @property
    def outward(self) -> Array:
        """(N, 3) unit bisectors."""
        return unit(self.normal_left + self.normal_right)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chamfer:
    """What was measured along an edge."""

    at_m: Array
    """(S, 3) places on the edge, ALONG_M apart [m]."""
    width_m: Array
    """(S,) width of the new face, across the edge [m]."""
    lopsided: Array
    """(S,) how far its middle lies from the edge, over its width."""
    depth_m: Array
    """(S,) how much of the edge itself is gone [m]."""


def measure(
    surface: Surface, line: FeatureLine, paths: Sequence[ToolPath], width_m: float, *, square: bool = False
) -> Chamfer:
    """Grind a strip round the line with every stroke that rides on it, path by path, and measure the new face.

    Within CORNER_WIDTHS of the ends of a line nothing is measured: there the chamfers of other edges meet it, and what
    their strokes stand on besides is not in the strip.

    Args:
        square: the line is the border of a sheet: beyond it the strip falls away at a right angle to the face.
    """
    s = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.points_m, axis=0), axis=1))]
    n_pieces = max(1, round(s[-1] / PIECE_M))
    caster = RayCaster(surface)
    closed = bool(np.allclose(line.points_m[0], line.points_m[-1], atol=1e-7))
    parts = []
    for k in range(n_pieces):
        a, b = s[-1] * k / n_pieces, s[-1] * (k + 1) / n_pieces
        low, high = (a - MARGIN_M, b + MARGIN_M) if closed else (max(0.0, a - MARGIN_M), min(s[-1], b + MARGIN_M))
        if closed and high - low > s[-1]:
            low, high = a, a + s[-1]
        along = np.arange(low + 0.5 * ALONG_M, high, ALONG_M)
        strip = _Strip.on(line, s, along, caster, width_m, square)
        for path in paths:
            for stroke in path.strokes:
                strip.grind(stroke, path.tool)
        corner = 0.0 if closed else CORNER_WIDTHS * width_m
        inside = (along >= max(a, corner)) & (along < min(b, s[-1] - corner))
        parts.append([values[inside] for values in strip.measured()])
    at, width, lopsided, depth = (np.concatenate([p[i] for p in parts]) for i in range(4))
    return Chamfer(at_m=at, width_m=width, lopsided=lopsided, depth_m=depth)


class _Strip:
    """Points of a strip: where they stand, which way is up, how much is gone."""

    def __init__(self, points: Array, up: Array, way: Array, across: Array, solid: NDArray[np.bool_]) -> None:
        self.points, self.up, self.way = points, up, way
        self.across, self.solid = across, solid
        self.gone = np.zeros(points.shape[:2])
        self.tree = KDTree(points[:, points.shape[1] // 2])

    @staticmethod
    def on(line: FeatureLine, s: Array, along: Array, caster: RayCaster, width_m: float, square: bool) -> "_Strip":
        wrapped = along % s[-1]

        def at(values: Array) -> Array:
            return np.stack([np.interp(wrapped, s, values[:, k]) for k in range(3)], axis=1)

        middle, up = at(line.points_m), unit(at(line.outward))
        way = unit(np.gradient(middle, axis=0))
        up = unit(up - np.einsum("ij,ij->i", up, way)[:, None] * way)
        side = np.cross(way, up)
        half = int(np.ceil(HALF_WIDTHS * width_m / ACROSS_M))
        y = (np.arange(2 * half) - half + 0.5) * ACROSS_M
        foot = middle[:, None] + y[None, :, None] * side[:, None]
        if square:
            # the sheet's own face on the left, a wall square on it on the right
            height = np.where(y > 0.0, -y, y)[None].repeat(len(middle), axis=0)
        else:
            start = foot + ABOVE_M * up[:, None]
            distance, _ = caster.first_hit(
                start.reshape(-1, 3), -np.broadcast_to(up[:, None], start.shape).reshape(-1, 3)
            )
            height = ABOVE_M - distance.reshape(start.shape[:2])
        solid = np.isfinite(height) & (np.abs(height) < ABOVE_M)
        height = np.where(solid, height, -1.0)
        points = foot + height[..., None] * up[:, None]
        return _Strip(points, up, way, y, solid)

    def grind(self, stroke: Stroke, tool: dict) -> None:
        distance, row = self.tree.query(stroke.position_m)
        row = np.asarray(row)
        near = distance < _reach(tool) + 2.0 * ALONG_M
        lateral = np.linalg.norm(
            np.cross(stroke.position_m - self.points[row, self.points.shape[1] // 2], self.way[row]), axis=1
        )
        rides = near & (lateral < RIDES_M) & (np.abs(np.einsum("ij,ij->i", _way(stroke), self.way[row])) > RIDES_COSINE)
        if rides.sum() < 2:
            return
        near[:-1] |= near[1:]
        near[1:] |= near[:-1]
        for i in np.flatnonzero(near[:-1] & near[1:]):
            self._step(stroke, int(i), tool)

    def _step(self, stroke: Stroke, i: int, tool: dict) -> None:
        length = stroke.step_lengths_m[i]
        n = 2 * max(1, int(np.ceil(0.5 * length / ALONG_M)))
        edges = np.linspace(0.0, 1.0, n + 1)
        v = np.sqrt(stroke.speed_m_per_s[i] ** 2 * (1.0 - edges) + stroke.speed_m_per_s[i + 1] ** 2 * edges)
        for k in range(n):
            share = 0.5 * (edges[k] + edges[k + 1])
            if not (stroke.on[i] if share < 0.5 else stroke.on[i + 1]):
                continue
            seconds = 2.0 * length / n / (v[k] + v[k + 1])
            mean = [a[i] * (1.0 - share) + a[i + 1] * share for a in
                    (stroke.position_m, stroke.tool_axis, stroke.travel, stroke.process_value)]  # fmt: skip
            self._press(*mean, tool, seconds, length / n / seconds)

    def _press(
        self, position: Array, axis: Array, travel: Array, force: float, tool: dict, seconds: float, feed: float
    ) -> None:
        rows = np.asarray(self.tree.query_ball_point(position, _reach(tool)), np.int64)
        if len(rows) == 0:
            return
        rows.sort()
        z = axis / np.linalg.norm(axis)
        x = travel - travel @ z * z
        x /= np.linalg.norm(x)
        yy = np.cross(z, x)
        points = self.points[rows] - self.gone[rows][..., None] * self.up[rows][:, None]
        local = (points - position) @ np.stack([x, yy, z], axis=1)
        gap = local[..., 2] + _rim(tool, local[..., 0], local[..., 1])
        gap[~self.solid[rows]] = np.inf
        gap = np.where(np.isfinite(gap), gap, np.inf)
        # cells are even along the way and across it: what they cover square on the tool
        tilt = -np.einsum("ij,j->i", self.up[rows], z)
        face = np.broadcast_to((ALONG_M * ACROSS_M * tilt)[:, None], gap.shape)
        speed = _speed(tool, local[..., 0], local[..., 1], feed)
        left = seconds
        for turn in range(SUB_STEPS_MAX):
            advance = _advance(gap, face, force / tool["stiffness_pa_per_m"])
            if advance is None:
                return
            pressure = tool["stiffness_pa_per_m"] * np.maximum(advance - gap, 0.0)
            rate = tool["preston_per_pa"] * pressure * speed
            # a cell may lose half of what is pressed into it before the balance is looked at again
            deepest = float(np.max(rate / np.maximum(advance - gap, 1e-12) * (gap < advance)))
            step = min(left, 0.5 / max(deepest, 1e-12))
            if turn == SUB_STEPS_MAX - 1:
                step = left
            lost = rate * step
            if step * deepest > 1.0:
                lost = np.minimum(lost, np.maximum(advance - gap, 0.0))
            gap = gap + lost
            self.gone[rows] += lost
            left -= step
            if left <= 1e-12:
                break

    def measured(self) -> tuple[Array, Array, Array, Array]:
        """Return middle points, width, off-centre share and depth of the new face in every row."""
        new = self.gone > NEW_FACE_M
        width = new.sum(axis=1) * ACROSS_M
        first = self.across[np.argmax(new, axis=1)]
        last = self.across[new.shape[1] - 1 - np.argmax(new[:, ::-1], axis=1)]
        middle = np.where(width > 0.0, 0.5 * (first + last), 0.0)
        half = new.shape[1] // 2
        depth = self.gone[:, half - 1 : half + 1].mean(axis=1)
        return self.points[:, half], width, np.abs(middle) / np.maximum(width, ACROSS_M), depth


def _way(stroke: Stroke) -> Array:
    return unit(np.gradient(stroke.position_m, axis=0))


def _reach(tool: dict) -> float:
    """Return how far from its centre point a tool can touch an edge."""
    return tool["radius_m"] + ALONG_M if tool["kind"] == "pad" else np.sqrt(tool["radius_m"] * 2e-3) + 2e-4


def _rim(tool: dict, x: Array, y: Array) -> Array:
    """Return how far the tool's face stands back from its centre point; infinite beside it."""
    radius = tool["radius_m"]
    if tool["kind"] == "pad":
        return np.where(np.hypot(x, y) <= radius, 0.0, np.inf)
    inside = (np.abs(x) < radius) & (np.abs(y) <= 0.5 * tool["width_m"])
    return np.where(inside, radius - np.sqrt(np.maximum(radius**2 - x**2, 0.0)), np.inf)


def _speed(tool: dict, x: Array, y: Array, feed: float) -> Array:
    omega = tool["rpm"] * 2.0 * np.pi / 60.0
    if tool["kind"] == "burr":
        return np.full(x.shape, omega * tool["radius_m"] + feed)
    if tool["motion"] == "disc":
        return np.hypot(feed - omega * y, omega * x)
    turn = np.arange(32) * 2.0 * np.pi / 32
    circle = omega * tool["orbit_radius_m"]
    return np.full(x.shape, float(np.hypot(circle * np.cos(turn) + feed, circle * np.sin(turn)).mean()))


def _advance(gap: Array, face: Array, volume: float) -> float | None:
    """Return d with the sum of face max(0, d - gap) = volume, None where there is nothing, by bisection."""
    known = np.isfinite(gap)
    if not known.any():
        return None
    g, a = gap[known], face[known]
    low, high = float(g.min()), float(g.min()) + 1e-6
    while a @ np.maximum(high - g, 0.0) < volume:
        high = low + 2.0 * (high - low)
        if high - low > 0.1:
            return None
    near = g < high
    g, a = g[near], a[near]
    for _ in range(30):
        middle = 0.5 * (low + high)
        if a @ np.maximum(middle - g, 0.0) < volume:
            low = middle
        else:
            high = middle
    touching = g < high
    return float((volume + a[touching] @ g[touching]) / a[touching].sum())


def summary(chamfers: Sequence[Chamfer], width_m: float, tolerance: float = 0.2) -> dict[str, float]:
    """Return mean width, share of the length within the tolerance, and share with no new face at all."""
    width = np.concatenate([c.width_m for c in chamfers])
    lopsided = np.concatenate([c.lopsided for c in chamfers])
    ground = width > 0.1 * width_m
    return {
        "length_m": len(width) * ALONG_M,
        "mean_m": float(width[ground].mean()) if ground.any() else 0.0,
        "within": float(np.mean(np.abs(width / width_m - 1.0) <= tolerance)),
        "untouched": float(np.mean(~ground)),
        "lopsided": float(lopsided[ground].mean()) if ground.any() else 0.0,
    }
