"""Options of the commands that read measurements: calibrate, identify, surface, scan, inspect."""

from pathlib import Path
from typing import Any

from cell_operator.argument_kit import UNITS, Add


def calibrate(add: Add) -> None:
    """Add `cell calibrate`."""
    calibrate = add("calibrate", "fit a tool's or the camera's numbers to measurements")
    tools = calibrate.add_subparsers(dest="thing", required=True, metavar="THING")
    _calibrate_gun(add, tools)
    _calibrate_camera(add, tools)


def _calibrate_gun(add: Add, tools: Any) -> None:
    gun = add("gun", "fit a gun to thickness profiles of test stripes, with intervals (docs/calibration.md)", tools)
    gun.add_argument(
        "--stripes",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="CSV: position_mm, thickness_um; speed, standoff, flow and orientation as columns or '# key: value' lines",
    )
    gun.add_argument(
        "--gun",
        default="hvlp_240",
        metavar="FILE",
        help="gun file or name in config/guns that gives kind, solids, limits and start values (default: hvlp_240)",
    )
    gun.add_argument(
        "--keep", metavar="NAMES", help="numbers to keep from that gun, a comma between; gaussians.*.offset_x_m works"
    )
    gun.add_argument("--name", metavar="NAME", help="name of the calibrated gun (default: that of the file)")
    gun.add_argument(
        "--out", type=Path, required=True, metavar="GUN.yaml", help="gun file to write; residuals go to GUN.png"
    )


def _calibrate_camera(add: Add, tools: Any) -> None:
    eye = add("camera", "tell where the camera sits on the flange, from depth images of anything rigid", tools)
    seen = eye.add_mutually_exclusive_group(required=True)
    seen.add_argument(
        "--frames",
        type=Path,
        metavar="DIR",
        help="depth/*.png, intrinsics.json, flange_poses.txt (flange in the base) or poses.txt (camera): TUM format",
    )
    seen.add_argument("--job", type=Path, metavar="DIR", help="job folder: the frames of its own scan")
    seen.add_argument("--board", type=Path, metavar="FILE.csv", help="poses of the flange and of a board that was seen")
    eye.add_argument(
        "--cell", metavar="FILE", help="cell file or name in config/cells: the hand-eye so far (default: the job's)"
    )
    eye.add_argument(
        "--fit", metavar="NAMES", help="also fit time_offset_s, depth_offset_m, depth_slope; a comma between"
    )
    eye.add_argument("--voxel", type=float, metavar="M", help="voxel that views are compared on [m] (default: fits)")
    eye.add_argument(
        "--bound-m",
        type=float,
        default=8e-5,
        metavar="M",
        help="no-go when the position is known to no better than this [m], 95 %% (default: 0.00008)",
    )
    eye.add_argument(
        "--bound-rad",
        type=float,
        default=3.5e-4,
        metavar="RAD",
        help="no-go when the orientation is known to no better than this [rad], 95 %% (default: 0.00035)",
    )
    eye.add_argument("--name", metavar="NAME", help="name of the calibrated camera (default: that of the file)")
    eye.add_argument(
        "--out", type=Path, required=True, metavar="CAMERA.yaml", help="camera file to write; the picture is CAMERA.png"
    )


def identify(add: Add) -> None:
    """Add `cell identify`."""
    identify = add("identify", "tell a grinding tool's Preston coefficient and wear from a job and the scan after it")
    job = identify.add_mutually_exclusive_group(required=True)
    job.add_argument("--job", type=Path, metavar="DIR", help="job folder: its tool path as run, scan and log")
    job.add_argument("--plan", type=Path, metavar="DIR", help="folder with the toolpath.json that was run")
    identify.add_argument(
        "--before", type=Path, metavar="FILE", help="scan before, in the tool path's frame (default: that of --job)"
    )
    identify.add_argument(
        "--after", type=Path, metavar="FILE", help="scan after, in the same frame (default: what --job measured)"
    )
    identify.add_argument("--unit", choices=UNITS, default="m", help="unit of the scans (default: m)")
    identify.add_argument("--register", action="store_true", help="align the scan after to the one before first")
    identify.add_argument(
        "--log",
        type=Path,
        metavar="FILE.npz",
        help="arrays time_s, on, process_value [N], spindle_power_w: tells sudden changes (default: that of --job)",
    )
    identify.add_argument(
        "--tool", metavar="FILE", help="tool file or name in config/tools (default: that the tool path names)"
    )
    identify.add_argument("--name", metavar="NAME", help="name of the identified tool (default: that of the file)")
    identify.add_argument(
        "--out", type=Path, required=True, metavar="TOOL.yaml", help="tool file to write; the picture goes to TOOL.png"
    )
    identify.add_argument(
        "--rest",
        type=Path,
        metavar="FILE.npz",
        help="also write target_m, what the plan has left to do, per vertex of the scan before: for cell plan grind",
    )


