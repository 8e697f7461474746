"""Pauses in the middle of strokes: what they leave on the true part, against the same process undisturbed.

A part is planned, the arm's motion planned, and both run on the simulated cell with its usual errors (droplets thrown,
bristles pressed onto the true mesh, a servo that lags, flow and force that wander). The disturbed run is paused PAUSES
times at random while the process acts: process off, arm stopped, retract, and what remains decided from journal and
executed log, planned anew and run, by the very functions that the nodes call (execution_run, remainder); only the
middleware is left out. Judged is the true change of the part at its own vertices: CV over what gets film, share within
the tolerance of what is ground, each against the undisturbed run on the same droplets and errors.

    cell bench pauses
    QUICK=1 cell bench pauses                            one seed each
    SEEDS=8 PAUSES=5 cell bench pauses
    PARTS="bowl door a.stl:mm" cell bench pauses         parts of bench_spray, or files; RECIPES="spray_50um grind_30um"
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from judged_parts import parts
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial import KDTree

from cell_core.config import GrindRecipe, GunConfig, SprayRecipe, load_named, load_recipe, load_recipe_tool
from cell_core.config.loader import find_config
from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import CellError, ConfigurationError
from cell_core.remainder import remainder, write_stop
from cell_core.resume import Journal, last_attempt
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_motion.plan import MotionPlan
from cell_motion.planner import plan_process
from cell_nodes.direct_rig import DirectRig
from cell_nodes.execution_log import ExecutedLog, StrokeJournal
from cell_nodes.execution_monitor import TOLD, Monitors, Nominal, Observation
from cell_nodes.execution_retract import Retractor
from cell_nodes.execution_rig import Motion
from cell_nodes.execution_run import ProcessRun, Watch
from cell_nodes.execution_state import StateMachine
from cell_nodes.pausing import PausedError
from cell_simulation import SimulatedCell
from grinding_planner.planner import plan_grind
from robot_description import Cell, load_cell, resting_pose
from spray_planner.planner import plan_spray

RETRACT_M = 0.05
CV_POINTS_MOST = 1.0
"""Judged: the disturbed CV within so many per cent points of the undisturbed one."""
EDGE_M = 0.02
"""Vertices nearer to the part's border are not judged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A part and what is to be done to it."""

    name: str
    process: str
    cell: Cell
    part: Surface
    toolpath: ToolPath
    target_m: float
    tolerance: float
    """Share of the target within which film or depth is right."""
    judged: NDArray[np.bool_]
    """(V,) what the plan serves, but for the last EDGE_M before a border."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ran:
    """One run of a task with its pauses."""

    change_m: Array
    """True film or depth (V,) at the judged vertices."""
    areas_m2: Array
    pauses: int
    retracts_m: tuple[float, ...]
    paused_acting_s: float
    """How long anything flowed or pressed between a pause's end of motion and the next start [s]."""
    unreached: int
    """Samples that motion planning of the rest could not serve."""
    duration_s: float


