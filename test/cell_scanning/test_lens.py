"""Distorted depth images become those of the pinhole camera; nothing is interpolated across edges."""

import json

import numpy as np
import pytest
from PIL import Image

from cell_core.config import CameraConfig, Distortion, load_named
from cell_core.errors import InputRefusedError
from cell_scanning.camera import Intrinsics, intrinsics_document
from cell_scanning.frames import read_frames
from cell_scanning.lens import Lens, distorted

CAMERA = Intrinsics(width_px=320, height_px=240, fx_px=251.0, fy_px=251.0, cx_px=159.5, cy_px=119.5)
MODELS = [
    Distortion(model="plumb_bob", coefficients=(0.08, -0.05, 0.002, -0.001, 0.01)),
    Distortion(model="rational_polynomial", coefficients=(0.3, 0.1, 0.001, -0.001, 0.02, 0.25, 0.05, 0.01)),
    Distortion(model="equidistant", coefficients=(0.02, -0.01, 0.003, 0.0)),
]
NORMAL, OFFSET = np.array([0.3, -0.4, 1.0]), 0.6


def undistorted(distortion: Distortion, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ray that the lens bends to x, y, by fixed-point iteration."""
    a, b = x.copy(), y.copy()
    for _ in range(60):
        p, q = distorted(distortion, a, b)
        a, b = a + x - p, b + y - q
    return a, b


def raw_plane(distortion: Distortion) -> np.ndarray:
    """Depth of a tilted plane as the bent rays of the raw pixels see it."""
    u, v = np.meshgrid(np.arange(320.0), np.arange(240.0))
    x, y = undistorted(distortion, (u - 159.5) / 251.0, (v - 119.5) / 251.0)
    return (OFFSET / (NORMAL[0] * x + NORMAL[1] * y + NORMAL[2])).astype(np.float32)


def plane() -> np.ndarray:
    """The same as the pinhole camera sees it."""
    u, v = np.meshgrid(np.arange(320.0), np.arange(240.0))
    return OFFSET / (NORMAL[0] * (u - 159.5) / 251.0 + NORMAL[1] * (v - 119.5) / 251.0 + NORMAL[2])


@pytest.mark.parametrize("distortion", MODELS, ids=lambda d: d.model)
def test_a_plane_is_a_plane_again(distortion):
    raw = raw_plane(distortion)
    assert np.abs(raw - plane()).max() > 2e-3, "the lens must bend enough to tell"
    seen = Lens(camera=CAMERA, distortion=distortion).rectified(raw)
    kept = seen > 0.0
    assert kept.mean() > 0.8
    assert np.abs(seen - plane())[kept].max() < 2e-5


def test_the_models_agree_where_they_must():
    x, y = np.linspace(-0.6, 0.6, 7), np.linspace(0.4, -0.5, 7)
    k = (0.1, -0.02, 0.003, -0.004, 0.005)
    plumb = distorted(Distortion(model="plumb_bob", coefficients=k), x, y)
    rational = distorted(Distortion(model="rational_polynomial", coefficients=(*k, 0.0, 0.0, 0.0)), x, y)
    assert np.allclose(plumb, rational)
    assert np.allclose(distorted(Distortion(model="plumb_bob", coefficients=(0.0,) * 5), x, y), (x, y))
    # an ideal equidistant lens: the angle to the axis is the distance in the image
    a, b = distorted(Distortion(model="equidistant", coefficients=(0.0,) * 4), x, y)
    assert np.allclose(np.hypot(a, b), np.arctan(np.hypot(x, y)))


def test_no_depth_is_made_up_across_an_edge():
    raw = np.full((240, 320), 0.5, np.float32)
    raw[:, 160:] = 0.9
    raw[100:110, 50:60] = 0.0
    seen = Lens(camera=CAMERA, distortion=MODELS[0]).rectified(raw)
    assert set(np.unique(np.round(seen, 5)).tolist()) <= {np.float32(0.0), np.float32(0.5), np.float32(0.9)} | {
        0.5,
        0.9,
    }
    assert (seen == 0.0).sum() > 50


def test_depth_offset_and_slope_are_applied_to_readings_only():
    raw = np.array([[0.0, 0.5], [1.0, 2.0]], np.float32)
    seen = Lens(camera=CAMERA, depth_offset_m=0.002, depth_slope=-0.01).rectified(raw)
    assert seen == pytest.approx(np.array([[0.0, 0.497], [0.992, 1.982]]), abs=1e-6)


def test_a_camera_file_carries_its_lens():
    config = load_named(CameraConfig, "cameras", "wrist_640").model_copy(
        update={"distortion": MODELS[0], "depth_offset_m": 0.001}
    )
    lens = Lens.from_config(config)
    assert lens.distortion == MODELS[0] and lens.depth_offset_m == 0.001 and lens.camera.fx_px == config.fx_px


def test_wrong_coefficients_are_refused():
    with pytest.raises(ValueError, match="plumb_bob has 4 or 5 coefficients, 3 given"):
        Distortion(model="plumb_bob", coefficients=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="tilted sensor"):
        Distortion(model="rational_polynomial", coefficients=(0.0,) * 12 + (0.01, 0.0))


def folder(path, raw: np.ndarray, scale: float) -> None:
    (path / "depth").mkdir()
    Image.fromarray(np.rint(raw * scale).astype(np.uint16)).save(path / "depth" / "1.000000.png")
    (path / "poses.txt").write_text("1.0 0 0 0 0 0 0 1\n")


def test_a_frame_folder_is_rectified(tmp_path):
    folder(tmp_path, raw_plane(MODELS[0]), 20000.0)
    document = {**intrinsics_document(CAMERA, 20000.0), "distortion": MODELS[0].model_dump()}
    (tmp_path / "intrinsics.json").write_text(json.dumps(document))
    seen = read_frames(tmp_path).frames[0].depth_m
    assert np.abs(seen - plane())[seen > 0.0].max() < 1e-4
    document["distortion"] = {"model": "plumb_bob", "coefficients": [0.1]}
    (tmp_path / "intrinsics.json").write_text(json.dumps(document))
    with pytest.raises(InputRefusedError, match=r"distortion: .*4 or 5 coefficients, 1 given"):
        read_frames(tmp_path)


INFO = """image_width: 320
image_height: 240
camera_name: depth
camera_matrix: {rows: 3, cols: 3, data: [251.0, 0, 159.5, 0, 251.0, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.08, -0.05, 0.002, -0.001, 0.01]}
"""


def test_a_camera_info_stands_in_for_the_intrinsics(tmp_path):
    folder(tmp_path, raw_plane(MODELS[0]), 1000.0)
    (tmp_path / "camera_info.yaml").write_text(INFO)
    seen = read_frames(tmp_path).frames[0].depth_m
    assert np.abs(seen - plane())[seen > 0.0].max() < 1.2e-3, "whole millimetres"
    (tmp_path / "camera_info.yaml").write_text(INFO.replace("image_width: 320", ""))
    with pytest.raises(InputRefusedError, match="no camera info: 'image_width'"):
        read_frames(tmp_path)
