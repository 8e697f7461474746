"""Strategy edge: the model of the chamfer against closed forms, and plans on small bodies."""

import numpy as np
import pytest
import trimesh

from cell_core.config import BurrTool, GrindRecipe, GrindToolConfig, PadTool, load_named, load_recipe
from cell_core.config.masks import BoxMask
from cell_core.errors import CoverageError, InputRefusedError, LimitError
from cell_core.regions import depth_inside
from cell_core.surface import Surface
from grinding_planner.chamfer import (
    Passage,
    across_m,
    contact_reach_m,
    face_on_edge,
    feed_for_area,
    march,
    new_face_width_m,
    section_area_m2,
    section_depth_m,
)
from grinding_planner.edge_speeds import Ride, ride_speeds
from grinding_planner.planner import plan_grind

WIDTH_M = 0.5e-3


def box(size_m: tuple[float, float, float] = (0.04, 0.03, 0.02)) -> Surface:
    mesh = trimesh.creation.box(size_m)
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))


@pytest.fixture(scope="module")
def burr() -> BurrTool:
    tool = load_named(GrindToolConfig, "tools", "burr_3")
    assert isinstance(tool, BurrTool)
    return tool


@pytest.fixture(scope="module")
def recipe() -> GrindRecipe:
    found = load_recipe("grind_edges")
    assert isinstance(found, GrindRecipe)
    return found


@pytest.fixture(scope="module")
def hard_disc() -> PadTool:
    disc = load_named(GrindToolConfig, "tools", "disc_50")
    assert isinstance(disc, PadTool)
    changes = {"stiffness_pa_per_m": 2e10, "preston_per_pa": 1e-10, "force_n": {"low": 2.0, "high": 60.0}}
    return PadTool(**{**disc.model_dump(), **changes})


def straight(length_m: float, opening_rad: float = np.pi / 2, rounding_m: float = 0.0, *, closed: bool = False) -> Ride:
    n = round(length_m / 0.7e-3) + 1
    one = np.ones(n)
    return Ride(
        arc_m=np.linspace(0.0, length_m, n),
        opening_rad=opening_rad * one,
        rounding_m=rounding_m * one,
        curvature_per_m=0.0 * one,
        closed=closed,
        before_m=0.0 if closed else 0.25e-3,
        behind_m=0.0 if closed else 0.25e-3,
        name="edge",
    )


@pytest.mark.parametrize("opening_deg", [60.0, 90.0, 135.0])
def test_the_cross_section_of_a_sharp_edge_is_the_textbook_triangle(opening_deg):
    opening = np.array([np.deg2rad(opening_deg)])
    area = section_area_m2(WIDTH_M, opening, np.zeros(1))
    assert area == pytest.approx(WIDTH_M**2 / (4.0 * np.tan(opening / 2.0)), rel=1e-3)


def test_a_rounded_edge_is_a_circle_then_its_faces_and_has_less_to_lose():
    radius, half = 1e-3, np.pi / 4
    foot = radius * np.cos(half)
    assert section_depth_m(0.5 * foot, 2 * half, radius) == pytest.approx(radius - np.sqrt(radius**2 - 0.25 * foot**2))
    far = np.array([1.0e-3, 1.5e-3])
    assert np.diff(section_depth_m(far, 2 * half, radius)) == pytest.approx(0.5e-3 / np.tan(half))
    assert section_area_m2(WIDTH_M, np.array([2 * half]), np.array([radius]))[0] == pytest.approx(
        WIDTH_M**3 / (12.0 * radius), rel=0.03
    )


def test_a_steady_pass_removes_what_prestons_law_says(burr):
    face = face_on_edge(burr, 0.4e-3)
    n, feed, force = 400, 0.05, 3.0
    y = across_m(WIDTH_M)
    before = np.broadcast_to(section_depth_m(y, np.pi / 2, 0.0), (n, len(y)))
    passage = Passage(
        depth_m=before,
        closed=False,
        curvature_per_m=np.zeros(n),
        centre=np.arange(n),
        force_n=np.full(n, force),
        feed_m_per_s=np.full(n, feed),
    )
    after = march([passage], face, WIDTH_M)[0]
    area = 2.0 * (after - before).sum(axis=1) * (y[1] - y[0])
    speed = burr.rpm * 2 * np.pi / 60 * burr.radius_m + feed
    assert area[150:250] == pytest.approx(burr.preston_per_pa * force * speed / feed, rel=0.01)
    # stiff: a flat, as wide as that area asks for
    width = new_face_width_m(before, after, WIDTH_M)
    assert width[150:250] == pytest.approx(np.sqrt(4.0 * area[150:250]), rel=0.03)


