"""The simulator's physics: how well the pad holds its force, how well the arm follows, how fast it all runs.

Force: the default cell drags its pad along a flat, a concave and a convex part (spheres of RADIUS_M) at its fixture,
the arm's path off the true surface by SCAN_ERROR_M (a sine of 0.1 m), with typical device errors; the true contact
force every 2 ms from 1 s after touching to the stroke's end. Beside it the elastic force that this file works out by
itself for a motion with an abrasive that takes nothing off: closed-form kinematics, analytic surface, a quadrature of
its own over the pad.
Tracking: joints and tool against a cubic Hermite spline of scipy's, over a raster at 0.3 m/s; or over the trajectory of
a job.
Speed: CPU seconds of the simulation's own process per simulated second; and the simulator node in a process of its own
at real time, grinding, with a listener to its joint states and depth images.

    cell bench physics
    SEEDS=5 cell bench physics                           more specimens of the device
    TRAJECTORY=job/motion/trajectory.json cell bench physics    tracking along a job's trajectory instead
    ROS=0 cell bench physics                             without the node
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.interpolate import CubicHermiteSpline

from cell_core.config.grind_tools import PadTool
from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory, ProcessEvent, Segment
from cell_core.transforms import Array, inverse
from cell_motion.kinematics import Kinematics
from cell_simulation import SimulatedCell, ToolErrors
from cell_simulation.arm import ArmKind
from robot_description import Cell, load_cell

RADIUS_M = 0.5
SHAPES = {"flat": 0.0, "concave": -1.0 / RADIUS_M, "convex": 1.0 / RADIUS_M}
FORCES_N = (10.0, 20.0, 40.0)
FEEDS_M_PER_S = (0.03, 0.1)
STROKE_M = 0.16
SCAN_ERROR_M = 3e-4
SETTLED_S = 1.0
PERIOD_S = 0.008
YAW_RAD, GUN_YAW_RAD = -1.7, -0.3
"""Strokes run in these directions, which leave every joint of the default arm far from its limits."""
QUADRATURE = 4000


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Joint samples of one motion from rest to rest."""

    times_s: Array
    position_rad: Array

    @property
    def velocity_rad_per_s(self) -> Array:
        """(N, J), zero at both ends."""
        velocity = np.gradient(self.position_rad, self.times_s, axis=0)
        velocity[[0, -1]] = 0.0
        return velocity


def height(curvature_per_m: float, x: Array, y: Array) -> Array:
    """Return the height of a sphere of a curvature over its tangent plane; > 0: convex."""
    if curvature_per_m == 0.0:
        return np.zeros(np.broadcast(x, y).shape)
    r = 1.0 / curvature_per_m
    return np.sign(r) * np.sqrt(r**2 - x**2 - y**2) - r


def part(curvature_per_m: float) -> Surface:
    """Return a square part of 0.32 m, a scan's mesh of 2.5 mm."""
    side = np.linspace(-0.16, 0.16, 129)
    x, y = (a.ravel() for a in np.meshgrid(side, side, indexing="ij"))
    n = len(side)
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return Surface(
        vertices_m=np.column_stack([x, y, height(curvature_per_m, x, y)]),
        triangles=np.concatenate([np.column_stack([i, i + n, i + n + 1]), np.column_stack([i, i + n + 1, i + 1])]),
    )


def frames(curvature_per_m: float, s: Array, T_base_part: Array, error_m: Array) -> Array:
    """Return tool frames (N, 4, 4) at arc lengths along x, z into the part, off the surface by error_m outwards."""
    angle = s * curvature_per_m
    x = s if curvature_per_m == 0.0 else np.sin(angle) / curvature_per_m
    normal = np.column_stack([np.sin(angle), np.zeros(len(s)), np.cos(angle)])
    T = np.tile(np.eye(4), (len(s), 1, 1))
    T[:, :3, 2] = -normal
    T[:, :3, 0] = np.column_stack([np.cos(angle), np.zeros(len(s)), -np.sin(angle)])
    T[:, :3, 1] = np.cross(T[:, :3, 2], T[:, :3, 0])
    T[:, :3, 3] = np.column_stack([x, 0.0 * s, height(curvature_per_m, x, 0.0 * s)]) + error_m[:, None] * normal
    return T_base_part @ T


