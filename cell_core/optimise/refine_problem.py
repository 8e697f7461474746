"""One refinement as a bounded least-squares problem: its unknowns, their effect on the film, and one step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from cell_core.operator.coverage import CoverageOperator, coverage_of_points
from cell_core.operator.footprint import Footprint
from cell_core.optimise.dwell import SMOOTHING_LENGTH_M, SpeedLimits, limit_acceleration
from cell_core.optimise.pose_knots import PoseKnots, Poses, rate_changes
from cell_core.optimise.quadratic import bounded_step, gram_of
from cell_core.optimise.slowness import linear_knots
from cell_core.optimise.stroke_limits import PathLimits, broken_strokes
from cell_core.optimise.stroke_spacing import StrokeSpacing
from cell_core.raycast import RayCaster
from cell_core.sampling import SurfaceSamples
from cell_core.toolpath import Stroke
from cell_core.transforms import Array

Valid = Callable[[Array], NDArray[np.bool_]]
"""Whether a tool may stand at each of the frames (N, 4, 4)."""

SPEED_SMOOTHNESS = 3e-4
"""Squared residual that a speed may cost which changes by its mean within SMOOTHING_LENGTH_M, everywhere."""
POSE_SMOOTHNESS = 2e-5
"""Squared residual that a pose freedom may cost which turns by its range within a knot's distance, everywhere."""
POSE_EFFORT = 1e-7
"""Squared residual that a pose freedom at the end of its range may cost, everywhere: nothing moves for nothing."""
STIFFER = 3.0
"""Growth per step of the smoothness of speeds that change faster than the acceleration bound lets them."""
HALVINGS = 3


@dataclass(frozen=True, kw_only=True)
class RefineLimits:
    """How far refinement may go from the strokes as given."""

    speed: SpeedLimits
    shift_m: float
    """Largest shift across the stroke, either way [m]."""
    standoff_m: tuple[float, float] | Array
    """Lowest and highest shift back along the tool axis: for all, or (S, 2) for each stroke [m]."""
    tilt_rad: float
    """Largest angle between a tool axis and the one given [rad]."""
    path: PathLimits
    one_speed: bool = False
    """True: one speed for the whole of each stroke."""
    spacing_m: tuple[float, float] | None = None
    """Least and largest distance of neighbouring strokes, at the points aimed at [m]; None: free."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineState:
    """Unknowns, the strokes they make and what those leave."""

    slowness: Array
    """(Ku,) at the speed knots [s/m]."""
    coefficients: Array
    """(4, K) of the pose freedoms."""
    poses: Poses
    strokes: tuple[Stroke, ...]
    operator: CoverageOperator
    film: Array
    """(V,) in units of the mean target."""
    residual: float
    merit: float
    """Squared residual and the price of the time it takes beyond the shortest."""
    cost: float
    """Merit and what bends cost."""
    held: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineLinear:
    """The film's change per scaled unknown, squared, and the gradient of half the squared error."""

    gram: Array
    gradient: Array


