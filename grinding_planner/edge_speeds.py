"""Force, passes and speeds along edges so that the marched model leaves the wanted width all along them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from cell_core.config import GrindRecipe, GrindToolConfig
from cell_core.errors import LimitError
from cell_core.optimise.dwell import limit_acceleration
from cell_core.transforms import Array
from grinding_planner.bounds import depth_per_pass_max_m
from grinding_planner.chamfer import (
    Face,
    Passage,
    across_m,
    face_on_edge,
    feed_for_area,
    march,
    new_face_width_m,
    section_area_m2,
    section_depth_m,
)

PASSES_MAX = 20
ROUNDS = 8
CHUNK_REACHES = 60.0
WARM_UP_REACHES = 4.0
"""Chunks of a long edge are marched side by side; each begins so far ahead of what counts."""
GAIN = 1.3
"""Power of the width over the wanted one by which speeds are put right; 2 would be right for a stiff tool's flat."""
STIFF_SHARE = 0.5
"""Of the force that would press the untouched edge to the wanted depth, no more is used: the rest must be ground."""
DEPTH_ROOM = 1.4
"""The contact is looked at for a tool sunk in by so many times the wanted depth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ride:
    """A way along an edge that one stroke takes."""

    arc_m: Array
    """(N,) way along it of every position of the tool, from 0 [m]; evenly spaced."""
    opening_rad: Array
    rounding_m: Array
    curvature_per_m: Array
    """(N,) how fast the crest falls away from the tool [1/m]."""
    closed: bool
    """The last position is the first again."""
    before_m: float
    """How far the edge goes on before the first position [m]."""
    behind_m: float
    """How far behind the last."""
    name: str
    """For messages: which edge and where."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RideSpeeds:
    """How a ride is ridden, and what that leaves in the model."""

    force_n: Array
    """(P, N) force by pass."""
    speed_m_per_s: Array
    """(P, N) speed by pass."""
    cell_m: Array
    """(C,) ways along the edge from the first position of the tool to places on it, before and behind it too [m]."""
    cell_width_m: Array
    """(C,) width of the new face there [m]."""
    cell_area_m2: Array
    """(C,) cross-section removed there [m2]."""

    def at(self, way_m: Array) -> tuple[Array, Array]:
        """Return width and cross-section at ways (M,) along the ride, 0 where it has nothing to do with."""
        known = np.isfinite(way_m)
        at = np.where(known, way_m, 0.0)
        step = self.cell_m[1] - self.cell_m[0]
        known &= (at > self.cell_m[0] - step) & (at < self.cell_m[-1] + step)
        width, area = (np.interp(at, self.cell_m, v) * known for v in (self.cell_width_m, self.cell_area_m2))
        return width, area


def ride_speeds(rides: Sequence[Ride], tool: GrindToolConfig, recipe: GrindRecipe) -> list[RideSpeeds]:
    """Return force, passes and speeds for every ride; all are marched together.

    Raises:
        LimitError: more than PASSES_MAX passes at the lowest speed are needed.
    """
    width = recipe.chamfer_width_m
    deepest = max(float(section_depth_m(0.5 * width, r.opening_rad, r.rounding_m).max()) for r in rides)
    face = face_on_edge(tool, DEPTH_ROOM * deepest)
    states = [_State.of(ride, face, tool, recipe) for ride in rides]
    for turn in range(ROUNDS + 1):
        passages = [p for state in states for p in state.passages()]
        left = iter(march(passages, face, width))
        for state in states:
            state.take(left)
            if turn < ROUNDS:
                state.correct()
    return [state.result() for state in states]


