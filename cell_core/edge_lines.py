"""Edges of a part, sample by sample: which tool works them, how wide the new face gets, why the rest is left."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.files import read_npz, write_npz
from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeLines:
    """Samples of all edges, one edge after the other, each in order from end to end."""

    position_m: Array
    """(S, 3) on the crest [m]."""
    edge: NDArray[np.int64]
    """(S,) number of the edge."""
    share_m: Array
    """(S,) length that belongs to the sample [m]."""
    width_m: Array
    """(S,) predicted width of the new face [m]; 0 where there is none."""
    tool: NDArray[np.int64]
    """(S,) number in `tools` of the tool that works the sample; -1: none."""
    reason: NDArray[np.int64]
    """(S,) number in `reasons` why no tool does; -1: one does."""
    tools: tuple[str, ...]
    reasons: tuple[str, ...]
    width_wanted_m: float
    tolerance_fraction: float
    """Of the width wanted."""

    @property
    def in_tolerance(self) -> NDArray[np.bool_]:
        """(S,) the new face is as wide as wanted."""
        return np.abs(self.width_m / self.width_wanted_m - 1.0) <= self.tolerance_fraction

    @property
    def refused_m(self) -> Mapping[str, float]:
        """Length left by reason [m]."""
        return {name: float(self.share_m[self.reason == k].sum()) for k, name in enumerate(self.reasons)}

    def write(self, path: Path) -> None:
        """Write as a NumPy archive, an array by the name of each field."""
        write_npz(path, **{name: np.asarray(value) for name, value in vars(self).items()})

    @staticmethod
    def read(path: Path) -> "EdgeLines":
        """Read what `write` wrote.

        Raises:
            InputRefusedError: missing, damaged, or an array is missing.
        """
        stored = read_npz(path)
        missing = sorted({field.name for field in fields(EdgeLines)} - set(stored))
        if missing:
            raise InputRefusedError(f"{path}: holds {sorted(stored)}, wanted {', '.join(missing)} as well")
        return EdgeLines(
            position_m=stored["position_m"],
            edge=stored["edge"],
            share_m=stored["share_m"],
            width_m=stored["width_m"],
            tool=stored["tool"],
            reason=stored["reason"],
            tools=tuple(stored["tools"].tolist()),
            reasons=tuple(stored["reasons"].tolist()),
            width_wanted_m=float(stored["width_wanted_m"]),
            tolerance_fraction=float(stored["tolerance_fraction"]),
        )
