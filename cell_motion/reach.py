"""Which samples of a tool path the arm can take and why not, and what would let it take more of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.config import GunConfig
from cell_core.errors import InputRefusedError
from cell_core.surface import Surface
from cell_core.toolpath import Stroke, ToolPath
from cell_core.trajectory import Unreached
from cell_core.transforms import Array, inverse, transform_from_xyz_rpy
from cell_motion.collision import Margins, Scene, contact_link
from cell_motion.desk import SELF_MARGIN_M
from cell_motion.figures import on_lengths_m
from cell_motion.freedom import nominal
from cell_motion.kinematics import Kinematics
from cell_motion.path import turned
from cell_motion.plan import MotionPlan
from cell_motion.strokes import LIMIT_ROOM_RAD, SINGULAR_REFUSED, LadderBuilder
from robot_description.model import Cell

REASONS = (
    "reached", "slower", "ik", "limits", "singularity", "self", "cell", "part", "flip", "speed", "transition", "time",
)  # fmt: skip
"""What becomes of a sample; "slower": it is run, more than 1 % slower than planned."""
SLOWER = 0.01
SAMPLES = 60
"""So many samples of a tool path stand for all of it where poses are compared."""
TURNS_RAD = tuple(np.radians(np.arange(0, 360, 30)))
SHIFTS_M = (-0.3, -0.15, 0.0, 0.15, 0.3)
FINALISTS = 6
"""So many poses of the part, the best by inverse kinematics alone, are looked at with collisions."""
STANDOFFS_M = (0.02, 0.04, 0.08)
TILTS_RAD = (0.1, 0.2, 0.35)
GAIN_MIN = 0.01
"""What serves less than this share of the path more is not worth suggesting."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A change, and what share of the tool path's length the arm could then take, pose by pose."""

    kind: str
    """"pose", "standoff" or "tilt"."""
    text: str
    reached_fraction: float
    T_fixture_part: Array | None = None
    """For a pose: (4, 4) where to lay the part."""


def outcomes(toolpath: ToolPath, unreached: Sequence[Unreached], plan: MotionPlan | None = None) -> list[NDArray]:
    """Return per stroke of a planned tool path what becomes of each sample, as indices into REASONS.

    Args:
        toolpath: as planned.
        unreached: of the plan, or of the error that says nothing can be reached.
        plan: to tell samples that are run slower.
    """
    found = [np.zeros(len(s), np.int64) for s in toolpath.strokes]
    for run, served in zip(plan.toolpath.strokes, plan.served, strict=True) if plan and plan.toolpath else ():
        planned = toolpath.strokes[served.stroke].part(served.first, served.last + 1)
        planned = planned.reversed() if served.reversed else planned
        at, run_at = (np.r_[0.0, np.cumsum(s.step_lengths_m)] for s in (planned, run))
        speed = np.interp(at / at[-1], run_at / run_at[-1], run.speed_m_per_s)
        slower = np.where(speed < (1.0 - SLOWER) * planned.speed_m_per_s, REASONS.index("slower"), 0)
        found[served.stroke][served.first : served.last + 1] = slower[::-1] if served.reversed else slower
    for one in unreached:
        found[one.stroke][one.sample] = REASONS.index(one.reason)
    return found


class Reach:
    """A fast score of how much of a tool path an arm can take with the part lying in one pose or another."""

    def __init__(self, cell: Cell, toolpath: ToolPath, part: Surface) -> None:
        """Choose the samples that stand for the whole path, evenly along it, those with the process on.

        Raises:
            InputRefusedError: the process is on nowhere.
        """
        tool = cell.tool(toolpath.process)
        self._cell, self._part, self._process = cell, part, toolpath.process
        self._kinematics = Kinematics(cell.robot, tool.tcp_frame)
        self._pivot_m = tool.config.reference_standoff_m if isinstance(tool.config, GunConfig) else 0.0
        lengths = [on_lengths_m(s) for s in toolpath.strokes]
        along = np.cumsum(np.concatenate(lengths))
        if along[-1] <= 0.0:
            raise InputRefusedError("reach: the tool path's process is on nowhere")
        owner = [(k, i) for k, s in enumerate(toolpath.strokes) for i in range(len(s))]
        chosen = np.searchsorted(along, along[-1] * (np.arange(SAMPLES) + 0.5) / SAMPLES)
        self._samples: list[tuple[Stroke, int]] = [
            (toolpath.strokes[owner[j][0]], owner[j][1]) for j in np.minimum(chosen, len(owner) - 1)
        ]

    def by_kinematics(self, T_base_part: Array) -> float:
        """Return the share that some branch takes within limits at nominal tilt, whatever is in the way."""
        frames, counts = [], []
        for stroke, i in self._samples:
            spins = nominal(stroke.freedom).spin_rad
            frame = T_base_part @ stroke.frames[i]
            frames.append(turned(np.repeat(frame[None], len(spins), axis=0), spin_rad=spins))
            counts.append(len(spins))
        answer = self._kinematics.solve(np.concatenate(frames))
        low, high = self._kinematics.lower_rad, self._kinematics.upper_rad
        room = np.minimum(answer.position_rad - low, high - answer.position_rad).min(axis=2)
        good = (np.nan_to_num(answer.regularity) > SINGULAR_REFUSED) & (np.nan_to_num(room) > LIMIT_ROOM_RAD)
        ends = np.cumsum(counts)[:-1]
        return float(np.mean([part.any() for part in np.split(good.any(axis=1), ends)]))

    def reasons(self, T_base_part: Array, *, tilt_rad: float = 0.0, standoff_m: float = 0.0) -> list[str]:
        """Return for each of the samples why no pose takes it, or "" where one does.

        Args:
            T_base_part: (4, 4) the part's pose.
            tilt_rad: a tilt that strokes may use beyond their own.
            standoff_m: a shift back along the tool axis that strokes may use beyond their own.
        """
        builder = self._builder(T_base_part)
        found = []
        for stroke, i in self._samples:
            free = stroke.freedom
            free = replace(
                free,
                tilt_rad=max(free.tilt_rad, tilt_rad),
                standoff_m=(free.standoff_m[0], max(free.standoff_m[1], standoff_m)),
            )
            found.append(builder.reason(T_base_part @ stroke.frames[i], free))
        return found

    def score(self, T_base_part: Array, **more: float) -> float:
        """Return the share of the path's length that poses reach (see `reasons`)."""
        return float(np.mean([not reason for reason in self.reasons(T_base_part, **more)]))

    def _builder(self, T_base_part: Array) -> LadderBuilder:
        cell, config = self._cell, self._cell.config
        scene = Scene(cell, part=self._part, T_base_part=T_base_part)
        margins = Margins(self_m=SELF_MARGIN_M, cell_m=config.collision_margin_m, part_m=max(config.part_margin_m, 0.0))
        checker = scene.checker(margins, contact=contact_link(cell, self._process))
        return LadderBuilder(self._kinematics, checker, cell.robot.velocity_rad_per_s, pivot_m=self._pivot_m)


