"""The command line of `cell`: every command in order, and the options of those that run jobs."""

import argparse
from pathlib import Path
from typing import Any

from cell_operator import arguments_measuring as measuring
from cell_operator import arguments_planning as planning
from cell_operator.argument_kit import UNITS, Add

EXIT_CODES = """\
exit codes:
  0    done; a job's result meets its recipe
  2    usage or configuration (recipe, gun, tool, robot, cell, job file)
  3    input refused (mesh, tool path, frames, target), or nothing of it reachable
  4    the job ran, but its result does not meet the recipe; report.html says where and why
  5    a node, device or ROS service failed
  130  interrupted
"""


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

    def add(name: str, help_: str, parent: Any = commands) -> argparse.ArgumentParser:
        return parent.add_parser(
            name, help=help_, description=help_[0].upper() + help_[1:] + ".", epilog=EXIT_CODES, formatter_class=raw
        )

    for command in (
        _demo,
        planning.plan,
        measuring.calibrate,
        measuring.identify,
        planning.cover,
        planning.predict,
        measuring.surface,
        planning.motion,
        measuring.scan,
        measuring.inspect,
        _report,
        _doctor,
        _describe,
        _arm,
        _up,
        _run,
        _bench,
    ):
        command(add)
    return parser


def _demo(add: Add) -> None:
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
        "--cad",
        type=Path,
        metavar="FILE",
        help="mesh of the nominal shape [m]: the scan looks for what it lacks of it, grinding for what stands above it",
    )
    demo.add_argument(
        "--cad-pose",
        metavar="X,Y,Z,RX,RY,RZ",
        help="where the CAD stands in the fixture frame: metres, radians (default: found by the scan's first views)",
    )
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
    demo.add_argument(
        "--cycles",
        type=int,
        metavar="N",
        help="at most so many cycles of plan, run and rescan, 1 to 5 (default: the recipe's cycles_max)",
    )
    demo.add_argument("--out", type=Path, metavar="DIR", help="job folder to make (default: jobs/PROCESS-TIME)")
    _add_run_options(demo)


def _up(add: Add) -> None:
    up = add("up", "bring the cell's nodes up and keep them up until interrupted")
    up.add_argument("job", metavar="JOB.yaml", type=Path, help="job file or job folder")
    _add_run_options(up)


def _run(add: Add) -> None:
    run = add("run", "run a job, or go on with a job folder at its first unfinished step")
    run.add_argument("job", metavar="JOB.yaml", type=Path, help="job file, or the folder of a job begun earlier")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="job folder to make for a job file (default: jobs/PROCESS-TIME)"
    )
    run.add_argument("--approve", choices=("auto", "ask"), help="override the job's own setting")
    _add_run_options(run)


def _report(add: Add) -> None:
    report = add("report", "write report.html anew from a job folder")
    report.add_argument("job", type=Path, metavar="JOBDIR", help="job folder")


def _doctor(add: Add) -> None:
    doctor = add("doctor", "check this machine: Python, wheels, interfaces, ROS traffic, disk")
    doctor.add_argument("--quick", action="store_true", help="skip the ROS round trip")


def _describe(add: Add) -> None:
    describe = add("describe", "write a description of the cell's hardware")
    things = describe.add_subparsers(dest="thing", required=True, metavar="THING")
    robot = add("robot", "write the expanded URDF of the arm with its tools", things)
    robot.add_argument("--out", type=Path, required=True, metavar="FILE.urdf", help="file to write")
    robot.add_argument(
        "--cell", default="default", metavar="FILE", help="cell file or name in config/cells (default: default)"
    )


def _arm(add: Add) -> None:
    arm = add("arm", "make robot and cell files of another arm's URDF, with the standard tools on its flange")
    arm.add_argument("urdf", type=Path, metavar="FILE", help="URDF or xacro file of the bare arm, six turning joints")
    arm.add_argument("--name", default="", metavar="NAME", help="of the robot (default: the URDF's)")
    arm.add_argument("--base", default="", metavar="LINK", help="link at its foot (default: base_link or the root)")
    arm.add_argument("--flange", default="", metavar="LINK", help="link for the tools (default: tool0 and the like)")
    arm.add_argument(
        "--full-speed",
        dest="full_speed_s",
        type=float,
        default=0.5,
        metavar="S",
        help="time in which a joint comes to full speed; URDF files hold no accelerations (default: 0.5)",
    )
    arm.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes NAME.yaml, cell.yaml, NAME.urdf, NAME.srdf, meshes, arm.png",
    )


def _bench(add: Add) -> None:
    bench = add("bench", "run a benchmark of benchmarks/, or list them")
    bench.add_argument("name", nargs="?", metavar="NAME", help="benchmark to run")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rtf",
        type=float,
        default=8.0,
        metavar="X",
        help="simulated seconds per second, at most (default: 8; 1 = real time)",
    )
    parser.add_argument(
        "--lockstep",
        action="store_true",
        help="simulated time passes only while something moves, however long the computer takes: for runs to repeat",
    )
    parser.add_argument(
        "--backend",
        choices=("embedded", "moveit"),
        default="embedded",
        help="who plans the moves between strokes and checks the whole (default: embedded)",
    )
