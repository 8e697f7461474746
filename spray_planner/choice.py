"""Which of many strokes to take, and how much of each: bounded least squares, then the least useful are dropped."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from cell_core.transforms import Array

DESCENTS, POLISHING_DESCENTS = 300, 60
RIDGE = 1e-6
"""Added to the diagonal of the normal matrix, over its mean: strokes may be copies of each other."""
DROPPED_AT_ONCE = 0.12
USED_LEAST = 0.5
"""Strokes wanted at less than this of their least amount are dropped before any other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Columns taken."""

    index: NDArray[np.int64]
    """(K,) ascending."""
    amounts: Array
    """(K,) within their bounds."""
    residual: float
    """Root mean square of target - films @ amounts."""


def choose(
    films: Any,
    target: Array,
    weights: Array,
    start: Array,
    least: Array,
    most: Array,
    *,
    price: float,
    waste: Array,
    enough: float = 0.0,
) -> Choice:
    """Return the columns and amounts that bring films (S, K) @ amounts near the target, each column worth its price.

    Minimises sum w (t - F x)^2 + waste x over 0 <= x <= most by accelerated projected gradients (Beck and Teboulle
    2009), then drops columns, those first whose loss raises the residual least, until every one left gains at least
    `price` of root mean square or the residual exceeds `enough`; at last amounts are held to least..most.

    Args:
        films: (S, K) sparse, in targets.
        target: (S,) film wanted, in the same unit.
        weights: (S,) sums to 1.
        start: (K,) first guess.
        least, most: (K,) amounts that can be run.
        waste: (K,) what the paint of one amount costs.
    """
    gram = _gram(films, weights)
    pull = np.asarray(films.T @ (weights * target)).ravel()
    whole = float(weights @ target**2)
    wanted = pull - 0.5 * waste
    x = _descend(gram, wanted, np.clip(start, 0.0, most), np.zeros_like(most), most, DESCENTS)
    index = np.flatnonzero(x > 1e-9)
    x = x[index]
    while len(index) > 1:
        own = gram[np.ix_(index, index)]
        losses = _losses(own, x)
        losses[x < USED_LEAST * least[index]] = 0.0
        square = max(whole - 2.0 * float(pull[index] @ x) + float(x @ own @ x), 1e-12)
        allowed = max((np.sqrt(square) + price) ** 2, enough**2) - square
        cheap = np.flatnonzero(losses < allowed)
        if len(cheap) == 0:
            break
        # one after the other would be right, a few at a time is nearly so
        some = max(1, int(DROPPED_AT_ONCE * len(index)))
        order = cheap[np.argsort(losses[cheap], kind="stable")]
        order = order[: max(1, min(some, int(np.searchsorted(np.cumsum(losses[order]), allowed))))]
        keep = np.setdiff1d(np.arange(len(index)), order)
        index, x = index[keep], x[keep]
        own = gram[np.ix_(index, index)]
        x = _descend(own, wanted[index], x, np.zeros(len(x)), most[index], POLISHING_DESCENTS)
    own = gram[np.ix_(index, index)]
    low, high = least[index], most[index]
    x = _descend(own, wanted[index], np.clip(x, low, high), low, high, POLISHING_DESCENTS)
    error = target - films[:, index] @ x
    return Choice(index=index, amounts=x, residual=float(np.sqrt(weights @ error**2)))


def _gram(films: Any, weights: Array) -> Array:
    rooted = films.multiply(np.sqrt(weights)[:, None]).tocsr()
    gram = np.asarray((rooted.T @ rooted).toarray(), float)
    gram[np.diag_indices_from(gram)] += RIDGE * gram.diagonal().mean()
    return gram


def _descend(gram: Array, pull: Array, x: Array, low: Array, high: Array, steps: int) -> Array:
    """Return x after accelerated projected gradient steps on x G x / 2 - pull x, columns scaled to unit curvature.

    On 600 dense columns the interior point method of `optimise.quadratic` takes ten times as long to the same minimum.
    """
    scale = 1.0 / np.sqrt(np.maximum(gram.diagonal(), 1e-30))
    scaled = gram * scale[:, None] * scale[None, :]
    largest = float(scipy.linalg.norm(scaled, 1))
    low, high, x, pull = low / scale, high / scale, x / scale, pull * scale
    ahead, t = x.copy(), 1.0
    for _ in range(steps):
        moved = np.clip(ahead - (scaled @ ahead - pull) / largest, low, high)
        grown = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t * t))
        ahead = moved + (t - 1.0) / grown * (moved - x)
        # start anew where momentum leads uphill
        if (moved - x) @ (scaled @ moved - pull) > 0.0:
            ahead, grown = moved, 1.0
        x, t = moved, grown
    return x * scale


def _losses(gram: Array, x: Array) -> Array:
    """Return by how much the squared residual grows when each column is dropped and the others make up for it."""
    inverse = scipy.linalg.inv(gram, check_finite=False)
    return x**2 / np.maximum(inverse.diagonal(), 1e-300)