class _State:
    """One ride while its speeds are being found."""

    def __init__(
        self, ride: Ride, face: Face, tool: GrindToolConfig, width_m: float, force_n: Array, speed: Array
    ) -> None:
        self.ride, self.face, self.tool, self.width_m = ride, face, tool, width_m
        self.force_n, self.speed = force_n, speed
        length = float(ride.arc_m[-1]) + ride.before_m + ride.behind_m
        self.n_cells = max(4, round(length / face.step_m))
        self.cell_m = (np.arange(self.n_cells) + 0.5) * length / self.n_cells - ride.before_m
        depth = section_depth_m(
            across_m(width_m)[None], self._at_cells(ride.opening_rad)[:, None], self._at_cells(ride.rounding_m)[:, None]
        )
        self.before: Array = depth
        self.after: Array = depth.copy()
        self._chunks: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    @staticmethod
    def of(ride: Ride, face: Face, tool: GrindToolConfig, recipe: GrindRecipe) -> "_State":
        width, limits = recipe.chamfer_width_m, tool.speed_m_per_s
        area = section_area_m2(width, ride.opening_rad, ride.rounding_m)
        most = np.maximum(
            most_force_n(ride.opening_rad, ride.rounding_m, ride.curvature_per_m, face, recipe), tool.force_n.low
        )
        n = _passes(ride, area, most, tool, recipe)
        feed = feed_for_area(tool, most, area / n)
        calm = np.sqrt(2.0 * tool.acceleration_m_per_s2 * face.reach_m)
        force = np.maximum(most * np.minimum(1.0, min(calm, 0.9 * limits.high) / feed), tool.force_n.low)
        speed = np.clip(feed_for_area(tool, force, area / n), limits.low, limits.high)
        return _State(ride, face, tool, width, np.tile(force, (n, 1)), np.tile(speed, (n, 1)))

    def _at_cells(self, values: Array) -> Array:
        return np.interp(self.cell_m, self.ride.arc_m, values)

    def passages(self) -> list[Passage]:
        reach = len(self.face.x_m) // 2
        warm, chunk = int(WARM_UP_REACHES * reach), int(CHUNK_REACHES * reach)
        n, closed = self.n_cells, self.ride.closed
        pieces: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], bool]] = []
        low, high = self._tool_cells()
        if n <= chunk:
            cells = np.arange(n)
            pieces.append((cells, np.arange(low, high + 1), cells, closed))
        else:
            start, stop = (2 * warm, n - 2 * warm) if closed else (0, n)
            if closed:
                # the seam: the stroke sets in on cells that its end will meet again
                cells = np.arange(-3 * warm - reach, 3 * warm + reach)
                way = np.r_[np.arange(0, 2 * warm + 2 * reach), np.arange(-3 * warm, 1)]
                pieces.append((cells, way, np.arange(-2 * warm, 2 * warm), False))
            for a in range(start, stop, chunk):
                b = min(a + chunk, stop)
                way = np.arange(max(low, a - warm - reach), min(high, b + reach) + 1)
                cells = np.arange(max(0, way[0] - reach), min(n, way[-1] + reach + 1))
                pieces.append((cells, way, np.arange(a, b), False))
        self._chunks = [(cells, counted) for cells, _, counted, _ in pieces]
        return [self._passage(cells, way, loop) for cells, way, _, loop in pieces]

    def _tool_cells(self) -> tuple[int, int]:
        if self.ride.closed:
            return 0, self.n_cells
        low, high = (int(np.argmin(np.abs(self.cell_m - self.ride.arc_m[i]))) for i in (0, -1))
        return low, high

    def _passage(self, cells: NDArray[np.int64], way: NDArray[np.int64], closed: bool) -> Passage:
        at = cells % self.n_cells
        # the last step of a loop stands on its first cell again, at the speed of its end
        ending = self.ride.closed & (way == self.n_cells)
        arc = np.where(ending, self.ride.arc_m[-1], self.cell_m[way % self.n_cells])
        feed = [np.sqrt(np.interp(arc, self.ride.arc_m, v**2)) for v in self.speed]
        force = [np.interp(arc, self.ride.arc_m, f) for f in self.force_n]
        return Passage(
            depth_m=self.before[at],
            closed=closed,
            curvature_per_m=self._at_cells(self.ride.curvature_per_m)[at],
            centre=np.tile(way - cells[0], len(feed)),
            force_n=np.concatenate(force),
            feed_m_per_s=np.concatenate(feed),
        )

    def take(self, left: Iterator[Array]) -> None:
        for cells, counted in self._chunks:
            self.after[counted % self.n_cells] = next(left)[counted - cells[0]]

    def widths(self) -> Array:
        return new_face_width_m(self.before, self.after, self.width_m)

    def correct(self) -> None:
        """Go faster where the new face is too wide, slower where too narrow."""
        ratio = np.clip(self.widths() / self.width_m, 0.3, 2.0)
        if not self.ride.closed:
            # what lies before the first and behind the last position is not theirs to put right
            low, high = self._tool_cells()
            ratio[:low], ratio[high + 1 :] = ratio[min(low, len(ratio) - 1)], ratio[min(high, len(ratio) - 1)]
        sigma = 0.1 * len(self.face.x_m)
        ratio = gaussian_filter1d(ratio, sigma, mode="wrap" if self.ride.closed else "nearest")
        factor = np.clip(np.interp(self.ride.arc_m, self.cell_m, ratio) ** GAIN, 0.4, 2.5)
        steps = np.diff(self.ride.arc_m)
        limits = self.tool.speed_m_per_s
        for k, speed in enumerate(self.speed):
            own = np.clip(speed * factor, limits.low, limits.high)
            own = limit_acceleration(own, steps, self.tool.acceleration_m_per_s2)
            self.speed[k] = np.clip(own, limits.low, limits.high)

    def result(self) -> RideSpeeds:
        area = 2.0 * (self.after - self.before).sum(axis=1) * (across_m(self.width_m)[1] - across_m(self.width_m)[0])
        return RideSpeeds(
            force_n=self.force_n,
            speed_m_per_s=self.speed,
            cell_m=self.cell_m,
            cell_width_m=self.widths(),
            cell_area_m2=area,
        )


