"""Spray planner node."""

from pathlib import Path
from typing import Any

import numpy as np

from cell_core.config import GunConfig, SprayRecipe, load_named
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_nodes.action_work import Work
from cell_nodes.node_base import PATIENT, run_node
from cell_nodes.planner_node import PlannerNode


class SprayPlannerNode(PlannerNode):
    """Serves plan_spray."""

    def __init__(self, **options: Any) -> None:
        super().__init__("spray_planner", "plan_spray", "spray", _plan, **options)

    def configure(self) -> None:
        """Load the planner, so that the first goal need not wait for it."""
        import spray_planner.planner  # noqa: F401


def _plan(surface: Surface, recipe: SprayRecipe, work: Work, cad: Path | None, keywords: dict[str, Any]) -> Plan:
    from spray_planner.planner import plan_spray

    beside = Path(work.goal.job_dir) / "job.yaml"
    if "target_m" in keywords:
        # film can only be added: what is thick enough is masked
        keywords["mask"] = np.clip(keywords.pop("target_m") / recipe.target_thickness_m, 0.0, 1.0)
    return plan_spray(surface, recipe, load_named(GunConfig, "guns", recipe.gun, beside), **keywords)


def main() -> None:
    """Run the node."""
    run_node(SprayPlannerNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
