"""Depth images made those of an ideal camera: distortion taken out by remapping, readings corrected."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cell_core.config import CameraConfig, Distortion
from cell_core.transforms import Array
from cell_scanning.camera import Intrinsics

JUMP_SLOPES = 3.0
"""Four pixels are interpolated between unless they differ by this many times what the steepest trusted surface does."""
COMPARED = 9
"""Rays along each side of the image that two lenses are compared by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    """What parts a real camera from its pinhole."""

    camera: Intrinsics
    distortion: Distortion | None = None
    depth_offset_m: float = 0.0
    depth_slope: float = 0.0
    """True depth is reading + depth_offset_m + depth_slope * reading."""

    @staticmethod
    def from_config(config: CameraConfig) -> "Lens":
        """Take the lens out of a camera file."""
        return Lens(
            camera=Intrinsics.from_config(config),
            distortion=config.distortion,
            depth_offset_m=config.depth_offset_m,
            depth_slope=config.depth_slope,
        )

    def rectified(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the depth image (H, W) [m] that the pinhole camera would have taken from the same place.

        Depth along the optical axis stays what it was; inverse depth, linear across a plane, is interpolated between
        four pixels of one surface, and across edges the nearest pixel is taken: nothing is made up in between.
        """
        depth = self._remapped(depth_m) if self.distortion is not None else depth_m
        if self.depth_offset_m == 0.0 and self.depth_slope == 0.0:
            return depth
        corrected = depth * np.float32(1.0 + self.depth_slope) + np.float32(self.depth_offset_m)
        return np.where(depth > 0.0, np.maximum(corrected, 0.0), 0.0).astype(np.float32)

    def _remapped(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        column, row = self._source
        height, width = depth_m.shape
        inside = (column >= 0.0) & (column <= width - 1.0) & (row >= 0.0) & (row <= height - 1.0)
        left = np.clip(np.floor(column), 0, width - 2).astype(np.int64)
        up = np.clip(np.floor(row), 0, height - 2).astype(np.int64)
        a, b = column - left, row - up
        corners = np.stack([depth_m[up + i, left + j] for i in (0, 1) for j in (0, 1)])
        low, high = corners.min(axis=0), corners.max(axis=0)
        slope = JUMP_SLOPES * np.tan(self.camera.incidence_max_rad) / min(self.camera.fx_px, self.camera.fy_px)
        one = (low > 0.0) & (high - low <= slope * low + 4.0 * self.camera.axial_noise_m(low))
        share = np.stack([(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a])
        between = 1.0 / np.sum(share / np.where(one, corners, 1.0), axis=0)
        nearest = depth_m[
            np.clip(np.rint(row), 0, height - 1).astype(np.int64),
            np.clip(np.rint(column), 0, width - 1).astype(np.int64),
        ]
        return np.where(inside, np.where(one, between, nearest), 0.0).astype(np.float32)

    @cached_property
    def _source(self) -> tuple[Array, Array]:
        """Column and row (H, W) [px] of the raw image at which each ideal pixel's ray is seen."""
        camera, distortion = self.camera, self.distortion
        assert distortion is not None
        u, v = np.meshgrid(np.arange(camera.width_px, dtype=float), np.arange(camera.height_px, dtype=float))
        x, y = distorted(distortion, (u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px)
        return camera.fx_px * x + camera.cx_px, camera.fy_px * y + camera.cy_px


def disagreement_px(one: Lens, other: Lens) -> float:
    """Return how far apart two lenses put a ray on the image [px], at most, over an image of the first one."""
    camera = one.camera
    u, v = np.meshgrid(*(np.linspace(0.0, n - 1.0, COMPARED) for n in (camera.width_px, camera.height_px)))
    x, y = (u - camera.cx_px) / camera.fx_px, (v - camera.cy_px) / camera.fy_px
    pixels = []
    for lens in (one, other):
        bent = (x, y) if lens.distortion is None else distorted(lens.distortion, x, y)
        pixels.append(lens.camera.project(np.stack([*bent, np.ones_like(x)], axis=-1)))
    return float(np.linalg.norm(pixels[0] - pixels[1], axis=-1).max())


def distorted(distortion: Distortion, x: Array, y: Array) -> tuple[Array, Array]:
    """Return slopes x/z and y/z as the lens bends them.

    Source: sensor_msgs/distortion_models.hpp, whose models are OpenCV's: plumb_bob k1 k2 p1 p2 k3, rational_polynomial
    k1 k2 p1 p2 k3 k4 k5 k6 (then thin prism s1 s2 s3 s4, then tilt, which is refused), equidistant k1 k2 k3 k4.
    """
    k = distortion.coefficients
    if distortion.model == "equidistant":
        r = np.hypot(x, y)
        t = np.arctan(r)
        bent = t * (1.0 + k[0] * t**2 + k[1] * t**4 + k[2] * t**6 + k[3] * t**8)
        scale = np.divide(bent, r, out=np.ones_like(r), where=r > 1e-9)
        return x * scale, y * scale
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (*k, *(0.0,) * 12)[:12]
    r2 = x * x + y * y
    radial = (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + s2 * r2),
        y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + s4 * r2),
    )
