import numpy as np
import pytest
from scipy.spatial import KDTree

from cell_core.config.recipes import ScanSettings
from cell_scanning.fusion import fuse
from cell_scanning.measurability import Patches, greedy_cover, measurable
from cell_scanning.views import CAMERA_Z_MIN_M, CLEARANCE_M, looking_at, plan_first_look, plan_next_views

BOX = np.array([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.4]])
COARSE = ScanSettings(voxel_m=0.004)


def test_looking_at_points_the_axis_and_keeps_the_image_level():
    T = looking_at([1.0, -0.5, 0.8], [0.0, 0.1, 0.2])
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(T[:3, 2], np.array([0.0, 0.1, 0.2]) - T[:3, 3]), 0.0, atol=1e-12)
    assert abs(T[2, 0]) < 1e-12
    assert T[2, 1] < 0.0
    down = looking_at([0.2, 0.3, 1.0], [0.2, 0.3, 0.0])
    np.testing.assert_allclose(down[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)
    assert np.linalg.det(down[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize("size", [(1.0, 1.5, 0.7), (1.5, 1.0, 0.7), (0.4, 0.4, 0.3)])
def test_the_first_look_stays_outside_the_work_volume_and_sees_a_plate_in_it(shapes, size):
    centre = np.array([0.0, 0.0, 0.5 * size[2]])
    poses = plan_first_look(shapes.vga, centre, size)
    assert 6 <= len(poses) <= 12
    outside = np.any(np.abs(poses[:, :3, 3] - centre) > 0.5 * np.array(size) + 0.05, axis=1)
    assert outside.all()
    reach = np.where(np.array(size[:2]) == max(size[:2]), 0.47, 0.4) * size[:2]
    x, y = np.meshgrid(np.linspace(-1, 1, 40) * reach[0], np.linspace(-1, 1, 40) * reach[1])
    for height in (0.02, 0.15):
        points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, height)])
        plate = Patches(points_m=points, normals=np.tile([0.0, 0.0, 1.0], (x.size, 1)))
        assert measurable(shapes.vga, poses, plate, None).any(axis=0).mean() > 0.95


def test_measurable_respects_image_range_incidence_and_shadow(shapes):
    wall = shapes.grid_surface(lambda x, y: 0.0 * x + 0.2, 0.05, 5)
    from cell_core.raycast import RayCaster

    up, tilted = [0.0, 0.0, 1.0], [np.sin(1.2), 0.0, np.cos(1.2)]
    patches = Patches(
        points_m=np.array([[0.1, 0, 0], [0.0, 0, 0], [0.1, 0, 0], [0.5, 0, 0], [0.1, 0, -2.0], [0.1, 0.0, 0.9]]),
        normals=np.array([up, up, tilted, up, up, up]),
    )
    pose = np.array([looking_at([0.0, 0.0, 0.6], [0.0, 0.0, 0.0])])
    assert measurable(shapes.vga, pose, patches, None)[0].tolist() == [True, True, False, False, False, False]
    assert measurable(shapes.vga, pose, patches, RayCaster(wall))[0].tolist()[:2] == [True, False]


def test_greedy_cover_takes_the_best_first_and_asks_before_it_takes():
    seen = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]], bool)
    assert greedy_cover(seen, np.ones(4), 3, 0.0) == ([1, 0], [3.0, 1.0])
    assert greedy_cover(seen, np.ones(4), 3, 0.0, lambda k: k != 1) == ([0, 2], [2.0, 1.0])
    order, gains = greedy_cover(seen, np.ones(4), 3, 0.5)
    assert order == [1, 0, 2]
    assert gains == [3.0, 1.5, 0.5]


def test_next_views_complete_a_dome_with_a_recess(shapes):
    part = shapes.grid_surface(shapes.dome, 0.17, 301)
    scene = shapes.with_table(part)
    studio = shapes.studio(scene, noise=True)
    everywhere = np.concatenate([shapes.ring(0.5, e, 16, (0, 0, 0.05)) for e in (0.25, 0.5, 0.8, 1.1, 1.4)])
    points = part.centroids_m
    truth = Patches(points_m=points, normals=part.triangle_normals)
    visible = measurable(shapes.qvga, everywhere, truth, studio.caster).any(axis=0) & (points[:, 2] > 0.006)
    assert visible.sum() > 1000

    taken = list(shapes.ring(0.7, 0.8, 1, (0, 0, 0.05)))
    frames = studio.frames(taken, 2)
    shares, estimates = [], []
    while True:
        surface = fuse(frames, shapes.qvga, COARSE, crop=BOX, refine=False).surface
        found = KDTree(surface.vertices_m).query(points[visible])[0] < 0.006
        shares.append(float(part.triangle_areas_m2[visible][found].sum() / part.triangle_areas_m2[visible].sum()))
        views = plan_next_views(shapes.qvga, surface, BOX, np.asarray(taken), n_views=3)
        estimates.append(views.measured_fraction)
        if views.measured_fraction > 0.99 or len(taken) + 3 > 12:
            break
        assert len(views.T_part_camera) == 3
        assert np.all(np.diff(views.gain_m2) <= 1e-9)
        eyes = views.T_part_camera[:, :3, 3]
        assert eyes[:, 2].min() >= CAMERA_Z_MIN_M - 1e-9
        assert KDTree(surface.vertices_m).query(eyes)[0].min() > CLEARANCE_M - 1e-6
        frames += studio.frames(views.T_part_camera, 2)
        taken += list(views.T_part_camera)
    assert shares[0] < 0.9
    assert shares[-1] >= 0.97
    assert estimates[-1] > estimates[0]
    assert abs(estimates[-1] - shares[-1]) < 0.04


def test_views_the_arm_cannot_take_are_left_out(shapes):
    part = shapes.with_table(shapes.grid_surface(shapes.dome, 0.17, 101))
    taken = shapes.ring(0.7, 0.8, 1, (0, 0, 0.05))
    surface = fuse(shapes.studio(part).frames(taken), shapes.qvga, COARSE, crop=BOX, refine=False).surface
    asked = []

    def reachable(T):
        asked.append(T)
        return T[0, 3] < 0.0

    views = plan_next_views(shapes.qvga, surface, BOX, taken, n_views=4, reachable=reachable)
    assert len(views.T_part_camera) == 4
    assert np.all(views.T_part_camera[:, 0, 3] < 0.0)
    assert len(asked) > 4
