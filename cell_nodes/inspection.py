"""Inspection node: what the process left on the part, against the recipe."""

import time
from pathlib import Path
from typing import Any

from cell_interfaces.action import InspectPart
from cell_interfaces.srv import WriteTruth

from cell_core.config import load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.errors import DeviceError
from cell_core.jobs import JobFolder
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.clients import call_service
from cell_nodes.node_base import PATIENT, CellNode, run_node
from robot_description import load_cell

TRUTH_WAIT_S = 3.0
WRITE_WAIT_S = 60.0


class InspectionNode(CellNode):
    """Serves inspect: judges what was done by rescan and process model, with the simulator's truth beside it."""

    def __init__(self, **options: Any) -> None:
        super().__init__("inspection", **options)
        self._truth = self.create_client(WriteTruth, "write_truth")
        self._worker = ActionWorker(self, InspectPart, "inspect", self._work)

    def configure(self) -> None:
        """Load the inspection functions, so that the first goal need not wait for them."""
        import cell_nodes.inspection_run  # noqa: F401

        load_cell(self.string("cell"))

    def _work(self, work: Work) -> dict[str, Any]:
        from cell_nodes.inspection_run import Given, inspect_cycle

        goal, start = work.goal, time.monotonic()
        job = JobFolder.of_step(self.job_path(goal.job_dir), self.job_path(goal.folder))
        recipe, config = job.recipe(goal.recipe), job.config
        truth_path = None
        if config.simulated_part is not None:
            work.progress(0.1, "asking for the ground truth", "inspection")
            truth_path = self._write_truth(job.step("execution"))
        work.progress(0.4, "measuring and judging", "inspection")
        tool = load_recipe_tool(recipe, find_config("recipes", goal.recipe, job.path / "job.yaml"))
        given = Given.read(job, recipe, tool)
        passed, figures = inspect_cycle(given, load_cell(config.cell), truth_path)
        work.check()
        seconds = time.monotonic() - start
        numbers = {**figures, "passed": float(passed)}
        return {"passed": passed, "summary": summary(goal.job_dir, "inspection", seconds, numbers, ok=passed)}

    def _write_truth(self, folder: Path) -> Path:
        request = WriteTruth.Request(folder=str(folder))
        answer = call_service(self._truth, request, timeout_s=WRITE_WAIT_S, server_wait_s=TRUTH_WAIT_S)
        if not answer.ok:
            raise DeviceError(f"ground truth: refused: {answer.message}")
        return folder / "truth.ply"


def main() -> None:
    """Run the node."""
    run_node(InspectionNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
