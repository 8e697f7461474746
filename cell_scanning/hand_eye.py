"""Hand-eye calibration without a target: the camera's place on the flange from depth images of anything rigid.

All frames are fused with the hand-eye as it is believed to be; where it is wrong, views of one place disagree about it,
each in its own direction. One twist of the camera on the flange, common to all views, is fitted so that they agree. The
surface itself stays unknown (its cells' heights are eliminated), and each view may be off by a little of its own: the
robot's scatter is estimated with it and shows in the covariance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cell_core.config import CameraConfig
from cell_core.errors import InputRefusedError
from cell_core.plan import Progress, no_progress
from cell_core.transforms import Array, inverse
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.depth_filter import filter_depth
from cell_scanning.hand_eye_readings import Readings, read_views
from cell_scanning.hand_eye_result import HandEye, HandEyeLimits, judged, refuse_poor_views, turning, twist_motion
from cell_scanning.pose_system import PoseSolution, solve_poses

Extra = Literal["time_offset_s", "depth_offset_m", "depth_slope"]
EXTRAS: tuple[Extra, ...] = ("time_offset_s", "depth_offset_m", "depth_slope")
ROUNDS_MAX = 6
COARSE_FACTOR, COARSE_ROUNDS = 4.0, 2
VOXEL_BOUNDS_M = (0.001, 0.01)
SETTLED = 0.3
"""Rounds end when the last step is below this share of the standard errors."""
PAIRED_MIN = 0.8
"""With fewer readings near the mean surface the hand-eye is far off: coarse rounds come first."""
SAME_VIEW_M, SAME_VIEW_RAD = 2e-4, 2e-4
"""Frames from flange poses this near are one view, and share the robot's error."""
VIEW_OFF_SIGMAS = 5.0


def calibrate_hand_eye(
    depths_m: Sequence[NDArray[np.float32]],
    T_base_flange: Array,
    T_flange_camera: Array,
    camera: Intrinsics | CameraConfig,
    *,
    fit: Sequence[Extra] = (),
    flange_twist: Array | None = None,
    voxel_m: float | None = None,
    limits: HandEyeLimits | None = None,
    progress: Progress = no_progress,
) -> HandEye:
    """Return the hand-eye that makes depth images of a rigid, unknown scene agree.

    Args:
        depths_m: (H, W) depth images [m], 0 = none, of a scene that does not move with the flange.
        T_base_flange: (F, 4, 4) flange poses, by the robot.
        T_flange_camera: (4, 4) hand-eye to start from, good to a few centimetres and degrees at most.
        camera: intrinsics.
        fit: further unknowns; the result says how well each is told.
        flange_twist: (F, 6) flange velocity (v, w) in its own frame [m/s, rad/s], for "time_offset_s".
        voxel_m: of the surface that views are compared on; None: from pixel pitch and noise.
        limits: what `go` asks for.
        progress: told a fraction and what is being done.

    Raises:
        InputRefusedError: too few views, too little rotation between them, or too little overlap.
    """
    camera = as_intrinsics(camera)
    limits = HandEyeLimits() if limits is None else limits
    flange, start = np.asarray(T_base_flange, float), np.asarray(T_flange_camera, float)
    if len(flange) != len(depths_m) or flange.shape[1:] != (4, 4):
        raise InputRefusedError(f"hand-eye: {len(depths_m)} depth images, flange poses of shape {flange.shape}")
    if "time_offset_s" in fit and flange_twist is None:
        raise InputRefusedError("hand-eye: time_offset_s asked for, but no flange velocities")
    images = []
    for i, depth in enumerate(depths_m):
        progress(0.2 * i / len(depths_m), f"filtering frame {i + 1} of {len(depths_m)}")
        images.append(filter_depth(depth, camera).depth_m)
    used = np.arange(len(images))
    while True:
        twist = None if flange_twist is None else np.asarray(flange_twist, float)[used]
        chosen = [images[i] for i in used]
        found, off = _calibrated(chosen, flange[used], start, camera, tuple(fit), twist, voxel_m, limits, progress)
        n_left = len(np.unique(_views(flange[np.delete(used, off)]))) if len(off) else 0
        if n_left < limits.n_views_min:
            return replace(found, frames_off=tuple(np.setdiff1d(np.arange(len(images)), used).tolist()))
        used = np.delete(used, off)


def _calibrated(
    images: Sequence[NDArray[np.float32]],
    flange: Array,
    start_pose: Array,
    camera: Intrinsics,
    fit: tuple[Extra, ...],
    twist: Array | None,
    voxel_m: float | None,
    limits: HandEyeLimits,
    progress: Progress,
) -> tuple[HandEye, NDArray[np.int64]]:
    """Return the calibration of these frames, and which of them deviate far more than the others."""
    group = _views(flange)
    first = np.array([int(np.argmax(group == g)) for g in range(group.max() + 1)])
    spread = turning(flange[first, :3, :3])
    refuse_poor_views(len(first), spread, limits)
    positive = np.concatenate([d[d > 0.0][::97] for d in images])
    if len(positive) == 0:
        raise InputRefusedError(f"hand-eye: {len(images)} frames hold 0 usable readings in {camera.range_m} m")
    range_m = float(np.median(positive))
    run = _Run(images, flange, group, first, camera, fit, twist, progress)
    start = _State(X=start_pose, extras=dict.fromkeys(fit, 0.0))
    state, solution, before, settled = run.descend(start, _voxel(camera, range_m) if voxel_m is None else voxel_m)
    covariance = solution.covariance[:6, :6]
    sigma = np.sqrt(np.diag(solution.covariance))
    found = judged(
        limits,
        settled=settled,
        T_flange_camera=state.X,
        start=start.X,
        covariance=covariance,
        extras={name: (state.extras[name], float(s)) for name, s in zip(run.order, sigma[6:], strict=True)},
        view_T_base_flange=flange[first],
        rms_before_m=before,
        rms_after_m=solution.rms_after_m,
        deviation=solution.deviation,
        scatter=solution.scatter,
        noise_ratio=solution.noise_ratio,
        spread=spread,
        n_frames=len(images),
        range_m=range_m,
    )
    return found, _frames_off(solution, group)


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    X: Array
    extras: dict[str, float]


