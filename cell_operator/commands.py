"""What each `cell` command does: read files, call one pure function, write files and a picture, print a table."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cell_core.config import (
    GrindToolConfig,
    GunConfig,
    SprayRecipe,
    config_root,
    load_named,
    load_recipe,
)
from cell_core.errors import ConfigurationError, InputRefusedError, UnreachableError
from cell_core.files import read_json, read_npz, sha256, write_json, write_npz
from cell_core.statistics import field_statistics
from cell_core.surface_io import load_surface, write_ply
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array, transform_from_xyz_rpy
from cell_operator.files import console, new_folder, parse_pose, read_surface
from cell_operator.progress import StepProgress, print_figures
from robot_description import Cell


def run_command(args: argparse.Namespace) -> int:
    """Run the parsed command and return its exit code."""
    handlers: dict[str, Callable[[argparse.Namespace], int]] = {
        "demo": _demo,
        "plan": _plan,
        "calibrate": _calibrate,
        "identify": _identify,
        "cover": _cover,
        "predict": _predict,
        "motion": _motion,
        "scan": _scan,
        "surface": _surface,
        "inspect": _inspect,
        "report": _report,
        "doctor": _doctor,
        "describe": _describe,
        "arm": _arm,
        "up": _up,
        "run": _run,
        "bench": _bench,
    }
    return handlers[args.command](args)


def _plan(args: argparse.Namespace) -> int:
    out = new_folder(args.out)
    recipe = load_recipe(args.recipe)
    if recipe.process != args.process:
        raise ConfigurationError(f"{args.recipe}: recipe is for {recipe.process!r}, wanted {args.process!r}")
    if isinstance(recipe, SprayRecipe):
        from cell_operator.plan_spray import plan_spray_files

        return plan_spray_files(args, recipe, out, console)
    from cell_operator.plan_grind import plan_grind_files

    return plan_grind_files(args, recipe, out, console)


def _calibrate(args: argparse.Namespace) -> int:
    if args.thing == "camera":
        from cell_operator.calibrate_camera import calibrate_camera

        return calibrate_camera(args, console)
    from cell_operator.calibrate import calibrate

    return calibrate(args, console)


def _identify(args: argparse.Namespace) -> int:
    from cell_operator.identify import run_identify

    return run_identify(args, console)


def _cover(args: argparse.Namespace) -> int:
    from cell_core.strokes.access import RoundTool
    from cell_core.strokes.cover import cover_part
    from cell_operator.cover_figures import cover_figure

    out = new_folder(args.out)
    for name, value in (("--radius", args.radius), ("--spacing", args.spacing)):
        if value is not None and not 0.001 <= value <= 0.5:
            raise ConfigurationError(f"{name}: value {value} m: must be within 0.001..0.5 m")
    surface = read_surface(args.surface, args.unit)
    tool = RoundTool.of_radius(args.radius)
    with StepProgress(console, "cover") as progress:
        cover = cover_part(surface, tool, spacing_m=args.spacing, progress=progress)
    toolpath = ToolPath(
        process="grind",
        strokes=cover.strokes,
        tool=tool.as_block(),
        surface={"path": str(args.surface.resolve()), "sha256": sha256(args.surface)},
        unreached=cover.unreached,
    )
    toolpath.write(out / "toolpath.json")
    write_ply(out / "surface.ply", surface)
    write_json(out / "figures.json", {**cover.figures, "layouts": list(cover.table)})
    cover_figure(cover, out / "cover.png")
    print_figures(console, f"cover with a round tool of {1e3 * args.radius:.3g} mm radius", cover.figures)
    console.print(f"written to {out}")
    return 0


def _predict(args: argparse.Namespace) -> int:
    from cell_inspection import agreement
    from cell_operator.figures import field_figure
    from cell_simulation.predict import predict

    out = new_folder(args.out)
    toolpath = ToolPath.read(args.toolpath)
    surface = read_surface(args.surface, args.unit)
    with StepProgress(console, "predict") as progress:
        change = predict(surface, toolpath, seed=args.seed, progress=progress)
    areas = surface.vertex_areas_m2
    planned = _fields_beside(args.toolpath, len(change))
    target = planned.get("target_change_m")
    region = change > 0.0 if target is None else target > 0.0
    if not np.any(region):
        raise InputRefusedError(
            f"{args.toolpath}: leaves nothing on {args.surface}: do tool path and surface share a frame?"
        )
    wanted = np.full_like(change, np.average(change[region], weights=areas[region])) if target is None else target
    figures = {
        "region": "touched" if target is None else "target",
        **field_statistics(change, wanted, areas, 0.15, region).as_dict(),
    }
    if "predicted_change_m" in planned:
        figures |= agreement(planned["predicted_change_m"], change, wanted, region, areas)
    write_npz(out / "prediction.npz", change_m=change)
    write_ply(out / "prediction.ply", surface.with_fields(change_m=change))
    write_json(out / "figures.json", figures)
    field_figure(surface, change, region, toolpath.process, out / "prediction.png")
    print_figures(console, f"prediction by the simulator's model over the {figures['region']} area", figures)
    console.print(f"written to {out}")
    return 0


def _fields_beside(toolpath: Path, n_vertices: int) -> dict[str, Array]:
    """Return the plan's fields if they lie beside its tool path and belong to a surface of so many vertices."""
    path = toolpath.parent / "fields.npz"
    fields = read_npz(path) if path.is_file() else {}
    return {name: field for name, field in fields.items() if len(field) == n_vertices}


