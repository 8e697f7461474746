"""The check view: before a process the camera looks once more, and what was moved since the scan is refused."""

from pathlib import Path

import numpy as np

from cell_core.errors import DeviceError, InputRefusedError, UnreachableError
from cell_core.files import write_json
from cell_core.plan import Progress
from cell_core.surface_io import read_ply
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_nodes.scan_run import Mover, stop_spans, views_of
from robot_description import Cell

PLACE_M, AXIS_RAD = 5e-4, 1e-3
"""The camera must stand where it stood, to this much, for pixels to be compared."""
VIEWS_TRIED = 3


class CheckRun:
    """Takes one of a scan's views again and compares it with that scan.

    Args:
        scan: folder of the scan the process was planned on.
        folder: where check.json goes.
        bound_m: how far the part may have moved.
    """

    def __init__(self, cell: Cell, mover: Mover, scan: Path, folder: Path, bound_m: float, progress: Progress) -> None:
        self._cell, self._mover, self._scan, self._folder = cell, mover, scan, folder
        self._bound_m, self._progress = bound_m, progress

    def run(self) -> dict[str, float]:
        """Look, write check.json and return the figures.

        Raises:
            InputRefusedError: the part is not there, is another one, or moved by more than the bound.
            UnreachableError: none of the views tried can be reached.
            DeviceError: the camera does not come to stand where it stood.
        """
        from cell_inspection.view_check import best_view, check_view
        from cell_scanning.camera import as_intrinsics
        from cell_scanning.frames import read_frames

        camera = as_intrinsics(self._cell.camera)
        surface, views = read_ply(self._scan / "surface.ply"), views_of(self._scan)
        self._progress(0.1, "looking once more")
        left = list(range(len(views)))
        image, T = None, np.eye(4)
        for _ in range(min(VIEWS_TRIED, len(left))):
            k = left.pop(best_view(surface, views[left], camera, (camera.height_px, camera.width_px)))
            image, T = self._take(views[k])
            if image is not None:
                break
        if image is None:
            raise UnreachableError(f"check view: none of {VIEWS_TRIED} views of the scan can be reached any more")
        self._progress(0.6, "comparing with the scan")
        frames = read_frames(self._scan / "frames").frames
        then = [(frame.depth_m, frame.T_part_camera) for frame in frames if _same_view(frame.T_part_camera, T)]
        if not then:
            raise DeviceError(
                f"check view: the camera stands where no image of the scan was taken: within {1e3 * PLACE_M:g} mm and "
                f"{AXIS_RAD:g} rad of its axis"
            )
        volume = self._cell.config.work_volume
        centre, half = np.array(volume.centre_m), 0.5 * np.array(volume.size_m)
        found = check_view(surface, then, image, T, camera, np.stack([centre - half, centre + half]))
        fault = found.fault(self._bound_m)
        document = {"fault": fault, "bound_m": self._bound_m, **found.figures}
        write_json(self._folder / "check.json", document)
        if fault:
            raise InputRefusedError(f"check view: {fault}", **found.figures)
        return {**found.figures, "bound_m": self._bound_m}

    def _take(self, T_part_camera: Array) -> tuple[np.ndarray | None, Array]:
        """Return the image from a view of the scan and the pose it was really taken from; None out of reach."""
        try:
            answer = self._mover.plan_views(
                (self._cell.T_base_fixture @ T_part_camera)[None], self._scan / "surface.ply", self._folder / "views"
            )
        except InputRefusedError:
            return None, T_part_camera
        path = Path(answer.trajectory_path)
        for first, last in stop_spans(JointTrajectory.read(path), answer.stop_times_s):
            self._mover.move(path, first, last)
        depth_m, T, _ = self._mover.frames(1)[0]
        return depth_m, T


def _same_view(T_a: Array, T_b: Array) -> bool:
    """Whether two poses look from one place along one axis, however rolled about it."""
    apart_m = float(np.linalg.norm(T_a[:3, 3] - T_b[:3, 3]))
    return apart_m < PLACE_M and float(np.linalg.norm(T_a[:3, 2] - T_b[:3, 2])) < AXIS_RAD
