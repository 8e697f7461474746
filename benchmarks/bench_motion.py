"""Motion of the default cell on 12 parts, sprayed and ground, checked by scorer_motion.py; speed of the search.

Parts are sheets and files as scanned from above, laid on the fixture as `cell motion` lays them; tool paths come from
our planners with the default gun, pad and recipes and are kept in a folder, since they take longest. Checked at 1 kHz
along the trajectory's spline, with kinematics of the scorer's own and the URDF's true meshes: collisions at zero
margin, flips (5 degrees per 2 mm), limits of position, velocity, acceleration and jerk, how far the tool is off the
tool path as run, its axis beyond the freedom of the tool path as planned, and the length on which speed is kept to 1 %
at every millisecond: of what the planner wrote ("planned"), and of the tool path that motion hands on ("handed on":
motion/toolpath.json, which execution, inspection and prediction go by). What handing on changes is measured: what both
paths leave by the simulator's own model, how far the second is off the first as RMS over the mean. What was left out
is searched by brute force: spin every 5 degrees, tilt in eight directions at half and all of the freedom, every branch,
true meshes at zero margin.

    cell bench motion
    PARTS="plate,bowl" PROCESS=grind cell bench motion
    LEFT=0                         without what the paths leave by the simulator's model
    PATHS=DIR                      keep the planned tool paths there (default: bench_out/motion)
    DATA=folder                    where the shared parts lie
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench_grind import dome
from judged_parts import DATA, bowl, channel, door, half_pipe, plate, wavy
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation
from scorer_motion import (
    Followed,
    Replay,
    TrueScene,
    UrdfArm,
    flips,
    follow,
    kept,
    limit_ratios,
    speed_errors,
    summary,
)

from cell_core.config import GrindRecipe, GrindToolConfig, GunConfig, SprayRecipe, load_named, load_recipe
from cell_core.errors import CellError
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from cell_core.toolpath import Stroke, ToolPath
from cell_motion.collision import contact_link
from cell_motion.kinematics import Kinematics
from cell_motion.plan import MotionPlan
from cell_motion.planner import plan_process
from cell_operator.restoring import restorer_for
from cell_simulation.demo_parts import freeform_shell
from cell_simulation.predict import predict
from cell_simulation.shapes import saddle
from grinding_planner.planner import plan_grind
from robot_description import load_cell, resting_pose
from robot_description.model import Cell
from robot_description.semantics import disabled_pairs
from spray_planner.planner import plan_spray

LIFT_M = 0.003
"""Parts stand so far above the fixture: what a scan holds does, too."""
TOUCH_M, TOUCH_UP_M = 0.060, 0.006
"""A pad may touch the part on its way in and out: so near to the stroke's end, and so little above it. As near, but up
to half its slide's stroke higher, it is looked at where it really is: no force presses, the slide holds it back."""
AXIS_SLACK_RAD = np.radians(0.05)
POSITION_MAX_M, SPEED_KEPT_MIN, REACH_GAP_MAX = 1e-4, 0.995, 0.01
SPIN_STEP_RAD = np.radians(5.0)
BRUTE_MOST = 400
"""So many of the samples left out are searched by brute force, evenly taken."""


def _file(name: str, unit: str = "m") -> Surface:
    surface = load_surface(DATA / name, unit)[0]  # pyright: ignore[reportArgumentType]
    return surface.select_triangles(surface.triangle_normals[:, 2] > -0.3)


PARTS: dict[str, Callable[[], Surface]] = {
    "plate": partial(plate, 0.5),
    "dome": partial(dome, 0.5, 0.5),
    "saddle": partial(saddle, 0.5, 0.6),
    "freeform": freeform_shell,
    "door": door,
    "wavy": partial(wavy, 0.7, 50_000),
    "bowl": bowl,
    "channel": channel,
    "halfpipe": partial(half_pipe, 0.2, 0.5),
    "bumper": partial(_file, "noether_raw_mesh.ply"),
    "lug": partial(_file, "fanuc_DAC/DAC_580813_cad.stl"),
    "panel": partial(_file, "crs_part_2.stl"),
}


