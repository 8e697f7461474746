"""One scan: views, motions to them, frames, fusion, and next best views until enough is measured."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError
from cell_core.files import read_npz, write_npz
from cell_core.plan import Progress
from cell_core.surface import Surface
from cell_core.surface_io import read_ply, write_ply
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_nodes.known_part import NOTHING_KNOWN, KnownPart
from robot_description import Cell

UNREACHED_RADIUS_M = 0.03
STAMP_TOLERANCE_S = 1e-3
VIEWS = "views.npz"


class Mover(Protocol):
    """How a scan moves the arm and takes frames; `refused` counts images that could not be used, by reason."""

    def plan_views(self, T_base_camera: Array, surface_path: Path | None, folder: Path) -> Any: ...
    def move(self, trajectory_path: Path, first: int, last: int) -> None: ...
    def frames(self, count: int) -> list[tuple[NDArray[np.float32], Array, float]]: ...

    @property
    def refused(self) -> Mapping[str, int]: ...


class ScanRun:
    """Scans the work volume of a cell with the recipe's settings.

    Args:
        show: called with the surface after every round.
        known: what the job says about the part.
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
        known: KnownPart = NOTHING_KNOWN,
    ) -> None:
        self._cell, self._settings, self._mover, self._folder = cell, settings, mover, folder
        self._progress, self._show = progress, show
        self._again, self._known = again, known
        volume = cell.config.work_volume
        centre, size = np.array(volume.centre_m), np.array(volume.size_m)
        self._crop = np.stack([centre - 0.5 * size, centre + 0.5 * size])
        self._frames: list[Any] = []
        self._taken: list[Array] = []
        self._unreached: list[Array] = []

    def run(self) -> dict[str, Any]:
        """Scan, write surface.ply, report.json and frames/, and return figures."""
        from cell_scanning.camera import as_intrinsics
        from cell_scanning.frames import write_frames
        from cell_scanning.fusion import fuse
        from cell_scanning.hole_reasons import with_hole_reasons
        from cell_scanning.offline import write_scan
        from cell_scanning.view_loop import look_around

        camera, settings = self._cell.camera, self._settings
        looked = look_around(
            camera,
            self._crop,
            settings,
            self._visit,
            cad=self._known.cad,
            cad_elsewhere=self._known.cad_elsewhere,
            part_box_m=self._known.part_box_m,
            earlier=self._earlier(),
            reach=self._reachable,
            progress=self._say,
            show=self._show,
        )
        result = fuse(
            self._frames, camera, settings, crop=self._crop, progress=lambda f, m: self._say(0.9 + 0.1 * f, m)
        )
        result = with_hole_reasons(result, self._frames, camera, self._crop, self._reachable(result.surface))
        write_frames(self._folder / "frames", self._frames, as_intrinsics(camera))
        refused = dict(Counter(result.refused) + Counter(self._mover.refused))
        result = replace(
            result, refused=refused, figures={**result.figures, "n_frames_refused": sum(refused.values())}
        )
        write_scan(self._folder, result)
        write_npz(self._folder / VIEWS, T_part_camera=np.stack(self._taken))
        own = {
            "measured_area_fraction": looked.measured_fraction,
            "views": len(self._taken),
            "views_unreached": len(self._unreached),
        }
        if looked.n_views_bound is not None:
            own["views_bound"] = looked.n_views_bound
        return {**result.figures, **own}

    def _earlier(self) -> Any:
        from cell_scanning.view_loop import Earlier

        if self._again is None:
            return None
        return Earlier(T_part_camera=views_of(self._again), surface=read_ply(self._again / "surface.ply"))

    def _reachable(self, surface: Surface | None) -> Callable[[Array], bool]:
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

    def _visit(self, T_part_camera: Array, surface: Surface | None) -> list[list[Any]]:
        from cell_scanning.frames import Frame

        if len(T_part_camera) == 0:
            return []
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
            return []
        trajectory_path = Path(answer.trajectory_path)
        spans = stop_spans(JointTrajectory.read(trajectory_path), answer.stop_times_s)
        self._unreached += [T for i, T in enumerate(T_part_camera) if i not in set(answer.reached_views)]
        shots = []
        for n, (first, last) in enumerate(spans):
            self._say(0.0, f"view {len(self._taken) + 1} ({n + 1} of {len(spans)} of this round)")
            self._mover.move(trajectory_path, first, last)
            taken = self._mover.frames(self._settings.frames_per_view)
            shots.append([Frame(depth_m=depth_m, T_part_camera=T, stamp_s=stamp_s) for depth_m, T, stamp_s in taken])
            self._frames += shots[-1]
            self._taken.append(shots[-1][-1].T_part_camera)
        return shots


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
