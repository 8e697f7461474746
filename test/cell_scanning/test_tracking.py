import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.schemas import validate
from cell_core.transforms import inverse
from cell_scanning.frames import Frame, read_frames, write_frames
from cell_scanning.offline import scan_folder
from cell_scanning.tracked_scan import spread_views
from cell_scanning.tracking import Tracker, thumbnail, thumbnail_distance, track
from cell_scanning.views import looking_at

VOXEL_M = 0.004


def hand_path(n, turn_rad=0.03):
    """A camera carried round a part, up and down, nearer and farther."""
    poses = []
    for k in range(n):
        a, up = turn_rad * k, 0.75 + 0.12 * np.sin(0.35 * k)
        away = 0.55 + 0.03 * np.sin(0.5 * k)
        eye = away * np.array([np.cos(a) * np.cos(up), np.sin(a) * np.cos(up), np.sin(up)])
        poses.append(looking_at(eye, (0.01 * np.sin(0.3 * k), 0.0, 0.04)))
    return np.asarray(poses)


@pytest.fixture(scope="module")
def cluttered(shapes):
    """A dome with a recess and a ball on a table."""
    dome = shapes.with_table(shapes.grid_surface(shapes.dome, 0.17, 101))
    ball = shapes.sphere(0.05, (0.0, 0.24, 0.03), 3)
    n = len(dome.vertices_m)
    return type(dome)(
        vertices_m=np.concatenate([dome.vertices_m, ball.vertices_m]),
        triangles=np.concatenate([dome.triangles, ball.triangles + n]),
    )


def errors(tracker, truth):
    off = [inverse(inverse(truth[0]) @ truth[i.index]) @ i.T_part_camera for i in tracker.images if i.placed]
    shift = [np.linalg.norm(E[:3, 3]) for E in off]
    turn = [Rotation.from_matrix(E[:3, :3]).magnitude() for E in off]
    return np.array(shift), np.array(turn)


def test_a_camera_carried_by_hand_is_followed(shapes, cluttered):
    truth = hand_path(14)
    frames = shapes.studio(cluttered, noise=True).frames(truth)
    tracker = track([f.depth_m for f in frames], [f.stamp_s for f in frames], shapes.qvga, VOXEL_M)
    assert tracker.counts() == {"tracked": len(frames)}
    shift, turn = errors(tracker, truth)
    assert shift.max() < 2e-3
    assert turn.max() < np.deg2rad(0.3)
    assert 1 < len(tracker.keyframes) < len(frames)


def test_what_cannot_be_placed_is_counted_and_the_camera_found_again(shapes, cluttered):
    truth = hand_path(10)
    seen = [f.depth_m for f in shapes.studio(cluttered, noise=True).frames(truth)]
    wall = np.full_like(seen[0], 1.2)
    wall[:, ::40] = 1.0
    images = [*seen[:6], wall, wall, "all_zero", *seen[6:]]
    tracker = track(images, 0.1 * np.arange(len(images)), shapes.qvga, VOXEL_M)
    counts = tracker.counts()
    assert counts["all_zero"] == 1
    assert sum(counts.get(k, 0) for k in ("no_overlap", "does_not_fit", "jumped", "loose")) == 2
    assert all(i.placed for i in tracker.images[9:])
    back = inverse(truth[0]) @ truth[6]
    assert np.linalg.norm((inverse(back) @ tracker.images[9].T_part_camera)[:3, 3]) < 3e-3


def test_a_plane_alone_fixes_no_camera(shapes, tmp_path):
    plane = shapes.grid_surface(lambda x, y: 0.0 * x, 1.5, 3)
    frames = shapes.studio(plane, noise=True).frames(hand_path(8))
    tracker = Tracker(shapes.qvga, VOXEL_M)
    outcomes = [tracker.add(f.depth_m, f.stamp_s) for f in frames]
    assert {o.outcome for o in outcomes[1:]} == {"loose"}
    loose = outcomes[1].alignment.loose
    assert sorted(loose) == ["slide", "slide", "turn"]
    write_frames(tmp_path / "plane", frames, shapes.qvga)
    with pytest.raises(InputRefusedError, match="7 of 8 images do not fix the camera"):
        scan_folder(tmp_path / "plane", tmp_path / "out", poses="none")
    assert not (tmp_path / "out").exists()


