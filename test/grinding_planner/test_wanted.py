"""What each sample is to lose: spots with feathered borders, keep-outs, walls that must remain."""

import numpy as np
import pytest

from cell_core.config import GrindRecipe, Interval
from cell_core.config.masks import BoxMask, SphereMask
from cell_core.surface import Surface
from grinding_planner.samples import sample_surface
from grinding_planner.task import GrindTask
from grinding_planner.wanted import ASSUMED_DOUBT, cautious, spare_wall_m, wanted_at

DEPTH_M = 40e-6


def recipe(base: GrindRecipe, **changes) -> GrindRecipe:
    return GrindRecipe(**{**base.model_dump(), "target_depth_m": DEPTH_M, **changes})


def wedge() -> Surface:
    """Return a closed bar 0.2 m long and 0.05 m wide whose thickness grows from 2 to 6 mm along x."""
    x, y = np.array([0.0, 0.2]), np.array([0.0, 0.05])
    thick = np.array([0.002, 0.006])
    corners = [[x[i], y[j], z * thick[i]] for i in range(2) for j in range(2) for z in (0.0, 1.0)]
    quads = [(0, 2, 6, 4), (1, 5, 7, 3), (0, 4, 5, 1), (2, 3, 7, 6), (0, 1, 3, 2), (4, 6, 7, 5)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    return Surface(vertices_m=np.array(corners), triangles=triangles)


def test_spots_run_out_evenly_inside_their_border(make_sheet, area_recipe):
    surface = make_sheet((0.3, 0.3), 0.05, lambda x, y: 0.0 * x)
    samples = sample_surface(surface, 0.005)
    spot = SphereMask(shape="sphere", centre_m=(0.0, 0.0, 0.0), radius_m=0.08, soft_edge_m=0.04)
    wanted = wanted_at(GrindTask(surface=surface, recipe=recipe(area_recipe, strategy="spot", spots=(spot,))), samples)
    r = np.linalg.norm(samples.points_m, axis=1)
    assert np.allclose(wanted.depth_m, DEPTH_M * np.clip((0.08 - r) / 0.04, 0.0, 1.0))
    assert not wanted.forbidden.any()


def test_keep_outs_are_forbidden_and_faded_towards(make_sheet, area_recipe):
    surface = make_sheet((0.3, 0.3), 0.05, lambda x, y: 0.0 * x)
    samples = sample_surface(surface, 0.005)
    box = BoxMask(shape="box", centre_m=(0.1, 0.0, 0.0), size_m=(0.1, 0.4, 0.1))
    wanted = wanted_at(GrindTask(surface=surface, recipe=recipe(area_recipe, keep_out=(box,))), samples)
    inside = samples.points_m[:, 0] > 0.05
    assert np.array_equal(wanted.forbidden, inside)
    assert np.all(wanted.depth_m[inside] == 0.0)
    assert np.all(wanted.depth_m[~inside] == DEPTH_M)
    assert wanted.figures["kept_out_area_m2"] == pytest.approx(0.1 * 0.3, rel=0.03)


def test_wall_is_the_surfaces_own_thickness(area_recipe):
    surface = wedge()
    samples = sample_surface(surface, 0.004)
    top = (samples.normals[:, 2] > 0.9) & (samples.points_m[:, 0] > 0.01) & (samples.points_m[:, 0] < 0.19)
    thick = 0.002 + 0.02 * samples.points_m[:, 0]
    spare = spare_wall_m(samples, surface, None, 0.004)
    # seen along the slanted face's own normal
    assert np.allclose(spare[top], thick[top] - 0.004, atol=2e-5)
    wanted = wanted_at(GrindTask(surface=surface, recipe=recipe(area_recipe, wall_min_m=0.004)), samples)
    thin, enough = top & (thick < 0.00395), top & (thick > 0.0042)
    assert wanted.forbidden[thin].all()
    assert not wanted.forbidden[enough].any()
    assert np.all(wanted.depth_m[thin] == 0.0)
    assert np.all(wanted.depth_m[enough] == DEPTH_M)


def test_wall_of_the_cad_counts_what_stands_above_it(make_sheet, area_recipe):
    cad = wedge()
    above = 0.001
    scan = make_sheet((0.1, 0.03), 0.005, lambda x, y: 0.002 + 0.02 * (x + 0.1) + above)
    scan = Surface(vertices_m=scan.vertices_m + [0.1, 0.025, 0.0], triangles=scan.triangles)
    samples = sample_surface(scan, 0.004)
    spare = spare_wall_m(samples, scan, cad, 0.004)
    expected = 0.002 + 0.02 * samples.points_m[:, 0] + above - 0.004
    assert np.allclose(spare, expected, atol=3e-5)
    # an open sheet has no far side: without a CAD nothing is known, so nothing is held back
    assert np.all(np.isinf(spare_wall_m(samples, scan, None, 0.004)))


def test_with_cycles_to_come_a_map_is_left_what_a_high_coefficient_would_take(area_recipe, orbital):
    depth = np.array([0.0, 40e-6, 120e-6])
    known = orbital.model_copy(
        update={
            "preston_interval_per_pa": Interval(low=0.98 * orbital.preston_per_pa, high=1.02 * orbital.preston_per_pa)
        }
    )
    assert np.array_equal(cautious(depth, recipe(area_recipe, cycles_max=1), orbital), depth)
    more = recipe(area_recipe, cycles_max=2)
    assert np.allclose(1.02 * cautious(depth, more, known), depth)
    assert np.allclose((1.0 + ASSUMED_DOUBT) * cautious(depth, more, orbital), depth)