def most_force_n(
    opening_rad: Array, rounding_m: Array, curvature_per_m: Array, face: Face, recipe: GrindRecipe
) -> Array:
    """Return the force (N,), the recipe's or less, at which the tool touches no wider strip than wanted [N].

    An untouched edge carries a force at the wanted depth, the less the softer the tool and the blunter the edge.
    """
    y = across_m(recipe.chamfer_width_m)
    depth = section_depth_m(0.5 * recipe.chamfer_width_m, opening_rad, rounding_m)
    section = section_depth_m(y[None], opening_rad[:, None], rounding_m[:, None])
    stands = np.empty(len(depth))
    for part in np.array_split(np.arange(len(depth)), max(1, len(depth) // 2000)):
        gap = face.gap_m + 0.5 * curvature_per_m[part, None] * face.x_m**2
        pressed = depth[part, None, None] - gap[:, :, None] - section[part, None, :]
        stands[part] = np.maximum(pressed, 0.0).sum(axis=(1, 2))
    stands = stands * face.stiffness_pa_per_m * face.step_m * 2.0 * (y[1] - y[0])
    return np.minimum(recipe.force_n, STIFF_SHARE * stands)


def too_strong(
    opening_rad: Array,
    rounding_m: Array,
    curvature_per_m: Array,
    face: Face,
    tool: GrindToolConfig,
    recipe: GrindRecipe,
) -> NDArray[np.bool_]:
    """Return where even the tool's lowest force is too much (N,).

    There its layer is pressed onto more than the strip wanted, or the strip is ground faster than the tool may travel.
    """
    most = most_force_n(opening_rad, rounding_m, curvature_per_m, face, recipe)
    area = section_area_m2(recipe.chamfer_width_m, opening_rad, rounding_m)
    return (most < tool.force_n.low) | (feed_for_area(tool, tool.force_n.low, area) > tool.speed_m_per_s.high)


def _passes(ride: Ride, area: Array, most: Array, tool: GrindToolConfig, recipe: GrindRecipe) -> int:
    # of equal cross-sections: the first goes deepest, by the root of its share
    depth = section_depth_m(0.5 * recipe.chamfer_width_m, ride.opening_rad, ride.rounding_m)
    slow = float(np.max(tool.speed_m_per_s.low / feed_for_area(tool, most, area)))
    deep = (float(np.max(depth)) / depth_per_pass_max_m(tool)) ** 2
    n = max(recipe.n_passes or 1, int(np.ceil(slow)), int(np.ceil(deep)))
    if n > PASSES_MAX:
        raise LimitError(
            f"{ride.name}: a chamfer {1e3 * recipe.chamfer_width_m:g} mm wide takes {n} passes of tool {tool.name} at "
            f"{float(np.min(most)):.3g} N, at most {PASSES_MAX}: more force or a narrower chamfer is needed",
            value=n,
            high=PASSES_MAX,
        )
    return n
