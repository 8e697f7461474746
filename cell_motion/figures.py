"""Figures of a motion plan."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cell_core.statistics import weighted_quantile
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import JointTrajectory
from cell_core.transforms import Array
from cell_motion.run import Run
from cell_motion.timing import Limits, Motion
from robot_description.model import RobotModel

JUMP_S = 1e-3
SPEED_TOLERANCE = 0.01
"""Tool speed counts as kept within this share of the planned one."""


def plan_figures(
    robot: RobotModel,
    planned: ToolPath,
    run: ToolPath,
    trajectory: JointTrajectory,
    runs: Sequence[Run],
    n_collisions: int,
) -> dict[str, Any]:
    """Return what a plan reached, how long it takes and its ratios to the robot's limits."""
    limits = Limits.of(robot)
    motion = Motion(
        time_s=trajectory.time_s,
        position_rad=trajectory.position_rad,
        velocity_rad_per_s=trajectory.velocity_rad_per_s,
        acceleration_rad_per_s2=trajectory.acceleration_rad_per_s2,
    )
    velocity, acceleration = motion.ratios(limits)
    on_planned, on_run = (sum(on_length_m(s) for s in path.strokes) for path in (planned, run))
    lost = sum(on_lengths_m(planned.strokes[u.stroke])[u.sample] for u in trajectory.unreached)
    process_s = _time_in(trajectory, "process")
    errors, planned_errors, lengths = (
        np.abs(np.concatenate(x))
        for x in zip(*((r.speed_error, r.planned_speed_error, r.node_length_m) for r in runs), strict=True)
    )
    n_legs: dict[int, int] = {}
    for r in runs:
        n_legs[r.leg.ladder.stroke] = n_legs.get(r.leg.ladder.stroke, 0) + 1
    figures: dict[str, Any] = {
        "n_strokes": len(planned.strokes),
        "n_strokes_run": len(n_legs),
        "n_splits": sum(n - 1 for n in n_legs.values()),
        "n_reversed": sum(r.reverse for r in runs),
        "n_unreached_samples": len(trajectory.unreached),
        "reached_fraction": 1.0 - float(lost) / on_planned if on_planned > 0.0 else 1.0,
        "process_on_length_m": on_run,
        "duration_s": trajectory.duration_s,
        "process_time_s": process_s,
        "transition_time_s": trajectory.duration_s - process_s,
        "velocity_ratio_max": float(velocity.max()),
        "acceleration_ratio_max": float(acceleration.max()),
        "jerk_ratio_max": max(motion.jerk_ratio(limits), _jump_ratio(trajectory, limits)),
        "speed_scaled_samples": sum(r.n_slowed for r in runs),
        "tilted_samples": sum(r.n_tilted for r in runs),
        "tool_speed_error_p99": weighted_quantile(errors, lengths, 0.99) if len(errors) else 0.0,
        "speed_kept_length_fraction": float(lengths @ (planned_errors <= SPEED_TOLERANCE) / max(lengths.sum(), 1e-12)),
        "singular_value_min": min((r.singular_value_min for r in runs), default=0.0),
        "n_collisions": n_collisions,
    }
    for reason in sorted({u.reason for u in trajectory.unreached}):
        figures[f"n_unreached_{reason}"] = sum(u.reason == reason for u in trajectory.unreached)
    return figures


def _jump_ratio(trajectory: JointTrajectory, limits: Limits) -> float:
    """Return the largest jump of acceleration of the spline at a time node, over what jerk allows in JUMP_S."""
    q, v, h = trajectory.position_rad, trajectory.velocity_rad_per_s, np.diff(trajectory.time_s)[:, None]
    slope = np.diff(q, axis=0) / h
    begin = (6.0 * slope - 4.0 * v[:-1] - 2.0 * v[1:]) / h
    end = (2.0 * v[:-1] + 4.0 * v[1:] - 6.0 * slope) / h
    jump = np.abs(begin[1:] - end[:-1]) / (JUMP_S * limits.jerk_rad_per_s3)
    return float(jump.max(initial=0.0))


def on_lengths_m(stroke: Stroke) -> Array:
    """Return the length of path with the process on (N,) [m]: half of each step beside a sample belongs to it."""
    half = 0.5 * stroke.step_lengths_m
    return np.where(stroke.on, np.r_[half, 0.0] + np.r_[0.0, half], 0.0)


def on_length_m(stroke: Stroke) -> float:
    """Return the length of a stroke with the process on [m]."""
    return float(on_lengths_m(stroke).sum())


def _time_in(trajectory: JointTrajectory, kind: str) -> float:
    time: Array = trajectory.time_s
    return float(sum(time[s.i1] - time[s.i0] for s in trajectory.segments if s.kind == kind))
