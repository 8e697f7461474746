"""Grinding planner node."""

from pathlib import Path
from typing import Any

from cell_core.config import GrindRecipe, GrindToolConfig, load_named
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_nodes.action_work import Work
from cell_nodes.node_base import PATIENT, run_node
from cell_nodes.planner_node import PlannerNode, load_cad
from cell_nodes.rework_inputs import read_energy_j


class GrindingPlannerNode(PlannerNode):
    """Serves plan_grind."""

    def __init__(self, **options: Any) -> None:
        super().__init__("grinding_planner", "plan_grind", "grind", _plan, **options)

    def configure(self) -> None:
        """Load the planner, so that the first goal need not wait for it."""
        import grinding_planner.planner  # noqa: F401


def _plan(surface: Surface, recipe: GrindRecipe, work: Work, cad: Path | None, keywords: dict[str, Any]) -> Plan:
    from grinding_planner.planner import plan_grind
    from grinding_planner.target import lies_on, placed_on

    beside = Path(work.goal.job_dir) / "job.yaml"
    if "target_m" in keywords:
        beside = Path(work.goal.recipe)
        keywords["disc_energy_j"] = read_energy_j(beside)
    tool = load_named(GrindToolConfig, "tools", recipe.tool, beside)
    nominal = None if cad is None else load_cad(cad)
    if nominal is not None and not lies_on(surface, nominal):
        work.progress(0.0, "finding where the CAD lies on the scan", "plan")
        nominal, _ = placed_on(surface, nominal)
    # a cell's part lies on its table
    return plan_grind(surface, recipe, tool, cad=nominal, on_table=True, **keywords)


def main() -> None:
    """Run the node."""
    run_node(GrindingPlannerNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
