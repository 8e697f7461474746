"""What whoever plans motion asks of whoever planned the tool path: speeds that leave what was planned after all."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cell_core.toolpath import Stroke, ToolPath
from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Attainable:
    """What the arm can do along one stroke at the poses it takes."""

    fastest_m_per_s: Array
    """(N,) highest speed it can keep at each sample [m/s]."""
    value_asked: Array
    """(N,) process value asked for at first [N or m3/s]."""


class Restorer(Protocol):
    """Knows what a tool path was to leave, and finds speeds that leave it from poses other than those planned."""

    def off(self, run: ToolPath) -> float:
        """Return how far what the path as run leaves is off what was planned: RMS over the planned mean."""
        ...

    def predicted(self, run: ToolPath) -> Mapping[str, float]:
        """Return what the path as run leaves where the path as planned serves the part, as `ToolPath.prediction`."""
        ...

    def restored(self, run: ToolPath, attainable: Sequence[Attainable]) -> ToolPath:
        """Return the path as run, its poses kept, at speeds and process values that leave what was planned, best.

        Args:
            run: strokes in the order run, at the poses really taken.
            attainable: one per stroke.
        """
        ...


def content_key(stroke: Stroke) -> bytes:
    """Return a digest of what decides what a stroke leaves, so that it is computed once while paths are compared."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (stroke.position_m, stroke.tool_axis, stroke.travel, stroke.speed_m_per_s, stroke.process_value):
        digest.update(values.tobytes())
    digest.update(stroke.on.tobytes())
    return digest.digest()