class RefineProblem:
    """The unknowns are slownesses and pose coefficients, each over its own large step; films are in mean targets."""

    def __init__(
        self,
        samples: SurfaceSamples,
        target_m: Array,
        weights: Array,
        strokes: Sequence[Stroke],
        footprint: Footprint,
        limits: RefineLimits,
        *,
        caster: RayCaster | None,
        pivot_m: float,
        speed_knot_m: float,
        pose_knot_m: float,
        valid: Valid | None,
        dwell_price_per_s: float = 0.0,
    ) -> None:
        self.samples, self.strokes, self.footprint, self.limits = samples, tuple(strokes), footprint, limits
        self.weights = np.asarray(weights, float) / float(np.sum(weights))
        self.mean_target_m = float(self.weights @ target_m)
        self.target = np.asarray(target_m, float) / self.mean_target_m
        self.caster, self.valid = caster, valid
        self.price_per_s, self.longest_s, self.shortest_s = dwell_price_per_s, 0.0, 0.0
        self.wanted = np.where(self.target > 0.0, self.weights, 0.0)
        self.pose_knots = PoseKnots(strokes, knot_m=pose_knot_m, pivot_m=pivot_m)
        self.spread = _speed_basis(strokes, speed_knot_m, limits.one_speed)
        self.n_speeds, self.n_pose = self.spread.shape[1], self.pose_knots.n_coefficients
        counts = self.pose_knots.counts
        starts = np.cumsum(counts) - counts
        self.first = np.concatenate([start + np.arange(n - 1) for start, n in zip(starts, counts, strict=True)])
        self.on = np.concatenate([s.on for s in strokes]).astype(float)
        self.stiffness = np.ones(len(self.first))
        normal = (self.spread.T @ self.spread).tocsc()
        self._fit = scipy.sparse.linalg.splu(normal + 1e-9 * scipy.sparse.identity(self.n_speeds, format="csc"))
        self._set_bounds()
        self._set_pose_penalty(pose_knot_m)
        self.spacing = StrokeSpacing.of(self.pose_knots, limits.spacing_m)

    def _set_bounds(self) -> None:
        """Set scale and bounds of the unknowns."""
        slow = self._fitted_slowness(self.strokes)
        self.mean_slowness = float(slow.mean())
        back = np.broadcast_to(self.limits.standoff_m, (len(self.strokes), 2))[self.pose_knots.stroke_of_knot]
        # each of the two tilts gets its share of the largest angle
        shift, tilt = self.limits.shift_m, self.limits.tilt_rad / np.sqrt(2.0)
        wide = np.ones(self.n_pose)
        low = np.concatenate([-shift * wide, back[:, 0], -tilt * wide, -tilt * wide])
        high = np.concatenate([shift * wide, back[:, 1], tilt * wide, tilt * wide])
        scales = np.maximum(0.5 * (high - low).reshape(4, -1).max(axis=1), 1e-9)
        speed = self.limits.speed
        self.scale = np.r_[np.full(self.n_speeds, 0.5 * self.mean_slowness), np.repeat(scales, self.n_pose)]
        self.low = np.r_[np.full(self.n_speeds, 1.0 / speed.high_m_per_s), low]
        self.high = np.r_[np.full(self.n_speeds, 1.0 / speed.low_m_per_s), high]
        self.first_slowness = np.clip(slow, 1.0 / speed.high_m_per_s, 1.0 / speed.low_m_per_s)

    def _set_pose_penalty(self, pose_knot_m: float) -> None:
        bending = self.pose_knots.bending * (pose_knot_m**2)
        share = POSE_SMOOTHNESS / sum(s.length_m for s in self.strokes)
        effort = scipy.sparse.diags(np.full(self.n_pose, POSE_EFFORT / self.n_pose))
        self.pose_penalty: Any = scipy.sparse.block_diag(4 * [share * (bending.T @ bending) + effort], format="csr")

    def _fitted_slowness(self, strokes: Sequence[Stroke]) -> Array:
        """Return knot values that follow the strokes' own speeds."""
        speeds = np.concatenate([s.speed_m_per_s for s in strokes])
        return self._fit.solve(self.spread.T @ (1.0 / speeds))

    def followed(self, state: RefineState) -> RefineState:
        """Return the state with knot values that follow the speeds as the acceleration bound left them."""
        if self.limits.one_speed:
            return state
        slowness = np.clip(self._fitted_slowness(state.strokes), self.low[: self.n_speeds], self.high[: self.n_speeds])
        return replace(state, slowness=slowness)

    def start(self) -> RefineState:
        """Return the state of the strokes as given."""
        nothing = np.zeros((4, self.n_pose))
        poses = self.pose_knots.poses(nothing)
        self.start_poses = poses
        self.start_valid = self.valid(poses.frames) if self.valid is not None else np.ones(len(self.on), bool)
        first = self._state(self.first_slowness, nothing, poses, ())
        # what lands is credited at this time over this film, so that only time that misses costs
        self.longest_s = _time_on(first) / max(float(self.wanted @ first.film), 1e-9)
        landing = np.asarray(first.operator.matrix.T @ self.wanted.astype(np.float32), float) / self.mean_target_m
        self.shortest_s = 1.0 / max(float(landing.max()), 1e-9)
        return self._valued(first)

    def _state(self, slowness: Array, coefficients: Array, poses: Poses, held: tuple[int, ...]) -> RefineState:
        strokes = self._strokes(slowness, poses)
        operator = coverage_of_points(
            self.samples.points_m, self.samples.normals, strokes, self.footprint, caster=self.caster
        )
        film = np.asarray(operator.predict(strokes), float) / self.mean_target_m
        residual = float(np.sqrt(self.weights @ (film - self.target) ** 2))
        state = RefineState(
            slowness=slowness,
            coefficients=coefficients,
            poses=poses,
            strokes=strokes,
            operator=operator,
            film=film,
            residual=residual,
            merit=residual**2,
            cost=0.0,
            held=held,
        )
        return self._valued(state)

    def _valued(self, state: RefineState) -> RefineState:
        """Return the state with its merit and cost at the price of time."""
        missed_s = _time_on(state) - self.shortest_s - self.longest_s * (float(self.wanted @ state.film) - 1.0)
        return self.recosted(replace(state, merit=state.residual**2 + self.price_per_s * missed_s))

    def _strokes(self, slowness: Array, poses: Poses) -> tuple[Stroke, ...]:
        speed = self.limits.speed
        v = np.clip(1.0 / np.maximum(self.spread @ slowness, 1e-9), speed.low_m_per_s, speed.high_m_per_s)
        strokes = self.pose_knots.with_poses(poses, v)
        if self.limits.one_speed:
            return strokes
        return tuple(
            replace(
                s,
                speed_m_per_s=limit_acceleration(s.speed_m_per_s, s.step_lengths_m, speed.acceleration_m_per_s2),
            )
            for s in strokes
        )

    def recosted(self, state: RefineState) -> RefineState:
        """Return the state with its cost at the stiffness as it is now."""
        x = np.r_[state.slowness, state.coefficients.ravel()] / self.scale
        pose = x[self.n_speeds :]
        speed = x[: self.n_speeds]
        cost = state.merit + float(pose @ (self.pose_penalty @ pose))
        cost += float(speed @ (self._speed_penalty() @ speed)) + self.spacing.cost(state.poses)
        return replace(state, cost=cost)

    def _speed_penalty(self) -> Any:
        steps = np.concatenate([s.step_lengths_m for s in self.strokes])
        change = self.spread[self.first + 1] - self.spread[self.first]
        per_step = SMOOTHING_LENGTH_M / np.maximum(steps, 1e-4) / self.mean_slowness
        share = steps / steps.sum()
        bending = change.T @ scipy.sparse.diags(SPEED_SMOOTHNESS * self.stiffness * share * per_step**2) @ change
        return bending.multiply(self.scale[0] ** 2).tocsr()

    def stiffen(self, state: RefineState) -> None:
        """Make speeds stiffer where they change faster than the acceleration bound lets them."""
        if self.limits.one_speed:
            return
        steps = np.concatenate([s.step_lengths_m for s in state.strokes])
        v = 1.0 / (self.spread @ state.slowness)
        needed = np.abs(v[self.first + 1] ** 2 - v[self.first] ** 2) / (2.0 * np.maximum(steps, 1e-9))
        self.stiffness = np.where(
            needed > self.limits.speed.acceleration_m_per_s2, STIFFER * self.stiffness, self.stiffness
        )

    def linearise(self, state: RefineState) -> RefineLinear:
        """Return the film's change per unknown, and the curvature and gradient of its squared error."""
        matrix = state.operator.matrix
        dwell = np.concatenate([s.dwell_s for s in state.strokes])
        twists, shifts = self.pose_knots.motions(state.poses)
        changes = rate_changes(
            self.samples.points_m, self.samples.normals, state.poses.frames, matrix, self.footprint.rates
        )
        by_speed, by_shift = self._dwell_changes(state, shifts)
        timed = scipy.sparse.diags(dwell)
        left = scipy.sparse.hstack([matrix, *changes], format="csr")
        right = scipy.sparse.vstack([by_shift, *(timed @ t for t in twists)], format="csr").astype(np.float32)
        jacobian: Any = scipy.sparse.hstack([matrix @ by_speed.astype(np.float32), left @ right], format="csr")
        jacobian = (jacobian @ scipy.sparse.diags((self.scale / self.mean_target_m).astype(np.float32))).tocsr()
        gram = gram_of(jacobian, self.weights)
        error = self.weights * (state.film - self.target) - 0.5 * self.price_per_s * self.longest_s * self.wanted
        gradient = np.asarray(jacobian.T @ error, float)
        if self.price_per_s > 0.0:
            time = np.r_[np.asarray(by_speed.sum(axis=0)).ravel(), np.asarray(by_shift.sum(axis=0)).ravel()]
            gradient += 0.5 * self.price_per_s * self.scale * time
        return RefineLinear(gram=gram, gradient=gradient)

    def _dwell_changes(self, state: RefineState, shifts: list[Any]) -> tuple[Any, Any]:
        """Return the change of the samples' dwell (N, .) per slowness and per pose coefficient."""
        position = state.poses.position_m
        v = np.concatenate([s.speed_m_per_s for s in state.strokes])
        a, b = self.first, self.first + 1
        step = position[b] - position[a]
        ds = np.maximum(np.linalg.norm(step, axis=1), 1e-9)
        total = v[a] + v[b]
        n, m = len(v), len(a)
        every = np.arange(m)
        # half of a step's time 2 ds / (v0 + v1) belongs to each end
        gather = scipy.sparse.csr_matrix((np.r_[self.on[a], self.on[b]], (np.r_[a, b], np.r_[every, every])), (n, m))
        slower = scipy.sparse.csr_matrix(
            (np.r_[ds * v[a] ** 2 / total**2, ds * v[b] ** 2 / total**2], (np.r_[every, every], np.r_[a, b])), (m, n)
        )
        longer = scipy.sparse.csr_matrix((m, shifts[0].shape[1]))
        for i in range(3):
            rate = scipy.sparse.diags(step[:, i] / ds / total)
            longer = longer + rate @ (shifts[i][b] - shifts[i][a])
        return gather @ slower @ self.spread, gather @ longer

    def step(self, state: RefineState, linear: RefineLinear, damping: float) -> tuple[RefineState, float]:
        """Return the state after one damped step within the bounds, and the drop of the cost it was to bring."""
        x = np.r_[state.slowness, state.coefficients.ravel()] / self.scale
        penalty = scipy.sparse.block_diag([self._speed_penalty(), self.pose_penalty], format="csr")
        H = linear.gram + penalty.toarray()
        pull = linear.gradient + penalty @ x
        H[np.diag_indices_from(H)] += damping * np.maximum(H.diagonal(), 1e-6)
        low, high = self.low / self.scale - x, self.high / self.scale - x
        move = np.zeros_like(x)
        for spacing_gram, spacing_pull in self.spacing.rounds(state.poses, self.scale[self.n_speeds :]):
            both, push = H.copy(), pull.copy()
            both[self.n_speeds :, self.n_speeds :] += spacing_gram(move[self.n_speeds :])
            push[self.n_speeds :] += spacing_pull(move[self.n_speeds :])
            move = bounded_step(both, push, low, high)
        foreseen = -float(2.0 * pull @ move + move @ (H @ move))
        moved = (x + move) * self.scale
        slowness = moved[: self.n_speeds]
        change = moved[self.n_speeds :].reshape(4, -1) - state.coefficients
        coefficients, poses, held = self._runnable(state, change)
        return self._state(slowness, coefficients, poses, held), foreseen

    def _runnable(self, state: RefineState, change: Array) -> tuple[Array, Poses, tuple[int, ...]]:
        """Return coefficients, poses and strokes held back after shortening the change where a stroke breaks limits."""
        share = np.ones(len(self.strokes))
        held = np.zeros(len(self.strokes), bool)
        for attempt in range(HALVINGS + 1):
            coefficients = state.coefficients + change * share[self.pose_knots.stroke_of_knot]
            poses = self.pose_knots.poses(coefficients)
            broken = broken_strokes(
                poses, self.start_poses, self.pose_knots, self.limits.path, self.valid, self.start_valid
            )
            broken &= share > 0.0
            if not broken.any():
                break
            held |= broken
            share[broken] = 0.5 * share[broken] if attempt < HALVINGS - 1 else 0.0
        return coefficients, poses, tuple(np.flatnonzero(held).tolist())


def _time_on(state: RefineState) -> float:
    """Return the time with the process on [s]."""
    return float(sum(s.dwell_s.sum() for s in state.strokes))


def _speed_basis(strokes: Sequence[Stroke], knot_m: float, one_speed: bool) -> Any:
    """Return (N, K) slowness at the samples from knots: linear between them, or one for each stroke."""
    if one_speed:
        return scipy.sparse.block_diag([np.ones((len(stroke), 1)) for stroke in strokes], format="csr")
    return linear_knots(strokes, knot_m)[0]
