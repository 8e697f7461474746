"""How long a pad may touch the part on its way to and from a stroke: until nothing pushes it back on its slide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.transforms import Array
from cell_motion.kinematics import Kinematics
from cell_motion.run import Checkers
from cell_motion.timing import Motion
from cell_motion.transitions import moved_m

CONTACT_M = 0.005
"""The pad may touch the part until it is so far off the stroke's end, measured along the tool axis there."""
CONTACT_NEAR_M = 0.05
"""Nor may it touch farther than this from the stroke's end, however low it is."""
CONTACT_STEP_M = 0.001
"""Where the ground pushes the pad back on its slide it touches for longer; how long is looked for in such steps."""
CHECK_STEP_M = 0.006
JUMP_RAD = 0.2
"""A larger turn of a joint on the way out along the tool axis is a jump to another branch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Freed:
    """How far back along the tool axis a pad comes free of the part; None where it does not, as far as its slide goes.

    On the sides (lead-in, lead-out).
    """

    inner_m: tuple[float | None, float | None]
    """From where the stroke itself begins and ends."""
    outer_m: tuple[float | None, float | None]
    """From where lead-in begins and lead-out ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Touching:
    """What a tool may touch beside its strokes."""

    kinematics: Kinematics
    checkers: Checkers
    grinding: bool
    slide_m: float
    """The ground may push the pad back on its slide by so much: in hollows its rim stands on ground that lies higher
    than the tool centre point."""

    def contact_m(self, joint_rad: Array) -> float:
        """Return up to how far back along the tool axis a pad that works at joint position (6,) may touch the part."""
        return _or_usual(self._free_from_m(joint_rad))

    def freed(self, motion: Motion, start: int, end: int) -> Freed:
        """Return where the pad comes free beside a stroke from node `start` to `end`."""
        at = [self._free_from_m(motion.position_rad[node]) for node in (start, end, 0, -1)]
        return Freed(inner_m=(at[0], at[1]), outer_m=(at[2], at[3]))

    def too_low(self, freed: Freed) -> tuple[bool, bool]:
        """Tell on which sides the pad, held back by its slide, would still meet the part beyond the stroke."""
        most = max(self.slide_m, CONTACT_M)
        low = [self.grinding and (height is None or height > most) for height in freed.outer_m]
        return low[0], low[1]

    def contacts_m(self, motion: Motion, start: int, end: int, freed: Freed) -> tuple[float, float]:
        """Return up to how far off the stroke's ends the pad may touch the part on its way in and out."""
        if not self.grinding:
            return CONTACT_M, CONTACT_M
        heights, found = self.heights_m(motion, start, end), []
        for inner, outer, node in zip(freed.inner_m, freed.outer_m, (0, -1), strict=True):
            # on a lead-out no force presses: the slide holds the pad back as far as it goes
            outside = min(float(heights[node]) + _or_usual(outer), CONTACT_M + self.slide_m)
            found.append(max(_or_usual(inner), outside))
        return found[0], found[1]

    def heights_m(self, motion: Motion, start: int, end: int) -> Array:
        """Return how far each node of lead-in and lead-out is off the stroke's end, along the tool axis there (N,)."""
        T = self.kinematics.forward(motion.position_rad)
        height = np.zeros(len(T))
        for node, part in ((start, slice(0, start)), (end, slice(end + 1, None))):
            height[part] = (T[node, :3, 3] - T[part, :3, 3]) @ T[node, :3, 2]
        return height

    def first_hit(self, motion: Motion, bounds: tuple[int, int], contacts_m: tuple[float, float]) -> int | None:
        """Return the first node at which the arm meets what it must not, or None."""
        joints, height = motion.position_rad, self.heights_m(motion, *bounds)
        limit = np.full(len(joints), CONTACT_M)
        limit[: bounds[0]], limit[bounds[1] + 1 :] = contacts_m
        if self.grinding:
            limit[self._apart_m(motion, *bounds) > CONTACT_NEAR_M] = -np.inf
        moved = moved_m(joints)
        wanted = np.linspace(0.0, moved[-1], int(np.ceil(moved[-1] / CHECK_STEP_M)) + 2)
        index = np.searchsorted(moved, wanted).clip(0, len(joints) - 1)
        bare = (height > 0.5 * CONTACT_M) | (limit < 0.0)  # no margin there: look at every node
        index = np.unique(np.r_[index, np.flatnonzero(bare)])
        touching = (height[index] <= limit[index]) if self.grinding else np.ones(len(index), bool)
        free = self.free(joints[index], touching)
        return None if free.all() else int(index[np.argmin(free)])

    def free(self, joints: Array, touching: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which joint positions (N, 6) are free, the pad on the part where it may touch (N,)."""
        free = np.empty(len(joints), bool)
        free[touching] = self.checkers.process.free(joints[touching])
        free[~touching] = self.checkers.leaving.free(joints[~touching])
        return free

    def drawn_back(self, joint_rad: Array, back_m: Array) -> tuple[Array, Array]:
        """Return joint positions (N, 6) so far back (N,) along the tool axis, and how far they turn (N,)."""
        T = self.kinematics.forward(joint_rad[None])[0]
        frames = np.repeat(T[None], len(back_m), axis=0)
        frames[:, :3, 3] -= back_m[:, None] * T[:3, 2]
        return self.kinematics.follow(frames, np.tile(joint_rad, (len(back_m), 1)))

    def _free_from_m(self, joint_rad: Array) -> float | None:
        """Return how far back along the tool axis, from CONTACT_M on, the pad comes free; None: not on its slide."""
        if not self.grinding or self.slide_m <= 0.0:
            return CONTACT_M
        # one step more: beyond what it touches the pad keeps a margin
        n = int(np.floor(self.slide_m / CONTACT_STEP_M + 1e-9)) + 1
        heights = CONTACT_M + CONTACT_STEP_M * np.arange(n + 1, dtype=float)
        for height, position, distance in zip(heights, *self.drawn_back(joint_rad, heights), strict=True):
            if distance < JUMP_RAD and self.checkers.leaving.is_free(position):
                return float(height)
        return None

    def _apart_m(self, motion: Motion, start: int, end: int) -> Array:
        """Return how far each node of lead-in and lead-out is from the stroke's end (N,)."""
        tcp = self.kinematics.forward(motion.position_rad)[:, :3, 3]
        apart = np.zeros(len(tcp))
        for node, part in ((start, slice(0, start)), (end, slice(end + 1, None))):
            apart[part] = np.linalg.norm(tcp[part] - tcp[node], axis=1)
        return apart


def _or_usual(height_m: float | None) -> float:
    return CONTACT_M if height_m is None else height_m