def surface(add: Add) -> None:
    """Add `cell surface`."""
    surface = add("surface", "load, check and repair a surface; report its components, borders and holes")
    surface.add_argument("file", type=Path, metavar="FILE", help="mesh, STEP or point cloud (XYZ, PCD, PLY)")
    surface.add_argument("--unit", choices=UNITS, default="m", help="unit of the file (default: m; STEP has its own)")
    surface.add_argument("--edge-m", type=float, metavar="E", help="remesh to edges of about this length [m]")
    surface.add_argument("--fill-holes-m", type=float, metavar="D", help="fill holes up to this diameter [m]")
    surface.add_argument(
        "--keep-winding", action="store_true", help="leave open shells as the file winds them (inside of a tank)"
    )
    surface.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="writes surface.ply, report.json, surface.png"
    )


def scan(add: Add) -> None:
    """Add `cell scan`."""
    scan = add("scan", "fuse depth images into a surface")
    scan.add_argument(
        "--frames", type=Path, required=True, metavar="DIR", help="depth/*.png, intrinsics.json and poses in TUM format"
    )
    scan.add_argument(
        "--poses",
        default="given",
        metavar="P",
        help="given: of the folder; FILE: in TUM format; none: found by tracking, in the first camera's frame"
        " (default: given)",
    )
    scan.add_argument(
        "--frames-max",
        type=int,
        default=150,
        metavar="N",
        help="with --poses none: frames to fuse at most (default: 150)",
    )
    scan.add_argument("--preview", type=Path, metavar="FILE", help="PLY of the surface so far, kept up to date")
    scan.add_argument(
        "--voxel", type=float, metavar="M", help="voxel size [m], 0.0005 to 0.01 (default: fits range and pixels)"
    )
    scan.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes surface.ply, report.json, scan.png, holes.ply, holes.png; with --poses none poses.txt",
    )


def inspect(add: Add) -> None:
    """Add `cell inspect`."""
    inspect = add("inspect", "find the defects of a scan, by itself or against a CAD, and measure them")
    inspect.add_argument("file", type=Path, nargs="?", metavar="SCAN", help="scanned surface")
    inspect.add_argument("--scan", type=Path, metavar="FILE", help="the same as SCAN")
    against = inspect.add_mutually_exclusive_group()
    against.add_argument(
        "--reference", type=Path, metavar="FILE", help="nominal or earlier surface (default: the scan's own shape)"
    )
    against.add_argument("--cad", type=Path, metavar="FILE", help="the same with --register")
    inspect.add_argument("--unit", choices=UNITS, default="m", help="unit of the scan (default: m)")
    inspect.add_argument("--reference-unit", choices=UNITS, default="m", help="unit of the reference (default: m)")
    inspect.add_argument("--register", action="store_true", help="find where the scan lies on the reference first")
    inspect.add_argument(
        "--uncertainty-max",
        dest="uncertainty_max_m",
        type=float,
        default=8e-5,
        metavar="M",
        help="with --register: refuse a pose whose standard deviation is more [m] (default: 8e-5)",
    )
    inspect.add_argument("--all", action="store_true", help="list and outline faint regions too, which may be noise")
    inspect.add_argument(
        "--smallest",
        dest="smallest_m",
        type=float,
        default=1e-4,
        metavar="M",
        help="height or depth below which nothing is listed [m] (default: 1e-4)",
    )
    inspect.add_argument(
        "--tallest",
        dest="tallest_m",
        type=float,
        default=3e-3,
        metavar="M",
        help="without a reference: what is taller or deeper is the part's own shape [m] (default: 3e-3)",
    )
    inspect.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes deviation.ply, defects.json, defects.csv, inspection.png; with a reference report.json, "
        "with --register overlay.png too",
    )
