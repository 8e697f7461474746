"""The grinding tool as a cycle has proved it to be, for the next one."""

from dataclasses import dataclass
from typing import Any

from cell_core.config import GrindToolConfig
from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Identified:
    """What a cycle told of its tool."""

    document: dict[str, Any]
    """For verdict.json: what was found, or why nothing was."""
    gone_m: Array | None = None
    """(V,) depth gone in the cycle, by path and rescan together; None where nothing was told."""
    tool_text: str | None = None
    """The tool file for the next cycle, where the coefficient has significantly changed."""
    disc_energy_j: float | None = None
    """Friction work the abrasive has done."""


def identified(before: Surface, removed_m: Array, path: ToolPath, tool: GrindToolConfig, source: str) -> Identified:
    """Return what the removal (V,) of a path tells of its tool; a removal that tells nothing is no error here."""
    from grinding_planner.face import reach_m
    from grinding_planner.identification import highest_force_n, identify
    from grinding_planner.remaining import removed_so_far
    from grinding_planner.tool_file import tool_text

    try:
        found = identify(before, removed_m, path, tool)
    except InputRefusedError as error:
        return Identified(document={"told": False, "why_not": str(error)})
    interval = found.preston_now_interval
    expected = tool.preston_per_pa * float(found.planned_factor[-1])
    changed = not interval.low <= expected <= interval.high
    document = {
        "told": True,
        "used_for_the_next_cycle": changed,
        "preston_expected_per_pa": expected,
        "preston_now_per_pa": found.preston_now_per_pa,
        "preston_low_per_pa": interval.low,
        "preston_high_per_pa": interval.high,
        "disc_energy_j": found.disc_energy_j,
        "warnings": list(found.warnings),
    }
    return Identified(
        document=document,
        gone_m=removed_so_far(before, found, reach_m(tool, highest_force_n(path))),
        tool_text=tool_text(found, source) if changed else None,
        disc_energy_j=found.disc_energy_j,
    )
