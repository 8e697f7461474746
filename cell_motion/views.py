"""Move the camera through views: reachable ones only, in the order of a short tour, at rest at each."""

import time

import numpy as np

from cell_core.errors import CollisionError, InputRefusedError, UnreachableError
from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array, transform_from_xyz_rpy
from cell_motion.collision import Checker, Margins, Scene
from cell_motion.kinematics import TURN_RAD, Kinematics
from cell_motion.limits import checked_position
from cell_motion.path import turned
from cell_motion.plan import MotionPlan
from cell_motion.timing import Limits, Motion, hold, polyline
from cell_motion.tour import Tour, move_times
from cell_motion.trajectory import Joiner
from cell_motion.transitions import Mover
from robot_description.model import BoxModel, Cell

N_ROLLS = 8
STOP_S = 0.3
"""The arm rests so long at each view; the camera's picture is sharp then."""
PLANNED_FRACTION = 0.95
CORNER_SPEEDS = (1.0, 0.6, 0.35, 0.2)
TRIES_PER_VIEW = 3
MOVE_S = 3.0


def plan_views(
    cell: Cell,
    T_base_camera: Array,
    *,
    part: Surface | None,
    T_base_part: Array,
    start_rad: Array | None = None,
    seed: int = 0,
    time_budget_s: float = 60.0,
) -> MotionPlan:
    """Plan a visit of camera poses, each free to roll about the optical axis, in the order of a short tour.

    Args:
        cell: the cell.
        T_base_camera: (K, 4, 4) optical frame in the base frame.
        part: what is known of the part; None: the whole work volume is an obstacle.
        T_base_part: (4, 4) part frame in the base frame.
        start_rad: (6,) where the arm stands; None: home.
        seed: of the free moves.
        time_budget_s: views not planned by then count as unreached.

    Returns:
        A plan whose trajectory has one "transition" segment per reached view; each ends with a rest of STOP_S there.
        `figures["unreached_views"]` lists indices, `figures["n_unreached_<reason>"]` counts them.

    Raises:
        UnreachableError: no view can be reached; `facts["reasons"]` says why for each.
        CollisionError: the start is in collision.
    """
    start_time = time.monotonic()
    views = np.asarray(T_base_camera, float)
    if views.ndim != 3 or views.shape[1:] != (4, 4) or len(views) == 0 or not np.isfinite(views).all():
        raise InputRefusedError(f"views: T_base_camera has shape {views.shape}, wanted finite (K, 4, 4), K >= 1")
    start = checked_position(cell, start_rad, "start_rad")
    reach = ViewReach(cell, part=part, T_base_part=T_base_part)
    strict, checker = reach.scene.checker(Margins()), reach.checker
    hits = strict.hits(start)
    if hits:
        raise CollisionError(f"start_rad: {hits[0][1]} is in collision with {hits[0][2]}", pair=hits[0][1:])
    answers = [reach.positions(view) for view in views]
    candidates, reasons = [positions for positions, _ in answers], [reason for _, reason in answers]
    limits, period_s = Limits.of(cell.robot, PLANNED_FRACTION), cell.config.controller_period_s
    mover = Mover(checker=checker, lower_rad=cell.robot.lower_rad, upper_rad=cell.robot.upper_rad)
    joiner = Joiner(start)
    reached: list[int] = []
    stops: list[float] = []
    here = start
    left = [k for k, reason in enumerate(reasons) if not reason]
    tour = Tour(start, [candidates[k] for k in left], limits.velocity_rad_per_s)
    for view, to_go_s in zip([left[i] for i in tour.order], tour.to_go_s, strict=True):
        if time.monotonic() - start_time > time_budget_s:
            reasons[view] = "time"
            continue
        motion = _move_to(here, candidates[view], to_go_s, mover, strict, limits, period_s, seed)
        if motion is None:
            reasons[view] = "transition"
            continue
        here = motion.position_rad[-1]
        joiner.append(motion)
        reached.append(view)
        stops.append(joiner.time_s)
        joiner.append(hold(here, STOP_S, period_s))
        joiner.close("transition")
    if not reached:
        raise UnreachableError(
            f"views: 0 of {len(views)} can be reached ({', '.join(sorted(set(reasons)))})", reasons=reasons
        )
    time_s, position, velocity, acceleration = joiner.arrays()
    trajectory = JointTrajectory(
        joint_names=cell.robot.joint_names,
        time_s=time_s,
        position_rad=position,
        velocity_rad_per_s=velocity,
        acceleration_rad_per_s2=acceleration,
        segments=joiner.segments,
        events=(),
        tool_frame=cell.config.camera.optical_frame,
        base_frame=cell.robot.config.base_frame,
        T_base_part=T_base_part,
    )
    unreached = [k for k, reason in enumerate(reasons) if reason]
    figures: dict[str, object] = {
        "n_views": len(views),
        "n_reached_views": len(reached),
        "unreached_views": unreached,
        "duration_s": trajectory.duration_s,
        "plan_time_s": time.monotonic() - start_time,
    }
    for reason in sorted({reasons[k] for k in unreached}):
        figures[f"n_unreached_{reason}"] = reasons.count(reason)
    return MotionPlan(trajectory=trajectory, toolpath=None, figures=figures, reached_views=reached, stop_times_s=stops)


