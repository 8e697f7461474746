"""Find where a moving depth camera was, from its images alone: each is laid onto the surface seen so far."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import filter_depth
from cell_scanning.depth_smoothing import smoothed
from cell_scanning.frame_alignment import VIEW_PX, Alignment, ModelView, Readings, align, sampled
from cell_scanning.tsdf import DistanceGrid

OVERLAP_MIN = 0.25
"""Share of an image's readings behind which the surface must be known."""
AGREEMENT_MIN = 0.45
"""Share of those that must lie on it."""
RESIDUAL_SIGMAS_MAX = 2.5
"""And their median distance from it, in standard deviations of the noise."""
TURN_MAX_RAD = 0.35
"""A pose this much turned away from what was expected is not believed, nor one..."""
SHIFT_MAX_RANGE = 0.3
"""...shifted by this share of the median range."""
READINGS_MIN = 400
AGAIN_OVERLAP_MIN, AGAIN_AGREEMENT_MIN = 0.4, 0.6
"""A camera that was lost is found again only where this much fits."""
KEY_TURN_RAD, KEY_SHIFT_RANGE = 0.15, 0.1
"""A view turned or shifted by this from all keyframes becomes one."""
KEYS_TRIED = 4
THUMBNAIL_PX = 20
WELL_SEEN_IMAGES = 6
"""From so many images on, a surface has to be in two of them to be tracked against."""
VIEW_COMPLETE = 0.8
LOOSE_IN_A_ROW_MAX = 10
"""After so many images that do not fix the camera, its place is no longer known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedImage:
    """What became of one image."""

    index: int
    """Its number in the sequence."""
    stamp_s: float
    """Its time [s]."""
    outcome: str
    """tracked, found_again, loose, or the reason why it is lost or refused."""
    T_part_camera: Array
    """(4, 4) pose in the frame of the first image's camera; where lost, what was expected."""
    alignment: Alignment | None = None
    """How it lies on the surface; None: there was nothing to align."""

    @property
    def placed(self) -> bool:
        """Whether the pose can be believed."""
        return self.outcome in ("tracked", "found_again")


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframe:
    """A view that a lost camera may come back to."""

    index: int
    T_part_camera: Array
    thumbnail_m: NDArray[np.float32]
    """Small depth image [m]."""


@dataclass
class _Motion:
    """The last pose and what is expected next."""

    T: Array = field(default_factory=lambda: np.eye(4))
    stamp_s: float = 0.0
    turn_rad_per_s: Array = field(default_factory=lambda: np.zeros(3))
    shift_m_per_s: Array = field(default_factory=lambda: np.zeros(3))

    def at(self, stamp_s: float) -> Array:
        span = stamp_s - self.stamp_s
        step = np.eye(4)
        step[:3, :3] = Rotation.from_rotvec(span * self.turn_rad_per_s).as_matrix()
        step[:3, 3] = span * self.shift_m_per_s
        return self.T @ step

    def moved_to(self, T: Array, stamp_s: float) -> "_Motion":
        span = max(stamp_s - self.stamp_s, 1e-3)
        step = inverse(self.T) @ T
        return _Motion(
            T=T,
            stamp_s=stamp_s,
            turn_rad_per_s=Rotation.from_matrix(step[:3, :3]).as_rotvec() / span,
            shift_m_per_s=step[:3, 3] / span,
        )

    def standing_at(self, T: Array, stamp_s: float) -> "_Motion":
        return _Motion(T=T, stamp_s=stamp_s)


