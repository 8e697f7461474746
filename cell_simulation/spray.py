"""Spray as the simulator sees it: droplets thrown from the nozzle, cast onto the true mesh, landing where they first hit."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta as beta_distribution

from cell_core.transforms import Array
from cell_simulation.tool_parameters import CorrelatedNoise, GunTruth, ToolErrors
from cell_simulation.true_part import TruePart

DROPLETS_PER_S = 76_800.0
TURBULENCE_RAD = 0.003
"""Random deviation of a droplet's direction about each of two axes (standard deviation)."""
TURBULENCE_BANK = 1 << 16
TABLE = 4097
PLASTIC = 1.32471795724474602596
"""Root of x^3 = x + 1: (n / PLASTIC, n / PLASTIC^2) modulo 1 fills the square evenly for every range of n (Roberts 2018)."""


@dataclass(frozen=True, kw_only=True)
class SprayBalance:
    """Volume of dry film that left the gun, and what landed on the part [m3]."""

    emitted_m3: float
    landed_m3: float


class SprayTruth:
    """Emit droplets in blocks of time and deposit them.

    Droplets leave at even intervals; their place in the fan is a seeded low-discrepancy sequence mapped through the inverse of
    the double-beta distribution, so a vertex sees far less noise than from independent droplets. Block k always throws the
    same droplets for a seed.
    """

    def __init__(self, part: TruePart, gun: GunTruth, *, seed: int, errors: ToolErrors, block_s: float) -> None:
        self._part, self._gun, self._block_s = part, gun, block_s
        self._n = max(int(round(DROPLETS_PER_S * block_s)), 1)
        rng = np.random.default_rng([seed, 1])
        self._shift = rng.random(2)
        self._turbulence = TURBULENCE_RAD * rng.standard_normal((TURBULENCE_BANK, 2))
        self._bias = 1.0 + errors.flow_bias * rng.standard_normal()
        self._noise = CorrelatedNoise(seed, 2, errors.flow_correlation_s)
        self._noise_amplitude = errors.flow_noise
        # fan coordinates: marginal of x/a, and y/(b sqrt(1 - x2/a2)) given x, are symmetric beta distributions on -1..1
        quantiles = (np.arange(TABLE) + 0.5) / TABLE
        self._quantiles = quantiles
        self._major = 2.0 * beta_distribution.ppf(quantiles, gun.beta_1 + 0.5, gun.beta_1 + 0.5) - 1.0
        self._minor = 2.0 * beta_distribution.ppf(quantiles, gun.beta_2, gun.beta_2) - 1.0
        self.balance = SprayBalance(emitted_m3=0.0, landed_m3=0.0)

    def spray(
        self, block: int, pose_times_s: Array, T_base_tool: Array, flow_m3_per_s: Callable[[Array], Array]
    ) -> SprayBalance:
        """Throw the droplets of one block of time onto the part and return their volume.

        Args:
            block: number of the block; it covers block_s * [block, block + 1).
            pose_times_s: (K,) times of the tool poses, covering the block [s].
            T_base_tool: (K, 4, 4) nozzle poses; z the spray axis, y along the fan's major axis.
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
        self.balance = SprayBalance(
            emitted_m3=self.balance.emitted_m3 + balance.emitted_m3, landed_m3=self.balance.landed_m3 + balance.landed_m3
        )
        return balance

    def _rays(
        self, block: int, times: Array, alive: Array, pose_times_s: Array, T_base_tool: Array
    ) -> tuple[Array, Array]:
        """Return origins and directions (N, 3) of the droplets in the base frame."""
        number = block * self._n + np.flatnonzero(alive)
        fan = (number[:, None] * np.array([1.0 / PLASTIC, 1.0 / PLASTIC**2]) + self._shift) % 1.0
        gun = self._gun
        major = np.interp(fan[:, 0], self._quantiles, self._major)
        minor = np.interp(fan[:, 1], self._quantiles, self._minor) * np.sqrt(np.maximum(1.0 - major**2, 0.0))
        turbulence = self._turbulence[number % TURBULENCE_BANK]
        x = gun.b_m * minor / gun.reference_standoff_m + turbulence[:, 0]
        y = gun.a_m * major / gun.reference_standoff_m + turbulence[:, 1]
        # poses between samples: linear in position and axes; over 4 ms an axis turns by less than 0.02 rad
        i = np.clip(np.searchsorted(pose_times_s, times, side="right") - 1, 0, len(pose_times_s) - 2)
        u = ((times - pose_times_s[i]) / (pose_times_s[i + 1] - pose_times_s[i]))[:, None]
        columns = [(1.0 - u) * T_base_tool[i, :3, k] + u * T_base_tool[i + 1, :3, k] for k in range(4)]
        directions = x[:, None] * columns[0] + y[:, None] * columns[1] + columns[2]
        return columns[3], directions