class _Run:
    """Rounds of fusing, reading and solving."""

    def __init__(
        self,
        images: Sequence[NDArray[np.float32]],
        flange: Array,
        group: NDArray[np.int64],
        first: NDArray[np.int64],
        camera: Intrinsics,
        fit: tuple[str, ...],
        twist: Array | None,
        progress: Progress,
    ) -> None:
        self._images, self._flange, self._group, self._first = images, flange, group, first
        self._camera, self._twist, self._progress = camera, twist, progress
        self._depth_extras = [name for name in ("depth_offset_m", "depth_slope") if name in fit]
        self.order = [name for name in ("time_offset_s",) if name in fit] + self._depth_extras

    def descend(self, start: _State, voxel_m: float) -> tuple[_State, PoseSolution, Array, bool]:
        """Return the state at rest, the last solution, the views' rms at the start, and whether it came to rest."""
        readings, solution = self._round(start, voxel_m, 0)
        before = solution.rms_before_m
        state = self._stepped(start, solution)
        if readings.paired_fraction < PAIRED_MIN or _reach(solution.theta, self._camera) > voxel_m:
            state = start
            for k in range(COARSE_ROUNDS):
                _, coarse = self._round(state, COARSE_FACTOR * voxel_m, k)
                state = self._stepped(state, coarse)
        for k in range(1, ROUNDS_MAX):
            _, solution = self._round(state, voxel_m, k)
            state = self._stepped(state, solution)
            step = solution.theta @ np.linalg.solve(solution.covariance, solution.theta) / len(solution.theta)
            if step < SETTLED**2:
                return state, solution, before, True
        return state, solution, before, False

    def _round(self, state: _State, voxel_m: float, k: int) -> tuple[Readings, PoseSolution]:
        self._progress(0.2 + 0.8 * k / ROUNDS_MAX, f"round {k + 1}: comparing views at {1e3 * voxel_m:.3g} mm")
        offset, slope = (state.extras.get(name, 0.0) for name in ("depth_offset_m", "depth_slope"))
        images = self._images
        if offset or slope:
            images = [np.where(d > 0.0, d + np.float32(offset) + np.float32(slope) * d, d) for d in images]
        T = self._flange
        if self._twist is not None:
            T = np.stack(
                [
                    A @ twist_motion(state.extras.get("time_offset_s", 0.0) * v)
                    for A, v in zip(T, self._twist, strict=True)
                ]
            )
        readings = read_views(images, list(T @ state.X), self._group, self._camera, voxel_m, self._depth_extras)
        design = np.tile(np.eye(6), (len(self._first), 1, 1))
        if "time_offset_s" in self.order and self._twist is not None:
            own = self._twist[self._first] @ _adjoint(inverse(state.X)).T
            design = np.concatenate([design, own[:, :, None]], axis=2)
        return readings, solve_poses(readings.views, design, readings.n_cells)

    def _stepped(self, state: _State, solution: PoseSolution) -> _State:
        extras = {name: state.extras[name] + float(s) for name, s in zip(self.order, solution.theta[6:], strict=True)}
        return _State(X=state.X @ twist_motion(solution.theta[:6]), extras=extras)


def _adjoint(T: Array) -> Array:
    R, t = T[:3, :3], T[:3, 3]
    cross = np.array([[0.0, -t[2], t[1]], [t[2], 0.0, -t[0]], [-t[1], t[0], 0.0]])
    return np.block([[R, cross @ R], [np.zeros((3, 3)), R]])


def _views(flange: Array) -> NDArray[np.int64]:
    """Number the views (F,): frames from one flange pose belong together."""
    group, seen = np.zeros(len(flange), np.int64), np.zeros((0, 4, 4))
    for i, T in enumerate(flange):
        shift = np.linalg.norm(seen[:, :3, 3] - T[:3, 3], axis=1)
        turn = np.linalg.norm(seen[:, :3, :3] - T[:3, :3], axis=(1, 2))
        same = np.flatnonzero((shift < SAME_VIEW_M) & (turn < SAME_VIEW_RAD))
        if len(same) == 0:
            seen = np.concatenate([seen, T[None]])
        group[i] = same[0] if len(same) else len(seen) - 1
    return group


def _frames_off(solution: PoseSolution, group: NDArray[np.int64]) -> NDArray[np.int64]:
    size = np.abs(solution.deviation)
    usual = 1.4826 * np.median(size, axis=0)
    off = np.any(size > VIEW_OFF_SIGMAS * np.maximum(usual, solution.deviation_sigma), axis=1)
    return np.flatnonzero(off[group])


def _voxel(camera: Intrinsics, range_m: float) -> float:
    wanted = 2.0 * max(range_m / min(camera.fx_px, camera.fy_px), float(camera.axial_noise_m(range_m)))
    return float(np.clip(np.ceil(wanted * 2e3) / 2e3, *VOXEL_BOUNDS_M))


def _reach(theta: Array, camera: Intrinsics) -> float:
    return float(np.linalg.norm(theta[:3]) + camera.range_m[0] * np.linalg.norm(theta[3:6]))
