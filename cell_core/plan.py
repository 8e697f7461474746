"""What a planner hands over: a tool path, per-vertex fields, figures, and where they lie in a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from cell_core.edge_lines import EdgeLines
from cell_core.files import read_json, read_npz, write_json, write_npz
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array

Progress = Callable[[float, str], None]
"""Called with a fraction 0..1 and a short message; raise from it to cancel."""


def no_progress(fraction: float, message: str) -> None:
    """Ignore progress."""


def further_name(k: int) -> str:
    """Return the file name of the tool path of the k-th further tool."""
    return f"toolpath_{k + 2}.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A planned process on one surface."""

    toolpath: ToolPath
    fields: Mapping[str, Array]
    """Per-vertex arrays (V,) on the planning surface: predicted_change_m, target_change_m (both >= 0), visits,
    serviceable (0 or 1)."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers for reports; keys carry units."""
    edges: EdgeLines | None = None
    """What becomes of each edge, where edges are worked."""
    further: Sequence[ToolPath] = ()
    """Tool paths to be run after `toolpath`, each with another tool."""

    def write(self, folder: Path) -> None:
        """Write toolpath.json, fields.npz and figures.json atomically into `folder`.

        Where there are edges, edges.npz as well, and toolpath_2.json and so on for further tools.
        """
        # what an earlier plan left here is not this one's
        for old in (*Path(folder).glob("toolpath_*.json"), Path(folder) / "edges.npz"):
            old.unlink(missing_ok=True)
        self.toolpath.write(Path(folder) / "toolpath.json")
        for k, path in enumerate(self.further):
            path.write(Path(folder) / further_name(k))
        if self.edges is not None:
            self.edges.write(Path(folder) / "edges.npz")
        write_npz(Path(folder) / "fields.npz", **self.fields)
        write_json(Path(folder) / "figures.json", dict(self.figures))

    @staticmethod
    def read(folder: Path) -> "Plan":
        """Read what `write` wrote."""
        folder = Path(folder)
        edges = folder / "edges.npz"
        return Plan(
            toolpath=ToolPath.read(folder / "toolpath.json"),
            fields=read_npz(folder / "fields.npz"),
            figures=read_json(folder / "figures.json"),
            edges=EdgeLines.read(edges) if edges.exists() else None,
            further=[
                ToolPath.read(path) for path in takewhile(Path.exists, (folder / further_name(k) for k in count()))
            ],
        )