def turned(angle_rad: float) -> Array:
    """Return a turn about z (4, 4)."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0, 0.0], [s, c, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def ramped(length_m: float, speed_m_per_s: float, ramp_s: float = 0.5) -> tuple[Array, Array]:
    """Return times and arc lengths of a motion with smooth ramps (cosine) at both ends."""
    total = length_m / speed_m_per_s + ramp_s
    t = np.append(np.arange(0.0, total - 1e-9, PERIOD_S), total)
    fine = np.linspace(0.0, total, 20001)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum(fine, total - fine) / ramp_s, 0.0, 1.0))
    way = np.concatenate([[0.0], np.cumsum(0.5 * (rise[1:] + rise[:-1]) * np.diff(fine))])
    return t, np.interp(t, fine, way * length_m / way[-1])


def solved(cell: Cell, frame: str, poses: Array, start: Array) -> Array:
    """Return joint positions (N, 6) along poses, the first nearest to a start."""
    kinematics = Kinematics(cell.robot, frame)
    first = kinematics.solve(poses[:1])
    choices = first.position_rad[0][first.within_limits[0]]
    q = [choices[np.argmin(np.abs(choices - start).max(axis=1))]]
    for pose in poses:
        q.append(kinematics.follow(pose[None], q[-1][None])[0][0])
    return np.array(q[1:])


def send(sim: SimulatedCell, cell: Cell, motion: Motion) -> None:
    """Start a motion."""
    sim.accept_trajectory(cell.robot.joint_names, motion.times_s, motion.position_rad, motion.velocity_rad_per_s, None)


def approach(cell: Cell, start: Array, end: Array) -> Motion:
    """Return a smooth motion between two joint positions."""
    way = end - start
    seconds = max(3.0, 3.0 * float(np.max(np.abs(way) / cell.robot.velocity_rad_per_s)))
    t = np.append(np.arange(0.0, seconds - 1e-9, PERIOD_S), seconds)
    u = t / seconds
    shape = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    return Motion(times_s=t, position_rad=start + shape[:, None] * way)


def go_to(sim: SimulatedCell, cell: Cell, q: Array) -> None:
    """Move to a joint position and wait."""
    send(sim, cell, approach(cell, sim.position_rad, q))
    while sim.trajectory_status()[0] == "running":
        sim.step(0.1)
    if sim.trajectory_status()[0] != "done":
        raise RuntimeError(f"approach: {sim.abort_reason}")
    sim.step(1.0)


@dataclass(frozen=True, kw_only=True)
class Held:
    """One stroke's force."""

    mean_n: float
    std_n: float
    worst_n: float
    own_rms_n: float
    """Root mean square of the simulator's force minus this file's own elastic one; nan: not worked out."""
    cpu_per_s: float


