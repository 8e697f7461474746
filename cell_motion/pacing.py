"""How a leg's joints and freedoms run along its path, and how speed yields where the arm cannot follow."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from cell_core.transforms import Array
from cell_motion.freedom import Choice
from cell_motion.path import StrokePath

DIP_M = 0.02
"""Speed goes down and up again over at least about this length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """How freedoms and joints run along a path."""

    path: StrokePath
    at_m: Array
    joints: Array
    choice: Choice
    pivot_m: float

    def frames(self, s: Array, lift_m: Array) -> Array:
        """Tool frames at chord lengths, lifted back along the axis."""
        return self.path.frames(
            s,
            spin_rad=self._along(self.choice.spin_rad, s),
            tilt_rad=self._along(self.choice.tilt_rad, s),
            standoff_m=self._along(self.choice.standoff_m, s) + lift_m,
            pivot_m=self.pivot_m,
        )

    def stretch(self, s: Array) -> Array:
        """Return length run by the tool centre point per length of planned path (M,)."""
        step = 1e-4
        ahead, behind = (self.frames(s + d, np.zeros(len(s)))[:, :3, 3] for d in (step, -step))
        return np.linalg.norm(ahead - behind, axis=1) / (2.0 * step)

    def _along(self, values: Array, s: Array) -> Array:
        return CubicSpline(self.at_m, values, bc_type="clamped")(np.clip(s, self.at_m[0], self.at_m[-1]))

    def guess(self, s: Array) -> Array:
        """Joint positions near those wanted at chord lengths."""
        return np.stack([np.interp(s, self.at_m, self.joints[:, j]) for j in range(self.joints.shape[1])], axis=1)


@dataclass(kw_only=True)
class Ramp:
    """A lead-in or lead-out under trial."""

    exists: bool = True
    """False: no ramp, the stroke itself starts or ends at rest."""
    share: float = 1.0
    """Peak acceleration as a share of the usual."""
    may_be_harder: bool = True
    """Whether twice the usual acceleration may be tried; not for a pad that comes down meanwhile."""
    trials: int = 0

    def gentler(self) -> bool:
        """Take it more slowly; tell whether that was possible."""
        self.trials += 1
        if not self.exists or self.trials > 4:
            return False
        self.share *= 0.7
        return True

    def yields(self) -> bool:
        """Give way to limits: go more slowly, or drop a hard ramp; tell whether that was possible."""
        return self.gentler() or (self.share > 1.0 and self.shorter())

    def shorter(self) -> bool:
        """Take a harder ramp once, then none at all; tell whether there was anything left to try."""
        if not self.exists:
            return False
        self.exists = self.trials == 0 and self.may_be_harder
        self.share = 2.0 if self.exists else 1.0
        self.trials += 5
        return True


def smoothed(choice: Choice, at_m: Array) -> Choice:
    """Smooth how spin, tilt and standoff change from rung to rung (they are steps of a search grid)."""
    if len(at_m) < 5:
        return choice
    spin, tilt, standoff = (
        gaussian_filter1d(x, 2.0, axis=0, mode="nearest") for x in (choice.spin_rad, choice.tilt_rad, choice.standoff_m)
    )
    return replace(choice, spin_rad=spin, tilt_rad=tilt, standoff_m=standoff)


def dip(grid_m: Array, s_m: Array, ratio: Array) -> Array:
    """Return factors on the grid that slow the places s (N,) by their ratios, spread and smoothed along the path."""
    wanted = np.ones(len(grid_m))
    index = np.clip(np.searchsorted(grid_m, s_m), 0, len(grid_m) - 1)
    np.minimum.at(wanted, index, np.where(ratio > 1.0, 0.97 / np.maximum(ratio, 1.0), 1.0))
    n = len(grid_m)
    even = np.linspace(0.0, grid_m[-1], max(int(grid_m[-1] / 0.002), 2))
    width = max(round(DIP_M / 0.002), 1)
    spread = minimum_filter1d(np.interp(even, grid_m, _nearest_low(wanted)), 2 * width + 1, mode="nearest")
    smooth = gaussian_filter1d(spread, 0.5 * width, mode="nearest")
    return np.minimum(np.interp(grid_m, even, smooth), 1.0) if n else wanted


def around(at_m: Array, s_m: Array, values: Array) -> Array:
    """Return the largest of values at places s (M,) within DIP_M of each of other places (N,)."""
    low, high = np.searchsorted(s_m, at_m - DIP_M), np.searchsorted(s_m, at_m + DIP_M)
    last = len(values) - 1
    return np.array([values[min(a, last) : max(b, min(a, last) + 1)].max() for a, b in zip(low, high, strict=True)])


def _nearest_low(values: Array) -> Array:
    return minimum_filter1d(values, 3, mode="nearest")
