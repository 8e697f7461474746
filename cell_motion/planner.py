"""Plan the arm's motion for a whole tool path, and report exactly what could not be reached and why."""

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cell_core.config import GunConfig
from cell_core.errors import CollisionError, InputRefusedError, UnreachableError
from cell_core.plan import Progress, no_progress
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory, Unreached
from cell_core.transforms import Array, inverse
from cell_motion.backends import free_mover
from cell_motion.collision import Margins, Scene, contact_link
from cell_motion.compensation import compensated
from cell_motion.connect import Connection, Connector, Station, station_after, station_before
from cell_motion.events import Passage, grind_events, spray_events
from cell_motion.figures import on_lengths_m, plan_figures
from cell_motion.kinematics import Kinematics
from cell_motion.limits import checked_position
from cell_motion.order import entries, ordered
from cell_motion.plan import MotionPlan, Served
from cell_motion.runs import Checkers, Fault, Run, Runner
from cell_motion.strokes import Ladder, LadderBuilder, Leg, legs_of, without
from cell_motion.timing import Limits
from cell_motion.trajectory import Joiner, backwards, collisions_at
from robot_description.model import Cell

PLANNED_FRACTION = 0.95
"""Share of the joint limits that plans use."""
RETRIES_PER_STROKE = 16
TRANSITION_RETRIES = 4
GENTLE_RETRIES = 8
"""After so many a whole rung is given up, which splits the stroke."""
NODE_RADIUS_RAD = 0.3
CONNECT_S = 4.0
LOSS_S = 0.05
LOSS_SHARE = 0.03
CHOICES = 4
"""Where a stroke would lose more time than this by slowing down, so many ways are compared."""
SLOWED_COST = 10.0
SELF_MARGIN_M = 0.005


def plan_process(
    cell: Cell,
    toolpath: ToolPath,
    part: Surface,
    T_base_part: Array,
    *,
    start_rad: Array | None = None,
    end_rad: Array | None = None,
    backend: str = "embedded",
    seed: int = 0,
    progress: Progress = no_progress,
    time_budget_s: float = 60.0,
) -> MotionPlan:
    """Plan approach, process, retract and transitions for every stroke that the arm can reach without collision.

    Per stroke: inverse kinematics over spin (and tilt and standoff where nominal poses fail), a layered graph search that refuses
    flips, exact solution at every controller period at the prescribed speed, and collision checks with margins; then the
    whole trajectory is checked again at zero margin. A stroke without a continuous way is split, samples that cannot be
    served are listed with the reason. When time runs out the best plan so far is returned and the rest is unreached, "time".

    Args:
        toolpath: strokes in the frame of the part.
        part: the scanned part; it is an obstacle, filled, and may not be missing.
        T_base_part: (4, 4) part frame in the base frame.
        start_rad: (6,) where the arm stands; None: home.
        end_rad: (6,) where it shall end; None: home.
        backend: who plans the free moves: "embedded" or "moveit".

    Raises:
        InputRefusedError: no part, or a pose that is none.
        LimitError: start or end outside the joint limits.
        CollisionError: start or end in collision, or no way to the end.
        UnreachableError: not one stroke can be run; `facts["unreached"]` says why.
    """
    clock = _Clock(time_budget_s)
    _check_inputs(cell, part, T_base_part)
    start = checked_position(cell, start_rad, "start_rad")
    end = checked_position(cell, end_rad, "end_rad")
    progress(0.0, "building the collision scene")
    desk = _Desk(cell, toolpath, part, np.asarray(T_base_part, float), backend, seed, clock)
    for name, position in (("start_rad", start), ("end_rad", end)):
        hits = desk.checkers.verify.hits(position)
        if hits:
            raise CollisionError(f"{name}: {hits[0][1]} is in collision with {hits[0][2]}", pair=hits[0][1:])
    ladders, legs, unreached = desk.search(progress)
    order = ordered(legs, [toolpath.strokes[leg.ladder.stroke].kind for leg in legs], start, desk.builder.rule)
    steps, missed = desk.place(order, start, progress)
    unreached += missed
    if not steps:
        reasons = sorted({u.reason for u in _with_gaps(toolpath, steps, unreached, ladders)})
        raise UnreachableError(
            f"motion: 0 of {len(toolpath.strokes)} strokes can be run ({', '.join(reasons)})",
            unreached=_with_gaps(toolpath, steps, unreached, ladders),
        )
    progress(0.9, "joining and checking")
    home = desk.connector.connect(station_after(steps[-1].run), Station(joint_rad=end, on_part=False), 2.0 * CONNECT_S)
    if home is None:
        raise CollisionError("motion: found no free way from the last stroke to the end position")
    return desk.assemble(steps, home, start, _with_gaps(toolpath, steps, unreached, ladders))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """A run and the way to it."""

    run: Run
    connection: Connection


