import numpy as np
import pytest
from spray_parts import GUN, dome, recipe

from cell_core.config import SprayRecipe
from cell_core.config.masks import BoxMask, CylinderMask, SphereMask
from cell_core.errors import InputRefusedError
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.plan import Plan
from cell_core.regions import depth_inside
from cell_core.sampling import points_by_area
from cell_core.surface import Surface
from spray_planner import plan_spray

RECIPE = recipe(refine=True)
RADIUS_M = 0.08


def plate(side_m=0.5, n=81) -> Surface:
    flat = dome(side_m, side_m, n)
    return Surface(vertices_m=flat.vertices_m * [1.0, 1.0, 0.0], triangles=flat.triangles)


def disc_depth(points_m):
    return RADIUS_M - np.hypot(points_m[:, 0] - 0.05, points_m[:, 1])


@pytest.fixture(scope="module")
def masked() -> tuple[Surface, Plan]:
    surface = plate()
    return surface, plan_spray(surface, RECIPE, GUN, mask=(disc_depth(surface.vertices_m) <= 0.0).astype(float))


def film_at(surface, plan, spacing_m=0.004):
    """Return points, areas, film and the film of the whole cone."""
    points = points_by_area(surface, spacing_m)
    tool = plan.toolpath.tool
    footprint = EllipticDoubleBeta(GUN.model_copy(update={"flow_m3_per_s": tool["flow_m3_per_s"]}))
    strokes = plan.toolpath.strokes
    operator = coverage_of_points(points.points_m, points.normals, strokes, footprint, caster=None)
    sprayed = footprint.volume_rate_m3_per_s * sum(float(s.dwell_s.sum()) for s in strokes)
    return points, operator.predict(strokes), sprayed


def test_little_lands_deep_in_a_mask_and_the_rest_is_coated(masked):
    surface, plan = masked
    points, film, sprayed = film_at(surface, plan)
    depth = disc_depth(points.points_m)
    deep = depth > 0.02
    assert deep.sum() > 100
    assert float(points.areas_m2[deep] @ film[deep]) / sprayed < 0.005
    beside = film[depth < -0.02]
    assert beside.mean() == pytest.approx(50e-6, rel=0.02)
    assert beside.std() < 0.03 * beside.mean()


def test_figures_and_fields_tell_of_the_mask(masked):
    surface, plan = masked
    depth, figures = disc_depth(surface.vertices_m), plan.figures
    area = np.pi * RADIUS_M**2
    assert figures["masked_area_m2"] == pytest.approx(area, rel=0.05)
    assert plan.toolpath.unreached["reasons"]["masked"] == pytest.approx(area / 0.25, rel=0.05)
    assert figures["serviceable_area_m2"] == pytest.approx(0.25 - area, rel=0.02)
    assert 0.0 < figures["on_mask_fraction"] < 0.005
    assert plan.fields["target_change_m"][depth > 0.01].max() == 0.0
    assert plan.fields["target_change_m"][depth < -0.01] == pytest.approx(50e-6)
    assert "masked" not in {limit["reason"] for limit in figures["limits"]}


def test_the_gun_is_off_over_a_mask(masked):
    strokes = masked[1].toolpath.strokes
    # where the axis meets the plate, whatever the standoff
    met = [s.position_m - (s.position_m[:, 2] / s.tool_axis[:, 2])[:, None] * s.tool_axis for s in strokes]
    over = [disc_depth(p) > 0.02 for p in met]
    assert sum(int(o.sum()) for o in over) > 10
    assert not any((s.on & o).any() for s, o in zip(strokes, over, strict=True))


def test_a_region_of_the_recipe_is_a_mask():
    surface = plate(n=41)
    ball = SphereMask(shape="sphere", centre_m=(0.05, 0.0, 0.0), radius_m=RADIUS_M)
    plan = plan_spray(surface, recipe().model_copy(update={"masks": (ball,)}), GUN)
    assert plan.figures["masked_area_m2"] == pytest.approx(np.pi * RADIUS_M**2, rel=0.05)
    assert plan.figures["on_mask_fraction"] < 0.005


def test_values_between_make_a_thinner_film():
    surface = plate(n=41)
    mask = np.clip(0.5 - surface.vertices_m[:, 0] / 0.2, 0.0, 1.0)
    plan = plan_spray(surface, recipe(), GUN, mask=mask)
    assert plan.fields["target_change_m"] == pytest.approx(50e-6 * mask, abs=4e-6)
    film, x = plan.fields["predicted_change_m"], surface.vertices_m[:, 0]
    assert 10e-6 < film[np.abs(x) < 0.02].mean() < 40e-6
    assert film[x < -0.15].mean() == pytest.approx(50e-6, rel=0.05)


def test_a_mask_of_ones_is_no_mask():
    surface, quick = plate(n=31), recipe()
    plain, ones = plan_spray(surface, quick, GUN), plan_spray(surface, quick, GUN, mask=np.ones(31 * 31))
    assert ones.figures["cv"] == pytest.approx(plain.figures["cv"], rel=0.1)
    assert ones.figures["on_mask_fraction"] == 0.0


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones(7), r"shape \(7,\), wanted \(961,\)"),
        (np.r_[np.ones(960), np.nan], "1 values are not finite, the first at 960"),
        (np.r_[1.5, np.ones(960)], "value 1.5 at vertex 0, must be within 0..1"),
        (np.r_[np.ones(960), -0.2], "value -0.2 at vertex 960"),
        (np.zeros(961), "all 961 values are 0"),
    ],
)
def test_masks_that_make_no_sense_are_refused(mask, words):
    with pytest.raises(InputRefusedError, match=words):
        plan_spray(plate(n=31), RECIPE, GUN, mask=mask)


def test_a_region_over_everything_is_refused():
    everywhere = BoxMask(shape="box", centre_m=(0.0, 0.0, 0.0), size_m=(2.0, 2.0, 2.0))
    with pytest.raises(InputRefusedError, match=r"none of the 0\.25\d* m2 that the gun can serve is to be painted"):
        plan_spray(plate(n=31), RECIPE.model_copy(update={"masks": (everywhere,)}), GUN)


def test_depth_inside_regions():
    p = np.array([[0.0, 0.0, 0.0], [0.05, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, 0.04]])
    box = BoxMask(shape="box", centre_m=(0.0, 0.0, 0.0), size_m=(0.2, 0.4, 0.1))
    ball = SphereMask(shape="sphere", centre_m=(0.0, 0.0, 0.0), radius_m=0.1)
    rod = CylinderMask(shape="cylinder", from_m=(-0.1, 0.0, 0.0), to_m=(0.1, 0.0, 0.0), radius_m=0.06)
    assert depth_inside(box, p) == pytest.approx([0.05, 0.05, -0.2, 0.01])
    assert depth_inside(ball, p) == pytest.approx([0.1, 0.05, -0.2, 0.06])
    assert depth_inside(rod, p) == pytest.approx([0.06, 0.05, -0.2, 0.02])


def test_recipes_name_regions_and_refuse_what_is_none():
    base = RECIPE.model_dump(exclude_unset=True)
    good = {"shape": "cylinder", "from_m": (0.0, 0.0, 0.0), "to_m": (0.0, 0.0, 1.0), "radius_m": 0.1}
    assert isinstance(SprayRecipe(**base, masks=(good,)).masks[0], CylinderMask)
    for change, words in (({"to_m": (0.0, 0.0, 0.0)}, "no axis"), ({"radius_m": 0.0}, "greater than 0")):
        with pytest.raises(ValueError, match=words):
            SprayRecipe(**base, masks=({**good, **change},))
