"""Motion node: joint trajectories for tool paths and for views."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from cell_interfaces.action import PlanMotion

from cell_core.config import GunConfig, load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.errors import InputRefusedError
from cell_core.jobs import JobFolder
from cell_core.surface_io import read_ply
from cell_core.toolpath import ToolPath
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.node_base import PATIENT, CellNode, run_node
from robot_description import Cell, load_cell

TIME_BUDGET_S = 180.0


class MotionNode(CellNode):
    """Serves plan_motion."""

    def __init__(self, **options: Any) -> None:
        super().__init__("motion", **options)
        self.declare_parameter("backend", "embedded")
        self.declare_parameter("time_budget_s", TIME_BUDGET_S)
        self._cells: dict[str, Cell] = {}
        self._worker = ActionWorker(self, PlanMotion, "plan_motion", self._work)

    def configure(self) -> None:
        """Load planner and cell, so that the first goal need not wait for them."""
        import cell_motion.planner
        import cell_motion.views  # noqa: F401

        self._cell(self.string("cell"))

    def cleanup(self) -> None:
        """Forget the cells."""
        self._cells = {}

    def _cell(self, name: str) -> Cell:
        if name not in self._cells:
            self._cells[name] = load_cell(name)
        return self._cells[name]

    def _work(self, work: Work) -> dict[str, Any]:
        goal = work.goal
        start = time.monotonic()
        cell = self._cell(goal.cell or self.string("cell"))
        job = JobFolder(path=self.job_path(goal.job_dir))
        seed = job.config.seed
        start_rad = np.array(goal.start_rad) if len(goal.start_rad) else cell.robot.home_rad
        surface = read_ply(self.job_path(goal.surface_path)) if goal.surface_path else None
        folder = self.job_path(goal.folder)
        work.progress(0.0, "planning motion", "motion")
        if goal.kind == PlanMotion.Goal.VIEWS:
            return self._views(work, cell, surface, start_rad, seed, folder, start)
        from cell_motion import plan_process
        from grinding_planner.restoring import GroundRestorer, restores
        from spray_planner.restoring import FilmRestorer

        cell = cell.equipped(load_recipe_tool(job.recipe(), find_config("recipes", job.config.recipe)))
        if surface is None:
            raise InputRefusedError("motion for a process needs the part's surface: surface_path is empty")
        toolpath = ToolPath.read(self.job_path(goal.toolpath_path))
        tool = cell.tool(toolpath.process).config
        restorer = None
        if isinstance(tool, GunConfig):
            restorer = FilmRestorer(surface, toolpath, tool)
        elif restores(toolpath):
            restorer = GroundRestorer(surface, toolpath, tool)
        plan = plan_process(
            cell,
            toolpath,
            surface,
            cell.T_base_fixture,
            start_rad=start_rad,
            backend=self.string("backend"),
            seed=seed,
            restorer=restorer,
            progress=work.progress,
            time_budget_s=self.number("time_budget_s"),
        )
        work.check()
        plan.toolpath.write(folder / "toolpath.json")
        plan.trajectory.write(folder / "trajectory.json")
        return {
            "trajectory_path": str(folder / "trajectory.json"),
            "summary": summary(goal.job_dir, "motion", time.monotonic() - start, dict(plan.figures)),
        }

    def _views(
        self, work: Work, cell: Cell, surface: Any, start_rad: Any, seed: int, folder: Any, start: float
    ) -> dict[str, Any]:
        from cell_motion import plan_views

        goal = work.goal
        if len(goal.views) == 0 or len(goal.views) % 16:
            raise InputRefusedError(f"views: {len(goal.views)} numbers, wanted 16 per view")
        views = np.array(goal.views).reshape(-1, 4, 4)
        plan = plan_views(cell, views, part=surface, T_base_part=cell.T_base_fixture, start_rad=start_rad, seed=seed)
        trajectory = replace(plan.trajectory, events=())
        trajectory.write(folder / "trajectory.json")
        return {
            "trajectory_path": str(folder / "trajectory.json"),
            "reached_views": [int(i) for i in plan.reached_views],
            "stop_times_s": [float(t) for t in plan.stop_times_s],
            "summary": summary(goal.job_dir, "scan", time.monotonic() - start, dict(plan.figures)),
        }


def main() -> None:
    """Run the node."""
    run_node(MotionNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
