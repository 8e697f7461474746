"""One scan: views, motions to them, frames, fusion, and next best views until enough is measured."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError, UnreachableError
from cell_core.files import read_npz, write_npz
from cell_core.plan import Progress
from cell_core.surface import Surface
from cell_core.surface_io import read_ply, write_ply
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from robot_description import Cell

COARSE_VOXEL_M = 0.004
NEXT_VIEWS_PER_ROUND = 4
ROUNDS_MAX = 6
UNREACHED_RADIUS_M = 0.03
STAMP_TOLERANCE_S = 1e-3
VIEWS = "views.npz"


class Mover(Protocol):
    """How a scan moves the arm and takes frames."""

    def plan_views(self, T_base_camera: Array, surface_path: Path | None, folder: Path) -> Any: ...
    def move(self, trajectory_path: Path, first: int, last: int) -> None: ...
    def frames(self, count: int) -> list[tuple[NDArray[np.float32], Array, float]]: ...


class ScanRun:
    """Scans the work volume of a cell with the recipe's settings.

    Args:
        show: called with the surface after every round.
        again: folder of an earlier scan of the same part: its views are taken first, and its surface is what the arm
            keeps clear of until the first round is fused. Next best views follow where they no longer suffice.
    """

    def __init__(
        self,
        cell: Cell,
        settings: ScanSettings,
        mover: Mover,
        folder: Path,
        progress: Progress,
        show: Callable[[Surface], None],
        again: Path | None = None,
    ) -> None:
        self._cell, self._settings, self._mover, self._folder = cell, settings, mover, folder
        self._progress, self._show = progress, show
        self._again = again
        volume = cell.config.work_volume
        centre, size = np.array(volume.centre_m), np.array(volume.size_m)
        self._centre_m, self._size_m = centre, size
        self._crop = np.stack([centre - 0.5 * size, centre + 0.5 * size])
        self._frames: list[Any] = []
        self._taken: list[Array] = []
        self._unreached: list[Array] = []

    def run(self) -> dict[str, Any]:
        """Scan, write surface.ply, report.json and frames/, and return figures."""
        from cell_scanning.camera import as_intrinsics
        from cell_scanning.frames import write_frames
        from cell_scanning.fusion import fuse
        from cell_scanning.offline import write_scan
        from cell_scanning.views import plan_first_look, plan_next_views

        camera, settings = self._cell.camera, self._settings
        coarse = settings.model_copy(update={"voxel_m": max(COARSE_VOXEL_M, settings.voxel_m)})
        self._say(0.0, "looking around" if self._again is None else "looking again")
        surface, fraction = None, 0.0
        if self._again is None:
            views = plan_first_look(camera, self._centre_m, self._size_m)
        else:
            views, surface = views_of(self._again), read_ply(self._again / "surface.ply")
        for _ in range(ROUNDS_MAX):
            self._visit(views[: settings.views_max - len(self._taken)], surface)
            if not self._frames:
                raise UnreachableError(f"scan: none of {len(views)} views can be reached")
            surface = fuse(self._frames, camera, coarse, crop=self._crop, refine=False).surface
            self._show(surface)
            following = plan_next_views(
                camera,
                surface,
                self._crop,
                np.stack(self._taken),
                n_views=NEXT_VIEWS_PER_ROUND,
                reachable=self._reachable(surface),
            )
            fraction = float(following.measured_fraction)
            self._say(fraction, f"{len(self._taken)} views, {100.0 * fraction:.1f} % measured")
            views = following.T_part_camera
            enough = fraction >= settings.measured_area_fraction_min
            if enough or len(self._taken) >= settings.views_max or len(views) == 0:
                break
        result = fuse(
            self._frames, camera, settings, crop=self._crop, progress=lambda f, m: self._say(0.9 + 0.1 * f, m)
        )
        write_frames(self._folder / "frames", self._frames, as_intrinsics(camera))
        write_scan(self._folder, result)
        write_npz(self._folder / VIEWS, T_part_camera=np.stack(self._taken))
        own = {"measured_area_fraction": fraction, "views": len(self._taken), "views_unreached": len(self._unreached)}
        return {**result.figures, **own}

    def _reachable(self, surface: Surface) -> Callable[[Array], bool]:
        """Return the question whether the arm can take a view, and no one this near was found unreachable before."""
        from cell_motion.views import ViewReach

        T_base_part = self._cell.T_base_fixture
        reach = ViewReach(self._cell, part=surface, T_base_part=T_base_part)
        return lambda T: self._is_untried(T) and not reach.positions(T_base_part @ T)[1]

    def _is_untried(self, T_part_camera: Array) -> bool:
        """Whether no view this near was found unreachable before."""
        eye = np.asarray(T_part_camera)[:3, 3]
        return all(float(np.linalg.norm(T[:3, 3] - eye)) > UNREACHED_RADIUS_M for T in self._unreached)

    def _say(self, fraction: float, message: str) -> None:
        self._progress(fraction, message)

    def _visit(self, T_part_camera: Sequence[Array] | Array, surface: Surface | None) -> None:
        from cell_scanning.frames import Frame

        if len(T_part_camera) == 0:
            return
        path = None
        if surface is not None:
            path = self._folder / "coarse.ply"
            write_ply(path, surface)
        T_base_camera = self._cell.T_base_fixture @ np.asarray(T_part_camera)
        try:
            answer = self._mover.plan_views(T_base_camera, path, self._folder / "views")
        except InputRefusedError:
            if not self._frames:
                raise
            self._unreached += list(T_part_camera)
            return
        trajectory_path = Path(answer.trajectory_path)
        spans = stop_spans(JointTrajectory.read(trajectory_path), answer.stop_times_s)
        self._unreached += [T for i, T in enumerate(T_part_camera) if i not in set(answer.reached_views)]
        for n, (first, last) in enumerate(spans):
            self._say(0.0, f"view {len(self._taken) + 1} ({n + 1} of {len(spans)} of this round)")
            self._mover.move(trajectory_path, first, last)
            for depth_m, T, stamp_s in self._mover.frames(self._settings.frames_per_view):
                self._frames.append(Frame(depth_m=depth_m, T_part_camera=T, stamp_s=stamp_s))
            self._taken.append(self._frames[-1].T_part_camera)


def views_of(scan: Path) -> Array:
    """Return the views (K, 4, 4) that a scan was taken from, in the order they were taken."""
    views = read_npz(scan / VIEWS).get("T_part_camera")
    if views is None or views.ndim != 3 or views.shape[1:] != (4, 4) or len(views) == 0:
        raise InputRefusedError(f"{scan / VIEWS}: wanted T_part_camera (K, 4, 4) with at least one view")
    return views


def stop_spans(trajectory: JointTrajectory, stop_times_s: Sequence[float]) -> list[tuple[int, int]]:
    """Return for each stop the first and last segment that lead to it; a segment may end with a rest at its stop.

    Raises:
        InputRefusedError: no segment reaches a stop.
    """
    ends = [float(trajectory.time_s[s.i1]) for s in trajectory.segments]
    spans, first = [], 0
    for stop_s in stop_times_s:
        last = next((k for k in range(first, len(ends)) if ends[k] >= stop_s - STAMP_TOLERANCE_S), None)
        if last is None:
            raise InputRefusedError(f"trajectory: no segment reaches the stop at {stop_s:.3f} s")
        spans.append((first, last))
        first = last + 1
    return spans
