"""Slownesses along strokes as unknowns: their knots, the dwell they make, and the acceleration they may have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.optimise.quadratic import Rows
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

SMOOTHING_LENGTH_M = 0.05
KNOTS_MAX = 50_000


@dataclass(frozen=True, kw_only=True)
class SpeedLimits:
    """Bounds of the tool centre point's speed."""

    low_m_per_s: float
    high_m_per_s: float
    acceleration_m_per_s2: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """Slownesses along strokes: unknowns are those at knots [s/m], linear between them."""

    spread: Any
    """(N, K) csr: slowness at samples from slowness at knots."""
    first: NDArray[np.int64]
    """(M,) sample each step starts at; no step joins two strokes."""
    steps_m: Array
    on: Array
    """(N,) 1.0 with the process on."""
    knots: NDArray[np.int64]
    """(S,) knots of each stroke."""
    knot_m: Array
    """(S,) distance of each stroke's knots [m]."""
    limits: SpeedLimits
    floor: Array | None = None
    """(K,) least slowness of each knot, where it is not that of the highest speed everywhere [s/m]."""

    @staticmethod
    def of(
        strokes: Sequence[Stroke], limits: SpeedLimits, knot_m: float, fastest_m_per_s: Array | None = None
    ) -> "Path":
        """Return the path over the strokes with knots about `knot_m` apart, farther where KNOTS_MAX would not do.

        Args:
            fastest_m_per_s: (N,) highest speed at each sample, where it is less than that of the limits.
        """
        counts = np.array([len(s) for s in strokes])
        starts = np.cumsum(counts) - counts
        steps = np.concatenate([s.step_lengths_m for s in strokes])
        spread, knots, distance = linear_knots(strokes, max(knot_m, float(steps.sum()) / KNOTS_MAX))
        path = Path(
            spread=spread,
            first=np.concatenate([start + np.arange(n - 1) for start, n in zip(starts, counts, strict=True)]),
            steps_m=steps,
            on=np.concatenate([s.on for s in strokes]).astype(float),
            knots=knots,
            knot_m=distance,
            limits=limits,
        )
        return path if fastest_m_per_s is None else path._with_floor(fastest_m_per_s)

    def _with_floor(self, fastest_m_per_s: Array) -> "Path":
        """Return the path with knots held so slow that samples around them are, on average, no faster than they may be.

        Where the speed allowed changes within a knot's distance single samples may still be too fast.
        """
        own = np.clip(1.0 / np.asarray(fastest_m_per_s, float), 1.0 / self.limits.high_m_per_s, self.highest)
        floor = (self.spread.T @ own) / np.maximum(self.spread.T @ np.ones(len(own)), 1e-12)
        return replace(self, floor=np.minimum(self.accelerable(floor, slower=True), self.highest))

    @property
    def lowest(self) -> Array:
        """(K,) slowness of the knots at the highest speed [s/m]."""
        return np.full(self.spread.shape[1], 1.0 / self.limits.high_m_per_s) if self.floor is None else self.floor

    @property
    def highest(self) -> float:
        """Slowness at the lowest speed [s/m]."""
        return 1.0 / self.limits.low_m_per_s

    def dwell(self, slowness: Array) -> Array:
        """Return the dwell (N,) [s] of slownesses at the samples (N,): each step lasts 2 ds / (v0 + v1)."""
        s0, s1 = slowness[self.first], slowness[self.first + 1]
        return self._to_ends(self.steps_m * s0 * s1 / (s0 + s1))

    def _to_ends(self, half_s: Array) -> Array:
        n = len(self.on)
        return self.on * (np.bincount(self.first, half_s, n) + np.bincount(self.first + 1, half_s, n))

    def slopes(self, slowness: Array) -> tuple[Array, Array]:
        """Return d(half a step's duration) / d(slowness at its first, last sample) (M,) each [m]."""
        s0, s1 = slowness[self.first], slowness[self.first + 1]
        return self.steps_m * (s1 / (s0 + s1)) ** 2, self.steps_m * (s0 / (s0 + s1)) ** 2

    def pulled_back(self, at_samples: Array, slowness: Array) -> Array:
        """Return the gradient (K,) in the knots of a function whose gradient in the dwell is `at_samples` (N,)."""
        d0, d1 = self.slopes(slowness)
        p = self.on * at_samples
        p = p[self.first] + p[self.first + 1]
        n = len(self.on)
        return self.spread.T @ (np.bincount(self.first, p * d0, n) + np.bincount(self.first + 1, p * d1, n))

    def jacobian(self, slowness: Array) -> Any:
        """Return d(dwell) / d(knots) (N, K)."""
        d0, d1 = self.slopes(slowness)
        begin, end = self.spread[self.first], self.spread[self.first + 1]
        half = scipy.sparse.diags(d0) @ begin + scipy.sparse.diags(d1) @ end
        return scipy.sparse.diags(self.on) @ self._ends.T @ half

    @cached_property
    def _ends(self) -> Any:
        step = np.arange(len(self.first))
        entries = (np.ones(2 * len(step)), (np.r_[step, step], np.r_[self.first, self.first + 1]))
        return scipy.sparse.csr_matrix(entries, shape=(len(step), len(self.on)))

    @cached_property
    def _bending_weights(self) -> Array:
        share = self.steps_m / max(self.steps_m.sum(), 1e-12)
        return share * (SMOOTHING_LENGTH_M / np.maximum(self.steps_m, 1e-4)) ** 2

    def roughness(self, slowness: Array) -> float:
        """Return the mean squared change of slownesses at the samples (N,) per SMOOTHING_LENGTH_M."""
        return float(self._bending_weights @ (slowness[self.first + 1] - slowness[self.first]) ** 2)

    @cached_property
    def bending(self) -> Any:
        """(K, K) curvature of the roughness in the knots."""
        change = self.spread[self.first + 1] - self.spread[self.first]
        return 2.0 * change.T @ scipy.sparse.diags(self._bending_weights) @ change

    def acceleration(self, slowness: Array) -> Array:
        """Return the acceleration (M,) [m/s2] on each step."""
        square = 1.0 / slowness**2
        return np.abs(square[self.first + 1] - square[self.first]) / (2.0 * np.maximum(self.steps_m, 1e-9))

    @cached_property
    def boundable(self) -> NDArray[np.int64]:
        """Steps too short to go from the lowest to the highest speed."""
        low, high = self.limits.low_m_per_s, self.limits.high_m_per_s
        return np.flatnonzero(2.0 * self.limits.acceleration_m_per_s2 * self.steps_m < high**2 - low**2)

    def acceleration_rows(self, slowness: Array) -> Rows:
        """Return rows over the knots that hold |v1^2 - v0^2| <= 2 a ds on every step, exact at `slowness`.

        With k = 2 a ds the bound reads s1 <= phi(s0) = s0 / sqrt(1 - k s0^2), and the same with the ends swapped. phi
        is convex, so its tangent lies below it: whatever meets the rows meets the bound.
        """
        steps = self.boundable
        k = 2.0 * self.limits.acceleration_m_per_s2 * self.steps_m[steps]
        # where phi passes the highest slowness there is no bound, and its tangent there is as good as any beyond
        last = 1.0 / np.sqrt(self.highest**-2 + k)
        begin, end = self.first[steps], self.first[steps] + 1
        rows = Rows.none(self.spread.shape[1])
        for tail, head in ((begin, end), (end, begin)):
            at = np.minimum(slowness[tail], last)
            root = 1.0 / np.sqrt(1.0 - k * at * at)
            value, slope = at * root, root**3
            size = 1.0 / (1.0 + slope)
            matrix = scipy.sparse.diags(size) @ self.spread[head] - scipy.sparse.diags(size * slope) @ self.spread[tail]
            rows = rows.joined(Rows(matrix=matrix, most=size * (value - slope * at)))
        return rows

    def accelerable(self, z: Array, *, slower: bool = False) -> Array:
        """Return the highest knots' slownesses (K,) not above `z` that the acceleration bound allows.

        `slower`: the lowest not below it. Between knots D apart slowness is linear, so that
        |s1 - s0| <= a D min(s0, s1)^3 suffices.
        """
        out = np.array(z, float)
        start = 0
        for n, distance in zip(self.knots.tolist(), self.knot_m.tolist(), strict=True):
            rise = self.limits.acceleration_m_per_s2 * distance
            own = out[start : start + n].tolist()
            for _ in range(2):
                own.reverse()
                for i in range(1, n):
                    if slower:
                        own[i] = max(own[i], _least_next(own[i - 1], own[i], rise))
                    else:
                        own[i] = min(own[i], own[i - 1] + rise * own[i - 1] ** 3)
            out[start : start + n] = own
            start += n
        return out


