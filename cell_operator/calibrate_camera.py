"""`cell calibrate camera`: from depth images of anything rigid, or board poses, to a camera file with its hand-eye."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from cell_core.config import CameraConfig, HandEyeConfig, JobConfig, Pose, load_config
from cell_core.errors import AcceptanceError, ConfigurationError, InputRefusedError
from cell_core.files import write_text
from cell_core.transforms import Array, inverse, xyz_rpy_from_transform
from cell_operator.progress import StepProgress
from cell_scanning.board import calibrate_from_board, read_board_poses
from cell_scanning.camera import Intrinsics
from cell_scanning.frames import FLANGE_POSES, flange_twists, read_frames
from cell_scanning.hand_eye import EXTRAS, Extra, calibrate_hand_eye
from cell_scanning.hand_eye_result import HandEye, HandEyeLimits
from robot_description import Cell, load_cell


@dataclass(frozen=True, kw_only=True, eq=False)
class _Taken:
    """What was taken where."""

    depths_m: tuple[NDArray[np.float32], ...]
    T_base_flange: Array
    camera: Intrinsics
    twist: Array | None
    refused: dict[str, int]


def calibrate_camera(args: argparse.Namespace, console: Console) -> int:
    """Run `cell calibrate camera` and return its exit code; the camera file is written only on go.

    Raises:
        AcceptanceError: no-go; table and picture say why.
    """
    from cell_operator.hand_eye_figure import hand_eye_figure

    out: Path = args.out
    if out.suffix not in (".yaml", ".yml") or out.is_dir():
        raise ConfigurationError(f"--out {out}: wanted a file name ending in .yaml")
    fit = _fit(args.fit)
    cell = load_cell(_cell_name(args))
    limits = HandEyeLimits(translation_m=args.bound_m, rotation_rad=args.bound_rad)
    if args.board is not None:
        if fit:
            raise ConfigurationError("--fit: a board tells none of it; give frames")
        found = calibrate_from_board(*read_board_poses(args.board), limits=limits, start=cell.T_flange_camera)
        source = f"{args.board.name}, {found.n_frames} board poses"
    else:
        taken = _frames(args, cell)
        with StepProgress(console, "calibrate camera") as progress:
            found = calibrate_hand_eye(
                taken.depths_m,
                taken.T_base_flange,
                cell.T_flange_camera,
                taken.camera,
                fit=fit,
                flange_twist=taken.twist,
                voxel_m=args.voxel,
                limits=limits,
                progress=progress,
            )
        source = f"{(args.job or args.frames).name}, {found.n_frames} frames of {len(found.rms_after_m)} views"
        for reason, n in taken.refused.items():
            console.print(f"frames not used: {n} {reason}")
    picture = out.with_suffix(".png")
    hand_eye_figure(found, picture)
    _print(found, limits, console)
    if not found.go:
        console.print(f"picture: {picture}")
        raise AcceptanceError(f"no-go: {'; '.join(found.faults)}; {out} not written")
    camera = calibrated(cell.camera, found, args.name or out.stem, source, corrected=args.job is not None)
    write_camera(out, camera, source)
    console.print(f"[bold green]go[/]: written to {out} and {picture}; name it as camera config of the cell file")
    return 0


def calibrated(camera: CameraConfig, found: HandEye, name: str, source: str, *, corrected: bool) -> CameraConfig:
    """Return the camera with its calibrated hand-eye and whatever else was fitted.

    Args:
        camera: the camera so far.
        found: the calibration.
        name: of the new camera.
        source: what it was calibrated from.
        corrected: the frames had gone through the camera's own corrections, so what was fitted comes on top.
    """
    xyz, rpy = xyz_rpy_from_transform(found.T_flange_camera)
    sigma = np.sqrt(np.diag(found.covariance))
    hand_eye = HandEyeConfig(
        T_flange_optical=Pose(xyz_m=_three(xyz), rpy_rad=_three(rpy)),
        standard_error_m=_three(sigma[:3]),
        standard_error_rad=_three(sigma[3:]),
        covariance=tuple(tuple(float(v) for v in row) for row in found.covariance),
        source=source,
    )
    changes: dict[str, object] = {"name": name, "hand_eye": hand_eye}
    for key, (value, _) in found.extras.items():
        changes[key] = value + (getattr(camera, key) if corrected else 0.0)
    return camera.model_copy(update=changes)


def write_camera(path: Path, camera: CameraConfig, source: str) -> None:
    """Write the camera file atomically; `load_config(CameraConfig, path)` gives it back equal."""
    head = f"# Camera with a hand-eye calibrated from {source}. Errors are standard errors, along the optical frame.\n"
    # numbers that belong together on one line
    data = camera.model_dump(mode="json", exclude_none=True)
    write_text(path, head + yaml.safe_dump(data, sort_keys=False, width=120, default_flow_style=None))


def _three(values: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _fit(names: str | None) -> tuple[Extra, ...]:
    fit = [name.strip() for name in (names or "").split(",") if name.strip()]
    for name in fit:
        if name not in EXTRAS:
            raise ConfigurationError(f"--fit {name}: unknown; known: {', '.join(EXTRAS)}")
    return cast("tuple[Extra, ...]", tuple(fit))


def _cell_name(args: argparse.Namespace) -> str:
    if args.cell is not None:
        return str(args.cell)
    return load_config(JobConfig, args.job / "job.yaml").cell if args.job is not None else "default"


def _frames(args: argparse.Namespace, cell: Cell) -> _Taken:
    folder: Path = args.frames if args.job is None else args.job / "scan" / "frames"
    on_flange = (folder / FLANGE_POSES).is_file()
    read = read_frames(folder, (FLANGE_POSES,)) if on_flange else read_frames(folder)
    poses = np.stack([f.T_part_camera for f in read.frames])
    twist = flange_twists(folder, [f.stamp_s for f in read.frames]) if on_flange else None
    if "time_offset_s" in (args.fit or "") and twist is None:
        raise InputRefusedError(
            f"{folder}: --fit time_offset_s wants {FLANGE_POSES} with poses before and after every image"
        )
    return _Taken(
        depths_m=tuple(f.depth_m for f in read.frames),
        # poses of the camera were made with the hand-eye the cell file has: taking it out leaves the flange's
        T_base_flange=poses if on_flange else poses @ inverse(cell.T_flange_camera),
        camera=read.camera,
        twist=twist,
        refused=read.refused,
    )


def _print(found: HandEye, limits: HandEyeLimits, console: Console) -> None:
    before, after = (1e3 * float(np.sqrt(np.mean(r**2))) for r in (found.rms_before_m, found.rms_after_m))
    title = f"hand-eye from {found.n_frames} frames: views disagree by {before:.4f} mm rms before, {after:.4f} mm after"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("number", "before", "calibrated", "95 % interval"):
        table.add_column(column, justify="left" if column == "number" else "right", no_wrap=True)
    sigma = 1.96 * np.sqrt(np.diag(found.covariance))
    (old_xyz, old_rpy), (xyz, rpy) = (xyz_rpy_from_transform(T) for T in (found.start, found.T_flange_camera))
    for i, axis in enumerate("xyz"):
        own = 1.96 * np.sqrt(
            (found.T_flange_camera[:3, :3] @ found.covariance[:3, :3] @ found.T_flange_camera[:3, :3].T)[i, i]
        )
        table.add_row(
            f"{axis} in the flange frame, mm", f"{1e3 * old_xyz[i]:.3f}", f"[bold]{1e3 * xyz[i]:.3f}[/]",
            f"+-{1e3 * own:.3f}",
        )  # fmt: skip
    for i, name in enumerate(("roll", "pitch", "yaw")):
        table.add_row(f"{name}, degrees", f"{np.degrees(old_rpy[i]):.4f}", f"[bold]{np.degrees(rpy[i]):.4f}[/]", "")
    turn = np.degrees(Rotation.from_matrix(found.start[:3, :3].T @ found.T_flange_camera[:3, :3]).as_rotvec())
    for i, axis in enumerate("xyz"):
        table.add_row(
            f"turned about optical {axis}, degrees", "", f"[bold]{turn[i]:.4f}[/]", f"+-{np.degrees(sigma[3 + i]):.4f}"
        )
    for name, (value, error) in found.extras.items():
        table.add_row(name, "", f"[bold]{value:.3g}[/]", f"+-{1.96 * error:.2g}")
    console.print(table)
    console.print(
        f"moved {1e3 * found.shift_m:.3f} mm, turned {np.degrees(found.turn_rad):.4f} degrees; known to "
        f"+-{1e3 * found.translation_bound_m:.3f} mm (at most {1e3 * limits.translation_m:.3f}) and "
        f"+-{np.degrees(found.rotation_bound_rad):.4f} degrees (at most {np.degrees(limits.rotation_rad):.4f}), "
        "worst direction"
    )
    console.print(
        f"views scatter by {1e3 * found.scatter[0]:.3f} mm and {np.degrees(found.scatter[1]):.4f} degrees per axis; "
        f"noise {found.noise_ratio:.2f} of the camera file's; flange turns by {found.spread:.2f}; "
        f"worst direction {found.condition:.0f} times the best"
    )
    if found.frames_off:
        console.print(f"[bold yellow]warning:[/] left out, their poses are off: frames {list(found.frames_off)}")
