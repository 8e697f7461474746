"""Plan the arm's motion for a whole tool path, and report exactly what could not be reached and why."""

from typing import Any

import numpy as np

from cell_core.errors import CollisionError, InputRefusedError, UnreachableError
from cell_core.plan import Progress, no_progress
from cell_core.restoring import Restorer
from cell_core.surface import Surface
from cell_core.toolpath import ToolPath
from cell_core.transforms import Array
from cell_motion.accounting import with_gaps
from cell_motion.assemble import assemble
from cell_motion.connect import Station, station_after
from cell_motion.desk import CONNECT_S, Clock, Desk
from cell_motion.feedback import restored_steps, told_anew
from cell_motion.limits import check_freedoms, check_limits, checked_position
from cell_motion.order import batches, ordered
from cell_motion.plan import MotionPlan
from robot_description.model import Cell


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
    restorer: Restorer | None = None,
    progress: Progress = no_progress,
    time_budget_s: float = 60.0,
) -> MotionPlan:
    """Plan approach, process, retract and transitions for every stroke that the arm can reach without collision.

    Per stroke: inverse kinematics over spin (and tilt and standoff where nominal poses fail), a layered graph search
    that refuses flips, exact solution at every controller period at the prescribed speed, and collision checks with
    margins; then the whole trajectory is checked again at zero margin. Coats are run in order, and the arm rests with
    the process off for as long as a stroke's `wait_before_s` asks. A stroke without a continuous way is split,
    samples that cannot be served are listed with the reason. When time runs out the best plan so far is returned and
    the rest is unreached for "time".

    Where the tool had to be tilted or slowed, `restorer` finds speeds and process values that leave what was planned
    from the poses run, and the strokes are timed anew at these. Without one, flow or force follows a slower speed and
    what a tilt changes stays changed.

    Args:
        toolpath: strokes in the frame of the part.
        part: the scanned part; it is an obstacle, filled, and may not be missing.
        T_base_part: (4, 4) part frame in the base frame.
        start_rad: (6,) where the arm stands; None: home.
        end_rad: (6,) where it shall end; None: home.
        backend: who plans the free moves: "embedded" or "moveit".
        restorer: from whoever planned the tool path.

    Raises:
        InputRefusedError: no part, a pose that is none, or limits or freedoms that contradict themselves.
        LimitError: start or end outside the joint limits.
        CollisionError: start or end in collision, or no way to the end.
        UnreachableError: not one stroke can be run; `facts["unreached"]` says why.
    """
    clock = Clock(time_budget_s)
    _check_inputs(cell, part, T_base_part)
    check_limits(cell.robot)
    check_freedoms(toolpath)
    start = checked_position(cell, start_rad, "start_rad")
    end = checked_position(cell, end_rad, "end_rad")
    progress(0.0, "building the collision scene")
    desk = Desk(cell, toolpath, part, np.asarray(T_base_part, float), backend, seed, clock)
    # a stop may have left the pad on the part
    touching = desk.touching or desk.checkers.verify
    for name, position, checker in (("start_rad", start, touching), ("end_rad", end, desk.checkers.verify)):
        hits = checker.hits(position)
        if hits:
            raise CollisionError(f"{name}: {hits[0][1]} is in collision with {hits[0][2]}", pair=hits[0][1:])
    ladders, legs, unreached = desk.search(progress)
    batch = batches(toolpath.strokes)
    kinds = [(batch[leg.ladder.stroke], toolpath.strokes[leg.ladder.stroke].kind) for leg in legs]
    order = ordered(legs, kinds, start, desk.builder.rule)
    steps, missed = desk.place(order, start, progress)
    lost = with_gaps(toolpath, [step.run for step in steps], unreached + missed, ladders)
    if not steps:
        reasons = sorted({u.reason for u in lost})
        raise UnreachableError(
            f"motion: 0 of {len(toolpath.strokes)} strokes can be run ({', '.join(reasons)})", unreached=lost
        )
    told: dict[str, Any] = {}
    if restorer is not None:
        steps, told = restored_steps(desk, steps, start, restorer, progress)
    progress(0.9, "joining and checking")
    home = desk.connector.connect(station_after(steps[-1].run), Station(joint_rad=end, on_part=False), 2.0 * CONNECT_S)
    if home is None:
        raise CollisionError("motion: found no free way from the last stroke to the end position")
    plan = assemble(desk, steps, home, start, lost)
    return told_anew(plan, restorer, told)


def _check_inputs(cell: Cell, part: Surface | None, T_base_part: Array) -> None:
    if part is None:
        raise InputRefusedError("motion: no part given; a process is not planned without the part as an obstacle")
    T = np.asarray(T_base_part, float)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise InputRefusedError(f"motion: T_base_part has shape {T.shape}, wanted a finite (4, 4)")
    error = float(np.abs(T[:3, :3] @ T[:3, :3].T - np.eye(3)).max())
    if error > 1e-6 or np.linalg.det(T[:3, :3]) < 0.0:
        raise InputRefusedError(
            f"motion: T_base_part is no rigid transform: rotation is off by {error:.3g}, bound 1e-6"
        )
