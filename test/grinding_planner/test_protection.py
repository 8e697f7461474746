"""What a sweep must not do: touch keep-outs, press or heat too much, grind edges that are to be kept, thin walls."""

import numpy as np
import pytest

from cell_core.config import GrindRecipe, GrindToolConfig, PadTool, load_named
from cell_core.config.masks import BoxMask, SphereMask
from cell_core.errors import CoverageError
from cell_simulation.predict import predict
from grinding_planner.bounds import flat_pressure_pa
from grinding_planner.planner import plan_grind


@pytest.fixture(scope="module")
def small() -> PadTool:
    tool = load_named(GrindToolConfig, "tools", "orbital_32")
    assert isinstance(tool, PadTool)
    return tool


@pytest.fixture(scope="module")
def recipe(area_recipe) -> GrindRecipe:
    return area_recipe.model_copy(update={"tool": "orbital_32", "force_n": 10.0})


@pytest.fixture(scope="module")
def plate(make_sheet):
    return make_sheet((0.12, 0.08), 0.004, lambda x, y: 0.0 * x)


def test_a_keep_out_is_not_touched_and_the_rest_is_ground(plate, small, recipe):
    box = BoxMask(shape="box", centre_m=(0.045, 0.0, 0.0), size_m=(0.03, 0.2, 0.1))
    plan = plan_grind(plate, recipe.model_copy(update={"keep_out": (box,)}), small)
    removed = predict(plate, plan.toolpath)
    x = plate.vertices_m[:, 0]
    assert removed[x > 0.033].max() < 0.3e-6
    assert removed[(x < 0.0) & (np.abs(plate.vertices_m[:, 1]) < 0.03)].min() > 20e-6
    assert plan.figures["kept_out_area_m2"] == pytest.approx(0.03 * 0.08, rel=0.1)
    assert "kept_out" in plan.toolpath.unreached["refused_poses"]


def test_a_spot_is_ground_and_fades(plate, small, recipe):
    spot = SphereMask(shape="sphere", centre_m=(0.0, 0.0, 0.0), radius_m=0.035, soft_edge_m=0.02)
    plan = plan_grind(plate, recipe.model_copy(update={"strategy": "spot", "spots": (spot,)}), small)
    removed = predict(plate, plan.toolpath)
    r = np.linalg.norm(plate.vertices_m, axis=1)
    assert removed[r < 0.01].mean() == pytest.approx(30e-6, rel=0.12)
    assert removed[r > 0.05].max() < 3e-6


def test_heat_shares_the_depth_among_passes(plate, small, recipe):
    # mu depth / k_p = 0.4 x 30 um / 1e-9 = 12 kJ/m2 for all of it
    cool = small.model_copy(update={"heat_max_j_per_m2": 7000.0})
    plan = plan_grind(plate, recipe, cool)
    assert plan.figures["n_passes"] == 2.0
    assert plan.figures["heat_max_j_per_m2"] < 7000.0
    with pytest.raises(CoverageError, match="needs 2 passes"):
        plan_grind(plate, recipe.model_copy(update={"n_passes": 1}), cool)


def test_pressure_on_a_bend_stays_below_what_the_abrasive_bears(make_sheet, small, recipe):
    bent = make_sheet((0.08, 0.06), 0.004, lambda x, y: -y**2 / 0.6)
    free = plan_grind(bent, recipe, small)
    bound = 1.3 * flat_pressure_pa(small, recipe.force_n)
    assert free.figures["pressure_max_pa"] > bound
    held = plan_grind(bent, recipe, small.model_copy(update={"pressure_max_pa": bound}))
    assert held.figures["pressure_max_pa"] < 1.03 * bound
    assert held.figures["force_min_n"] < free.figures["force_min_n"]


def test_edges_that_are_kept_lose_nothing(plate, small, recipe):
    plan = plan_grind(plate, recipe.model_copy(update={"keep_edges": True}), small)
    removed = predict(plate, plan.toolpath)
    inside = np.min(np.array([0.06, 0.04]) - np.abs(plate.vertices_m[:, :2]), axis=1)
    assert removed[inside < 1e-6].max() < 1e-6
    assert removed[inside > 0.02].min() > 20e-6
