"""Publishes a job's markers from the files its steps left."""

from pathlib import Path

from visualization_msgs.msg import MarkerArray

from cell_core.errors import CellError
from cell_core.files import read_npz
from cell_core.jobs import JobFolder
from cell_core.surface_io import read_ply
from cell_core.toolpath import ToolPath
from cell_nodes.markers import change_markers, part_markers, stroke_markers
from cell_nodes.node_base import LATCHED, CellNode


class MarkerPublisher:
    """Latched topics markers/part, markers/strokes and markers/change."""

    def __init__(self, node: CellNode) -> None:
        self._node = node
        self._publishers = {
            name: node.create_publisher(MarkerArray, f"markers/{name}", LATCHED)
            for name in ("part", "strokes", "change")
        }

    def show(self, job_dir: Path, label: str) -> None:
        """Publish what a finished step left; pictures that cannot be made are logged, never raised."""
        job, step = JobFolder(path=job_dir).at(label)
        try:
            if step in ("scan", "rescan"):
                self._publishers["part"].publish(part_markers(job.step(step) / "surface.ply"))
            elif step == "plan":
                self._publishers["strokes"].publish(stroke_markers(ToolPath.read(job.step("plan") / "toolpath.json")))
                self._change(job.looked_at, job.step("plan"), "predicted_change_m", "target_change_m")
            elif step == "motion":
                self._publishers["strokes"].publish(stroke_markers(ToolPath.read(job.step("motion") / "toolpath.json")))
            elif step == "inspection":
                self._change(job_dir / "scan", job.step("inspection"), "change_m", "target_m")
        except (CellError, OSError, KeyError, ValueError) as error:
            self._node.get_logger().warning(f"markers of step {label}: {error}")

    def _change(self, scan: Path, folder: Path, change: str, target: str) -> None:
        surface, fields = read_ply(scan / "surface.ply"), read_npz(folder / "fields.npz")
        high_m = float(fields[target].max())
        if high_m > 0.0 and len(fields[change]) == len(surface.vertices_m):
            self._publishers["change"].publish(change_markers(surface, fields[change], high_m))
