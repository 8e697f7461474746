"""Scan node: looks at the work volume until enough of the part is measured, and fuses what it saw.

The name of the folder that a goal names says how it looks: `check` takes one view of the scan again and compares,
`rescan` begins with the views of the job's scan; any other is a scan of something unknown.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from cell_interfaces.action import ExecuteProcess, PlanMotion, ScanPart
from numpy.typing import NDArray
from sensor_msgs.msg import JointState, PointCloud2

from cell_core.config import load_recipe
from cell_core.errors import DeviceError
from cell_core.jobs import JobFolder
from cell_core.plan import Progress
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_nodes.action_work import ActionWorker, Work, summary
from cell_nodes.camera_client import CameraClient
from cell_nodes.check_run import CheckRun
from cell_nodes.clients import ActionCaller
from cell_nodes.known_part import NOTHING_KNOWN, known_part
from cell_nodes.markers import cloud_message
from cell_nodes.node_base import LATCHED, PATIENT, CellNode, run_node
from cell_nodes.scan_run import ScanRun
from robot_description import Cell, load_cell


class ScanNode(CellNode):
    """Serves scan; publishes scan/cloud after every round of views."""

    def __init__(self, **options: Any) -> None:
        super().__init__("scan", **options)
        self._plan = ActionCaller(self, PlanMotion, "plan_motion")
        self._execute = ActionCaller(self, ExecuteProcess, "execute_process")
        self._cloud = self.create_publisher(PointCloud2, "scan/cloud", LATCHED)
        self._worker = ActionWorker(self, ScanPart, "scan", self._work)

    def configure(self) -> None:
        """Load cell and fusion, so that the first goal need not wait for them."""
        import cell_scanning.fusion
        import cell_scanning.views  # noqa: F401

        load_cell(self.string("cell"))

    def _work(self, work: Work) -> dict[str, Any]:
        goal, start = work.goal, time.monotonic()
        job_dir, folder = self.job_path(goal.job_dir), self.job_path(goal.folder)
        cell = load_cell(goal.cell or self.string("cell"))
        settings = load_recipe(goal.recipe, job_dir / "job.yaml").scan
        look = folder.name
        job = JobFolder.of_step(job_dir, folder)

        def progress(fraction: float, message: str) -> None:
            work.progress(fraction, message, look)

        with CameraClient(self, cell) as camera:
            mover = _Mover(self, work, camera, cell.robot.joint_names)
            if look == "check":
                figures = self._check(cell, mover, job, folder, progress)
                surface = job.looked_at / "surface.ply"
            else:
                again = job.path / "scan" if look == "rescan" else None
                known = NOTHING_KNOWN if again is not None else known_part(job_dir)
                figures = ScanRun(cell, settings, mover, folder, progress, self._show, again, known).run()
                surface = folder / "surface.ply"
        return {
            "surface_path": str(surface),
            "summary": summary(goal.job_dir, look, time.monotonic() - start, figures),
        }

    def _check(self, cell: Cell, mover: "_Mover", job: JobFolder, folder: Path, progress: Progress) -> dict[str, Any]:
        bound_m = cell.config.part_moved_max_m
        if bound_m is None:
            return {"checked": 0.0}
        return CheckRun(cell, mover, job.looked_at, folder, bound_m, progress).run()

    def _show(self, surface: Surface) -> None:
        self._cloud.publish(cloud_message(surface, self.get_clock().now().to_msg()))

    def plan_views(self, work: Work, goal: Any) -> Any:
        """Plan a motion over views."""
        return self._plan.call(goal, work.check)

    def execute(self, work: Work, goal: Any) -> None:
        """Run segments of a motion."""
        self._execute.call(goal, work.check)


class _Mover:
    """Moves by the motion and execution nodes and takes frames from the camera."""

    def __init__(self, node: ScanNode, work: Work, camera: CameraClient, joint_names: tuple[str, ...]) -> None:
        self._node, self._work, self._camera, self._names = node, work, camera, joint_names

    def plan_views(self, T_base_camera: Array, surface_path: Path | None, folder: Path) -> Any:
        state: JointState = self._camera.joint_state()
        by_name = dict(zip(state.name, state.position, strict=True))
        missing = [n for n in self._names if n not in by_name]
        if missing:
            raise DeviceError(f"joint states: joint {missing[0]!r} is missing")
        goal = PlanMotion.Goal(
            kind=PlanMotion.Goal.VIEWS,
            job_dir=self._work.goal.job_dir,
            cell=self._work.goal.cell,
            surface_path="" if surface_path is None else str(surface_path),
            views=np.ravel(T_base_camera).tolist(),
            start_rad=[by_name[n] for n in self._names],
            folder=str(folder),
        )
        return self._node.plan_views(self._work, goal)

    def move(self, trajectory_path: Path, first: int, last: int) -> None:
        goal = ExecuteProcess.Goal(
            job_dir=self._work.goal.job_dir,
            trajectory_path=str(trajectory_path),
            process="",
            first_segment=first,
            last_segment=last,
            folder=str(trajectory_path.parent),
        )
        self._node.execute(self._work, goal)

    def frames(self, count: int) -> list[tuple[NDArray[np.float32], Array, float]]:
        return self._camera.frames(count)

    @property
    def refused(self) -> Mapping[str, int]:
        return self._camera.refused


def main() -> None:
    """Run the node."""
    run_node(ScanNode, niceness=PATIENT)


if __name__ == "__main__":
    main()
