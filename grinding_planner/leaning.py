"""Lean the pad along its lines: a slight tilt lays more pressure on a border or down a slope than dwell alone can.

Gauss-Newton on dwell and tilt together. In each round the pad is pressed in every sample as it stands and with a small
tilt more about each of two axes; the differences tell what a tilt takes where, and bounded least squares with a smooth
tilt along every line finds the next step, which is kept where it lowers the error as pressed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from cell_core.config import GrindToolConfig
from cell_core.transforms import Array, tool_frames, unit
from grinding_planner.contact import removal_rates
from grinding_planner.face import pairs_under, press, reach_m
from grinding_planner.ground import Ground
from grinding_planner.layout import Laid
from grinding_planner.schedule import roughness
from grinding_planner.seating import Seating, seat
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares

ROUNDS = 6
ITERATIONS = 150
PROBE = 0.2
"""Differences are taken over this share of the largest tilt; a round's step is bounded by TRUST of it."""
TRUST = 0.35
SHRINK = 0.4
GAIN_MIN = 0.01
SMOOTH = 3e-4
"""Weight of the squared change of tilt over a radius along a line, relative to the largest tilt."""
UPRIGHT = 1e-5
"""Weight of the squared tilt itself: where leaning helps nothing the pad stands upright."""
RAISED_MAX = 6.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Wish:
    """What lines are to leave, and how long each of their samples may take."""

    goal_m: Array
    """(S,) depth wanted."""
    weights: Array
    """(S,) weight of its squared error."""
    low_s: Array
    """(N,) least dwell at full force."""
    high_s: Array
    """(N,) most."""
    aim_fraction: float | None
    """Errors above this share of the goal count for more; None: all the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lean:
    tilt: Array
    """(N, 2) slope of the face along and across travel, over the largest."""
    seats: Seating
    rates: scipy.sparse.csr_matrix
    """(S, N) removal rate over the mean goal."""
    dwell_s: Array
    value: float


def leant(ground: Ground, tool: GrindToolConfig, force_n: float, laid: Laid, wish: Wish, step_m: float) -> Laid:
    """Return the lines with the pad leant, at most by the tool's tilt along and across travel, to come closer."""
    if tool.tilt_max_rad <= 0.0:
        return laid
    solver = _Solver(ground, tool, force_n, laid.lines, wish, step_m)
    now = solver.pressed(np.zeros((len(wish.low_s), 2)), wish.low_s)
    trust = TRUST
    for _ in range(ROUNDS):
        if wish.aim_fraction is not None:
            now = solver.raised(now, wish.aim_fraction)
        tried = solver.step(now, trust)
        if tried.value >= now.value:
            trust *= SHRINK
            continue
        better = 1.0 - tried.value / now.value
        now = tried
        if better < GAIN_MIN:
            break
    return Laid(lines=solver.lines_at(now.tilt), seats=now.seats)


