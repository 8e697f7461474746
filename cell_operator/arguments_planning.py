"""Options of the commands that plan and predict offline."""

import argparse
from pathlib import Path

from cell_operator.argument_kit import UNITS, Add, add_surface


def plan(add: Add) -> None:
    """Add `cell plan`."""
    plan = add("plan", "plan a process on a surface file, without ROS")
    plans = plan.add_subparsers(dest="process", required=True, metavar="PROCESS")
    for process, text in (
        ("spray", "plan spray strokes that meet a film thickness"),
        ("grind", "plan grinding strokes that meet a removal"),
    ):
        p = add(process, text, plans)
        add_surface(p)
        p.add_argument("--recipe", required=True, metavar="FILE", help="recipe file or name in config/recipes")
        p.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="DIR",
            help="writes toolpath.json, fields.npz, figures.json, surface.ply, plan.png"
            + ("; for a recipe of layers into 01-NAME, 02-NAME, ..., and figures.json of all" * (process == "spray")),
        )
        (_plan_spray if process == "spray" else _plan_grind)(p)


def _plan_spray(p: argparse.ArgumentParser) -> None:
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


def _plan_grind(p: argparse.ArgumentParser) -> None:
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
        "--cycle", type=int, default=1, metavar="N", help="which of the recipe's cycles of scan and grind (default: 1)"
    )
    p.add_argument(
        "--on-table",
        action="store_true",
        help="strategy edge: the part lies on a table, z up (default: held so that tools come from all sides)",
    )


def cover(add: Add) -> None:
    """Add `cell cover`."""
    cover = add("cover", "lay strokes that pass a round tool over all of a surface it can reach, without ROS")
    add_surface(cover)
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


def predict(add: Add) -> None:
    """Add `cell predict`."""
    predict = add("predict", "predict what a tool path leaves, with the simulator's process model")
    add_surface(predict)
    predict.add_argument("--toolpath", type=Path, required=True, metavar="FILE", help="toolpath.json")
    predict.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the process noise (default: 0)")
    predict.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes prediction.npz, prediction.ply, figures.json, prediction.png",
    )


def motion(add: Add) -> None:
    """Add `cell motion`."""
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
        "--no-restoring",
        action="store_true",
        help="leave the film as it comes out where the arm tilts or slows the gun; otherwise speeds are found anew",
    )
    motion.add_argument(
        "--suggest",
        action="store_true",
        help="first look for poses of the part, turntable angles, standoffs and tilts that would reach more",
    )
    motion.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="writes trajectory.json, toolpath.json (as run), figures.json, motion.png, speed.png, clearance.png, "
        "reach.ply, reach.png; suggestions.json",
    )
