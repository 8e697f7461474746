"""How a stroke's freedoms may be used: spins everywhere; tilts and standoffs in lanes that come and go smoothly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Freedom
from cell_core.transforms import Array
from cell_motion.kinematics import TURN_RAD

N_SPINS = 12
N_SPINS_IN_LANE = 6
RAMP_M = 0.25
"""A tilt or standoff comes and goes over this length of path."""
GENTLE_TILT_RAD = 0.2
"""Largest tilt taken just to keep speed near a singularity."""
SWITCH_SHARE = 0.2
"""Lanes may be entered, left or changed where no more than this share of their tilt is taken."""
LANE_SHARE_MIN = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """How the freedoms are used at some poses; arrays share length n."""

    spin_rad: Array
    tilt_rad: Array
    """(n, 2) rotation vector about the path frame's x and y."""
    standoff_m: Array
    lane: NDArray[np.int64]
    """(n,) 0: nominal tilt and standoff; else which combination of them is being used."""
    share: Array
    """(n,) how much of the lane's tilt and standoff is taken, 0..1."""

    def take(self, index: NDArray[np.int64] | list[int] | int) -> "Choice":
        """Return the entries at `index`."""
        i = np.atleast_1d(index)
        return Choice(
            spin_rad=self.spin_rad[i],
            tilt_rad=self.tilt_rad[i],
            standoff_m=self.standoff_m[i],
            lane=self.lane[i],
            share=self.share[i],
        )

    @staticmethod
    def join(choices: Sequence["Choice"]) -> "Choice":
        """Return the entries of all choices in order."""
        return Choice(
            spin_rad=np.concatenate([c.spin_rad for c in choices]),
            tilt_rad=np.concatenate([c.tilt_rad for c in choices]),
            standoff_m=np.concatenate([c.standoff_m for c in choices]),
            lane=np.concatenate([c.lane for c in choices]),
            share=np.concatenate([c.share for c in choices]),
        )


def may_follow(start: Choice, end: Choice) -> NDArray[np.bool_]:
    """Tell which nodes (n_start, n_end) may follow each other: lanes change only where little of them is taken."""
    same = start.lane[:, None] == end.lane[None, :]
    return same | (np.maximum(start.share[:, None], end.share[None, :]) <= SWITCH_SHARE)


def nominal(freedom: Freedom) -> Choice:
    """Return every spin at nominal tilt and standoff."""
    spins = _spins(freedom, N_SPINS)
    n = len(spins)
    return Choice(
        spin_rad=spins,
        tilt_rad=np.zeros((n, 2)),
        standoff_m=np.full(n, _rest_m(freedom)),
        lane=np.zeros(n, np.int64),
        share=np.zeros(n),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Lanes:
    """Combinations of full tilt (L, 2) and standoff (L,), numbered from 1."""

    freedom: Freedom
    tilt_rad: Array
    standoff_m: Array

    @staticmethod
    def gentle(freedom: Freedom) -> "Lanes":
        """Tilts only, small ones: to keep speed."""
        return Lanes._of(freedom, min(freedom.tilt_rad, GENTLE_TILT_RAD), shift=False)

    @staticmethod
    def full(freedom: Freedom) -> "Lanes":
        """All tilts and standoffs: to reach at all."""
        return Lanes._of(freedom, freedom.tilt_rad, shift=True)

    @staticmethod
    def _of(freedom: Freedom, tilt_max_rad: float, *, shift: bool) -> "Lanes":
        angles = np.arange(8) * TURN_RAD / 8
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        levels = (0.0, 0.5 * tilt_max_rad, tilt_max_rad) if tilt_max_rad > 0.0 else (0.0,)
        tilts = np.concatenate([np.zeros((1, 2)), *(r * circle for r in levels if r > 0.0)])
        rest = _rest_m(freedom)
        standoffs = np.unique([rest, *freedom.standoff_m]) if shift else np.array([rest])
        tilt = np.tile(tilts, (len(standoffs), 1))
        standoff = np.repeat(standoffs, len(tilts))
        real = (np.abs(tilt).max(axis=1) > 1e-9) | (np.abs(standoff - rest) > 1e-9)
        return Lanes(freedom=freedom, tilt_rad=tilt[real], standoff_m=standoff[real])

    def __len__(self) -> int:
        return len(self.standoff_m)

    def choices(self, share: float, first_lane: int) -> Choice:
        """Return every spin in every lane with this share of tilt and standoff; lanes count from `first_lane`."""
        spins = _spins(self.freedom, N_SPINS_IN_LANE)
        rest = _rest_m(self.freedom)
        n = len(spins)
        return Choice(
            spin_rad=np.tile(spins, len(self)),
            tilt_rad=np.repeat(share * self.tilt_rad, n, axis=0),
            standoff_m=np.repeat(rest + share * (self.standoff_m - rest), n),
            lane=np.repeat(first_lane + np.arange(len(self)), n),
            share=np.full(n * len(self), share),
        )


def shares(at_m: Array, needy: Sequence[int]) -> Array:
    """Return the share of a lane to take at positions (K,) along a stroke: 1 at the needy ones, less around them."""
    if len(needy) == 0:
        return np.zeros(len(at_m))
    distance = np.abs(at_m[:, None] - at_m[list(needy)][None, :]).min(axis=1)
    u = np.clip(1.0 - distance / RAMP_M, 0.0, 1.0)
    share = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    return np.where(share < LANE_SHARE_MIN, 0.0, share)


def _spins(freedom: Freedom, n: int) -> Array:
    if freedom.spin == "free":
        return np.arange(n) * TURN_RAD / n
    return np.array([0.0, np.pi] if freedom.spin == "fixed" else [0.0])


def _rest_m(freedom: Freedom) -> float:
    low, high = freedom.standoff_m
    return float(np.clip(0.0, low, high))
