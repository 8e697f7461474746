import numpy as np
import pytest
import trimesh

from cell_core.surface import Surface
from grinding_planner.samples import RIM_SHARE, finer_at_rims, linear_fit, sample_surface


def block(size_m) -> Surface:
    mesh = trimesh.creation.box(size_m)
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))


def test_linear_fields_come_through_exactly_and_noise_is_averaged():
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(0.0, 0.1, (4000, 2)), np.zeros(4000)]
    at = np.c_[rng.uniform(0.02, 0.08, (50, 2)), np.zeros(50)]
    up = np.array([0.0, 0.0, 1.0])
    carry = linear_fit(points, np.tile(up, (4000, 1)), at, np.tile(up, (50, 1)), 0.004)
    field = 1.0 + 3.0 * points[:, 0] - 2.0 * points[:, 1]
    assert carry @ field == pytest.approx(1.0 + 3.0 * at[:, 0] - 2.0 * at[:, 1], rel=1e-4)
    assert np.std(carry @ rng.normal(size=4000)) < 0.6


def test_a_single_value_is_carried_as_it_is():
    point, up = np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]])
    assert linear_fit(point, up, point + 0.01, up, 0.005) @ [7.0] == pytest.approx([7.0])


def test_samples_beside_sharp_edges_are_finer_and_all_stand_for_the_same_area():
    surface, spacing = block((0.12, 0.1, 0.06)), 0.006
    coarse = sample_surface(surface, spacing)
    samples = finer_at_rims(surface, coarse)
    assert samples.areas_m2.sum() == pytest.approx(surface.area_m2, rel=0.01)
    rim = samples.rim
    assert rim is not None and 0.0 < samples.areas_m2[rim].sum() < 0.5 * surface.area_m2
    assert np.median(samples.areas_m2[rim]) == pytest.approx((RIM_SHARE * spacing) ** 2, rel=0.3)
    # two of three half sizes less the place: how far a point on a face lies from the nearest edge
    to_edge = np.sort(0.5 * np.array([0.12, 0.1, 0.06]) - np.abs(samples.points_m), axis=1)[:, 1]
    assert to_edge[rim].max() < 2.0 * spacing
    assert rim[to_edge < 0.4 * spacing].mean() > 0.99
    assert to_edge[rim].min() < 0.3 * spacing
    # the mean normal of a piece is its face's: none goes round the edge
    assert np.abs(samples.normals[rim]).max(axis=1).min() > 0.99


def test_flat_ground_inner_corners_and_the_far_side_of_a_wall_are_no_rims(make_sheet):
    flat = make_sheet((0.1, 0.1), 0.01, lambda x, y: 0.0 * x)
    valley = make_sheet((0.1, 0.1), 0.0025, lambda x, y: np.abs(x))
    for surface in (flat, valley):
        samples = sample_surface(surface, 0.005)
        assert finer_at_rims(surface, samples) is samples
    thin = block((0.1, 0.1, 0.002))
    samples = finer_at_rims(thin, sample_surface(thin, 0.005))
    assert samples.rim is not None
    assert np.abs(samples.points_m[samples.rim, :2]).max(axis=1).min() > 0.05 - 0.011
