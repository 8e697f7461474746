"""Process values and speeds along poses as they are, so that they leave what other poses were to leave.

An arm that tilts a tool or cannot keep a speed changes what the tool leaves. The film or depth is linear in dwell times
process value, so both are found at once: dwell is fitted as if the value were the one asked for all along. Where the
value may change it makes up for the difference at the speed the arm had, and speeds change only where it may not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import SpeedLimits, limit_acceleration, optimise_speed
from cell_core.restoring import Attainable
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

SMOOTHNESS = 3e-4
"""Less than where speeds are planned: what is to be mended is small and lies close together."""
SLOWEST_M_PER_S = 1e-3
UNBOUNDED_M_PER_S2 = 1e12


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """What is to be left on which points."""

    change_m: Array
    """(P,) film or depth [m]."""
    weights: Array
    """(P,) usually areas [m2]."""

    @property
    def mean_m(self) -> float:
        """Mean over what is wanted, each piece counting as much as it gets [m]."""
        total = float(self.weights @ self.change_m)
        return float(self.weights @ self.change_m**2) / total if total > 0.0 else 0.0

    def off(self, change_m: Array) -> float:
        """Return the root mean square of a change less the one wanted, where that is at least half the mean, over it.

        Raises:
            CoverageError: nothing is wanted anywhere.
        """
        judged = self._judged
        return float(np.sqrt(np.average((change_m - self.change_m) ** 2, weights=judged))) / self.mean_m

    def figures(self, change_m: Array, covered: float) -> dict[str, float]:
        """Return mean, variation and extremes of a change where at least half the mean was wanted, and what it covers.

        Args:
            change_m: (P,) film or depth [m].
            covered: share of the ground a tool could serve that what was wanted covers; a change covers as much of that
                as gets at least half of what was wanted there.

        Raises:
            CoverageError: nothing is wanted anywhere.
        """
        judged = self._judged
        some, share = change_m[judged > 0.0], judged[judged > 0.0] / judged.sum()
        mean = float(share @ some)
        return {
            "mean_m": mean,
            "cv": float(np.sqrt(share @ (some - mean) ** 2)) / mean if mean > 0.0 else 0.0,
            "min_m": float(some.min()),
            "max_m": float(some.max()),
            "coverage_area_fraction": covered * float(share @ (some >= 0.5 * self.change_m[judged > 0.0])),
        }

    @property
    def _judged(self) -> Array:
        mean = self.mean_m
        judged = np.where(self.change_m >= 0.5 * mean, self.weights, 0.0)
        if mean <= 0.0 or judged.sum() <= 0.0:
            raise CoverageError("restoring: the tool path as planned leaves nothing on the surface")
        return judged


def restored_strokes(
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    wanted: Wanted,
    limits: SpeedLimits,
    attainable: Sequence[Attainable],
    *,
    value_range: tuple[float, float] | None,
    knot_m: float,
) -> list[Stroke]:
    """Return the strokes at speeds and process values that leave what is wanted as nearly as the arm allows.

    Args:
        operator: rates at the process value asked for at each sample.
        strokes: as run; what is off stays off.
        wanted: of these strokes alone.
        limits: of the tool; where the arm was slower than their low speed it may be so again.
        attainable: one per stroke.
        value_range: least and most process value that may be set; None: it stays as asked for.
        knot_m: distance of the knots that speeds are fitted at.

    Raises:
        CoverageError: the strokes reach nothing of what is wanted.
    """
    on = np.concatenate([s.on for s in strokes])
    fastest = np.maximum(np.concatenate([a.fastest_m_per_s for a in attainable]), SLOWEST_M_PER_S)
    asked = np.maximum(np.concatenate([a.value_asked for a in attainable]), 1e-300)
    least, most = (np.ones(len(asked)),) * 2 if value_range is None else (v / asked for v in value_range)
    least, most = np.minimum(least, 1.0), np.maximum(most, 1.0)
    # where the value can fall, it makes up for the arm's accelerating
    acceleration = limits.acceleration_m_per_s2 if value_range is None else UNBOUNDED_M_PER_S2
    slowest = min(limits.low_m_per_s, float(min(s.speed_m_per_s.min() for s in strokes)))
    result = optimise_speed(
        operator,
        strokes,
        wanted.change_m,
        wanted.weights,
        replace(
            limits, low_m_per_s=max(slowest, SLOWEST_M_PER_S) / float(most.max()), acceleration_m_per_s2=acceleration
        ),
        knot_m=knot_m,
        smoothness=SMOOTHNESS,
        fastest_m_per_s=np.where(on, fastest / least, np.inf),
    )
    ends = np.cumsum([len(s) for s in strokes])[:-1]
    cuts = [np.split(x, ends) for x in (fastest, least, most)]
    pieces = zip(strokes, result.strokes, *cuts, attainable, strict=True)
    return [_driven(run, fitted, tuple(able), at, limits) for run, fitted, *able, at in pieces]


def _driven(
    run: Stroke, fitted: Stroke, able: tuple[Array, ...], attainable: Attainable, limits: SpeedLimits
) -> Stroke:
    """Return the stroke at the speed it was run at where the value can make up for it, else nearer to the one fitted.

    Args:
        run: as run.
        fitted: at speeds that leave what is wanted at the value asked for.
        able: (N,) each: the fastest speed, the least and the most share of the value asked for.
        attainable: for the value asked for.
        limits: for the acceleration.
    """
    fastest, least, most = able
    right = fitted.speed_m_per_s
    speed = np.minimum(np.clip(run.speed_m_per_s, least * right, most * right), fastest)
    if not np.array_equal(speed, run.speed_m_per_s):
        speed = limit_acceleration(speed, run.step_lengths_m, limits.acceleration_m_per_s2)
    wanted = np.minimum(speed / right, most)
    # at a standstill the least would pile up: off is nearer to what is wanted
    on = run.on & (wanted >= 0.5 * least)
    value = np.maximum(wanted, least) * attainable.value_asked
    return replace(run, speed_m_per_s=speed, process_value=value, on=on)
