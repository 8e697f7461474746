"""Does the part still stand where it was scanned? One view taken again, against the scan and the image taken then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.icp import huber_weights
from cell_core.raycast import RayCaster
from cell_core.surface import Surface
from cell_core.transforms import Array, apply, inverse, rotate

ON_PART_M = 0.004
"""Readings this near to the scan show the part."""
FLOOR_M = 0.005
"""What lies lower than this above the lowest face of the box is the fixture."""
STEP_M = 0.010
"""A pixel that reads so much farther shows that the part is gone from there; nearer, that something hides it."""
REACHES_M = (0.030, 0.008, 0.003)
ROUNDS = 15
POINTS_MAX, POINTS_MIN = 3000, 200
HELD_MIN = 0.02
"""Mean square change of depth per unit of a motion, from which the form holds it: 0.15 mm of bias look like 1 mm."""
FIT_M, FIT_MIN = 0.002, 0.8
"""So many of the readings must lie so near to the scan, laid on it as well as can be."""
GONE_MAX, BEFORE_MAX = 0.5, 0.25
EDGE_STEP_M = 0.003
"""Part and background differ by more than this at an outline; less is noise where a flat rim meets the fixture."""
CLOSED_PX = 3
"""Gaps up to about twice as wide are no part of an outline."""
RESAMPLED_PX = 0.4
"""Width of the band by which taking the nearest pixel of a rolled image blurs outlines."""
SAME_RAD = 1e-4
FLICKER_PX = 1.0
"""Width of the band at outlines that two images of one thing differ by, where no second image tells."""


class Pinhole(Protocol):
    """Camera matrix [px], pixel centres at integers."""

    @property
    def fx_px(self) -> float:
        """Focal length along rows."""
        ...

    @property
    def fy_px(self) -> float:
        """Focal length along columns."""
        ...

    @property
    def cx_px(self) -> float:
        """Column of the optical axis."""
        ...

    @property
    def cy_px(self) -> float:
        """Row of the optical axis."""
        ...


@dataclass(frozen=True, kw_only=True)
class ViewCheck:
    """What one view tells of where the part is."""

    moved_m: float
    """Largest shift of a point of the part against its scan, in the directions that its form holds."""
    turned_rad: float
    slid_m: float
    """Shift across the line of sight that its outline shows: tells of flat parts that slide on themselves."""
    held: int
    """Directions of motion, of six, that the part's form holds in this view."""
    gone_fraction: float
    """Share of what the scan showed from here that is not there."""
    before_fraction: float
    """Share of it that something stands before."""
    fit_fraction: float
    """Share of the readings that lie on the scan, laid on it as well as can be."""

    @property
    def figures(self) -> dict[str, float]:
        """Return the numbers by name."""
        return {name: float(value) for name, value in vars(self).items()}

    def fault(self, bound_m: float) -> str:
        """Say why the part must not be worked, or ""."""
        if self.gone_fraction > GONE_MAX:
            return (
                f"the part is missing or was moved far: {100.0 * self.gone_fraction:.0f} % of what its scan shows from "
                "here is not there"
            )
        if self.before_fraction > BEFORE_MAX:
            return f"something stands before the part: it hides {100.0 * self.before_fraction:.0f} % of it"
        if self.fit_fraction < FIT_MIN:
            return (
                f"another part, or not as it was: {100.0 * self.fit_fraction:.0f} % of the readings lie within "
                f"{1e3 * FIT_M:g} mm of its scan, at least {100.0 * FIT_MIN:.0f} % wanted"
            )
        for what, shift_m in (("was moved", self.moved_m), ("slid", self.slid_m)):
            if shift_m > bound_m:
                turn = "" if what == "slid" else f", turned by {np.degrees(self.turned_rad):.2f} deg"
                return (
                    f"the part {what} by {1e3 * shift_m:.1f} mm since its scan{turn}; "
                    f"at most {1e3 * bound_m:g} mm allowed"
                )
        return ""


