"""Guns of every kind plan a small shell, named by the recipe."""

import json

import numpy as np
import pytest
import yaml

from cell_core.config import config_root
from cell_core.surface import Surface
from cell_core.surface_io import write_ply
from cell_core.toolpath import ToolPath
from cell_operator.cli import main

FLOW = {"hvlp_240": 2.4e-6, "round_air_120": 1.5e-6, "bell_300": 3e-6, "lopsided_fan_220": 2.4e-6}
SPIN = {"hvlp_240": "fixed", "round_air_120": "free", "bell_300": "free", "lopsided_fan_220": "exact"}


def shell() -> Surface:
    x, y = np.linspace(-0.2, 0.2, 41), np.linspace(-0.15, 0.15, 31)
    X, Y = np.meshgrid(x, y, indexing="ij")
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    Z = 0.3 - 0.5 * X * X + 0.3 * Y * Y
    return Surface(
        vertices_m=np.column_stack([X.ravel(), Y.ravel(), Z.ravel()]), triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]]
    )


def test_all_shipped_guns_are_tried():
    assert set(FLOW) == {p.stem for p in (config_root() / "guns").glob("*.yaml")}


@pytest.mark.parametrize("gun", FLOW)
def test_a_recipe_names_its_gun(tmp_path, gun):
    write_ply(tmp_path / "shell.ply", shell())
    recipe = yaml.safe_load((config_root() / "recipes" / "spray_50um.yaml").read_text())
    recipe.update(name="try", gun=gun, flow_m3_per_s=FLOW[gun], target_thickness_m=40e-6, refine=False)
    (tmp_path / "try.yaml").write_text(yaml.safe_dump(recipe))
    out = tmp_path / "plan"
    words = ["--surface", str(tmp_path / "shell.ply"), "--recipe", str(tmp_path / "try.yaml"), "--out", str(out)]
    assert main(["plan", "spray", *words, "--free-hanging"]) == 0
    path = ToolPath.read(out / "toolpath.json")
    assert path.tool["name"] == gun
    assert {s.freedom.spin for s in path.strokes} == {SPIN[gun]}
    figures = json.loads((out / "figures.json").read_text())
    assert figures["mean_m"] == pytest.approx(40e-6, rel=0.04)
    assert figures["cv"] < 0.05
    assert figures["coverage_area_fraction"] > 0.98
