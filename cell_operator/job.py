"""Run whole jobs: make the folder, start the supervisor of the nodes, show its events, write the report."""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import yaml
from rich.console import Console
from rich.prompt import Confirm, Prompt

from cell_core.bounded import read_yaml
from cell_core.config import JobConfig, load_config, load_one_layer, load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.config.models import Pose, SimulatedPart
from cell_core.errors import CellError, ConfigurationError
from cell_core.files import write_text
from cell_core.jobs import JobFolder
from cell_core.surface_io import load_surface, write_ply
from cell_operator.progress import StepProgress, print_figures

STOP_GRACE_S = 20.0
CYCLES_MAX = 5
CYCLES_RECIPE = "recipe.yaml"


def run_demo(args: argparse.Namespace, console: Console) -> int:
    """Make a job for the embedded simulator and run it; nothing is written before every input is known to be good."""
    from cell_operator.files import parse_pose
    from robot_description import load_cell

    _check_run(args)
    load_cell(args.cell)
    cad, cad_pose = _known_cad(args.cad, args.cad_pose, console)
    recipe_name = args.recipe or _default_recipe(args.process, args.part is None)
    _check_recipe(recipe_name, args.process, args.layer)
    if args.cycles is not None and not 1 <= args.cycles <= CYCLES_MAX:
        raise ConfigurationError(f"--cycles: value {args.cycles}: must be within 1..{CYCLES_MAX}")
    pose = None
    if args.pose:
        xyz, rpy = parse_pose(args.pose)
        pose = Pose(xyz_m=xyz, rpy_rad=rpy)
    if args.seed < 0:
        raise ConfigurationError(f"--seed: value {args.seed}: must be >= 0")
    if args.part is not None:
        surface, repair = load_surface(args.part, args.unit)
        console.print(f"{args.part.name}: {len(surface.triangles)} triangles, {surface.area_m2:.4f} m2; {repair.text}")
        part = SimulatedPart(path=str(args.part.resolve()), unit=args.unit, pose=pose)
    else:
        part = SimulatedPart(path="simulated_part.ply", unit="m", pose=pose)
    folder = args.out or _new_job_path(args.process)
    config = JobConfig(
        format="grind_spray_cell/job",
        version=1,
        process=args.process,
        recipe=_portable(recipe_name, "recipes") if args.cycles is None else str(folder.resolve() / CYCLES_RECIPE),
        layer=args.layer,
        cell=_portable(args.cell, "cells"),
        approve=args.approve,
        seed=args.seed,
        cad=cad,
        cad_pose=cad_pose,
        simulated_part=part,
    )
    job = JobFolder.create(folder, config)
    if args.cycles is not None:
        write_text(job.path / CYCLES_RECIPE, _with_cycles(find_config("recipes", recipe_name), args.cycles))
    if args.part is None:
        from cell_simulation.demo_parts import casting_with_bead, freeform_shell

        write_ply(job.path / part.path, freeform_shell() if args.process == "spray" else casting_with_bead())
    return run_supervised(job, config, args.rtf, resume=False, console=console, **_options(args))


def _known_cad(cad: Path | None, pose: str | None, console: Console) -> tuple[str | None, Pose | None]:
    from cell_operator.files import parse_pose

    if cad is None:
        if pose is not None:
            raise ConfigurationError("--cad-pose: no --cad given to stand there")
        return None, None
    surface, repair = load_surface(cad)
    console.print(f"{cad.name}: {len(surface.triangles)} triangles, {surface.area_m2:.4f} m2; {repair.text}")
    if pose is None:
        return str(cad.resolve()), None
    xyz, rpy = parse_pose(pose)
    return str(cad.resolve()), Pose(xyz_m=xyz, rpy_rad=rpy)


def _with_cycles(recipe: Path, cycles: int) -> str:
    """Return a recipe's text with another number of cycles; files it names beside itself by their whole path."""
    data = read_yaml(recipe)
    for key in ("tool", "gun"):
        beside = recipe.parent / str(data.get(key, ""))
        if beside.is_file():
            data[key] = str(beside.resolve())
    return yaml.safe_dump({**data, "cycles_max": cycles}, sort_keys=False)


