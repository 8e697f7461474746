"""What a hand-eye calibration says, and whether it may be used."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.transforms import Array

SIGMAS_95 = 1.96
RESIDUAL_GROWTH_MAX = 1.02


@dataclass(frozen=True, kw_only=True)
class HandEyeLimits:
    """What a calibration must reach before it may be used."""

    n_views_min: int = 8
    spread_min: float = 0.15
    """Smallest rms change of the flange's direction over the views, over all directions: 0 = one axis only."""
    translation_m: float = 8e-5
    """Largest half width [m] of the 95 % interval of the camera's position, in its worst direction."""
    rotation_rad: float = 3.5e-4
    """The same of its orientation [rad]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HandEye:
    """A calibrated hand-eye, what it rests on, and whether it may be used."""

    T_flange_camera: Array
    """(4, 4) optical frame in the flange frame."""
    start: Array
    """(4, 4) what it was before."""
    covariance: Array
    """(6, 6) of position and rotation vector (x, y, z, rx, ry, rz) along the optical frame's axes [m, rad]."""
    extras: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Further numbers, each with its standard error: true depth is z + offset + slope z, pose that of stamp + time."""
    view_T_base_flange: Array
    """(G, 4, 4) flange pose of each view."""
    rms_before_m: Array
    """(G,) rms disagreement of each view with the common surface before [m]."""
    rms_after_m: Array
    """(G,) and after."""
    deviation: Array
    """(G, 6) twist of each view beside the common one [m, rad]: the robot's own error, as far as it can be told."""
    frames_off: tuple[int, ...] = ()
    """Frames left out: their views deviate far more than the others do."""
    scatter: tuple[float, float]
    """Standard deviation of the views' deviations per axis: [m], [rad]."""
    noise_ratio: float
    """Readings' noise over what the camera file says."""
    spread: float
    """See `HandEyeLimits.spread_min`."""
    condition: float
    """Worst over best known direction, rotations counted at the range of the scene."""
    n_frames: int
    range_m: float
    """Median depth [m]."""
    faults: tuple[str, ...]
    """Why it may not be used; empty: go."""

    @property
    def go(self) -> bool:
        """Whether it may be used."""
        return not self.faults

    @property
    def translation_bound_m(self) -> float:
        """Half width of the 95 % interval of the position in its worst direction [m]."""
        return _bound(self.covariance[:3, :3])

    @property
    def rotation_bound_rad(self) -> float:
        """The same of the orientation [rad]."""
        return _bound(self.covariance[3:, 3:])

    @property
    def shift_m(self) -> float:
        """How far the camera's position moved [m]."""
        return float(np.linalg.norm(self.T_flange_camera[:3, 3] - self.start[:3, 3]))

    @property
    def turn_rad(self) -> float:
        """How far it turned [rad]."""
        R = self.start[:3, :3].T @ self.T_flange_camera[:3, :3]
        return float(Rotation.from_matrix(R).magnitude())


def judged(limits: HandEyeLimits, *, settled: bool, covariance: Array, range_m: float, **facts: Any) -> HandEye:
    """Return the calibration with its condition and with what stands against its use."""
    at_range = np.diag([1.0, 1.0, 1.0, range_m, range_m, range_m])
    eigen = np.linalg.eigvalsh(at_range @ covariance @ at_range)
    condition = float(np.sqrt(eigen[-1] / max(eigen[0], 1e-300)))
    found = HandEye(covariance=covariance, range_m=range_m, condition=condition, faults=(), **facts)
    return replace(found, faults=tuple(_faults(found, limits, settled)))


def refuse_poor_views(n_views: int, spread: float, limits: HandEyeLimits) -> None:
    """Refuse fewer poses than `limits` ask for, or poses that hardly turn.

    Raises:
        InputRefusedError: says what is needed.
    """
    if n_views < limits.n_views_min:
        raise InputRefusedError(f"hand-eye: {n_views} different flange poses, at least {limits.n_views_min} needed")
    if spread < limits.spread_min:
        raise InputRefusedError(
            f"hand-eye: the flange turns by {spread:.3f} (rms, about its least used axis), at least {limits.spread_min}"
            " needed: tilt and roll it between views about more than one axis",
            spread=spread,
        )


def turning(R: Array) -> float:
    """Return how much a vector fixed to the flange turns over the views, rms, for the direction that turns least."""
    away = R - R.mean(axis=0)
    return float(np.sqrt(max(np.linalg.eigvalsh(np.einsum("nki,nkj->ij", away, away) / len(R))[0], 0.0)))


def twist_motion(twist: Array) -> Array:
    """Return the 4x4 motion of a small twist (v, w): turned by w about the origin, then moved by v."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(twist[3:]).as_matrix()
    T[:3, 3] = twist[:3]
    return T


def _bound(covariance: Array) -> float:
    return SIGMAS_95 * float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))


def _faults(found: HandEye, limits: HandEyeLimits, settled: bool) -> list[str]:
    faults = []
    if not settled:
        faults.append("it does not come to rest")
    for what, value, bound, unit in (
        ("position", 1e3 * found.translation_bound_m, 1e3 * limits.translation_m, "mm"),
        ("orientation", np.degrees(found.rotation_bound_rad), np.degrees(limits.rotation_rad), "degrees"),
    ):
        if not value <= bound:
            faults.append(
                f"{what} is known to +-{value:.3f} {unit} (95 %, worst direction), at most {bound:.3f} {unit} allowed: "
                "take more views, or views turned further"
            )
    before, after = (float(np.sqrt(np.mean(r**2))) for r in (found.rms_before_m, found.rms_after_m))
    if after > RESIDUAL_GROWTH_MAX * before:
        faults.append(
            f"views agree no better than before: {1e3 * after:.4f} mm rms after, {1e3 * before:.4f} mm before"
        )
    return faults
