from pathlib import Path

import numpy as np
import pytest
from trimesh.creation import box

from cell_core.config import GunConfig, Interval, SprayRecipe
from cell_core.errors import ConfigurationError, CoverageError
from cell_core.operator.coverage import build_coverage
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.plan import Plan
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.surface import Surface
from cell_core.surface_io import load_surface
from spray_planner import plan_spray
from spray_planner.clearance import PartView, Surroundings
from spray_planner.service import find_service

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GUN = GunConfig(
    format="grind_spray_cell/gun", version=1, name="test", kind="elliptic_double_beta", a_m=0.125, b_m=0.035,
    beta_1=2.0, beta_2=2.0, reference_standoff_m=0.2, flow_m3_per_s=5e-6, solids_volume_fraction=0.45,
    transfer_efficiency=0.65, on_delay_s=0.03, off_delay_s=0.03, standoff_m=Interval(low=0.12, high=0.3),
    speed_m_per_s=Interval(low=0.08, high=1.0), acceleration_m_per_s2=2.0, tilt_max_rad=0.35, incidence_max_rad=1.047,
)
RECIPE = SprayRecipe(
    format="grind_spray_cell/recipe", version=1, process="spray", name="test", gun="test", target_thickness_m=50e-6,
    standoff_m=0.2,
)


def shell(n=41) -> Surface:
    g = np.linspace(-0.5, 0.5, n)
    X, Y = np.meshgrid(0.5 * g, 0.6 * g, indexing="ij")
    vertices = np.stack([X, Y, 0.2 - 0.6 * X**2 - 0.3 * Y**2], axis=-1).reshape(-1, 3)
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


@pytest.fixture(scope="module")
def planned() -> tuple[Surface, Plan]:
    surface = shell()
    return surface, plan_spray(surface, RECIPE, GUN, surface_path="shell.ply")


def test_a_dome_is_coated_evenly_and_wholly(planned):
    _, plan = planned
    assert plan.figures["cv"] < 0.015
    assert plan.figures["mean_m"] == pytest.approx(50e-6, rel=0.01)
    assert plan.figures["coverage_area_fraction"] > 0.999
    assert plan.fields["serviceable"].min() == 1.0
    assert plan.toolpath.unreached["area_fraction"] == 0.0


def test_the_prediction_is_what_the_written_strokes_leave(planned, tmp_path):
    surface, plan = planned
    plan.write(tmp_path)
    read = Plan.read(tmp_path)
    film = build_coverage(surface, read.toolpath.strokes, EllipticDoubleBeta(GUN)).predict(read.toolpath.strokes)
    w = surface.vertex_areas_m2
    assert np.average(film, weights=w) == pytest.approx(plan.figures["mean_m"], rel=0.01)
    assert np.abs(film - read.fields["predicted_change_m"]).max() < 0.12 * 50e-6


def test_strokes_obey_the_gun(planned):
    surface, plan = planned
    caster = RayCaster(surface)
    for stroke in plan.toolpath.strokes:
        v = stroke.speed_m_per_s
        assert v.min() >= 0.08 - 1e-9 and v.max() <= 1.0 + 1e-9
        assert np.all(np.abs(np.diff(v**2)) <= 2.0 * 2.0 * stroke.step_lengths_m * (1 + 1e-6))
        assert stroke.freedom.spin == "fixed"
        # border strokes come as near as the gun may; the nearest point lies aside of where it aims
        assert caster.distance(stroke.position_m).min() > GUN.standoff_m.low - 0.005
        assert np.all(np.einsum("ij,ij->i", stroke.tool_axis[1:], stroke.tool_axis[:-1]) > np.cos(0.1))
        assert np.abs(np.einsum("ij,ij->i", stroke.tool_axis, stroke.travel)).max() < 1e-6
        assert stroke.process_value == pytest.approx(GUN.flow_m3_per_s)


def test_refinement_evens_the_film_and_keeps_motion_inside_the_standoff(planned):
    surface, plan = planned
    plain = plan_spray(surface, RECIPE.model_copy(update={"refine": False}), GUN)
    assert plain.figures["refinement"] == []
    assert plan.figures["cv"] < 0.8 * plain.figures["cv"]
    assert len(plan.figures["refinement"]) == 1
    caster, standoffs = RayCaster(surface), []
    for stroke in plan.toolpath.strokes:
        distance, triangle = caster.first_hit(stroke.position_m, stroke.tool_axis)
        low, high = stroke.freedom.standoff_m
        assert -0.01 <= low <= 0.0 <= high <= 0.01
        # strokes beyond the border point past the shell
        standoffs += [d for d in (distance[triangle >= 0] + low, distance[triangle >= 0] + high) if len(d)]
    standoffs = np.concatenate(standoffs)
    assert len(standoffs) > 100
    assert standoffs.min() > 0.12 - 0.005 and standoffs.max() < 0.3 + 0.005


