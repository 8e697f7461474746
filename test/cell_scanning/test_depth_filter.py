import numpy as np
import pytest

from cell_scanning.depth_filter import EDGE_PX, cut_to_box, filter_depth


def plane_depth(camera, tilt_rad, distance_m=0.6):
    u, v = camera.ray_slopes()
    return (distance_m / (1.0 + np.tan(tilt_rad) * u) + 0.0 * v).astype(np.float32)


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, 45.0, 60.0])
def test_incidence_of_a_tilted_plane_is_exact(shapes, tilt_deg):
    camera, tilt = shapes.qvga, np.radians(tilt_deg)
    filtered = filter_depth(plane_depth(camera, tilt), camera)
    u, v = camera.ray_slopes()
    normal = np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    exact = (normal[0] * u + normal[2]) / np.sqrt(u**2 + v**2 + 1.0)
    # slopes are taken over five pixels, which bends them a little where depth changes fast
    kept = filtered.depth_m > 0.0
    kept[:4], kept[-4:], kept[:, :4], kept[:, -4:] = False, False, False, False
    assert kept.sum() > 10_000
    np.testing.assert_allclose(filtered.cos_incidence[kept], exact[kept], atol=3e-3)


def test_grazing_readings_go(shapes):
    camera = shapes.qvga
    filtered = filter_depth(plane_depth(camera, np.radians(75.0), 0.5), camera)
    u, v = camera.ray_slopes()
    exact = (np.sin(np.radians(75.0)) * u + np.cos(np.radians(75.0))) / np.sqrt(u**2 + v**2 + 1.0)
    assert not np.any(filtered.depth_m[exact < np.cos(camera.incidence_max_rad) - 0.02])


def test_readings_beside_a_step_go_and_others_stay(shapes):
    depth = np.full((240, 320), 0.5, np.float32)
    depth[:, 160:] = 0.6
    kept = filter_depth(depth, shapes.qvga).depth_m[10:-10] > 0.0
    assert not kept[:, 160 - EDGE_PX : 160 + EDGE_PX].any()
    assert kept[:, 20 : 160 - EDGE_PX - 2].all()
    assert kept[:, 160 + EDGE_PX + 2 : 300].all()


def test_single_dropouts_are_no_edges_but_voids_are(shapes):
    depth = np.full((240, 320), 0.5, np.float32)
    depth[100, 100] = 0.0
    depth[150:170, 200:220] = 0.0
    kept = filter_depth(depth, shapes.qvga).depth_m > 0.0
    assert kept[95:106, 95:106].sum() == 11 * 11 - 1
    assert not kept[150 - EDGE_PX : 170 + EDGE_PX, 200 - EDGE_PX : 220 + EDGE_PX].any()


def test_readings_out_of_range_go(shapes):
    depth = np.full((240, 320), 0.2, np.float32)
    assert not filter_depth(depth, shapes.qvga).depth_m.any()


def test_the_box_cuts_in_the_part_frame(shapes):
    T = np.eye(4)
    T[:3, 3] = [1.0, 2.0, 3.0]
    filtered = filter_depth(np.full((240, 320), 0.5, np.float32), shapes.qvga)
    box = np.array([[1.0, 1.0, 3.0], [2.0, 3.0, 4.0]])
    kept = cut_to_box(filtered, shapes.qvga, T, box).depth_m > 0.0
    assert kept[:, 165:300].all()
    assert not kept[:, :159].any()
    assert not cut_to_box(filtered, shapes.qvga, T, box + 10.0).depth_m.any()