def _check_run(args: argparse.Namespace) -> None:
    if not 0.1 <= args.rtf <= 100.0:
        raise ConfigurationError(f"--rtf: value {args.rtf:g}: must be within 0.1..100")
    if args.backend != "embedded":
        from cell_motion.backends import check_backend

        check_backend(args.backend)


def _default_recipe(process: str, generated_part: bool) -> str:
    if process == "spray":
        return "spray_50um"
    return "grind_bead" if generated_part else "grind_30um"


def _check_recipe(name: str, process: str, layer: str | None) -> None:
    recipe = load_one_layer(name, layer)
    if recipe.process != process:
        raise ConfigurationError(f"{name}: recipe is for {recipe.process!r}, wanted {process!r}")
    load_recipe_tool(recipe, find_config("recipes", name))


def _portable(name: str, kind: str) -> str:
    # a path must still be found when the job is run from another folder; a name stays a name
    path = Path(name)
    return str(path.resolve()) if path.is_file() else find_config(kind, name).stem


def _new_job_path(process: str) -> Path:
    stem = f"{process}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = Path("jobs") / stem, 1
    while path.exists():
        path, n = Path("jobs") / f"{stem}-{n}", n + 1
    return path


def run_job_file(args: argparse.Namespace, console: Console) -> int:
    """Run a job file in a new folder, or go on with a job folder."""
    _check_run(args)
    if args.job.is_dir():
        if args.out is not None:
            raise ConfigurationError("--out: a job folder is continued where it is")
        if not (args.job / "job.yaml").is_file():
            raise ConfigurationError(f"{args.job}: holds no job.yaml: not a job folder")
        job, resume = JobFolder(path=args.job), True
        config = job.config
    else:
        config = load_config(JobConfig, args.job)
        _check_recipe(config.recipe, config.process, config.layer)
        if config.simulated_part is not None:
            source = _beside(args.job, config.simulated_part.path)
            load_surface(source, config.simulated_part.unit)
            part = config.simulated_part.model_copy(update={"path": str(source.resolve())})
            config = config.model_copy(update={"simulated_part": part})
        if config.cad is not None:
            source = _beside(args.job, config.cad)
            load_surface(source)
            config = config.model_copy(update={"cad": str(source.resolve())})
        job, resume = JobFolder.create(args.out or _new_job_path(config.process), config), False
    approve = args.approve or config.approve
    config = config.model_copy(update={"approve": approve})
    return run_supervised(job, config, args.rtf, resume=resume, console=console, **_options(args))


def _beside(job_file: Path, path: str) -> Path:
    local = job_file.parent / path
    return local if local.is_file() else Path(path)


def run_up(args: argparse.Namespace, console: Console) -> int:
    """Bring the nodes up for a job folder or file and keep them up until interrupted; the job is started over ROS."""
    _check_run(args)
    if args.job.is_dir():
        job = JobFolder(path=args.job)
        config = job.config
    else:
        config = load_config(JobConfig, args.job)
        job = JobFolder.create(_new_job_path(config.process), config)
    return run_supervised(job, config, args.rtf, resume=False, console=console, up_only=True, **_options(args))


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {"lockstep": args.lockstep, "backend": args.backend}


def run_supervised(
    job: JobFolder,
    config: JobConfig,
    rtf: float,
    *,
    resume: bool,
    console: Console,
    up_only: bool = False,
    lockstep: bool = False,
    backend: str = "embedded",
) -> int:
    """Run the nodes' supervisor as a child, show its events, answer its approval requests; return its exit code."""
    command = [
        sys.executable,
        "-m",
        "cell_nodes.supervisor",
        str(job.path),
        "--rtf",
        str(rtf),
        "--approve",
        config.approve,
    ]
    command += ["--backend", backend]
    command += ["--resume"] * resume + ["--up"] * up_only + ["--lockstep"] * lockstep
    console.print(f"[bold]{config.process}[/] job in {job.path}")
    # own session: an interrupt reaches the supervisor once, from us, not twice from the terminal
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
    )
    try:
        _show_events(child, console)
        code = child.wait()
    except KeyboardInterrupt:
        console.print("[bold yellow]interrupted: stopping process and arm[/]")
        code = _stop(child)
    finally:
        if child.poll() is None:
            _stop(child)
    if not up_only:
        _tell_interruptions(job, console)
        _write_report(job, console)
    if code < 0 or code not in (0, 2, 3, 4, 5, 130):
        console.print(f"[bold red]error:[/] the supervisor ended with code {code}")
        return 5
    return code