def held(cell: Cell, curvature: float, force_n: float, feed: float, *, seed: int, errors: ToolErrors) -> Held:
    """Run one stroke."""
    pad, config = cell.tool("grind"), pad_of(cell)
    T = cell.T_base_fixture @ turned(YAW_RAD)
    sim = SimulatedCell(cell, part(curvature), T, seed=seed, errors=errors)
    sim.select_tool("grind")
    t, s = ramped(STROKE_M, feed)
    dwell = PERIOD_S * np.arange(1, 1 + round((config.spin_up_s + 0.1) / PERIOD_S))
    t, s = np.concatenate([[0.0], dwell, dwell[-1] + t[1:]]), np.concatenate([0.0 * dwell, s])
    s = np.asarray(s - 0.5 * STROKE_M, np.float64)
    poses = frames(curvature, s, T, SCAN_ERROR_M * np.sin(2.0 * np.pi * s / 0.1))
    q = solved(cell, pad.tcp_frame, poses, cell.robot.home_rad)
    above = poses[:1].copy()
    above[0, :3, 3] -= 0.1 * above[0, :3, 2]
    go_to(sim, cell, solved(cell, pad.tcp_frame, above, q[0])[0])
    go_to(sim, cell, q[0])
    sim.arm(True)
    sim.schedule_events(
        [ProcessEvent(time_s=0.0, name="set_force_n", value=force_n), ProcessEvent(time_s=0, name="on")]
    )
    start = sim.time_s
    send(sim, cell, Motion(times_s=t, position_rad=q))
    first, forces = start + config.spin_up_s + SETTLED_S, []
    cpu = time.process_time()
    while sim.time_s < start + t[-1] - 0.01:
        sim.step(0.002)
        if sim.time_s > first:
            forces.append(sim.contact_force_n)
    cpu = (time.process_time() - cpu) / (sim.time_s - start)
    if sim.trajectory_status()[0] != "running":
        raise RuntimeError(f"stroke: {sim.abort_reason}")
    f = np.array(forces)
    own = np.nan
    if errors.stiffness_bias == 0.0:
        own = own_difference(cell, sim, curvature, first)
    return Held(
        mean_n=float(f.mean()),
        std_n=float(f.std()),
        worst_n=float(np.abs(f - force_n).max()),
        own_rms_n=own,
        cpu_per_s=cpu,
    )


def pad_of(cell: Cell) -> PadTool:
    """Return the cell's pad."""
    config = cell.tool("grind").config
    assert isinstance(config, PadTool)
    return config


def harmless(cell: Cell) -> Cell:
    """Return the cell with an abrasive that takes nothing off."""
    return cell.equipped(pad_of(cell).model_copy(update={"preston_per_pa": 1e-18}))


def own_difference(cell: Cell, sim: SimulatedCell, curvature: float, first_s: float) -> float:
    """Return how the logged force differs from the pad's elastic force by analytic geometry (root mean square)."""
    tool, config = cell.tool("grind"), pad_of(cell)
    log = sim.executed_log()
    rows = np.flatnonzero(log["time_s"] > first_s)[::5]
    poses = inverse(cell.T_base_fixture @ turned(YAW_RAD)) @ Kinematics(cell.robot, tool.tcp_frame).forward(
        log["q"][rows]
    )
    i = (np.arange(QUADRATURE) + 0.5) / QUADRATURE
    r, a = config.radius_m * np.sqrt(i), 2.0 * np.pi * QUADRATURE * i * 0.61803398875
    difference = []
    for T, slide, force in zip(poses, log["slide_m"][rows], log["process_value"][rows], strict=True):
        face = T[:3, 3] + np.outer(r * np.cos(a), T[:3, 0]) + np.outer(r * np.sin(a), T[:3, 1]) + slide * T[:3, 2]
        z = T[:3, 2]
        # compression along the tool axis by two Newton steps onto the analytic surface
        depth = np.zeros(QUADRATURE)
        for _ in range(4):
            p = face - depth[:, None] * z
            depth += (height(curvature, p[:, 0], p[:, 1]) - p[:, 2]) / -z[2]
        pressure = config.stiffness_pa_per_m * np.clip(depth, 0.0, None)
        difference.append(force - pressure.mean() * np.pi * config.radius_m**2)
    return float(np.sqrt(np.mean(np.square(difference))))


