"""Speed and force along lines: a smooth least-squares dwell, driven as the arm can, the force giving way elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.config import GrindToolConfig
from cell_core.optimise.dwell import limit_acceleration
from cell_core.transforms import Array
from grinding_planner.contact import removal_rates
from grinding_planner.face import reach_m
from grinding_planner.layout import Laid
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares

SMOOTHNESS = 1e-4
ITERATIONS = 200
DRIVE_ROUNDS = 6
FORCE_SHARE_MIN = 0.3
"""The force gives way down to this share: below it the contact on curved ground is another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wish:
    """What lines are to leave."""

    goal_m: Array
    """(S,) depth wanted."""
    weights: Array
    """(S,) weight of its squared error."""
    aim_fraction: float | None
    """Errors above this share of the goal count for more; None: all the same."""
    brushed: NDArray[np.bool_] | None = None
    """(S,) where the pad gets by chance: errors count for more only as far as it takes more than the deepest goal."""
    rim: NDArray[np.bool_] | None = None
    """(S,) beside a sharp edge: only errors RIM_SLACK times above the share count for more."""
    smoothness: float = SMOOTHNESS
    """Weight of the squared change of dwell per length along a line, relative to the mean one, over a radius."""
    turning: float = 0.0
    """Weight of how unevenly axes turn (see `turning.bending`) when the pad is leant."""
    acceleration_share: float = 1.0
    """Speeds along a line change by so much of the tool's acceleration at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """Speeds and forces along lines."""

    speed_m_per_s: list[Array]
    """(N,) of each line [m/s]."""
    force_share: Array
    """(N,) over all lines: force over the one it was planned for."""
    dwell_s: Array
    """(N,) over all lines [s]."""

    def slowness(self, lines: Sequence[Line]) -> Array:
        """Return the time per length at full force (N,) [s/m] that does as much."""
        return self.dwell_s * self.force_share / np.concatenate([line.reach_m for line in lines])


def scheduled(laid: Laid, wish: Wish, tool: GrindToolConfig, iterations: int = ITERATIONS) -> Schedule:
    """Return speeds and shares of the forces with which lines come closest to a wish, removal going with the force.

    The unknown is dwell at full force per length, smooth along each line. Speeds are the highest that bring it and
    keep the acceleration bound; where that is too slow the force is lowered, as far as the tool allows.
    """
    lines, seats = laid.lines, laid.seats
    reach = np.concatenate([line.reach_m for line in lines])
    lowest_share = lowest_shares(tool, seats.force_n)
    scale = float(wish.weights @ wish.goal_m / wish.weights.sum())
    swept = scipy.sparse.csr_matrix(removal_rates(seats.pairs, seats.contact, tool) @ scipy.sparse.diags(reach))
    rows = np.flatnonzero((wish.weights > 0.0) & (np.diff(swept.indptr) > 0))
    own = scipy.sparse.csr_matrix(swept[rows])
    w, goal = wish.weights[rows] / wish.weights.sum(), wish.goal_m[rows] / scale
    typical = float((own.T @ w) @ np.ones(len(reach))) / scale
    slow = float(w @ goal) / typical
    low, high = lowest_share / tool.speed_m_per_s.high / slow, np.full(len(reach), 1.0 / tool.speed_m_per_s.low / slow)
    rough = roughness(lines, reach_m(tool)) * np.sqrt(wish.smoothness)
    problem = LeastSquares(
        matrix=scipy.sparse.csr_matrix(own * (slow / scale)), goal=goal, weights=w, low=low, high=high, rough=rough
    )
    x = problem.solve(np.ones(len(reach)).clip(low, high), iterations)
    return driven(lines, x * slow, tool, lowest_share, wish.acceleration_share)


def dwell_at(speed_m_per_s: Array, steps_m: Array) -> Array:
    """Return the time (N,) [s] that belongs to each sample of a line, nearness to it as its share of every moment.

    At constant acceleration most of a step's time passes near its slower end: of 2 ds / (v0 + v1) the first sample
    gets (v0 + 2 v1) / (3 (v0 + v1)).
    """
    v0, v1 = speed_m_per_s[:-1], speed_m_per_s[1:]
    unit = 2.0 / 3.0 * steps_m / (v0 + v1) ** 2
    return np.r_[unit * (v0 + 2.0 * v1), 0.0] + np.r_[0.0, unit * (v1 + 2.0 * v0)]


def lowest_shares(tool: GrindToolConfig, force_n: Array) -> Array:
    """Return down to which share of the forces (N,) a schedule may go (N,)."""
    return np.maximum(FORCE_SHARE_MIN, np.minimum(tool.force_n.low / force_n, 1.0))


def roughness(lines: Sequence[Line], radius_m: float) -> scipy.sparse.csr_matrix:
    """Return the matrix (M, N) whose square sum is the mean squared change over a radius along the lines."""
    counts = np.array([len(line) for line in lines])
    first = np.concatenate([np.arange(n - 1) + k for n, k in zip(counts, np.cumsum(counts) - counts, strict=True)])
    steps = np.concatenate([np.linalg.norm(np.diff(line.position_m, axis=0), axis=1) for line in lines])
    size = np.sqrt(steps / steps.sum()) * radius_m / steps
    row = np.arange(len(first))
    entries = (np.r_[size, -size], (np.r_[row, row], np.r_[first + 1, first]))
    return scipy.sparse.csr_matrix(entries, shape=(len(first), counts.sum()))


def driven(
    lines: Sequence[Line],
    slowness: Array,
    tool: GrindToolConfig,
    lowest_share: Array,
    acceleration_share: float = 1.0,
) -> Schedule:
    """Return the highest speeds that bring a slowness (N,) [s/m] at full force and that the arm can drive.

    Where that is too slow the force gives way, as far as `lowest_share` (N,).

    Args:
        acceleration_share: how much of the tool's acceleration speeds may use.
    """
    acceleration = acceleration_share * tool.acceleration_m_per_s2
    speeds, shares, dwells = [], [], []
    ends = np.cumsum([len(line) for line in lines])[:-1]
    for line, wanted, least in zip(lines, np.split(slowness, ends), np.split(lowest_share, ends), strict=True):
        steps = np.linalg.norm(np.diff(line.position_m, axis=0), axis=1)
        due = wanted * line.reach_m
        top = np.clip(1.0 / wanted, tool.speed_m_per_s.low, tool.speed_m_per_s.high)
        for _ in range(DRIVE_ROUNDS):
            speed = np.maximum(limit_acceleration(top, steps, acceleration), tool.speed_m_per_s.low)
            dwell = dwell_at(speed, steps)
            # what neighbours' speeds take away from a slow sample no force gives back
            top = np.maximum(speed * np.minimum(1.0, dwell / due), tool.speed_m_per_s.low)
        speeds.append(speed)
        dwells.append(dwell)
        shares.append(np.clip(due / dwell, least, 1.0))
    return Schedule(speed_m_per_s=speeds, force_share=np.concatenate(shares), dwell_s=np.concatenate(dwells))
