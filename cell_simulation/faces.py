"""Working faces as the simulator sees them: bristles on a flat disc, or on the rim of a roller.

An elastic wheel is a mattress: bristles on its rim, of the stiffness with which a mattress would touch flat ground over
the length that Hertz gives at the force of the moment. On curved ground it goes its own way.
"""

from abc import ABC, abstractmethod

import numpy as np

from cell_core.transforms import Array
from cell_simulation.tool_parameters import PadTruth

N_BRISTLES = 217
RIM_BRISTLES = (41, 9)
"""On a roller: along travel and across."""
RIM_LENGTHS = 3.0
"""Bristles stand over this many contact lengths on flat ground at the largest force."""
WAY_PARTS = 9
"""Places of a roller on its way through a block at which a vertex is looked at."""


class Face(ABC):
    """A face with bristles of equal area."""

    bristles_m: Array
    """(B, 2) feet in tool x, y."""
    set_back_m: Array
    """(B,) how far each stands behind the tool centre point."""
    bristle_area_m2: float
    reach_m: float
    """No point further than this from the tool's axis is ever touched."""

    @abstractmethod
    def stiffness_pa_per_m(self, force_n: float) -> float:
        """Return pressure per compression while the tool presses with this force."""

    @abstractmethod
    def mean_compression_m(self, local_m: Array, compression_m: Array, travel_m: Array) -> Array:
        """Return the compression (P,) of points (P, 2), averaged over the face's way.

        Args:
            local_m: points relative to the face's middle half way.
            compression_m: (P,) how far the tool centre point's plane has advanced beyond each point.
            travel_m: (2,) way of the face, half of it before and half after that.
        """


class Disc(Face):
    """A flat round pad: a sunflower of bristles."""

    def __init__(self, pad: PadTruth) -> None:
        i = np.arange(N_BRISTLES)
        radius, angle = pad.radius_m * np.sqrt((i + 0.5) / N_BRISTLES), i * np.pi * (3.0 - np.sqrt(5.0))
        self.bristles_m = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
        self.set_back_m = np.zeros(N_BRISTLES)
        self.bristle_area_m2 = np.pi * pad.radius_m**2 / N_BRISTLES
        self.reach_m = pad.radius_m
        self._pad = pad

    def stiffness_pa_per_m(self, force_n: float) -> float:
        """Return that of the layer, whatever the force."""
        return self._pad.stiffness_pa_per_m

    def mean_compression_m(self, local_m: Array, compression_m: Array, travel_m: Array) -> Array:
        """Return the compression where and while the disc covers the points."""
        return np.maximum(compression_m, 0.0) * covered_fraction(local_m, travel_m, self._pad.radius_m)


class Roller(Face):
    """A wheel, or a belt over one: the rim of a cylinder or barrel with its axle along y."""

    def __init__(self, pad: PadTruth, force_max_n: float) -> None:
        self._pad = pad
        n_along, n_across = RIM_BRISTLES
        half = min(0.5 * RIM_LENGTHS * 2.0 * self._half_length_m(force_max_n), 0.9 * pad.radius_m)
        x, y = ((np.arange(n) + 0.5) / n * 2.0 - 1.0 for n in (n_along, n_across))
        grid = np.stack(np.meshgrid(half * x, 0.5 * pad.width_m * y, indexing="ij"), axis=-1).reshape(-1, 2)
        self.bristles_m = grid
        self.set_back_m = self._rim_m(grid)
        self.bristle_area_m2 = 2.0 * half * pad.width_m / (n_along * n_across)
        self.reach_m = float(np.hypot(half, 0.5 * pad.width_m))
        self._half_m = half

    def _rim_m(self, local_m: Array) -> Array:
        x, y = local_m[:, 0], local_m[:, 1]
        radius, crown = self._pad.radius_m, self._pad.crown_radius_m
        rim = radius - np.sqrt(np.maximum(radius**2 - x**2, 0.0))
        return rim + (crown - np.sqrt(np.maximum(crown**2 - y**2, 0.0)) if crown > 0.0 else 0.0)

    def _half_length_m(self, force_n: float) -> float:
        pad = self._pad
        if pad.crown_radius_m > 0.0:
            mean = np.sqrt(pad.radius_m * pad.crown_radius_m)
            return float((0.75 * force_n * mean / pad.effective_modulus_pa) ** (1.0 / 3.0))
        return float(np.sqrt(4.0 * force_n / pad.width_m * pad.radius_m / (np.pi * pad.effective_modulus_pa)))

    def stiffness_pa_per_m(self, force_n: float) -> float:
        """Return that of the mattress: F = pi K a^4 / 4R under a ball, F/w = 2 K a^3 / 3R under a roller."""
        pad = self._pad
        force = max(force_n, 0.1)
        half = self._half_length_m(force)
        if pad.crown_radius_m > 0.0:
            return 4.0 * force * float(np.sqrt(pad.radius_m * pad.crown_radius_m)) / (np.pi * half**4)
        return 1.5 * force / pad.width_m * pad.radius_m / half**3

    def mean_compression_m(self, local_m: Array, compression_m: Array, travel_m: Array) -> Array:
        """Return the mean over places along the way."""
        total = np.zeros(len(local_m))
        for part in (np.arange(WAY_PARTS) + 0.5) / WAY_PARTS - 0.5:
            at = local_m - part * travel_m
            under = (np.abs(at[:, 0]) < self._half_m) & (np.abs(at[:, 1]) <= 0.5 * self._pad.width_m)
            total += np.where(under, np.maximum(compression_m - self._rim_m(at), 0.0), 0.0)
        return total / WAY_PARTS


def face_of(pad: PadTruth) -> Face:
    """Return the face of a tool."""
    return Roller(pad, pad.force_max_n) if pad.motion in ("wheel", "belt") else Disc(pad)


def covered_fraction(local_m: Array, travel_m: Array, radius_m: float) -> Array:
    """Return for which fraction of its way a disc covers each point.

    Args:
        local_m: (P, 2) points relative to the disc's centre half way.
        travel_m: (2,) way of the disc, half of it before and half after that.
        radius_m: radius of the disc.
    """
    way2 = float(travel_m @ travel_m)
    inside2 = radius_m**2 - np.einsum("ij,ij->i", local_m, local_m)
    if way2 < 1e-16:
        return (inside2 > 0.0).astype(float)
    along = local_m @ travel_m / way2
    root2 = along**2 + inside2 / way2
    root = np.sqrt(np.maximum(root2, 0.0))
    covered = np.minimum(along + root, 0.5) - np.maximum(along - root, -0.5)
    return np.where(root2 > 0.0, np.maximum(covered, 0.0), 0.0)
