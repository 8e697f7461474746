"""Grinding as the simulator sees it: bristles on a force-controlled slide pressed onto the true mesh."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.transforms import Array
from cell_simulation.bristles import CAST_BACK_M, FACING_MIN, Bristles
from cell_simulation.faces import face_of
from cell_simulation.tool_parameters import CorrelatedNoise, PadTruth, ToolErrors
from cell_simulation.true_part import TruePart
from cell_simulation.wear import AbrasiveTruth

SLIDE_SPEED_M_PER_S = 0.3
SLIDE_DAMPING_N_S_PER_M = 40.0
FORCE_LAG_S = 0.02
POWER_CORRELATION_S = 0.01
STICTION_M_PER_S = 0.005
"""Below this speed dry friction fades, so that it never chatters."""
CANDIDATE_MARGIN_M = 0.015


@dataclass(frozen=True, kw_only=True, eq=False)
class Contact:
    """What the slide did over K poses."""

    force_n: Array
    """(K,) contact force along the tool axis, pushing on the part."""
    slide_m: Array
    """(K,) extension of the slide from its middle, positive towards the part."""
    touching: NDArray[np.bool_]
    """(K,) the pad touches the part."""
    power_w: Array
    """(K,) power the spindle's motor takes."""


class GrindTruth:
    """Press the pad along a path, block by block.

    Force balance: bristles of equal area stand on the face (cell_simulation.faces); each is compressed by the slide's
    extension minus its gap along the tool axis, and pressure is stiffness times compression (Winkler). The slide
    extends until the sum equals the force it pushes with, within stroke and speed. Removal (Preston): every mesh vertex
    under the face loses k_p * p * v_rel, with p from its own gap and the slide's extension; the sum over vertices is
    scaled to what the bristles remove, so that volume is conserved on any mesh. The abrasive dulls as it rubs
    (cell_simulation.wear).
    """

    def __init__(self, part: TruePart, pad: PadTruth, *, seed: int, errors: ToolErrors) -> None:
        rng = np.random.default_rng([seed, 11])
        self._part, self._pad, self._errors = part, pad, errors
        self._face = face_of(pad)
        self.bristles = Bristles(part, self._face)
        self._stiffness_error = 1.0 + errors.stiffness_bias * np.clip(rng.standard_normal(), -2, 2)
        self._stiffness = self._face.stiffness_pa_per_m(0.0) * self._stiffness_error
        self._preston = pad.preston_per_pa * (1.0 + errors.preston_bias * np.clip(rng.standard_normal(), -2, 2))
        self.force_bias_n = errors.force_bias_n * np.clip(rng.standard_normal(), -2, 2)
        self.ripple = CorrelatedNoise(seed, 12, errors.force_correlation_s)
        self.abrasive = AbrasiveTruth.of(pad, errors, np.random.default_rng([seed, 13]))
        self._power_noise = CorrelatedNoise(seed, 14, POWER_CORRELATION_S)
        self._tree = KDTree(part.surface.vertices_m)
        self._candidates = np.empty(0, np.int64)
        self._candidates_centre = np.full(3, np.inf)
        self._force_n = 0.0
        """Force the slide's drive has built up."""
        self._slide_m = 0.0
        self._settled_slide_m: float | None = None
        self._at_balance = False
        self.removed_m3 = 0.0

    def grind(self, times_s: Array, T_base_tool: Array, force_set_n: Array, spindle: Array) -> Contact:
        """Move the pad through one block of poses and take off what it removes.

        Args:
            times_s: (K,) pose times [s], evenly spaced; the block lasts K times the spacing.
            T_base_tool: (K, 4, 4) poses of the pad face centre with the slide in its middle; z presses into the part.
            force_set_n: (K,) commanded force.
            spindle: (K,) fraction of the nominal spindle speed.
        """
        dt = float(times_s[1] - times_s[0])
        gaps, facing = self.bristles.gaps(T_base_tool)
        self.press_with(float(np.mean(force_set_n)))
        disturbance = self.force_bias_n + self._errors.force_ripple_n * self.ripple(times_s)
        force, slide, touching = self._press(gaps, force_set_n, disturbance, dt)
        power = self.take_off(times_s, T_base_tool, gaps, slide, None, spindle, side=facing)
        power += self.idle_power(times_s, spindle)
        return Contact(force_n=force, slide_m=slide, touching=touching, power_w=power)

    def idle_power(self, times_s: Array, spindle: Array) -> Array:
        """Return what the motor takes without friction (K,) [W], with its noise."""
        idle = self._errors.idle_power_w * spindle + self._errors.power_noise_w * self._power_noise(times_s)
        return np.where(spindle > 0.0, idle, 0.0)

    def press_with(self, force_n: float) -> float:
        """Take the stiffness that the face has under a force; return that of one bristle [N/m]."""
        self._stiffness = self._face.stiffness_pa_per_m(force_n) * self._stiffness_error
        return self._stiffness * self._face.bristle_area_m2

    def take_off(
        self,
        times_s: Array,
        T_base_tool: Array,
        gaps: Array,
        slide: Array,
        force_n: Array | None,
        spindle: Array,
        *,
        side: float,
    ) -> Array:
        """Remove what the pad wears off along a block of poses and return the power (K,) [W] that friction takes.

        Args:
            times_s, T_base_tool, spindle: as `grind` takes them.
            gaps: (K, B) from the pad face to the surface.
            slide: (K,) extension.
            force_n: (K,) contact force where it is not what layer and extension alone give: pressure scales with it.
            side: +1 where the pad meets the outside of the mesh, -1 the inside of an open sheet.
        """
        dt = float(times_s[1] - times_s[0])
        pressure = self._stiffness * np.clip(slide[:, None] - gaps, 0.0, None)
        elastic = self._face.bristle_area_m2 * pressure.sum(axis=1)
        if force_n is not None:
            pressure *= np.divide(force_n, elastic, out=np.zeros(len(slide)), where=elastic > 0.0)[:, None]
        grinding = (elastic > 0.0) & (spindle > 0.0)
        if not grinding.any():
            return np.zeros(len(slide))
        return self._remove(T_base_tool, pressure, slide, np.where(grinding, spindle, 0.0), side, dt)

    def drag(self, feed_m_per_s: Array, weights: Array, turning: bool) -> Array:
        """Return the net friction on the tool (2,) in its x and y, over the normal force.

        Args:
            feed_m_per_s: (2,) speed of the pad.
            weights: (B,) share of each bristle in the normal force.
            turning: whether the spindle turns.
        """
        pad, friction = self._pad, self.abrasive.friction_now
        omega = pad.rpm * 2.0 * np.pi / 60.0
        if not turning:
            return -friction * feed_m_per_s / np.hypot(np.hypot(*feed_m_per_s), STICTION_M_PER_S)
        if pad.motion == "orbital":
            # mean over an orbit of the direction of |omega e (cos, sin) + feed|, to first order in feed
            return -friction * feed_m_per_s / max(2.0 * omega * pad.orbit_radius_m, STICTION_M_PER_S)
        if pad.motion in ("wheel", "belt"):
            return np.array([-friction, 0.0])
        x, y = self._face.bristles_m.T
        slip = np.column_stack([feed_m_per_s[0] - omega * y, feed_m_per_s[1] + omega * x])
        speed = np.maximum(np.linalg.norm(slip, axis=1), STICTION_M_PER_S)
        return -friction * (weights / speed) @ slip

    def renew_abrasive(self) -> None:
        """Put a new abrasive on."""
        self.abrasive.renew(self._pad.wear_floor)

    def settle(self, force_n: float) -> None:
        """Start anew somewhere else with the drive already at its force and the slide where it balances."""
        self._force_n, self._slide_m, self._settled_slide_m, self._at_balance = force_n, 0.0, None, True

    def _press(
        self, gaps: Array, force_set_n: Array, disturbance_n: Array, dt: float
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return contact force, slide extension and touching (K,) by balance of forces, pose after pose."""
        ordered = np.sort(gaps, axis=1)
        sums = np.cumsum(np.where(np.isfinite(ordered), ordered, 0.0), axis=1)
        k_area = self._stiffness * self._face.bristle_area_m2
        half = 0.5 * self._pad.slide_stroke_m
        force, slide = np.zeros(len(gaps)), np.zeros(len(gaps))
        for i in range(len(gaps)):
            self._force_n += (force_set_n[i] - self._force_n) * -np.expm1(-dt / FORCE_LAG_S)
            if force_set_n[i] <= 0.0:
                # compliant and parked: the slide stays in its middle unless the part pushes it back
                self._settled_slide_m = None
                wanted = min(0.0, float(ordered[i, 0]))
                push = 0.0
            else:
                push = max(self._force_n + disturbance_n[i], 0.0)
                settled = _extension(ordered[i], sums[i], push / k_area)
                if self._settled_slide_m is not None and np.isfinite(settled):
                    push = max(push - SLIDE_DAMPING_N_S_PER_M * (settled - self._settled_slide_m) / dt, 0.0)
                self._settled_slide_m = settled if np.isfinite(settled) else None
                wanted = _extension(ordered[i], sums[i], push / k_area)
            reach = np.inf if self._at_balance else SLIDE_SPEED_M_PER_S * dt
            self._at_balance = False
            moved = min(max(wanted, self._slide_m - reach), self._slide_m + reach)
            self._slide_m = min(max(moved, -half), half)
            slide[i] = self._slide_m
            force[i] = k_area * float(np.clip(self._slide_m - ordered[i], 0.0, None).sum())
            if self._slide_m <= -half and force[i] > push:
                # bottomed out: pad and end stop yield in series under what the arm presses in
                yield_n_per_m = k_area * max(int((ordered[i] < self._slide_m).sum()), 1)
                share = self._pad.slide_stiffness_n_per_m / (self._pad.slide_stiffness_n_per_m + yield_n_per_m)
                force[i] = push + share * (force[i] - push)
        return force, slide, force > 0.0

    def _remove(
        self, T_base_tool: Array, pressure: Array, slide: Array, spindle: Array, side: float, dt: float
    ) -> Array:
        """Take off k_p * p * v_rel under the pad, which moves straight from the first to the last pose of the block.

        Return the friction's power (K,) [W].
        """
        part = self._part
        duration = dt * len(T_base_tool)
        middle = len(T_base_tool) // 2
        T = T_base_tool[middle]
        span = (T_base_tool[-1, :3, 3] - T_base_tool[0, :3, 3]) * len(T_base_tool) / (len(T_base_tool) - 1)
        travel = (span @ T[:3, :3])[:2]
        weights = spindle / len(spindle)
        speed_fraction, extension = weights.sum(), (weights @ slide) / weights.sum()

        work = weights[:, None] * pressure * self._relative_speed(self._face.bristles_m, travel / duration)
        force_speed_w = len(spindle) * self._face.bristle_area_m2 * work.sum(axis=1)
        power = self.abrasive.friction_now * force_speed_w
        preston = self._preston * self.abrasive.rub(dt * float(force_speed_w.sum()))
        volume = preston * duration * self._face.bristle_area_m2 * float(work.sum())

        candidates = self._under_pad(T[:3, 3])
        normals = part.surface.vertex_normals[candidates]
        cosine = -side * normals @ T[:3, 2]
        facing = cosine > FACING_MIN
        candidates, cosine = candidates[facing], cosine[facing]
        local = (part.surface.vertices_m[candidates] - T[:3, 3]) @ T[:3, :3]
        compression = extension - local[:, 2] - part.removed_m[candidates] / cosine
        near = (compression > 0.0) & (local[:, 2] > -CAST_BACK_M)
        candidates, cosine, local, compression = candidates[near], cosine[near], local[near, :2], compression[near]
        pressed = self._stiffness * self._face.mean_compression_m(local, compression, travel)
        depth = preston * pressed * self._relative_speed(local, travel / duration) * duration * speed_fraction
        gathered = float(depth @ (part.surface.vertex_areas_m2[candidates] * cosine))
        if gathered > 0.0:
            # few vertices under the pad, or many, on steep or flat ground: the volume is what the bristles took
            depth *= np.clip(volume / gathered, 0.5, 2.0)
            part.removed_m[candidates] += depth
            self.removed_m3 += float(depth @ (part.surface.vertex_areas_m2[candidates] * cosine))
        return power

    def _under_pad(self, centre_m: Array) -> NDArray[np.int64]:
        if np.linalg.norm(centre_m - self._candidates_centre) > CANDIDATE_MARGIN_M:
            height = 0.5 * self._pad.slide_stroke_m + CAST_BACK_M
            reach = float(np.hypot(self._face.reach_m, height)) + 2 * CANDIDATE_MARGIN_M
            self._candidates = np.array(self._tree.query_ball_point(centre_m, reach), np.int64)
            self._candidates_centre = centre_m.copy()
        return self._candidates

    def _relative_speed(self, local: Array, feed_m_per_s: Array) -> Array:
        """Return the mean speed (P,) of abrasive over surface at points (P, 2) of the pad, spindle at full speed."""
        omega = self._pad.rpm * 2.0 * np.pi / 60.0
        feed2 = float(feed_m_per_s @ feed_m_per_s)
        if self._pad.motion == "orbital":
            # mean over one orbit of |omega e (cos, sin) + feed|, to second order in feed
            orbit = omega * self._pad.orbit_radius_m
            return np.full(len(local), orbit + 0.25 * feed2 / orbit if orbit > 0.0 else np.sqrt(feed2))
        if self._pad.motion in ("wheel", "belt"):
            # runs against the feed
            rim = self._pad.belt_speed_m_per_s if self._pad.motion == "belt" else omega * self._pad.radius_m
            return np.full(len(local), np.hypot(rim + feed_m_per_s[0], feed_m_per_s[1]))
        return np.hypot(feed_m_per_s[0] - omega * local[:, 1], feed_m_per_s[1] + omega * local[:, 0])


def _extension(ordered: Array, sums: Array, load_m: float) -> float:
    """Return the extension s with sum(max(s - gap, 0)) = load, for ascending gaps and their running sums.

    inf where there is nothing to press on.
    """
    n = int(np.searchsorted(ordered, np.inf))
    if n == 0:
        return np.inf
    s = (load_m + sums[:n]) / np.arange(1, n + 1)
    # with m bristles touching, s must not reach the next one; the first m for which that holds
    fits = np.append(s[:-1] <= ordered[1:n], True)
    return float(s[int(np.argmax(fits))])
