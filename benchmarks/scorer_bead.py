"""A bead on a parent of simple form, ground by a stiff pad: a Winkler model of its own, its surface updated as it goes.

The part is a height field over an exact chart of its parent (plane, cylinder or sphere), cells FINE_M wide: at least
four times the density of any planner sample. Each moment of a tool path (constant acceleration between samples, axis
and force linear, a switch half way) finds the cells before the pad's face, solves the force balance on the surface as
it is then, and lowers it by Preston's law along the parent's normal: short enough that no cell loses more than SUBSTEP
of what the layer yields, so balance and surface stay together. Imports nothing of the planner's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array, unit

FINE_M = 0.3e-3
TRAVEL_M = 0.6e-3
SUBSTEP = 0.2
RIPPLE_CORRELATION_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lengths (u, v) on a parent without bead; its crown is the origin, outwards is +z there."""

    form: str
    """flat, cylinder or sphere."""
    radius_m: float = np.inf
    """Positive: convex; negative: concave."""
    turn_rad: float = 0.0
    """Angle from u to the direction in which a cylinder bends."""

    def place(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Return points (..., 3) [m] and outward normals."""
        if self.form == "flat":
            return np.stack([u, v, 0.0 * u], axis=-1), np.broadcast_to([0.0, 0.0, 1.0], (*u.shape, 3))
        r = self.radius_m
        if self.form == "cylinder":
            c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
            a, b = (c * u + s * v) / r, -s * u + c * v
            x, normal_x = r * np.sin(a), np.sin(a)
            points = np.stack([c * x - s * b, s * x + c * b, r * (np.cos(a) - 1.0)], axis=-1)
            return points, np.stack([c * normal_x, s * normal_x, np.cos(a)], axis=-1)
        normal = np.stack([np.sin(u / r) * np.cos(v / r), np.sin(v / r), np.cos(u / r) * np.cos(v / r)], axis=-1)
        return r * normal - [0.0, 0.0, r], normal

    def find(self, points: Array) -> tuple[Array, Array]:
        """Return u and v (...) of the feet of points (..., 3)."""
        if self.form == "flat":
            return points[..., 0], points[..., 1]
        r = self.radius_m
        if self.form == "cylinder":
            c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
            x, b = c * points[..., 0] + s * points[..., 1], -s * points[..., 0] + c * points[..., 1]
            a = r * np.arctan2(np.sign(r) * x, np.sign(r) * (points[..., 2] + r))
            return c * a - s * b, s * a + c * b
        q = np.sign(r) * (points + [0.0, 0.0, r])
        return r * np.arctan2(q[..., 0], q[..., 2]), r * np.arcsin(q[..., 1] / np.linalg.norm(q, axis=-1))


class Part:
    """What stands above the parent, cell by cell, and is ground."""

    def __init__(self, chart: Chart, half_m: tuple[float, float]) -> None:
        self.chart = chart
        u, v = (np.arange(-h + 0.5 * FINE_M, h, FINE_M) for h in half_m)
        self.u_m, self.v_m = np.meshgrid(u, v, indexing="ij")
        self._low = np.array([u[0], v[0]])
        self.feet_m, self.normals = chart.place(self.u_m, self.v_m)
        du, dv = np.gradient(self.feet_m, FINE_M, axis=0), np.gradient(self.feet_m, FINE_M, axis=1)
        self._cell_m2 = np.linalg.norm(np.cross(du, dv), axis=-1) * FINE_M**2
        self.height_m = np.zeros_like(self.u_m)

    @cached_property
    def area_m2(self) -> Array:
        """(nu, nv) of each cell [m2]."""
        return self._cell_m2

    def heights_at(self, u: Array, v: Array) -> Array:
        """Return the height over the parent at (u, v), bilinear, level beyond the last cells [m]."""
        at = [(x - low) / FINE_M for x, low in zip((u, v), self._low, strict=True)]
        at = [np.clip(a, 0.0, n - 1.0) for a, n in zip(at, self.height_m.shape, strict=True)]
        i, j = (np.minimum(a.astype(int), n - 2) for a, n in zip(at, self.height_m.shape, strict=True))
        p, q = at[0] - i, at[1] - j
        h = self.height_m
        return (1 - p) * ((1 - q) * h[i, j] + q * h[i, j + 1]) + p * ((1 - q) * h[i + 1, j] + q * h[i + 1, j + 1])

    def grind(
        self, path: ToolPath, rng: np.random.Generator, bias_n: float, ripple_n: float, gain: float = 1.0
    ) -> None:
        """Take off what a tool path does when its force is off by a constant and a ripple with time.

        Args:
            gain: what the tool takes over what its coefficient says.
        """
        pad = {**path.tool, "preston_per_pa": gain * path.tool["preston_per_pa"]}
        ripple = 0.0
        for stroke in path.strokes:
            ripple = ripple_n * rng.standard_normal()
            for position, axis, travel, force, seconds, feed in zip(*_moments(stroke), strict=True):
                self._press(pad, position, axis, travel, max(force + bias_n + ripple, 0.0), seconds, feed)
                fade = np.exp(-seconds / RIPPLE_CORRELATION_S)
                ripple = fade * ripple + ripple_n * np.sqrt(1.0 - fade**2) * rng.standard_normal()

    def _press(
        self,
        pad: Mapping[str, Any],
        position: Array,
        axis: Array,
        travel: Array,
        force: float,
        seconds: float,
        feed: float,
    ) -> None:
        cells = self._under(position, pad["radius_m"])
        normals = self.normals[cells].reshape(-1, 3)
        offset = self.feet_m[cells].reshape(-1, 3) + self.height_m[cells].reshape(-1, 1) * normals - position
        cosine = -(normals @ axis)
        gap = offset @ axis
        x = offset @ travel
        y = offset @ np.cross(axis, travel)
        share = np.clip((pad["radius_m"] - np.hypot(x, y)) / FINE_M + 0.5, 0.0, 1.0) * (cosine > 0.2)
        near = np.flatnonzero(share > 0.0)
        if len(near) == 0 or force <= 0.0:
            return
        gap, cosine, share, x, y = gap[near], cosine[near], share[near], x[near], y[near]
        face = self._cell_m2[cells].ravel()[near] * cosine * share
        stiffness = pad["stiffness_pa_per_m"]
        rate = pad["preston_per_pa"] * stiffness * _speed(pad, x, y, feed) * share
        n = max(1, int(np.ceil(seconds * rate.max() / SUBSTEP)))
        lost = np.zeros(len(near))
        for _ in range(n):
            now = gap + lost * cosine
            advance = _advance(now, face, force / stiffness)
            lost += rate * np.maximum(advance - now, 0.0) * (seconds / n)
        window = self.height_m[cells].ravel()
        window[near] -= lost
        self.height_m[cells] = window.reshape(self.height_m[cells].shape)

    def _under(self, position: Array, radius: float) -> tuple[slice, slice]:
        u, v = self.chart.find(position)
        reach = 1.25 * radius + 2 * FINE_M
        low = np.floor((np.array([u, v]) - reach - self._low) / FINE_M).astype(int)
        high = np.ceil((np.array([u, v]) + reach - self._low) / FINE_M).astype(int)
        return slice(max(low[0], 0), max(high[0], 0)), slice(max(low[1], 0), max(high[1], 0))


def _speed(pad: Mapping[str, Any], x: Array, y: Array, feed: float) -> Array:
    omega = pad["rpm"] * 2.0 * np.pi / 60.0
    if pad["motion"] == "orbital":
        angle = np.arange(32) * 2.0 * np.pi / 32
        circle = omega * pad["orbit_radius_m"]
        return np.full(len(x), np.hypot(circle * np.cos(angle) + feed, circle * np.sin(angle)).mean())
    return np.hypot(feed - omega * y, omega * x)


def _advance(gap: Array, face: Array, volume: float) -> float:
    """Return d with sum face max(0, d - gap) = volume by Newton from below all gaps' lower bound; exact at the end."""
    d = float(gap.min() + volume / max(face.sum(), 1e-15))
    for _ in range(60):
        deep = np.maximum(d - gap, 0.0)
        pressed = float(face[deep > 0.0].sum())
        miss = volume - float(face @ deep)
        if pressed <= 0.0:
            # only the rim's slivers stand this high: go on to the next gap
            d = float(np.partition(gap, 1)[1]) + 1e-9
            continue
        d += miss / pressed
        if abs(miss) <= 1e-6 * volume:
            break
    return d


def _moments(stroke: Stroke) -> tuple[Array, ...]:
    """Return position, axis, travel, force, seconds and feed of pieces TRAVEL_M long with the process on."""
    parts: list[tuple[Array, ...]] = []
    for i, length in enumerate(stroke.step_lengths_m):
        n = 2 * max(1, int(np.ceil(0.5 * length / TRAVEL_M)))
        edges = np.linspace(0.0, 1.0, n + 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        v = np.sqrt(stroke.speed_m_per_s[i] ** 2 * (1.0 - edges) + stroke.speed_m_per_s[i + 1] ** 2 * edges)
        seconds = 2.0 * length / n / (v[1:] + v[:-1])
        on = np.where(middle < 0.5, stroke.on[i], stroke.on[i + 1]).astype(bool)
        parts.append(
            (
                _between(stroke.position_m, i, middle)[on],
                unit(_between(stroke.tool_axis, i, middle))[on],
                _between(stroke.travel, i, middle)[on],
                _between(stroke.process_value, i, middle)[on],
                seconds[on],
                (length / n / seconds)[on],
            )
        )
    position, axis, travel, force, seconds, feed = (np.concatenate([p[k] for p in parts]) for k in range(6))
    travel = unit(travel - np.einsum("ij,ij->i", travel, axis)[:, None] * axis)
    return position, axis, travel, force, seconds, feed


def _between(values: Array, i: int, share: NDArray[np.float64]) -> Array:
    share = share if values.ndim == 1 else share[:, None]
    return values[i] * (1.0 - share) + values[i + 1] * share