def test_a_flat_soft_pad_leaves_the_closed_form_wedge(hard_disc):
    # steady: every section under a flat face sees one advance d; (d - depth) decays by exp(-theta) in passing
    pad = PadTool(**{**hard_disc.model_dump(), "motion": "orbital", "orbit_radius_m": 2e-3, "stiffness_pa_per_m": 2e9})
    face = face_on_edge(pad, 0.4e-3)
    n, feed, force = 400, 0.05, 1.0
    y = across_m(1e-3)
    before = np.broadcast_to(section_depth_m(y, np.pi / 2, 0.0), (n, len(y)))
    passage = Passage(
        depth_m=before,
        closed=False,
        curvature_per_m=np.zeros(n),
        centre=np.arange(n),
        force_n=np.full(n, force),
        feed_m_per_s=np.full(n, feed),
    )
    after = march([passage], face, 1e-3)[0][n // 2]
    chord = face.step_m * len(face.x_m)
    speed = float(face.speed_m_per_s(np.array([feed])).mean())
    theta = pad.preston_per_pa * pad.stiffness_pa_per_m * speed * chord / feed
    advance = np.sqrt(force * theta / (pad.stiffness_pa_per_m * chord * (1.0 - np.exp(-theta))))
    wedge = np.where(y < advance, y + (advance - y) * (1.0 - np.exp(-theta)), y)
    assert after == pytest.approx(wedge, abs=0.02 * advance)


def test_speeds_leave_the_width_all_along_open_and_closed_edges(burr, recipe):
    rides = [
        straight(0.05),
        straight(0.006),
        straight(0.03, closed=True),
        straight(0.2, closed=True),
        straight(0.02, np.deg2rad(130.0)),
        straight(0.02, rounding_m=0.8e-3),
    ]
    for ride, found in zip(rides, ride_speeds(rides, burr, recipe), strict=True):
        assert len(found.speed_m_per_s) == 1
        width = found.at(ride.arc_m)[0]
        assert width == pytest.approx(WIDTH_M, rel=0.2)
        assert np.median(width) == pytest.approx(WIDTH_M, rel=0.02)
        speed = found.speed_m_per_s[0]
        assert burr.speed_m_per_s.low <= speed.min() <= speed.max() <= burr.speed_m_per_s.high
        change = np.abs(np.diff(speed**2)) / (2.0 * np.diff(ride.arc_m))
        assert change.max() <= burr.acceleration_m_per_s2 * 1.001


def test_more_passes_share_the_chamfer_where_one_would_be_too_slow_or_too_deep(burr, recipe):
    deep = burr.model_copy(update={"depth_per_pass_max_m": 0.15e-3})
    ride = straight(0.03)
    found = ride_speeds([ride], deep, recipe)[0]
    assert len(found.speed_m_per_s) == 3
    width = found.at(ride.arc_m)[0]
    assert np.median(width) == pytest.approx(WIDTH_M, rel=0.03)
    assert width == pytest.approx(WIDTH_M, rel=0.2)
    slow = burr.model_copy(update={"preston_per_pa": burr.preston_per_pa / 2000.0})
    with pytest.raises(LimitError, match=r"passes of tool burr_3 .* at most 20"):
        ride_speeds([straight(0.03)], slow, recipe)


def test_every_edge_of_a_box_is_ridden_with_the_shank_in_the_air(burr, recipe):
    plan = plan_grind(box(), recipe, burr, on_table=True)
    strokes = plan.toolpath.strokes
    assert len(strokes) == 12
    assert {s.kind for s in strokes} == {"edge"}
    assert plan.figures["edge_planned_length_m"] == pytest.approx(0.36)
    assert plan.figures["chamfer_width_mean_m"] == pytest.approx(WIDTH_M, rel=0.02)
    assert plan.figures["chamfer_in_tolerance_length_fraction"] > 0.99
    half = np.array([0.02, 0.015, 0.01])
    for stroke in strokes:
        # the tool axis bisects two faces and points inwards
        assert np.sort(np.abs(stroke.tool_axis), axis=1) == pytest.approx(
            np.tile([0.0, 0.5**0.5, 0.5**0.5], (len(stroke), 1)), abs=1e-6
        )
        assert np.all(np.einsum("ij,ij->i", stroke.tool_axis, stroke.position_m) < 0.0)
        # the shank leaves along +y: its end is outside the box and not below the part's edge by much
        end = stroke.position_m + 0.02 * stroke.frames[:, :3, 1] - burr.radius_m * stroke.tool_axis
        assert np.all(np.any(np.abs(end) > half, axis=1))
        assert np.all(stroke.frames[:, 2, 1] > -0.31)
    assert plan.fields["predicted_change_m"].max() > 0.0


def test_a_blind_square_pocket_keeps_the_burr_out_of_its_corners_and_says_so(burr, recipe):
    block = trimesh.creation.box((0.05, 0.05, 0.02))
    hole = trimesh.creation.box((0.02, 0.02, 0.01), transform=trimesh.transformations.translation_matrix((0, 0, 0.006)))
    part = trimesh.boolean.difference([block, hole], engine="manifold")
    surface = Surface(vertices_m=np.asarray(part.vertices), triangles=np.asarray(part.faces, np.int64))
    plan = plan_grind(surface, recipe, burr)
    assert plan.figures["edge_refused_body_blocked_m"] > 0.0
    told = sum(v for k, v in plan.figures.items() if k.startswith("edge_refused_"))
    assert plan.figures["edge_planned_length_m"] + told == pytest.approx(plan.figures["edge_length_m"])


def test_what_is_kept_out_is_not_ridden(burr, recipe):
    region = BoxMask(shape="box", centre_m=(0.0, -0.015, 0.01), size_m=(0.02, 0.004, 0.004))
    plan = plan_grind(box(), recipe.model_copy(update={"keep_out": (region,)}), burr)
    # the face lies on the edge before and behind the tool: it stops short of the region
    reach = contact_reach_m(burr, 0.5 * WIDTH_M)
    points = np.concatenate([s.position_m for s in plan.toolpath.strokes])
    assert not np.any(depth_inside(region, points) > -0.95 * reach)
    assert 0.02 < plan.figures["edge_refused_keep_out_m"] < 0.02 + 2.0 * reach + 0.7e-3
    assert plan.edges is not None
    inside = depth_inside(region, plan.edges.position_m) > 0.0
    assert inside.any()
    assert np.all(plan.edges.width_m[inside] == 0.0)


def test_a_bore_narrower_than_the_burr_is_refused_with_its_reason(burr, recipe):
    mesh = trimesh.creation.annulus(r_min=0.0012, r_max=0.02, height=0.02, sections=64)
    tube = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))
    plan = plan_grind(tube, recipe, burr.model_copy(update={"radius_m": 0.003}))
    assert plan.figures["edge_refused_too_curved_m"] == pytest.approx(2.0 * 2.0 * np.pi * 0.0012, rel=0.05)
    points = np.concatenate([s.position_m for s in plan.toolpath.strokes])
    assert np.linalg.norm(points[:, :2], axis=1).min() > 0.019