class _Clock:
    def __init__(self, budget_s: float) -> None:
        self._start = time.monotonic()
        self._budget_s = budget_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    @property
    def is_late(self) -> bool:
        return self.elapsed_s > self._budget_s


class _Desk:
    """Everything one plan works with."""

    def __init__(
        self, cell: Cell, toolpath: ToolPath, part: Surface, T_base_part: Array, backend: str, seed: int, clock: _Clock
    ) -> None:
        tool = cell.tool(toolpath.process)
        config = cell.config
        grinding = toolpath.process == "grind"
        self.cell, self.toolpath, self.part, self.T_base_part, self.clock = cell, toolpath, part, T_base_part, clock
        self.tool = tool
        scene = Scene(cell, part=part, T_base_part=T_base_part)
        margins = Margins(
            self_m=SELF_MARGIN_M, cell_m=config.collision_margin_m, part_m=max(config.part_margin_m, 0.0)
        )
        pad = contact_link(cell, toolpath.process)
        self.checkers = Checkers(
            process=scene.checker(margins, contact=pad),
            leaving=scene.checker(margins, contact=pad, contact_margin_m=0.0),
            free=scene.checker(margins),
            verify=scene.checker(Margins()),
        )
        self.touching = scene.checker(Margins(), contact=pad) if pad is not None else None
        self.kinematics = Kinematics(cell.robot, tool.tcp_frame)
        self.limits = Limits.of(cell.robot, PLANNED_FRACTION)
        pivot_m = tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0
        self.builder = LadderBuilder(
            self.kinematics, self.checkers.process, self.limits.velocity_rad_per_s, pivot_m
        )
        self.runner = Runner(
            kinematics=self.kinematics,
            limits=self.limits,
            checkers=self.checkers,
            grinding=grinding,
            acceleration_m_per_s2=tool.config.acceleration_m_per_s2,
            period_s=config.controller_period_s,
            pivot_m=pivot_m,
        )
        self.connector = Connector(
            runner=self.runner,
            mover=free_mover(backend, cell, self.checkers.free, part, T_base_part),
            verify=self.checkers.verify,
            limits=self.limits,
            period_s=config.controller_period_s,
            must_retract=grinding,
            seed=seed,
        )
        self.strokes = [s.transformed(T_base_part) for s in toolpath.strokes]

    def search(self, progress: Progress) -> tuple[dict[int, Ladder], list[Leg], list[Unreached]]:
        """Return each stroke's ladder, all legs in the order given, and what no leg serves for lack of time."""
        ladders: dict[int, Ladder] = {}
        legs: list[Leg] = []
        unreached: list[Unreached] = []
        for k, stroke in enumerate(self.strokes):
            progress(0.05 + 0.45 * k / len(self.strokes), f"searching stroke {k + 1} of {len(self.strokes)}")
            if self.clock.is_late:
                unreached += [Unreached(stroke=k, sample=i, reason="time") for i in range(len(stroke))]
                continue
            ladders[k] = self.builder.build(k, stroke)
            legs += legs_of(ladders[k])
        return ladders, legs, unreached

    def place(self, order: list[Leg], start: Array, progress: Progress) -> tuple[list[_Step], list[Unreached]]:
        """Turn legs into runs one after another, each with its way from the one before."""
        steps: list[_Step] = []
        unreached: list[Unreached] = []
        retries: dict[int, int] = {}
        queue = deque(order)
        here = Station(joint_rad=start, on_part=False)
        while queue:
            leg = queue.popleft()
            progress(0.5 + 0.4 * len(steps) / (len(steps) + len(queue) + 1), f"stroke {leg.ladder.stroke + 1}")
            if self.clock.is_late:
                unreached += _unreached(leg, "time")
                continue
            step, fault, entry_nodes = self._step(leg, here)
            if step is not None:
                steps.append(step)
                here = station_after(step.run)
                continue
            stroke = leg.ladder.stroke
            retries[stroke] = retries.get(stroke, 0) + 1
            allowed = TRANSITION_RETRIES if fault is not None and fault.reason == "transition" else RETRIES_PER_STROKE
            if fault is None or retries[stroke] > allowed:
                unreached += _unreached(leg, "transition" if fault is None else fault.reason)
                continue
            ladder = self._blocked(leg, fault, entry_nodes, gently=retries[stroke] <= GENTLE_RETRIES)
            again = legs_of(ladder, leg.first, leg.last)
            served = {s for new in again for s in range(new.samples[0], new.samples[1] + 1)}
            first, last = leg.samples
            unreached += [
                Unreached(stroke=stroke, sample=s, reason=fault.reason)  # pyright: ignore[reportArgumentType]
                for s in range(first, last + 1)
                if s not in served
            ]
            queue.extendleft(reversed(again))
        return steps, unreached

    def _step(self, leg: Leg, here: Station) -> tuple[_Step | None, Fault | None, list[int]]:
        """Return the first way to run a leg that works; else the first fault (None: no way to it) and the nodes it was met on."""
        fault: Fault | None = None
        nodes: list[int] = []
        found: list[tuple[float, _Step]] = []
        ways = entries(leg, here.joint_rad, self.builder.rule)
        if leg.plain is not None:
            plain = entries(leg, here.joint_rad, self.builder.rule, count=2, policy=leg.plain)
            ways = [ways[0], *plain, *ways[1:]]
        for entry in ways:
            if self.clock.is_late or len(found) == CHOICES:
                break
            run = self.runner.run(leg, self.strokes[leg.ladder.stroke], entry.nodes, entry.reverse, here.joint_rad)
            if not isinstance(run, Fault):
                run = self._with_ways(run)
            if isinstance(run, Fault):
                if fault is None:
                    fault = self._forwards(run, leg, entry.reverse)
                    nodes = entry.nodes
                continue
            connection = self.connector.connect(here, station_before(run), CONNECT_S)
            if connection is None:
                continue
            step = _Step(run=run, connection=connection)
            if run.lost_s < max(LOSS_S, LOSS_SHARE * float(run.stroke.times_s[-1])):
                return step, None, []
            found.append((SLOWED_COST * run.lost_s + connection.move.duration_s, step))
        if found:
            return min(found, key=lambda f: f[0])[1], None, []
        return None, fault, nodes

    def _with_ways(self, run: Run) -> Run | Fault:
        """Refuse a run that the arm could not come to or get away from along the tool axis."""
        if not self.connector.has_way(station_before(run)):
            return Fault(reason="transition", s_m=0.0)
        if not self.connector.has_way(station_after(run)):
            return Fault(reason="transition", s_m=run.stroke.length_m)
        return run

    def _forwards(self, fault: Fault, leg: Leg, reverse: bool) -> Fault:
        if not reverse:
            return fault
        first, last = leg.samples
        return replace(fault, s_m=self.strokes[leg.ladder.stroke].part(first, last + 1).length_m - fault.s_m)

    def _blocked(self, leg: Leg, fault: Fault, nodes: list[int], *, gently: bool) -> Ladder:
        """Take the node nearest to a fault out of the ladder, with those around it, or all nodes of its rung."""
        first, last = leg.samples
        at = np.r_[0.0, np.cumsum(self.strokes[leg.ladder.stroke].part(first, last + 1).step_lengths_m)]
        rungs = at[leg.ladder.sample[leg.first : leg.last + 1] - first]
        k = int(np.argmin(np.abs(rungs - fault.s_m)))
        rung = leg.first + k
        position = leg.ladder.rungs[rung].position_rad[nodes[k]]
        return without(leg.ladder, rung, position, fault.reason, NODE_RADIUS_RAD if gently else np.inf)

    def _compensated(self, steps: list[_Step]) -> tuple[list[_Step], float]:
        """Let flow or force follow the speed where the arm is slower than planned; also the largest excess left over."""
        done, excess = [], 0.0
        for step in steps:
            run = step.run
            first, last = run.leg.samples
            planned = self.strokes[run.leg.ladder.stroke].part(first, last + 1)
            planned = planned.reversed() if run.reverse else planned
            planned = replace(planned, speed_m_per_s=planned.speed_m_per_s * run.stretch)
            stroke, left = compensated(run.stroke, planned, self.tool.config)
            done.append(replace(step, run=replace(run, stroke=stroke)))
            excess = max(excess, left)
        return done, excess

    def assemble(
        self, steps: list[_Step], home: Connection, start: Array, unreached: tuple[Unreached, ...]
    ) -> MotionPlan:
        """Join all motions, set the events, check the whole and count it up."""
        steps, excess = self._compensated(steps)
        joiner = Joiner(start)
        passages: list[Passage] = []
        waiting: tuple[Stroke, Array] | None = None
        for index, connection in enumerate([*(s.connection for s in steps), home]):
            if connection.out is not None:
                joiner.append(connection.out)
            joiner.close("retract")
            if waiting is not None:
                passages.append(Passage(stroke=waiting[0], sample_times_s=waiting[1], clear_s=joiner.time_s))
            joiner.append(connection.move)
            joiner.close("transition")
            if connection.into is not None:
                joiner.append(backwards(connection.into))
            if index == len(steps):
                break
            run = steps[index].run
            waiting = (run.stroke, joiner.time_s + run.sample_times_s)
            joiner.append(run.motion, 0, run.start)
            joiner.close("approach")
            joiner.append(run.motion, run.start, run.end)
            joiner.close("process", stroke=index)
            joiner.append(run.motion, run.end)
        make = spray_events if self.toolpath.process == "spray" else grind_events
        time_s, position, velocity, acceleration = joiner.arrays()
        trajectory = JointTrajectory(
            joint_names=self.cell.robot.joint_names,
            time_s=time_s,
            position_rad=position,
            velocity_rad_per_s=velocity,
            acceleration_rad_per_s2=acceleration,
            segments=joiner.segments,
            events=make(passages, self.tool.config),  # pyright: ignore[reportArgumentType]
            tool_frame=self.tool.tcp_frame,
            base_frame=self.cell.robot.config.base_frame,
            T_base_part=self.T_base_part,
            unreached=unreached,
        )
        touching = self.touching or self.checkers.verify
        collisions = collisions_at(self.cell, trajectory, self.checkers.verify, touching, trajectory.time_s)
        if collisions:
            hit = collisions[0]
            raise CollisionError(
                f"motion: {hit.pair[0]} meets {hit.pair[1]} at {hit.time_s:.3f} s ({hit.segment}) at zero margin",
                collisions=collisions,
            )
        T_part_base = inverse(self.T_base_part)
        runs = [step.run for step in steps]
        run_path = replace(
            self.toolpath,
            strokes=[run.stroke.transformed(T_part_base) for run in runs],
            unreached=_unreached_block(self.toolpath, unreached),
        )
        served = tuple(
            Served(stroke=r.leg.ladder.stroke, first=r.leg.samples[0], last=r.leg.samples[1], reversed=r.reverse)
            for r in runs
        )
        figures = plan_figures(self.cell.robot, self.toolpath, run_path, trajectory, runs, len(collisions))
        figures["uncompensated_excess_fraction"] = excess
        figures["plan_time_s"] = self.clock.elapsed_s
        return MotionPlan(trajectory=trajectory, toolpath=run_path, figures=figures, served=served)


