"""Join runs and free moves into one trajectory with its process events."""

from dataclasses import replace

from cell_core.errors import CollisionError
from cell_core.toolpath import Stroke
from cell_core.trajectory import JointTrajectory, Unreached
from cell_core.transforms import Array
from cell_motion.accounting import unreached_block
from cell_motion.as_run import as_run, path_of
from cell_motion.backends import confirmed
from cell_motion.connect import Connection
from cell_motion.desk import Desk, Step
from cell_motion.events import Passage, grind_events, spray_events
from cell_motion.figures import plan_figures
from cell_motion.finely import finely_sampled
from cell_motion.plan import MotionPlan, Served
from cell_motion.run import Run
from cell_motion.runs import SLOWEST_M_PER_S
from cell_motion.timing import hold
from cell_motion.trajectory import Joiner, backwards, collisions_at

REST_NODE_S = 1.0
"""Distance of time nodes while the arm rests: nothing happens there, and files stay small."""


def assemble(
    desk: Desk, steps: list[Step], home: Connection, start: Array, unreached: tuple[Unreached, ...]
) -> MotionPlan:
    """Join all motions, set the events, check the whole and count it up.

    Raises:
        CollisionError: something meets at zero margin after all; names the pair and the time.
    """
    runs, excess = as_run(desk, [step.run for step in steps])
    runs = [finely_sampled(run, SLOWEST_M_PER_S) for run in runs]
    joiner, passages = _joined(steps, runs, home, start)
    make = spray_events if desk.toolpath.process == "spray" else grind_events
    time_s, position, velocity, acceleration = joiner.arrays()
    trajectory = JointTrajectory(
        joint_names=desk.cell.robot.joint_names,
        time_s=time_s,
        position_rad=position,
        velocity_rad_per_s=velocity,
        acceleration_rad_per_s2=acceleration,
        segments=joiner.segments,
        events=make(passages, desk.tool.config),  # pyright: ignore[reportArgumentType]
        tool_frame=desk.tool.tcp_frame,
        base_frame=desk.cell.robot.config.base_frame,
        T_base_part=desk.T_base_part,
        unreached=unreached,
    )
    touching = desk.touching or desk.checkers.verify
    collisions = collisions_at(desk.cell, trajectory, desk.checkers.verify, touching, trajectory.time_s)
    if collisions:
        hit = collisions[0]
        raise CollisionError(
            f"motion: {hit.pair[0]} meets {hit.pair[1]} at {hit.time_s:.3f} s ({hit.segment}) at zero margin",
            collisions=collisions,
        )
    asked = confirmed(desk.connector.mover, trajectory)
    run_path = replace(path_of(desk, runs), unreached=unreached_block(desk.toolpath, unreached))
    served = tuple(
        Served(stroke=r.leg.ladder.stroke, first=r.leg.samples[0], last=r.leg.samples[1], reversed=r.reverse)
        for r in runs
    )
    figures = plan_figures(desk.cell.robot, desk.toolpath, run_path, trajectory, runs, len(collisions))
    figures["uncompensated_excess_fraction"] = excess
    figures["rest_time_s"] = sum(run.stroke.wait_before_s for run in runs)
    figures |= asked
    figures["plan_time_s"] = desk.clock.elapsed_s
    return MotionPlan(trajectory=trajectory, toolpath=run_path, figures=figures, served=served)


def _joined(steps: list[Step], runs: list[Run], home: Connection, start: Array) -> tuple[Joiner, list[Passage]]:
    """Append everything in order; process segments count the runs."""
    joiner = Joiner(start)
    passages: list[Passage] = []
    waiting: tuple[Stroke, Array] | None = None
    for index, connection in enumerate([*(s.connection for s in steps), home]):
        clear_s = joiner.time_s + connection.clear_s
        waits = index < len(steps) and runs[index].stroke.wait_before_s > 0.0
        left, arriving = connection.ends or (0, None)
        left = 0 if waits else left
        if connection.out is not None:
            joiner.append(connection.out)
        if left:
            joiner.append(connection.move, 0, left)
        joiner.close("retract")
        if waiting is not None:
            passages.append(Passage(stroke=waiting[0], sample_times_s=waiting[1], clear_s=clear_s))
        if waits:
            joiner.append(hold(connection.move.position_rad[0], runs[index].stroke.wait_before_s, REST_NODE_S))
            joiner.close("transition")
        joiner.append(connection.move, left, arriving)
        joiner.close("transition")
        if arriving is not None:
            joiner.append(connection.move, arriving)
        if connection.into is not None:
            joiner.append(backwards(connection.into))
        if index == len(steps):
            break
        run = runs[index]
        waiting = (run.stroke, joiner.time_s + run.sample_times_s)
        joiner.append(run.motion, 0, run.start)
        joiner.close("approach")
        joiner.append(run.motion, run.start, run.end)
        joiner.close("process", stroke=index)
        joiner.append(run.motion, run.end)
    return joiner, passages
