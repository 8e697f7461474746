"""The ways to run a stroke: joint positions over spin, tilt, standoff and branch at rungs, and continuous legs."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array
from cell_motion.collision import Checker
from cell_motion.kinematics import TURN_RAD, Kinematics
from cell_motion.ladder import EdgeRule, Policy, Rung, solve, split
from cell_motion.path import StrokePath, turned

RUNG_SPACING_M = 0.015
RUNG_TURN_RAD = 0.10
N_SPINS = 18
BREAK_COST = 20.0
"""A break costs as much as 20 s of joint motion; with the process off a fifth of that."""
LIMIT_NEAR_RAD = 0.15
SINGULAR = 0.06
"""Smallest singular value of the Jacobian below which a position starts to cost."""
SINGULAR_REFUSED = 0.004


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """How the freedoms are used at some poses; arrays share length n."""

    spin_rad: Array
    tilt_rad: Array
    """(n, 2) rotation vector about the path frame's x and y."""
    standoff_m: Array

    def take(self, index: NDArray[np.int64] | list[int] | int) -> "Choice":
        """Return the entries at `index`."""
        return Choice(
            spin_rad=np.atleast_1d(self.spin_rad[index]),
            tilt_rad=np.atleast_2d(self.tilt_rad[index]),
            standoff_m=np.atleast_1d(self.standoff_m[index]),
        )

    @staticmethod
    def join(choices: list["Choice"]) -> "Choice":
        """Return the entries of all choices in order."""
        return Choice(
            spin_rad=np.concatenate([c.spin_rad for c in choices]),
            tilt_rad=np.concatenate([c.tilt_rad for c in choices]),
            standoff_m=np.concatenate([c.standoff_m for c in choices]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """A stroke's rungs with every node that limits and collisions allow."""

    stroke: int
    """Index of the stroke in the planned tool path."""
    sample: NDArray[np.int64]
    """(K,) stroke sample of each rung."""
    rungs: list[Rung]
    choices: list[Choice]
    """Per rung: how each node uses the freedoms."""
    edges: list[Array]
    """K - 1 edge costs."""
    reasons: list[str]
    """Per rung: why it has no node, or empty."""
    break_cost: Array
    """(K - 1,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Leg:
    """Rungs first..last of a ladder that can be run in one continuous motion, and the cheapest ways through them."""

    ladder: Ladder
    first: int
    last: int
    policy: Policy

    @property
    def samples(self) -> tuple[int, int]:
        """First and last stroke sample."""
        return int(self.ladder.sample[self.first]), int(self.ladder.sample[self.last])


def rung_samples(stroke: Stroke) -> NDArray[np.int64]:
    """Return the samples to stand rungs on: both ends, and no more than a spacing or a turn of the axis apart."""
    at = np.r_[0.0, np.cumsum(stroke.step_lengths_m)]
    cosine = np.clip(np.sum(stroke.tool_axis[1:] * stroke.tool_axis[:-1], axis=1), -1.0, 1.0)
    progress = at / RUNG_SPACING_M + np.r_[0.0, np.cumsum(np.arccos(cosine))] / RUNG_TURN_RAD
    n = max(int(np.ceil(progress[-1])), 1)
    wanted = np.linspace(0.0, progress[-1], n + 1)
    return np.unique(np.searchsorted(progress, wanted - 1e-9).clip(0, len(stroke) - 1))


class LadderBuilder:
    """Builds ladders for one tool in one scene."""

    def __init__(self, kinematics: Kinematics, checker: Checker, velocity_rad_per_s: Array) -> None:
        self._kinematics = kinematics
        self._checker = checker
        span = kinematics.upper_rad - kinematics.lower_rad
        self.rule = EdgeRule(velocity_rad_per_s=0.85 * velocity_rad_per_s, turns=span > TURN_RAD + 1e-6)

    def build(self, index: int, stroke: Stroke) -> Ladder:
        """Return the ladder of a stroke given in the base frame."""
        path = StrokePath(stroke)
        sample = rung_samples(stroke)
        frames = path.frames(path.at_m[sample])
        nominal = _nominal(stroke.freedom)
        found = [self._nodes(frames[k], nominal, stroke.freedom) for k in range(len(sample))]
        rungs, choices, reasons = ([f[i] for f in found] for i in range(3))
        self._use_freedom(stroke.freedom, frames, rungs, choices, reasons)
        times = stroke.times_s[sample]
        edges = [
            self.rule.edges(a, b, float(t)).astype(np.float32)
            for a, b, t in zip(rungs[:-1], rungs[1:], np.diff(times), strict=True)
        ]
        on = stroke.on[sample]
        return Ladder(
            stroke=index,
            sample=sample,
            rungs=rungs,
            choices=choices,
            edges=edges,
            reasons=reasons,
            break_cost=np.where(on[:-1] & on[1:], BREAK_COST, 0.2 * BREAK_COST),
        )

    def _nodes(self, frame: Array, choice: Choice, freedom: Freedom) -> tuple[Rung, Choice, str]:
        poses = turned(
            np.broadcast_to(frame, (len(choice.spin_rad), 4, 4)),
            spin_rad=choice.spin_rad,
            tilt_rad=choice.tilt_rad,
            standoff_m=choice.standoff_m,
        )
        answer = self._kinematics.solve(poses)
        usable = answer.within_limits & (np.nan_to_num(answer.conditioning) > SINGULAR_REFUSED)
        which, branch = np.nonzero(usable)
        position = answer.position_rad[which, branch]
        free = self._checker.free(position)
        reason = ""
        if not free.any():
            reason = self._reason(answer.exists, answer.within_limits, position)
        position, which, branch = position[free], which[free], branch[free]
        cost = self._node_cost(position, answer.conditioning[which, branch], choice.take(which), freedom)
        return Rung(position_rad=position, cost=cost), choice.take(which), reason

    def _reason(self, exists: NDArray[np.bool_], within: NDArray[np.bool_], position: Array) -> str:
        if len(position):
            some = position[:: max(len(position) // 8, 1)]
            kinds = Counter(kind for q in some for kind in {hit[0] for hit in self._checker.hits(q)})
            return kinds.most_common(1)[0][0]
        if within.any():
            return "singularity"
        return "limits" if exists.any() else "ik"

    def _node_cost(self, position: Array, conditioning: Array, choice: Choice, freedom: Freedom) -> Array:
        room = np.minimum(position - self._kinematics.lower_rad, self._kinematics.upper_rad - position).min(axis=1)
        cost = 0.05 * np.maximum(1.0 - room / LIMIT_NEAR_RAD, 0.0)
        cost += 0.10 * np.maximum(1.0 - conditioning / SINGULAR, 0.0)
        if freedom.tilt_rad > 0.0:
            cost += 0.10 * np.linalg.norm(choice.tilt_rad, axis=1) / freedom.tilt_rad
        return cost + 1.0 * np.abs(choice.standoff_m)

    def _use_freedom(
        self, freedom: Freedom, frames: Array, rungs: list[Rung], choices: list[Choice], reasons: list[str]
    ) -> None:
        """Add tilted and shifted nodes around rungs that have none."""
        more = _tilted_and_shifted(freedom)
        if more is None:
            return
        empty = [k for k, reason in enumerate(reasons) if reason]
        around = sorted({j for k in empty for j in range(max(k - 3, 0), min(k + 4, len(rungs)))})
        for k in around:
            rung, choice, _ = self._nodes(frames[k], more, freedom)
            if len(rung.cost) == 0:
                continue
            rungs[k] = Rung(
                position_rad=np.concatenate([rungs[k].position_rad, rung.position_rad]),
                cost=np.concatenate([rungs[k].cost, rung.cost]),
            )
            choices[k] = Choice.join([choices[k], choice])
            reasons[k] = ""


def _spins(freedom: Freedom, n: int) -> Array:
    return np.arange(n) * TURN_RAD / n if freedom.spin == "free" else np.array([0.0, np.pi])


def _nominal(freedom: Freedom) -> Choice:
    spins = _spins(freedom, N_SPINS)
    low, high = freedom.standoff_m
    standoff = np.full(len(spins), float(np.clip(0.0, low, high)))
    return Choice(spin_rad=spins, tilt_rad=np.zeros((len(spins), 2)), standoff_m=standoff)


def _tilted_and_shifted(freedom: Freedom) -> Choice | None:
    """Return choices with 8 directions of two tilts and three standoffs, as far as free; None where none is."""
    tilts = [(0.0, 0.0)]
    if freedom.tilt_rad > 0.0:
        directions = np.arange(8) * TURN_RAD / 8
        radii = (0.5 * freedom.tilt_rad, freedom.tilt_rad)
        tilts += [(r * np.cos(a), r * np.sin(a)) for r in radii for a in directions]
    low, high = freedom.standoff_m
    standoffs = sorted({low, 0.5 * (low + high), high})
    if len(tilts) == 1 and len(standoffs) == 1:
        return None
    combined = list(product(_spins(freedom, 9), tilts, standoffs))
    combined = [c for c in combined if c[1] != (0.0, 0.0) or c[2] != float(np.clip(0.0, low, high))]
    return Choice(
        spin_rad=np.array([c[0] for c in combined]),
        tilt_rad=np.array([c[1] for c in combined]),
        standoff_m=np.array([c[2] for c in combined]),
    )


def legs_of(ladder: Ladder, first: int = 0, last: int | None = None) -> list[Leg]:
    """Return the fewest continuous legs that serve rungs first..last, least harmful breaks between them.

    Where a break is needed, the second leg starts one rung early, or the first ends one late, so that the step between
    the two is run too; a lone rung makes no leg.
    """
    last = len(ladder.rungs) - 1 if last is None else last
    ranges = split(ladder.rungs[first : last + 1], ladder.edges[first:last], ladder.break_cost[first:last])
    legs: list[Leg] = []
    previous_end = -1
    for a, b in ((a + first, b + first) for a, b in ranges):
        leg = None
        if a > first and previous_end == a - 1:
            leg = leg_between(ladder, a - 1, b)
            if leg is None and legs:
                longer = leg_between(ladder, legs[-1].first, a)
                if longer is not None and legs[-1].last == a - 1:
                    legs[-1] = longer
        leg = leg or leg_between(ladder, a, b)
        if leg is not None:
            legs.append(leg)
        previous_end = b
    return legs


def leg_between(ladder: Ladder, first: int, last: int) -> Leg | None:
    """Return the leg over rungs first..last, or None where no continuous way exists."""
    if last <= first:
        return None
    rungs = ladder.rungs[first : last + 1]
    if any(not np.isfinite(r.cost).any() for r in rungs):
        return None
    policy = solve(rungs, ladder.edges[first:last])
    return None if policy is None else Leg(ladder=ladder, first=first, last=last, policy=policy)


def without(ladder: Ladder, rung: int, position_rad: Array, reason: str, radius_rad: float = 0.3) -> Ladder:
    """Return the ladder with the nodes of a rung near a joint position taken away."""
    rungs, edges, reasons, choices = list(ladder.rungs), list(ladder.edges), list(ladder.reasons), list(ladder.choices)
    d = position_rad - rungs[rung].position_rad
    d = np.abs(d - TURN_RAD * np.round(d / TURN_RAD)).max(axis=1)
    keep = np.flatnonzero(d > max(radius_rad, float(d.min(initial=np.inf))))
    rungs[rung] = Rung(position_rad=rungs[rung].position_rad[keep], cost=rungs[rung].cost[keep])
    choices[rung] = choices[rung].take(keep)
    if rung > 0:
        edges[rung - 1] = edges[rung - 1][:, keep]
    if rung < len(edges):
        edges[rung] = edges[rung][keep]
    if len(keep) == 0:
        reasons[rung] = reason
    return replace(ladder, rungs=rungs, edges=edges, reasons=reasons, choices=choices)