def _unreached(leg: Leg, reason: str) -> list[Unreached]:
    first, last = leg.samples
    return [
        Unreached(stroke=leg.ladder.stroke, sample=i, reason=reason)  # pyright: ignore[reportArgumentType]
        for i in range(first, last + 1)
    ]


def _with_gaps(
    toolpath: ToolPath, steps: list[_Step], unreached: list[Unreached], ladders: dict[int, Ladder]
) -> tuple[Unreached, ...]:
    """Return every planned sample that no step serves, once, with the best known reason."""
    served = {
        (step.run.leg.ladder.stroke, i)
        for step in steps
        for i in range(step.run.leg.samples[0], step.run.leg.samples[1] + 1)
    }
    known = {(u.stroke, u.sample): u.reason for u in unreached}
    out = []
    for k, stroke in enumerate(toolpath.strokes):
        for i in range(len(stroke)):
            if (k, i) in served:
                continue
            reason = known.get((k, i)) or _ladder_reason(ladders.get(k), i)
            out.append(Unreached(stroke=k, sample=i, reason=reason))  # pyright: ignore[reportArgumentType]
    return tuple(out)


def _ladder_reason(ladder: Ladder | None, sample: int) -> str:
    """Return why the rung nearest to a sample has no node; a rung with nodes was left out to avoid a flip."""
    if ladder is None:
        return "time"
    near = np.argsort(np.abs(ladder.sample - sample), kind="stable")[:2]
    return next((ladder.reasons[k] for k in near if ladder.reasons[k]), "flip")


