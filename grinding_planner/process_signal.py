"""What the spindle's power says of the abrasive: friction along the job, and where it changed at once.

P = mu F v_rel + idle. Friction need not be known, nor how it hangs together with the removal: a sudden change of it
tells *when* the abrasive changed; by how much its removal changed, a rescan tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.arrays import frozen_array
from cell_core.errors import InputRefusedError
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

N_BINS = 400
"""The job in so many pieces of equal impulse (force times time): a change is placed within one of them."""
PRESSED_SHARE = 0.2
"""Of the median force; rows with less do not tell friction."""
IDLE_SHARE = 0.02
IDLE_ROWS_MIN = 10
UP_TO_SPEED_SHARE = 0.8
IMPULSE_MISFIT_MAX = 0.3
GAP_ROWS = 3.0
"""Steps of the log longer than so many of its usual ones are gaps."""
SIGMAS = 6.0
STEP_MIN = 0.05
"""Relative change of friction below which it is wear, warmth or another place on the part."""
EDGE_BINS = 4
"""Bins at the ends of an abrasive's life in which a change cannot be told from its trend."""
CHANGES_MAX = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class ProcessSignal:
    """A log of one job, row by row."""

    time_s: Array
    """(T,) ascending [s]."""
    on: NDArray[np.bool_]
    """(T,) the process is on."""
    force_n: Array
    """(T,) contact force [N]."""
    power_w: Array
    """(T,) power of the spindle's motor [W]."""

    def __post_init__(self) -> None:
        for name in ("time_s", "force_n", "power_w"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), (None,), name))
        on = np.asarray(self.on, bool)
        if not len(self.time_s) == len(on) == len(self.force_n) == len(self.power_w):
            raise InputRefusedError(
                f"log: {len(self.time_s)} times, {len(on)} switches, {len(self.force_n)} forces, "
                f"{len(self.power_w)} powers: wanted as many of each"
            )
        if len(on) < 2 or np.any(np.diff(self.time_s) < 0.0):
            raise InputRefusedError("log: needs at least 2 rows, times ascending")
        object.__setattr__(self, "on", on)


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """A sudden change of friction."""

    share: float
    """Of the job's impulse at which it happened, 0..1."""
    factor: float
    """Friction after over friction before."""
    sigmas: float
    """Its size over its standard error."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrictionAlong:
    """Friction along the job, up to a constant where the idle power is not known."""

    share: Array
    """(B,) middle of each bin, as share of the job's impulse."""
    friction: Array
    """(B,) friction force over normal force."""
    idle_power_w: float
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def impulse_n_s(strokes: Sequence[Stroke]) -> Array:
    """Return force times time at each sample of all strokes (N,) [N s]."""
    return np.concatenate([stroke.process_value * stroke.dwell_s for stroke in strokes])


def friction_along(
    signal: ProcessSignal, strokes: Sequence[Stroke], speed_m_per_s: float, disc_changes: Sequence[int] = ()
) -> FrictionAlong:
    """Return friction along a job from its log, and its sudden changes.

    Row and path are matched by the share of the impulse spent. Changes are found one by one: the step that, beside a
    parabola for each abrasive, explains most of the logarithm of friction, as long as it is large and certain.

    Args:
        speed_m_per_s: mean relative speed of the face.
        disc_changes: strokes before which the abrasive was changed: no discovery.

    Raises:
        InputRefusedError: nothing was pressed, or the impulse is not this plan's.
    """
    # each row stands for the time up to the next; over a gap nothing is known to have been pressed
    dt = np.r_[np.diff(signal.time_s), 0.0]
    dt = np.minimum(dt, GAP_ROWS * np.median(dt))
    impulse = np.where(signal.on, np.maximum(signal.force_n, 0.0) * dt, 0.0)
    planned = impulse_n_s(strokes)
    total, wanted = float(impulse.sum()), float(planned.sum())
    if not abs(total - wanted) <= IMPULSE_MISFIT_MAX * wanted:
        raise InputRefusedError(
            f"log: {total:.4g} N s were pressed, the tool path has {wanted:.4g} N s: not the log of this plan, "
            "or of a part of it",
            pressed_n_s=total,
            planned_n_s=wanted,
        )
    share = np.cumsum(impulse) / total
    typical = float(np.median(signal.force_n[impulse > 0.0]))
    idle, warnings = _idle_power(signal, typical)
    pressed = (impulse > 0.0) & (signal.force_n > PRESSED_SHARE * typical)
    bins = np.minimum((share[pressed] * N_BINS).astype(np.int64), N_BINS - 1)
    load = np.bincount(bins, (signal.power_w[pressed] - idle) * dt[pressed], N_BINS)
    way = np.bincount(bins, impulse[pressed] * speed_m_per_s, N_BINS)
    told = (way > 0.0) & (load > 0.0)
    at = (np.flatnonzero(told) + 0.5) / N_BINS
    friction = load[told] / way[told]
    edges = np.cumsum([0, *(len(s) for s in strokes)])
    renewed = np.r_[0.0, np.cumsum(planned)][edges[list(disc_changes)]] / wanted
    return FrictionAlong(
        share=at,
        friction=friction,
        idle_power_w=idle,
        changes=_changes(at, np.log(friction), renewed),
        warnings=tuple(warnings),
    )