def raster(cell: Cell) -> Motion:
    """Return a raster of three lines at 0.3 m/s over the fixture, gun downwards, turning at the ends."""
    gun = cell.tool("spray")
    t, s = ramped(1.8, 0.3)
    # lines of 0.5 m joined by half circles of 0.1 m across: a stadium curve in the plane
    line, arc = 0.5, 0.05 * np.pi
    lap = s % (2.0 * (line + arc))
    x, y = np.empty(len(s)), np.empty(len(s))
    for i, w in enumerate(lap):
        if w < line:
            x[i], y[i] = w, 0.0
        elif w < line + arc:
            a = (w - line) / 0.05
            x[i], y[i] = line + 0.05 * np.sin(a), 0.05 - 0.05 * np.cos(a)
        elif w < 2.0 * line + arc:
            x[i], y[i] = line - (w - line - arc), 0.1
        else:
            a = (w - 2.0 * line - arc) / 0.05
            x[i], y[i] = -0.05 * np.sin(a), 0.05 + 0.05 * np.cos(a)
    poses = np.tile(cell.T_base_fixture @ np.diag([1.0, -1.0, -1.0, 1.0]) @ turned(GUN_YAW_RAD), (len(s), 1, 1))
    poses[:, :3, 3] += np.column_stack([x - 0.25, y, np.full(len(s), 0.3)])
    return Motion(times_s=t, position_rad=solved(cell, gun.tcp_frame, poses, cell.robot.home_rad))


def tracking(cell: Cell, motion: Motion, frame: str, arm: ArmKind, velocity: Array | None = None) -> Table:
    """Run a motion with no part near it and compare with its spline."""
    sim = SimulatedCell(cell, part(0.0), cell.T_base_fixture, seed=1, arm=arm)
    sim.select_tool("spray")
    go_to(sim, cell, motion.position_rad[0])
    given = motion.velocity_rad_per_s if velocity is None else velocity
    start = sim.time_s
    cpu = time.process_time()
    sim.accept_trajectory(cell.robot.joint_names, motion.times_s, motion.position_rad, given, None)
    while sim.trajectory_status()[0] == "running":
        sim.step(0.1)
    cpu = (time.process_time() - cpu) / (sim.time_s - start)
    log = sim.executed_log()
    rows = (log["time_s"] > start + 1e-6) & (log["time_s"] < start + motion.times_s[-1])
    q = CubicHermiteSpline(motion.times_s, motion.position_rad, given)(log["time_s"][rows] - start)
    error = 1e3 * np.abs(log["q"][rows] - q)
    kinematics = Kinematics(cell.robot, frame)
    real, ideal = kinematics.forward(log["q"][rows])[:, :3, 3], kinematics.forward(q)[:, :3, 3]
    late = 1e3 * np.linalg.norm(real - ideal, axis=1)
    dense = kinematics.forward(CubicHermiteSpline(motion.times_s, motion.position_rad, given)(
        np.linspace(0.0, motion.times_s[-1], 20 * len(motion.times_s))))[:, :3, 3]  # fmt: skip
    from scipy.spatial import KDTree

    beside = 1e3 * KDTree(dense).query(real)[0]
    table = Table(title=f"tracking, arm {arm}, {motion.times_s[-1]:.1f} s, {sim.trajectory_status()[0]}, "
                        f"{cpu:.3f} CPU s per simulated s")  # fmt: skip
    for name in ("", *cell.robot.joint_names, "tool, mm", "beside the path, mm"):
        table.add_column(name)
    for name, of in (("p95", lambda a: np.percentile(a, 95)), ("max", np.max)):
        joints = [f"{of(error[:, j]):.3f} mrad" for j in range(error.shape[1])]
        table.add_row(name, *joints, f"{of(late):.3f}", f"{of(beside):.3f}")
    return table


def force_table(cell: Cell, seeds: int) -> Table:
    """Drag the pad over all parts."""
    table = Table(
        title=f"true contact force, default pad, radius {RADIUS_M} m, path off by {1e3 * SCAN_ERROR_M:.1f} mm"
    )
    for name in ("part", "set, N", "feed, mm/s", "mean - set, N", "std, N", "largest error, N",
                 "own - simulator, N rms", "CPU s/s"):  # fmt: skip
        table.add_column(name, justify="right")
    for shape, curvature in SHAPES.items():
        for force in FORCES_N:
            for feed in FEEDS_M_PER_S:
                runs = [held(cell, curvature, force, feed, seed=s, errors=ToolErrors()) for s in range(1, seeds + 1)]
                exact = replace(ToolErrors(), stiffness_bias=0.0)
                own = held(harmless(cell), curvature, force, feed, seed=1, errors=exact).own_rms_n
                table.add_row(
                    shape, f"{force:.0f}", f"{1e3 * feed:.0f}",
                    " ".join(f"{r.mean_n - force:+.3f}" for r in runs), " ".join(f"{r.std_n:.3f}" for r in runs),
                    f"{max(r.worst_n for r in runs):.2f}", f"{own:.3f}", f"{np.mean([r.cpu_per_s for r in runs]):.3f}",
                )  # fmt: skip
    return table