def dome(half_m: float, height_m: float, n: int = 61) -> Surface:
    """Return a shallow dome, square in plan."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij"))
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = (v.ravel() for v in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    z = height_m * (1.0 - 0.5 * (x**2 + y**2))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Surface(vertices_m=np.stack([half_m * x, half_m * y, z], 1), triangles=triangles)


def spray_task(half_m: float = 0.2, height_m: float = 0.04) -> Task:
    """Return a dome to be painted."""
    return task_of(f"dome {2e3 * half_m:.0f} mm", dome(half_m, height_m), "spray_50um")


def grind_task(half_m: float = 0.15, height_m: float = 0.02) -> Task:
    """Return a dome to be ground evenly."""
    return task_of(f"dome {2e3 * half_m:.0f} mm", dome(half_m, height_m), "grind_30um")


def task_of(name: str, surface: Surface, recipe_name: str) -> Task:
    """Return a part that stands on the fixture, planned with a recipe."""
    cell, part = _standing(surface)
    recipe = load_recipe(recipe_name)
    tool = load_recipe_tool(recipe, find_config("recipes", recipe_name))
    if isinstance(recipe, SprayRecipe) and isinstance(tool, GunConfig):
        plan, target = plan_spray(part, recipe, tool), recipe.target_thickness_m
    elif isinstance(recipe, GrindRecipe) and not isinstance(tool, GunConfig) and recipe.target_depth_m is not None:
        plan, target = plan_grind(part, recipe, tool), recipe.target_depth_m
    else:
        raise ConfigurationError(f"{recipe_name}: neither an even film nor an even depth")
    edge = np.zeros(len(part.vertices_m), bool)
    border = part.vertices_m[np.unique(border_edges(part))]
    if len(border):
        edge = KDTree(border).query(part.vertices_m)[0] < EDGE_M
    return Task(
        name=name,
        process=recipe.process,
        cell=cell.equipped(tool),
        part=part,
        toolpath=plan.toolpath,
        target_m=target,
        tolerance=0.15,
        judged=(plan.fields["serviceable"] > 0.5) & (plan.fields["target_change_m"] > 0.0) & ~edge,
    )


def border_edges(surface: Surface) -> NDArray[np.int64]:
    """Return the edges (E, 2) that one triangle has alone."""
    edges = np.sort(surface.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    found, count = np.unique(edges, axis=0, return_counts=True)
    return found[count == 1]


def _standing(part: Surface) -> tuple[Cell, Surface]:
    return load_cell("default"), part.transformed(resting_pose(part), "part")


def run(task: Task, moments: NDArray[np.float64], seed: int, folder: Path, left: Callable[..., Any] = remainder) -> Ran:
    """Run a task, paused whenever a share of its acting time has passed.

    Args:
        moments: ascending shares 0..1 of the acting time at which somebody asks for a pause.
        folder: stands for the job's execution folder.
        left: decides what remains; remainder of cell_core, unless another way is to be compared.
    """
    cell, T = task.cell, task.cell.T_base_fixture
    sim = SimulatedCell(cell, task.part, T, seed=seed)
    rig = DirectRig(sim)
    clock = _Acting(task, rig)
    watch_for = list(moments)
    journal = Journal(folder / "journal.jsonl")
    retractor = Retractor(cell, task.process, task.part, T, RETRACT_M)
    states = StateMachine()
    path: ToolPath | None = task.toolpath
    retracts: list[float] = []
    unreached = index = 0

    def request() -> CellError | None:
        if watch_for and clock.acted_s >= watch_for[0] * clock.whole_s:
            return PausedError("paused: benchmark")
        return None

    while path is not None:
        plan = plan_process(cell, path, task.part, T, start_rad=sim.position_rad)
        unreached += len(plan.trajectory.unreached)
        watch = Watch(fault=_watchman(task, rig), request=request, tell=lambda fraction, words: None)
        try:
            execute(
                task,
                rig,
                plan,
                folder,
                index,
                journal=journal,
                watch=watch,
                states=states,
                retractor=retractor,
                wall=lambda: float(sim.time_s),
            )
            path = None
        except PausedError:
            watch_for.pop(0)
            clock.resting = True
            retracts.append(float(journal.read()[-1]["retracted_m"]))
            for _ in range(125):
                rig.advance()
            clock.resting = False
        if path is not None:
            attempt = last_attempt(journal.read())
            assert attempt is not None
            rest = left(folder, attempt)
            write_stop(folder, attempt, rest.stop)
            path, index = rest.toolpath, index + 1
    truth = sim.truth()
    return Ran(
        change_m=truth.fields["change_m"][: len(task.part.vertices_m)][task.judged],
        areas_m2=task.part.vertex_areas_m2[task.judged],
        pauses=len(moments) - len(watch_for),
        retracts_m=tuple(retracts),
        paused_acting_s=clock.rested_acting_s,
        unreached=unreached,
        duration_s=float(sim.time_s),
    )


def execute(
    task: Task,
    rig: DirectRig,
    plan: MotionPlan,
    folder: Path,
    index: int,
    *,
    journal: Journal,
    watch: Watch,
    states: StateMachine,
    retractor: Retractor,
    wall: Callable[[], float],
) -> None:
    """Run a plan as the execution node does, and keep tool path, trajectory and log in the folder.

    Whatever stops the run is raised; what is no Exception, as when the power goes, leaves of the log what was on disk.
    """
    kept = folder / f"run_{index}"
    kept.mkdir(parents=True)
    assert plan.toolpath is not None
    plan.toolpath.write(kept / "toolpath.json")
    plan.trajectory.write(kept / "trajectory.json")
    frame = task.cell.tool(task.process).tcp_frame
    log = ExecutedLog(folder / f"executed_{index}.npz", plan.trajectory.joint_names, task.cell.robot, frame)
    listener = log.add_row
    rig.listeners.append(listener)
    powered = True
    try:
        ProcessRun(
            rig,
            plan.trajectory,
            process=task.process,
            states=states,
            watch=watch,
            journal=StrokeJournal(journal, plan.trajectory, index, "bench", log=log),
            retractor=retractor,
            wall=wall,
        ).run(f"run {index}")
    except BaseException as error:
        powered = isinstance(error, Exception)
        raise
    finally:
        rig.listeners.remove(listener)
        if powered:
            log.write()


def _watchman(task: Task, rig: DirectRig) -> Callable[[Motion, bool], CellError | None]:
    """Return what looks with the shipped monitors: a false alarm would end the benchmark."""
    monitors = Monitors(load_named(MonitorsConfig, "monitors", "default"))
    nominal = Nominal.of(task.cell.tool(task.process).config)

    def fault(motion: Motion, process: bool) -> CellError | None:
        state, now_s = rig.tool_state, float(rig.sim.time_s)
        told = {name: getattr(state, name) for name in TOLD}
        observation = Observation(
            joint_state_age_s=0.0,
            tool_state_age_s=0.0,
            heartbeat_ages_s={},
            tracking_error_rad=motion.tracking_error_rad,
            nominal=nominal,
            told_armed=rig.told_armed,
            told_on=rig.told_on(motion.path_time_s),
            **told,
        )
        trip = monitors.look(observation, now_s, now_s, process=process, required=())
        return None if trip is None else trip.error

    return fault


class _Acting:
    """Counts the time in which something flows or presses, and the same while the arm rests at a pause."""

    def __init__(self, task: Task, rig: DirectRig) -> None:
        self.whole_s = float(sum(stroke.dwell_s.sum() for stroke in task.toolpath.strokes))
        self.acted_s = self.rested_acting_s = 0.0
        self.resting = False
        self._last_s = float(rig.sim.time_s)
        self._idle = 0.05 * float(max(stroke.process_value.max() for stroke in task.toolpath.strokes))
        rig.listeners.append(self._tick)

    def _tick(self, time_s: float, position_rad: Array, tool: Any) -> None:
        value = tool.flow_m3_per_s if tool.tool == "spray" else tool.force_n
        acts = value > self._idle
        self.acted_s += (time_s - self._last_s) * acts
        self.rested_acting_s += (time_s - self._last_s) * (acts and self.resting)
        self._last_s = time_s


def figures(task: Task, ran: Ran) -> tuple[float, float, float]:
    """Return CV and share in tolerance by area [%], and the mean over the target."""
    mean, cv = mean_and_cv(ran.areas_m2, ran.change_m)
    right = np.abs(ran.change_m / task.target_m - 1.0) <= task.tolerance
    return 100.0 * cv, 100.0 * float(ran.areas_m2 @ right / ran.areas_m2.sum()), mean / task.target_m


def mean_and_cv(areas_m2: Array, change_m: Array) -> tuple[float, float]:
    """Return mean [m] and CV of a change (V,), by area."""
    weight = areas_m2 / areas_m2.sum()
    mean = float(weight @ change_m)
    return mean, float(np.sqrt(weight @ (change_m - mean) ** 2)) / mean


def moments_of(seed: int, pauses: int) -> NDArray[np.float64]:
    """Return when to pause, as shares of the acting time."""
    return np.sort(np.random.default_rng([seed, 8]).uniform(0.02, 0.98, pauses))


def _tasks(asked: str | None, recipes: Sequence[str]) -> Iterator[Task]:
    if asked is None:
        yield spray_task()
        yield grind_task()
        return
    for part in parts(asked):
        for recipe in recipes:
            if isinstance(part.surface, CellError):
                raise part.surface
            yield task_of(part.name, part.surface, recipe)


def main() -> int:
    """Run both processes with every seed."""
    quick = bool(os.environ.get("QUICK"))
    seeds = range(1 if quick else int(os.environ.get("SEEDS", "4")))
    pauses = int(os.environ.get("PAUSES", "5"))
    table = Table(
        *("process", "part", "seed", "pauses", "CV %: undisturbed", "paused", "points", "in tolerance %: undisturbed"),
        *("paused", "points ", "mean over target", "paused ", "joint, % of target", "acting while paused s"),
        *("retracts mm", "unreached", "CPU s"),
        title="True change of the part, undisturbed against paused in mid-stroke",
    )
    worst = {"spray": 0.0, "grind": 0.0}
    for task in _tasks(os.environ.get("PARTS"), os.environ.get("RECIPES", "spray_50um grind_30um").split()):
        for seed in seeds:
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                plain = run(task, np.zeros(0), seed, Path(folder, "plain"))
                paused = run(task, moments_of(seed, pauses), seed, Path(folder, "paused"))
            a, b = figures(task, plain), figures(task, paused)
            off = (paused.change_m - plain.change_m) / task.target_m
            worst[task.process] = max(worst[task.process], b[0] - a[0])
            table.add_row(
                *(task.process, task.name, str(seed), str(paused.pauses)),
                *(f"{a[0]:.2f}", f"{b[0]:.2f}", f"{b[0] - a[0]:+.2f}"),
                *(f"{a[1]:.2f}", f"{b[1]:.2f}", f"{b[1] - a[1]:+.2f}", f"{a[2]:.3f}", f"{b[2]:.3f}"),
                f"{100 * np.quantile(off, 0.001):+.1f}..{100 * np.quantile(off, 0.999):+.1f}",
                f"{paused.paused_acting_s:.3f}",
                "/".join(f"{1e3 * r:.0f}" for r in paused.retracts_m),
                f"{plain.unreached}/{paused.unreached}",
                f"{time.process_time() - started:.0f}",
            )
    console = Console(width=230)
    console.print(table)
    console.print(
        f"judged: CV after {pauses} random pauses within {CV_POINTS_MOST:g} point of the undisturbed run; "
        f"worst here {worst['spray']:+.2f} (spray), {worst['grind']:+.2f} (grind). "
        "Joint: what the paused run left more or less than the undisturbed one, 0.1 and 99.9 % of the vertices"
    )
    return 0 if max(worst.values()) <= CV_POINTS_MOST else 1


if __name__ == "__main__":
    sys.exit(main())