def _unreached_block(toolpath: ToolPath, unreached: tuple[Unreached, ...]) -> dict[str, Any]:
    """Return the tool path's unreached block with the share of process-on length that motion could not reach added."""
    block = dict(toolpath.unreached)
    total = sum(float(on_lengths_m(s).sum()) for s in toolpath.strokes)
    reasons: dict[str, float] = {}
    lengths = [on_lengths_m(s) for s in toolpath.strokes]
    for u in unreached:
        reasons[u.reason] = reasons.get(u.reason, 0.0) + float(lengths[u.stroke][u.sample]) / max(total, 1e-12)
    block["motion_length_fraction"] = sum(reasons.values())
    block["motion_reasons"] = reasons
    return block


def _check_inputs(cell: Cell, part: Surface | None, T_base_part: Array) -> None:
    if part is None:
        raise InputRefusedError("motion: no part given; a process is not planned without the part as an obstacle")
    T = np.asarray(T_base_part, float)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise InputRefusedError(f"motion: T_base_part has shape {T.shape}, wanted a finite (4, 4)")
    error = float(np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max())
    if error > 1e-6 or np.linalg.det(T[:3, :3]) < 0.0:
        raise InputRefusedError(f"motion: T_base_part is no rigid transform: rotation is off by {error:.3g}, bound 1e-6")