def _motion(args: argparse.Namespace) -> int:
    from cell_motion.planner import plan_process
    from cell_operator.motion_files import suggest, write_motion, write_reach
    from cell_operator.restoring import restorer_for
    from robot_description import load_cell, resting_pose

    out = new_folder(args.out)
    toolpath = ToolPath.read(args.toolpath)
    cell = _equipped(load_cell(args.cell), toolpath)
    part = read_surface(_surface_of(toolpath, args), args.unit)
    pose = parse_pose(args.part_pose) if args.part_pose else None
    T_fixture_part = transform_from_xyz_rpy(*pose) if pose else resting_pose(part)
    restorer = None if args.no_restoring else restorer_for(part, toolpath, cell.tool(toolpath.process).config)
    T_base_part = cell.T_base_fixture @ T_fixture_part
    if args.suggest:
        suggest(cell, toolpath, part, T_base_part, out)
    try:
        with StepProgress(console, "motion") as progress:
            plan = plan_process(
                cell,
                toolpath,
                part,
                T_base_part,
                backend=args.backend,
                seed=args.seed,
                restorer=restorer,
                progress=progress,
            )
    except UnreachableError as error:
        write_reach(cell, toolpath, part, error.facts["unreached"], None, out)
        console.print(f"reach map written to {out}")
        raise
    write_motion(cell, toolpath, part, plan, out)
    print_figures(console, f"motion, {plan.trajectory.duration_s:.1f} s", plan.figures)
    console.print(f"written to {out}")
    return 0


def _equipped(cell: Cell, toolpath: ToolPath) -> Cell:
    # the tool path names its tool; one that no file describes is taken to be the one the cell carries
    name = str(toolpath.tool["name"])
    kind = "guns" if toolpath.process == "spray" else "tools"
    if not (config_root() / kind / f"{name}.yaml").is_file():
        return cell
    return cell.equipped(load_named(GunConfig if kind == "guns" else GrindToolConfig, kind, name))


def _surface_of(toolpath: ToolPath, args: argparse.Namespace) -> Path:
    if args.surface:
        return args.surface
    named = Path(toolpath.surface["path"])
    for path in (named, args.toolpath.parent / named, args.toolpath.parent / "surface.ply"):
        if path.is_file() and (path.name == "surface.ply" or sha256(path) == toolpath.surface["sha256"]):
            return path
    raise InputRefusedError(
        f"{args.toolpath}: its surface {named} is not there or has changed; "
        "planning without the part is refused: give --surface FILE"
    )


