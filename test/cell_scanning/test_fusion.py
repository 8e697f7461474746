import numpy as np
import pytest

from cell_core.config.recipes import ScanSettings
from cell_core.errors import InputRefusedError
from cell_core.icp import point_to_plane_step
from cell_core.raycast import RayCaster
from cell_core.transforms import apply, transform_from_xyz_rpy
from cell_scanning.frames import Frame
from cell_scanning.fusion import fuse

COARSE = ScanSettings(voxel_m=0.003)
BOX = np.array([[-0.2, -0.2, 0.0], [0.2, 0.2, 0.4]])
FINE = ScanSettings(voxel_m=0.0015)


def distances_mm(surface, truth):
    return 1e3 * RayCaster(truth).distance(surface.vertices_m)


@pytest.fixture(scope="module")
def standing_dome(shapes):
    part = shapes.grid_surface(shapes.dome, 0.17, 301)
    return part, shapes.with_table(part)


def test_a_clean_sphere_is_found_to_a_tenth_of_a_millimetre(shapes):
    ball = shapes.sphere(0.06, (0.01, -0.02, 0.03))
    frames = shapes.studio(ball, shapes.vga).frames(shapes.ring(0.45, 0.6, 6, (0.01, -0.02, 0.03)))
    surface = fuse(frames, shapes.vga, FINE, refine=False).surface
    error = distances_mm(surface, ball)
    assert error.mean() < 0.1
    assert np.quantile(error, 0.99) < 0.4


def test_there_is_no_half_pixel_bias(shapes):
    # from one direction only: a shift of half a pixel would move the centre by 0.45 mm
    ball = shapes.sphere(0.06, (0.0, 0.0, 0.0))
    frames = shapes.studio(ball, shapes.vga).frames(shapes.ring(0.45, 1.2, 1))
    surface = fuse(frames, shapes.vga, FINE, refine=False).surface
    A = np.column_stack([2.0 * surface.vertices_m, np.ones(len(surface.vertices_m))])
    centre = np.linalg.lstsq(A, np.sum(surface.vertices_m**2, axis=1), rcond=None)[0][:3]
    assert np.linalg.norm(centre) < 0.08e-3


def test_a_noisy_dome_on_a_table(shapes, standing_dome):
    part, scene = standing_dome
    poses = np.concatenate([shapes.ring(0.5, 0.7, 6, (0, 0, 0.05)), shapes.ring(0.5, 1.3, 3, (0, 0, 0.05))])
    frames = shapes.studio(scene, noise=True).frames(poses, 2)
    result = fuse(frames, shapes.qvga, COARSE, crop=BOX)
    surface = result.surface
    error = distances_mm(surface, part)
    assert error.mean() < 0.2
    assert np.quantile(error, 0.95) < 0.6
    # the table is gone, the part is not
    assert surface.bounds_m[0, 2] > 0.0025
    wanted = part.centroids_m[:, 2] > 0.006
    missing = (
        np.linalg.norm(
            surface.vertices_m[surface.tree.query(part.centroids_m[wanted])[1]] - part.centroids_m[wanted], axis=1
        )
        > 0.006
    )
    assert missing.mean() < 0.02
    assert result.figures["n_components"] == 1
    # normals look outward, towards the cameras
    _, triangle = RayCaster(part).closest(surface.vertices_m)
    agree = np.sum(part.triangle_normals[triangle] * surface.vertex_normals, axis=1)
    assert np.quantile(agree, 0.01) > 0.5
    assert surface.fields["view_count"].max() <= 9
    assert np.median(surface.fields["view_count"]) >= 3
    assert np.all(surface.fields["confidence"] > 0.0)
    assert result.holes[0].kind == "floor"


