"""Strokes that may bend: shift, standoff and two tilts of every pose, as cubic splines over knots along each stroke."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit

FREEDOMS = ("shift_m", "standoff_m", "roll_rad", "pitch_rad")
"""Shift across the stroke, shift back along the tool axis, tilt about travel, tilt about the direction across."""
DEGREE = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """Poses of all samples at one set of freedoms."""

    values: Array
    """(4, N) freedoms at the samples."""
    position_m: Array
    """(N, 3) tool centre points [m]."""
    axis: Array
    """(N, 3) unit tool axes."""
    travel: Array
    """(N, 3) unit travel directions, perpendicular to the axes."""
    tangent: Array
    """(N, 3) change of position per metre along the stroke as it was given."""

    @property
    def across(self) -> Array:
        """(N, 3) unit, the fan's direction."""
        return np.cross(self.axis, self.travel)

    @property
    def frames(self) -> Array:
        """(N, 4, 4) tool frames."""
        T = np.zeros((len(self.axis), 4, 4))
        T[:, :3, 0], T[:, :3, 1], T[:, :3, 2], T[:, :3, 3] = self.travel, self.across, self.axis, self.position_m
        T[:, 3, 3] = 1.0
        return T


class PoseKnots:
    """The pose freedoms of strokes: unknowns are spline coefficients, one set per freedom and stroke.

    A tool turns about the point it aims at, `pivot_m` ahead of it, so that tilting moves the gun and not its spot;
    shifts go along the direction across the stroke as it was given.
    """

    def __init__(self, strokes: Sequence[Stroke], *, knot_m: float, pivot_m: float) -> None:
        self.strokes = tuple(strokes)
        self.pivot_m = pivot_m
        frames = np.concatenate([s.frames for s in strokes])
        self._x, self._y, self._z, self._origin = (frames[:, :3, i] for i in range(4))
        self.counts = np.array([len(s) for s in strokes])
        self.stroke_of_sample = np.repeat(np.arange(len(strokes)), self.counts)
        along = [np.r_[0.0, np.cumsum(s.step_lengths_m)] for s in strokes]
        bases = [_basis(a, knot_m) for a in along]
        self.basis: Any = scipy.sparse.block_diag([b for b, _ in bases], format="csr")
        """(N, K) value at the samples from one freedom's coefficients."""
        self.stroke_of_knot = np.repeat(np.arange(len(strokes)), [b.shape[1] for b, _ in bases])
        self.bending: Any = scipy.sparse.block_diag([c for _, c in bases], format="csr")
        """(M, K) second difference of coefficients per square metre, weighted by the root of its share of the path."""
        self._slope: Any = scipy.sparse.block_diag([_slopes(a) for a in along], format="csr")

    @property
    def across(self) -> Array:
        """(N, 3) unit directions that shifts go along."""
        return self._y

    @property
    def n_coefficients(self) -> int:
        """Coefficients of one freedom over all strokes."""
        return self.basis.shape[1]

    def poses(self, coefficients: Array) -> Poses:
        """Return the poses for coefficients (4, K)."""
        values = np.asarray((self.basis @ coefficients.T).T)
        shift, back, roll, pitch = values[:, :, None]
        lean = np.cos(roll) * self._z - np.sin(roll) * self._y
        axis = np.cos(pitch) * lean + np.sin(pitch) * self._x
        aim = self._origin + self.pivot_m * self._z + shift * self._y
        position = aim - (self.pivot_m + back) * axis
        tangent = self._slope @ position
        travel = unit(tangent - np.sum(tangent * axis, axis=1, keepdims=True) * axis)
        return Poses(values=values, position_m=position, axis=axis, travel=travel, tangent=tangent)

    def with_poses(self, poses: Poses, speed_m_per_s: Array) -> tuple[Stroke, ...]:
        """Return the strokes at the poses and speeds (N,)."""
        cuts = np.cumsum(self.counts)[:-1]
        parts = [np.split(a, cuts) for a in (poses.position_m, poses.axis, poses.travel, speed_m_per_s)]
        return tuple(
            replace(s, position_m=p, tool_axis=z, travel=x, speed_m_per_s=v)
            for s, p, z, x, v in zip(self.strokes, *parts, strict=True)
        )

    def motions(self, poses: Poses) -> tuple[list[Any], list[Any]]:
        """Return how coefficients move the tools.

        Returns:
            twists: six (N, 4K) matrices: translation along and rotation about x, y and z of each sample's tool frame.
            shifts: three (N, 4K) matrices: change of position in the part's frame.
        """
        _, back, roll, pitch = poses.values[:, :, None]
        lean = np.cos(roll) * self._z - np.sin(roll) * self._y
        turn_roll = -np.cos(pitch) * (np.sin(roll) * self._z + np.cos(roll) * self._y)
        turn_pitch = np.cos(pitch) * self._x - np.sin(pitch) * lean
        reach = self.pivot_m + back
        nothing = np.zeros_like(poses.axis)
        moved = (self._y, -poses.axis, -reach * turn_roll, -reach * turn_pitch)
        turned = (nothing, nothing, turn_roll, turn_pitch)
        x, y, z, t = poses.travel, poses.across, poses.axis, poses.tangent

        def columns(vectors: Sequence[Array], direction: Array) -> Any:
            scales = [np.einsum("ij,ij->i", v, direction) for v in vectors]
            return scipy.sparse.hstack([scipy.sparse.diags(s) @ self.basis for s in scales], format="csr")

        shifts = [columns(moved, np.broadcast_to(e, z.shape)) for e in np.eye(3)]
        sideways = columns(turned, y)
        along = np.einsum("ij,ij->i", t, z)
        length = np.sqrt(np.maximum(np.einsum("ij,ij->i", t, t) - along**2, 1e-12))
        # the fan turns with the path: its yaw is the change of the tangent across, over the tangent's length
        yaw = sum(scipy.sparse.diags(y[:, i] / length) @ (self._slope @ shifts[i]) for i in range(3))
        yaw = yaw - scipy.sparse.diags(along / length) @ sideways
        twists = [columns(moved, e) for e in (x, y, z)] + [-sideways, columns(turned, x), yaw.tocsr()]
        return twists, shifts


