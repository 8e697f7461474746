"""Lean the pad along its lines and settle speed and force: what dwell alone cannot even out, a slight tilt can.

Gauss-Newton on slowness and tilt together, around what the arm really drives: in each round the slowness is driven
within speed and acceleration, the force gives way where that is too slow, and the pad is pressed at that force and
tilt. Small changes of force and of tilt about two axes, pressed again, tell what a step does; bounded least squares,
smooth along every line, finds the next one, which is kept where it lowers the error as pressed anew. Where the axis
turns suddenly, by the line's own axes and the leans together, that has a price: an arm would be late there. A small
tilt changes the gaps under the pad by slope times distance, so the poses are seated anew only twice, near the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from cell_core.config import GrindToolConfig
from cell_core.transforms import Array, tool_frames, unit
from grinding_planner.contact import PadContact, removal_rates
from grinding_planner.face import press, reach_m
from grinding_planner.ground import Ground
from grinding_planner.layout import Laid
from grinding_planner.samples import RIM_SHARE
from grinding_planner.schedule import Schedule, Wish, driven, lowest_shares, roughness
from grinding_planner.seating import seat
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares
from grinding_planner.turning import bending, haste

ROUNDS, AGAIN_ROUNDS, STILL_ROUNDS = 20, 5, 4
"""With tilt, again on the poses seated anew, and then without: only speed and force settle."""
AGAIN_TRUST, STILL_TRUST = 0.25, 0.4
"""Steps then begin so much smaller."""
ITERATIONS = 120
PROBE = 0.1
"""Differences are taken over this share of the largest tilt, and of the force."""
TILT_TRUST, SLOWNESS_TRUST = 0.2, 0.3
"""A step changes the tilt by at most this share of the largest one, the slowness by this share of itself."""
SHRINK = 0.4
GAIN_SLOW, GAIN_MIN, TRUST_MIN = 0.01, 3e-3, 0.05
SMOOTH = 3e-4
"""Weight of the squared change of tilt over a radius along a line, relative to the largest tilt."""
UPRIGHT = 1e-5
"""Weight of the squared tilt itself: where leaning helps nothing the pad stands upright."""
UNDER_RISE, UNDER_MAX = 1.5, 6.0
OVER_RISE, OVER_MAX = 3.0, 24.0
"""How much more an error above the aim counts after a round, and after all: what is cut too deep nothing puts back."""
RIM_SLACK, RIM_MORE = 3.5, 1.0 / RIM_SHARE**2
"""Beside a sharp edge so much more is no fault: its strip is narrow, and what keeps it shallow leaves more beside it.
Beyond that a small piece may count as much as a large one."""
LOST = ("body_blocked", "slide_stroke", "kept_out", "pressure_too_high")
"""For these a leant pose leans half as much, or stands up again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    tilt: Array
    """(N, 2) slope of the face along and across travel, over the largest."""
    plan: Schedule
    contact: PadContact
    rates: scipy.sparse.csr_matrix
    """(S, N) removal rate over the mean goal."""
    value: float


def settled(
    ground: Ground, tool: GrindToolConfig, force_n: float, laid: Laid, plan: Schedule, wish: Wish, step_m: float
) -> tuple[Laid, Schedule]:
    """Return the lines with the pad leant, at most by the tool's tilt along and across travel, and their schedule."""
    factor = np.ones(len(wish.goal_m))
    leant, slowness = laid, plan.slowness(laid.lines)
    if tool.tilt_max_rad > 0.0:
        tilt = np.zeros((len(slowness), 2))
        for rounds, trust in ((ROUNDS, 1.0), (AGAIN_ROUNDS, AGAIN_TRUST)):
            leaning = _Solver(tool, Laid(lines=laid.lines, seats=leant.seats), wish, factor, tilt)
            now = leaning.run(leaning.pressed(tilt, slowness), rounds, trust)
            factor, before = leaning.factor, leant.seats.force_n
            leant, tilt = _leant(ground, tool, force_n, laid, now.tilt, step_m)
            # the force over an edge goes by the ground found there: what it is to do stays
            slowness = now.plan.slowness(laid.lines) * before / leant.seats.force_n
    still = _Solver(tool, leant, wish, factor)
    start = still.pressed(np.zeros((len(slowness), 2)), slowness)
    return leant, still.run(start, STILL_ROUNDS, STILL_TRUST, leans=False).plan