class ViewReach:
    """Which camera poses the arm can take in a cell, free to roll about the optical axis; not how it gets there."""

    def __init__(self, cell: Cell, *, part: Surface | None, T_base_part: Array) -> None:
        """Take what is known of the part, in a frame T_base_part (4, 4); None: the whole work volume is an obstacle."""
        config = cell.config
        boxes = () if part is not None else (work_volume(cell),)
        self.scene = Scene(cell, part=part, T_base_part=np.asarray(T_base_part, float), boxes=boxes)
        self.checker = self.scene.checker(
            Margins(self_m=0.005, cell_m=config.collision_margin_m, part_m=config.part_margin_m)
        )
        self._kinematics = Kinematics(cell.robot, config.camera.optical_frame)

    def positions(self, T_base_camera: Array) -> tuple[Array, str]:
        """Return all free joint positions (n, 6) of one view (4, 4) over rolls and turns, and why there is none."""
        rolls = np.arange(N_ROLLS) * TURN_RAD / N_ROLLS
        answer = self._kinematics.solve(turned(np.repeat(T_base_camera[None], N_ROLLS, axis=0), spin_rad=rolls))
        positions = answer.position_rad[answer.within_limits]
        free = self.checker.free(positions)
        if free.any():
            return np.concatenate([self._kinematics.copies(q) for q in positions[free]]), ""
        reason = "ik" if not answer.exists.any() else "limits"
        if len(positions):
            hits = self.checker.hits(positions[0])
            reason = hits[0][0] if hits else "part"
        return np.zeros((0, answer.position_rad.shape[-1])), reason


def work_volume(cell: Cell) -> BoxModel:
    """Return the cell's work volume as an obstacle in the base frame."""
    box = cell.config.work_volume
    return BoxModel(
        name=box.name,
        T_base_box=cell.T_base_fixture @ transform_from_xyz_rpy(box.centre_m, (0.0, 0.0, 0.0)),
        size_m=np.array(box.size_m),
    )


def _move_to(
    here: Array,
    there: Array,
    to_go_s: Array,
    mover: Mover,
    strict: Checker,
    limits: Limits,
    period_s: float,
    seed: int,
) -> Motion | None:
    order = np.argsort(move_times(here, there, limits.velocity_rad_per_s) + to_go_s, kind="stable")
    clear = next((k for k in order[:6] if mover.is_clear(here, there[k])), None)
    tries = [clear] if clear is not None else list(order[:TRIES_PER_VIEW])
    for k in tries:
        waypoints = mover.plan(here, there[k], seed=seed, time_s=MOVE_S)
        if waypoints is None:
            continue
        for speed in CORNER_SPEEDS:
            motion = polyline(waypoints, limits, period_s, speed)
            if strict.free(motion.position_rad).all():
                return motion
    return None