def _basis(along_m: Array, knot_m: float) -> tuple[Any, Any]:
    """Return a clamped cubic B-spline basis (n, k) at the samples, and its weighted second differences."""
    total = max(float(along_m[-1]), 1e-9)
    spans = max(round(total / knot_m), 1)
    inner = np.linspace(0.0, total, spans + 1)
    knots = np.r_[[0.0] * DEGREE, inner, [total] * DEGREE]
    k = spans + DEGREE
    basis = BSpline.design_matrix(np.minimum(along_m, total), knots, DEGREE).tocsr()
    pitch = total / spans
    # coefficients stand at the Greville points; near the clamped ends these lie closer than a pitch
    greville = np.array([knots[i + 1 : i + 1 + DEGREE].mean() for i in range(k)])
    gap = np.diff(greville)
    middle = 0.5 * (gap[1:] + gap[:-1])
    first = scipy.sparse.csr_matrix(np.diff(np.eye(k), axis=0) / gap[:, None])
    second = scipy.sparse.csr_matrix(np.diff(np.eye(k - 1), axis=0) / middle[:, None]) @ first
    return basis, scipy.sparse.diags(np.full(k - 2, np.sqrt(min(pitch, total / (k - 2))))) @ second


def _slopes(along_m: Array) -> Any:
    """Return the (n, n) matrix of central differences, one-sided at the ends."""
    n = len(along_m)
    low, high = np.maximum(np.arange(n) - 1, 0), np.minimum(np.arange(n) + 1, n - 1)
    inverse = 1.0 / np.maximum(along_m[high] - along_m[low], 1e-12)
    rows = np.r_[np.arange(n), np.arange(n)]
    return scipy.sparse.csr_matrix((np.r_[-inverse, inverse], (rows, np.r_[low, high])), shape=(n, n))


def rate_changes(
    points_m: Array,
    normals: Array,
    frames: Array,
    pattern: Any,
    rates_of: Any,
    *,
    step_m: float = 1e-5,
    step_rad: float = 1e-4,
) -> list[Any]:
    """Return six csr matrices like `pattern` (V, N): change of its rates as each tool moves in its own frame.

    Differences of a footprint's `rates_of` on the pairs that `pattern` holds, so visibility is that of the pattern:
    translation along x, y, z per metre, then rotation about x, y, z per radian.
    """
    by_sample = pattern.tocsc()
    sample: NDArray[np.int64] = np.repeat(np.arange(pattern.shape[1]), np.diff(by_sample.indptr))
    point = by_sample.indices
    local, local_normal = _in_tools(points_m[point] - frames[sample, :3, 3], normals[point], frames, by_sample.indptr)
    now = rates_of(local, local_normal, sample)
    order = np.argsort(point, kind="stable")
    by_point = (sample[order].astype(np.int32), np.r_[0, np.cumsum(np.bincount(point, minlength=pattern.shape[0]))])
    out = []
    for k in range(6):
        i, j = (k + 1) % 3, (k + 2) % 3
        moved, faced = local.copy(), local_normal
        if k < 3:
            moved[:, k] -= step_m
        else:
            # a tool that turns by h about axis k sees the world turn by -h
            faced = local_normal.copy()
            for turned, given in ((moved, local), (faced, local_normal)):
                turned[:, i] += step_rad * given[:, j]
                turned[:, j] -= step_rad * given[:, i]
        change = (rates_of(moved, faced, sample) - now) / (step_m if k < 3 else step_rad)
        out.append(scipy.sparse.csr_matrix((change[order].astype(np.float32), *by_point), shape=pattern.shape))
    return out


def _in_tools(offsets_m: Array, normals: Array, frames: Array, starts: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return offsets and normals in tool coordinates; pairs of one sample lie together, from `starts` on."""
    local, local_normal = np.empty_like(offsets_m), np.empty_like(normals)
    for k, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        run = slice(start, stop)
        np.matmul(offsets_m[run], frames[k, :3, :3], out=local[run])
        np.matmul(normals[run], frames[k, :3, :3], out=local_normal[run])
    return local, local_normal