def test_a_sequence_without_poses_becomes_a_surface(shapes, cluttered, tmp_path):
    truth = hand_path(9)
    frames = shapes.studio(cluttered, noise=True).frames(truth)
    write_frames(tmp_path / "frames", frames, shapes.qvga)
    (tmp_path / "frames" / "poses.txt").unlink()
    shown = []
    result = scan_folder(tmp_path / "frames", tmp_path / "out", poses="none", voxel_m=0.004, preview=shown.append)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    validate(report, "scan_report", "report.json")
    assert report["tracking"]["n_tracked"] == report["tracking"]["n_fused"] == 9
    assert report["tracking"]["loop_gap_after_m"] < 0.002
    assert shown
    # poses found can be given again, and give the same surface
    again = scan_folder(
        tmp_path / "frames", tmp_path / "again", poses=tmp_path / "out" / "poses.txt", refine=False,
        voxel_m=result.figures["voxel_m"],
    )  # fmt: skip
    assert again.surface.area_m2 == pytest.approx(result.surface.area_m2, rel=0.02)
    moved = [inverse(inverse(truth[0]) @ t) @ T for t, T in zip(truth, result.T_part_camera, strict=True)]
    assert max(np.linalg.norm(E[:3, 3]) for E in moved) < 3e-3


def test_too_few_images_and_images_of_nothing_in_common_are_refused(shapes, cluttered, tmp_path):
    frames = shapes.studio(cluttered).frames(hand_path(4))
    write_frames(tmp_path / "few", frames, shapes.qvga)
    with pytest.raises(InputRefusedError, match="4 depth images; at least 5"):
        scan_folder(tmp_path / "few", tmp_path / "out", poses="none")
    rng = np.random.default_rng(0)
    unlike = []
    for k in range(6):
        a, b, c = 40.0 * rng.normal(size=3)
        hills = shapes.grid_surface(lambda x, y, a=a, b=b, c=c: 0.04 * np.sin(a * x + b * y + c), 0.4, 60)
        depth_m = shapes.studio(hills).depth(looking_at((0.0, 0.1 * k, 0.6), (0, 0, 0)))
        unlike.append(Frame(depth_m=depth_m, T_part_camera=np.eye(4), stamp_s=0.1 * k))
    write_frames(tmp_path / "unlike", unlike, shapes.qvga)
    with pytest.raises(InputRefusedError, match=r"of 6 images tracked, at least 5 needed: "):
        scan_folder(tmp_path / "unlike", tmp_path / "out", poses="none")
    assert not (tmp_path / "out").exists()


def test_frames_are_thinned_to_those_that_differ_most():
    poses = hand_path(40)
    assert spread_views(poses, 50) == list(range(40))
    still = np.concatenate([np.repeat(poses[:1], 30, axis=0), poses[:5]])
    assert spread_views(still, 5) == [0, 31, 32, 33, 34]


def test_thumbnails_tell_views_apart(shapes, cluttered):
    studio = shapes.studio(cluttered)
    a, near, far = (thumbnail(studio.depth(T)) for T in hand_path(40)[[0, 1, 39]])
    assert thumbnail_distance(a, a) == 0.0
    assert thumbnail_distance(a, near) < thumbnail_distance(a, far)


def test_poses_of_a_file_are_used(shapes, cluttered, tmp_path):
    frames = shapes.studio(cluttered).frames(hand_path(5))
    write_frames(tmp_path / "frames", frames, shapes.qvga)
    (tmp_path / "frames" / "poses.txt").rename(tmp_path / "elsewhere.txt")
    with pytest.raises(InputRefusedError, match=r"no poses\.txt or groundtruth\.txt"):
        read_frames(tmp_path / "frames")
    folder = read_frames(tmp_path / "frames", poses_file=tmp_path / "elsewhere.txt")
    np.testing.assert_allclose(folder.frames[2].T_part_camera, frames[2].T_part_camera, atol=1e-6)
