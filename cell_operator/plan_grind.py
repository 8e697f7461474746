"""`cell plan grind`: a plan of one tool, or of the best among several, and its files."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cell_core.config import GrindRecipe, GrindToolConfig, find_config, load_grind_tools
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.files import read_npz, sha256
from cell_core.plan import Plan
from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_operator.files import read_surface, write_plan
from cell_operator.progress import StepProgress, print_figures
from grinding_planner.choice import plan_with_best_tool
from grinding_planner.planner import plan_grind
from grinding_planner.target import placed_on


def plan_grind_files(args: argparse.Namespace, recipe: GrindRecipe, out: Path, console: Console) -> int:
    """Plan, write the plan's files into `out`, and print what it will leave."""
    _check_usage(args)
    tools = load_grind_tools(recipe, find_config("recipes", args.recipe))
    surface = read_surface(args.surface, args.unit)
    reference = (str(args.surface.resolve()), sha256(args.surface))
    with StepProgress(console, "plan grind") as progress:
        plan = _planned(args, surface, recipe, tools, reference, progress, console)
    write_plan(plan, surface, out)
    for entry in plan.figures.get("tool_choice", ()):
        console.print(f"{entry['tool']} at {entry['force_n']:g} N: {entry['reason']}", markup=False)
    for entry, path in zip(plan.figures.get("further_tools", ()), plan.further, strict=True):
        console.print(
            f"then {entry['tool']}: {len(path.strokes)} strokes in {entry['duration_s']:.0f} s for "
            f"{1e3 * entry['worked_m']:.0f} mm that the tools before it cannot reach"
        )
    print_figures(console, f"{recipe.name}: {len(plan.toolpath.strokes)} strokes", plan.figures)
    console.print(f"written to {out}")
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if not (np.isfinite(args.disc_energy) and args.disc_energy >= 0.0):
        raise ConfigurationError(f"--disc-energy: value {args.disc_energy} J: must be >= 0 J")
    if args.register and args.cad is None:
        raise ConfigurationError("--register: no --cad given to lay on the surface")
    if args.allowance and not args.register:
        raise ConfigurationError("--allowance: says how --register lays the CAD; --register is not given")


def _planned(
    args: argparse.Namespace,
    surface: Surface,
    recipe: GrindRecipe,
    tools: tuple[GrindToolConfig, ...],
    reference: tuple[str, str],
    progress: StepProgress,
    console: Console,
) -> Plan:
    keywords: dict[str, Any] = {
        "cad": _cad(args, surface, console),
        "target_m": _target_map(args.target) if args.target else None,
        "disc_energy_j": args.disc_energy,
        "on_table": args.on_table,
        "cycle": args.cycle,
        "progress": progress,
        "surface_path": reference[0],
        "surface_sha256": reference[1],
    }
    if recipe.tool == "auto":
        return plan_with_best_tool(surface, recipe, tools, **keywords)
    (tool,) = tools
    return plan_grind(surface, recipe, tool, **keywords)


def _cad(args: argparse.Namespace, surface: Surface, console: Console) -> Surface | None:
    if args.cad is None:
        return None
    cad = read_surface(args.cad, args.unit)
    if not args.register:
        return cad
    moved, placed = placed_on(surface, cad, inside=args.allowance)
    overlap, rms_mm = 100 * placed.overlap_fraction, 1e3 * placed.rms_m
    console.print(f"{args.cad.name}: {overlap:.1f} % of the surface lies on it, {rms_mm:.3f} mm RMS")
    return moved


def _target_map(path: Path) -> Array:
    arrays = read_npz(path)
    if "target_m" not in arrays:
        raise InputRefusedError(f"{path}: holds {sorted(arrays)}, wanted an array target_m")
    return arrays["target_m"]
