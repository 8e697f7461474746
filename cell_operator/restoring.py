"""Who knows what a tool path was to leave, so that motion may hand back what it cannot keep."""

from cell_core.config import GrindToolConfig, GunConfig
from cell_core.restoring import Restorer
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath


def restorer_for(part: Surface, planned: ToolPath, tool: GunConfig | GrindToolConfig) -> Restorer | None:
    """Return the restorer of the film or depth planned; None where it is not linear in dwell (beads and edges)."""
    if isinstance(tool, GunConfig):
        from spray_planner.restoring import FilmRestorer

        return FilmRestorer(part, planned, tool)
    from grinding_planner.restoring import GroundRestorer, restores

    return GroundRestorer(part, planned, tool) if restores(planned) else None
