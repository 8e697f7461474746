import numpy as np
import pytest
from PIL import Image

from cell_core.errors import InputRefusedError
from cell_core.transforms import transform_from_xyz_rpy
from cell_scanning.frames import Frame, depth_from_raw, frame_fault, read_frames, usable_frames, write_frames


@pytest.fixture
def frames(shapes):
    rng = np.random.default_rng(3)
    poses = [transform_from_xyz_rpy(rng.normal(size=3), rng.normal(size=3)) for _ in range(4)]
    depth = rng.uniform(0.3, 1.2, (240, 320)).astype(np.float32)
    depth[:10] = 0.0
    return [Frame(depth_m=depth, T_part_camera=T, stamp_s=100.0 + 0.1 * i) for i, T in enumerate(poses)]


def test_a_folder_survives_a_round_trip(tmp_path, shapes, frames):
    write_frames(tmp_path, frames, shapes.qvga)
    folder = read_frames(tmp_path)
    assert folder.camera == shapes.qvga
    assert folder.refused == {}
    assert len(folder.frames) == len(frames)
    for read, written in zip(folder.frames, frames, strict=True):
        assert read.stamp_s == pytest.approx(written.stamp_s)
        np.testing.assert_allclose(read.T_part_camera, written.T_part_camera, atol=1e-7)
        np.testing.assert_allclose(read.depth_m, written.depth_m, atol=0.026e-3)


def test_poses_are_interpolated_at_the_image_stamp(tmp_path, shapes, frames):
    write_frames(tmp_path, frames[:1], shapes.qvga)
    (tmp_path / "poses.txt").write_text("99.98 1 0 0 0 0 0 1\n100.02 3 0 0 0 0 0.3826834324 0.9238795325\n")
    T = read_frames(tmp_path).frames[0].T_part_camera
    np.testing.assert_allclose(T, transform_from_xyz_rpy([2.0, 0.0, 0.0], [0.0, 0.0, np.pi / 8]), atol=1e-8)


def test_unusable_frames_are_refused_and_counted(tmp_path, shapes, frames):
    write_frames(tmp_path, frames, shapes.qvga)
    images = sorted((tmp_path / "depth").iterdir())
    Image.fromarray(np.zeros((240, 320), np.uint16)).save(images[0])
    Image.fromarray(np.ones((120, 160), np.uint16)).save(images[1])
    images[2].write_bytes(images[2].read_bytes()[:100])
    with (tmp_path / "depth.txt").open("a") as f:
        f.write(f"500.0 depth/{images[3].name}\n600.0 depth/nowhere.png\n100.3 depth/nowhere.png\n")
    folder = read_frames(tmp_path)
    assert len(folder.frames) == 1
    assert folder.refused == {"all_zero": 1, "wrong_size": 1, "unreadable": 2, "no_pose": 2}
    assert folder.n_found == 7


def test_nothing_usable_names_every_reason(tmp_path, shapes, frames):
    write_frames(tmp_path, frames, shapes.qvga)
    (tmp_path / "poses.txt").write_text("0.0 0 0 0 0 0 0 1\n")
    with pytest.raises(InputRefusedError, match="0 of 4 frames usable: 4 no_pose"):
        read_frames(tmp_path)


@pytest.mark.parametrize("line", ["1.0 0 0 0 0 0 1", "1.0 a 0 0 0 0 0 1", "1.0 nan 0 0 0 0 0 1", "1.0 0 0 0 0 0 0 0"])
def test_a_bad_pose_line_is_named(tmp_path, shapes, frames, line):
    write_frames(tmp_path, frames, shapes.qvga)
    (tmp_path / "poses.txt").write_text("# header\n" + line + "\n")
    with pytest.raises(InputRefusedError, match=r"poses\.txt:2"):
        read_frames(tmp_path)


def test_missing_pieces_are_named(tmp_path, shapes, frames):
    with pytest.raises(InputRefusedError, match="no such folder"):
        read_frames(tmp_path / "nowhere")
    write_frames(tmp_path, frames, shapes.qvga)
    (tmp_path / "poses.txt").unlink()
    with pytest.raises(InputRefusedError, match=r"no poses\.txt or groundtruth\.txt"):
        read_frames(tmp_path)


def test_faults_of_frames_in_memory(shapes, frames):
    good = frames[0]
    nan = good.depth_m.copy()
    nan[5, 5] = np.nan
    mirrored = good.T_part_camera.copy()
    mirrored[:3, 0] *= -1.0
    cases = {
        "not_finite": Frame(depth_m=nan, T_part_camera=good.T_part_camera, stamp_s=0.0),
        "nothing_in_range": Frame(depth_m=good.depth_m * 9.0, T_part_camera=good.T_part_camera, stamp_s=0.0),
        "bad_pose": Frame(depth_m=good.depth_m, T_part_camera=mirrored, stamp_s=0.0),
    }
    assert {fault: frame_fault(f, shapes.qvga) for fault, f in cases.items()} == {k: k for k in cases}
    usable, refused = usable_frames([good, *cases.values()], shapes.qvga)
    assert usable == [good]
    assert refused == dict.fromkeys(cases, 1)


def test_sensor_images_become_metres():
    np.testing.assert_allclose(depth_from_raw(np.array([[0, 1500]], np.uint16), "16UC1"), [[0.0, 1.5]])
    np.testing.assert_allclose(depth_from_raw(np.array([[np.nan, 1.5]], np.float32), "32FC1"), [[0.0, 1.5]])
    with pytest.raises(InputRefusedError, match="rgb8"):
        depth_from_raw(np.zeros((2, 2)), "rgb8")
