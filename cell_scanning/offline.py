"""A folder of frames in, surface.ply and report.json out: what `cell scan` runs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cell_core.config.recipes import ScanSettings
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import write_json
from cell_core.plan import Progress, no_progress
from cell_core.schemas import validate
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics
from cell_scanning.frame_images import FrameImages, open_images
from cell_scanning.frames import Frame, read_frames, write_poses
from cell_scanning.fusion import FLOOR_CLEARANCE_M, Fusion, ScanResult
from cell_scanning.hole_reasons import with_hole_reasons
from cell_scanning.tracked_scan import FRAMES_MAX, track_sequence
from cell_scanning.tsdf import fitting_memory_m, fusion_bytes

VOXEL_BOUNDS_M = (0.0005, 0.01)
PREVIEWS = 10
"""How many times a preview is shown while frames are fused."""
HOLES_REPORTED = 100


def scan_folder(
    frames_dir: Path,
    out_dir: Path,
    *,
    voxel_m: float | None = None,
    crop: Array | None = None,
    floor_clearance_m: float = FLOOR_CLEARANCE_M,
    refine: bool = True,
    poses: str | Path = "given",
    frames_max: int = FRAMES_MAX,
    preview: Callable[[Surface], None] | None = None,
    progress: Progress = no_progress,
) -> ScanResult:
    """Fuse a frame folder and write surface.ply and report.json into `out_dir`; nothing is written on failure.

    Args:
        frames_dir: folder as `cell_scanning.frames.read_frames` reads it.
        out_dir: made when missing.
        voxel_m: None: from the pixel pitch and the noise at the frames' range, within 0.5..10 mm.
        crop: (2, 3) box [m] in the frame of the poses, or None.
        floor_clearance_m: how far above the crop box's floor the surface is cut.
        refine: correct the poses against the mean model.
        poses: "given": those in the folder; a file of poses (TUM format); "none": found by tracking, in the frame of
            the first usable image's camera, and written to poses.txt.
        frames_max: how many frames to fuse at most when tracking.
        preview: shown the surface so far from time to time.
        progress: told a fraction and what is being done.

    Raises:
        InputRefusedError: folder or frames not usable.
        ConfigurationError: voxel out of bounds.
    """
    if voxel_m is not None and not VOXEL_BOUNDS_M[0] <= voxel_m <= VOXEL_BOUNDS_M[1]:
        raise ConfigurationError(f"voxel {voxel_m} m is outside {VOXEL_BOUNDS_M[0]}..{VOXEL_BOUNDS_M[1]} m")
    tracking: dict[str, Any] | None = None
    if poses == "none":
        images = open_images(frames_dir)
        given_voxel_m, share = voxel_m, 0.6
        voxel_m = voxel_m if voxel_m is not None else fitting_voxel_m(_sample(images), images.camera)
        sequence = track_sequence(
            images,
            voxel_m,
            frames_max=frames_max,
            preview=preview,
            progress=lambda f, m: progress(share * f, m),
        )
        frames, camera, refused, tracking = sequence.frames, images.camera, sequence.refused, sequence.figures
    else:
        folder = read_frames(frames_dir, poses_file=None if poses == "given" else Path(poses))
        frames, camera, refused = folder.frames, folder.camera, folder.refused
        given_voxel_m, share = voxel_m, 0.0
        voxel_m = voxel_m if voxel_m is not None else fitting_voxel_m([f.depth_m for f in frames], camera)
    if given_voxel_m is None:
        voxel_m = _affordable_m(frames, camera, voxel_m, crop)
    result = _fused(
        frames,
        camera,
        voxel_m,
        crop,
        floor_clearance_m,
        refine,
        preview,
        lambda f, m: progress(share + (1.0 - share) * f, m),
    )
    result = with_hole_reasons(result, frames, camera, crop)
    write_scan(out_dir, result, {**refused, **result.refused}, tracking)
    if tracking is not None:
        posed = [replace(f, T_part_camera=T) for f, T in zip(frames, result.T_part_camera, strict=True)]
        write_poses(Path(out_dir) / "poses.txt", posed)
    return result


def _fused(
    frames: Sequence[Frame],
    camera: Intrinsics,
    voxel_m: float,
    crop: Array | None,
    floor_clearance_m: float,
    refine: bool,
    preview: Callable[[Surface], None] | None,
    progress: Progress,
) -> ScanResult:
    fusion = Fusion(camera, ScanSettings(voxel_m=voxel_m), crop=crop, floor_clearance_m=floor_clearance_m)
    shown = max(len(frames) // PREVIEWS, 1)
    for i, frame in enumerate(frames):
        progress(0.3 * i / len(frames), f"frame {i + 1} of {len(frames)}")
        fusion.add(frame)
        if preview is not None and i % shown == shown - 1:
            surface = fusion.preview()
            if surface is not None:
                preview(surface)
    return fusion.result(refine=refine, progress=progress)


def _affordable_m(frames: Sequence[Frame], camera: Intrinsics, voxel_m: float, crop: Array | None) -> float:
    """Return the voxel, coarsened where the frames would not fit into memory otherwise."""
    depths = [f.depth_m for f in frames]
    if crop is not None:
        return voxel_m
    n_bytes = fusion_bytes(depths, [f.T_part_camera for f in frames], camera, voxel_m)
    return min(fitting_memory_m(n_bytes, voxel_m), VOXEL_BOUNDS_M[1])


def _sample(images: FrameImages) -> list[NDArray[np.float32]]:
    read = [images.read(i) for i in range(0, len(images), max(len(images) // 8, 1))]
    usable = [d for d in read if not isinstance(d, str)]
    if not usable:
        raise InputRefusedError(f"{images.paths[0].parent}: none of {len(read)} images looked at is usable: {read[0]}")
    return usable


def fitting_voxel_m(depths_m: Sequence[NDArray[np.float32]], camera: Intrinsics) -> float:
    """Return a voxel [m] no finer than pixel pitch or twice the axial noise, at the third quartile of range."""
    sample = depths_m[:: max(len(depths_m) // 8, 1)]
    range_m = float(np.quantile(np.concatenate([d[d > 0.0] for d in sample]), 0.75))
    wanted = max(range_m / min(camera.fx_px, camera.fy_px), 2.0 * float(camera.axial_noise_m(range_m)))
    return float(np.clip(np.ceil(wanted * 2e3) / 2e3, *VOXEL_BOUNDS_M))


def write_scan(
    out_dir: Path,
    result: ScanResult,
    refused: dict[str, int] | None = None,
    tracking: dict[str, Any] | None = None,
) -> None:
    """Write surface.ply and then report.json atomically; the report is checked against its schema."""
    document = scan_report(result, dict(result.refused if refused is None else refused))
    if tracking is not None:
        document["tracking"] = tracking
    validate(document, "scan_report", str(Path(out_dir) / "report.json"))
    write_ply(Path(out_dir) / "surface.ply", result.surface)
    write_json(Path(out_dir) / "report.json", document)


def scan_report(result: ScanResult, refused: dict[str, int]) -> dict[str, Any]:
    """Return the report of a scan: frames, refusals, figures, holes (longest first, at most 100)."""
    return {
        "format": "grind_spray_cell/scan_report",
        "version": 1,
        "frame": result.surface.frame,
        "frames": {"used": len(result.T_part_camera), "refused": refused},
        "figures": dict(result.figures),
        "holes": [hole.as_dict() for hole in result.holes[:HOLES_REPORTED]],
        "n_holes_not_listed": max(len(result.holes) - HOLES_REPORTED, 0),
    }
