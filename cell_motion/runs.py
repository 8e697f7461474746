"""A leg in time: lead-in, the stroke at its own speed, lead-out, and the straight ways in and out of it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from cell_motion.freedom import Choice
from cell_motion.kinematics import TURN_RAD, Kinematics
from cell_motion.pacing import Course, Ramp, around, dip, smoothed
from cell_motion.path import Profile, SpeedLaw, StrokePath, profile, rounded, unwrapped
from cell_motion.run import Checkers, Fault, Run
from cell_motion.strokes import Leg
from cell_motion.timing import Limits, Motion, along, through
from cell_motion.touching import CHECK_STEP_M, JUMP_RAD, Touching

LIFT_M = 0.004
"""A pad comes down by this on the lead-in and goes up by it on the lead-out."""
LINE_SPEED_M_PER_S = {"spray": 0.5, "grind": 0.25}
SLOWEST_M_PER_S = 0.002
RAMP_S = {"spray": 0.1, "grind": 0.3}
"""Shortest lead-in and lead-out; a pad comes down in that time."""
ROUNDS = 24
LOCAL_ROUNDS = 16
"""After so many rounds the whole stroke is slowed, not only the places that ask for too much."""
NEAR_NODES = 6
FLIP_RAD_PER_M = 43.0
FLIP_RAD = 0.03
"""A larger step between time nodes, and more than 5 degrees per 2 mm, is a flip."""
FLIP_WINDOW_M = 0.002
FLIP_WINDOW_RAD = 0.0865
"""So is a larger turn of a joint while the tool runs so far on a stroke, however slowly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Runner:
    """Turns legs into motions for one tool."""

    kinematics: Kinematics
    limits: Limits
    checkers: Checkers
    grinding: bool
    acceleration_m_per_s2: float
    period_s: float
    pivot_m: float = 0.0
    """Tilts turn about the point so far ahead of the tool centre point [m]."""
    slide_m: float = 0.0
    """The ground may push the pad back on its slide by so much (see `Touching`)."""
    jerk_fraction: float = 0.97
    """Jerk may exceed its planning limit by the inverse; it is still within the robot's."""

    @cached_property
    def touching(self) -> Touching:
        """What the tool may touch beside its strokes."""
        return Touching(
            kinematics=self.kinematics, checkers=self.checkers, grinding=self.grinding, slide_m=self.slide_m
        )

    def run(self, leg: Leg, stroke: Stroke, nodes: list[int], reverse: bool, entry_rad: Array) -> Run | Fault:
        """Return the leg's motion through the chosen nodes, or what prevents it.

        Args:
            leg: what to run.
            stroke: the planned stroke in the base frame, all of it.
            nodes: node of each of the leg's rungs, first rung first.
            reverse: run from the last rung to the first.
            entry_rad: (6,) joint position near which whole turns are chosen.
        """
        first, last = leg.samples
        part = stroke.part(first, last + 1)
        part = part.reversed() if reverse else part
        reference = leg.ladder.reference[first : last + 1]
        path = StrokePath(part, reference[::-1] if reverse else reference)
        joints, choice, at = self._through_nodes(leg, path, nodes, reverse)
        joints = self._whole_turns(joints, entry_rad)
        if joints is None:
            return Fault(reason="limits", s_m=0.5 * path.length_m)
        fault: Fault | None = None
        for smooth in (True, False):
            course = Course(
                path=path,
                at_m=at,
                joints=joints,
                choice=smoothed(choice, at) if smooth else choice,
                pivot_m=self.pivot_m,
            )
            outcome = self._timed(leg, course, reverse)
            if isinstance(outcome, Run):
                return outcome
            fault = outcome
        assert fault is not None
        return fault

    def again(self, run: Run, stroke: Stroke) -> Run | Fault:
        """Return a run through the same joint positions at the speeds and process values of a stroke at its poses."""
        asked = replace(stroke, speed_m_per_s=stroke.speed_m_per_s / run.stretch)
        course = replace(run.course, path=run.course.path.with_stroke(asked))
        outcome = self._timed(run.leg, course, run.reverse)
        return replace(outcome, first_asked=run.first_asked) if isinstance(outcome, Run) else outcome

    def _through_nodes(
        self, leg: Leg, path: StrokePath, nodes: list[int], reverse: bool
    ) -> tuple[Array, Choice, Array]:
        rungs = range(leg.first, leg.last + 1)
        joints = np.array([leg.ladder.rungs[k].position_rad[n] for k, n in zip(rungs, nodes, strict=True)])
        choice = Choice.join([leg.ladder.choices[k].take(n) for k, n in zip(rungs, nodes, strict=True)])
        sample = leg.ladder.sample[leg.first : leg.last + 1] - leg.samples[0]
        if reverse:
            joints, choice = joints[::-1], choice.take(np.arange(len(nodes))[::-1])
            sample = sample[-1] - sample[::-1]
        wraps = self.kinematics.upper_rad - self.kinematics.lower_rad > TURN_RAD + 1e-6
        joints = np.where(wraps, np.unwrap(joints, axis=0, period=TURN_RAD), joints)
        choice = replace(choice, spin_rad=unwrapped(choice.spin_rad))
        return joints, choice, path.at_m[sample]

    def _whole_turns(self, joints: Array, entry_rad: Array) -> Array | None:
        """Shift the joint path by whole turns into the limits, as near to the entry as possible."""
        shifted = joints.copy()
        for j, (low, high) in enumerate(zip(self.kinematics.lower_rad, self.kinematics.upper_rad, strict=True)):
            q = joints[:, j]
            turns = np.arange(np.ceil((low - q.min()) / TURN_RAD), np.floor((high - q.max()) / TURN_RAD) + 1)
            if len(turns) == 0:
                return None
            shifted[:, j] = q + TURN_RAD * turns[np.argmin(np.abs(q[0] + TURN_RAD * turns - entry_rad[j]))]
        return shifted

    def _timed(self, leg: Leg, course: Course, reverse: bool) -> Run | Fault:
        """Find ramps and, where the arm cannot follow, lower speeds by which the leg can be run."""
        prescribed = SpeedLaw.of(course.path)
        factor = np.ones(len(prescribed.s_m))
        ramps = {side: Ramp(may_be_harder=not self.grinding) for side in ("in", "out")}
        level = np.zeros(len(prescribed.s_m))
        for trial in range(ROUNDS):
            law = replace(prescribed, speed_m_per_s=np.maximum(factor * prescribed.speed_m_per_s, SLOWEST_M_PER_S))
            law = self._resting_ends(law, ramps)
            timing = profile(law, self._ramp(ramps["in"], law, 0), self._ramp(ramps["out"], law, -1), level)
            outcome = self._followed(course, timing)
            if not isinstance(outcome, Fault):
                motion, start, end, s = outcome
                ratio = self._strain(motion)
                if ratio.max() > 1.0:
                    place = np.clip(s, 0.0, course.path.length_m)
                    kinks = np.flatnonzero((ratio > 1.0) & (self._strain(motion, jerk=False) <= 1.0))
                    level, eased = rounded(law.s_m, level, place[kinks])
                    ratio[kinks[eased]] = 0.0
                    for side, first, last in (("in", 0, start), ("out", end, len(ratio) - 1)):
                        # a ramp may strain the nodes next to it too
                        more = NEAR_NODES if ramps[side].trials < 2 else -1
                        nodes = slice(first, last + more) if side == "in" else slice(max(first - more, 0), last + 1)
                        if ratio[nodes].max(initial=0.0) > 1.0 and ramps[side].yields():
                            ratio[nodes] = 0.0
                    if trial >= LOCAL_ROUNDS:
                        ratio[:] = max(float(ratio.max()), 1.0)
                    factor = factor * dip(law.s_m, place, ratio)
                    continue
                freed = self.touching.freed(motion, start, end)
                contacts = self.touching.contacts_m(motion, start, end, freed)
                hit = self.touching.first_hit(motion, (start, end), contacts)
                low = np.array(self.touching.too_low(freed)) & [ramps[side].exists for side in ("in", "out")]
                if hit is None and not low.any():
                    return self._finished(leg, course, timing, motion, (start, end), contacts, reverse)
                hit = (0 if low[0] else len(s) - 1) if hit is None else hit
                kinds = [h[0] for h in self.checkers.process.hits(motion.position_rad[hit])] or ["part"]
                outcome = Fault(reason=kinds[0], s_m=float(s[hit]))
            side = "in" if outcome.s_m < 0.0 else "out" if outcome.s_m > course.path.length_m else ""
            if not (side and ramps[side].shorter()):
                return outcome
        return Fault(reason="speed", s_m=0.5 * course.path.length_m)

    def _resting_ends(self, law: SpeedLaw, ramps: dict[str, Ramp]) -> SpeedLaw:
        """Let the stroke itself start or end at rest where there is no room for a ramp."""
        cap = np.full(len(law.s_m), 1e3)
        for side, index in (("in", 0), ("out", -1)):
            if not ramps[side].exists:
                cap[index] = SLOWEST_M_PER_S
        return law if cap.min() >= 1e3 else law.capped(law.s_m, cap, 0.5 * self.acceleration_m_per_s2)

    def _ramp(self, ramp: Ramp, law: SpeedLaw, end: int) -> float:
        shortest_s = RAMP_S["grind" if self.grinding else "spray"]
        softest = 1.5 * float(law.speed_m_per_s[end]) / shortest_s
        return ramp.share * min(softest, self.acceleration_m_per_s2 if ramp.exists else softest)

    def _strain(self, motion: Motion, *, jerk: bool = True) -> Array:
        """Return by how much each node would have to be slower for all limits, or those without jerk, to hold (N,)."""
        velocity, acceleration = motion.ratios(self.limits)
        if not jerk:
            return np.maximum(velocity, np.sqrt(acceleration))
        jerks = np.cbrt(self.jerk_fraction * motion.jerk_ratios(self.limits))
        return np.maximum(np.maximum(velocity, np.sqrt(acceleration)), jerks)

    def _followed(self, course: Course, timing: Profile) -> tuple[Motion, int, int, Array] | Fault:
        """Solve every time node exactly and check limits and jumps."""
        time, start, end = timing.nodes(self.period_s)
        s = timing.at(time)
        frames = course.frames(s, self._lift(s, course.path.length_m, timing))
        joints, distance = self.kinematics.follow(frames, course.guess(s))
        if not np.isfinite(distance).all():
            return Fault(reason="ik", s_m=float(s[np.argmax(~np.isfinite(distance))]))
        outside = (joints < self.kinematics.lower_rad) | (joints > self.kinematics.upper_rad)
        if outside.any():
            return Fault(reason="limits", s_m=float(s[np.argmax(outside.any(axis=1))]))
        step = np.abs(np.diff(joints, axis=0)).max(axis=1)
        jump = step > np.maximum(FLIP_RAD_PER_M * np.abs(np.diff(s)), FLIP_RAD)
        if jump.any():
            return Fault(reason="flip", s_m=float(s[np.argmax(jump)]))
        flipped = flips(frames[start : end + 1, :3, 3], joints[start : end + 1])
        if flipped.any():
            return Fault(reason="flip", s_m=float(s[start + np.argmax(flipped)]))
        return through(time, joints), start, end, s

    def _lift(self, s: Array, length_m: float, timing: Profile) -> Array:
        """Return how far the pad is off the surface on lead-in and lead-out; it comes down without a kink."""
        if not self.grinding:
            return np.zeros_like(s)
        before, after = -float(timing.s_m[0]), float(timing.s_m[-1]) - length_m
        u = np.clip(-s / max(before, 1e-6), 0.0, 1.0) + np.clip((s - length_m) / max(after, 1e-6), 0.0, 1.0)
        return LIFT_M * u**3 * (10.0 - 15.0 * u + 6.0 * u**2)

    def _finished(
        self,
        leg: Leg,
        course: Course,
        timing: Profile,
        motion: Motion,
        bounds: tuple[int, int],
        contacts_m: tuple[float, float],
        reverse: bool,
    ) -> Run:
        path, planned = course.path, course.path.stroke
        times = timing.time_at(path.at_m)
        speed = timing.speed_at(times)
        frames = course.frames(path.at_m, np.zeros(len(path.at_m)))
        stretch_at_samples = course.stretch(path.at_m)
        axis_turn = np.arccos(np.clip(np.sum(frames[:, :3, 2] * planned.tool_axis, axis=1), -1.0, 1.0))
        shift = np.linalg.norm(frames[:, :3, 3] - planned.position_m, axis=1)
        start, end = bounds
        heights = self.touching.heights_m(motion, start, end)
        inner = slice(start, end + 1)
        node_s = timing.at(motion.time_s[inner])
        velocity = motion.velocity_rad_per_s[inner]
        tool_speed = self._tool_speed(motion.position_rad[inner], velocity)
        on = planned.on[np.clip(np.searchsorted(path.at_m, node_s), 0, len(planned) - 1)]
        # with a tilt about a point ahead the tool centre point runs on a longer or shorter line than planned
        stretch = course.stretch(node_s)
        prescribed = SpeedLaw.of(path)
        as_planned = stretch * np.interp(node_s, prescribed.s_m, prescribed.speed_m_per_s)
        wanted = stretch * timing.speed_at(motion.time_s[inner])
        strain = self._strain(motion, jerk=False)[inner]
        sigma = self.kinematics.conditioning(motion.position_rad[inner][:: max((end - start) // 50, 1)])
        return Run(
            leg=leg,
            reverse=reverse,
            course=course,
            first_asked=planned,
            stroke=replace(
                planned,
                position_m=frames[:, :3, 3] if shift.max() > 1e-6 else planned.position_m,
                tool_axis=frames[:, :3, 2] if axis_turn.max() > 1e-4 else planned.tool_axis,
                speed_m_per_s=np.maximum(speed * stretch_at_samples, SLOWEST_M_PER_S),
            ),
            timing=timing,
            motion=motion,
            heights_m=(float(heights[0]), float(heights[-1])),
            contacts_m=contacts_m,
            start=start,
            end=end,
            sample_times_s=times,
            stretch=stretch_at_samples,
            strain=around(path.at_m, node_s, strain),
            lost_s=max(float(times[-1] - times[0] - planned.times_s[-1]), 0.0),
            n_slowed=int((speed < 0.99 * planned.speed_m_per_s).sum()),
            n_tilted=int(((axis_turn > 0.015) | (shift > 5e-4)).sum()),
            speed_error=(tool_speed / wanted - 1.0)[on],
            planned_speed_error=(tool_speed / as_planned - 1.0)[on],
            node_length_m=np.gradient(node_s)[on],
            singular_value_min=float(sigma.min()),
        )

    def _tool_speed(self, position: Array, velocity: Array) -> Array:
        step = 1e-4
        ahead, behind = (self.kinematics.forward(position + sign * step * velocity) for sign in (1.0, -1.0))
        return np.linalg.norm(ahead[:, :3, 3] - behind[:, :3, 3], axis=1) / (2.0 * step)

    def line(
        self, joint_rad: Array, distance_m: float, height_m: float = 0.0, contact_m: float | None = None
    ) -> Motion | None:
        """Return the straight move from joint position (6,) back along the tool axis, or None if it is not free.

        Args:
            joint_rad: where it begins.
            distance_m: how far it goes.
            height_m: how far it begins off the stroke.
            contact_m: up to which height the pad may touch the part; None: as it stands there.
        """
        contact = self.touching.contact_m(joint_rad) if contact_m is None else contact_m
        n = max(int(np.ceil(distance_m / CHECK_STEP_M)), 4)
        joints, away = self.touching.drawn_back(joint_rad, np.linspace(0.0, distance_m, n + 1))
        if not np.isfinite(away).all() or np.abs(np.diff(joints, axis=0)).max() > JUMP_RAD:
            return None
        if ((joints < self.kinematics.lower_rad) | (joints > self.kinematics.upper_rad)).any():
            return None
        speed = LINE_SPEED_M_PER_S["grind" if self.grinding else "spray"]
        motion = along(joints, self.limits, self.period_s, shortest_s=1.875 * distance_m / speed)
        T = self.kinematics.forward(joint_rad[None])[0]
        moved = (T[:3, 3] - self.kinematics.forward(motion.position_rad)[:, :3, 3]) @ T[:3, 2]
        near = height_m + moved <= contact if self.grinding else np.zeros(len(moved), bool)
        return motion if self.touching.free(motion.position_rad, near).all() else None


def flips(tcp_m: Array, joints: Array) -> NDArray[np.bool_]:
    """Tell from which nodes (N,) of a stroke a joint turns too far while the tool runs on by FLIP_WINDOW_M."""
    pace = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(tcp_m, axis=0), axis=1))]
    later = np.minimum(np.searchsorted(pace, pace + FLIP_WINDOW_M), len(pace) - 1)
    # nodes farther apart than the window count for their share of it
    share = np.minimum(FLIP_WINDOW_M / np.maximum(pace[later] - pace, 1e-12), 1.0)
    share = np.where(later == np.arange(len(pace)) + 1, share, 1.0)
    return (np.abs(joints[later] - joints).max(axis=1) * share) > FLIP_WINDOW_RAD
