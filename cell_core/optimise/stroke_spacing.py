"""Distance between neighbouring strokes as a bound on their shifts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.optimise.pose_knots import PoseKnots, Poses
from cell_core.transforms import Array

PRICE = 1e-1
"""Squared residual that a violation of 10 mm everywhere costs."""
ROUNDS = 3
Term = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class StrokeSpacing:
    """Pairs of samples on neighbouring strokes and the interval their distance has to lie in."""

    knots: PoseKnots
    interval_m: tuple[float, float] | None
    own: NDArray[np.int64]
    other: NDArray[np.int64]

    @staticmethod
    def of(knots: PoseKnots, interval_m: tuple[float, float] | None) -> "StrokeSpacing":
        """Pair each sample with the nearest of the next stroke, by the points aimed at, ends left out."""
        own, other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        if interval_m is not None:
            aim = aims(knots, knots.poses(np.zeros((4, knots.n_coefficients))))
            starts = np.cumsum(knots.counts) - knots.counts
            for k in range(len(knots.counts) - 1):
                mine = starts[k] + np.arange(knots.counts[k])
                theirs = starts[k + 1] + np.arange(knots.counts[k + 1])
                nearest = np.asarray(KDTree(aim[theirs]).query(aim[mine])[1])
                inside = (nearest > 0) & (nearest < len(theirs) - 1)
                own.append(mine[inside])
                other.append(theirs[nearest[inside]])
        return StrokeSpacing(
            knots=knots, interval_m=interval_m, own=np.concatenate(own), other=np.concatenate(other)
        )

    def gaps_m(self, poses: Poses) -> Array:
        """Return the distances (P,) of the pairs [m]."""
        aim = aims(self.knots, poses)
        return np.linalg.norm(aim[self.other] - aim[self.own], axis=1)

    def cost(self, poses: Poses) -> float:
        """Return the price of what violates the interval."""
        if self.interval_m is None or len(self.own) == 0:
            return 0.0
        return PRICE * float(np.mean((self._excess(self.gaps_m(poses)) / 0.01) ** 2))

    def _excess(self, gaps: Array) -> Array:
        low, high = self.interval_m or (0.0, np.inf)
        return np.maximum(gaps - high, 0.0) - np.maximum(low - gaps, 0.0)

    def rounds(self, poses: Poses, scale: Array) -> Iterator[tuple[Term, Term]]:
        """Yield curvature and pull, in scaled coefficients, of the pairs that a move would bring outside."""
        if self.interval_m is None or len(self.own) == 0:
            size = len(scale)
            yield lambda _: np.zeros((size, size)), lambda _: np.zeros(size)
            return
        aim = aims(self.knots, poses)
        direction = aim[self.other] - aim[self.own]
        gaps = np.linalg.norm(direction, axis=1)
        direction /= np.maximum(gaps, 1e-9)[:, None]
        basis, across = self.knots.basis, self.knots.across
        moved: Any = scipy.sparse.diags(np.einsum("ij,ij->i", direction, across[self.other])) @ basis[self.other]
        moved = moved - scipy.sparse.diags(np.einsum("ij,ij->i", direction, across[self.own])) @ basis[self.own]
        rest = scipy.sparse.csr_matrix((len(gaps), len(scale) - moved.shape[1]))
        rows: Any = scipy.sparse.hstack([moved, rest], format="csr") @ scipy.sparse.diags(scale)
        price = PRICE / len(gaps) / 0.01**2

        def outside(move: Array) -> NDArray[np.int64]:
            return np.flatnonzero((self._excess(gaps + rows @ move) != 0.0) | (self._excess(gaps) != 0.0))

        def gram(move: Array) -> Array:
            active = rows[outside(move)]
            return price * (active.T @ active).toarray()

        def pull(move: Array) -> Array:
            at = outside(move)
            low, high = self.interval_m or (0.0, np.inf)
            reached = gaps[at] + rows[at] @ move
            wall = np.where(reached > 0.5 * (low + high), high, low)
            return price * (rows[at].T @ (gaps[at] - wall))

        for _ in range(ROUNDS):
            yield gram, pull


def aims(knots: PoseKnots, poses: Poses) -> Array:
    """Return the points (N, 3) the tools aim at: where they would at the standoff they were given [m]."""
    return poses.position_m + (knots.pivot_m + poses.values[1])[:, None] * poses.axis
