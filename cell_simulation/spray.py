"""Spray as the simulator sees it: droplets thrown from the nozzle that land where they first meet the true mesh."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from cell_simulation.tool_parameters import CorrelatedNoise, GunTruth, ToolErrors
from cell_simulation.true_part import TruePart

DROPLETS_PER_S = 102_400.0
TURBULENCE_RAD = 0.003
"""Random deviation of a droplet's direction about each of two axes (standard deviation)."""
TURBULENCE_BANK = 1 << 16
PLASTIC = 1.32471795724474602596
"""Root of x^3 = x + 1; (n / PLASTIC, n / PLASTIC^2) modulo 1 fills the square evenly (Roberts 2018)."""


@dataclass(frozen=True, kw_only=True)
class SprayBalance:
    """Volume of dry film that left the gun, and what landed on the part [m3]."""

    emitted_m3: float
    landed_m3: float

    def __add__(self, other: "SprayBalance") -> "SprayBalance":
        """Return the sums."""
        return SprayBalance(emitted_m3=self.emitted_m3 + other.emitted_m3, landed_m3=self.landed_m3 + other.landed_m3)


class SprayTruth:
    """Emit droplets in blocks of time and deposit them.

    Droplets leave at even intervals; their place in the fan is a seeded low-discrepancy sequence mapped through the
    inverse of the pattern's distribution, so a vertex sees far less noise than from independent droplets. Block k
    always throws the same droplets for a seed.
    """

    def __init__(self, part: TruePart, gun: GunTruth, *, seed: int, errors: ToolErrors, block_s: float) -> None:
        self._part, self._gun, self._block_s = part, gun, block_s
        self._n = max(round(DROPLETS_PER_S * block_s), 1)
        rng = np.random.default_rng([seed, 1])
        self._bias = 1.0 + errors.flow_bias * np.clip(rng.standard_normal(), -2.0, 2.0)
        self._shift = rng.random(2)
        self._turbulence = TURBULENCE_RAD * rng.standard_normal((TURBULENCE_BANK, 2))
        self._noise = CorrelatedNoise(seed, 2, errors.flow_correlation_s)
        self._noise_amplitude = errors.flow_noise
        self.balance = SprayBalance(emitted_m3=0.0, landed_m3=0.0)

    def spray(
        self, block: int, pose_times_s: Array, T_base_tool: Array, flow_m3_per_s: Callable[[Array], Array]
    ) -> SprayBalance:
        """Throw the droplets of one block of time onto the part and return their volume.

        Args:
            block: number of the block; it covers block_s * [block, block + 1).
            pose_times_s: (K,) times of the tool poses, covering the block [s].
            T_base_tool: (K, 4, 4) nozzle poses; z the spray axis, y across travel, along a fan's major axis.
            flow_m3_per_s: commanded paint flow at times (N,), valve included.
        """
        times = (block + (np.arange(self._n) + 0.5) / self._n) * self._block_s
        flow = flow_m3_per_s(times)
        alive = flow > 0.0
        if not alive.any():
            return SprayBalance(emitted_m3=0.0, landed_m3=0.0)
        flow = flow * self._bias * (1.0 + self._noise_amplitude * self._noise(times))
        gun = self._gun
        volume = flow * (gun.solids_volume_fraction * gun.transfer_efficiency * self._block_s / self._n)
        origins, directions = self._rays(block, times[alive], alive, pose_times_s, T_base_tool)
        hits = self._part.cast(origins, directions)
        landed = volume[alive][hits.ray]
        self._part.deposit(hits, landed)
        balance = SprayBalance(emitted_m3=float(volume[alive].sum()), landed_m3=float(landed.sum()))
        self.balance = self.balance + balance
        return balance

    def _rays(
        self, block: int, times: Array, alive: NDArray[np.bool_], pose_times_s: Array, T_base_tool: Array
    ) -> tuple[Array, Array]:
        """Return origins and directions (N, 3) of the droplets in the base frame."""
        number = block * self._n + np.flatnonzero(alive)
        even = (number[:, None] * np.array([1.0 / PLASTIC, 1.0 / PLASTIC**2]) + self._shift) % 1.0
        x_m, y_m = self._gun.pattern.places(even)
        x, y = np.stack([x_m, y_m]) / self._gun.reference_standoff_m + self._turbulence[number % TURBULENCE_BANK].T
        # poses between samples: linear in position and axes; over 4 ms an axis turns by less than 0.02 rad
        i = np.clip(np.searchsorted(pose_times_s, times, side="right") - 1, 0, len(pose_times_s) - 2)
        u = ((times - pose_times_s[i]) / (pose_times_s[i + 1] - pose_times_s[i]))[:, None]
        rows = np.swapaxes(T_base_tool[:, :3, :], 1, 2).reshape(-1, 12)
        poses = rows[i] + u * np.diff(rows, axis=0)[i]
        directions = x[:, None] * poses[:, :3] + y[:, None] * poses[:, 3:6] + poses[:, 6:9]
        return poses[:, 9:], directions
