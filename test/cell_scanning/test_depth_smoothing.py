import numpy as np

from cell_scanning.depth_filter import FilteredDepth, cut_to_box, filter_depth, filtered_in_box
from cell_scanning.depth_smoothing import doubled, doubled_camera, smoothed


def noisy(z, sigma_m, seed=0):
    rng = np.random.default_rng(seed)
    z = (z + rng.normal(0.0, sigma_m, z.shape)).astype(np.float32)
    return FilteredDepth(depth_m=z, cos_incidence=np.full(z.shape, 0.95, np.float32))


def test_noise_on_a_curved_surface_goes_and_the_curve_stays():
    x, y = np.meshgrid(np.arange(120.0), np.arange(100.0))
    truth = 0.5 + 2e-6 * (x - 60) ** 2 + 1e-6 * (y - 50) ** 2 + 1e-4 * x
    error = smoothed(noisy(truth, 2e-4)).depth_m - truth
    assert error.std() < 0.45 * 2e-4
    assert abs(error.mean()) < 1e-5


def test_a_step_above_the_noise_keeps_its_readings():
    truth = np.full((80, 80), 0.5)
    truth[:, 40:] += 2e-3
    given = noisy(truth, 1e-4)
    out = smoothed(given).depth_m
    beside = slice(39, 41)
    np.testing.assert_array_equal(out[:, beside], given.depth_m[:, beside])
    assert (out - truth)[:, :30].std() < 0.6e-4


def test_nothing_is_invented():
    z = np.zeros((60, 70), np.float32)
    z[20:40, 20:50] = 0.6
    z[30, 30] = 0.0
    out = smoothed(noisy(z, 0.0)).depth_m
    assert not out[z == 0.0].any()
    assert (out[z > 0.0] > 0.0).all()
    empty = FilteredDepth(depth_m=np.zeros((20, 20), np.float32), cos_incidence=np.zeros((20, 20), np.float32))
    assert not smoothed(empty).depth_m.any()


def test_doubling_interpolates_and_bridges_no_gap(shapes):
    camera = shapes.qvga
    z = np.full((240, 320), 0.5, np.float32)
    z[:, 160:] = 0.7
    z[10, 10] = 0.0
    out = doubled(z)
    fine = doubled_camera(camera)
    assert out.shape == (fine.height_px, fine.width_px) == (479, 639)
    assert not out[:, 319].any()
    assert not out[19:22, 19:22].any()
    np.testing.assert_array_equal(out[::2, ::2], z)
    point = np.array([0.03, -0.02, 0.5])
    np.testing.assert_allclose(fine.project(point), 2.0 * camera.project(point))


def test_filtering_the_part_in_a_box_is_filtering_and_cutting(shapes):
    studio = shapes.studio(shapes.with_table(shapes.grid_surface(shapes.dome, 0.17, 61)), noise=True)
    T = shapes.ring(0.5, 0.9, 1)[0]
    box = np.array([[-0.1, -0.08, 0.02], [0.12, 0.1, 0.3]])
    depth = studio.depth(T)
    whole = cut_to_box(filter_depth(depth, shapes.qvga), shapes.qvga, T, box)
    window = filtered_in_box(depth, shapes.qvga, T, box)
    assert window.depth_m.any()
    np.testing.assert_array_equal(window.depth_m, whole.depth_m)
    np.testing.assert_allclose(window.cos_incidence, whole.cos_incidence, atol=1e-4)
    away = filtered_in_box(depth, shapes.qvga, T, box + 5.0)
    assert not away.depth_m.any()
