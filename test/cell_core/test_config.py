"""Configuration errors name file, line, key, value and bound; every shipped file loads."""

import re
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_core.config import (
    CameraConfig,
    CellConfig,
    GrindToolConfig,
    GunConfig,
    RobotConfig,
    SprayLayer,
    SprayRecipe,
    config_root,
    load_config,
    load_grind_tools,
    load_named,
    load_one_layer,
    load_recipe,
)
from cell_core.config.monitors import MonitorsConfig
from cell_core.errors import ConfigurationError

MODELS = {
    "robots": RobotConfig,
    "cells": CellConfig,
    "guns": GunConfig,
    "tools": GrindToolConfig,
    "cameras": CameraConfig,
    "monitors": MonitorsConfig,
}
RECIPE = (config_root() / "recipes" / "spray_50um.yaml").read_text()
N_LINES = len(RECIPE.splitlines())


def shipped() -> list[Path]:
    files = sorted(p for kind in (*MODELS, "recipes") for p in (config_root() / kind).glob("*.yaml"))
    assert len(files) >= 7
    return files


@pytest.mark.parametrize("path", shipped(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_shipped_file_loads_and_bears_its_own_name(path):
    kind = path.parent.name
    by_name = load_recipe(path.stem) if kind == "recipes" else load_named(MODELS[kind], kind, path.stem)
    assert by_name == (load_recipe(str(path)) if kind == "recipes" else load_config(MODELS[kind], path))
    assert by_name.name == path.stem


def test_names_used_across_files_exist():
    for path in (config_root() / "cells").glob("*.yaml"):
        cell = load_config(CellConfig, path)
        load_named(RobotConfig, "robots", cell.robot)
        load_named(CameraConfig, "cameras", cell.camera.config)
        for tool in cell.tools:
            kind = "guns" if tool.process == "spray" else "tools"
            load_named(MODELS[kind], kind, tool.config)
    for path in (config_root() / "recipes").glob("*.yaml"):
        recipe = load_recipe(str(path))
        if isinstance(recipe, SprayRecipe):
            for one in [recipe.layer(layer.name) for layer in recipe.layers] or [recipe]:
                load_named(GunConfig, "guns", one.gun)
        else:
            assert load_grind_tools(recipe)


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_recipe(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_an_unknown_key_names_line_value_and_the_nearest_known(tmp_path):
    message = refused(tmp_path, RECIPE + "overtravl_m: 0.05\n")
    assert message.startswith(f":{N_LINES + 1}: unknown key 'overtravl_m' (value 0.05)")
    assert "did you mean 'overtravel_m'?" in message


def test_a_wrong_unit_suffix_is_named(tmp_path):
    message = refused(tmp_path, RECIPE.replace("target_thickness_m: 50.0e-6", "target_thickness_um: 50.0"))
    assert "unit suffix differs: wanted 'target_thickness_m'" in message
    assert "key 'target_thickness_m' is missing" in message


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("standoff_m", "-0.2", "greater than 0"),
        ("standoff_m", "200.0", "less than or equal to 1"),
        ("target_thickness_m", "0.05", "less than or equal to 0.002"),
        ("standoff_m", ".nan", "less than or equal to 1"),
        ("spacing_m", ".inf", "finite number"),
        ("cycles_max", "0", "greater than or equal to 1"),
        ("cycles_max", "1.0", "integer"),
        ("standoff_m", "'0.2'", "number"),
    ],
)
def test_a_bad_value_names_line_key_value_and_bound(tmp_path, key, value, bound):
    kept = [line for line in RECIPE.splitlines() if not line.startswith(f"{key}:")]
    message = refused(tmp_path, "\n".join([*kept, f"{key}: {value}"]))
    assert re.match(rf":{len(kept) + 1}: {key}: value ", message)
    assert bound in message


def test_a_negative_speed_of_a_gun(tmp_path):
    text = (config_root() / "guns" / "hvlp_240.yaml").read_text()
    line, old = next((i, row) for i, row in enumerate(text.splitlines(), 1) if row.startswith("speed_m_per_s:"))
    path = tmp_path / "gun.yaml"
    path.write_text(text.replace(old, "speed_m_per_s: {low: 0.5, high: -0.1}"))
    with pytest.raises(ConfigurationError, match=rf"gun\.yaml:{line}: speed_m_per_s: .*low 0\.5 exceeds high -0\.1"):
        load_config(GunConfig, path)


def test_a_nested_key_is_found_in_its_line(tmp_path):
    message = refused(tmp_path, RECIPE + "scan:\n  voxel_m: 0.001\n  views_max: 900\n")
    assert message.startswith(f":{N_LINES + 3}: scan.views_max: value 900: ")


def test_a_key_that_stands_twice(tmp_path):
    assert refused(tmp_path, RECIPE + "standoff_m: 0.3\n") == f":{N_LINES + 1}: key 'standoff_m' stands twice"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "holds a NoneType"),
        ("- 1\n- 2\n", "holds a list"),
        ("a: [1, 2\n", "not YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not YAML"),
        ("process: paint\n", "must be 'spray' or 'grind'"),
    ],
)
def test_what_is_no_recipe_at_all(tmp_path, text, fact):
    assert fact in refused(tmp_path, text)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"no file or entry 'spray_51um'; known: .*spray_50um"):
        load_recipe("spray_51um")


