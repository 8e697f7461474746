"""`cell calibrate camera`: a camera file that a cell takes up, from frames of anything; nothing written on no-go."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from cell_core.config import CameraConfig, config_root, load_config, load_named
from cell_core.surface import Surface
from cell_core.transforms import Array, inverse
from cell_operator.cli import main
from cell_scanning.camera import Intrinsics
from cell_scanning.frames import Frame, write_frames
from cell_scanning.hand_eye_result import twist_motion
from cell_scanning.views import looking_at
from cell_simulation.camera import DepthCamera
from cell_simulation.true_part import TruePart
from robot_description import load_cell

ERROR = np.array([2.5e-4, -2.0e-4, 2.4e-4, 1.0e-3, -1.1e-3, 0.9e-3])
CAMERA = load_named(CameraConfig, "cameras", "wrist_640").model_copy(
    update={"width_px": 320, "height_px": 240, "fx_px": 251.0, "fy_px": 251.0, "cx_px": 159.5, "cy_px": 119.5}
)
NOMINAL = load_cell("default").T_flange_camera


def scene() -> Surface:
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 121), np.linspace(-0.3, 0.3, 121), indexing="ij")
    z = 0.08 * np.exp(-((x / 0.09) ** 2) - (y / 0.06) ** 2) + 0.02 * np.sin(30.0 * x)
    i = np.arange(x.size).reshape(x.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(
        vertices_m=np.c_[x.ravel(), y.ravel(), z.ravel()], triangles=np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
    )


@pytest.fixture(scope="module")
def taken() -> tuple[list[np.ndarray], Array]:
    """Depth images through a hand-eye that is not the nominal one, and the flange poses."""
    rng = np.random.default_rng(3)
    poses = []
    for k in range(12):
        tilt = rng.uniform(0.6, 1.5)
        eye = 0.45 * np.array([np.cos(tilt) * np.cos(2.4 * k), np.cos(tilt) * np.sin(2.4 * k), np.sin(tilt)])
        poses.append(looking_at(eye, [0.0, 0.0, 0.02]) @ twist_motion(np.r_[np.zeros(5), rng.uniform(-3.0, 3.0)]))
    flange = np.array(poses) @ inverse(NOMINAL)
    camera = DepthCamera(CAMERA, TruePart(scene()), seed=0)
    return [camera.render(T, 0.0).depth_m for T in flange @ NOMINAL @ twist_motion(ERROR)], flange


def folder(path: Path, depths, poses: Array, name: str = "poses.txt") -> Path:
    frames = [
        Frame(depth_m=d, T_part_camera=T, stamp_s=0.1 * k) for k, (d, T) in enumerate(zip(depths, poses, strict=True))
    ]
    write_frames(path, frames, Intrinsics.from_config(CAMERA))
    (path / "poses.txt").rename(path / name)
    return path


def error(cell_file: Path) -> tuple[float, float]:
    D = inverse(NOMINAL @ twist_motion(ERROR)) @ load_cell(cell_file).T_flange_camera
    return float(np.linalg.norm(D[:3, 3])), float(Rotation.from_matrix(D[:3, :3]).magnitude())


def cell_with(camera: Path) -> Path:
    cell = yaml.safe_load((config_root() / "cells" / "default.yaml").read_text())
    cell["camera"]["config"] = camera.name
    (camera.parent / "cell.yaml").write_text(yaml.safe_dump(cell))
    return camera.parent / "cell.yaml"


def test_flange_poses_give_a_camera_that_a_cell_takes_up(taken, tmp_path: Path, capsys):
    depths, flange = taken
    out = tmp_path / "mine.yaml"
    frames = folder(tmp_path / "frames", depths, flange, "flange_poses.txt")
    assert main(["calibrate", "camera", "--frames", str(frames), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "go: written to" in shown and "95 % interval" in shown
    shift, turn = error(cell_with(out))
    assert shift < 8e-5 and turn < np.radians(0.02)
    camera = load_config(CameraConfig, out)
    assert camera.name == "mine" and camera.hand_eye is not None and len(camera.hand_eye.covariance) == 6
    assert out.with_suffix(".png").is_file()


def test_the_scan_of_a_job_calibrates_too(taken, tmp_path: Path):
    depths, flange = taken
    folder(tmp_path / "job" / "scan" / "frames", depths, flange @ NOMINAL)
    job = {
        "format": "grind_spray_cell/job",
        "version": 1,
        "process": "grind",
        "recipe": "grind_30um",
        "cell": "default",
    }
    (tmp_path / "job" / "job.yaml").write_text(yaml.safe_dump(job))
    out = tmp_path / "mine.yaml"
    assert main(["calibrate", "camera", "--job", str(tmp_path / "job"), "--out", str(out)]) == 0
    assert error(cell_with(out))[0] < 8e-5


def test_no_go_writes_no_file_and_says_why(taken, tmp_path: Path, capsys):
    depths, flange = taken
    out = tmp_path / "mine.yaml"
    frames = folder(tmp_path / "frames", depths, flange, "flange_poses.txt")
    code = main(["calibrate", "camera", "--frames", str(frames), "--bound-m", "1e-6", "--out", str(out)])
    assert code == 4 and not out.exists()
    assert "no-go: position is known to" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--fit", "scale"], 2, "--fit scale: unknown; known: time_offset_s"),
        (["--fit", "time_offset_s"], 3, "wants flange_poses.txt with poses before and after every image"),
    ],
)
def test_wrong_calls_say_what_is_wanted(taken, tmp_path: Path, capsys, extra, code, message):
    depths, flange = taken
    frames = folder(tmp_path / "frames", depths, flange @ NOMINAL)
    out = tmp_path / "mine.yaml"
    assert main(["calibrate", "camera", "--frames", str(frames), *extra, "--out", str(out)]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
