"""MoveIt beside the embedded planner in the default cell: start, validity, agreement on what collides, transitions.

The part is a dome on the fixture, filled in both scenes. Agreement: random joint positions near the fixture are put to
our own check (convex hulls of the links) and to MoveIt's (their meshes), both without margins; who alone sees a
collision is counted both ways, and which pairs it is about is told. Transitions: between random positions that keep the
planning margins and whose straight joint move does not, planned by the embedded RRTConnect, by MoveIt's OMPL and by
Pilz (PTP, LIN); each path found is looked at again by our own check at zero margin.

    cell bench moveit
    STATES=1000 QUERIES=30 SEED=0 cell bench moveit

Needs moveit_py; says so and ends with 0 where it is not installed.
"""

import importlib.util
import os
import sys
import time
from collections import Counter

import numpy as np
from bench_grind import dome
from rich.console import Console

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_motion.backends.moveit import MoveItMover, scene_objects, session_arguments
from cell_motion.backends.moveit_request import Request
from cell_motion.backends.moveit_worker import MoveItProcess
from cell_motion.collision import Checker, Margins, Scene
from cell_motion.desk import SELF_MARGIN_M
from cell_motion.transitions import Mover, close_by
from robot_description import Cell, load_cell, resting_pose
from robot_description.moveit import OMPL, PILZ, PIPELINES

STATES = int(os.environ.get("STATES", "1000"))
QUERIES = int(os.environ.get("QUERIES", "30"))
SEED = int(os.environ.get("SEED", "0"))
CHECK_M = 0.004
TIME_S = 4.0
console = Console(width=140)