def _scan(args: argparse.Namespace) -> int:
    from cell_operator.figures import surface_figure
    from cell_operator.hole_figure import hole_figure
    from cell_scanning.hole_reasons import hole_map
    from cell_scanning.offline import scan_folder

    out = new_folder(args.out)
    if args.frames_max < 5:
        raise ConfigurationError(f"--frames-max: value {args.frames_max}: at least 5 frames needed")
    if args.voxel is not None and not 0.0005 <= args.voxel <= 0.01:
        raise ConfigurationError(f"--voxel: value {args.voxel} m: must be within 0.0005..0.01 m")
    with StepProgress(console, "scan") as progress:
        result = scan_folder(
            args.frames,
            out,
            voxel_m=args.voxel,
            poses=args.poses,
            frames_max=args.frames_max,
            preview=None if args.preview is None else lambda surface: write_ply(args.preview, surface),
            progress=progress,
        )
    surface_figure(result.surface, out / "scan.png")
    write_ply(out / "holes.ply", hole_map(result.surface, result.holes))
    hole_figure(result.surface, result.holes, out / "holes.png")
    tracking = read_json(out / "report.json").get("tracking")
    if tracking is not None:
        print_figures(console, f"tracking of {args.frames}", tracking)
    print_figures(console, f"scan of {args.frames}", result.figures)
    console.print(f"written to {out}")
    return 0


def _surface(args: argparse.Namespace) -> int:
    from cell_core.meshes.borders import filled
    from cell_core.meshes.remesh import process_mesh
    from cell_operator.figures import surface_figure
    from cell_operator.intake import print_intake, surface_report

    out = new_folder(args.out)
    with StepProgress(console, "surface") as progress:
        progress(0.0, "load and repair")
        surface, repair = load_surface(args.file, args.unit, orient="file" if args.keep_winding else "visibility")
        n_filled = 0
        if args.fill_holes_m is not None:
            surface, n_filled = filled(surface, args.fill_holes_m)
        if args.edge_m is not None:
            progress(0.5, "remesh")
            surface = process_mesh(surface, args.edge_m)
        report = surface_report(args.file, args.unit, surface, repair, n_filled)
    write_ply(out / "surface.ply", surface)
    write_json(out / "report.json", report)
    surface_figure(surface, out / "surface.png")
    print_intake(console, report)
    console.print(f"written to {out}")
    return 0


def _inspect(args: argparse.Namespace) -> int:
    from cell_operator.inspect import run_inspect

    return run_inspect(args, console)


def _report(args: argparse.Namespace) -> int:
    from cell_operator.report import write_report

    console.print(f"written to {write_report(args.job)}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from cell_operator.doctor import run_doctor

    return run_doctor(console, quick=args.quick)


def _describe(args: argparse.Namespace) -> int:
    from robot_description import load_cell
    from robot_description.describe import write_urdf

    write_urdf(load_cell(args.cell), args.out)
    console.print(f"written to {args.out}")
    return 0


def _arm(args: argparse.Namespace) -> int:
    from cell_operator.arm import import_arm_files

    return import_arm_files(args, console)


def _demo(args: argparse.Namespace) -> int:
    from cell_operator.job import run_demo

    return run_demo(args, console)


def _up(args: argparse.Namespace) -> int:
    from cell_operator.job import run_up

    return run_up(args, console)


def _run(args: argparse.Namespace) -> int:
    from cell_operator.job import run_job_file

    return run_job_file(args, console)


def _bench(args: argparse.Namespace) -> int:
    import subprocess
    import sys

    folder = config_root().parent / "benchmarks"
    names = sorted(p.stem for p in folder.glob("bench_*.py"))
    if args.name is None:
        console.print("benchmarks: " + (", ".join(n.removeprefix("bench_") for n in names) or "none here"))
        return 0
    path = folder / f"bench_{args.name}.py"
    if not path.is_file():
        raise ConfigurationError(
            f"no benchmark {args.name!r}; known: {', '.join(n.removeprefix('bench_') for n in names)}"
        )
    return subprocess.run([sys.executable, str(path)], check=False).returncode
