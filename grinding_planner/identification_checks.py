"""When two scans and a path cannot tell a Preston coefficient: too little ground, not aligned, nothing gone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.transforms import Array

TOUCHED_SHARE, UNTOUCHED_SHARE = 0.1, 0.005
"""Of the deepest planned removal: ground that tells the coefficient, and ground that tells of alignment."""
UNTOUCHED_MIN = 200
FACES_MIN = 4.0
"""Ground touched and measured, in faces of the tool."""
SHIFT_SHARE_MAX = 0.1
MISFIT_SHARE_MAX = 0.3
LOOSE_SHARE_MAX = 0.5
NOTHING_SHARE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """Which vertices tell what."""

    areas_m2: Array
    """(V,)"""
    measured_m: Array
    """(V,) NaN where nothing was measured."""
    planned_m: Array
    """(V,)"""
    touched: NDArray[np.bool_]
    """(V,) measured, and planned to lose a good part of the deepest removal."""
    untouched: NDArray[np.bool_]
    """(V,) measured, and out of the tool's reach."""

    @staticmethod
    def of(before: Surface, measured_m: Array, planned_m: Array) -> "Ground":
        """Sort the vertices of the surface before."""
        told = np.isfinite(measured_m) & (before.vertex_areas_m2 > 0.0)
        deepest = float(planned_m.max())
        return Ground(
            areas_m2=before.vertex_areas_m2,
            measured_m=measured_m,
            planned_m=planned_m,
            touched=told & (planned_m > TOUCHED_SHARE * deepest),
            untouched=told & (planned_m <= UNTOUCHED_SHARE * deepest),
        )

    @property
    def mean_planned_m(self) -> float:
        """Mean planned removal of the touched ground [m]."""
        return float(np.average(self.planned_m[self.touched], weights=self.areas_m2[self.touched]))


def refuse_little(ground: Ground, reach_m: float) -> None:
    """Refuse where less ground than a few faces of the tool was passed over and measured."""
    area, least = float(ground.areas_m2[ground.touched].sum()), FACES_MIN * np.pi * reach_m**2
    if not ground.touched.any() or area < least:
        raise InputRefusedError(
            f"scans: {1e4 * area:.3g} cm2 of the ground the tool passed over was measured before and after, "
            f"at least {1e4 * least:.3g} cm2 needed (do path and scans share a frame?)",
            area_m2=area,
        )


def refuse_shifted(ground: Ground) -> list[str]:
    """Refuse where ground that no stroke reached seems to have moved; return a warning where there is none."""
    values = ground.measured_m[ground.untouched]
    mean = ground.mean_planned_m
    if len(values) < UNTOUCHED_MIN:
        return [
            f"no ground was left untouched that would tell whether the scans are aligned: a shift of "
            f"{0.1 * 1e6 * mean:.2g} um along the normals would change the coefficient by 10 %"
        ]
    shift = float(np.median(values))
    error = 1.2533 * 1.4826 * float(np.median(np.abs(values - shift))) / np.sqrt(len(values))
    if abs(shift) > SHIFT_SHARE_MAX * mean + 3.0 * error:
        raise InputRefusedError(
            f"scans: ground that no stroke reached lies {1e6 * shift:.3g} um lower after the job, against "
            f"{1e6 * mean:.3g} um planned elsewhere: not aligned (cell inspect --register says by how much)",
            shift_m=shift,
        )
    return []


def refuse_unchanged(ground: Ground) -> None:
    """Refuse where the tool passed but next to nothing is gone."""
    own = ground.touched
    mean, planned = float(np.average(ground.measured_m[own], weights=ground.areas_m2[own])), ground.mean_planned_m
    if mean < NOTHING_SHARE * planned:
        raise InputRefusedError(
            f"scans: nothing was removed: {1e6 * mean:.3g} um in the mean where {1e6 * planned:.3g} um were planned",
            mean_m=mean,
        )


def refuse_misfit(ground: Ground, fitted_m: Array, cell: NDArray[np.int64]) -> None:
    """Refuse where what was removed lies elsewhere than the path would have taken it.

    Args:
        cell: (T,) place of each touched vertex, of the tool's size; what noise leaves of its mean does not count.
    """
    own = ground.touched
    area, left = ground.areas_m2[own], ground.measured_m[own] - fitted_m[own]
    weight = np.maximum(np.bincount(cell, area), 1e-30)
    mean = np.bincount(cell, area * left) / weight
    from_noise = np.bincount(cell, (area * (left - mean[cell])) ** 2) / weight**2
    square = float(np.average(np.maximum(mean**2 - from_noise, 0.0), weights=weight))
    misfit, depth = np.sqrt(square), float(np.average(ground.measured_m[own], weights=area))
    if misfit > MISFIT_SHARE_MAX * depth:
        raise InputRefusedError(
            f"scans: measured and computed removal differ by {1e6 * misfit:.3g} um rms from place to place, where "
            f"{1e6 * depth:.3g} um were removed: not aligned, or scans of another job",
            misfit_m=misfit,
        )


def refuse_loose(value: float, half_width: float, name: str) -> None:
    """Refuse a coefficient whose interval is wider than LOOSE_SHARE_MAX of it."""
    if not half_width <= LOOSE_SHARE_MAX * value:
        raise InputRefusedError(
            f"scans: {name} is known to +/- {100.0 * half_width / abs(value):.0f} % only, at most "
            f"{100.0 * LOOSE_SHARE_MAX:.0f} % allowed: more ground, a deeper job or a better scan is needed",
            relative_half_width=half_width / value,
        )
