"""Inspection node: what the process left on the part, against the recipe."""

import time
from pathlib import Path
from typing import Any

from cell_interfaces.action import InspectPart
from cell_interfaces.srv import WriteTruth

from cell_core.config import SprayRecipe
from cell_core.errors import DeviceError, InputRefusedError
from cell_core.files import read_npz, write_json, write_npz
from cell_core.jobs import JobFolder
from cell_core.surface_io import read_ply
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.clients import call_service
from cell_nodes.node_base import PATIENT, CellNode, run_node

TRUTH_WAIT_S = 3.0
WRITE_WAIT_S = 60.0


class InspectionNode(CellNode):
    """Serves inspect: asks the simulator for the truth, maps it onto the scan and judges it by the recipe."""

    def __init__(self, **options: Any) -> None:
        super().__init__("inspection", **options)
        self._truth = self.create_client(WriteTruth, "write_truth")
        self._worker = ActionWorker(self, InspectPart, "inspect", self._work)

    def configure(self) -> None:
        """Load the inspection functions, so that the first goal need not wait for them."""
        import cell_inspection  # noqa: F401

    def _work(self, work: Work) -> dict[str, Any]:
        goal, start = work.goal, time.monotonic()
        job_dir, folder = self.job_path(goal.job_dir), self.job_path(goal.folder)
        recipe = JobFolder(path=job_dir).recipe(goal.recipe)
        work.progress(0.1, "asking for the ground truth", "inspection")
        truth_path = self._write_truth(job_dir / "execution")
        work.progress(0.5, "comparing", "inspection")
        passed, figures = judge(job_dir, truth_path, recipe, folder)
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


def judge(job_dir: Path, truth_path: Path, recipe: Any, folder: Path) -> tuple[bool, dict[str, Any]]:
    """Judge the truth against the plan's target over what the tool could serve; write verdict.json and fields.npz.

    The figures also say how well the planner's prediction and the truth agree there.

    Raises:
        InputRefusedError: the plan's fields do not belong to the scan, or the tool could serve nothing.
    """
    from cell_inspection import agreement, grind_verdict, map_field, spray_verdict

    scan, truth = read_ply(job_dir / "scan" / "surface.ply"), read_ply(truth_path)
    fields = read_npz(job_dir / "plan" / "fields.npz")
    target, serviceable = fields["target_change_m"], fields["serviceable"] > 0.5
    if len(target) != len(scan.vertices_m):
        raise InputRefusedError(f"plan/fields.npz: {len(target)} values, the scan has {len(scan.vertices_m)} vertices")
    change = map_field(truth, truth.fields["change_m"], scan, MAP_DISTANCE_M)
    mask = serviceable & (target > 0.0)
    verdict_of = spray_verdict if isinstance(recipe, SprayRecipe) else grind_verdict
    verdict = verdict_of(recipe, change, target, mask, scan.vertex_areas_m2, positions_m=scan.vertices_m)
    agreed = agreement(fields["predicted_change_m"], change, target, mask, scan.vertex_areas_m2)
    figures = {**verdict.figures, **agreed}
    write_npz(folder / "fields.npz", change_m=change, target_m=target, mask=mask)
    document = {"passed": bool(verdict.passed), "reasons": list(verdict.reasons), "figures": figures}
    write_json(folder / "verdict.json", {**document, "process": recipe.process, "truth": "execution/truth.ply"})
    return bool(verdict.passed), figures


MAP_DISTANCE_M = 0.005


def main() -> None:
    """Run the node."""
    run_node(InspectionNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