def test_a_stiff_disc_breaks_the_edges_of_a_box_too(hard_disc, recipe):
    plan = plan_grind(box((0.12, 0.1, 0.08)), recipe.model_copy(update={"force_n": 6.0}), hard_disc)
    assert plan.figures["edge_planned_length_m"] > 0.6
    assert plan.figures["chamfer_width_mean_m"] == pytest.approx(WIDTH_M, rel=0.05)
    assert plan.figures["chamfer_in_tolerance_length_fraction"] > 0.9


def test_what_cannot_be_is_refused_clearly(burr, recipe, orbital):
    with pytest.raises(LimitError, match="force_too_high"):
        plan_grind(box(), recipe.model_copy(update={"force_n": 20.0}), orbital)
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.03)
    with pytest.raises(CoverageError, match="none turns over by more than 30 degrees"):
        plan_grind(
            Surface(vertices_m=np.asarray(ball.vertices), triangles=np.asarray(ball.faces, np.int64)), recipe, burr
        )
    with pytest.raises(InputRefusedError, match="kind burr cannot be planned with strategy area"):
        plan_grind(box(), recipe.model_copy(update={"strategy": "area"}), burr)


def test_feed_takes_the_feeds_own_share_of_the_speed_into_account(burr):
    feed = feed_for_area(burr, 3.0, 0.0625e-6)
    speed = burr.rpm * 2 * np.pi / 60 * burr.radius_m + feed
    assert burr.preston_per_pa * 3.0 * speed / feed == pytest.approx(0.0625e-6)


def test_only_a_part_that_lies_on_a_table_keeps_what_is_reached_from_below(burr, recipe):
    mesh = trimesh.creation.annulus(r_min=0.006, r_max=0.02, height=0.02, sections=64)
    tube = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))
    held, lying = (plan_grind(tube, recipe, burr, on_table=table) for table in (False, True))
    assert held.figures["edge_planned_length_m"] == pytest.approx(held.figures["edge_length_m"])
    assert lying.figures["edge_refused_faces_down_m"] == pytest.approx(2.0 * np.pi * 0.006, rel=0.01)
    lowest = [s.position_m[:, 2].max() < 0.0 and np.hypot(*s.position_m[0, :2]) < 0.01 for s in held.toolpath.strokes]
    assert sum(lowest) == 1
