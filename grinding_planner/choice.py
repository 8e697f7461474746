"""Choose among tools that hang ready: plan with each, keep what brings most area in tolerance, then the quickest.

Edges that it cannot reach are given to the others.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cell_core.config import GrindRecipe, GrindToolConfig
from cell_core.errors import CellError, CoverageError
from cell_core.plan import Plan, Progress, no_progress
from cell_core.surface import Surface
from grinding_planner.bounds import flat_pressure_pa, force_for_pressure_n
from grinding_planner.edge_plan import edges_of
from grinding_planner.edge_tools import with_further_tools
from grinding_planner.planner import TOOLS, plan_grind

AS_GOOD = 0.95
"""Plans that bring at least this share of the best one's area in tolerance are as good: the quickest of them wins."""


def plan_with_best_tool(
    surface: Surface,
    recipe: GrindRecipe,
    tools: Sequence[GrindToolConfig],
    *,
    progress: Progress = no_progress,
    **keywords: Any,
) -> Plan:
    """Return the plan of the tool that suits best; figure `tool_choice` tells what each would do and why not.

    Strategy edge: what it leaves is worked by the others in turn (figure `further_tools`, tool paths `further`). The
    recipe's force is brought within each tool's range and what its abrasive bears.

    Raises:
        CoverageError: no tool can do it; says why for each.
    """
    plans: dict[str, Plan] = {}
    told: list[dict[str, Any]] = []
    able = [tool for tool in tools if isinstance(tool, TOOLS["edge"])] if recipe.strategy == "edge" else []
    if able:
        keywords["edges"] = edges_of(surface, recipe, able)
    own = {tool.name: _suited(recipe, tool) for tool in tools}
    for k, tool in enumerate(tools):

        def part(fraction: float, message: str, k: int = k, name: str = tool.name) -> None:
            progress((k + fraction) / len(tools), f"{name}: {message}")

        force = own[tool.name].force_n
        try:
            plan = plan_grind(surface, own[tool.name], tool, progress=part, **keywords)
        except CellError as error:
            told.append({"tool": tool.name, "force_n": force, "refused": str(error)})
            continue
        plans[tool.name] = plan
        told.append({"tool": tool.name, "force_n": force, **_measures(plan)})
    if not plans:
        raise CoverageError(
            f"recipe {recipe.name}: none of the {len(tools)} tools can do it: "
            + "; ".join(f"{entry['tool']}: {entry['refused']}" for entry in told)
        )
    most = max(_measures(plan)["in_tolerance_area_m2"] for plan in plans.values())
    good = {n: p for n, p in plans.items() if _measures(p)["in_tolerance_area_m2"] >= AS_GOOD * most}
    chosen = min(good, key=lambda n: (good[n].figures["duration_s"], n))
    for entry in told:
        entry["reason"] = _reason(entry, chosen, good, most)
    plan = plans[chosen]
    if able:
        rest = [(own[tool.name], tool) for tool in tools if tool.name != chosen and tool.name in plans]
        plan = with_further_tools(plan, keywords.pop("edges"), surface, rest, **keywords)
    return replace(plan, figures={**plan.figures, "tool_choice": told})


def _suited(recipe: GrindRecipe, tool: GrindToolConfig) -> GrindRecipe:
    force = _bearable_n(tool, recipe.force_n)
    return recipe.model_copy(update={"tool": tool.name, "tools": (), "force_n": force})


def _bearable_n(tool: GrindToolConfig, force_n: float) -> float:
    force = min(max(force_n, tool.force_n.low), tool.force_n.high)
    if tool.pressure_max_pa is not None and flat_pressure_pa(tool, force) > tool.pressure_max_pa:
        force = force_for_pressure_n(tool, 0.999 * tool.pressure_max_pa, force)
    return force


def _measures(plan: Plan) -> dict[str, float]:
    figures = plan.figures
    if plan.edges is not None:
        length = figures["chamfer_in_tolerance_of_all_length_fraction"] * figures["edge_length_m"]
        return {
            "in_tolerance_area_m2": length * plan.edges.width_wanted_m,
            "duration_s": float(figures["duration_s"]),
        }
    return {
        "in_tolerance_area_m2": float(figures["in_tolerance_area_fraction"] * figures["target_area_m2"]),
        "duration_s": float(figures["duration_s"]),
    }


def _reason(entry: dict[str, Any], chosen: str, good: dict[str, Plan], most_m2: float) -> str:
    if "refused" in entry:
        return f"cannot: {entry['refused']}"
    brings = f"{entry['in_tolerance_area_m2']:.4g} m2 in tolerance in {entry['duration_s']:.0f} s"
    if entry["tool"] == chosen:
        return f"chosen: {brings}" + (f", the quickest of {len(good)} as good" if len(good) > 1 else "")
    return f"{brings}: " + ("slower" if entry["tool"] in good else f"less than the best, {most_m2:.4g} m2")
