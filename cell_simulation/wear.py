"""The abrasive as the simulator sees it: it dulls with friction work, may glaze at once, and the spindle feels both.

Cutting ability a (Preston coefficient over that of a new abrasive) falls towards its floor by da/dE = (floor - a) / E_0
along the friction work E that this abrasive has really done, with this specimen's own friction and E_0. At
`break_energy_j` of work in this cell a sudden change (glazing, a loaded or torn disc) multiplies it once by
`break_factor`; a new abrasive knows nothing of it.

Friction follows the cutting ability in part: mu = mu_0 a**FRICTION_EXPONENT. A blunt abrasive slides where a sharp one
cuts, so its friction goes down with what it removes, but less; the exponent is assumed (general knowledge, no source).
The spindle's motor takes P = mu F v_rel + idle.
"""

from dataclasses import dataclass

import numpy as np

from cell_core.transforms import Array
from cell_simulation.tool_parameters import PadTruth, ToolErrors

FRICTION_EXPONENT = 0.5


@dataclass
class AbrasiveTruth:
    """One abrasive after another on one tool."""

    floor: float
    scale_j: float
    """E_0 of this specimen; inf: it does not dull."""
    friction: float
    """Of a new abrasive."""
    break_energy_j: float
    break_factor: float
    ability: float = 1.0
    """Preston coefficient over that of a new abrasive."""
    energy_j: float = 0.0
    """Friction work since the abrasive was new."""
    work_j: float = 0.0
    """Friction work in this cell."""

    @staticmethod
    def of(pad: PadTruth, errors: ToolErrors, rng: np.random.Generator) -> "AbrasiveTruth":
        """Draw the specimen that starts with the pad's energy."""
        draw = np.clip(rng.standard_normal(2), -2.0, 2.0)
        scale = pad.wear_energy_j * (1.0 + errors.wear_bias * draw[0])
        floor = pad.wear_floor
        return AbrasiveTruth(
            floor=floor,
            scale_j=scale,
            friction=pad.friction * (1.0 + errors.friction_bias * draw[1]),
            break_energy_j=errors.preston_break_energy_j,
            break_factor=errors.preston_break_factor,
            ability=floor + (1.0 - floor) * float(np.exp(-pad.disc_energy_j / scale)),
            energy_j=pad.disc_energy_j,
        )

    @property
    def friction_now(self) -> float:
        """Friction force over normal force."""
        return self.friction * self.ability**FRICTION_EXPONENT

    @property
    def state(self) -> Array:
        """(4,) what `take` takes."""
        return np.array([self.ability, self.energy_j, self.work_j, self.floor])

    def take(self, state: Array) -> None:
        """Go on from a state."""
        self.ability, self.energy_j, self.work_j, self.floor = (float(value) for value in state)

    def rub(self, force_way_j: float) -> float:
        """Take int F v_rel dt [J] of rubbing; return the mean cutting ability meanwhile."""
        work = self.friction_now * force_way_j
        before, left = self.ability, self.break_energy_j - self.work_j
        broken = 0.0 <= left < work
        decay = float(np.exp(-work / self.scale_j))
        self.ability = self.floor + (self.ability - self.floor) * decay
        mean = 0.5 * (before + self.ability)
        if broken:
            share = 1.0 - left / work
            mean *= 1.0 - share * (1.0 - self.break_factor)
            self.ability *= self.break_factor
            self.floor *= self.break_factor
        self.energy_j += work
        self.work_j += work
        return mean

    def renew(self, floor: float) -> None:
        """Put a new abrasive on."""
        self.ability, self.energy_j, self.floor = 1.0, 0.0, floor
