"""Edges that one tool cannot reach go to the next."""

import numpy as np
import pytest
import trimesh

from cell_core.config import GrindRecipe, GrindToolConfig, load_named, load_recipe
from cell_core.surface import Surface
from grinding_planner.choice import plan_with_best_tool
from grinding_planner.edge_plan import edges_of
from grinding_planner.edge_tools import with_further_tools
from grinding_planner.planner import plan_grind

FOOT_RADIUS_M = 0.00335


@pytest.fixture(scope="module")
def recipe() -> GrindRecipe:
    found = load_recipe("grind_edges")
    assert isinstance(found, GrindRecipe)
    return found.model_copy(update={"tool": "auto", "tools": ("burr_3", "point_2")})


@pytest.fixture(scope="module")
def tools() -> list[GrindToolConfig]:
    return [load_named(GrindToolConfig, "tools", name) for name in ("burr_3", "point_2")]


@pytest.fixture(scope="module")
def counterbored() -> Surface:
    """A stub with a counterbore, at whose foot a burr's shank has no room."""
    blank = trimesh.creation.cylinder(radius=0.012, height=0.02, sections=64)
    bore = trimesh.creation.cylinder(radius=FOOT_RADIUS_M, height=0.03, sections=32)
    wide = trimesh.creation.cylinder(radius=0.0055, height=0.0064, sections=48)
    wide.apply_translation((0.0, 0.0, 0.0068 + 1e-6))
    mesh = trimesh.boolean.difference([blank, bore, wide], engine="manifold")
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))


def test_what_the_first_tool_leaves_is_worked_by_the_second_alone(counterbored, recipe, tools):
    burr, point = tools
    own = [recipe.model_copy(update={"tool": tool.name, "tools": ()}) for tool in tools]
    edges = edges_of(counterbored, recipe, tools)
    first = plan_grind(counterbored, own[0], burr, edges=edges)
    foot = 2.0 * np.pi * FOOT_RADIUS_M
    assert first.figures["edge_refused_body_blocked_m"] == pytest.approx(foot, rel=0.02)
    both = with_further_tools(first, edges, counterbored, [(own[1], point)])
    assert both.toolpath is first.toolpath
    assert [path.tool["name"] for path in both.further] == ["point_2"]
    assert both.figures["further_tools"][0]["worked_m"] == pytest.approx(foot, rel=0.02)
    assert both.figures["edge_planned_length_m"] == pytest.approx(both.figures["edge_length_m"])
    assert both.figures["n_strokes"] == len(first.toolpath.strokes) + len(both.further[0].strokes)
    points = np.concatenate([stroke.position_m for stroke in both.further[0].strokes])
    assert np.hypot(*points[:, :2].T) == pytest.approx(FOOT_RADIUS_M, rel=0.01)
    assert both.edges is not None
    assert both.edges.tools == ("burr_3", "point_2")
    np.testing.assert_array_equal(both.edges.tool >= 0, both.edges.reason < 0)
    assert both.figures["chamfer_in_tolerance_of_all_length_fraction"] > 0.95


def test_no_tool_is_changed_to_for_nothing(recipe, tools):
    mesh = trimesh.creation.box((0.03, 0.02, 0.02))
    box = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))
    plan = plan_with_best_tool(box, recipe, tools)
    assert plan.further == ()
    assert "further_tools" not in plan.figures
    assert {entry["tool"] for entry in plan.figures["tool_choice"]} == {"burr_3", "point_2"}
