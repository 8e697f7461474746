"""Recipes of layers: a plan for each, all checked before the first, and what they come to."""

import pytest
from spray_parts import GUN, dome, recipe

from cell_core.config import SprayRecipe
from cell_core.errors import ConfigurationError, CoverageError
from cell_core.surface import Surface
from spray_planner import layers_figures, plan_layers, plan_spray

LAYERS = [
    {"name": "primer", "target_thickness_m": 30e-6, "voc_kg_per_m3": 500.0, "wait_after_s": 600.0},
    {
        "name": "clear",
        "target_thickness_m": 40e-6,
        "coats": 2,
        "strategy": "cross",
        "flash_off_s": 60.0,
        "voc_kg_per_m3": 400.0,
        "gun": "other",
        "flow_m3_per_s": 2e-6,
        "tolerance_fraction": 0.1,
        "wait_after_s": 900.0,
    },
]


def system(**changes: object) -> SprayRecipe:
    return recipe(target_thickness_m=None, layers=tuple({**layer} for layer in LAYERS), **changes)


def test_every_layer_gets_its_own_plan_with_its_own_gun_and_film() -> None:
    told = []
    guns = {"test": GUN, "other": GUN.model_copy(update={"name": "other", "acceleration_m_per_s2": 1.0})}
    plans = plan_layers(dome(), system(), guns, table=False, progress=lambda f, m: told.append((f, m)))
    assert [p.folder for p in plans] == ["01-primer", "02-clear"]
    primer, clear = (p.plan for p in plans)
    assert primer.figures["mean_m"] == pytest.approx(30e-6, rel=0.01)
    assert clear.figures["mean_m"] == pytest.approx(40e-6, rel=0.01)
    assert (primer.toolpath.tool["name"], clear.toolpath.tool["name"]) == ("test", "other")
    assert clear.toolpath.tool["flow_m3_per_s"] == 2e-6
    assert {s.coat for s in clear.toolpath.strokes} == {1, 2}
    assert clear.figures["tolerance_fraction"] == 0.1
    assert [f for f, _ in told] == sorted(f for f, _ in told)
    assert told[0][1].startswith("primer: ") and told[-1][1].startswith("clear: ")
    alone = plan_spray(dome(), system().layer("primer"), GUN, table=False)
    assert alone.figures["cv"] == primer.figures["cv"]

    figures = layers_figures(plans)
    assert figures["mean_m"] == pytest.approx(70e-6, rel=0.01)
    assert figures["voc_mass_kg"] == pytest.approx(sum(p.plan.figures["voc_mass_kg"] for p in plans))
    assert figures["wait_between_layers_s"] == 600.0
    assert [row["name"] for row in figures["layers"]] == ["primer", "clear"]


def test_an_infeasible_layer_is_refused_before_any_is_planned() -> None:
    weak = GUN.model_copy(update={"speed_m_per_s": GUN.speed_m_per_s.model_copy(update={"low": 0.5})})
    told = []
    with pytest.raises(ConfigurationError, match=r"recipe test-clear: .* needs 0\.3135 m/s, gun test allows 0\.5\.\.1"):
        plan_layers(dome(), system(), {"test": GUN, "other": weak}, progress=lambda f, m: told.append(m))
    assert told == []


def test_a_layer_without_any_served_area_is_named() -> None:
    up = dome(n=9)
    down = Surface(vertices_m=up.vertices_m, triangles=up.triangles[:, ::-1])
    with pytest.raises(CoverageError, match="layer primer: no gun pose serves any"):
        plan_layers(down, system(), {"test": GUN, "other": GUN})


def test_a_recipe_of_layers_is_no_layer() -> None:
    with pytest.raises(ConfigurationError, match=r"has layers \(primer, clear\)"):
        plan_spray(dome(n=9), system(), GUN)
