"""A pinhole depth camera: optical frame z forward, x right, y down; pixel centres at integers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cell_core.config.models import CameraConfig
from cell_core.errors import InputRefusedError
from cell_core.files import read_json
from cell_core.transforms import Array

RANGE_DEFAULT_M = (0.1, 5.0)
INCIDENCE_DEFAULT_RAD = 1.15
NOISE_DEFAULT_AT_1M_M = 0.002


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """Pinhole parameters [px] and what the camera can measure."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    range_m: tuple[float, float] = RANGE_DEFAULT_M
    """Nearest and farthest usable depth along z [m]."""
    incidence_max_rad: float = INCIDENCE_DEFAULT_RAD
    """Largest angle between ray and surface normal that is still trusted."""
    axial_noise_at_1m_m: float = NOISE_DEFAULT_AT_1M_M
    """Standard deviation along the ray at 1 m; grows with the square of range."""
    specular_cone_rad: float = 0.0
    """Reflective parts give no reading where ray and surface normal enclose less than this; 0: matt."""

    def __post_init__(self) -> None:
        if self.width_px < 16 or self.height_px < 16:
            raise InputRefusedError(f"camera: image {self.width_px} x {self.height_px} px, at least 16 x 16 needed")
        numbers = (self.fx_px, self.fy_px, self.cx_px, self.cy_px, *self.range_m)
        if not np.all(np.isfinite(numbers)) or min(self.fx_px, self.fy_px) <= 0.0:
            raise InputRefusedError(
                f"camera: fx {self.fx_px}, fy {self.fy_px} px must be positive and all values finite"
            )
        if not 0.0 <= self.range_m[0] < self.range_m[1]:
            raise InputRefusedError(f"camera: range {self.range_m} m must rise from at least 0")
        if not 0.0 <= self.specular_cone_rad < self.incidence_max_rad:
            raise InputRefusedError(
                f"camera: specular_cone_rad {self.specular_cone_rad} rad is outside 0..incidence_max_rad "
                f"({self.incidence_max_rad} rad): nothing would be measurable"
            )

    @staticmethod
    def from_config(config: CameraConfig) -> "Intrinsics":
        """Take the intrinsics out of a camera file."""
        return Intrinsics(
            width_px=config.width_px,
            height_px=config.height_px,
            fx_px=config.fx_px,
            fy_px=config.fy_px,
            cx_px=config.cx_px,
            cy_px=config.cy_px,
            range_m=(config.range_m.low, config.range_m.high),
            incidence_max_rad=config.incidence_max_rad,
            axial_noise_at_1m_m=config.axial_noise_at_1m_m,
            specular_cone_rad=config.specular_cone_rad,
        )

    @property
    def matrix(self) -> Array:
        """(3, 3) camera matrix for pixel centres at integers."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])

    def project(self, points_camera_m: ArrayLike) -> Array:
        """Return pixels (..., 2) [px] (column, row) of points (..., 3) with z > 0 in the optical frame."""
        p = np.asarray(points_camera_m, float)
        return np.stack(
            [self.fx_px * p[..., 0] / p[..., 2] + self.cx_px, self.fy_px * p[..., 1] / p[..., 2] + self.cy_px], axis=-1
        )

    def ray_slopes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x/z (1, W) and y/z (H, 1) of every pixel's ray."""
        u = (np.arange(self.width_px, dtype=np.float32) - np.float32(self.cx_px)) / np.float32(self.fx_px)
        v = (np.arange(self.height_px, dtype=np.float32) - np.float32(self.cy_px)) / np.float32(self.fy_px)
        return u[None, :], v[:, None]

    def back_project(self, depth_m: NDArray) -> NDArray[np.float32]:
        """Return points (H, W, 3) [m] in the optical frame; zero where there is no depth."""
        u, v = self.ray_slopes()
        z = np.asarray(depth_m, np.float32)
        return np.stack([z * u, z * v, z], axis=-1)

    def axial_noise_m(self, range_m: ArrayLike) -> Array:
        """Standard deviation of one depth reading [m] at a range [m]."""
        return self.axial_noise_at_1m_m * np.asarray(range_m, float) ** 2


def as_intrinsics(camera: Intrinsics | CameraConfig) -> Intrinsics:
    """Return intrinsics from either form."""
    return camera if isinstance(camera, Intrinsics) else Intrinsics.from_config(camera)


def read_intrinsics(path: Path) -> tuple[Intrinsics, float]:
    """Read intrinsics.json of a frame folder; returns the camera and raw units per metre (`depth_scale`).

    Lens distortion is not its matter: see `cell_scanning.lens`.

    Raises:
        InputRefusedError: missing, not JSON, or a key missing or out of bounds.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputRefusedError(f"{path}: holds a {type(document).__name__}, wanted keys and values")
    wanted = ("width", "height", "fx", "fy", "cx", "cy", "depth_scale")
    missing = [k for k in wanted if k not in document]
    if missing:
        raise InputRefusedError(f"{path}: key {missing[0]!r} is missing")
    try:
        width, height, fx, fy, cx, cy, scale = (float(document[k]) for k in wanted)
        near, far = (float(x) for x in document.get("range_m", RANGE_DEFAULT_M))
        incidence = float(document.get("incidence_max_rad", INCIDENCE_DEFAULT_RAD))
        noise = float(document.get("axial_noise_at_1m_m", NOISE_DEFAULT_AT_1M_M))
        cone = float(document.get("specular_cone_rad", 0.0))
    except (TypeError, ValueError) as error:
        raise InputRefusedError(f"{path}: {error}") from error
    if not (np.isfinite(scale) and scale > 0.0):
        raise InputRefusedError(f"{path}: depth_scale {scale} must be positive")
    camera = Intrinsics(
        width_px=int(width),
        height_px=int(height),
        fx_px=fx,
        fy_px=fy,
        cx_px=cx,
        cy_px=cy,
        range_m=(near, far),
        incidence_max_rad=incidence,
        axial_noise_at_1m_m=noise,
        specular_cone_rad=cone,
    )
    return camera, scale


def intrinsics_document(camera: Intrinsics, depth_scale: float) -> dict[str, object]:
    """Return what `read_intrinsics` reads."""
    return {
        "width": camera.width_px,
        "height": camera.height_px,
        "fx": camera.fx_px,
        "fy": camera.fy_px,
        "cx": camera.cx_px,
        "cy": camera.cy_px,
        "depth_scale": depth_scale,
        "unit": f"m = raw/{depth_scale:g}, 0 = no reading",
        "range_m": list(camera.range_m),
        "incidence_max_rad": camera.incidence_max_rad,
        "axial_noise_at_1m_m": camera.axial_noise_at_1m_m,
        "specular_cone_rad": camera.specular_cone_rad,
    }
