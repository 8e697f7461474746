import numpy as np
import pytest
from spray_parts import GUN, dome, recipe

from cell_core.errors import ConfigurationError
from spray_planner import plan_prices, plan_spray
from spray_planner.trimming import runs, without_short

RECIPE = recipe(refine=True)


@pytest.fixture(scope="module")
def priced():
    return plan_prices(dome(n=21), RECIPE, GUN, prices=(0.0, 0.01))


def test_a_higher_price_buys_catch_with_evenness(priced):
    assert [p.price for p in priced] == [0.0, 1e-3, 0.01]
    assert [p.chosen for p in priced] == [False, True, False]
    catch, cv = ([p.plan.figures[name] for p in priced] for name in ("catch_fraction", "cv"))
    assert catch[0] + 0.05 < catch[1] < catch[2]
    assert cv[0] < cv[2] < 0.03
    for p in priced:
        assert p.plan.figures["mean_m"] == pytest.approx(50e-6, rel=0.01)
        assert p.plan.figures["layouts"] == priced[0].plan.figures["layouts"]


def test_the_chosen_plan_is_the_recipes_own(priced):
    own = plan_spray(dome(n=21), RECIPE, GUN)
    assert priced[1].plan.figures["catch_fraction"] == pytest.approx(own.figures["catch_fraction"], rel=1e-3)
    row = priced[1].row
    assert row["cv"] == priced[1].plan.figures["cv"] and row["chosen"] == 1.0


def test_a_price_below_nothing_is_refused():
    with pytest.raises(ConfigurationError, match=r"prices: -0\.1: must be >= 0"):
        plan_prices(dome(n=5), RECIPE, GUN, prices=(0.0, -0.1))


def test_short_holes_are_closed_and_short_stretches_left_out():
    on = np.array([0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0], bool)
    kept = without_short(on, 3)
    assert runs(on) == [(1, 4), (5, 8), (11, 12)]
    assert runs(kept) == [(1, 8)]
