"""What an arm's drives take and give, tick by tick."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cell_core.transforms import Array

SUBSTEP_S = 0.001
"""Period of dynamics, servo and contact."""
SUBSTEPS = 2
TICK_S = SUBSTEPS * SUBSTEP_S
"""Period of path time, switches and joint states."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """References of one tick, at the end of each of its S substeps."""

    position: Array
    """(S, J) [rad]."""
    velocity: Array
    """(S, J) [rad/s]."""
    acceleration: Array
    """(S, J) [rad/s2]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Push:
    """A force that acts on the arm's last link, in the base frame."""

    force_n: Array
    """(3,)."""
    point_m: Array
    """(3,) where it acts."""


class Load(Protocol):
    """Something the tool touches."""

    def __call__(self, substep: int, T_base_flange: Array) -> Push | None:
        """Return what acts on the arm during a substep of the tick, with its flange at a pose (4, 4) now."""
        ...


class Drive(ABC):
    """Six driven joints."""

    stands_rad: float
    """Closer to where it is held than this and slower than the next, the arm stands: brakes hold it."""
    stands_rad_per_s: float

    def __init__(self, position_rad: Array) -> None:
        self.position_rad = np.array(position_rad, float)
        self.velocity_rad_per_s = np.zeros_like(self.position_rad)
        self.load: Load | None = None
        """What the tool touches during the next tick; None: nothing."""

    @abstractmethod
    def follow(self, wanted: Wanted) -> None:
        """Move on by one tick."""

    @abstractmethod
    def flange(self) -> Array:
        """Return T_base_flange (4, 4) where the kinematics were computed last, up to a substep ago."""

    def brake(self) -> None:
        """Hold the joints where they are."""
        self.velocity_rad_per_s = np.zeros_like(self.position_rad)