def _least_next(s0: float, s1: float, rise: float) -> float:
    """Return the least s >= s1 with s0 <= s + rise s^3."""
    if s0 <= s1 + rise * s1**3:
        return s1
    s = s0
    # convex and increasing: Newton's method comes down to the root from above
    for _ in range(60):
        step = (s + rise * s**3 - s0) / (1.0 + 3.0 * rise * s * s)
        s -= step
        if step <= 1e-12 * s:
            break
    return s


def linear_knots(strokes: Sequence[Stroke], knot_m: float) -> tuple[Any, NDArray[np.int64], Array]:
    """Return the (N, K) csr from values at knots about `knot_m` apart to samples, linear along each stroke.

    With it the knots of each stroke (S,) and their distance (S,) [m].
    """
    rows, columns, values, row, column = [], [], [], 0, 0
    counts, distances = [], []
    for stroke in strokes:
        along = np.r_[0.0, np.cumsum(stroke.step_lengths_m)]
        n = min(max(int(np.ceil(along[-1] / knot_m)), 1) + 1, len(stroke))
        at = along / max(along[-1], 1e-12) * (n - 1)
        low = np.minimum(at.astype(np.int64), n - 2)
        share = at - low
        index = row + np.arange(len(stroke))
        rows += [index, index]
        columns += [column + low, column + low + 1]
        values += [1.0 - share, share]
        row, column = row + len(stroke), column + n
        counts.append(n)
        distances.append(along[-1] / (n - 1))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(row, column)), np.array(counts), np.array(distances)