def test_long_plans_are_refined_in_groups(planned, monkeypatch):
    surface, whole = planned
    monkeypatch.setattr("spray_planner.grouped.GROUP_LENGTH_M", 0.6 * whole.figures["length_m"])
    grouped = plan_spray(surface, RECIPE, GUN)
    assert len(grouped.figures["refinement"]) == 2
    assert sum(step["n_strokes"] for step in grouped.figures["refinement"]) == grouped.figures["n_strokes"]
    assert grouped.figures["cv"] < 1.3 * whole.figures["cv"]


def test_paint_balances(planned):
    surface, plan = planned
    on_time = sum(float(s.dwell_s.sum()) for s in plan.toolpath.strokes)
    sprayed = 5e-6 * 0.45 * 0.65 * on_time
    landed = float(surface.vertex_areas_m2 @ plan.fields["predicted_change_m"])
    assert landed / sprayed == pytest.approx(1.0 - plan.figures["overspray_fraction"], abs=0.02)


def test_tool_block_is_enough_to_recompute(planned):
    tool = planned[1].toolpath.tool
    for key in ("a_m", "b_m", "beta_1", "beta_2", "reference_standoff_m", "flow_m3_per_s", "solids_volume_fraction",
                "transfer_efficiency", "on_delay_s", "off_delay_s"):
        assert tool[key] == getattr(GUN, key)


def test_a_box_on_the_table_is_coated_on_top_and_sides_from_above_the_floor():
    mesh = box(extents=(0.3, 0.35, 0.2))
    surface = Surface(vertices_m=mesh.vertices + [0.0, 0.0, 0.1], triangles=mesh.faces)
    plan = plan_spray(surface, RECIPE, GUN)
    under = surface.triangle_normals[:, 2] < -0.9
    share = surface.triangle_areas_m2[under].sum() / surface.area_m2
    assert plan.toolpath.unreached["reasons"]["gun would stand below the part"] == pytest.approx(share, abs=0.01)
    assert plan.figures["coverage_area_fraction"] > 0.98
    caster = RayCaster(surface)
    for stroke in plan.toolpath.strokes:
        assert stroke.position_m[:, 2].min() > 0.069
        assert stroke.tool_axis[:, 2].max() < 0.02
        assert caster.distance(stroke.position_m).min() > 0.04


def test_hidden_points_are_not_serviceable():
    mesh = box(extents=(0.2, 0.2, 0.1))
    inner = Surface(vertices_m=mesh.vertices * 0.8, triangles=mesh.faces[:, ::-1])
    n = len(mesh.vertices)
    hollow = Surface(
        vertices_m=np.r_[mesh.vertices, inner.vertices_m], triangles=np.r_[mesh.faces, inner.triangles + n]
    )
    samples = sample_surface(hollow, 0.008)
    part = PartView(caster=RayCaster(hollow), tree=samples.tree, triangle_normals=hollow.triangle_normals)
    service = find_service(
        samples, part, standoff_m=0.2, incidence_max_rad=1.0, surroundings=Surroundings(floor_z_m=None)
    )
    inside = np.abs(samples.points_m / [0.1, 0.1, 0.05]).max(axis=1) < 0.9
    assert inside.sum() > 100
    assert not service.mask[inside].any()
    assert service.mask[~inside].mean() > 0.99
    assert service.reasons["hidden from every gun pose"][inside].all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"standoff_m": 0.5}, "standoff_m 0.5 m outside 0.12..0.3 m"),
        ({"target_thickness_m": 0.0019}, "needs 0.0082 m/s"),
        ({"target_thickness_m": 1e-6}, "allows 0.08..1.0 m/s"),
    ],
)
def test_recipes_beyond_the_gun_are_refused(change, words):
    with pytest.raises(ConfigurationError, match=words):
        plan_spray(shell(5), RECIPE.model_copy(update=change), GUN)


def test_a_surface_that_faces_down_is_refused_with_the_reason():
    up = shell(9)
    with pytest.raises(CoverageError, match="below the part"):
        plan_spray(Surface(vertices_m=up.vertices_m, triangles=up.triangles[:, ::-1]), RECIPE, GUN)


@pytest.mark.skipif(not (DATA / "noether_raw_mesh.ply").is_file(), reason="shared data not there")
def test_a_real_bumper_scan():
    surface, _ = load_surface(DATA / "noether_raw_mesh.ply")
    plan = plan_spray(surface, RECIPE, GUN)
    assert plan.figures["cv"] <= 0.03
    assert plan.figures["coverage_area_fraction"] >= 0.99