def _idle_power(signal: ProcessSignal, typical_n: float) -> tuple[float, list[str]]:
    idle = signal.on & (signal.force_n < IDLE_SHARE * typical_n)
    if idle.sum() >= IDLE_ROWS_MIN:
        power = signal.power_w[idle]
        # a spindle that comes up to speed takes less than one that has
        return float(np.median(power[power >= UP_TO_SPEED_SHARE * np.quantile(power, 0.9)])), []
    return 0.0, ["log: the spindle never idles: friction is told with the idle power in it, and its changes too small"]


def _changes(at: Array, value: Array, renewed: Array) -> tuple[Change, ...]:
    disc = np.searchsorted(renewed[renewed > 0.0], at, side="right")
    basis = []
    for d in np.unique(disc):
        own = disc == d
        middle, half = at[own].mean(), max(float(np.ptp(at[own])), 1e-9)
        basis += [np.where(own, ((at - middle) / half) ** k, 0.0) for k in range(min(3, int(own.sum())))]
    found: list[int] = []
    while len(found) < CHANGES_MAX:
        fixed = np.column_stack([*basis, *(_step(disc, k) for k in found)])
        q = np.linalg.qr(fixed)[0]
        rest = value - q @ (q.T @ value)
        steps = np.column_stack([_step(disc, k) for k in range(len(at))])
        steps = steps - q @ (q.T @ steps)
        size = np.einsum("ij,ij->j", steps, steps)
        index = np.arange(len(at))
        edge = np.array([min(np.sum(disc[:k] == disc[k]), np.sum(disc[k:] == disc[k])) for k in index]) < EDGE_BINS
        gain = np.where((size > 1e-6) & ~edge, (steps.T @ rest) ** 2 / np.maximum(size, 1e-6), 0.0)
        k = int(np.argmax(gain))
        after = rest - steps[:, k] * (steps[:, k] @ rest) / max(size[k], 1e-6)
        spread = 1.4826 * float(np.median(np.abs(after)))
        height = float(steps[:, k] @ rest / max(size[k], 1e-6))
        if gain[k] <= (SIGMAS * spread) ** 2 or abs(height) < STEP_MIN:
            break
        found.append(k)
    if not found:
        return ()
    fixed = np.column_stack([*basis, *(_step(disc, k) for k in found)])
    heights, *_ = np.linalg.lstsq(fixed, value, rcond=None)
    spread = float(np.std(value - fixed @ heights))
    error = spread * np.sqrt(np.diag(np.linalg.pinv(fixed.T @ fixed)))
    n = len(basis)
    return tuple(
        Change(
            share=float(0.5 * (at[k - 1] + at[k])),
            factor=float(np.exp(heights[n + j])),
            sigmas=float(abs(heights[n + j]) / max(error[n + j], 1e-12)),
        )
        for j, k in sorted(enumerate(found), key=lambda item: item[1])
    )


def _step(disc: NDArray[np.int64], k: int) -> Array:
    # until the abrasive is changed
    index = np.arange(len(disc))
    return ((index >= k) & (disc == disc[k])).astype(float)