def _leant(
    ground: Ground, tool: GrindToolConfig, force_n: float, laid: Laid, tilt: Array, step_m: float
) -> tuple[Laid, Array]:
    """Return the lines at a tilt (N, 2), and that tilt; where the pad may not lean so far it leans less."""

    def stand(tilt: Array) -> Laid:
        lines = _tilted(laid.lines, np.tan(tool.tilt_max_rad) * tilt)
        frames = np.concatenate([tool_frames(line.position_m, line.tool_axis, line.travel) for line in lines])
        seats = seat(ground.samples, ground.caster, frames, tool, force_n, any_direction=ground.is_sheet, step_m=step_m)
        return Laid(lines=lines, seats=seats)

    leant = stand(tilt)
    for share in (0.5, 0.0):
        # the pad has not moved: it overhangs no more than it did
        lost = [leant.seats.reasons[name] for name in leant.seats.reasons if name in LOST]
        fallen = laid.seats.valid & np.any(lost, axis=0)
        if not fallen.any():
            break
        tilt = np.where(fallen[:, None], share * tilt, tilt)
        leant = stand(tilt)
    return leant, tilt


def _tilted(lines: Sequence[Line], slope: Array) -> list[Line]:
    tilted, ends = [], np.cumsum([len(line) for line in lines])[:-1]
    for line, own in zip(lines, np.split(slope, ends), strict=True):
        across = np.cross(line.tool_axis, line.travel)
        axis = unit(line.tool_axis + own[:, :1] * line.travel + own[:, 1:] * across)
        travel = unit(line.travel - np.einsum("ij,ij->i", line.travel, axis)[:, None] * axis)
        tilted.append(Line(position_m=line.position_m, tool_axis=axis, travel=travel))
    return tilted


