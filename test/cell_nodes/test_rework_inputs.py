"""What one cycle leaves to the next, without ROS."""

from types import SimpleNamespace

import numpy as np
import pytest
from node_kit import dome, make_job

from cell_core.config import find_config, load_recipe
from cell_core.files import write_json
from cell_core.surface_io import write_ply
from cell_core.transforms import transform_from_xyz_rpy
from cell_nodes.identified import Identified
from cell_nodes.rework_inputs import read_energy_j, read_target, recipe_text, write_rework

SHIFT = transform_from_xyz_rpy((0.001, 0.0, 0.0005), (0.0, 0.0, 0.0))


@pytest.fixture
def ground(tmp_path):
    """A grinding job whose first cycle was scanned again, the part shifted."""
    job = make_job(tmp_path / "job", dome(), process="grind", recipe="grind_map")
    scan = dome()
    write_ply(job.step("scan") / "surface.ply", scan)
    write_ply(job.step("rescan") / "surface.ply", dome(n=31).transformed(SHIFT, "part"))
    write_json(job.step("plan") / "figures.json", {"disc_energy_j": 321.0})
    fit = SimpleNamespace(T_before_after=np.linalg.inv(SHIFT))
    return job, scan, SimpleNamespace(fit=fit)


def test_every_shipped_recipe_comes_back_from_a_cycles_file(tmp_path):
    names = sorted(p.stem for p in find_config("recipes", "grind_30um").parent.glob("*.yaml"))
    assert len(names) > 5
    for name in names:
        recipe = load_recipe(name)
        recipe = recipe.layer(recipe.layers[0].name) if getattr(recipe, "layers", ()) else recipe
        (tmp_path / "recipe.yaml").write_text(recipe_text(recipe, 2))
        assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe, name


def test_the_target_is_laid_on_the_scan_of_the_next_cycle(ground):
    job, scan, measured = ground
    wanted = 1e-4 * (1.0 + scan.vertices_m[:, 0] / 0.15)
    assert write_rework(job, load_recipe("grind_map"), None, scan, wanted, measured, None)
    recipe_file = job.in_cycle(2).rework / "recipe.yaml"
    recipe, target = load_recipe(str(recipe_file)), read_target(recipe_file)
    assert (recipe.strategy, recipe.cycles_max, recipe.tool) == ("target", 1, "orbital_32")
    assert recipe.target_depth_m == pytest.approx(target.max())
    np.testing.assert_allclose(target, 1e-4 * (1.0 + dome(n=31).vertices_m[:, 0] / 0.15), atol=2e-6)
    assert read_energy_j(recipe_file) == 321.0
    assert read_target(find_config("recipes", "grind_map")) is None


def test_a_tool_that_has_changed_goes_with_it(ground):
    job, scan, measured = ground
    text = find_config("tools", "orbital_32").read_text().replace("name: orbital_32", "name: worn")
    found = Identified(document={}, tool_text=text, disc_energy_j=777.0)
    wanted = np.full(len(scan.vertices_m), 5e-5)
    assert write_rework(job, load_recipe("grind_map"), None, scan, wanted, measured, found)
    folder = job.in_cycle(2).rework
    assert load_recipe(str(folder / "recipe.yaml")).tool == "tool.yaml" and "name: worn" in (
        folder / "tool.yaml"
    ).read_text()
    assert read_energy_j(folder / "recipe.yaml") == 777.0


def test_nothing_wanted_leaves_nothing(ground):
    job, scan, measured = ground
    assert not write_rework(job, load_recipe("grind_map"), None, scan, np.zeros(len(scan.vertices_m)), measured, None)
    assert not (job.in_cycle(2).rework / "recipe.yaml").exists()


def test_a_film_is_wanted_on_the_scan_itself(tmp_path):
    job = make_job(tmp_path / "job", dome())
    scan = dome()
    write_ply(job.step("scan") / "surface.ply", scan)
    write_json(job.step("plan") / "figures.json", {})
    wanted = np.linspace(0.0, 3e-5, len(scan.vertices_m))
    recipe = load_recipe("spray_50um").model_copy(update={"cycles_max": 3})
    assert write_rework(job, recipe, None, scan, wanted, None, None)
    file = job.in_cycle(2).rework / "recipe.yaml"
    np.testing.assert_array_equal(read_target(file), wanted)
    assert load_recipe(str(file)).cycles_max == 2 and job.in_cycle(2).looked_at == job.path / "scan"
