"""Lean the pad along its lines: a slight tilt lays more pressure on a border or down a slope than dwell alone can.

Gauss-Newton on dwell and tilt together. In each round the pad is pressed in every sample as it stands and with a small
tilt more about each of two axes; the difference tells what a tilt takes where, and bounded least squares with a
smooth tilt along every line finds the next step, which is kept where it lowers the error as pressed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.config import PadTool
from cell_core.transforms import Array, tool_frames, unit
from grinding_planner.contact import removal_rates
from grinding_planner.ground import Ground
from grinding_planner.seating import Seating, seat
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares

ROUNDS = 5
ITERATIONS = 150
PROBE = 0.2
"""Differences are taken over this share of the largest tilt, steps of a round bounded by TRUST of it."""
TRUST = 0.35
SMOOTH = 3e-4
"""Weight of the squared change of tilt over a radius along a line, relative to the largest tilt."""
UPRIGHT = 1e-5
"""Weight of the squared tilt itself: where leaning helps nothing the pad stands upright."""
SHRINK = 0.4
GAIN_MIN = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lean:
    """Tilts of all samples, and what the pad then does."""

    tilt: Array
    """(N, 2) slope of the face along and across travel, over the largest."""
    seats: Seating
    rates: scipy.sparse.csr_matrix
    dwell_s: Array
    value: float


def leant(
    ground: Ground,
    tool: PadTool,
    force_n: float,
    lines: Sequence[Line],
    goal_m: Array,
    weights: Array,
    low_s: Array,
    high_s: Array,
    *,
    tilt_max_rad: float,
) -> list[Line]:
    """Return the lines with the pad leant, within the tool's tilt, so that dwell in low..high (N,) comes closer.

    Args:
        goal_m: (S,) depth wanted.
        weights: (S,) weight of its squared error.
        tilt_max_rad: bound of the tilt along and of that across travel.
    """
    if tilt_max_rad <= 0.0 or not lines:
        return list(lines)
    solver = _Solver(ground, tool, force_n, lines, goal_m, weights, low_s, high_s, tilt_max_rad)
    now = solver.pressed(np.zeros((len(low_s), 2)), low_s)
    trust = TRUST
    for _ in range(ROUNDS):
        tried = solver.step(now, trust)
        if tried.value < now.value:
            better = 1.0 - tried.value / now.value
            now = tried
            if better < GAIN_MIN:
                break
        else:
            trust *= SHRINK
    return solver.lines_at(now.tilt)


class _Solver:
    def __init__(
        self,
        ground: Ground,
        tool: PadTool,
        force_n: float,
        lines: Sequence[Line],
        goal_m: Array,
        weights: Array,
        low_s: Array,
        high_s: Array,
        tilt_max_rad: float,
    ) -> None:
        self._ground, self._tool, self._force, self._lines = ground, tool, force_n, lines
        self._scale = float(weights @ goal_m / weights.sum())
        self._goal, self._weights = goal_m / self._scale, weights / weights.sum()
        self._low, self._high, self._slope = low_s, high_s, np.tan(tilt_max_rad)
        self._axis, self._position, self._travel = (
            np.concatenate([getattr(line, n) for line in lines]) for n in ("tool_axis", "position_m", "travel")
        )
        self._ends = np.cumsum([len(line) for line in lines])[:-1]
        self._rough = _roughness(lines, tool.radius_m)
        self._tiltable = self._valid(np.zeros((len(low_s), 2)))

    def lines_at(self, tilt: Array) -> list[Line]:
        axis, travel = self._tilted(tilt)
        return [
            Line(position_m=line.position_m, tool_axis=a, travel=t)
            for line, a, t in zip(self._lines, np.split(axis, self._ends), np.split(travel, self._ends), strict=True)
        ]

    def _tilted(self, tilt: Array) -> tuple[Array, Array]:
        across = np.cross(self._axis, self._travel)
        axis = unit(self._axis + self._slope * (tilt[:, :1] * self._travel + tilt[:, 1:] * across))
        return axis, unit(self._travel - np.einsum("ij,ij->i", self._travel, axis)[:, None] * axis)

    def _seats(self, tilt: Array) -> Seating:
        axis, travel = self._tilted(tilt)
        return seat(
            self._ground.samples,
            self._ground.caster,
            tool_frames(self._position, axis, travel),
            self._tool,
            self._force,
        )

    def _valid(self, tilt: Array) -> NDArray[np.bool_]:
        return self._seats(tilt).valid

    def pressed(self, tilt: Array, start_s: Array) -> _Lean:
        seats = self._seats(tilt)
        rates = removal_rates(seats.pairs, seats.contact, self._tool)
        matrix = (rates / self._scale).tocsr()
        problem = LeastSquares(
            matrix=matrix, goal=self._goal, weights=self._weights, low=self._low, high=self._high, rough=None
        )
        dwell = problem.solve(start_s, ITERATIONS)
        left = matrix @ dwell - self._goal
        value = float(self._weights @ left**2) + self._price(tilt)
        # a pose that no longer stands is no answer
        value += 1.0 * float(np.mean(self._tiltable & ~seats.valid))
        return _Lean(tilt=tilt, seats=seats, rates=matrix, dwell_s=dwell, value=value)

    def _price(self, tilt: Array) -> float:
        bend = self._rough @ tilt
        return SMOOTH * float(np.sum(bend**2)) + UPRIGHT * float(np.mean(tilt**2))

    def step(self, now: _Lean, trust: float) -> _Lean:
        """Return where a step of dwell and tilt leads."""
        n = len(now.tilt)
        slopes = []
        for k in range(2):
            side = np.where(now.tilt[:, k] > 1.0 - PROBE, -PROBE, PROBE)
            probe = now.tilt.copy()
            probe[:, k] += side
            seats = self._seats(probe)
            rates = removal_rates(seats.pairs, seats.contact, self._tool) / self._scale
            slopes.append((rates - now.rates) @ scipy.sparse.diags(now.dwell_s / side))
        # dwell counts in its own size, so that both unknowns are of order one
        size = np.maximum(now.dwell_s, 0.2 * float(np.mean(now.dwell_s)))
        matrix = scipy.sparse.hstack([now.rates @ scipy.sparse.diags(size), *slopes]).tocsr()
        rough = scipy.sparse.block_diag(
            [
                scipy.sparse.csr_matrix((1, n)),
                *[
                    scipy.sparse.vstack(
                        [np.sqrt(2.0 * SMOOTH) * self._rough, np.sqrt(2.0 * UPRIGHT / n) * scipy.sparse.eye(n)]
                    )
                ]
                * 2,
            ]
        ).tocsr()
        here = np.concatenate([now.dwell_s / size, now.tilt[:, 0], now.tilt[:, 1]])
        # unknowns are the new dwell and the new tilt: what the tilt has done already goes to the goal
        goal = self._goal + matrix[:, n:] @ here[n:]
        tilt_low, tilt_high = (np.clip(now.tilt.T.ravel() + s * trust, -1.0, 1.0) for s in (-1.0, 1.0))
        still = np.tile(~self._tiltable, 2)
        tilt_low[still] = tilt_high[still] = now.tilt.T.ravel()[still]
        problem = LeastSquares(
            matrix=matrix,
            goal=goal,
            weights=self._weights,
            low=np.concatenate([self._low / size, tilt_low]),
            high=np.concatenate([self._high / size, tilt_high]),
            rough=rough,
        )
        after = problem.solve(here, ITERATIONS)
        return self.pressed(np.column_stack([after[n : 2 * n], after[2 * n :]]), after[:n] * size)


def _roughness(lines: Sequence[Line], radius_m: float) -> scipy.sparse.csr_matrix:
    """Return the matrix (M, N) whose square sum is the mean squared change over a radius along the lines."""
    counts = np.array([len(line) for line in lines])
    first = np.concatenate([np.arange(n - 1) + k for n, k in zip(counts, np.cumsum(counts) - counts, strict=True)])
    steps = np.concatenate([np.linalg.norm(np.diff(line.position_m, axis=0), axis=1) for line in lines])
    size = np.sqrt(steps / steps.sum()) * radius_m / steps
    row = np.arange(len(first))
    entries = (np.r_[size, -size], (np.r_[row, row], np.r_[first + 1, first]))
    return scipy.sparse.csr_matrix(entries, shape=(len(first), counts.sum()))
