"""Plan a grinding job: refuse what cannot be, hand the task to its strategy, report what its strokes leave."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cell_core.config import BeltTool, BurrTool, GrindRecipe, GrindToolConfig, PadTool, WheelTool
from cell_core.errors import InputRefusedError
from cell_core.plan import Plan, Progress, no_progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.bead_plan import plan_bead
from grinding_planner.bounds import check_force
from grinding_planner.edge import Edge
from grinding_planner.edge_plan import plan_edges
from grinding_planner.results import Removal, Served, plan_of
from grinding_planner.sweeping import plan_sweeps
from grinding_planner.target import check_map, target_from_cad
from grinding_planner.task import GrindTask
from grinding_planner.wear_plan import with_wear

STRATEGIES: dict[str, Callable[[GrindTask, Any], tuple[Served, Removal]]] = {
    "area": plan_sweeps,
    "target": plan_sweeps,
    "spot": plan_sweeps,
    "bead": plan_bead,
    "edge": plan_edges,
}
ROLLERS = (PadTool, WheelTool, BeltTool)
TOOLS: dict[str, tuple[type[GrindToolConfig], ...]] = {
    "edge": (PadTool, BurrTool),
    "area": ROLLERS,
    "target": ROLLERS,
    "spot": ROLLERS,
}
"""Tools that a strategy takes; those not named here take a pad."""


def plan_grind(
    surface: Surface,
    recipe: GrindRecipe,
    tool: GrindToolConfig,
    *,
    cad: Surface | None = None,
    target_m: Array | None = None,
    disc_energy_j: float = 0.0,
    edges: Sequence[Edge] | None = None,
    on_table: bool = False,
    cycle: int = 1,
    surface_path: str = "",
    surface_sha256: str = "",
    progress: Progress = no_progress,
) -> Plan:
    """Plan strokes that take the recipe's removal off a surface, and predict what they leave.

    Args:
        cad: nominal shape in the surface's frame, for strategy "target": what stands above it is removed.
        target_m: (V,) depth wanted at each vertex [m], for strategy "target"; goes before `cad`. For strategy "bead":
            above 0 where beads are known to stand or to have stood, such as an earlier plan's target.
        disc_energy_j: friction work the abrasive has done before this job.
        edges: for strategy "edge": what to ride, evenly sampled; None: all edges that are found.
        on_table: for strategy "edge": the part lies on a table, z up, and what is reached from below alone is left.
            Otherwise it is held so that tools come from everywhere.
        cycle: which of the recipe's cycles this is. What may be too much is left to the next one, by the last not.

    Raises:
        LimitError: the recipe's force is outside the tool's limits or too much for its abrasive, or one stroke wears
            more than an abrasive lasts.
        InputRefusedError: a target map of the wrong length, negative, not finite or empty; a cycle beyond the last.
        CoverageError: no pad pose stands firmly, nothing of the target is serviceable, or no bead is found.
    """
    started = time.perf_counter()
    check_force(recipe, tool)
    if not 1 <= cycle <= recipe.cycles_max:
        raise InputRefusedError(f"cycle {cycle}: recipe {recipe.name} has 1 to {recipe.cycles_max} (cycles_max)")
    if not isinstance(tool, TOOLS.get(recipe.strategy, (PadTool,))):
        raise InputRefusedError(f"tool {tool.name}: kind {tool.kind} cannot be planned with strategy {recipe.strategy}")
    task = GrindTask(
        surface=surface,
        recipe=recipe.model_copy(update={"cycles_max": recipe.cycles_max - cycle + 1}),
        wanted_m=_wanted(surface, recipe, cad, target_m),
        cad=cad,
        disc_energy_j=disc_energy_j,
        edges=edges,
        on_table=on_table,
        progress=progress,
    )
    progress(0.0, "trying the pad all over the part")
    served, removal, wear = with_wear(lambda worn: STRATEGIES[recipe.strategy](task, worn), tool, disc_energy_j)
    progress(0.95, "predicting")
    return plan_of(served, recipe, tool, removal, wear, surface_path, surface_sha256, started)


def _wanted(surface: Surface, recipe: GrindRecipe, cad: Surface | None, target_m: Array | None) -> Array | None:
    if recipe.strategy == "bead":
        return None if target_m is None else check_map(target_m, len(surface.vertices_m))
    if recipe.strategy != "target":
        return None
    if target_m is not None:
        return np.minimum(check_map(target_m, len(surface.vertices_m)), recipe.target_depth_m)
    if cad is None:
        raise InputRefusedError(
            f"recipe {recipe.name}: strategy target needs a CAD surface or a target map; neither given"
        )
    return target_from_cad(surface, cad, recipe.target_depth_m)
