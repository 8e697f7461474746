"""Where along strokes the gun is off: where what it sprays costs more, as overspray or on a mask, than it evens out."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult
from cell_core.transforms import Array
from spray_planner.goal import Goal

ROUNDS_MAX = 3
GAIN_MIN = 1e-3
"""A round of trimming is kept when it betters the fit by at least this share."""
SHORTEST_DEPTHS = 1.0
"""Neither on nor off stretches are shorter than this many half heights of the fan."""
REACH_DEPTHS = 4.0
"""Ends of a stretch move by at most this many half heights in a round."""


def trimmed(goal: Goal, fit: DwellResult, operator: CoverageOperator, depth_m: float) -> DwellResult:
    """Return the strokes with the gun off where that betters the fit, speeds fitted anew.

    Args:
        depth_m: half height of the fan.
    """
    for _ in range(ROUNDS_MAX):
        switches = _Trim.of(goal, fit, operator, depth_m).switches(fit)
        strokes = [replace(s, on=on) for s, on in zip(fit.strokes, switches, strict=True)]
        if all(np.array_equal(a.on, b.on) for a, b in zip(strokes, fit.strokes, strict=True)):
            break
        trial = goal.fitted(operator, strokes)
        if goal.merit(trial) > (1.0 - GAIN_MIN) * goal.merit(fit):
            break
        fit = trial
    return fit


@dataclass(kw_only=True, eq=False)
class _Trim:
    """The fit's error, which falls and rises as samples are switched off one after the other."""

    film: Any
    """(P, N) csc: what each sample leaves with the dwell it has, in mean targets."""
    weights: Array
    """(P,) sum to 1."""
    error: Array
    """(P,) film minus target, in mean targets."""
    saved: Array
    """(N,) what switching a sample off saves as time that misses."""
    pitch_m: float
    depth_m: float

    @staticmethod
    def of(goal: Goal, fit: DwellResult, operator: CoverageOperator, depth_m: float) -> "_Trim":
        dwell = np.concatenate([s.dwell_s for s in fit.strokes])
        film = operator.matrix.tocsc().astype(float)
        film.data *= np.repeat(dwell, np.diff(film.indptr)) / goal.mean_m
        share = goal.weights / goal.weights.sum()
        landed = np.asarray(film.T @ np.where(goal.target_m > 0.0, share, 0.0))
        return _Trim(
            film=film,
            weights=share,
            error=(fit.predicted_m - goal.target_m) / goal.mean_m,
            saved=goal.price_per_s * (dwell - landed * float(dwell.sum()) / float(landed.sum())),
            pitch_m=float(np.mean(np.concatenate([s.step_lengths_m for s in fit.strokes]))),
            depth_m=depth_m,
        )

    def switches(self, fit: DwellResult) -> list[NDArray[np.bool_]]:
        """Return where each stroke is on after trimming its stretches' ends and opening holes in them."""
        out, start = [], 0
        for stroke in fit.strokes:
            on = np.array(stroke.on)
            self._open_holes(on, start)
            for first, last in runs(on):
                inside = np.arange(first, last)
                self._cut(on, start, inside)
                self._cut(on, start, inside[::-1])
            out.append(without_short(on, self.shortest))
            start += len(stroke)
        return out

    @property
    def shortest(self) -> int:
        """Samples of the shortest stretch."""
        return max(int(np.ceil(SHORTEST_DEPTHS * self.depth_m / self.pitch_m)), 2)

    def _open_holes(self, on: NDArray[np.bool_], start: int) -> None:
        """Switch off stretches that are each better off all along, where that pays for the whole."""
        gain = np.array([self._gain(start + k, self.error) if on[k] else 0.0 for k in range(len(on))])
        for first, last in runs(gain > 0.0):
            if last - first < self.shortest:
                continue
            error, total = self.error.copy(), 0.0
            for k in range(first, last):
                total += self._gain(start + k, error)
                self._take(start + k, error)
            if total > 0.0:
                on[first:last] = False
                self.error = error

    def _cut(self, on: NDArray[np.bool_], start: int, inwards: NDArray[np.int64]) -> None:
        """Switch off as many samples, in the order given, as pays most."""
        reach = max(int(REACH_DEPTHS * self.depth_m / self.pitch_m), 2)
        error, total, best, n_best, kept = self.error.copy(), 0.0, 0.0, 0, self.error
        for n, k in enumerate(inwards[:reach].tolist()):
            if not on[k]:
                break
            total += self._gain(start + k, error)
            self._take(start + k, error)
            if total > best:
                best, n_best, kept = total, n + 1, error.copy()
        on[inwards[:n_best]] = False
        self.error = kept

    def _gain(self, column: int, error: Array) -> float:
        """Return by how much the objective falls when a sample is switched off."""
        part = slice(*self.film.indptr[column : column + 2])
        rows, own = self.film.indices[part], self.film.data[part]
        return float(self.saved[column] + self.weights[rows] @ (own * (2.0 * error[rows] - own)))

    def _take(self, column: int, error: Array) -> None:
        part = slice(*self.film.indptr[column : column + 2])
        error[self.film.indices[part]] -= self.film.data[part]


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, one past the last) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def without_short(on: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Return the switches with short holes closed, then short stretches left out."""
    out = np.array(on)
    for first, last in runs(~on):
        if last - first < shortest and first > 0 and last < len(on):
            out[first:last] = True
    for first, last in runs(out):
        if last - first < shortest:
            out[first:last] = False
    return out
