"""The ways to run a stroke: joint positions over spin, tilt, standoff and branch at rungs, and continuous legs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Freedom, Stroke
from cell_core.transforms import Array
from cell_motion.collision import Checker
from cell_motion.freedom import Choice, Lanes, may_follow, nominal, shares
from cell_motion.kinematics import TURN_RAD, Kinematics
from cell_motion.ladder import EdgeRule, Policy, Rung, solve, split
from cell_motion.path import StrokePath, spin_reference, turned

RUNG_SPACING_M = 0.02
RUNG_TURN_RAD = 0.10
STRAINED = 0.6
"""Tilts are tried where an edge needs more than this share of its duration, times what flow or force can make up for.
A slower stroke with less flow leaves the film planned; a tilt of 20 degrees changes it by 5 % or so."""
BREAK_COST = 20.0
"""A break costs as much as 20 s of joint motion; with the process off a fifth of that."""
TILT_COST = 0.2
"""Of the whole tilt allowed, per rung: small beside a break, not beside joint motion. Tilts change what is left."""
DRAW_BACK_M = 0.05
LIMIT_ROOM_RAD = 0.03
"""Rungs keep so far from position limits, because joints overshoot a little between them."""
LIMIT_NEAR_RAD = 0.15
SINGULAR = 0.25
"""Regularity (see Solutions) below which a position starts to cost."""
SINGULAR_COST = 0.6
SINGULAR_REFUSED = 0.02


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
    reference: Array
    """(N, 3) direction of x at zero spin, for all samples of the stroke."""
    reversible: bool = True
    """Whether it may be run backwards."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Leg:
    """Rungs first..last of a ladder that can be run in one continuous motion, and the cheapest ways through them."""

    ladder: Ladder
    first: int
    last: int
    policy: Policy
    plain: Policy | None
    """The same with nominal tilt and standoff only, where that is possible and not all there is."""

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

    def __init__(
        self,
        kinematics: Kinematics,
        checker: Checker,
        velocity_rad_per_s: Array,
        *,
        pivot_m: float = 0.0,
        leaving: Checker | None = None,
        least_value: float | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take what is needed.

        Args:
            kinematics: of the tool centre point.
            checker: what a node must keep clear of.
            velocity_rad_per_s: (6,) joint speeds that may be used.
            pivot_m: tilts turn about the point so far ahead of the tool centre point.
            leaving: what the tool must keep clear of when drawn back from a stroke's end; None: it need not draw back.
            least_value: to which the process value may follow a slower speed; None: it is fixed.
            is_late: tells when no time is left.
        """
        self._is_late = is_late
        self._least_value = least_value
        self._leaving = leaving
        self._pivot_m = pivot_m
        self._kinematics = kinematics
        self._checker = checker
        span = kinematics.upper_rad - kinematics.lower_rad
        self.rule = EdgeRule(velocity_rad_per_s=0.85 * velocity_rad_per_s, turns=span > TURN_RAD + 1e-6)

    def build(self, index: int, stroke: Stroke) -> Ladder | None:
        """Return the ladder of a stroke given in the base frame, or None where time ran out over it."""
        reference = spin_reference(stroke)
        path = StrokePath(stroke, reference)
        sample = rung_samples(stroke)
        frames = path.frames(path.at_m[sample])
        spins = nominal(stroke.freedom)
        found = []
        for frame in frames:
            if self._is_late():
                return None
            found.append(self._nodes(frame, spins, stroke.freedom))
        rungs, choices, reasons = ([f[0] for f in found], [f[1] for f in found], [f[2] for f in found])
        durations = np.diff(stroke.times_s[sample])
        on = stroke.on[sample]
        break_cost = np.where(on[:-1] & on[1:], BREAK_COST, 0.2 * BREAK_COST)
        for k in (0, len(rungs) - 1):
            kept = self._that_can_leave(rungs[k])
            rungs[k], choices[k] = rungs[k].take(kept), choices[k].take(kept)
        work = _Work(stroke.freedom, frames, path.at_m[sample], rungs, choices, reasons)
        self._add(work, Lanes.full(stroke.freedom), [k for k, reason in enumerate(reasons) if reason])
        edges = self._edges(work, durations)
        gentle = Lanes.gentle(stroke.freedom)
        if len(gentle) and stroke.freedom.spin != "free":  # a free spin is freedom enough
            allowed = STRAINED * self._slack(stroke) * durations
            strained = self._strained(rungs, edges, allowed, break_cost)
            if strained:
                self._add(work, gentle, strained)
                self._add(work, gentle, list(range(len(sample))))
                edges = self._edges(work, durations)
        return Ladder(
            stroke=index,
            sample=sample,
            rungs=rungs,
            choices=choices,
            edges=edges,
            reversible=stroke.freedom.spin != "exact",
            reasons=reasons,
            break_cost=break_cost,
            reference=reference,
        )

    def reason(self, frame: Array, freedom: Freedom) -> str:
        """Return why no pose within a freedom about a tool frame (4, 4) can be taken, or "" where one can."""
        rung, _, reason = self._nodes(frame, nominal(freedom), freedom)
        lanes = Lanes.full(freedom)
        if len(rung.cost) == 0 and len(lanes):
            rung, _, _ = self._nodes(frame, lanes.choices(1.0, 1), freedom)
        return "" if len(rung.cost) else reason

    def _that_can_leave(self, rung: Rung) -> NDArray[np.int64]:
        """Return the nodes from which the tool can be drawn back along its axis; all of them where none can."""
        every = np.arange(len(rung.cost))
        if self._leaving is None or len(every) == 0:
            return every
        T = self._kinematics.forward(rung.position_rad)
        T[:, :3, 3] -= DRAW_BACK_M * T[:, :3, 2]
        back, distance = self._kinematics.follow(T, rung.position_rad)
        low, high = self._kinematics.lower_rad, self._kinematics.upper_rad
        able = (distance < 0.5) & ((back >= low) & (back <= high)).all(axis=1)
        able[able] = self._leaving.free(back[able])
        return every[able] if able.any() else every

    def _edges(self, work: "_Work", durations_s: Array) -> list[Array]:
        edges = []
        for k, duration in enumerate(durations_s):
            cost = self.rule.edges(work.rungs[k], work.rungs[k + 1], float(duration)).astype(np.float32)
            edges.append(np.where(may_follow(work.choices[k], work.choices[k + 1]), cost, np.float32(np.inf)))
        return edges

    def _slack(self, stroke: Stroke) -> float:
        """Return how many times slower a stroke may be run before its process value can follow no longer."""
        if self._least_value is None or not stroke.on.any():
            return 1.0
        return max(float(stroke.process_value[stroke.on].min()) / self._least_value, 1.0)

    def _strained(self, rungs: list[Rung], edges: list[Array], allowed_s: Array, break_cost: Array) -> list[int]:
        """Return the rungs at which the cheapest way breaks or would take longer than allowed (K - 1,)."""
        found: list[int] = []
        ranges = split(rungs, edges, break_cost)
        for first, last in ranges:
            found += [k for k in (first, last) if 0 < k < len(rungs) - 1]
            policy = solve(rungs[first : last + 1], edges[first:last])
            if policy is None:
                continue
            way = policy.from_first(int(np.argmin(policy.first_cost)))
            joints = np.array([rungs[first + i].position_rad[n] for i, n in enumerate(way)])
            needed = np.abs(self.rule.difference(joints[:-1], joints[1:])) / self.rule.velocity_rad_per_s
            slow = needed.max(axis=1, initial=0.0) > allowed_s[first:last]
            found += [first + int(k) for k in np.flatnonzero(slow)]
        return sorted(set(found))

    def _nodes(self, frame: Array, choice: Choice, freedom: Freedom) -> tuple[Rung, Choice, str]:
        poses = turned(
            np.broadcast_to(frame, (len(choice.spin_rad), 4, 4)),
            spin_rad=choice.spin_rad,
            tilt_rad=choice.tilt_rad,
            standoff_m=choice.standoff_m,
            pivot_m=self._pivot_m,
        )
        answer = self._kinematics.solve(poses)
        low, high = self._kinematics.lower_rad, self._kinematics.upper_rad
        room = np.minimum(answer.position_rad - low, high - answer.position_rad).min(axis=2)
        regular = np.nan_to_num(answer.regularity) > SINGULAR_REFUSED
        usable = regular & (np.nan_to_num(room) > LIMIT_ROOM_RAD)
        which, branch = np.nonzero(usable)
        position = answer.position_rad[which, branch]
        free = self._checker.free(position)
        reason = ""
        if not free.any():
            reason = self._reason(answer.exists, answer.within_limits & ~regular, position)
        position, which, branch = position[free], which[free], branch[free]
        cost = self._node_cost(position, answer.regularity[which, branch], choice.take(which), freedom)
        return Rung(position_rad=position, cost=cost), choice.take(which), reason

    def _reason(self, exists: NDArray[np.bool_], singular: NDArray[np.bool_], position: Array) -> str:
        if len(position):
            some = position[:: max(len(position) // 8, 1)]
            kinds = Counter(kind for q in some for kind in {hit[0] for hit in self._checker.hits(q)})
            return kinds.most_common(1)[0][0]
        if singular.any():
            return "singularity"
        return "limits" if exists.any() else "ik"

    def _node_cost(self, position: Array, regularity: Array, choice: Choice, freedom: Freedom) -> Array:
        room = np.minimum(position - self._kinematics.lower_rad, self._kinematics.upper_rad - position).min(axis=1)
        cost = 0.05 * np.maximum(1.0 - room / LIMIT_NEAR_RAD, 0.0)
        cost += SINGULAR_COST * np.maximum(1.0 - regularity / SINGULAR, 0.0) ** 2
        if freedom.tilt_rad > 0.0:
            cost += TILT_COST * np.linalg.norm(choice.tilt_rad, axis=1) / freedom.tilt_rad
        return cost + 1.0 * np.abs(choice.standoff_m)

    def _add(self, work: "_Work", lanes: Lanes, needy: list[int]) -> None:
        """Add the nodes of lanes around needy rungs."""
        if not needy or len(lanes) == 0:
            return
        first_lane = 1 + work.n_lanes
        work.n_lanes += len(lanes)
        for k, share in enumerate(shares(work.at_m, needy)):
            if share <= 0.0 or self._is_late():
                continue
            rung, choice, _ = self._nodes(work.frames[k], lanes.choices(float(share), first_lane), work.freedom)
            if len(rung.cost) == 0:
                continue
            work.rungs[k] = Rung(
                position_rad=np.concatenate([work.rungs[k].position_rad, rung.position_rad]),
                cost=np.concatenate([work.rungs[k].cost, rung.cost]),
            )
            work.choices[k] = Choice.join([work.choices[k], choice])
            work.reasons[k] = ""


@dataclass
class _Work:
    """A ladder being built."""

    freedom: Freedom
    frames: Array
    at_m: Array
    rungs: list[Rung]
    choices: list[Choice]
    reasons: list[str]
    n_lanes: int = 0


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
    edges = ladder.edges[first:last]
    policy = solve(rungs, edges)
    if policy is None:
        return None
    lanes = [choice.lane for choice in ladder.choices[first : last + 1]]
    plain = None
    if any(lane.any() for lane in lanes):
        bare = [replace(r, cost=np.where(lane > 0, np.inf, r.cost)) for r, lane in zip(rungs, lanes, strict=True)]
        plain = solve(bare, edges)
    return Leg(ladder=ladder, first=first, last=last, policy=policy, plain=plain)


def without(ladder: Ladder, rung: int, position_rad: Array, reason: str, radius_rad: float) -> Ladder:
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
