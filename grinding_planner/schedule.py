"""Speed and force along lines: a smooth least-squares dwell, driven as the arm can, the force giving way elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from cell_core.config import GrindToolConfig
from cell_core.optimise.dwell import limit_acceleration
from cell_core.transforms import Array
from grinding_planner.face import reach_m
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares

SMOOTHNESS = 1e-4
"""Weight of the squared change of dwell per length along a line, relative to the nominal one, over a radius."""
ITERATIONS = 200
RAISE_ROUNDS = 5
RAISE_ITERATIONS = 60
RAISED_MAX = 6.0
SETTLE_ROUNDS = 3
DRIVE_ROUNDS = 6
FORCE_SHARE_MIN = 0.3
"""The force gives way down to this share: below it the contact on curved ground is another one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """Speeds and forces along lines."""

    speed_m_per_s: list[Array]
    """(N,) of each line [m/s]."""
    force_share: Array
    """(N,) over all lines: force over the one it was planned for."""
    dwell_s: Array
    """(N,) over all lines [s]."""


def scheduled(
    rates: scipy.sparse.csr_matrix,
    lines: Sequence[Line],
    goal_m: Array,
    weights: Array,
    tool: GrindToolConfig,
    force_n: Array,
    *,
    aim_fraction: float | None = None,
    smoothness: float = SMOOTHNESS,
    iterations: int = ITERATIONS,
) -> Schedule:
    """Return speeds and shares of the forces (N,) with which `rates` (S, N) [m/s] come closest to the goal (S,).

    The unknown is dwell at full force per length, smooth along each line. Speeds are the highest that bring it and
    keep the acceleration bound; where that is too slow the force is lowered, as far as the tool allows.

    Args:
        aim_fraction: errors above this share of the goal count for more, up to RAISED_MAX times; None: all the same.
    """
    reach = np.concatenate([line.reach_m for line in lines])
    lowest_share = lowest_shares(tool, force_n)
    scale = float(weights @ goal_m / weights.sum())
    laid = scipy.sparse.csr_matrix(rates @ scipy.sparse.diags(reach))
    rows = np.flatnonzero((weights > 0.0) & (np.diff(laid.indptr) > 0))
    own = scipy.sparse.csr_matrix(laid[rows])
    w, goal = weights[rows] / weights.sum(), goal_m[rows] / scale
    typical = float((own.T @ w) @ np.ones(len(reach))) / scale
    slow = float(w @ goal) / typical
    matrix = scipy.sparse.csr_matrix(own * (slow / scale))
    low, high = lowest_share / tool.speed_m_per_s.high / slow, np.full(len(reach), 1.0 / tool.speed_m_per_s.low / slow)
    rough = roughness(lines, reach_m(tool)) * np.sqrt(smoothness)
    problem = LeastSquares(matrix=matrix, goal=goal, weights=w, low=low, high=high, rough=rough)
    x = problem.solve(np.ones(len(reach)).clip(low, high), iterations)
    if aim_fraction is not None:
        factor = np.ones(len(rows))
        aim = aim_fraction * np.maximum(goal, 0.2)
        for _ in range(RAISE_ROUNDS):
            factor = np.minimum(factor * np.clip(np.abs(matrix @ x - goal) / aim, 1.0, 1.5), RAISED_MAX)
            problem = replace(problem, weights=w * factor)
            x = problem.solve(x, RAISE_ITERATIONS)
    plan = _driven(lines, x * slow, tool, lowest_share)
    for _ in range(SETTLE_ROUNDS):
        # what the arm is too slow for at the least force, the others are to make up for
        low = np.clip(lowest_share * plan.dwell_s / reach / slow, low, high)
        x = replace(problem, low=low).solve(x, RAISE_ITERATIONS)
        plan = _driven(lines, x * slow, tool, lowest_share)
    return plan


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


def _driven(lines: Sequence[Line], slowness: Array, tool: GrindToolConfig, lowest_share: Array) -> Schedule:
    speeds, shares, dwells = [], [], []
    ends = np.cumsum([len(line) for line in lines])[:-1]
    for line, wanted, least in zip(lines, np.split(slowness, ends), np.split(lowest_share, ends), strict=True):
        steps = np.linalg.norm(np.diff(line.position_m, axis=0), axis=1)
        due = wanted * line.reach_m
        top = np.clip(1.0 / wanted, tool.speed_m_per_s.low, tool.speed_m_per_s.high)
        for _ in range(DRIVE_ROUNDS):
            speed = np.maximum(limit_acceleration(top, steps, tool.acceleration_m_per_s2), tool.speed_m_per_s.low)
            dwell = dwell_at(speed, steps)
            # what neighbours' speeds take away from a slow sample no force gives back
            top = np.maximum(speed * np.minimum(1.0, dwell / due), tool.speed_m_per_s.low)
        speeds.append(speed)
        dwells.append(dwell)
        shares.append(np.clip(due / dwell, least, 1.0))
    return Schedule(speed_m_per_s=speeds, force_share=np.concatenate(shares), dwell_s=np.concatenate(dwells))