def toolpath_of(name: str, surface: Surface, process: str, folder: Path) -> ToolPath:
    """Return the planned tool path, from the folder if it was planned before."""
    kept = folder / f"{name}_{process}.json"
    if kept.is_file():
        return ToolPath.read(kept)
    if process == "spray":
        spraying = load_recipe("spray_50um")
        assert isinstance(spraying, SprayRecipe)
        path = plan_spray(surface, spraying, load_named(GunConfig, "guns", spraying.gun)).toolpath
    else:
        grinding = load_recipe("grind_30um")
        assert isinstance(grinding, GrindRecipe)
        path = plan_grind(surface, grinding, load_named(GrindToolConfig, "tools", grinding.tool)).toolpath
    folder.mkdir(parents=True, exist_ok=True)
    path.write(kept)
    return path


def row(name: str, process: str, folder: Path) -> tuple[list[str], bool]:
    """Return the figures of one part as text, and whether all bounds are met."""
    surface = PARTS[name]()
    planned = toolpath_of(name, surface, process, folder)
    cell = load_cell("default")
    T_base_part = cell.T_base_fixture @ resting_pose(surface)
    T_base_part[2, 3] += LIFT_M
    started = time.process_time()
    restorer = restorer_for(surface, planned, cell.tool(process).config)
    plan = plan_process(cell, planned, surface, T_base_part, restorer=restorer, time_budget_s=600.0)
    seconds = time.process_time() - started
    figures = checked(cell, planned, plan, surface)
    left = "-" if os.environ.get("LEFT") == "0" else _left(planned, plan, surface)
    good = {
        "collisions": not figures["collisions"],
        "flips": figures["flips"] == 0,
        "limits": max(figures[k] for k in ("velocity", "acceleration", "jerk")) <= 1.0
        and figures["position_over_rad"] == 0.0,
        "position": figures["position_error_m"] <= POSITION_MAX_M,
        "axis": figures["axis_over_rad"] <= AXIS_SLACK_RAD,
        "speed": figures["speed_handed_on"] >= SPEED_KEPT_MIN,
        "reach": figures["reach_gap"] <= REACH_GAP_MAX,
    }
    air = plan.trajectory.duration_s - plan.figures["process_time_s"]
    n = len(planned.strokes)
    met = "; ".join(f"{pair} {count} ms" for pair, count in figures["collisions"].items()) or "0"
    cells = [
        name, process, str(n), str(plan.figures["n_splits"]), _marked(met, good["collisions"]),
        _marked(str(figures["flips"]), good["flips"]),
        _marked("/".join(f"{figures[k]:.2f}" for k in ("velocity", "acceleration", "jerk")), good["limits"]),
        _marked(f"{1e3 * figures['position_error_m']:.3f}", good["position"]),
        _marked(f"{np.degrees(figures['axis_over_rad']):.2f}", good["axis"]),
        f"{np.degrees(figures['axis_turn_rad']):.1f}",
        f"{100 * figures['speed_planned']:.2f}",
        _marked(f"{100 * figures['speed_handed_on']:.2f}", good["speed"]), left,
        f"{100 * plan.figures['reached_fraction']:.2f}",
        _marked(f"{100 * figures['reach_gap']:.2f}", good["reach"]),
        f"{plan.figures['process_time_s']:.0f}+{air:.0f}", f"{seconds:.1f}", f"{30.0 * seconds / max(n, 1):.1f}",
    ]  # fmt: skip
    return cells, all(good.values())


