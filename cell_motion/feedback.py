"""Where the arm tilts a tool or cannot keep a speed, speeds are found anew for what the path was to leave."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cell_core.plan import Progress
from cell_core.restoring import Attainable, Restorer
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_motion.as_run import as_run, path_of
from cell_motion.connect import Station, station_after, station_before
from cell_motion.desk import CONNECT_S, Desk, Step
from cell_motion.plan import MotionPlan
from cell_motion.run import Fault, Run

ROUNDS = 2
ENOUGH = 0.002
"""What is off by less than this share of the mean is left as it is."""
GAIN_MIN = 0.05
"""Another round is worth while after one that took away at least this share of what was off."""
ROOM_MAX = 1.5
"""No sample is asked to be faster than it was by more than this factor, whatever room its limits seem to leave."""
SAME = 1e-3


def restored_steps(
    desk: Desk, steps: list[Step], start: Array, restorer: Restorer, progress: Progress
) -> tuple[list[Step], dict[str, Any]]:
    """Return the steps at the poses and speeds that leave what was planned as nearly as the arm allows, and figures.

    First strokes that were tilted to keep their speed are tried at nominal poses and lower speeds, and stay so where
    that leaves more of what was planned. Then speeds are found anew: joint paths stay, their timing changes, and with
    it the ways between them. After each of at most ROUNDS rounds what the path leaves is predicted anew from the path
    as run, and the best is kept.
    """
    runs = [step.run for step in steps]
    before = now = _off(desk, runs, restorer)
    rounds, n_untilted = 0, 0
    while before > ENOUGH and rounds < ROUNDS and not desk.clock.is_late:
        progress(0.85, f"finding speeds for the poses run, {now:.2%} off the plan")
        trial, n = (runs, 0) if rounds else _untilted(desk, runs, start, restorer)
        trial = _retimed(desk, trial, restorer)
        off, joined = _off(desk, trial, restorer), None
        if off < now:
            joined = _joined(desk, steps, trial, start)
        if joined is None:
            break
        gained, rounds, n_untilted = 1.0 - off / now, rounds + 1, n_untilted + n
        steps, runs, now = joined, trial, off
        if now <= ENOUGH or gained < GAIN_MIN:
            break
    return steps, {
        "off_plan_before_rms_fraction": before,
        "off_plan_rms_fraction": now,
        "restoring_rounds": rounds,
        "untilted_strokes": n_untilted,
    }


def told_anew(plan: MotionPlan, restorer: Restorer | None, told: dict[str, Any]) -> MotionPlan:
    """Return the plan with what its path as run leaves predicted anew; what was promised of the path as planned goes.

    Args:
        plan: with its path as run.
        restorer: None: nobody knows what the path leaves, and it promises nothing but its length and duration.
        told: figures so far.
    """
    path = plan.toolpath
    if path is None:
        return plan
    prediction = {"duration_s": path.duration_s, "length_m": path.length_m}
    figures = {**plan.figures, **told}
    if restorer is not None:
        left = restorer.predicted(path)
        prediction = {**left, **prediction}
        figures |= {f"run_{name}": value for name, value in left.items()}
        figures["off_plan_rms_fraction"] = restorer.off(path)
    return replace(plan, toolpath=replace(path, prediction=prediction), figures=figures)


def _off(desk: Desk, runs: Sequence[Run], restorer: Restorer) -> float:
    return restorer.off(path_of(desk, as_run(desk, runs)[0]))


def _untilted(desk: Desk, runs: Sequence[Run], start: Array, restorer: Restorer) -> tuple[list[Run], int]:
    """Return the runs, those at nominal poses that leave more of what was planned so, and how many these are."""
    chosen, n = list(runs), 0
    off = _off(desk, chosen, restorer)
    for k, run in enumerate(runs):
        if run.n_tilted == 0 or run.leg.plain is None or desk.clock.is_late:
            continue
        here = start if k == 0 else chosen[k - 1].motion.position_rad[-1]
        other = desk.at_nominal_poses(run.leg, here)
        if other is None:
            continue
        trial = [*chosen[:k], other, *chosen[k + 1 :]]
        now = _off(desk, trial, restorer)
        if now < off:
            chosen, off, n = trial, now, n + 1
    return chosen, n


def _retimed(desk: Desk, runs: Sequence[Run], restorer: Restorer) -> list[Run]:
    own = as_run(desk, runs)[0]
    asked = restorer.restored(path_of(desk, own), [_attainable(run) for run in own])
    return [_again(desk, run, asked, k) for k, run in enumerate(runs)]


def _joined(desk: Desk, steps: Sequence[Step], runs: Sequence[Run], start: Array) -> list[Step] | None:
    """Return the runs with ways between them, old ones where both ends stay, or None where one is not found."""
    found: list[Step] = []
    here = Station(joint_rad=start, on_part=False)
    moved = False
    for step, run in zip(steps, runs, strict=True):
        connection = step.connection
        changed = run.motion is not step.run.motion
        if moved or changed:
            again = desk.connector.connect(here, station_before(run), CONNECT_S)
            if again is None:
                return None
            connection = again
        found.append(Step(run=run, connection=connection))
        moved, here = changed, station_after(run)
    return found


def _again(desk: Desk, run: Run, asked: ToolPath, index: int) -> Run:
    """Return the run at the speeds asked for; where only values differ, or speeds cannot be run, its timing stays."""
    stroke = asked.strokes[index].transformed(desk.T_base_part)
    if np.allclose(stroke.speed_m_per_s, run.stroke.speed_m_per_s, rtol=SAME, atol=0.0):
        return run.with_values(stroke)
    outcome = desk.runner.again(run, stroke)
    return run if isinstance(outcome, Fault) else outcome


def _attainable(run: Run) -> Attainable:
    asked = run.course.path.stroke.speed_m_per_s * run.stretch
    room = np.clip(1.0 / np.maximum(run.strain, 1e-6), 1.0, ROOM_MAX)
    speed = run.stroke.speed_m_per_s
    return Attainable(
        fastest_m_per_s=np.where(speed < 0.99 * asked, speed, speed * room),
        value_asked=run.first_asked.process_value,
    )