def check_view(
    surface: Surface,
    then: Sequence[tuple[NDArray[np.float32], Array]],
    now_m: NDArray[np.float32],
    T_part_camera: Array,
    camera: Pinhole,
    box_m: Array,
) -> ViewCheck:
    """Compare an image with the scan, and with the images taken from the same place during the scan.

    The readings are laid on the scan point to plane, which tells shifts the part's form holds. What slides on itself
    shows at its outline, where pixels change between part and background: so many that they make a band as wide as the
    shift. Two images taken then tell how much outlines flicker anyway.

    Args:
        surface: the scan, in the part frame.
        then: depth images (H, W) of the scan [m] and their poses (4, 4): taken from this place along this axis, but the
            camera may have been rolled about it otherwise.
        now_m: depth image [m].
        T_part_camera: (4, 4) pose it was taken from.
        camera: of both.
        box_m: (2, 3) the work volume in the part frame; its lowest face is the fixture.

    Raises:
        InputRefusedError: no image, images of different sizes, or the part was not to be seen from here.
    """
    if not then or any(image.shape != now_m.shape for image, _ in then):
        sizes = [image.shape for image, _ in then]
        raise InputRefusedError(f"check view: images then {sizes} and now {now_m.shape} must be of one size")
    caster = RayCaster(surface)
    then_m = [_rolled(image, T, T_part_camera, camera) for image, T in then]
    first = then_m[0]
    part = _on_part(first, T_part_camera, camera, box_m, caster)
    if part.sum() < POINTS_MIN:
        raise InputRefusedError(f"check view: {part.sum()} pixels show the part from here, {POINTS_MIN} needed")
    read = part & (now_m > 0.0)
    n_read = max(int(read.sum()), 1)
    gone = float((now_m[read] > first[read] + STEP_M).sum() + (part & (now_m <= 0.0)).sum()) / float(part.sum())
    before = float((now_m[read] < first[read] - STEP_M).sum()) / n_read
    points, shown = _in_box(now_m, T_part_camera, camera, box_m)
    # a rolled image ends elsewhere; what it does not hold cannot have changed
    shown = shown & np.asarray(scipy.ndimage.binary_dilation(first > 0.0, iterations=2), bool)
    shown_then = [(image, _in_box(image, T_part_camera, camera, box_m)[1]) for image in then_m[:2]]
    points = points[:: max(1, len(points) // POINTS_MAX)]
    T, fit, held = _laid(points, surface, caster) if len(points) >= POINTS_MIN else (np.eye(4), 0.0, 0)
    back = inverse(T)
    shift = np.linalg.norm(apply(back, surface.vertices_m) - surface.vertices_m, axis=1)
    return ViewCheck(
        moved_m=float(shift.max()),
        turned_rad=float(np.arccos(np.clip(0.5 * (np.trace(back[:3, :3]) - 1.0), -1.0, 1.0))),
        slid_m=_slid_m(part, shown_then, (now_m, shown), float(np.median(first[part])), camera.fx_px),
        held=held,
        gone_fraction=gone,
        before_fraction=before,
        fit_fraction=fit,
    )


def _in_box(
    depth_m: NDArray[np.float32], T_part_camera: Array, camera: Pinhole, box_m: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the readings (N, 3) inside the box and above its floor, and their pixels (H, W)."""
    v, u = np.nonzero(depth_m > 0.0)
    z = depth_m[v, u].astype(float)
    points = np.stack([z * (u - camera.cx_px) / camera.fx_px, z * (v - camera.cy_px) / camera.fy_px, z], axis=1)
    points = apply(T_part_camera, points)
    low = np.asarray(box_m[0], float) + [0.0, 0.0, FLOOR_M]
    inside = np.all((points >= low) & (points <= box_m[1]), axis=1)
    pixels = np.zeros(depth_m.shape, bool)
    pixels[v[inside], u[inside]] = True
    return points[inside], pixels


def _on_part(
    depth_m: NDArray[np.float32], T_part_camera: Array, camera: Pinhole, box_m: Array, caster: RayCaster
) -> NDArray[np.bool_]:
    points, pixels = _in_box(depth_m, T_part_camera, camera, box_m)
    pixels[pixels] = caster.distance(points) < ON_PART_M if len(points) else False
    return pixels


def _laid(points_m: Array, surface: Surface, caster: RayCaster) -> tuple[Array, float, int]:
    """Return what lays readings on the surface (4, 4), the share of them that then lies on it, and directions held."""
    T, moved, held = np.eye(4), points_m, 0
    length = max(float(np.linalg.norm(points_m.std(axis=0))), 1e-6)
    for reach_m in REACHES_M:
        for _ in range(ROUNDS):
            nearest, triangle = caster.closest(moved)
            gap, normals = moved - nearest, surface.triangle_normals[triangle]
            near = np.linalg.norm(gap, axis=1) < reach_m
            if near.sum() < POINTS_MIN:
                break
            residual = np.einsum("ij,ij->i", gap[near], normals[near])
            weights = huber_weights(residual)
            step, held = _held_step(moved[near], residual, normals[near], weights, length)
            T, moved = step @ T, apply(step, moved)
            if np.abs(step - np.eye(4)).max() < 1e-7:
                break
    return T, float((caster.distance(moved) < FIT_M).mean()), held


def _held_step(
    points_m: Array, residual_m: Array, normals: Array, weights: Array, length_m: float
) -> tuple[Array, int]:
    """Return the point-to-plane correction (4, 4) along the motions that the form holds firmly, and how many it holds.

    A scan is off by a tenth of a millimetre over wide ground; along a motion it holds loosely, such as a dome's about
    its centre of curvature, that alone would look like millimetres.
    """
    w = weights / weights.sum()
    centre = w @ points_m
    J = np.concatenate([np.cross((points_m - centre) / length_m, normals), normals], axis=1)
    values, vectors = np.linalg.eigh(J.T @ (w[:, None] * J))
    firm = values > HELD_MIN
    step = vectors[:, firm] @ ((vectors[:, firm].T @ (J.T @ (w * residual_m))) / values[firm])
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(-step[:3] / length_m).as_matrix()
    T[:3, 3] = centre - step[3:] - T[:3, :3] @ centre
    return T, int(firm.sum())


Shown = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""A depth image and its pixels that show what stands in the box."""


def _slid_m(part: NDArray[np.bool_], then: list[Shown], now: Shown, range_m: float, fx_px: float) -> float:
    # speckle inside the part is no outline
    whole = scipy.ndimage.binary_closing(part, iterations=CLOSED_PX)
    # Crofton: a line meets the pixel grid pi / 4 as often, whichever way it runs on average
    outline_px = 0.25 * np.pi * sum(float(np.diff(whole, axis=axis).sum()) for axis in (0, 1))
    if outline_px == 0.0:
        return 0.0
    flicker = _n_changed(then[0], then[1]) if len(then) > 1 else FLICKER_PX * outline_px
    flicker += RESAMPLED_PX * outline_px
    # a shift uncovers a band on one side of the part and covers one on the other: half the outline each
    width_px = np.sqrt(max(_n_changed(then[0], now) ** 2 - flicker**2, 0.0)) / (0.5 * outline_px)
    return float(width_px * range_m / fx_px)


def _n_changed(a: Shown, b: Shown) -> float:
    """Return how many pixels turned from part to background or back, noise where both meet left out."""
    (a_m, a_shown), (b_m, b_shown) = a, b
    # readings drop out all over a part that is seen at a slant
    a_shown, b_shown = (
        np.asarray(scipy.ndimage.binary_closing(shown, iterations=CLOSED_PX), bool) for shown in (a_shown, b_shown)
    )
    step = (a_m <= 0.0) | (b_m <= 0.0) | (np.abs(a_m - b_m) > EDGE_STEP_M)
    return float(((a_shown ^ b_shown) & step).sum())


def _rolled(image_m: NDArray[np.float32], T_from: Array, T_to: Array, camera: Pinhole) -> NDArray[np.float32]:
    """Return a depth image as seen from the same place, the camera turned: nearest readings, 0 where it saw none."""
    R = T_from[:3, :3].T @ T_to[:3, :3]
    if np.abs(R - np.eye(3)).max() < SAME_RAD:
        return image_m
    v, u = np.mgrid[0 : image_m.shape[0], 0 : image_m.shape[1]]
    rays = np.stack([(u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px, np.ones(u.shape)], axis=-1)
    there = rays @ R.T
    forward = there[..., 2] > 0.1
    there = there / np.where(forward, there[..., 2], 1.0)[..., None]
    column = np.rint(there[..., 0] * camera.fx_px + camera.cx_px).astype(np.int64)
    row = np.rint(there[..., 1] * camera.fy_px + camera.cy_px).astype(np.int64)
    seen = forward & (column >= 0) & (row >= 0) & (column < image_m.shape[1]) & (row < image_m.shape[0])
    depth = np.where(seen, image_m[np.where(seen, row, 0), np.where(seen, column, 0)], 0.0)
    return (depth * (there @ R)[..., 2]).astype(np.float32)


def best_view(surface: Surface, views: Array, camera: Pinhole, shape: tuple[int, int]) -> int:
    """Return which of the views (K, 4, 4) holds the part's pose best: its stiffest least stiff motion."""
    rows = np.linspace(0, len(surface.vertices_m) - 1, min(4000, len(surface.vertices_m))).astype(int)
    points, normals, areas = surface.vertices_m[rows], surface.vertex_normals[rows], surface.vertex_areas_m2[rows]
    centre = points.mean(axis=0)
    length = max(float(np.linalg.norm(points.std(axis=0))), 1e-6)
    J = np.concatenate([np.cross((points - centre) / length, normals), normals], axis=1)
    stiffness = []
    for T in views:
        back = inverse(np.asarray(T))
        p, n = apply(back, points), rotate(back, normals)
        z = np.maximum(p[:, 2], 1e-6)
        u, v = camera.fx_px * p[:, 0] / z + camera.cx_px, camera.fy_px * p[:, 1] / z + camera.cy_px
        facing = -np.einsum("ij,ij->i", n, p) / np.linalg.norm(p, axis=1)
        seen = (p[:, 2] > 0.0) & (u >= 0.0) & (v >= 0.0) & (u < shape[1]) & (v < shape[0]) & (facing > 0.3)
        stiffness.append(np.linalg.eigvalsh((J * (areas * seen)[:, None]).T @ J)[0])
    return int(np.argmax(stiffness))