def test_the_config_folder_can_be_moved(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text(RECIPE)
    monkeypatch.setenv("CELL_CONFIG_ROOT", str(tmp_path))
    assert load_recipe("mine").name == "spray_50um"


LAYERS = """
layers:
  - {name: primer, target_thickness_m: 30.0e-6, min_thickness_m: 20.0e-6, tolerance_fraction: 0.2}
  - {name: clear, target_thickness_m: 45.0e-6, coats: 2, strategy: offset, gun: bell, max_thickness_m: 60.0e-6}
"""
SYSTEM = RECIPE.replace("target_thickness_m: 50.0e-6\n", "") + LAYERS


def test_layers_are_recipes_of_their_own(tmp_path):
    path = tmp_path / "system.yaml"
    path.write_text(SYSTEM + "acceptance: {cv_max: 0.05}\n")
    system = load_recipe(str(path))
    assert system.target_thickness_m == pytest.approx(75e-6)
    primer, clear = system.layer("primer"), system.layer("clear")
    assert (primer.layers, primer.name, primer.gun) == ((), f"{system.name}-primer", system.gun)
    assert primer.target_thickness_m == 30e-6 and primer.standoff_m == system.standoff_m
    assert (clear.gun, clear.coats, clear.strategy, clear.max_thickness_m) == ("bell", 2, "offset", 60e-6)
    # what a layer says of tolerance is what its part is judged by
    assert primer.acceptance.tolerance_fraction == primer.film_tolerance_fraction == 0.2
    assert primer.acceptance.cv_max == clear.acceptance.cv_max == 0.05
    assert clear.film_tolerance_fraction == system.acceptance.tolerance_fraction
    assert load_one_layer(str(path), "clear") == clear
    with pytest.raises(ConfigurationError, match="no layer 'base'; its layers: primer, clear"):
        load_one_layer(str(path), "base")
    with pytest.raises(ConfigurationError, match="has 2 layers, and a job runs one of them: name primer, clear"):
        load_one_layer(str(path), None)
    with pytest.raises(ConfigurationError, match="no layer 'base'; its layers: none"):
        load_one_layer("spray_50um", "base")
    with pytest.raises(ConfigurationError, match="but a grind recipe has none"):
        load_one_layer("grind_30um", "base")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_thickness_m: 20.0e-6", "min_thickness_m: 31.0e-6", ["layer primer", "3e-05 m", "min_thickness_m 3.1e"]),
        ("max_thickness_m: 60.0e-6", "max_thickness_m: 44.0e-6", ["layer clear", "4.5e-05 m", "max_thickness_m 4.4e"]),
        ("fraction: 0.2", "fraction: 0.5", ["layer primer", "0.5", "1.5e-05..4.5e-05 m", "2e-05..inf m"]),
        ("coats: 2", "coats: 1", ["layer clear", "strategy offset needs coats >= 2, has coats 1"]),
        ("coats: 2", "coats: 0", ["layers.1.coats", "greater than or equal to 1"]),
        ("offset", "spiral", ["layers.1.strategy", "'spiral'", "'single', 'cross' or 'offset'"]),
        ("name: clear", "name: primer", ["names must differ", "primer stands more than once in primer, primer"]),
        ("name: clear", "name: ../clear", ["layers.1.name", "'../clear'"]),
        (LAYERS, "layers: []\n", ["0 layers, at least 1 needed"]),
        (LAYERS, LAYERS + "target_thickness_m: 50.0e-6\n", ["given beside layers (primer 3e-05 m, clear 4.5e-05 m)"]),
        (LAYERS, LAYERS + "flash_off_s: 60.0\nborder: true\n", ["flash_off_s, border given beside layers"]),
        ("45.0e-6", "0.00199", ["max_thickness_m 6e-05"]),
        (", max_thickness_m: 60.0e-6}", "}\n  - {name: a, target_thickness_m: 0.002}", ["add up to 0.002075 m"]),
        ("gun: bell", "gunn: bell", ["unknown key 'layers.1.gunn'", "did you mean 'gun'"]),
        ("45.0e-6", ".nan", ["layers.1.target_thickness_m"]),
    ],
)
def test_contradictory_layers_are_refused_with_all_numbers(tmp_path, old, new, words):
    assert old in SYSTEM
    message = refused(tmp_path, SYSTEM.replace(old, new))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("min_thickness_m: 60.0e-6", "target_thickness_m 5e-05 m is below its min_thickness_m 6e-05 m"),
        ("max_thickness_m: 40.0e-6", "target_thickness_m 5e-05 m is above its max_thickness_m 4e-05 m"),
        ("coats: 1\nstrategy: cross", "strategy cross needs coats >= 2"),
    ],
)
def test_a_recipe_of_one_layer_is_held_to_the_same(tmp_path, lines, words):
    assert words in refused(tmp_path, RECIPE + lines + "\n")


@given(target=st.floats(1e-6, 1e-3), tolerance=st.floats(0.01, 1.0), low=st.floats(0.0, 1.2), high=st.floats(0.8, 3.0))
def test_bounds_within_the_tolerance_are_accepted_and_no_others(target, tolerance, low, high):
    fields = {"name": "a", "target_thickness_m": target, "tolerance_fraction": tolerance}
    bounds = {"max_thickness_m": high * target} | ({"min_thickness_m": low * target} if low * target > 0.0 else {})
    # by how much the bounds leave room, in targets
    room = min(1.0 - tolerance - low, high - 1.0 - tolerance)
    if room > 1e-6:
        SprayLayer(**fields, **bounds)
    elif room < -1e-6:
        with pytest.raises(pydantic.ValidationError, match="layer a: target_thickness_m"):
            SprayLayer(**fields, **bounds)
