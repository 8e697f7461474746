"""Join motions into one trajectory, and check a trajectory against a scene and the arm's limits."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cell_core.errors import ConfigurationError
from cell_core.surface import Surface
from cell_core.trajectory import JointTrajectory, Segment
from cell_core.transforms import Array
from cell_motion.collision import Checker, Margins, Scene, contact_link, slide_back_m
from cell_motion.timing import Motion
from cell_motion.touching import CONTACT_M
from robot_description.model import Cell

Kind = Literal["approach", "process", "transition", "retract"]


@dataclass(frozen=True, kw_only=True)
class Collision:
    """Two things that meet."""

    time_s: float
    pair: tuple[str, str]
    """Robot link, and the other link or obstacle."""
    kind: Literal["self", "cell", "part"]
    segment: str
    """Kind of the segment it happens in."""


class Joiner:
    """Appends motions end to start; every motion starts where the last one ended."""

    def __init__(self, start_rad: Array) -> None:
        zero = np.zeros_like(start_rad)
        self._rows = [(np.zeros(1), start_rad[None], zero[None], zero[None])]
        self._n = 1
        self.time_s = 0.0
        """End of what was appended so far [s]."""
        self.segments: list[Segment] = []

    def append(self, motion: Motion, first: int = 0, last: int | None = None) -> None:
        """Append time nodes first..last of a motion; the first coincides with the present end."""
        stop = len(motion.time_s) if last is None else last + 1
        rows = slice(first + 1, stop)
        time = self.time_s + motion.time_s[rows] - motion.time_s[first]
        if len(time) == 0:
            return
        velocity, acceleration = motion.velocity_rad_per_s[rows], motion.acceleration_rad_per_s2[rows]
        self._rows.append((time, motion.position_rad[rows], velocity, acceleration))
        self._n += len(time)
        self.time_s = float(time[-1])

    def close(self, kind: Kind, stroke: int | None = None) -> None:
        """End a segment here; it starts at the node where the last one ended. An empty one is not added."""
        start = self.segments[-1].i1 if self.segments else 0
        if self._n - 1 > start:
            self.segments.append(Segment(kind=kind, i0=start, i1=self._n - 1, stroke=stroke))

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Return times (N,), positions, velocities and accelerations (N, 6)."""
        time, position, velocity, acceleration = (np.concatenate(x) for x in zip(*self._rows, strict=True))
        return time, position, velocity, acceleration


def backwards(motion: Motion) -> Motion:
    """Return the motion run from its end to its start."""
    return Motion(
        time_s=motion.time_s[-1] - motion.time_s[::-1],
        position_rad=motion.position_rad[::-1],
        velocity_rad_per_s=-motion.velocity_rad_per_s[::-1],
        acceleration_rad_per_s2=motion.acceleration_rad_per_s2[::-1],
    )


def check_trajectory(
    cell: Cell, trajectory: JointTrajectory, part: Surface, T_base_part: Array, period_s: float = 0.008
) -> list[Collision]:
    """Return every pair in collision at zero margin, sampled each period and at every time node.

    The part is filled where it is closed. The pad of the active grinding tool may touch the part within process
    segments and, on approach and retract, up to 5 mm and half its slide's stroke off the neighbouring stroke's end: so
    far ground may push it back, and the slide holds it back where no force presses. Nothing else may touch.

    Args:
        part: the part, or the true mesh that a judge knows, in its own frame.
        T_base_part: (4, 4) that frame in the base frame.
    """
    process = process_of(cell, trajectory.tool_frame)
    pad = contact_link(cell, process) if process else None
    scene = Scene(cell, part=part, T_base_part=T_base_part, unseen_is_solid=False)
    time = np.unique(np.r_[np.arange(0.0, trajectory.duration_s, period_s), trajectory.time_s])
    return collisions_at(cell, trajectory, scene.checker(Margins()), scene.checker(Margins(), contact=pad), time)


def collisions_at(
    cell: Cell, trajectory: JointTrajectory, strict: Checker, touching: Checker, time: Array
) -> list[Collision]:
    """Return every pair in collision at the given times [s]; `touching` counts where the pad may touch the part."""
    position, _ = trajectory.sample(time)
    kinds, allowed = phases(cell, trajectory, time, position, touch=touching is not strict)
    free = np.empty(len(time), bool)
    free[allowed] = touching.free(position[allowed])
    free[~allowed] = strict.free(position[~allowed])
    found = []
    for i in np.flatnonzero(~free):
        checker = touching if allowed[i] else strict
        for kind, link, other in checker.hits(position[i]):
            found.append(Collision(time_s=float(time[i]), pair=(link, other), kind=kind, segment=kinds[i]))
    return found


def process_of(cell: Cell, tool_frame: str) -> str | None:
    """Return the process of the tool with that frame; None: another link, such as the camera.

    Raises:
        ConfigurationError: no link of the robot.
    """
    for tool in cell.tools:
        if tool.tcp_frame == tool_frame:
            return tool.process
    if tool_frame in cell.robot.frames:
        return None
    raise ConfigurationError(f"trajectory: tool_frame {tool_frame!r} is no link of {cell.robot.config.name}")


def phases(
    cell: Cell, trajectory: JointTrajectory, time: Array, position: Array, *, touch: bool
) -> tuple[list[str], np.ndarray]:
    """Return the segment kind at each time, and where the pad may touch the part."""
    kinds = ["transition"] * len(time)
    allowed = np.zeros(len(time), bool)
    segments = trajectory.segments
    tip = cell.robot.forward(position, trajectory.tool_frame)[:, :3, 3] if touch else None
    process = process_of(cell, trajectory.tool_frame)
    slide_m = slide_back_m(cell.tool(process).config) if process else 0.0
    for k, segment in enumerate(segments):
        inside = np.flatnonzero(
            (time >= trajectory.time_s[segment.i0] - 1e-9) & (time <= trajectory.time_s[segment.i1] + 1e-9)
        )
        for i in inside:
            kinds[i] = segment.kind
        if tip is None:
            continue
        if segment.kind == "process":
            allowed[inside] = True
        elif segment.kind in ("approach", "retract"):
            ahead = k + 1 if segment.kind == "approach" else k - 1
            # a stop may have left the tool on the part: then the trajectory begins with a way out
            from_stop = k == 0 and segment.kind == "retract"
            if from_stop or (0 <= ahead < len(segments) and segments[ahead].kind == "process"):
                node = segment.i0 if from_stop else segments[ahead].i0 if ahead > k else segments[ahead].i1
                end = trajectory.position_rad[node]
                T_end = cell.robot.forward(end, trajectory.tool_frame)
                height = -(tip[inside] - T_end[:3, 3]) @ T_end[:3, 2]
                allowed[inside] |= height <= CONTACT_M + slide_m
    return kinds, allowed