class Tracker:
    """Follows one camera through its images; the frame is that of the first image's camera."""

    def __init__(self, camera: Intrinsics, voxel_m: float) -> None:
        """Set up.

        Args:
            camera: of all images.
            voxel_m: resolution of the surface that is tracked against [m].
        """
        self.camera, self.voxel_m = camera, voxel_m
        self.images: list[TrackedImage] = []
        self.keyframes: list[Keyframe] = []
        self._grid = DistanceGrid(camera, voxel_m)
        self._motion = _Motion()
        self._lost = False
        self._n_loose = 0

    def add(self, depth_m: NDArray[np.float32] | str, stamp_s: float) -> TrackedImage:
        """Track the next image; a text in place of one says why it could not be used."""
        index = len(self.images)
        expected = self._motion.at(stamp_s) if self._grid.n_images else np.eye(4)
        if isinstance(depth_m, str):
            image = TrackedImage(index=index, stamp_s=stamp_s, outcome=depth_m, T_part_camera=expected)
        else:
            image = self._placed(index, stamp_s, depth_m, expected)
        self.images.append(image)
        return image

    def counts(self) -> dict[str, int]:
        """Return how many images came to which outcome."""
        return dict(Counter(i.outcome for i in self.images))

    def surface_so_far(self) -> tuple[Array, NDArray[np.int64]]:
        """Return vertices [m] and triangles of the surface that is tracked against."""
        return self._grid.mesh(1)

    def _placed(self, index: int, stamp_s: float, depth_m: NDArray[np.float32], expected: Array) -> TrackedImage:
        filtered = smoothed(filter_depth(depth_m, self.camera)).depth_m
        readings = sampled(filtered, self.camera)
        if len(readings.points_m) < READINGS_MIN:
            return TrackedImage(index=index, stamp_s=stamp_s, outcome="few_readings", T_part_camera=expected)
        if self._grid.n_images == 0:
            self._motion = _Motion(T=np.eye(4), stamp_s=stamp_s)
            self._taken(index, filtered, np.eye(4), readings)
            return TrackedImage(index=index, stamp_s=stamp_s, outcome="tracked", T_part_camera=np.eye(4))
        found, fault = self._followed(readings, filtered, expected, stamp_s)
        outcome = "tracked" if fault is None else fault
        if fault is not None and fault != "loose":
            again = self._found_again(readings, filtered)
            if again is not None:
                found, outcome = again, "found_again"
        if outcome in ("tracked", "found_again"):
            T = found.T_part_camera
            # speed across a gap says nothing
            steady = outcome == "tracked" and not self._lost
            self._motion = (self._motion.moved_to if steady else self._motion.standing_at)(T, stamp_s)
            self._lost, self._n_loose = False, 0
            self._taken(index, filtered, T, readings)
            return TrackedImage(index=index, stamp_s=stamp_s, outcome=outcome, T_part_camera=T, alignment=found)
        if outcome == "loose":
            self._n_loose += 1
            self._motion = self._motion.moved_to(found.T_part_camera, stamp_s)
        self._lost = outcome != "loose" or self._n_loose > LOOSE_IN_A_ROW_MAX
        if self._lost:
            self._motion = self._motion.standing_at(self._motion.T, stamp_s)
        return TrackedImage(
            index=index, stamp_s=stamp_s, outcome=outcome, T_part_camera=found.T_part_camera, alignment=found
        )

    def _followed(
        self, readings: Readings, filtered: NDArray[np.float32], expected: Array, stamp_s: float
    ) -> tuple[Alignment, str | None]:
        """Align from the expected pose and, where that fails, from the last one."""
        first = None
        for start in (expected, self._motion.T):
            found = align(readings, self._view(start, filtered), start, self.camera)
            fault = self._fault(found, start, readings.range_m)
            if fault is None or fault == "loose":
                return found, fault
            first = first or (found, fault)
        assert first is not None
        return first

    def _found_again(self, readings: Readings, filtered: NDArray[np.float32]) -> Alignment | None:
        small = thumbnail(filtered)
        nearest = sorted(self.keyframes, key=lambda k: thumbnail_distance(k.thumbnail_m, small))[:KEYS_TRIED]
        best = None
        for key in nearest:
            start = key.T_part_camera
            found = align(readings, self._view(start, filtered), start, self.camera)
            # aligned from farther away than images follow one another: once more from where that led
            found = align(readings, self._view(found.T_part_camera, filtered), found.T_part_camera, self.camera)
            sure = found.overlap >= AGAIN_OVERLAP_MIN and found.agreement >= AGAIN_AGREEMENT_MIN
            sure = sure and found.residual_sigmas <= RESIDUAL_SIGMAS_MAX and not found.loose
            if sure and (best is None or found.agreement * found.overlap > best.agreement * best.overlap):
                best = found
        return best

    def _fault(self, found: Alignment, start: Array, range_m: float) -> str | None:
        if found.overlap < OVERLAP_MIN:
            return "no_overlap"
        if found.agreement < AGREEMENT_MIN or found.residual_sigmas > RESIDUAL_SIGMAS_MAX:
            return "does_not_fit"
        step = inverse(start) @ found.T_part_camera
        turn = Rotation.from_matrix(step[:3, :3]).magnitude()
        if turn > TURN_MAX_RAD or np.linalg.norm(step[:3, 3]) > SHIFT_MAX_RANGE * range_m:
            return "jumped"
        return "loose" if found.loose else None

    def _view(self, T: Array, filtered: NDArray[np.float32]) -> ModelView:
        n = self._grid.n_images
        weight_min = 1 if n < WELL_SEEN_IMAGES else 2
        points, normals = self._grid.seen_from(T, filtered, VIEW_PX, weight_min)
        if np.isfinite(points[..., 0]).sum() * VIEW_PX**2 < VIEW_COMPLETE * np.count_nonzero(filtered):
            # Open3D finds room for what a view holds only after it was too small for it once
            points, normals = self._grid.seen_from(T, filtered, VIEW_PX, weight_min)
        return ModelView(T_part_camera=T, points_m=points, normals=normals, step_px=VIEW_PX, voxel_m=self.voxel_m)

    def _taken(self, index: int, filtered: NDArray[np.float32], T: Array, readings: Readings) -> None:
        self._grid.add(filtered, T)
        for key in self.keyframes:
            step = inverse(key.T_part_camera) @ T
            near = np.linalg.norm(step[:3, 3]) < KEY_SHIFT_RANGE * readings.range_m
            if near and Rotation.from_matrix(step[:3, :3]).magnitude() < KEY_TURN_RAD:
                return
        self.keyframes.append(Keyframe(index=index, T_part_camera=T, thumbnail_m=thumbnail(filtered)))