class _Solver:
    def __init__(
        self, ground: Ground, tool: GrindToolConfig, force_n: float, lines: Sequence[Line], wish: Wish, step_m: float
    ) -> None:
        self._ground, self._tool, self._force, self._wish, self._step = ground, tool, force_n, wish, step_m
        self._scale = float(wish.weights @ wish.goal_m / wish.weights.sum())
        self._goal, self._even = wish.goal_m / self._scale, wish.weights / wish.weights.sum()
        self._weights, self._factor = self._even, np.ones(len(self._even))
        self._axis, self._position, self._travel = (
            np.concatenate([getattr(line, n) for line in lines]) for n in ("tool_axis", "position_m", "travel")
        )
        self._ends = np.cumsum([len(line) for line in lines])[:-1]
        self._rough = roughness(lines, reach_m(tool))
        self._stands = self._seats(np.zeros((len(wish.low_s), 2))).valid

    def lines_at(self, tilt: Array) -> list[Line]:
        parts = (np.split(values, self._ends) for values in (self._position, *self._tilted(tilt)))
        return [Line(position_m=p, tool_axis=a, travel=t) for p, a, t in zip(*parts, strict=True)]

    def _tilted(self, tilt: Array) -> tuple[Array, Array]:
        across, slope = np.cross(self._axis, self._travel), np.tan(self._tool.tilt_max_rad) * tilt
        axis = unit(self._axis + slope[:, :1] * self._travel + slope[:, 1:] * across)
        return axis, unit(self._travel - np.einsum("ij,ij->i", self._travel, axis)[:, None] * axis)

    def _seats(self, tilt: Array) -> Seating:
        frames = tool_frames(self._position, *self._tilted(tilt))
        return seat(
            self._ground.samples,
            self._ground.caster,
            frames,
            self._tool,
            self._force,
            any_direction=self._ground.is_sheet,
            step_m=self._step,
        )

    def _rates(self, tilt: Array, force_n: Array) -> scipy.sparse.csr_matrix:
        frames = tool_frames(self._position, *self._tilted(tilt))
        pairs = pairs_under(self._ground.samples, frames, self._tool, step_m=self._step)
        return removal_rates(pairs, press(pairs, force_n, self._tool), self._tool) / self._scale

    def pressed(self, tilt: Array, start_s: Array) -> _Lean:
        """Return the pad pressed at a tilt, with the dwell that then suits best."""
        seats = self._seats(tilt)
        rates = scipy.sparse.csr_matrix(removal_rates(seats.pairs, seats.contact, self._tool) / self._scale)
        problem = LeastSquares(
            matrix=rates, goal=self._goal, weights=self._weights, low=self._wish.low_s, high=self._wish.high_s
        )
        dwell = problem.solve(start_s, ITERATIONS)
        return _Lean(tilt=tilt, seats=seats, rates=rates, dwell_s=dwell, value=self._value(rates, dwell, tilt))

    def _value(self, rates: scipy.sparse.csr_matrix, dwell_s: Array, tilt: Array) -> float:
        left = rates @ dwell_s - self._goal
        price = SMOOTH * float(np.sum((self._rough @ tilt) ** 2)) + UPRIGHT * float(np.mean(tilt**2))
        return float(self._weights @ left**2) + price

    def raised(self, now: _Lean, aim_fraction: float) -> _Lean:
        """Return the same with errors above the aim counting for more from now on."""
        left = np.abs(now.rates @ now.dwell_s - self._goal) / (aim_fraction * np.maximum(self._goal, 0.2))
        self._factor = np.minimum(self._factor * np.clip(left, 1.0, 1.5), RAISED_MAX)
        self._weights = self._factor * self._even
        return replace(now, value=self._value(now.rates, now.dwell_s, now.tilt))

    def step(self, now: _Lean, trust: float) -> _Lean:
        """Return where a step of dwell and tilt leads."""
        n = len(now.tilt)
        # dwell counts in its own size, so that all unknowns are of order one
        size = np.maximum(now.dwell_s, 0.2 * float(np.mean(now.dwell_s)))
        slopes = [self._slope(now, k) for k in range(2)]
        matrix = scipy.sparse.csr_matrix(scipy.sparse.hstack([now.rates @ scipy.sparse.diags(size), *slopes]))
        price = scipy.sparse.vstack(
            [np.sqrt(2.0 * SMOOTH) * self._rough, np.sqrt(2.0 * UPRIGHT / n) * scipy.sparse.eye(n)]
        )
        here = np.concatenate([now.dwell_s / size, now.tilt.T.ravel()])
        low, high = (np.clip(now.tilt + sign * trust, -1.0, 1.0) for sign in (-1.0, 1.0))
        problem = LeastSquares(
            matrix=matrix,
            # the unknown is the tilt itself: what it does already is in the rates
            goal=self._goal + matrix[:, n:] @ here[n:],
            weights=self._weights,
            low=np.concatenate([self._wish.low_s / size, low.T.ravel()]),
            high=np.concatenate([self._wish.high_s / size, high.T.ravel()]),
            rough=scipy.sparse.csr_matrix(scipy.sparse.block_diag([scipy.sparse.csr_matrix((1, n)), price, price])),
        )
        after = problem.solve(here, ITERATIONS)
        tilt = after[n:].reshape(2, n).T
        # where the pad would no longer stand it stays as it was
        lost = self._stands & ~self._seats(tilt).valid
        tilt[lost] = now.tilt[lost]
        return self.pressed(tilt, after[:n] * size)

    def _slope(self, now: _Lean, k: int) -> scipy.sparse.csr_matrix:
        side = np.where(now.tilt[:, k] > 1.0 - PROBE, -PROBE, PROBE)
        probe = now.tilt.copy()
        probe[:, k] += side
        return (self._rates(probe, now.seats.force_n) - now.rates) @ scipy.sparse.diags(now.dwell_s / side)
