"""Depth frames in, one trusted surface out."""

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.config import CameraConfig
from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.depth_filter import FilteredDepth, filtered_in_box
from cell_scanning.depth_smoothing import smoothed
from cell_scanning.frames import Frame, frame_fault
from cell_scanning.holes import Hole, find_holes
from cell_scanning.measured_part import measured_part, surface_figures
from cell_scanning.mesh_cleaning import vertex_components
from cell_scanning.pose_refinement import model_residual_m, refined_poses
from cell_scanning.support import frame_spread, view_labels
from cell_scanning.tsdf import TRUNCATION_VOXELS, DistanceGrid, PreparedDepth

WEIGHT_MIN = 3
"""Readings a vertex needs, where that many frames were taken per view or there are frames to spare."""
FRAMES_PER_READING = 15
"""There are when this many frames come on every reading needed."""
FLOOR_CLEARANCE_M = 0.003
"""How much above the crop box's lowest face the fixture is cut away, and the part's lowest rim with it."""
REACH_VOXELS = 3.0
"""Readings pair with the mean model within this many voxels, unless poses are far off."""
POSES_OFF_VOXELS = 0.4
"""They are when the median reading lies farther than this from the mean model."""
REFINED_RESIDUAL = 0.97
"""Refined poses must bring the readings' distance from their mean surface below this share of what it was."""
BLOCKS_AT_1MM, BLOCKS_MIN = 20_000, 4_000
"""Room made at once: a part of 0.4 m takes some 10,000 blocks of 1 mm voxels and an image 3,000; fewer by the square of
the voxel."""
N_THREADS, FRAMES_AHEAD = 2, 3
"""Frames are filtered by so many threads while others are integrated, at most so many ahead."""
CROP_MARGIN_M = 0.03
"""Readings this far outside the crop box still help to place the frames."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanResult:
    """A fused surface and how it came about."""

    surface: Surface
    """In the part frame; fields confidence, view_count, frame_count, residual_m (per vertex)."""
    holes: tuple[Hole, ...]
    """Boundary loops, longest first."""
    T_part_camera: Array
    """(F, 4, 4) poses of the frames used, refined if asked for."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Frames not used, counted by reason."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers for reports; keys carry units."""


class Fusion:
    """Fuses frames as they come in: filtered and integrated at once, so that a preview is there at any time."""

    def __init__(
        self,
        camera: Intrinsics | CameraConfig,
        settings: ScanSettings,
        *,
        crop: Array | None = None,
        floor_clearance_m: float = FLOOR_CLEARANCE_M,
    ) -> None:
        """Set up; the arguments are those of `fuse`."""
        self.camera = as_intrinsics(camera)
        self.voxel_m = settings.voxel_m
        self.refused: Counter[str] = Counter()
        self._crop, self._wide = None, None
        if crop is not None:
            self._crop = np.asarray(crop, float) + np.array([[0.0, 0.0, floor_clearance_m], [0.0, 0.0, 0.0]])
            margin = max(CROP_MARGIN_M, 2.0 * TRUNCATION_VOXELS * self.voxel_m)
            self._wide = self._crop + np.array([[-margin] * 3, [margin] * 3])
        self._depths: list[FilteredDepth] = []
        self._poses: list[Array] = []
        n_blocks = int(np.clip(BLOCKS_AT_1MM * (1e-3 / self.voxel_m) ** 2, BLOCKS_MIN, BLOCKS_AT_1MM))
        self._grid = DistanceGrid(self.camera, self.voxel_m, fine=True, n_blocks=n_blocks)
        self._pool = ThreadPoolExecutor(N_THREADS)
        self._ahead: deque[tuple[Future[tuple[FilteredDepth, PreparedDepth | None]], Array]] = deque()

    @property
    def n_frames(self) -> int:
        """Frames taken in so far, refused ones not counted."""
        return len(self._poses) + len(self._ahead)

    def add(self, frame: Frame) -> str | None:
        """Take in a frame; returns why it was refused, or None.

        It is filtered in the background and integrated a few frames later, in the order given.

        Raises:
            InputRefusedError: too much memory.
        """
        fault = frame_fault(frame, self.camera)
        if fault is not None:
            self.refused[fault] += 1
            return fault
        self._ahead.append((self._pool.submit(self._prepared, frame), np.asarray(frame.T_part_camera, float)))
        self._catch_up(FRAMES_AHEAD)
        return None

    def catch_up(self) -> None:
        """Integrate all frames taken in.

        Raises:
            InputRefusedError: too much memory.
        """
        self._catch_up(0)

    def _catch_up(self, n_left: int) -> None:
        while len(self._ahead) > n_left:
            work, T = self._ahead.popleft()
            filtered, prepared = work.result()
            self._grid.fuse(prepared, T)
            self._depths.append(filtered)
            self._poses.append(T)

    def _prepared(self, frame: Frame) -> tuple[FilteredDepth, PreparedDepth | None]:
        filtered = smoothed(filtered_in_box(frame.depth_m, self.camera, frame.T_part_camera, self._wide))
        return filtered, self._grid.prepared(filtered.depth_m)

    def preview(self) -> Surface | None:
        """Return the surface so far, as the poses given put it and not cleaned; None while there is none."""
        self.catch_up()
        vertices_m, triangles = self._grid.mesh(1)
        return Surface(vertices_m=vertices_m, triangles=triangles) if len(triangles) else None

    def result(self, *, refine: bool = True, progress: Progress = no_progress) -> ScanResult:
        """Correct the poses, fuse again and clean; see `fuse`."""
        start, refused = time.perf_counter(), dict(self.refused)
        self.catch_up()
        if not self._poses:
            reasons = ", ".join(f"{n} {reason}" for reason, n in refused.items()) or "none were given"
            raise InputRefusedError(f"scan: 0 of {sum(refused.values())} frames usable: {reasons}", refused=refused)
        weight_min = weight_needed(self._poses)
        progress(0.3, "mean model")
        model = _surface(*self._grid.mesh(weight_min), "no surface in the crop box")
        surface, poses = model, self._poses
        if refine and len(poses) > 1:
            progress(0.4, "refining poses")
            surface, poses = self._refined(model, weight_min, progress)
        shift_m, turn_rad = _changes(poses, self._poses, model)
        progress(0.8, "cleaning")
        surface, crumbs = measured_part(surface, self._depths, poses, self.camera, self.voxel_m, weight_min, self._crop)
        progress(0.9, "holes")
        floor_z_m = None if self._crop is None else float(self._crop[0, 2])
        holes = find_holes(surface, vertex_components(surface), floor_z_m, 2.5 * self.voxel_m)
        figures = {
            "n_frames": len(poses),
            "n_frames_refused": sum(refused.values()),
            "n_views": int(view_labels(poses).max()) + 1,
            "voxel_m": self.voxel_m,
            "weight_min": weight_min,
            **surface_figures(surface, holes, self.voxel_m),
            **crumbs,
            "pose_shift_mean_m": float(shift_m.mean()),
            "pose_shift_max_m": float(shift_m.max()),
            "pose_turn_mean_rad": float(turn_rad.mean()),
            "duration_s": time.perf_counter() - start,
        }
        progress(1.0, "surface fused")
        return ScanResult(
            surface=surface, holes=tuple(holes), T_part_camera=np.asarray(poses), refused=refused, figures=figures
        )

    def _refined(self, model: Surface, weight_min: int, progress: Progress) -> tuple[Surface, list[Array]]:
        images = [d.depth_m for d in self._depths]
        far_m = 2.0 * TRUNCATION_VOXELS * self.voxel_m
        caster = RayCaster(model)
        given_m = model_residual_m(model, images, self._poses, self.camera, far_m, caster)
        # pairs far apart are needed where poses are far off, and elsewhere tie one layer of the part to another
        reach_m = far_m if given_m > POSES_OFF_VOXELS * self.voxel_m else REACH_VOXELS * self.voxel_m
        refined = refined_poses(model, images, self._poses, self.camera, reach_m, caster)
        progress(0.6, "fusing with refined poses")
        n_blocks = self._grid.n_blocks + BLOCKS_MIN
        grid = DistanceGrid(self.camera, self.voxel_m, fine=True, n_blocks=n_blocks)
        grid.add_all(images, refined)
        surface = _surface(*grid.mesh(weight_min), "no surface in the crop box")
        # frames of a smooth part may slide over one another; poses that fit no better than those given are not taken
        if model_residual_m(surface, images, refined, self.camera, far_m) < REFINED_RESIDUAL * given_m:
            return surface, refined
        return model, self._poses


def fuse(
    frames: Sequence[Frame],
    camera: Intrinsics | CameraConfig,
    settings: ScanSettings,
    *,
    crop: Array | None = None,
    floor_clearance_m: float = FLOOR_CLEARANCE_M,
    refine: bool = True,
    progress: Progress = no_progress,
) -> ScanResult:
    """Fuse depth frames into one surface with outward normals.

    Grazing readings and depth edges are dropped, noise is smoothed, frames are integrated into a truncated signed
    distance field, poses are corrected once against the mean model, and only vertices that frames really measured are
    kept. Where readings scatter much, the surface is smoothed over a reach that follows from that.

    Args:
        frames: depth images with their poses in the part frame.
        camera: intrinsics or camera file.
        settings: voxel size.
        crop: (2, 3) lowest and highest corner [m] in the part frame; its lowest face is taken for the fixture plane.
        floor_clearance_m: how far above that plane the surface is cut, so that the fixture does not stay.
        refine: correct the poses.
        progress: told a fraction and what is being done.

    Raises:
        InputRefusedError: no usable frame (`facts["refused"]` counts the reasons), an empty result, or too much memory.
    """
    start = time.perf_counter()
    fusion = Fusion(camera, settings, crop=crop, floor_clearance_m=floor_clearance_m)
    for i, frame in enumerate(frames):
        progress(0.3 * i / len(frames), f"frame {i + 1} of {len(frames)}")
        fusion.add(frame)
    result = fusion.result(refine=refine, progress=progress)
    return replace(result, figures={**result.figures, "duration_s": time.perf_counter() - start})


def weight_needed(poses: Sequence[Array]) -> int:
    """Return how many readings a vertex needs: one per frame of a view, more where there are frames to spare."""
    return int(np.clip(max(round(frame_spread(poses)), len(poses) // FRAMES_PER_READING), 1, WEIGHT_MIN))


def _surface(vertices_m: Array, triangles: NDArray[np.int64], empty: str) -> Surface:
    if len(triangles) == 0:
        raise InputRefusedError(f"scan: {empty}: 0 triangles; nothing was measured there")
    return Surface(vertices_m=vertices_m, triangles=triangles)


def _changes(poses: Sequence[Array], given: Sequence[Array], model: Surface) -> tuple[Array, Array]:
    centre = model.vertices_m.mean(axis=0)
    steps = [new @ inverse(old) for new, old in zip(poses, given, strict=True)]
    shift_m = np.array([float(np.linalg.norm(apply(C, centre) - centre)) for C in steps])
    turn_rad = np.array([np.arccos(np.clip((np.trace(C[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)) for C in steps])
    return shift_m, turn_rad
