"""What the simulated tools are like: nominal data, and how the real device differs from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.errors import InputRefusedError
from cell_simulation.patterns import Pattern, pattern_from


@dataclass(frozen=True, kw_only=True)
class GunTruth:
    """A spray gun as the simulator sees it (PROCESS.md section 1, Spray)."""

    pattern: Pattern
    """Where its droplets cross the plane at the reference standoff."""
    reference_standoff_m: float
    solids_volume_fraction: float
    transfer_efficiency: float
    flow_m3_per_s: float
    """Flow while no set-point was given."""
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0

    @staticmethod
    def from_config(config: GunConfig) -> "GunTruth":
        """Take the fields of a gun's configuration."""
        return GunTruth.from_mapping(config.as_block())

    @staticmethod
    def from_mapping(tool: Mapping[str, Any]) -> "GunTruth":
        """Take the fields of a tool path's tool block.

        Raises:
            InputRefusedError: a field is missing or no positive number, or an unknown kind; says which.
        """
        optional = ("on_delay_s", "off_delay_s", "flow_m3_per_s")
        fields = {k: v for k, v in tool.items() if k != "pattern"}
        numbers = _numbers(fields, GunTruth, optional=(*optional, "pattern"))
        return GunTruth(**numbers, pattern=pattern_from(tool))


@dataclass(frozen=True, kw_only=True)
class PadTruth:
    """A pad tool on its force-controlled slide as the simulator sees it (PROCESS.md section 1, Removal)."""

    radius_m: float
    stiffness_pa_per_m: float
    """Winkler layer: pressure per compression."""
    preston_per_pa: float
    motion: str
    """orbital or disc."""
    rpm: float
    orbit_radius_m: float = 0.0
    slide_stroke_m: float = 0.02
    """Travel of the slide, centred on the nominal tool centre point."""
    slide_stiffness_n_per_m: float = 3.0e4
    """Stiffness of the slide's end stops."""
    spin_up_s: float = 0.0
    spin_down_s: float = 0.0

    @staticmethod
    def from_config(config: GrindToolConfig) -> "PadTruth":
        """Take the fields of a grinding tool's configuration."""
        return PadTruth(**{k: getattr(config, k) for k in PadTruth.__dataclass_fields__})

    @staticmethod
    def from_mapping(tool: Mapping[str, Any]) -> "PadTruth":
        """Take the fields of a tool path's tool block.

        Raises:
            InputRefusedError: a field is missing or no positive number, or an unknown motion; says which.
        """
        motion = tool.get("motion")
        if motion not in ("orbital", "disc"):
            raise InputRefusedError(f"tool path: tool.motion is {motion!r}, the simulator knows 'orbital' and 'disc'")
        optional = ("orbit_radius_m", "slide_stroke_m", "slide_stiffness_n_per_m", "spin_up_s", "spin_down_s")
        numbers = _numbers({k: v for k, v in tool.items() if k != "motion"}, PadTruth, optional=(*optional, "motion"))
        return PadTruth(**numbers, motion=motion)


def _numbers(tool: Mapping[str, Any], model: type, optional: tuple[str, ...]) -> dict[str, float]:
    numbers = {}
    for name in model.__dataclass_fields__:  # pyright: ignore[reportAttributeAccessIssue]
        value = tool.get(name)
        if value is None and name in optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0.0:
            raise InputRefusedError(f"tool path: tool.{name} is {value!r}, wanted a number >= 0")
        if value == 0.0 and name not in optional:
            raise InputRefusedError(f"tool path: tool.{name} is 0, must be > 0")
        numbers[name] = float(value)
    if "flow_m3_per_s" in model.__dataclass_fields__:  # pyright: ignore[reportAttributeAccessIssue]
        numbers.setdefault("flow_m3_per_s", 0.0)
    return numbers


@dataclass(frozen=True, kw_only=True)
class ToolErrors:
    """How one specimen of a device differs from its data sheet; standard deviations that a seed draws from."""

    flow_bias: float = 0.01
    """Relative constant error of the flow."""
    flow_noise: float = 0.01
    """Relative flow fluctuation."""
    flow_correlation_s: float = 0.1
    """How long a flow fluctuation lasts."""
    stiffness_bias: float = 0.05
    """Relative constant error of the pad's stiffness."""
    preston_bias: float = 0.02
    """Relative constant error of the Preston coefficient."""
    force_bias_n: float = 0.15
    """Constant error of the force control."""
    force_ripple_n: float = 0.3
    """Fluctuation of the force."""
    force_correlation_s: float = 0.03
    """How long a force fluctuation lasts."""

    @staticmethod
    def none() -> "ToolErrors":
        """Return a device exactly as its data sheet says."""
        return ToolErrors(
            flow_bias=0.0, flow_noise=0.0, stiffness_bias=0.0, preston_bias=0.0, force_bias_n=0.0, force_ripple_n=0.0
        )


class CorrelatedNoise:
    """Unit-variance noise over time: independent knots one correlation time apart, joined by a cosine-weighted mean.

    The value at a time depends on seed and time only, never on how often or in what order it was asked for.
    """

    def __init__(self, seed: int, stream: int, correlation_s: float, n_knots: int = 4096) -> None:
        self._knots = np.random.default_rng([seed, stream]).standard_normal(n_knots)
        self._correlation_s = correlation_s

    def __call__(self, time_s: np.ndarray) -> np.ndarray:
        """Return the noise (N,) at times (N,) [s]; it repeats after n_knots correlation times."""
        position = np.asarray(time_s, float) / self._correlation_s
        i = np.floor(position).astype(np.int64)
        angle = 0.5 * np.pi * (position - i)
        n = len(self._knots)
        return np.cos(angle) * self._knots[i % n] + np.sin(angle) * self._knots[(i + 1) % n]
