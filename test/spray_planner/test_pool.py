"""Strokes drawn from a pool: concave parts, parts smaller than the fan, and where the gun stands for them."""

import numpy as np
import pytest
from trimesh.creation import box, icosphere

from cell_core.config import GunConfig, SprayRecipe, load_named, load_recipe
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.surface import Surface
from spray_planner.clearance import NEAREST_NOZZLE_M
from spray_planner.planner import plan_spray

GUN = load_named(GunConfig, "guns", "hvlp_240")
RECIPE = load_recipe("spray_50um")
assert isinstance(RECIPE, SprayRecipe)


def tray(side_m: float, height_m: float) -> Surface:
    """Return the inside of an open box."""
    mesh = box(extents=(side_m, side_m, height_m)).subdivide_to_size(0.03)
    keep = np.flatnonzero(mesh.face_normals[:, 2] < 0.5)
    return Surface(vertices_m=mesh.vertices, triangles=mesh.faces[:, ::-1]).select_triangles(keep)


@pytest.fixture(scope="module")
def planned():
    surface = tray(0.4, 0.2)
    return surface, plan_spray(surface, RECIPE, GUN)


def test_inner_corners_are_coated(planned):
    figures = planned[1].figures
    assert figures["cv"] < 0.06
    assert figures["p01_m"] > 0.8 * 50e-6
    assert figures["coverage_area_fraction"] > 0.995


def test_the_gun_is_clear_of_the_part(planned):
    surface, plan = planned
    nozzles = np.concatenate([s.position_m for s in plan.toolpath.strokes])
    assert len(nozzles) > 100
    # samples of the part stand up to their distance apart
    assert RayCaster(surface).distance(nozzles).min() > NEAREST_NOZZLE_M - 0.008


def test_plans_repeat(planned):
    again = plan_spray(planned[0], RECIPE, GUN).toolpath.strokes
    assert len(again) == len(planned[1].toolpath.strokes)
    for a, b in zip(again, planned[1].toolpath.strokes, strict=True):
        np.testing.assert_array_equal(a.position_m, b.position_m)
        np.testing.assert_array_equal(a.speed_m_per_s, b.speed_m_per_s)


def test_a_part_smaller_than_the_fan_is_coated_all_round():
    mesh = icosphere(subdivisions=3, radius=0.03)
    surface = Surface(vertices_m=mesh.vertices, triangles=mesh.faces)
    figures = plan_spray(surface, RECIPE, GUN, table=False).figures
    assert figures["cv"] < 0.06
    assert figures["serviceable_area_m2"] == pytest.approx(surface.area_m2, rel=0.05)


def test_rims_of_sheets_have_samples_of_their_own():
    mesh = box(extents=(0.3, 0.2, 0.002)).subdivide_to_size(0.02)
    surface = Surface(vertices_m=mesh.vertices, triangles=mesh.faces)
    plain, told = sample_surface(surface, 0.008), sample_surface(surface, 0.008, rims=True)
    rim = 2 * (0.3 + 0.2) * 0.002

    def across(samples):
        return float(samples.areas_m2[np.abs(samples.normals[:, 2]) < 0.5].sum())

    assert across(told) == pytest.approx(rim, rel=0.3)
    assert across(plain) < 0.5 * across(told)
    assert told.areas_m2.sum() == pytest.approx(surface.area_m2, rel=0.05)
