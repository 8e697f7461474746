"""What a tool's limits allow."""

import pytest

from cell_core.errors import LimitError
from grinding_planner.bounds import check_force, depth_per_pass_max_m, flat_pressure_pa, heat_j_per_m2


def test_too_much_pressure_is_refused_with_the_force_that_would_do(orbital, area_recipe):
    tool = orbital.model_copy(update={"pressure_max_pa": 3000.0})
    with pytest.raises(LimitError, match=r"at most 36\.8 N") as error:
        check_force(area_recipe, tool)
    check_force(area_recipe.model_copy(update={"force_n": error.value.facts["high"]}), tool)
    assert flat_pressure_pa(tool, error.value.facts["high"]) == pytest.approx(3000.0)


def test_force_outside_the_tools_range_is_refused(orbital, area_recipe):
    with pytest.raises(LimitError, match=r"10\.\.80 N"):
        check_force(area_recipe.model_copy(update={"force_n": 90.0}), orbital)


def test_heat_bounds_the_depth_of_a_pass(orbital):
    assert depth_per_pass_max_m(orbital) == float("inf")
    tool = orbital.model_copy(update={"heat_max_j_per_m2": 6000.0, "friction": 0.3})
    depth = depth_per_pass_max_m(tool)
    assert depth == pytest.approx(20e-6)
    assert heat_j_per_m2(tool, depth) == pytest.approx(6000.0)
    assert depth_per_pass_max_m(tool.model_copy(update={"depth_per_pass_max_m": 5e-6})) == 5e-6
