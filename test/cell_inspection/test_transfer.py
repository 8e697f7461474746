import numpy as np
import pytest

from cell_core.surface import Surface
from cell_inspection.removal import removed_between, scan_noise_m
from cell_inspection.transfer import height_over, map_field


def test_a_linear_field_is_carried_exactly(make_sheet):
    coarse, fine = make_sheet(n=11), make_sheet(half_m=0.09, n=57)
    linear = 2.0 + 3.0 * coarse.vertices_m[:, 0] - 5.0 * coarse.vertices_m[:, 1]
    carried = map_field(coarse, linear, fine, 1e-3)
    wanted = 2.0 + 3.0 * fine.vertices_m[:, 0] - 5.0 * fine.vertices_m[:, 1]
    np.testing.assert_allclose(carried, wanted, atol=1e-6)


def test_nothing_near_is_nan(make_sheet):
    flat = make_sheet(n=11)
    raised = make_sheet(lambda x, y: np.where(x > 0.0, 0.01, 0.0), n=11)
    carried = map_field(flat, np.ones(len(flat.vertices_m)), raised, 2e-3)
    np.testing.assert_array_equal(np.isnan(carried), raised.vertices_m[:, 2] > 0.005)
    with pytest.raises(ValueError, match="shape"):
        map_field(flat, np.ones(3), raised, 2e-3)


def test_height_is_positive_where_a_vertex_stands_out_and_unknown_far_away(make_sheet):
    flat, stepped = make_sheet(n=11), make_sheet(lambda x, y: np.where(x > 0.0, 2e-4, -1e-4), half_m=0.08, n=41)
    height, x = height_over(stepped, flat, 1e-3), stepped.vertices_m[:, 0]
    np.testing.assert_allclose(height[x > 0.01], 2e-4, atol=1e-9)
    np.testing.assert_allclose(height[x < -0.01], -1e-4, atol=1e-9)
    assert np.isnan(height_over(stepped, flat, 5e-5)).all()


def test_the_two_sides_of_a_sheet_are_not_mixed(make_sheet):
    # a scan lies 0.7 mm inside a 1 mm sheet, so that its nearest triangles are those of the other side
    top = make_sheet(n=11)
    n = len(top.vertices_m)
    both = Surface(
        vertices_m=np.concatenate([top.vertices_m, top.vertices_m - [0.0, 0.0, 0.001]]),
        triangles=np.concatenate([top.triangles, top.triangles[:, ::-1] + n]),
    )
    film = np.r_[np.full(n, 50e-6), np.zeros(n)]
    scan = make_sheet(lambda x, y: 0.0 * x - 0.0007, half_m=0.08, n=9)
    np.testing.assert_allclose(map_field(both, film, scan, 2e-3), 50e-6, rtol=1e-6)


def test_removal_is_positive_where_material_is_gone(make_sheet, crown_height):
    before = make_sheet(crown_height, n=81)
    after = make_sheet(lambda x, y: crown_height(x, y) - 3e-4 * (np.abs(x) < 0.03), n=201)
    removed = removed_between(before, after)
    inside = np.abs(before.vertices_m[:, 0]) < 0.025
    outside = (np.abs(before.vertices_m[:, 0]) > 0.035) & (np.abs(before.vertices_m[:, :2]).max(axis=1) < 0.095)
    slope = before.vertex_normals[inside, 2]
    np.testing.assert_allclose(removed[inside], 3e-4 * slope, atol=1.2e-5)
    np.testing.assert_allclose(removed[outside], 0.0, atol=2e-5)


def test_removal_is_unknown_where_the_second_scan_has_a_hole(make_sheet):
    before, after = make_sheet(n=41), make_sheet(n=81)
    holed = after.select_triangles(np.linalg.norm(after.centroids_m[:, :2], axis=1) > 0.03)
    removed = removed_between(before, holed)
    radius = np.linalg.norm(before.vertices_m[:, :2], axis=1)
    assert np.isnan(removed[radius < 0.027]).all()
    assert np.isfinite(removed[(radius > 0.034) & (np.abs(before.vertices_m[:, :2]).max(axis=1) < 0.099)]).all()


def test_a_wall_in_front_does_not_count_as_material(make_sheet):
    before = make_sheet(n=21)
    after = make_sheet(lambda x, y: 0.0 * x - 2e-4, half_m=0.12, n=21)
    lid = make_sheet(lambda x, y: 0.0 * x + 0.003, half_m=0.12, n=5)
    n = len(after.vertices_m)
    scene = Surface(
        vertices_m=np.concatenate([after.vertices_m, lid.vertices_m]),
        triangles=np.concatenate([after.triangles, lid.triangles[:, ::-1] + n]),
    )
    np.testing.assert_allclose(removed_between(before, scene), 2e-4, atol=2e-6)


def test_the_scan_noise_floor_comes_from_untouched_area():
    rng = np.random.default_rng(0)
    removed = rng.normal(0.0, 2e-5, 5000)
    touched = np.zeros(5000, bool)
    touched[:500] = True
    removed[touched] += 1e-3
    removed[-10:] = np.nan
    assert scan_noise_m(removed, ~touched) == pytest.approx(2e-5, rel=0.1)
    with pytest.raises(ValueError, match="0 untouched"):
        scan_noise_m(removed, np.zeros(5000, bool))
