"""In which order to visit stops that can each be taken in several joint positions, and what each position leads to."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from cell_core.transforms import Array

POSITIONS_MAX = 96
"""Of each stop only those count for the order that are nearest to where the arm stands or to another stop."""
ORDERS_MAX = 3000
"""Orders tried at most: some tenths of a second for a dozen stops."""


class Tour:
    """A short open tour through every stop: nearest first, then pieces turned around (2-opt) and stops moved (or-opt).

    A move takes as long as its slowest joint at full speed. Each order is judged by the best choice of positions along
    it (dynamic programme), so that a stop is not entered in a position that is far from all that follows.
    """

    def __init__(self, start_rad: Array, positions_rad: Sequence[Array], velocity_rad_per_s: Array) -> None:
        """Take the start (6,), the joint positions (n_k, 6), n_k >= 1, of each stop, and the joints' speeds (6,)."""
        self._velocity = np.asarray(velocity_rad_per_s, float)
        self._all = [np.asarray(q, float) for q in positions_rad]
        self._start = np.asarray(start_rad, float)[None]
        some = [_nearest(q, [self._start, *self._all], self._velocity) for q in self._all]
        stops = [self._start, *some]
        self._times = [[_between(a, b, self._velocity) for b in stops] for a in stops]
        self._some = some

    @cached_property
    def order(self) -> list[int]:
        """Stops in the order to visit them."""
        n = len(self._some)
        if n == 0:
            return []
        order = self._nearest_first()
        length, n_tried, better = self.length_s(order), 0, True
        while better and n_tried < ORDERS_MAX:
            better = False
            for other in _neighbours(order):
                n_tried += 1
                other_length = self.length_s(other)
                if other_length < length - 1e-6:
                    order, length, better = other, other_length, True
                    break
        return order

    @property
    def to_go_s(self) -> list[Array]:
        """For each stop of the order (n_k,): the time from each of its positions through all later stops."""
        order, out = self.order, []
        for place, stop in enumerate(order):
            after = order[place + 1 :]
            if not after:
                out.append(np.zeros(len(self._all[stop])))
                continue
            later = self._to_go(after)
            out.append((_between(self._all[stop], self._some[after[0]], self._velocity) + later).min(axis=1))
        return out

    def length_s(self, order: Sequence[int]) -> float:
        """Return the time of the moves through stops in an order, with the best positions."""
        return float((self._times[0][order[0] + 1][0] + self._to_go(order)).min())

    def _to_go(self, order: Sequence[int]) -> Array:
        """Return the time from each position of the order's first stop to its end."""
        later = np.zeros(len(self._some[order[-1]]))
        for a, b in zip(order[-2::-1], order[:0:-1], strict=True):
            later = (self._times[a + 1][b + 1] + later).min(axis=1)
        return later

    def _nearest_first(self) -> list[int]:
        left, order, reached = set(range(len(self._some))), [], np.zeros(1)
        here = 0
        while left:
            arrivals = {k: (reached[:, None] + self._times[here][k + 1]).min(axis=0) for k in left}
            nearest = min(left, key=lambda k: float(arrivals[k].min()))
            left.remove(nearest)
            order.append(nearest)
            here, reached = nearest + 1, arrivals[nearest]
        return order


def move_times(here_rad: Array, there_rad: Array, velocity_rad_per_s: Array) -> Array:
    """Return (n,) how long the slowest joint takes from one position (6,) to others (n, 6)."""
    return np.asarray((np.abs(there_rad - here_rad) / velocity_rad_per_s).max(axis=-1))


def _between(a_rad: Array, b_rad: Array, velocity_rad_per_s: Array) -> Array:
    return move_times(a_rad[:, None], b_rad[None], velocity_rad_per_s)


def _nearest(positions: Array, stops: Sequence[Array], velocity: Array) -> Array:
    if len(positions) <= POSITIONS_MAX:
        return positions
    middles = np.stack([np.median(q, axis=0) for q in stops] + [stops[0][0]])
    return positions[np.argsort(_between(positions, middles, velocity).min(axis=1), kind="stable")[:POSITIONS_MAX]]


def _neighbours(order: list[int]) -> list[list[int]]:
    n, out = len(order), []
    for i in range(n - 1):
        for j in range(i + 1, n):
            out.append(order[:i] + order[i : j + 1][::-1] + order[j + 1 :])
    for i in range(n):
        rest = order[:i] + order[i + 1 :]
        out += [rest[:j] + [order[i]] + rest[j:] for j in range(n) if j != i]
    return out