def _stop(child: subprocess.Popen[str]) -> int:
    # a terminated parent still owes its child an orderly stop, however impatient the user is
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child.send_signal(signal.SIGINT)
        child.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return 130


def _show_events(child: subprocess.Popen[str], console: Console) -> None:
    assert child.stdout is not None and child.stdin is not None
    bar: StepProgress | None = None
    step = ""
    try:
        for line in child.stdout:
            event = _event(line)
            kind = event.get("event")
            if kind in ("progress", "step") and event.get("step"):
                if event["step"] != step:
                    if bar is not None:
                        bar.__exit__(None, None, None)
                    step = event["step"]
                    bar = StepProgress(console, step).__enter__()
                if bar is not None:
                    bar(float(event.get("progress", 0.0)), str(event.get("message", "")))
                continue
            if bar is not None and kind in ("approval_request", "summary", "error", "done"):
                bar.__exit__(None, None, None)
                bar, step = None, ""
            _show_event(event, line, child.stdin, console)
    finally:
        if bar is not None:
            bar.__exit__(CellError, None, None)


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return event if isinstance(event, dict) else {}


def _show_event(event: dict[str, Any], line: str, answers: IO[str], console: Console) -> None:
    kind = event.get("event")
    if kind == "approval_request":
        console.print(str(event.get("message", "")).replace("[", r"\["), soft_wrap=True)
        if choices := [str(choice) for choice in event.get("choices", ())]:
            word = Prompt.ask("Which?", choices=[*choices, "stop"], default="stop", console=console)
            _answer(answers, word != "stop", word)
            return
        print_figures(console, "to approve", event.get("figures", {}))
        _answer(answers, Confirm.ask("Move the arm and run this process?", console=console, default=False))
    elif kind == "summary":
        print_figures(console, f"{event.get('step', 'job')}: {event.get('message', '')}", event.get("figures", {}))
    elif kind == "error":
        console.print("[bold red]error:[/] " + str(event.get("message", line)).replace("[", r"\["), soft_wrap=True)
    elif kind == "done" and event.get("exit_code") not in (2, 3, 5):  # those were told as errors already
        style = "bold green" if event.get("exit_code") == 0 else "bold red"
        console.print(f"[{style}]{str(event.get('message', '')).replace('[', chr(92) + '[')}[/]", soft_wrap=True)
    elif kind == "log":
        console.print(f"[dim]{str(event.get('message', '')).replace('[', chr(92) + '[')}[/]")


def _answer(answers: IO[str], yes: bool, comment: str = "") -> None:
    def send() -> None:
        answers.write(json.dumps({"approve": yes, "comment": comment}) + "\n")
        answers.flush()

    threading.Thread(target=send, daemon=True).start()


def _tell_interruptions(job: JobFolder, console: Console) -> None:
    from cell_operator.interruptions import interruptions

    for cycle in job.cycles:
        for one in interruptions(cycle):
            head = "" if cycle.cycle == 1 else f"cycle {cycle.cycle}, "
            console.print(f"{head}{one.text}".replace("[", r"\["), soft_wrap=True)


def _write_report(job: JobFolder, console: Console) -> None:
    from cell_operator.report import write_report

    started = time.monotonic()
    try:
        path = write_report(job.path)
    except CellError as error:
        console.print(f"[yellow]no report:[/] {error}", soft_wrap=True)
        return
    console.print(f"report: {path} ({time.monotonic() - started:.1f} s)")