def _left(planned: ToolPath, plan: MotionPlan, surface: Surface) -> str:
    """Return how far what the path handed on leaves is off what the path as planned leaves [%]."""
    assert plan.toolpath is not None
    try:
        wanted, run = (predict(surface, path) for path in (planned, plan.toolpath))
    except ArithmeticError as error:
        return f"none: {error}"
    thick = wanted > 0.5 * np.median(wanted[wanted > 0.0])
    areas = surface.vertex_areas_m2[thick]
    off = np.sqrt(np.average((run - wanted)[thick] ** 2, weights=areas)) / np.average(wanted[thick], weights=areas)
    return f"{100 * off:.2f}"


def checked(cell: Cell, planned: ToolPath, plan: MotionPlan, part: Surface) -> dict[str, Any]:
    """Return everything the scorer sees of a plan."""
    trajectory, run, robot = plan.trajectory, plan.toolpath, cell.robot
    assert run is not None
    replay = Replay.of(trajectory)
    arm = UrdfArm(robot.urdf_xml, list(trajectory.joint_names))
    T_root_base = arm.frames(trajectory.base_frame, np.zeros((1, len(arm.names))))[0]
    T_root_part = T_root_base @ trajectory.T_base_part
    T_part_tool = np.linalg.inv(T_root_part) @ arm.frames(trajectory.tool_frame, replay.q_rad)
    tool = cell.tool(planned.process)
    aim = tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0
    as_planned: list[tuple[Stroke, Followed]] = []
    as_run: list[tuple[Stroke, Followed]] = []
    speeds: tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]] = ([], [])
    may_touch = np.zeros(len(replay.time_s), bool)
    held = np.zeros(len(replay.time_s), bool)
    slide_m = 0.0 if isinstance(tool.config, GunConfig) else 0.5 * tool.config.slide_stroke_m
    n_flips = 0
    for segment in (s for s in trajectory.segments if s.kind == "process"):
        assert segment.stroke is not None
        t0, t1 = trajectory.time_s[segment.i0], trajectory.time_s[segment.i1]
        rows = np.flatnonzero((replay.time_s >= t0 - 2e-3) & (replay.time_s <= t1 + 2e-3))
        served, mine = plan.served[segment.stroke], run.strokes[segment.stroke]
        wanted = planned.strokes[served.stroke].part(served.first, served.last + 1)
        wanted = wanted.reversed() if served.reversed else wanted
        as_planned.append((wanted, follow(wanted, T_part_tool[rows], aim)))
        as_run.append((mine, follow(mine, T_part_tool[rows])))
        for errors, stroke in zip(speeds, (wanted, mine), strict=True):
            errors.append(speed_errors(stroke, T_part_tool[rows]))
        n_flips += flips(T_part_tool[rows], replay.q_rad[rows])
        for end in T_part_tool[rows[[0, -1]]]:
            apart = T_part_tool[:, :3, 3] - end[:3, 3]
            near, up = np.linalg.norm(apart, axis=1) <= TOUCH_M, -apart @ end[:3, 2]
            may_touch |= near & (up <= TOUCH_UP_M)
            held |= near & (up <= TOUCH_UP_M + slide_m)
        may_touch[rows] = True
    boxes = [(b.name, T_root_base @ b.T_base_box, np.asarray(b.size_m)) for b in cell.obstacles]
    pad = contact_link(cell, planned.process)
    scene = TrueScene(arm, part, T_root_part, boxes, disabled_pairs(robot.srdf_xml), pad)
    back = -slide_m * (T_root_part[:3, :3] @ T_part_tool[:, :3, 2].T).T
    meetings = scene.meetings(replay.q_rad, may_touch, np.where(held[:, None], back, 0.0))
    freedom = max(s.freedom.tilt_rad for s in planned.strokes)
    ran = summary(as_run, 0.0)
    own = summary(as_planned, freedom)
    turn = max((float(f.axis_error_rad.max()) for _, f in as_planned), default=0.0)
    return {
        "collisions": {pair: int(hit.sum()) for pair, hit in meetings.items()},
        "flips": n_flips,
        **limit_ratios(replay, arm, robot.acceleration_rad_per_s2, robot.jerk_rad_per_s3),
        "position_error_m": ran["position_error_m"],
        "axis_over_rad": own["axis_over_rad"],
        "axis_turn_rad": turn,
        "speed_planned": kept(speeds[0]),
        "speed_handed_on": kept(speeds[1]),
        "reach_gap": _gap(cell, planned, plan, scene),
    }