def positions(cell: Cell, n: int, rng: np.random.Generator) -> Array:
    """Return joint positions (n, 6): half within all limits, half leaning over the fixture."""
    robot = cell.robot
    wide = rng.uniform(np.maximum(robot.lower_rad, -np.pi), np.minimum(robot.upper_rad, np.pi), (n - n // 2, 6))
    spread = np.array([0.6, 0.4, 0.4, 1.5, 1.0, 3.0])
    near = robot.home_rad + [0.0, 0.9, 0.0, 0.0, 0.0, 0.0] + rng.uniform(-spread, spread, (n // 2, 6))
    return np.concatenate([wide, np.clip(near, robot.lower_rad, robot.upper_rad)])


def agreement(process: MoveItProcess, ours: Checker, states: Array) -> None:
    """Print who calls which states colliding, and what about."""
    start = time.process_time()
    free = ours.free(states)
    ours_s = time.process_time() - start
    start = time.perf_counter()
    theirs = np.array(process.call("colliding", states))
    theirs_s = time.perf_counter() - start
    only_ours, only_theirs = np.flatnonzero(~free & ~theirs), np.flatnonzero(free & theirs)
    console.print(
        f"{len(states)} states: both collide {int((~free & theirs).sum())}, both free {int((free & ~theirs).sum())}, "
        f"only ours {len(only_ours)}, only MoveIt {len(only_theirs)}"
    )
    per_1000 = 1000.0 / len(states)
    console.print(f"per 1000 states: ours {ours_s * per_1000:.3f} CPU s, MoveIt {theirs_s * per_1000:.3f} s wall")
    pairs = Counter(tuple(sorted(hit[1:])) for i in only_ours for hit in ours.hits(states[i]))
    console.print(f"only ours, pairs: {dict(pairs.most_common(8))}")
    pairs = Counter(pair for i in only_theirs for pair in process.call("pairs", states[i]))
    console.print(f"only MoveIt, pairs: {dict(pairs.most_common(8))}")


def path_validity(process: MoveItProcess, ours: Checker, states: Array) -> None:
    """Print how long is_path_valid takes for a path of free states."""
    free = states[ours.free(states)]
    path = np.tile(free, (1 + 1000 // len(free), 1))[:1000]
    start = time.perf_counter()
    invalid = process.call("first_invalid", path)
    words = "valid" if invalid is None else f"invalid at {invalid.index}"
    console.print(f"is_path_valid, 1000 positions: {time.perf_counter() - start:.3f} s wall with the pipe, {words}")


def queries(cell: Cell, mover: Mover, n: int, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Return pairs of positions that keep the margins, with something between them."""
    found: list[tuple[Array, Array]] = []
    last: Array | None = None
    while len(found) < n:
        q = positions(cell, 2, rng)[1]
        if not mover.checker.is_free(q):
            continue
        if last is not None and not mover.is_clear(last, q):
            found.append((last, q))
            last = None
        else:
            last = q
    return found


def transitions(
    process: MoveItProcess, mover: Mover, theirs: MoveItMover, strict: Checker, asked: list[tuple[Array, Array]]
) -> None:
    """Print what each planner finds, how long it takes and whether our own check agrees."""
    ways = {
        "embedded": lambda a, b: mover.plan(a, b, seed=SEED, time_s=TIME_S),
        "moveit backend (OMPL, padding, margins)": lambda a, b: theirs.plan(a, b, seed=SEED, time_s=TIME_S),
        "MoveIt OMPL alone": lambda a, b: process.call("plan", a, b, Request(pipeline=OMPL)).path_rad,
        "MoveIt Pilz PTP": lambda a, b: process.call("plan", a, b, Request(pipeline=PILZ, planner="PTP")).path_rad,
        "MoveIt Pilz LIN": lambda a, b: process.call("plan", a, b, Request(pipeline=PILZ, planner="LIN")).path_rad,
    }
    for name, plan in ways.items():
        took, paths = [], []
        for a, b in asked:
            start = time.perf_counter()
            path = plan(a, b)
            took.append(time.perf_counter() - start)
            paths += [] if path is None else [path]
        hit = sum(not strict.free(close_by(path, CHECK_M)).all() for path in paths)
        length = np.mean([np.abs(np.diff(p, axis=0)).sum() for p in paths]) if paths else float("nan")
        q = np.quantile(took, [0.5, 0.9, 1.0])
        found = f"{len(paths)} of {len(asked)}"
        console.print(
            f"{name}: found {found}; median {q[0]:.3f}, 90 % {q[1]:.3f}, worst {q[2]:.3f} s wall; "
            f"{hit} colliding by our check; {length:.2f} rad a path"
        )


def main() -> int:
    """Print all figures."""
    if importlib.util.find_spec("moveit") is None:
        console.print("moveit_py is not installed: nothing to measure")
        return 0
    cell = load_cell("default")
    part: Surface = dome()
    T_base_part = cell.T_base_fixture @ resting_pose(part)
    padding_m = max(cell.config.collision_margin_m, cell.config.part_margin_m)
    scene = Scene(cell, part=part, T_base_part=T_base_part)
    strict = scene.checker(Margins())
    margins = Margins(self_m=SELF_MARGIN_M, cell_m=cell.config.collision_margin_m, part_m=cell.config.part_margin_m)
    mover = Mover(checker=scene.checker(margins), lower_rad=cell.robot.lower_rad, upper_rad=cell.robot.upper_rad)
    start = time.perf_counter()
    process = MoveItProcess(session_arguments(cell, PIPELINES))
    started_s = time.perf_counter() - start
    objects = scene_objects(cell, part, T_base_part)
    process.call("fill", objects)
    console.print(f"start {started_s:.2f} s, scene {time.perf_counter() - start - started_s:.2f} s wall")
    rng = np.random.default_rng(SEED)
    states = positions(cell, STATES, rng)
    agreement(process, strict, states)
    path_validity(process, strict, states)
    names = [o.name for o in objects if o.name.startswith("part")]
    theirs = MoveItMover(process.call, cell, part_names=names, margins_mover=mover, padding_m=padding_m)
    transitions(process, mover, theirs, strict, queries(cell, mover, QUERIES, rng))
    told = process.log("WARN", "ERROR")
    console.print(f"MoveIt's log: {len(told)} warnings and errors")
    for line, n in Counter(line.split("]: ", 1)[-1] for line in told).most_common(8):
        console.print(f"  {n} x {line[:120]}")
    process.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
