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
    preston_per_pa: float
    motion: str
    """orbital, disc, wheel or belt."""
    rpm: float
    stiffness_pa_per_m: float = 0.0
    """Winkler layer of a pad: pressure per compression."""
    orbit_radius_m: float = 0.0
    width_m: float = 0.0
    """Rim of a wheel or belt, along its axle."""
    crown_radius_m: float = 0.0
    """Radius of that rim across travel; 0: straight."""
    effective_modulus_pa: float = 0.0
    """Elastic modulus E* of a wheel and the part together."""
    belt_speed_m_per_s: float = 0.0
    force_max_n: float = 100.0
    """Largest force the tool is pressed with."""
    slide_stroke_m: float = 0.02
    """Travel of the slide, centred on the nominal tool centre point."""
    slide_stiffness_n_per_m: float = 3.0e4
    """Stiffness of the slide's end stops."""
    slide_mass_kg: float = 1.0
    """What the slide moves: pad, spindle and carriage; assumed where no tool file tells it."""
    force_lag_s: float = 0.02
    """Time constant of the drive that presses the slide."""
    spin_up_s: float = 0.0
    spin_down_s: float = 0.0
    friction: float = 0.4
    """Friction force over normal force of a new abrasive."""
    wear_floor: float = 1.0
    """What is left of the Preston coefficient in the end."""
    wear_energy_j: float = np.inf
    """Friction work over which it falls; inf: it does not."""
    disc_energy_j: float = 0.0
    """Friction work the abrasive has done before."""

    @staticmethod
    def from_config(config: GrindToolConfig, disc_energy_j: float = 0.0) -> "PadTruth":
        """Take the fields of a grinding tool's configuration."""
        return PadTruth.from_mapping({**config.model_dump(), "disc_energy_j": disc_energy_j})

    @staticmethod
    def from_mapping(tool: Mapping[str, Any]) -> "PadTruth":
        """Take the fields of a tool path's tool block.

        Raises:
            InputRefusedError: a field is missing or no positive number, or an unknown motion; says which.
        """
        motion, kind = str(tool.get("motion")), tool.get("kind", "pad")
        if motion not in NEEDED or kind == "burr":
            raise InputRefusedError(
                f"tool path: tool.motion is {motion!r} of a tool of kind {kind!r}, the simulator knows "
                f"{', '.join(map(repr, NEEDED))} of pads, wheels and belts"
            )
        force = tool.get("force_n")
        given = {**tool, **({"force_max_n": force["high"]} if isinstance(force, Mapping) else {})}
        needed = ("radius_m", "preston_per_pa", "rpm", *NEEDED[motion])
        optional = tuple(k for k in PadTruth.__dataclass_fields__ if k not in needed)
        numbers = _numbers({k: v for k, v in given.items() if k != "motion"}, PadTruth, optional=optional)
        return PadTruth(**{**numbers, **_wear(tool.get("wear"))}, motion=motion)


NEEDED = {
    "orbital": ("stiffness_pa_per_m",),
    "disc": ("stiffness_pa_per_m",),
    "wheel": ("width_m", "effective_modulus_pa"),
    "belt": ("width_m", "effective_modulus_pa", "belt_speed_m_per_s"),
}
"""What a tool of each motion must tell besides radius, Preston coefficient and speed."""


def _wear(law: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if law is None else {"wear_floor": law["floor_fraction"], "wear_energy_j": law["energy_j"]}


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
    force_sensor_noise_n: float = 0.3
    """Scatter of one reading of the force sensor, a millisecond apart; assumed."""
    slide_friction_n: float = 0.3
    """Dry friction of the slide; assumed."""
    arm_model_error: float = 0.03
    """Relative error of the masses the arm's controller knows."""
    friction_bias: float = 0.1
    """Relative constant error of the friction coefficient."""
    wear_bias: float = 0.1
    """Relative constant error of the friction work over which the abrasive dulls."""
    preston_break_energy_j: float = np.inf
    """Friction work in this cell at which the Preston coefficient changes at once; inf: it does not."""
    preston_break_factor: float = 0.5
    """What it is multiplied by then."""
    idle_power_w: float = 60.0
    """What the spindle's motor takes without load; assumed, a small pneumatic or electric sander's."""
    power_noise_w: float = 1.5
    """Scatter of one reading of the motor's power."""

    @staticmethod
    def none() -> "ToolErrors":
        """Return a device exactly as its data sheet says."""
        return ToolErrors(
            flow_bias=0.0,
            flow_noise=0.0,
            stiffness_bias=0.0,
            preston_bias=0.0,
            force_bias_n=0.0,
            force_ripple_n=0.0,
            force_sensor_noise_n=0.0,
            slide_friction_n=0.0,
            arm_model_error=0.0,
            friction_bias=0.0,
            wear_bias=0.0,
            power_noise_w=0.0,
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
