"""Free moves from wherever the arm is to a run and on: ways out and in along the tool axis, and the move between."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cell_core.transforms import Array
from cell_motion.collision import Checker
from cell_motion.hop import Hopper
from cell_motion.run import Run
from cell_motion.runs import Runner
from cell_motion.timing import Limits, Motion, polyline
from cell_motion.touching import CONTACT_M
from cell_motion.transitions import close_by

RETRACT_M = (0.06, 0.10, 0.03, 0.15)
TRIES = 3
_NONE_LEFT = "none left"
CORNER_SPEEDS = (1.0, 0.6, 0.35, 0.2, 0.1)
SWEPT_STEP_M = 0.004
"""Most that any point of a moving arm goes between two checks of a timed move."""


class FreeMover(Protocol):
    """Plans free joint moves: the embedded planner or MoveIt."""

    def is_clear(self, start_rad: Array, end_rad: Array) -> bool:
        """Tell whether the straight joint move is free."""
        ...

    def plan(self, start_rad: Array, goal_rad: Array, *, seed: int, time_s: float) -> Array | None:
        """Return joint waypoints (K, 6), or None."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Station:
    """Where the arm stands at rest: at home, or where a run began or ended."""

    joint_rad: Array
    on_part: bool
    """Whether a way out along the tool axis is needed before a free move."""
    height_m: float = 0.0
    """How far it is off the stroke already, along the tool axis."""
    stroke_rad: Array | None = None
    """(6,) joint position at the stroke's end that it stands beside."""
    contact_m: float | None = None
    """Up to which height over that end the pad may touch the part; None: as it stands there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Connection:
    """Three motions from one station to the next; ways out and in may be missing."""

    out: Motion | None
    move: Motion
    into: Motion | None
    """The way in, given as the way out of the next station: to be run backwards."""
    ends: tuple[int, int] | None = None
    """Where the move itself leaves and arrives along the tool axes: its time nodes when the tool is clear."""

    @property
    def clear_s(self) -> float:
        """When, after the start, the tool is clear of the part [s]."""
        if self.ends is not None:
            return float(self.move.time_s[self.ends[0]])
        return 0.0 if self.out is None else self.out.duration_s


@dataclass(frozen=True, kw_only=True, eq=False)
class Connector:
    """Finds connections for one tool in one scene."""

    runner: Runner
    hopper: Hopper
    mover: FreeMover
    swept: Checker
    """At half of SWEPT_STEP_M: what keeps that at every step meets nothing in between."""
    limits: Limits
    period_s: float
    must_retract: bool
    seed: int

    def connect(self, here: Station, there: Station, time_s: float) -> Connection | None:
        """Return the way from one station to the next, or None where none was found in time."""
        if not self.must_retract and self.mover.is_clear(here.joint_rad, there.joint_rad):
            move = self.free_move(here.joint_rad, there.joint_rad, time_s)
            if move is not None:
                return Connection(out=None, move=move, into=None)
        if here.stroke_rad is not None and there.stroke_rad is not None:
            ends = np.stack([here.joint_rad, there.joint_rad])
            strokes = np.stack([here.stroke_rad, there.stroke_rad]) if self.must_retract else None
            swing = self.hopper.hop(ends, strokes, (here.contact_m or CONTACT_M, there.contact_m or CONTACT_M))
            if swing is not None:
                return Connection(out=None, move=swing.motion, into=None, ends=(swing.left, swing.arriving))
        ways_out, ways_in = self._ways(here), self._ways(there)
        for _ in range(TRIES):
            out, into = next(ways_out, _NONE_LEFT), next(ways_in, _NONE_LEFT)
            if isinstance(out, str) or isinstance(into, str):
                return None
            start = here.joint_rad if out is None else out.position_rad[-1]
            end = there.joint_rad if into is None else into.position_rad[-1]
            move = self.free_move(start, end, time_s / TRIES)
            if move is not None:
                return Connection(out=out, move=move, into=into)
        return None

    def has_way(self, station: Station) -> bool:
        """Tell whether the arm can get away from a station."""
        return not isinstance(next(self._ways(station), _NONE_LEFT), str)

    def _ways(self, station: Station) -> Iterator[Motion | None]:
        """Yield ways out of a station, the usual first; the last one again and again."""
        last: Motion | str | None = _NONE_LEFT
        free = self.runner.checkers.free
        for distance in RETRACT_M if station.on_part else ():
            line = self.runner.line(station.joint_rad, distance, station.height_m, station.contact_m)
            if line is not None and free.is_free(line.position_rad[-1]):
                last = line
                yield line
        if not station.on_part or (not self.must_retract and free.is_free(station.joint_rad)):
            last = None
            yield None
        while not isinstance(last, str):
            yield last

    def free_move(self, start_rad: Array, end_rad: Array, time_s: float) -> Motion | None:
        """Return a timed move that is free all along; corners are taken slower until that holds."""
        waypoints = self.mover.plan(start_rad, end_rad, seed=self.seed, time_s=time_s)
        if waypoints is None:
            return None
        for speed in CORNER_SPEEDS:
            motion = polyline(waypoints, self.limits, self.period_s, speed)
            if self.swept.free(close_by(motion.position_rad, SWEPT_STEP_M)).all():
                return motion
        return None


def station_before(run: Run) -> Station:
    """Return where a run begins."""
    position = run.motion.position_rad
    return Station(
        joint_rad=position[0],
        on_part=True,
        height_m=run.heights_m[0],
        stroke_rad=position[run.start],
        contact_m=run.contacts_m[0],
    )


def station_after(run: Run) -> Station:
    """Return where a run ends."""
    position = run.motion.position_rad
    return Station(
        joint_rad=position[-1],
        on_part=True,
        height_m=run.heights_m[1],
        stroke_rad=position[run.end],
        contact_m=run.contacts_m[1],
    )