def track(
    images: Iterable[NDArray[np.float32] | str],
    stamps_s: Iterable[float],
    camera: Intrinsics,
    voxel_m: float,
    told: Callable[[Tracker, TrackedImage], None] = lambda tracker, image: None,
) -> Tracker:
    """Track all images of a sequence; `told` hears of each."""
    tracker = Tracker(camera, voxel_m)
    for depth_m, stamp_s in zip(images, stamps_s, strict=True):
        told(tracker, tracker.add(depth_m, stamp_s))
    return tracker


def thumbnail(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean depth [m] over tiles of 20 x 20 px; 0 where most of a tile is missing."""
    h, w = (n - n % THUMBNAIL_PX for n in depth_m.shape)
    tiles = depth_m[:h, :w].reshape(h // THUMBNAIL_PX, THUMBNAIL_PX, w // THUMBNAIL_PX, THUMBNAIL_PX)
    n = (tiles > 0.0).sum(axis=(1, 3))
    return np.where(n > THUMBNAIL_PX**2 // 2, tiles.sum(axis=(1, 3)) / np.maximum(n, 1), 0.0).astype(np.float32)


def thumbnail_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return how much two small depth images differ, as a share of depth; what only one has counts as all of it."""
    both, either = (a > 0.0) & (b > 0.0), (a > 0.0) | (b > 0.0)
    differing = np.abs(a - b)[both] / np.maximum(a, b)[both]
    return float((differing.sum() + (either & ~both).sum()) / max(either.sum(), 1))
