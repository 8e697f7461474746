"""What both planner nodes do: one PlanToolPath goal, one pure planner, one plan folder."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cell_interfaces.action import PlanToolPath

from cell_core.config import Recipe, load_recipe
from cell_core.errors import ConfigurationError
from cell_core.files import sha256
from cell_core.jobs import JobFolder
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.surface_io import load_surface, read_ply
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.node_base import CellNode
from cell_nodes.rework_inputs import read_target

Planner = Callable[[Surface, Any, Work, Path | None, dict[str, Any]], Plan]


class PlannerNode(CellNode):
    """Serves one PlanToolPath action; `plan` maps surface, recipe, work, CAD path and keywords to a Plan.

    A recipe that a cycle left to the next has its target beside it; `plan` gets that as keyword target_m (V,) [m].
    """

    def __init__(self, name: str, action: str, process: str, plan: Planner, **options: Any) -> None:
        super().__init__(name, **options)
        self._process = process
        self._plan = plan
        self._worker = ActionWorker(self, PlanToolPath, action, self._work)

    def _work(self, work: Work) -> dict[str, Any]:
        start = time.monotonic()
        goal = work.goal
        job_dir, folder = self.job_path(goal.job_dir), self.job_path(goal.folder)
        path = self.job_path(goal.surface_path)
        target_m = read_target(Path(goal.recipe))
        # a cycle's recipe is one layer already
        recipe: Recipe = JobFolder(path=job_dir).recipe(goal.recipe) if target_m is None else load_recipe(goal.recipe)
        if recipe.process != self._process:
            raise ConfigurationError(
                f"recipe {goal.recipe!r} is for {recipe.process!r}, this planner is for {self._process!r}"
            )
        work.progress(0.0, "reading the surface", "plan")
        surface = read_ply(path)
        cad = None
        if goal.cad_path:
            cad = Path(goal.cad_path) if Path(goal.cad_path).is_absolute() else job_dir / goal.cad_path
        keywords = {
            "surface_path": str(path.relative_to(job_dir)) if path.is_relative_to(job_dir) else str(path),
            "surface_sha256": sha256(path),
            "progress": work.progress,
        }
        if target_m is not None:
            keywords["target_m"] = target_m
        plan = self._plan(surface, recipe, work, cad, keywords)
        work.check()
        plan.write(folder)
        seconds = time.monotonic() - start
        return {
            "toolpath_path": str(folder / "toolpath.json"),
            "summary": summary(goal.job_dir, "plan", seconds, dict(plan.figures)),
        }


def load_cad(path: Path) -> Surface:
    """Read a CAD mesh in metres."""
    return load_surface(path)[0]
