import pytest

from cell_core.config import GunConfig, Interval, SprayRecipe, load_named, load_recipe
from cell_core.operator.footprint import footprint_for
from spray_planner.disturbances import Disturbances
from spray_planner.feasible import line_spacing_m
from spray_planner.robust_spacing import CV_MOST, flat_p95_cv, robust_spacing

GUN = load_named(GunConfig, "guns", "hvlp_240")
NONE = Disturbances(position_m=0.0, axis_rad=0.0, flow_fraction=0.0, standoff_m=0.0, trigger_s=0.0)


def open_by(share: float) -> GunConfig:
    lengths = {name: GUN.numbers[name] for name in ("a_m", "b_m")}
    box = {name: Interval(low=(1.0 - share) * m, high=(1.0 + share) * m) for name, m in lengths.items()}
    return GUN.model_copy(update={"confidence": box})


def test_without_errors_a_raster_has_its_ripple():
    spacing = footprint_for(GUN).spacing_m(2)
    assert flat_p95_cv(GUN, 0.2, spacing, NONE) == pytest.approx(footprint_for(GUN).ripple(spacing), rel=0.02)


def test_the_less_a_gun_is_known_the_closer_its_strokes():
    found = [robust_spacing(open_by(share), 0.2) for share in (0.01, 0.05, 0.1)]
    assert found[0].spacing_m > found[1].spacing_m > found[2].spacing_m
    assert all(one.p95_cv <= CV_MOST for one in found)
    assert robust_spacing(GUN, 0.2).spacing_m == pytest.approx(footprint_for(GUN).spacing_m(2))


def test_spacing_grows_with_the_standoff():
    near, far = (robust_spacing(GUN, standoff) for standoff in (0.2, 0.25))
    assert far.spacing_m == pytest.approx(1.25 * near.spacing_m)


def test_where_none_is_good_enough_the_best_is_taken():
    found = robust_spacing(open_by(0.1), 0.2, cv_most=1e-6)
    assert found.order == 4 and found.p95_cv > 1e-6


def test_a_recipe_may_ask_for_it() -> None:
    recipe = load_recipe("spray_50um")
    assert isinstance(recipe, SprayRecipe)
    plain, robust = recipe, recipe.model_copy(update={"robust": True})
    opened = open_by(0.05)
    assert line_spacing_m(plain, GUN, footprint_for(GUN)) == pytest.approx(footprint_for(GUN).spacing_m())
    for asked, gun in ((robust, opened), (plain, opened)):
        assert line_spacing_m(asked, gun, footprint_for(gun)) == robust_spacing(gun, recipe.standoff_m).spacing_m
