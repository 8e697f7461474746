"""A folder of frames in, surface.ply and report.json out: what `cell scan` runs."""

from pathlib import Path
from typing import Any

import numpy as np

from cell_core.config.recipes import ScanSettings
from cell_core.errors import ConfigurationError
from cell_core.files import write_json
from cell_core.plan import Progress, no_progress
from cell_core.schemas import validate
from cell_core.surface_io import write_ply
from cell_core.transforms import Array
from cell_scanning.frames import FrameFolder, read_frames
from cell_scanning.fusion import FLOOR_CLEARANCE_M, ScanResult, fuse
from cell_scanning.hole_reasons import with_hole_reasons

VOXEL_BOUNDS_M = (0.0005, 0.01)
HOLES_REPORTED = 100


def scan_folder(
    frames_dir: Path,
    out_dir: Path,
    *,
    voxel_m: float | None = None,
    crop: Array | None = None,
    floor_clearance_m: float = FLOOR_CLEARANCE_M,
    refine: bool = True,
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
        progress: told a fraction and what is being done.

    Raises:
        InputRefusedError: folder or frames not usable.
        ConfigurationError: voxel out of bounds.
    """
    folder = read_frames(frames_dir)
    if voxel_m is None:
        voxel_m = fitting_voxel_m(folder)
    if not VOXEL_BOUNDS_M[0] <= voxel_m <= VOXEL_BOUNDS_M[1]:
        raise ConfigurationError(f"voxel {voxel_m} m is outside {VOXEL_BOUNDS_M[0]}..{VOXEL_BOUNDS_M[1]} m")
    result = fuse(
        folder.frames,
        folder.camera,
        ScanSettings(voxel_m=voxel_m),
        crop=crop,
        floor_clearance_m=floor_clearance_m,
        refine=refine,
        progress=progress,
    )
    result = with_hole_reasons(result, folder.frames, folder.camera, crop)
    write_scan(out_dir, result, {**folder.refused, **result.refused})
    return result


def fitting_voxel_m(folder: FrameFolder) -> float:
    """Return a voxel [m] no finer than pixel pitch or twice the axial noise, at the third quartile of range."""
    sample = folder.frames[:: max(len(folder.frames) // 8, 1)]
    range_m = float(np.quantile(np.concatenate([f.depth_m[f.depth_m > 0.0] for f in sample]), 0.75))
    camera = folder.camera
    wanted = max(range_m / min(camera.fx_px, camera.fy_px), 2.0 * float(camera.axial_noise_m(range_m)))
    return float(np.clip(np.ceil(wanted * 2e3) / 2e3, *VOXEL_BOUNDS_M))


def write_scan(out_dir: Path, result: ScanResult, refused: dict[str, int] | None = None) -> None:
    """Write surface.ply and then report.json atomically; the report is checked against its schema."""
    document = scan_report(result, dict(result.refused if refused is None else refused))
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
