"""Layered graph search: the cheapest sequence of joint positions, one per rung, that never jumps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array

TURN_RAD = 2.0 * np.pi


@dataclass(frozen=True, kw_only=True, eq=False)
class Rung:
    """The ways to stand at one sample."""

    position_rad: Array
    """(n, J) joint positions [rad]."""
    cost: Array
    """(n,) what standing there costs."""

    def take(self, index: NDArray[np.int64]) -> "Rung":
        """Return the nodes at `index`."""
        return Rung(position_rad=self.position_rad[index], cost=self.cost[index])


@dataclass(frozen=True, kw_only=True)
class EdgeRule:
    """When one joint position may follow another, and what it costs."""

    velocity_rad_per_s: Array
    """(J,) joint velocities that may be used [rad/s]."""
    turns: NDArray[np.bool_]
    """(J,) joints that range over more than a turn: their whole-turn copies count as one."""
    jump_rad: float = 0.5
    """No joint may move farther between rungs: it would be a flip."""
    slowest: float = 5.0
    """An edge that would need more than this many times its duration is refused."""
    slow_cost: float = 2.0
    """Cost of each further duration needed."""

    def difference(self, start_rad: Array, end_rad: Array) -> Array:
        """Return joint differences, whole turns removed where the joint ranges over more than one."""
        d = end_rad - start_rad
        return np.where(self.turns, d - TURN_RAD * np.round(d / TURN_RAD), d)

    def edges(self, start: Rung, end: Rung, duration_s: float) -> Array:
        """Return edge costs (n_start, n_end), inf where not allowed."""
        d = np.abs(self.difference(start.position_rad[:, None, :], end.position_rad[None, :, :]))
        scaled = d / self.velocity_rad_per_s
        ratio = scaled.max(axis=2) / duration_s
        square = np.einsum("ijk,ijk->ij", scaled, scaled)
        cost = np.sqrt(square) + square / duration_s  # the square spreads motion evenly over the rungs
        cost += self.slow_cost * np.maximum(ratio - 1.0, 0.0)
        cost[(d.max(axis=2) > self.jump_rad) | (ratio > self.slowest)] = np.inf
        return cost


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """Cheapest ways through a ladder, for every node of its first and of its last rung."""

    first_cost: Array
    """(n_0,) cost from each node of the first rung to the last rung."""
    last_cost: Array
    """(n_K,) cost from the first rung to each node of the last rung."""
    first_ends_at: NDArray[np.int64]
    """(n_0,) node of the last rung where the way from each node of the first ends."""
    last_starts_at: NDArray[np.int64]
    """(n_K,) node of the first rung where the way to each node of the last starts."""
    following: list[NDArray[np.int64]]
    """For rungs 0..K-1: best next node of each node."""
    preceding: list[NDArray[np.int64]]
    """For rungs 1..K: best previous node of each node."""

    def from_first(self, node: int) -> list[int]:
        """Return the nodes of all rungs on the way from a node of the first rung."""
        way = [node]
        for step in self.following:
            way.append(int(step[way[-1]]))
        return way

    def to_last(self, node: int) -> list[int]:
        """Return the nodes of all rungs, first rung first, on the way to a node of the last rung."""
        way = [node]
        for step in reversed(self.preceding):
            way.append(int(step[way[-1]]))
        return way[::-1]


def split(rungs: list[Rung], edges: list[Array], break_cost: Array) -> list[tuple[int, int]]:
    """Return the ranges (first, last rung) of the cheapest way through all rungs when breaks between rungs are allowed.

    Rungs without nodes belong to no range. An unbroken range is one continuous motion.

    Args:
        rungs: K rungs.
        edges: K - 1 edge cost matrices.
        break_cost: (K - 1,) cost of a break after each rung; far above the cost of edges.
    """
    ranges: list[tuple[int, int]] = []
    k = 0
    while k < len(rungs):
        if len(rungs[k].cost) == 0:
            k += 1
            continue
        last = k
        while last + 1 < len(rungs) and len(rungs[last + 1].cost):
            last += 1
        ranges += _split_island(rungs, edges, break_cost, k, last)
        k = last + 1
    return ranges


def _split_island(
    rungs: list[Rung], edges: list[Array], break_cost: Array, first: int, last: int
) -> list[tuple[int, int]]:
    total = rungs[first].cost
    came_from: list[NDArray[np.int64]] = []
    broke: list[NDArray[np.bool_]] = []
    for k in range(first, last):
        through = total[:, None] + edges[k]
        best = through.argmin(axis=0)
        cost = through[best, np.arange(len(best))]
        jump = int(total.argmin())
        breaks = total[jump] + break_cost[k] < cost
        came_from.append(np.where(breaks, jump, best))
        broke.append(breaks)
        total = np.where(breaks, total[jump] + break_cost[k], cost) + rungs[k + 1].cost
    node = int(total.argmin())
    cuts: list[int] = []
    for k in range(last - 1, first - 1, -1):
        if broke[k - first][node]:
            cuts.append(k)
        node = int(came_from[k - first][node])
    starts = [first, *(c + 1 for c in reversed(cuts))]
    ends = [*reversed(cuts), last]
    return list(zip(starts, ends, strict=True))


def solve(rungs: list[Rung], edges: list[Array]) -> Policy | None:
    """Return the cheapest continuous ways through K >= 1 rungs, or None where there is none."""
    forward = rungs[0].cost
    start = np.arange(len(forward))
    preceding: list[NDArray[np.int64]] = []
    for k, matrix in enumerate(edges):
        through = forward[:, None] + matrix
        best = through.argmin(axis=0)
        preceding.append(best)
        start = start[best]
        forward = through[best, np.arange(len(best))] + rungs[k + 1].cost
    if not np.isfinite(forward).any():
        return None
    backward = rungs[-1].cost
    end = np.arange(len(backward))
    following: list[NDArray[np.int64]] = []
    for k in range(len(edges) - 1, -1, -1):
        through = backward[None, :] + edges[k]
        best = through.argmin(axis=1)
        following.append(best)
        end = end[best]
        backward = through[np.arange(len(best)), best] + rungs[k].cost
    return Policy(
        first_cost=backward,
        last_cost=forward,
        first_ends_at=end,
        last_starts_at=start,
        following=following[::-1],
        preceding=preceding,
    )
