"""A sequence of images without poses to frames with poses: tracked, thinned out, drift taken out, and how well."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.plan import Progress, no_progress
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply
from cell_scanning.camera import Intrinsics
from cell_scanning.depth_filter import filter_depth
from cell_scanning.depth_smoothing import smoothed
from cell_scanning.frame_images import FrameImages
from cell_scanning.frames import Frame
from cell_scanning.pose_refinement import model_residual_m, refined_poses
from cell_scanning.tracking import TrackedImage, Tracker
from cell_scanning.tsdf import mean_mesh

IMAGES_MIN = 5
TRACKED_SHARE_MIN = 0.3
"""Where fewer of the usable images could be placed, the sequence is refused."""
LOOSE_SHARE_MAX = 0.5
"""And where more do not fix the camera."""
FRAMES_MAX = 150
"""So many frames are fused at most, those whose views differ most."""
VIEW_LENGTH_M_PER_RAD = 0.5
"""A turn by one radian makes views differ like a shift by this."""
VOXEL_TRACKING_MIN_M = 0.002
DRIFT_ROUNDS = 3
DRIFT_REACH_VOXELS = (6.0, 4.0, 2.5)
"""Readings pair with the mean surface within this, round after round."""
IMPROVED = 0.99
"""A round counts when it brings the residual below this share of what it was."""
GAP_VOXELS = 10.0
"""Early and late surfaces nearer than this are taken for the same one."""
GAP_PIXELS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedSequence:
    """Frames to fuse, and how they were found."""

    frames: tuple[Frame, ...]
    """In the frame of the first usable image's camera."""
    refused: dict[str, int]
    """Images not placed, counted by reason."""
    figures: dict[str, Any]
    """The `tracking` part of a scan's report."""