def suggestions(cell: Cell, toolpath: ToolPath, part: Surface, T_base_part: Array) -> tuple[float, list[Suggestion]]:
    """Return the share of a tool path that poses reach now, and changes that would reach more, best first.

    Poses of the part on the fixture: turned about the vertical (a turntable's angle) and shifted; the best by inverse
    kinematics alone are looked at with collisions. Then a longer standoff (guns) and more tilt, the pose as it is.
    """
    reach = Reach(cell, toolpath, part)
    now = reach.score(T_base_part)
    found: list[Suggestion] = []
    if now > 1.0 - GAIN_MIN:
        return now, found
    for T in _poses(T_base_part, part, reach):
        share = reach.score(T)
        T_fixture_part = inverse(cell.T_base_fixture) @ T
        found.append(
            Suggestion(
                kind="pose", text=_moved(T_base_part, T, part), reached_fraction=share, T_fixture_part=T_fixture_part
            )
        )
    for standoff in STANDOFFS_M if toolpath.process == "spray" else ():
        share = reach.score(T_base_part, standoff_m=standoff)
        text = f"let strokes stand off up to {1e3 * standoff:.0f} mm more"
        found.append(Suggestion(kind="standoff", text=text, reached_fraction=share))
    for tilt in TILTS_RAD:
        share = reach.score(T_base_part, tilt_rad=tilt)
        text = f"let strokes tilt up to {np.degrees(tilt):.0f} degrees"
        found.append(Suggestion(kind="tilt", text=text, reached_fraction=share))
    worth = [s for s in found if s.reached_fraction >= now + GAIN_MIN]
    return now, sorted(worth, key=lambda s: -s.reached_fraction)


def _poses(T_base_part: Array, part: Surface, reach: Reach) -> list[Array]:
    """Return the most promising poses of the part, turned about its middle and shifted in the horizontal."""
    middle = T_base_part @ np.r_[part.bounds_m.mean(axis=0), 1.0]
    tried: list[tuple[float, float, Array]] = []
    for turn in TURNS_RAD:
        about = transform_from_xyz_rpy(middle[:3], (0.0, 0.0, 0.0)) @ transform_from_xyz_rpy((0, 0, 0), (0, 0, turn))
        about = about @ transform_from_xyz_rpy(-middle[:3], (0.0, 0.0, 0.0))
        for dx in SHIFTS_M:
            for dy in SHIFTS_M:
                if turn == 0.0 and dx == 0.0 and dy == 0.0:
                    continue
                T = transform_from_xyz_rpy((dx, dy, 0.0), (0.0, 0.0, 0.0)) @ about @ T_base_part
                # of poses as good as each other the one that changes less
                tried.append((-reach.by_kinematics(T), abs(dx) + abs(dy) + 0.1 * min(turn, 2 * np.pi - turn), T))
    tried.sort(key=lambda t: t[:2])
    return [T for _, _, T in tried[:FINALISTS]]


def _moved(T_before: Array, T_after: Array, part: Surface) -> str:
    middle = np.r_[part.bounds_m.mean(axis=0), 1.0]
    shift = (T_after @ middle - T_before @ middle)[:2]
    R = T_after[:3, :3] @ T_before[:3, :3].T
    return (
        f"turn the part by {np.degrees(np.arctan2(R[1, 0], R[0, 0])):.0f} degrees about the vertical and move it by "
        f"{1e3 * shift[0]:.0f}, {1e3 * shift[1]:.0f} mm (x, y of the arm's base)"
    )