def test_refinement_mends_wrong_poses(shapes, standing_dome):
    part, scene = standing_dome
    rng = np.random.default_rng(1)
    frames = shapes.studio(scene).frames(np.concatenate([shapes.ring(0.5, e, 5, (0, 0, 0.05)) for e in (0.7, 1.2)]))
    bent = [
        Frame(
            depth_m=f.depth_m,
            T_part_camera=f.T_part_camera @ transform_from_xyz_rpy(rng.normal(0, 1e-3, 3), rng.normal(0, 3e-3, 3)),
            stamp_s=f.stamp_s,
        )
        for f in frames
    ]
    caster = RayCaster(part)
    spread = []
    for refine in (False, True):
        points = fuse(bent, shapes.qvga, COARSE, crop=BOX, refine=refine).surface.vertices_m
        # where the whole lies, ten poses off at random cannot tell: the shape is judged
        for _ in range(10):
            near, triangle = caster.closest(points)
            normals = part.triangle_normals[triangle]
            off = np.sum((points - near) * normals, axis=1)
            points = apply(point_to_plane_step(points, off, normals, np.ones(len(off)), 0.1), points)
        spread.append(1e3 * np.std(off))
    assert spread[1] < 0.5 * spread[0]


def test_a_hole_is_reported_where_it_is(shapes):
    plate = shapes.grid_surface(lambda x, y: 0.0 * x + 0.05, 0.1, 161)
    holed = plate.select_triangles(np.linalg.norm(plate.centroids_m[:, :2] - [0.02, 0.03], axis=1) > 0.02)
    frames = shapes.studio(holed, shapes.vga).frames(shapes.ring(0.4, 1.4, 4))
    result = fuse(frames, shapes.vga, COARSE, refine=False)
    kinds = [h.kind for h in result.holes]
    assert kinds.count("border") == 1
    hole = next(h for h in result.holes if h.kind == "hole")
    np.testing.assert_allclose(hole.centre_m, [0.02, 0.03, 0.05], atol=2e-3)
    # readings beside edges are dropped: a hole looks a little wider than it is, never narrower
    assert 0.0195 < np.sqrt(hole.area_m2 / np.pi) < 0.0245
    assert hole.length_m > 2 * np.pi * 0.0195
    assert distances_mm(result.surface, holed).max() < 3.0


def test_frames_that_cannot_be_used_are_counted(shapes, standing_dome):
    frames = shapes.studio(standing_dome[1]).frames(shapes.ring(0.5, 0.9, 3))
    blank = Frame(depth_m=np.zeros((240, 320), np.float32), T_part_camera=np.eye(4), stamp_s=0.0)
    small = Frame(depth_m=np.ones((24, 32), np.float32), T_part_camera=np.eye(4), stamp_s=0.0)
    result = fuse([*frames, blank, small], shapes.qvga, COARSE, crop=BOX, refine=False)
    assert result.refused == {"all_zero": 1, "wrong_size": 1}
    assert result.figures["n_frames"] == 3
    with pytest.raises(InputRefusedError, match="0 of 2 frames usable: 1 all_zero, 1 wrong_size"):
        fuse([blank, small], shapes.qvga, COARSE)
    with pytest.raises(InputRefusedError, match="0 of 0 frames"):
        fuse([], shapes.qvga, COARSE)


def test_an_empty_box_is_refused(shapes, standing_dome):
    frames = shapes.studio(standing_dome[1]).frames(shapes.ring(0.5, 0.9, 2))
    box = np.array([[0.4, 0.4, 0.3], [0.5, 0.5, 0.4]])
    for refine in (False, True):
        with pytest.raises(InputRefusedError, match="0 triangles"):
            fuse(frames, shapes.qvga, COARSE, crop=box, refine=refine)


def test_progress_can_cancel(shapes, standing_dome):
    class CancelledError(Exception):
        pass

    def stop(fraction, message):
        if fraction > 0.5:
            raise CancelledError

    with pytest.raises(CancelledError):
        fuse(
            shapes.studio(standing_dome[1]).frames(shapes.ring(0.5, 0.9, 2)),
            shapes.qvga,
            COARSE,
            crop=BOX,
            progress=stop,
        )
