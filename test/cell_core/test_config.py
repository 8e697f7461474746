"""Configuration errors name file, line, key, value and bound; every shipped file loads."""

import re
from pathlib import Path

import pytest

from cell_core.config import (
    CameraConfig,
    CellConfig,
    GrindToolConfig,
    GunConfig,
    RobotConfig,
    SprayRecipe,
    config_root,
    load_config,
    load_named,
    load_recipe,
)
from cell_core.errors import ConfigurationError

MODELS = {
    "robots": RobotConfig,
    "cells": CellConfig,
    "guns": GunConfig,
    "tools": GrindToolConfig,
    "cameras": CameraConfig,
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
            load_named(GunConfig, "guns", recipe.gun)
        else:
            load_named(GrindToolConfig, "tools", recipe.tool)


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
