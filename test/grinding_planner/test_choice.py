"""The tool that suits best is chosen, and why is told."""

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, load_named
from cell_core.config.masks import BoxMask
from cell_core.errors import CoverageError
from grinding_planner.choice import plan_with_best_tool


@pytest.fixture(scope="module")
def small() -> GrindToolConfig:
    return load_named(GrindToolConfig, "tools", "orbital_32")


def auto(recipe, *names):
    return recipe.model_copy(update={"tool": "auto", "tools": names})


def test_open_ground_goes_to_the_large_pad(make_sheet, orbital, small, area_recipe):
    surface = make_sheet((0.15, 0.13), 0.01, lambda x, y: 0.0 * x)
    plan = plan_with_best_tool(surface, auto(area_recipe, "orbital_32", "orbital_125"), (small, orbital))
    assert plan.toolpath.tool["name"] == "orbital_125"
    told = {entry["tool"]: entry for entry in plan.figures["tool_choice"]}
    assert told["orbital_125"]["reason"].startswith("chosen")
    assert told["orbital_32"]["force_n"] == 20.0
    assert told["orbital_32"]["duration_s"] > told["orbital_125"]["duration_s"]


def test_a_trough_goes_to_the_small_pad_and_says_why(make_sheet, orbital, small, area_recipe):
    surface = make_sheet((0.12, 0.09), 0.005, lambda x, y: 4.0 * np.maximum(np.abs(y) - 0.03, 0.0))
    plan = plan_with_best_tool(surface, auto(area_recipe, "orbital_125", "orbital_32"), (orbital, small))
    assert plan.toolpath.tool["name"] == "orbital_32"
    told = {entry["tool"]: entry["reason"] for entry in plan.figures["tool_choice"]}
    assert told["orbital_32"].startswith("chosen")
    assert not told["orbital_125"].startswith("chosen")


def test_none_that_can_is_refused_with_every_reason(make_sheet, orbital, small, area_recipe):
    surface = make_sheet((0.06, 0.04), 0.005, lambda x, y: 0.0 * x)
    everything = BoxMask(shape="box", centre_m=(0.0, 0.0, 0.0), size_m=(1.0, 1.0, 1.0))
    recipe = auto(area_recipe, "orbital_125", "orbital_32").model_copy(update={"keep_out": (everything,)})
    with pytest.raises(CoverageError, match=r"none of the 2 tools can do it: orbital_125: .*; orbital_32: "):
        plan_with_best_tool(surface, recipe, (orbital, small))
