"""Cut a trajectory at its segments."""

from dataclasses import replace

from cell_core.errors import InputRefusedError
from cell_core.trajectory import JointTrajectory


def slice_segments(trajectory: JointTrajectory, first: int, last: int) -> JointTrajectory:
    """Return segments first..last, both included, as a trajectory that starts at time 0; last -1 means the final one.

    Events keep their place in time; those outside are dropped.

    Raises:
        InputRefusedError: no such segments.
    """
    n = len(trajectory.segments)
    last = n - 1 if last < 0 else last
    if not 0 <= first <= last < n:
        raise InputRefusedError(f"trajectory: segments {first}..{last} asked for, it has 0..{n - 1}")
    if (first, last) == (0, n - 1):
        return trajectory
    i0, i1 = trajectory.segments[first].i0, trajectory.segments[last].i1
    t0, t1 = float(trajectory.time_s[i0]), float(trajectory.time_s[i1])
    rows = slice(i0, i1 + 1)
    return replace(
        trajectory,
        time_s=trajectory.time_s[rows] - t0,
        position_rad=trajectory.position_rad[rows],
        velocity_rad_per_s=trajectory.velocity_rad_per_s[rows],
        acceleration_rad_per_s2=trajectory.acceleration_rad_per_s2[rows],
        segments=[replace(s, i0=s.i0 - i0, i1=s.i1 - i0) for s in trajectory.segments[first : last + 1]],
        events=[replace(e, time_s=e.time_s - t0) for e in trajectory.events if t0 <= e.time_s <= t1],
    )
