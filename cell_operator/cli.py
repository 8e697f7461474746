"""The `cell` command: parse, dispatch, and turn every error into one line and an exit code."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from cell_core.errors import CellError, ConfigurationError

EXIT_CODES = """\
exit codes:
  0    done; a job's result meets its recipe
  2    usage or configuration (recipe, gun, tool, robot, cell, job file)
  3    input refused (mesh, tool path, frames, target), or nothing of it reachable
  4    the job ran, but its result does not meet the recipe; report.html says where and why
  5    a node, device or ROS service failed
  130  interrupted
"""
UNITS = ("m", "mm", "inch")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="cell",
        description="Scan a part, plan grinding or spraying that meets a specification, move the arm, execute, verify.",
        epilog=EXIT_CODES,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help_: str, parent=commands) -> argparse.ArgumentParser:
        return parent.add_parser(
            name, help=help_, description=help_[0].upper() + help_[1:] + ".", epilog=EXIT_CODES, formatter_class=raw
        )

    demo = add("demo", "run a whole job in the embedded simulator, from scan to verdict")
    demo.add_argument("process", choices=("spray", "grind"), help="what to do to the part")
    demo.add_argument(
        "--part",
        type=Path,
        metavar="FILE",
        help="mesh that stands for the physical part; the planners never read it (default: a generated part)",
    )
    demo.add_argument("--unit", choices=UNITS, default="m", help="unit of that mesh (default: m)")
    demo.add_argument(
        "--pose",
        metavar="X,Y,Z,RX,RY,RZ",
        help="part in the fixture frame: metres, radians (default: centred on the fixture, longer side across)",
    )
    demo.add_argument(
        "--recipe",
        metavar="FILE",
        help="recipe file or name in config/recipes (default: spray_50um, grind_30um; grind_bead for the casting)",
    )
    demo.add_argument("--layer", metavar="NAME", help="layer of a recipe of layers to spray; a job is one layer")
    demo.add_argument(
        "--cell", default="default", metavar="FILE", help="cell file or name in config/cells (default: default)"
    )
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random number (default: 0)")
    demo.add_argument(
        "--approve",
        choices=("auto", "ask"),
        default="auto",
        help="auto: go on after planning; ask: wait for the operator (default: auto)",
    )
    demo.add_argument("--out", type=Path, metavar="DIR", help="job folder to make (default: jobs/PROCESS-TIME)")
    _add_run_options(demo)

    plan = add("plan", "plan a process on a surface file, without ROS")
    plans = plan.add_subparsers(dest="process", required=True, metavar="PROCESS")
    for process, text in (
        ("spray", "plan spray strokes that meet a film thickness"),
        ("grind", "plan grinding strokes that meet a removal"),
    ):
        p = add(process, text, plans)
        _add_surface(p)
        p.add_argument("--recipe", required=True, metavar="FILE", help="recipe file or name in config/recipes")
        p.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="DIR",
            help="writes toolpath.json, fields.npz, figures.json, surface.ply, plan.png"
            + ("; for a recipe of layers into 01-NAME, 02-NAME, ..., and figures.json of all" * (process == "spray")),
        )
        if process == "spray":
            p.add_argument("--layer", metavar="NAME", help="plan this layer of a recipe of layers alone")
            p.add_argument("--coats", type=int, metavar="N", help="coats of the layer, instead of the recipe's number")
            p.add_argument(
                "--mask",
                type=Path,
                metavar="FILE",
                help="array (.npz) or field (.ply) mask per vertex of the surface file: 1 paint, 0 keep free",
            )
            p.add_argument(
                "--pareto",
                action="store_true",
                help="plan at several prices of overspray as well: pareto.csv, pareto.png, catch against evenness",
            )
            p.add_argument(
                "--free-hanging",
                action="store_true",
                help="coat all sides (default: the part lies on a plane through its lowest point, z up)",
            )
        if process == "grind":
            p.add_argument(
                "--cad",
                type=Path,
                metavar="FILE",
                help="nominal shape in the surface's frame and unit; the target is what stands above it",
            )
            p.add_argument(
                "--target",
                type=Path,
                metavar="FILE.npz",
                help="array target_m: depth to remove per vertex of the surface [m]",
            )
            p.add_argument("--register", action="store_true", help="find where the CAD lies on the surface first")
            p.add_argument(
                "--allowance",
                action="store_true",
                help="with --register: material is to go all over, so lay the CAD where nothing is missing",
            )
            p.add_argument(
                "--disc-energy",
                type=float,
                default=0.0,
                metavar="J",
                help="friction work the abrasive has done already, for tools that wear (default: 0, new)",
            )
            p.add_argument(
                "--on-table",
                action="store_true",
                help="strategy edge: the part lies on a table, z up (default: held so that tools come from all sides)",
            )

    calibrate = add("calibrate", "fit a tool's or the camera's numbers to measurements")
    tools = calibrate.add_subparsers(dest="thing", required=True, metavar="THING")
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

    cover = add("cover", "lay strokes that pass a round tool over all of a surface it can reach, without ROS")
    _add_surface(cover)
    cover.add_argument(
        "--radius", type=float, default=0.015, metavar="M", help="radius of the tool's face [m] (default: 0.015)"
    )
    cover.add_argument(
        "--spacing", type=float, metavar="M", help="between neighbouring strokes [m] (default: 1.9 radii)"
    )
    cover.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes toolpath.json, surface.ply, figures.json, cover.png",
    )

    predict = add("predict", "predict what a tool path leaves, with the simulator's process model")
    _add_surface(predict)
    predict.add_argument("--toolpath", type=Path, required=True, metavar="FILE", help="toolpath.json")
    predict.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the process noise (default: 0)")
    predict.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes prediction.npz, prediction.ply, figures.json, prediction.png",
    )

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

    motion = add("motion", "find the arm's trajectory for a tool path")
    motion.add_argument(
        "--toolpath",
        type=Path,
        required=True,
        metavar="FILE",
        help="toolpath.json; its surface is the part in the collision scene",
    )
    motion.add_argument(
        "--cell", default="default", metavar="FILE", help="cell file or name in config/cells (default: default)"
    )
    motion.add_argument(
        "--part-pose",
        metavar="X,Y,Z,RX,RY,RZ",
        help="part in the fixture frame (default: centred on the fixture, longer side across)",
    )
    motion.add_argument(
        "--backend",
        choices=("embedded", "moveit"),
        default="embedded",
        help="who plans transitions and validates (default: embedded)",
    )
    motion.add_argument(
        "--surface", type=Path, metavar="FILE", help="the part, where the tool path's own reference is not at its place"
    )
    motion.add_argument("--unit", choices=UNITS, default="m", help="unit of that file (default: m)")
    motion.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampling planner (default: 0)")
    motion.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes trajectory.json, toolpath.json (as run), figures.json, motion.png",
    )

    scan = add("scan", "fuse depth images into a surface")
    scan.add_argument(
        "--frames", type=Path, required=True, metavar="DIR", help="depth/*.png, intrinsics.json and poses in TUM format"
    )
    scan.add_argument(
        "--voxel", type=float, metavar="M", help="voxel size [m], 0.0005 to 0.01 (default: fits range and pixels)"
    )
    scan.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="writes surface.ply, report.json, scan.png"
    )

    inspect = add("inspect", "compare a scan with a reference shape")
    inspect.add_argument("--scan", type=Path, required=True, metavar="FILE", help="scanned surface")
    inspect.add_argument("--reference", type=Path, required=True, metavar="FILE", help="nominal or earlier surface")
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
    inspect.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes deviation.ply, report.json, inspection.png; with --register overlay.png too",
    )

    report = add("report", "write report.html anew from a job folder")
    report.add_argument("job", type=Path, metavar="JOBDIR", help="job folder")

    doctor = add("doctor", "check this machine: Python, wheels, interfaces, ROS traffic, disk")
    doctor.add_argument("--quick", action="store_true", help="skip the ROS round trip")

    describe = add("describe", "write a description of the cell's hardware")
    things = describe.add_subparsers(dest="thing", required=True, metavar="THING")
    robot = add("robot", "write the expanded URDF of the arm with its tools", things)
    robot.add_argument("--out", type=Path, required=True, metavar="FILE.urdf", help="file to write")
    robot.add_argument(
        "--cell", default="default", metavar="FILE", help="cell file or name in config/cells (default: default)"
    )

    up = add("up", "bring the cell's nodes up and keep them up until interrupted")
    up.add_argument("job", metavar="JOB.yaml", type=Path, help="job file or job folder")
    _add_run_options(up)
    run = add("run", "run a job, or go on with a job folder at its first unfinished step")
    run.add_argument("job", metavar="JOB.yaml", type=Path, help="job file, or the folder of a job begun earlier")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="job folder to make for a job file (default: jobs/PROCESS-TIME)"
    )
    run.add_argument("--approve", choices=("auto", "ask"), help="override the job's own setting")
    _add_run_options(run)

    bench = add("bench", "run a benchmark of benchmarks/, or list them")
    bench.add_argument("name", nargs="?", metavar="NAME", help="benchmark to run")
    return parser


def _add_surface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--surface", type=Path, required=True, metavar="FILE", help="STL, PLY, OBJ, GLB, DAE, OFF or STEP"
    )
    parser.add_argument("--unit", choices=UNITS, default="m", help="unit of the file (default: m)")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rtf",
        type=float,
        default=8.0,
        metavar="X",
        help="simulated seconds per second, at most (default: 8; 1 = real time)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    args = build_parser().parse_args(_join_negative_values(list(sys.argv[1:] if argv is None else argv)))
    console = Console(stderr=True, highlight=False)
    try:
        from cell_operator.commands import run_command  # the numerical libraries load only once usage is right

        return run_command(args)
    except CellError as error:
        console.print(f"[bold red]error:[/] {_escape(' '.join(str(error).split()))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        console.print("[bold yellow]interrupted[/]")
        return 130
    except OSError as error:
        # a full disk or a folder that may not be written is the user's to mend, not a bug of ours
        console.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        return ConfigurationError.exit_code


def _join_negative_values(argv: list[str]) -> list[str]:
    # argparse takes "-0.1,0,..." for an option; "--pose=-0.1,0,..." is safe
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in ("--pose", "--part-pose") and word.startswith("-") and "," in word:
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
