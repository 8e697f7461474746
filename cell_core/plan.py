"""What a planner hands over: a tool path, per-vertex fields, figures, and where they lie in a folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cell_core.files import read_json, read_npz, write_json, write_npz
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array

Progress = Callable[[float, str], None]
"""Called with a fraction 0..1 and a short message; raise from it to cancel."""


def no_progress(fraction: float, message: str) -> None:
    """Ignore progress."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A planned process on one surface."""

    toolpath: ToolPath
    fields: Mapping[str, Array]
    """Per-vertex arrays (V,) on the planning surface: predicted_change_m, target_change_m (both >= 0), visits,
    serviceable (0 or 1)."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers for reports; keys carry units."""

    def write(self, folder: Path) -> None:
        """Write toolpath.json, fields.npz and figures.json atomically into `folder`."""
        self.toolpath.write(Path(folder) / "toolpath.json")
        write_npz(Path(folder) / "fields.npz", **self.fields)
        write_json(Path(folder) / "figures.json", dict(self.figures))

    @staticmethod
    def read(folder: Path) -> "Plan":
        """Read what `write` wrote."""
        folder = Path(folder)
        return Plan(
            toolpath=ToolPath.read(folder / "toolpath.json"),
            fields=read_npz(folder / "fields.npz"),
            figures=read_json(folder / "figures.json"),
        )
