import numpy as np
import pytest
import trimesh

from cell_core.surface import Surface
from cell_scanning.surface_smoothing import smoothed_surface, smoothing_reach_m
from cell_scanning.windows import correlated, grown, squares_summed, strips, summed

N_FRAMES = 16.0


def noisy(mesh, sigma_m, seed=0):
    """A mesh of about a millimetre pushed along its normals, with the fields that tell how noisy it is."""
    clean = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))
    off = np.random.default_rng(seed).normal(0.0, sigma_m, len(clean.vertices_m))
    moved = Surface(
        vertices_m=clean.vertices_m + off[:, None] * clean.vertex_normals,
        triangles=clean.triangles,
        fields={
            "frame_count": np.full(len(off), N_FRAMES),
            "residual_m": np.full(len(off), sigma_m * np.sqrt(N_FRAMES)),
        },
    )
    return clean, moved


@pytest.fixture(scope="module")
def box():
    mesh = trimesh.creation.box([0.04, 0.03, 0.02])
    return mesh.subdivide_to_size(0.0015)


def test_noise_on_a_ball_goes_and_its_radius_stays():
    _, given = noisy(trimesh.creation.icosphere(subdivisions=5, radius=0.03), 2e-4)
    out = smoothed_surface(given, 1e-3)
    before, after = (np.linalg.norm(s.vertices_m, axis=1) - 0.03 for s in (given, out))
    assert after.std() < 0.4 * before.std()
    assert abs(after.mean()) < 2e-5
    np.testing.assert_array_equal(out.triangles, given.triangles)


def test_edges_of_a_box_stay_sharp(box):
    clean, given = noisy(box, 2e-4)
    out = smoothed_surface(given, 1e-3)
    half = np.array([0.02, 0.015, 0.01])
    faces = np.sort(half - np.abs(clean.vertices_m), axis=1)
    flat = faces[:, 1] > 3e-3
    off = np.max(np.abs(out.vertices_m) - half, axis=1)
    assert off[flat].std() < 1.1e-4
    edge = faces[:, 1] < 1e-9
    moved = np.linalg.norm(out.vertices_m - given.vertices_m, axis=1)
    assert np.quantile(moved[edge], 0.9) < 4e-4


def test_two_sides_of_a_thin_sheet_do_not_mix():
    mesh = trimesh.creation.box([0.04, 0.03, 0.0012]).subdivide_to_size(0.0012)
    _, given = noisy(mesh, 1.5e-4)
    out = smoothed_surface(given, 1e-3).vertices_m
    inner = (np.abs(out[:, 0]) < 0.015) & (np.abs(out[:, 1]) < 0.01)
    thick = 2.0 * np.mean(np.abs(out[inner, 2]))
    assert thick == pytest.approx(0.0012, abs=5e-5)


def test_a_surface_with_little_noise_is_left_alone(box):
    _, given = noisy(box, 5e-5)
    assert smoothing_reach_m(given, 1e-3) == 0.0
    assert smoothed_surface(given, 1e-3) is given


def test_window_sums_are_the_filters_they_stand_for():
    from scipy.ndimage import binary_dilation, correlate1d, uniform_filter

    image = np.random.default_rng(3).random((70, 53)).astype(np.float32)
    for n in (3, 5, 7):
        for repeat, mode in ((True, "nearest"), (False, "constant")):
            wanted = n * n * uniform_filter(image, n, mode=mode)
            np.testing.assert_allclose(squares_summed(image, n, repeat=repeat), wanted, rtol=1e-5)
    wanted = correlate1d(image, [-2.0, -1.0, 0.0, 1.0, 2.0], 1, mode="constant")
    np.testing.assert_allclose(correlated(image, [0.0, 1.0, 2.0], 1, odd=True, repeat=False), wanted, atol=1e-5)
    wanted = correlate1d(image, [4.0, 1.0, 3.0, 1.0, 4.0], 0, mode="nearest")
    np.testing.assert_allclose(correlated(image, [3.0, 1.0, 4.0], 0, repeat=True), wanted, rtol=1e-5)
    mask = image > 0.98
    np.testing.assert_array_equal(grown(mask, 2), binary_dilation(mask, np.ones((5, 5), bool)))
    assert summed(image[:1], 3, 0, repeat=True).shape == (1, 53)


def test_strips_cover_an_image_once():
    for n in (16, 64, 130, 479):
        seen = np.zeros(n, int)
        for wide, own, inner in strips(n, 6):
            seen[own] += 1
            np.testing.assert_array_equal(np.arange(n)[wide][inner], np.arange(n)[own])
        assert (seen == 1).all()