def _gap(cell: Cell, planned: ToolPath, plan: MotionPlan, scene: TrueScene) -> float:
    """Return the share of samples that brute force reaches, one by one, and the plan does not serve."""
    total = sum(len(s) for s in planned.strokes)
    left = [(u.stroke, u.sample) for u in plan.trajectory.unreached]
    if not left:
        return 0.0
    some = [left[i] for i in np.unique(np.linspace(0, len(left) - 1, BRUTE_MOST).astype(int))]
    kinematics = Kinematics(cell.robot, cell.tool(planned.process).tcp_frame)
    tool = cell.tool(planned.process)
    aim = tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0
    moved = [s.transformed(plan.trajectory.T_base_part) for s in planned.strokes]
    able = sum(_reachable(kinematics, moved[k], i, aim, scene) for k, i in some)
    return able / len(some) * len(left) / total


def _reachable(kinematics: Kinematics, stroke: Stroke, sample: int, aim_m: float, scene: TrueScene) -> bool:
    frame, free = stroke.frames[sample], stroke.freedom
    spins = {"free": np.arange(0.0, 2.0 * np.pi, SPIN_STEP_RAD), "fixed": np.array([0.0, np.pi]), "exact": np.zeros(1)}
    tilts = [np.zeros(3)]
    if free.tilt_rad > 0.0:
        way = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)
        tilts += [r * free.tilt_rad * np.array([np.cos(a), np.sin(a), 0.0]) for r in (0.5, 1.0) for a in way]
    low, high = kinematics.lower_rad, kinematics.upper_rad
    for tilt in tilts:
        poses = []
        for shift in sorted({0.0, *free.standoff_m}, key=abs):
            for spin in spins[free.spin]:
                T = frame.copy()
                turn = Rotation.from_rotvec(tilt) * Rotation.from_rotvec([0.0, 0.0, spin])
                T[:3, :3] = frame[:3, :3] @ turn.as_matrix()
                T[:3, 3] += aim_m * frame[:3, 2] - (aim_m + shift) * T[:3, 2]
                poses.append(T)
        answer = kinematics.solve(np.array(poses)).position_rad.reshape(-1, len(low))
        q = answer[np.isfinite(answer).all(axis=1)]
        q = q[((q >= low) & (q <= high)).all(axis=1)]
        if len(q) and scene.any_free(q):
            return True
    return False


def _marked(text: str, good: bool) -> str:
    return text if good else f"[red]{text}[/]"


def main() -> int:
    """Run the benchmark; the exit code is 1 where a bound is missed."""
    console = Console(width=220)
    asked = os.environ.get("PARTS", "")
    names = [name.strip() for name in asked.split(",")] if asked else list(PARTS)
    processes = [os.environ["PROCESS"]] if "PROCESS" in os.environ else ["spray", "grind"]
    folder = Path(os.environ.get("PATHS", "bench_out/motion"))
    table = Table(
        "part", "process", "strokes", "splits", "collisions", "flips", "vel/acc/jerk", "off path mm", "axis over deg",
        "axis turned deg", "speed 1 % planned", "handed on", "left off %", "reached %", "reach gap %",
        "on + air s", "CPU s", "per 30",
    )  # fmt: skip
    missed = 0
    for name in names:
        for process in processes:
            try:
                cells, good = row(name, process, folder)
            except CellError as error:
                cells, good = [name, process, f"[red]{error}[/]"], False
            missed += not good
            table.add_row(*cells)
            console.print("  ".join(cells), style="dim")
    console.print(table)
    console.print(
        "bounds: no collision, no flip, ratios <= 1, 0.1 mm, 0.05 deg, 99.5 % of the length, "
        "1 % of what brute force reaches"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
