"""Speeds of long paths, group by group: cost grows with the path and not with its square."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult, SpeedLimits, optimise_speed
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

GROUP_LENGTH_M, GROUP_STROKES = 20.0, 120.0
"""About the length of a group of long strokes, and the number of short ones: they are fitted together, the film of the
others held."""
SWEEPS = 2
SWEEP_ROUNDS = 3


def stroke_groups(strokes: Sequence[Stroke]) -> list[NDArray[np.int64]]:
    """Return runs of neighbouring strokes of about equal size."""
    size = np.array([s.length_m / GROUP_LENGTH_M + 1.0 / GROUP_STROKES for s in strokes])
    along = np.cumsum(size)
    n = max(int(np.ceil(along[-1])), 1)
    middle = along - 0.5 * size
    owner = np.minimum((middle / along[-1] * n).astype(np.int64), n - 1)
    return [np.flatnonzero(owner == k) for k in range(n) if (owner == k).any()]


def optimise_in_groups(
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    target_m: Array,
    weights: Array,
    limits: SpeedLimits,
    *,
    knot_m: float,
    dwell_price_per_s: float = 0.0,
    rounds_max: int = 20,
) -> DwellResult:
    """Return `optimise_speed`'s result, or for paths of several groups that of SWEEPS passes over the groups.

    Each pass fits one group after the other to what all others leave to it (block Gauss-Seidel); the first starts from
    the strokes' speeds as they are. A second costs every group the same, whatever is left to it.
    """
    groups = stroke_groups(strokes)
    if len(groups) == 1:
        return optimise_speed(
            operator,
            strokes,
            target_m,
            weights,
            limits,
            knot_m=knot_m,
            dwell_price_per_s=dwell_price_per_s,
            rounds_max=rounds_max,
        )
    columns = [operator.columns_of(g) for g in groups]
    own: list[Sequence[Stroke]] = [[strokes[k] for k in g] for g in groups]
    films = [np.asarray(c.predict(s), float) for c, s in zip(columns, own, strict=True)]
    results: list[DwellResult | None] = [None] * len(groups)
    cost_per_s = dwell_price_per_s * float(weights @ target_m) ** 2 / float(weights.sum())
    for _ in range(SWEEPS):
        for k, column in enumerate(columns):
            left = target_m - sum(f for i, f in enumerate(films) if i != k)
            counting = weights * (np.diff(column.matrix.indptr) > 0)
            price = cost_per_s * float(counting.sum()) / max(float(counting @ left) ** 2, 1e-300)
            try:
                results[k] = found = optimise_speed(
                    column,
                    own[k],
                    left,
                    counting,
                    limits,
                    knot_m=knot_m,
                    dwell_price_per_s=price,
                    rounds_max=SWEEP_ROUNDS,
                )
            except CoverageError:
                # the others leave this group nothing to do: it stays as it is, to be pruned
                continue
            own[k], films[k] = found.strokes, found.predicted_m
    return _merged(results, own, np.sum(films, axis=0), target_m, weights)


def _merged(
    results: Sequence[DwellResult | None],
    own: Sequence[Sequence[Stroke]],
    film: Array,
    target_m: Array,
    weights: Array,
) -> DwellResult:
    done = [r for r in results if r is not None]
    if not done:
        raise CoverageError(f"none of {sum(map(len, own))} strokes has anything to do")
    shares = np.array([sum(len(s) for s in r.strokes) for r in done], float)

    def mean(name: str) -> float:
        return float(np.average([getattr(r, name) for r in done], weights=shares))

    def by_stroke(name: str) -> Array:
        return np.concatenate(
            [getattr(r, name) if r else np.zeros(len(o)) for r, o in zip(results, own, strict=True)]
        )

    return replace(
        done[0],
        strokes=tuple(s for group in own for s in group),
        predicted_m=film,
        residual_rms_m=float(np.sqrt(np.average((film - target_m) ** 2, weights=weights))),
        rounds=max(r.rounds for r in done),
        converged=all(r.converged for r in done),
        optimality_gap=max(r.optimality_gap for r in done),
        at_most_points=np.unique(np.concatenate([r.at_most_points for r in done])),
        causes=None,
        **{n: mean(n) for n in ("at_low_fraction", "at_high_fraction", "acceleration_bound_fraction")},
        **{n: by_stroke(n) for n in ("at_low_by_stroke", "at_high_by_stroke", "acceleration_bound_by_stroke")},
    )
