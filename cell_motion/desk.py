"""Turn the strokes of a tool path into runs, one after another, each with its way from the one before."""

import time
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from cell_core.config import GunConfig
from cell_core.plan import Progress
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.trajectory import Unreached
from cell_core.transforms import Array
from cell_motion.accounting import unreached_of
from cell_motion.backends import free_mover
from cell_motion.collision import Margins, Scene, contact_link, slide_back_m
from cell_motion.compensation import least_value
from cell_motion.connect import SWEPT_STEP_M, Connection, Connector, Station, station_after, station_before
from cell_motion.hop import Hopper
from cell_motion.kinematics import Kinematics
from cell_motion.order import entries
from cell_motion.run import Checkers, Fault, Run
from cell_motion.runs import Runner
from cell_motion.strokes import Ladder, LadderBuilder, Leg, legs_of, without
from cell_motion.timing import Limits
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
CHOICES = 2
"""Where a stroke would lose more time than this by slowing down, so many ways are compared."""
SLOWED_COST = 10.0
SELF_MARGIN_M = 0.005
PAD_MARGIN_M = 0.001
"""The pad keeps so far from the scan when it is not to touch: the part may differ from it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A run and the way to it."""

    run: Run
    connection: Connection


class Clock:
    """How much of the time budget is gone."""

    def __init__(self, budget_s: float) -> None:
        self._start = time.monotonic()
        self._budget_s = budget_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    @property
    def is_late(self) -> bool:
        return self.elapsed_s > self._budget_s


class Desk:
    """Everything one plan works with."""

    def __init__(
        self, cell: Cell, toolpath: ToolPath, part: Surface, T_base_part: Array, backend: str, seed: int, clock: Clock
    ) -> None:
        tool = cell.tool(toolpath.process)
        config = cell.config
        grinding = toolpath.process == "grind"
        self.cell, self.toolpath, self.part, self.T_base_part, self.clock = cell, toolpath, part, T_base_part, clock
        self.tool = tool
        scene = Scene(cell, part=part, T_base_part=T_base_part)
        margins = Margins(self_m=SELF_MARGIN_M, cell_m=config.collision_margin_m, part_m=max(config.part_margin_m, 0.0))
        pad = contact_link(cell, toolpath.process)
        self.checkers = Checkers(
            process=scene.checker(margins, contact=pad),
            leaving=scene.checker(margins, contact=pad, contact_margin_m=PAD_MARGIN_M),
            free=scene.checker(margins),
            verify=scene.checker(Margins()),
        )
        self.touching = scene.checker(Margins(), contact=pad) if pad is not None else None
        self.kinematics = Kinematics(cell.robot, tool.tcp_frame)
        self.limits = Limits.of(cell.robot, PLANNED_FRACTION)
        pivot_m = tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0
        self.builder = LadderBuilder(
            self.kinematics,
            self.checkers.process,
            self.limits.velocity_rad_per_s,
            pivot_m=pivot_m,
            leaving=self.checkers.leaving if grinding else None,
            least_value=least_value(tool.config),
            is_late=lambda: clock.is_late,
        )
        self.runner = Runner(
            kinematics=self.kinematics,
            limits=self.limits,
            checkers=self.checkers,
            grinding=grinding,
            acceleration_m_per_s2=tool.config.acceleration_m_per_s2,
            period_s=config.controller_period_s,
            pivot_m=pivot_m,
            slide_m=slide_back_m(tool.config),
        )
        half = 0.5 * SWEPT_STEP_M
        self.connector = Connector(
            runner=self.runner,
            hopper=Hopper(
                kinematics=self.kinematics,
                checkers=self.checkers,
                limits=self.limits,
                period_s=config.controller_period_s,
            ),
            mover=free_mover(backend, cell, self.checkers.free, part, T_base_part),
            swept=scene.checker(Margins(self_m=half, cell_m=half, part_m=half)),
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
            ladder = None if self.clock.is_late else self.builder.build(k, stroke)
            if ladder is None:
                unreached += [Unreached(stroke=k, sample=i, reason="time") for i in range(len(stroke))]
                continue
            ladders[k] = ladder
            legs += legs_of(ladder)
        return ladders, legs, unreached

    def place(self, order: list[Leg], start: Array, progress: Progress) -> tuple[list[Step], list[Unreached]]:
        """Turn legs into runs one after another, each with its way from the one before."""
        steps: list[Step] = []
        unreached: list[Unreached] = []
        retries: dict[int, int] = {}
        queue = deque(order)
        # where a stop left the tool beside the part, it has to get away along its axis first
        here = Station(joint_rad=start, on_part=not self.checkers.free.is_free(start))
        while queue:
            leg = queue.popleft()
            progress(0.5 + 0.4 * len(steps) / (len(steps) + len(queue) + 1), f"stroke {leg.ladder.stroke + 1}")
            if self.clock.is_late:
                unreached += unreached_of(leg, "time")
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
                unreached += unreached_of(leg, "transition" if fault is None else fault.reason)
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

    def _step(self, leg: Leg, here: Station) -> tuple[Step | None, Fault | None, list[int]]:
        """Return a way to run a leg; else the first fault (None: no way to it) and the nodes it was met on."""
        fault: Fault | None = None
        nodes: list[int] = []
        found: list[tuple[float, Step]] = []
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
            step = Step(run=run, connection=connection)
            if run.lost_s < max(LOSS_S, LOSS_SHARE * float(run.stroke.times_s[-1])):
                return step, None, []
            found.append((SLOWED_COST * run.lost_s + connection.move.duration_s, step))
        if found:
            return min(found, key=lambda f: f[0])[1], None, []
        return None, fault, nodes

    def at_nominal_poses(self, leg: Leg, here_rad: Array) -> Run | None:
        """Return a leg's run without tilts and shifts, from near a joint position (6,), or None where there is none."""
        if leg.plain is None:
            return None
        for entry in entries(leg, here_rad, self.builder.rule, count=2, policy=leg.plain):
            run = self.runner.run(leg, self.strokes[leg.ladder.stroke], entry.nodes, entry.reverse, here_rad)
            run = run if isinstance(run, Fault) else self._with_ways(run)
            if not isinstance(run, Fault):
                return run
        return None

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