def track_sequence(
    images: FrameImages,
    voxel_m: float,
    *,
    frames_max: int = FRAMES_MAX,
    progress: Progress = no_progress,
    preview: Callable[[Surface], None] | None = None,
) -> TrackedSequence:
    """Track a sequence, choose the frames to fuse and take the drift out of their poses.

    Args:
        images: in order of time.
        voxel_m: that the frames will be fused at.
        frames_max: how many frames to keep at most.
        progress: told a fraction and what is being done.
        preview: shown the surface so far every tenth of the sequence.

    Raises:
        InputRefusedError: too few images, nothing tracks, or the scene does not fix the camera (`facts["refused"]`).
    """
    n = len(images)
    if n < IMAGES_MIN:
        raise InputRefusedError(f"tracking: {n} depth images; at least {IMAGES_MIN} in sequence needed")
    tracker = Tracker(images.camera, max(voxel_m, VOXEL_TRACKING_MIN_M))
    shown = max(n // 10, 1)
    for i, depth_m in enumerate(images):
        image = tracker.add(depth_m, images.stamps_s[i])
        progress(0.7 * i / n, f"image {i + 1} of {n}: {image.outcome.replace('_', ' ')}")
        if preview is not None and i % shown == shown - 1:
            vertices_m, triangles = tracker.surface_so_far()
            if len(triangles):
                preview(Surface(vertices_m=vertices_m, triangles=triangles))
    placed = [i for i in tracker.images if i.placed]
    refused = {k: c for k, c in tracker.counts().items() if k not in ("tracked", "found_again")}
    _require_tracked(len(placed), refused, n)
    chosen = spread_views([i.T_part_camera for i in placed], frames_max)
    frames = [_frame(images, placed[k]) for k in chosen]
    progress(0.75, "drift")
    frames, drift = without_drift(frames, images.camera, tracker.voxel_m, progress)
    figures = {
        "n_images": n,
        "n_tracked": len(placed),
        "n_found_again": tracker.counts().get("found_again", 0),
        "n_loose": tracker.counts().get("loose", 0),
        "n_keyframes": len(tracker.keyframes),
        "n_fused": len(frames),
        "voxel_m": tracker.voxel_m,
        "residual_median_m": _median([i.alignment.residual_m for i in placed if i.alignment is not None]),
        "overlap_min": min((i.alignment.overlap for i in placed if i.alignment is not None), default=1.0),
        "path_length_m": _path_length_m(placed),
        "duration_s": placed[-1].stamp_s - placed[0].stamp_s,
        **drift,
    }
    return TrackedSequence(frames=tuple(frames), refused=refused, figures=figures)


def spread_views(poses: Sequence[Array], n_max: int) -> list[int]:
    """Return the indices, rising, of at most `n_max` poses whose views differ most, the first one among them."""
    if len(poses) <= n_max:
        return list(range(len(poses)))
    T = np.asarray(poses)
    features = np.concatenate(
        [T[:, :3, 3], VIEW_LENGTH_M_PER_RAD * T[:, :3, 2], VIEW_LENGTH_M_PER_RAD * T[:, :3, 0]], axis=1
    )
    chosen = [0]
    distance = np.linalg.norm(features - features[0], axis=1)
    while len(chosen) < n_max:
        k = int(distance.argmax())
        chosen.append(k)
        distance = np.minimum(distance, np.linalg.norm(features - features[k], axis=1))
    return sorted(set(chosen))


def without_drift(
    frames: Sequence[Frame], camera: Intrinsics, voxel_m: float, progress: Progress = no_progress
) -> tuple[list[Frame], dict[str, float]]:
    """Align all frames to their mean surface a few times; returns them with new poses, and figures before and after.

    The first frame stays where it is.
    """
    images = [smoothed(filter_depth(f.depth_m, camera)).depth_m for f in frames]
    poses = [np.asarray(f.T_part_camera) for f in frames]
    given = poses
    far_m = DRIFT_REACH_VOXELS[0] * voxel_m
    model = _mean_surface(images, poses, camera, voxel_m)
    residual_m = first_m = model_residual_m(model, images, poses, camera, far_m)
    n_rounds = 0
    for k in range(DRIFT_ROUNDS):
        progress(0.75 + 0.2 * k / DRIFT_ROUNDS, f"taking out drift, round {k + 1}")
        refined = refined_poses(model, images, poses, camera, DRIFT_REACH_VOXELS[k] * voxel_m)
        surface = _mean_surface(images, refined, camera, voxel_m)
        now_m = model_residual_m(surface, images, refined, camera, far_m)
        if now_m > IMPROVED * residual_m:
            break
        model, poses, residual_m, n_rounds = surface, refined, now_m, n_rounds + 1
    back = given[0] @ np.linalg.inv(poses[0])
    moved = [replace(f, T_part_camera=back @ T) for f, T in zip(frames, poses, strict=True)]
    figures = {
        "n_drift_rounds": n_rounds,
        "drift_residual_before_m": first_m,
        "drift_residual_m": residual_m,
        **_gaps("before", images, given, camera, voxel_m),
        **_gaps("after", images, poses, camera, voxel_m),
    }
    return moved, figures


def loop_gap_m(
    images: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, voxel_m: float
) -> tuple[float, float]:
    """Return the median distance of the last third's readings from the first third's surface, and how many saw it.

    The share counts readings within ten voxels of that surface; NaN where there are none.
    """
    third = len(images) // 3
    if third < 1:
        return np.nan, 0.0
    early = _mean_surface(images[:third], poses[:third], camera, voxel_m)
    caster = RayCaster(early)
    gaps = []
    for image, T in zip(images[-third:], poses[-third:], strict=True):
        thin = np.zeros_like(image)
        thin[::GAP_PIXELS, ::GAP_PIXELS] = image[::GAP_PIXELS, ::GAP_PIXELS]
        points = camera.back_project(thin)[thin > 0.0]
        gaps.append(caster.distance(apply(T, points)))
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    near = gap[gap < GAP_VOXELS * voxel_m]
    return (float(np.median(near)) if len(near) else np.nan), len(near) / max(len(gap), 1)


def _gaps(
    when: str, images: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, voxel_m: float
) -> dict[str, float]:
    gap_m, share = loop_gap_m(images, poses, camera, voxel_m)
    return {} if np.isnan(gap_m) else {f"loop_gap_{when}_m": gap_m, f"loop_overlap_{when}": share}


def _mean_surface(
    images: Sequence[NDArray[np.float32]], poses: Sequence[Array], camera: Intrinsics, voxel_m: float
) -> Surface:
    vertices_m, triangles = mean_mesh(images, poses, camera, voxel_m, 1)
    if len(triangles) == 0:
        raise InputRefusedError("tracking: the frames make no surface")
    return Surface(vertices_m=vertices_m, triangles=triangles)


def _require_tracked(n_placed: int, refused: dict[str, int], n: int) -> None:
    reasons = ", ".join(f"{c} {reason}" for reason, c in sorted(refused.items())) or "none refused"
    if refused.get("loose", 0) > LOOSE_SHARE_MAX * n:
        raise InputRefusedError(
            f"tracking: {refused['loose']} of {n} images do not fix the camera: what they see can slide or turn over"
            " itself (a plane, a cylinder, a sphere); let more of the surroundings into the picture",
            refused=refused,
        )
    needed = max(IMAGES_MIN, int(np.ceil(TRACKED_SHARE_MIN * n)))
    if n_placed < needed:
        raise InputRefusedError(
            f"tracking: {n_placed} of {n} images tracked, at least {needed} needed: {reasons};"
            " move more slowly, or take more images a second",
            refused=refused,
        )


def _frame(images: FrameImages, image: TrackedImage) -> Frame:
    depth_m = images.read(image.index)
    if isinstance(depth_m, str):
        raise InputRefusedError(f"{images.paths[image.index]}: was read before and now is {depth_m}")
    return Frame(depth_m=depth_m, T_part_camera=image.T_part_camera, stamp_s=image.stamp_s)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _path_length_m(placed: Sequence[TrackedImage]) -> float:
    at = np.array([i.T_part_camera[:3, 3] for i in placed])
    return float(np.linalg.norm(np.diff(at, axis=0), axis=1).sum())
