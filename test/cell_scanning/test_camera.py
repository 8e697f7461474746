import json

import numpy as np
import pytest

from cell_core.config import CameraConfig, load_named
from cell_core.errors import InputRefusedError
from cell_scanning.camera import Intrinsics, as_intrinsics, intrinsics_document, read_intrinsics


def test_back_projection_inverts_projection(shapes):
    camera = shapes.qvga
    depth = np.full((240, 320), 0.7, np.float32)
    points = camera.back_project(depth)
    rows, columns = np.mgrid[:240, :320]
    np.testing.assert_allclose(camera.project(points), np.stack([columns, rows], axis=-1), atol=1e-3)


def test_pixel_centres_are_at_integers():
    camera = Intrinsics(width_px=64, height_px=48, fx_px=50.0, fy_px=50.0, cx_px=20.0, cy_px=10.0)
    point = camera.back_project(np.ones((48, 64), np.float32))[10, 20]
    np.testing.assert_allclose(point, [0.0, 0.0, 1.0])


def test_a_camera_file_gives_intrinsics():
    config = load_named(CameraConfig, "cameras", "wrist_640")
    camera = as_intrinsics(config)
    assert (camera.width_px, camera.fx_px, camera.cx_px) == (config.width_px, config.fx_px, config.cx_px)
    assert camera.range_m == (config.range_m.low, config.range_m.high)
    assert as_intrinsics(camera) is camera


def test_intrinsics_survive_a_round_trip(tmp_path, shapes):
    path = tmp_path / "intrinsics.json"
    path.write_text(json.dumps(intrinsics_document(shapes.vga, 10000.0)))
    assert read_intrinsics(path) == (shapes.vga, 10000.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fx": None}, "fx"),
        ({"fx": "wide"}, "wide"),
        ({"fx": -3.0}, "positive"),
        ({"depth_scale": 0.0}, "depth_scale"),
        ({"range_m": [2.0, 1.0]}, "range"),
        ({"width": 4}, "16 x 16"),
    ],
)
def test_bad_intrinsics_are_refused(tmp_path, shapes, change, words):
    document = {**intrinsics_document(shapes.vga, 1000.0), **change}
    document = {k: v for k, v in document.items() if v is not None}
    path = tmp_path / "intrinsics.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputRefusedError, match=words):
        read_intrinsics(path)
