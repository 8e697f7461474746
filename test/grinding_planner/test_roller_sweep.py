"""A wheel sweeps an area, and the simulator's own wheel agrees."""

import numpy as np
import pytest

from cell_core.config import GrindToolConfig, load_named
from cell_simulation.predict import predict
from grinding_planner.planner import plan_grind


def test_wheel_takes_off_an_even_depth(make_sheet, area_recipe):
    surface = make_sheet((0.05, 0.04), 0.003, lambda x, y: 0.0 * x)
    wheel = load_named(GrindToolConfig, "tools", "wheel_100").model_copy(update={"wear": None})
    recipe = area_recipe.model_copy(update={"tool": wheel.name, "force_n": 20.0})
    plan = plan_grind(surface, recipe, wheel)
    assert plan.figures["in_tolerance_area_fraction"] > 0.95
    assert all(stroke.freedom.spin == "fixed" for stroke in plan.toolpath.strokes)
    assert "hertz" in plan.toolpath.tool["contact"]
    removed = predict(surface, plan.toolpath)
    inner = np.all(np.abs(surface.vertices_m[:, :2]) < [0.015, 0.01], axis=1)
    ratio = removed[inner] / recipe.target_depth_m
    assert ratio.mean() == pytest.approx(1.0, abs=0.06)
    # Hertz against a mattress of the same contact length: lines show differently
    assert ratio.std() < 0.15
