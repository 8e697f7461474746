"""What a camera says of itself, held against the camera file that the cell was calibrated with."""

import numpy as np
from sensor_msgs.msg import CameraInfo

from cell_core.config import Distortion
from cell_core.errors import DeviceError
from cell_scanning.camera import Intrinsics
from cell_scanning.lens import Lens, disagreement_px

DISAGREEMENT_MAX_PX = 1.0
"""Half a pixel may be a matter of where pixel centres are taken to be; another camera or resolution is off by many."""
INFO_TOPIC = "camera/depth/camera_info"


def require_agreement(message: CameraInfo, lens: Lens) -> None:
    """Refuse a camera whose images do not come through the lens of the camera file.

    Where the file holds a distortion, images are raw and the message's matrix K and coefficients D count; otherwise
    they are rectified and its matrix P does.

    Raises:
        DeviceError: other size, matrix or distortion, or the message does not tell; says by how much.
    """
    camera = lens.camera
    if (message.width, message.height) != (camera.width_px, camera.height_px):
        raise DeviceError(
            f"{INFO_TOPIC}: images of {message.width} x {message.height} px, the camera file says "
            f"{camera.width_px} x {camera.height_px} px"
        )
    region = message.roi
    cropped = region.x_offset or region.y_offset or region.width not in (0, message.width)
    if max(message.binning_x, message.binning_y) > 1 or cropped or region.height not in (0, message.height):
        raise DeviceError(
            f"{INFO_TOPIC}: binning {message.binning_x} x {message.binning_y}, region {region.width} x {region.height} "
            f"px from {region.x_offset}, {region.y_offset}; only whole images are taken"
        )
    said = _lens_of(message, camera, lens.distortion is not None)
    off_px = disagreement_px(lens, said)
    if not off_px <= DISAGREEMENT_MAX_PX:
        raise DeviceError(
            f"{INFO_TOPIC}: {_named(said)} puts rays up to {off_px:.2f} px from where the camera file does "
            f"({_named(lens)}), at most {DISAGREEMENT_MAX_PX:g} px"
        )


def _lens_of(message: CameraInfo, camera: Intrinsics, raw: bool) -> Lens:
    K, P = np.array(message.k, float).reshape(3, 3), np.array(message.p, float).reshape(3, 4)[:, :3]
    if not (K[0, 0] > 0.0 and K[1, 1] > 0.0):
        raise DeviceError(f"{INFO_TOPIC}: K is {K[0, 0]:g}, {K[1, 1]:g} on its diagonal: the camera is not calibrated")
    own = Distortion(model="plumb_bob", coefficients=(0.0,) * 5)
    if any(message.d):
        try:
            own = Distortion.model_validate({"model": message.distortion_model, "coefficients": tuple(message.d)})
        except ValueError as error:
            raise DeviceError(f"{INFO_TOPIC}: {' '.join(str(error).split())}") from error
    # a rectified image has a matrix of its own; with that of the raw one it is not known which of them comes
    rectified = not raw and P[0, 0] > 0.0 and not np.allclose(P, K, atol=1e-6)
    M = P if rectified else K
    pinhole = Intrinsics(
        width_px=camera.width_px,
        height_px=camera.height_px,
        fx_px=float(M[0, 0]),
        fy_px=float(M[1, 1]),
        cx_px=float(M[0, 2]),
        cy_px=float(M[1, 2]),
    )
    return Lens(camera=pinhole, distortion=None if rectified else own)


def _named(lens: Lens) -> str:
    camera, bent = lens.camera, lens.distortion
    pinhole = f"fx {camera.fx_px:.2f}, fy {camera.fy_px:.2f}, cx {camera.cx_px:.2f}, cy {camera.cy_px:.2f} px"
    if bent is None or not any(bent.coefficients):
        return f"{pinhole}, no distortion"
    return f"{pinhole}, {bent.model} {', '.join(f'{k:.4g}' for k in bent.coefficients)}"