def node_table(cell: Cell) -> Table:
    """Grind a concave part through the simulator node at real time."""
    from physics_node import node_rates

    curvature, force, config = SHAPES["concave"], 20.0, pad_of(cell)
    T, frame = cell.T_base_fixture @ turned(YAW_RAD), cell.tool("grind").tcp_frame
    t, s = ramped(STROKE_M, 0.01)
    s = np.asarray(s - 0.5 * STROKE_M, np.float64)
    poses = frames(curvature, s, T, SCAN_ERROR_M * np.sin(2.0 * np.pi * s / 0.1))
    q = solved(cell, frame, poses, cell.robot.home_rad)
    above = poses[:1].copy()
    above[0, :3, 3] -= 0.1 * above[0, :3, 2]
    over = solved(cell, frame, above, q[0])[0]
    moves = [approach(cell, cell.robot.home_rad, over), approach(cell, over, q[0])]
    events = [
        ProcessEvent(time_s=0.0, name="set_force_n", value=force),
        ProcessEvent(time_s=0.0, name="on"),
        ProcessEvent(time_s=float(t[-1]) - 0.1, name="off"),
    ]
    runs = [trajectory(cell, m, []) for m in moves] + [trajectory(cell, Motion(times_s=t, position_rad=q), events)]
    rates = node_rates(part(curvature), YAW_RAD, runs, cell)
    table = Table(title=f"simulator node at real time, grinding a concave part at {force:.0f} N, {config.name}")
    for name in ("real-time factor", "joint states, Hz", "depth images, Hz", "node's CPU s per s", "wrench, N"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{rates.real_time_factor:.3f}", f"{rates.joint_states_hz:.0f}", f"{rates.depth_hz:.1f}",
        f"{rates.node_cpu_per_s:.2f}", f"{rates.force_mean_n:.2f}",
    )  # fmt: skip
    return table


def trajectory(cell: Cell, motion: Motion, events: list[ProcessEvent]) -> JointTrajectory:
    """Return a motion as a trajectory of one segment."""
    velocity = motion.velocity_rad_per_s
    return JointTrajectory(
        joint_names=list(cell.robot.joint_names), time_s=motion.times_s, position_rad=motion.position_rad,
        velocity_rad_per_s=velocity, acceleration_rad_per_s2=np.gradient(velocity, motion.times_s, axis=0),
        segments=[Segment(kind="approach", i0=0, i1=len(motion.times_s) - 1)], events=events,
        tool_frame=cell.tool("grind").tcp_frame, base_frame=cell.robot.config.base_frame, T_base_part=np.eye(4),
    )  # fmt: skip


def main() -> int:
    """Print forces, tracking and speed."""
    console = Console(width=180)
    cell = load_cell("default")
    if os.environ.get("FORCE", "1") != "0":
        console.print(force_table(cell, int(os.environ.get("SEEDS", "2"))))
    if os.environ.get("ROS", "1") != "0":
        console.print(node_table(cell))
    if "TRAJECTORY" in os.environ:
        given = JointTrajectory.read(Path(os.environ["TRAJECTORY"]))
        motion = Motion(times_s=given.time_s, position_rad=given.position_rad)
        velocity = given.velocity_rad_per_s
    else:
        motion, velocity = raster(cell), None
    for arm in ("mujoco", "servo"):
        console.print(tracking(cell, motion, "gun_tcp", arm, velocity))
    return 0


if __name__ == "__main__":
    sys.exit(main())