class _Solver:
    def __init__(self, tool: GrindToolConfig, laid: Laid, wish: Wish, factor: Array, base: Array | None = None) -> None:
        # the pad is seated at the tilt `base` (N, 2) already, upright without one
        self._tool, self._lines, self._seats, self._wish = tool, laid.lines, laid.seats, wish
        self._base = np.zeros((sum(len(line) for line in laid.lines), 2)) if base is None else base
        self._scale = float(wish.weights @ wish.goal_m / wish.weights.sum())
        self._goal, self._even = wish.goal_m / self._scale, wish.weights / wish.weights.sum()
        self.factor = factor
        self._reach = np.concatenate([line.reach_m for line in laid.lines])
        self._least = lowest_shares(tool, laid.seats.force_n)
        self._rough = roughness(laid.lines, reach_m(tool))
        self._bend: tuple[scipy.sparse.csr_matrix, Array] | None = None
        if wish.turning > 0.0 and tool.tilt_max_rad > 0.0:
            self._bend = bending(laid.lines, reach_m(tool), float(np.tan(tool.tilt_max_rad)))
        # slowness counts in its mean over the way
        self._unit = 0.0

    def run(self, now: _State, rounds: int, trust: float, *, leans: bool = True) -> _State:
        """Return the state after so many rounds, or when they gain no more."""
        for _ in range(rounds):
            now = self._raised(now)
            tried = self._step(now, trust, leans=leans)
            better = 1.0 - tried.value / now.value
            if better < GAIN_SLOW:
                # steps too long go to and fro about what they are to reach
                trust *= SHRINK
            if better > 0.0:
                now = tried
            if 0.0 < better < GAIN_MIN or trust < TRUST_MIN:
                break
        return now

    def pressed(self, tilt: Array, slowness: Array) -> _State:
        """Return what is left where the arm drives this slowness (N,) and the pad leans (N, 2)."""
        self._unit = self._unit or float(self._reach @ slowness / self._reach.sum())
        plan = driven(self._lines, slowness, self._tool, self._least, self._wish.acceleration_share)
        contact, rates = self._rates(tilt, plan)
        state = _State(tilt=tilt, plan=plan, contact=contact, rates=rates, value=0.0)
        return replace(state, value=self._value(state))

    def _rates(self, tilt: Array, plan: Schedule, harder: float = 1.0) -> tuple[PadContact, scipy.sparse.csr_matrix]:
        pairs, slope = self._seats.pairs, np.tan(self._tool.tilt_max_rad) * (tilt - self._base)
        gap = pairs.gap_m + slope[pairs.pose, 0] * pairs.x_m + slope[pairs.pose, 1] * pairs.y_m
        contact = press(pairs, harder * plan.force_share * self._seats.force_n, self._tool, gap)
        feed = float(np.mean(np.concatenate(plan.speed_m_per_s)))
        return contact, scipy.sparse.csr_matrix(removal_rates(pairs, contact, self._tool, feed) / self._scale)

    def _value(self, state: _State) -> float:
        left = state.rates @ state.plan.dwell_s - self._goal
        slow = state.plan.slowness(self._lines) / self._unit
        price = SMOOTH * float(np.sum((self._rough @ state.tilt) ** 2)) + UPRIGHT * float(np.mean(state.tilt**2))
        if self._bend is not None:
            uneven = self._bend[0] @ state.tilt.T.ravel() + self._bend[1]
            price += 0.5 * self._wish.turning * float(haste(state.plan.speed_m_per_s) @ uneven**2)
        price += 0.5 * self._wish.smoothness * float(np.sum((self._rough @ slow) ** 2))
        return float(0.5 * (self._even * self.factor) @ left**2) + price

    def _raised(self, now: _State) -> _State:
        """Return the same with errors above the aim counting for more from now on."""
        if self._wish.aim_fraction is not None:
            left = now.rates @ now.plan.dwell_s - self._goal
            brushed = np.zeros(len(left), bool) if self._wish.brushed is None else self._wish.brushed
            deepest = self._goal.max()
            error = np.where(brushed, np.maximum(left - deepest, 0.0), left)
            due = np.where(brushed, deepest, np.maximum(self._goal, 0.2))
            burnt = np.zeros(len(left), bool) if self._wish.rim is None else self._wish.rim & (error > 0.0)
            missed = np.abs(error) / (self._wish.aim_fraction * np.where(burnt, RIM_SLACK, 1.0) * due)
            rise, most = np.where(error > 0.0, [[OVER_RISE], [OVER_MAX]], [[UNDER_RISE], [UNDER_MAX]])
            most = np.where(burnt, RIM_MORE, 1.0) * most
            self.factor = np.maximum(self.factor, np.minimum(self.factor * np.clip(missed, 1.0, rise), most))
        return replace(now, value=self._value(now))

    def _step(self, now: _State, trust: float, *, leans: bool) -> _State:
        n, plan = len(now.tilt), now.plan
        slow = plan.slowness(self._lines) / self._unit
        size = np.maximum(slow, 0.2)
        bend = scipy.sparse.csr_matrix(np.sqrt(self._wish.smoothness) * self._rough @ scipy.sparse.diags(size))
        columns = [self._effort(now) @ scipy.sparse.diags(size / slow)]
        here, low, high, rough = [slow / size], [], [], [bend]
        speeds = self._tool.speed_m_per_s
        # what the arm is too slow for at the least force, the others are to make up for
        held = np.maximum(1.0 / speeds.high, plan.dwell_s / self._reach) * self._least
        room = 1.0 + SLOWNESS_TRUST * trust
        low.append(np.clip(held / self._unit, slow / room, slow) / size)
        high.append(np.clip(1.0 / speeds.low / self._unit, slow, slow * room) / size)
        if leans:
            most = TILT_TRUST * trust
            price = [np.sqrt(2.0 * SMOOTH) * self._rough, np.sqrt(2.0 * UPRIGHT / n) * scipy.sparse.eye(n)]
            for k in range(2):
                columns.append(self._slope(now, k))
                here.append(now.tilt[:, k])
                low.append(np.clip(now.tilt[:, k] - most, -1.0, 1.0))
                high.append(np.clip(now.tilt[:, k] + most, -1.0, 1.0))
                rough.append(scipy.sparse.csr_matrix(scipy.sparse.vstack(price)))
        matrix = scipy.sparse.csr_matrix(scipy.sparse.hstack(columns))
        start = np.concatenate(here)
        goal, weights = self._goal - now.rates @ plan.dwell_s + matrix @ start, self._even * self.factor
        if leans and self._bend is not None:
            bend, bent = self._bend
            own = scipy.sparse.hstack([scipy.sparse.csr_matrix((len(bent), n)), bend])
            matrix = scipy.sparse.csr_matrix(scipy.sparse.vstack([matrix, own]))
            goal, weights = np.r_[goal, -bent], np.r_[weights, self._wish.turning * haste(plan.speed_m_per_s)]
        problem = LeastSquares(
            matrix=matrix,
            goal=goal,
            weights=weights,
            low=np.concatenate(low),
            high=np.concatenate(high),
            rough=scipy.sparse.csr_matrix(scipy.sparse.block_diag(rough)),
        )
        after = problem.solve(start, ITERATIONS)
        tilt = after[n:].reshape(2, n).T if leans else now.tilt
        return self.pressed(tilt, after[:n] * size * self._unit)

    def _effort(self, now: _State) -> scipy.sparse.csr_matrix:
        """Return what all of a sample's removal would be if it went on as its first per cents do."""
        _, harder = self._rates(now.tilt, now.plan, 1.0 + PROBE)
        by_force = (harder - now.rates) / PROBE
        gives = now.plan.force_share < 1.0
        parts = [
            rates @ scipy.sparse.diags(np.where(own, now.plan.dwell_s, 0.0))
            for rates, own in ((now.rates, ~gives), (by_force, gives))
        ]
        return scipy.sparse.csr_matrix(parts[0] + parts[1])

    def _slope(self, now: _State, k: int) -> scipy.sparse.csr_matrix:
        side = np.where(now.tilt[:, k] > 1.0 - PROBE, -PROBE, PROBE)
        probe = now.tilt.copy()
        probe[:, k] += side
        _, rates = self._rates(probe, now.plan)
        return (rates - now.rates) @ scipy.sparse.diags(now.plan.dwell_s / side)
