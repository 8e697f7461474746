"""Least and most film: kept where speeds can, told where they cannot, and what limits a plan."""

import numpy as np
import pytest
from spray_parts import GUN, dome, recipe
from trimesh.creation import box

from cell_core.config import Interval
from cell_core.surface import Surface
from spray_planner import plan_spray


@pytest.mark.parametrize("coats", [{}, {"coats": 2, "strategy": "cross"}])
def test_bounds_are_kept_where_speeds_can_keep_them(coats: dict) -> None:
    free = plan_spray(dome(), recipe(**coats), GUN, table=False).figures
    low, high = 50e-6 - 0.8 * (50e-6 - free["min_m"]), 50e-6 + 0.8 * (free["max_m"] - 50e-6)
    bounds = {"min_thickness_m": low, "max_thickness_m": high}
    kept = plan_spray(dome(), recipe(**bounds, **coats), GUN, table=False).figures
    assert free["min_m"] < low and free["max_m"] > high
    assert kept["min_m"] >= low and kept["max_m"] <= high
    assert kept["below_min_area_fraction"] == kept["above_max_area_fraction"] == 0.0
    assert kept["mean_m"] == pytest.approx(50e-6, rel=0.02)
    assert kept["min_thickness_m"] == low and kept["max_thickness_m"] == high


def test_a_bound_at_the_target_is_aimed_off() -> None:
    thin = plan_spray(dome(), recipe(max_thickness_m=50e-6), GUN, table=False).figures
    assert thin["max_m"] <= 50e-6
    assert 46e-6 < thin["mean_m"] < 50e-6


def test_what_cannot_be_kept_is_told_with_its_share_and_a_remedy() -> None:
    # a step of 150 mm: the foot of the wall gets paint of two sides, its top edge little
    mesh = box(extents=(0.4, 0.4, 0.15))
    surface = Surface(vertices_m=mesh.vertices + [0.0, 0.0, 0.075], triangles=mesh.faces)
    tight = recipe(tolerance_fraction=0.02, min_thickness_m=49e-6, max_thickness_m=51e-6)
    figures = plan_spray(surface, tight, GUN).figures
    reasons = {limit["reason"]: limit for limit in figures["limits"]}
    below = surface.triangle_normals[:, 2] < -0.9
    share = surface.triangle_areas_m2[below].sum() / surface.area_m2
    assert reasons["gun would stand below the part"]["area_fraction"] == pytest.approx(share, abs=0.02)
    assert reasons["gun would stand below the part"]["of"] == "surface"
    served = sum(v["area_fraction"] for v in reasons.values() if v["of"] == "serviceable")
    missed = max(figures["below_min_area_fraction"], 1.0 - figures["in_tolerance_area_fraction"])
    assert served >= missed - 0.01 > 0.0
    assert all(limit["change"] for limit in figures["limits"])


@pytest.mark.parametrize(
    ("speeds", "reason", "words"),
    [
        (Interval(low=0.15, high=0.165), "highest speed", "flow_m3_per_s"),
        (Interval(low=0.156, high=0.3), "lowest speed", "coats"),
    ],
)
def test_a_binding_speed_is_named(speeds: Interval, reason: str, words: str) -> None:
    gun = GUN.model_copy(update={"speed_m_per_s": speeds})
    # paint of all round piles up on a narrow dome's top and thins out on its flanks
    surface = dome(0.35, 0.35)
    steep = Surface(vertices_m=surface.vertices_m * [1.0, 1.0, 4.0], triangles=surface.triangles)
    figures = plan_spray(steep, recipe(tolerance_fraction=0.03), gun, table=False).figures
    limits = {limit["reason"]: limit for limit in figures["limits"]}
    assert words in limits[reason]["change"]
    assert limits[reason]["area_fraction"] > 0.005


def test_a_slot_too_deep_for_the_gun_is_told_apart_from_what_no_gun_sees() -> None:
    # a box without a lid, 80 mm wide inside: its floor is seen, but not with the gun's body clear of the walls
    wide, deep = 0.08, 0.30
    g = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    rings = [np.c_[0.5 * w * g, np.full(4, z)] for w, z in ((wide, 0.02), (wide, deep), (wide + 0.01, deep))]
    rings.append(np.c_[0.5 * (wide + 0.01) * g, np.zeros(4)])
    triangles = [[0, 1, 2], [0, 2, 3]]
    for a in (0, 4, 8):
        for i in range(4):
            j, k = (i + 1) % 4, a + 4
            triangles += [[a + i, k + j, a + j], [a + i, k + i, k + j]]
    cup = Surface(vertices_m=np.concatenate(rings), triangles=np.array(triangles))
    figures = plan_spray(cup, recipe(standoff_m=0.2), GUN, table=True).figures
    reasons = {limit["reason"] for limit in figures["limits"]}
    assert any(r.startswith("recess") or r == "no pose within the gun's incidence" for r in reasons)


def test_figures_say_where_the_paint_goes() -> None:
    paint = recipe(voc_kg_per_m3=400.0, density_kg_per_m3=1000.0)
    plan = plan_spray(dome(), paint, GUN, table=False)
    f = plan.figures
    on_s = sum(float(s.dwell_s.sum()) for s in plan.toolpath.strokes)
    assert f["process_time_s"] == pytest.approx(on_s)
    assert f["sprayed_volume_m3"] == pytest.approx(2.5e-6 * on_s)
    assert f["solids_volume_m3"] == pytest.approx(0.45 * f["sprayed_volume_m3"])
    assert f["film_volume_m3"] == pytest.approx(f["solids_volume_m3"] * f["paint_on_part_fraction"])
    assert f["paint_on_part_fraction"] == pytest.approx(0.65 * f["catch_fraction"])
    assert f["catch_fraction"] == pytest.approx(1.0 - f["overspray_fraction"])
    assert f["voc_mass_kg"] == pytest.approx(400.0 * f["sprayed_volume_m3"])
    assert f["paint_mass_kg"] == pytest.approx(1000.0 * f["sprayed_volume_m3"])
    bound = 50e-6 * f["serviceable_area_m2"] / (0.65 * 0.45 * 2.5e-6 * f["catch_fraction"])
    assert f["process_time_over_bound"] == pytest.approx(on_s / bound)
    assert f["min_m"] <= f["p01_m"] <= f["mean_m"] <= f["p99_m"] <= f["max_m"]
    assert f["n_triggers"] == f["n_strokes"] == len(plan.toolpath.strokes)
    assert f["estimated_total_time_s"] > f["duration_s"] > f["process_time_s"]


def test_border_bands_come_first_and_keep_paint_on_the_part() -> None:
    plain = plan_spray(dome(), recipe(), GUN, table=False).figures
    plan = plan_spray(dome(), recipe(border=True), GUN, table=False)
    kinds = [s.kind for s in plan.toolpath.strokes]
    n = plan.figures["n_border_strokes"]
    assert n == 4 and kinds == ["border"] * n + ["area"] * (len(kinds) - n)
    assert plan.figures["cv"] < 0.03
    assert plan.figures["catch_fraction"] > plain["catch_fraction"]
    for stroke in plan.toolpath.strokes[:n]:
        on = stroke.on
        aimed = stroke.position_m[on] + 0.2 * stroke.tool_axis[on]
        inside = np.abs(aimed[:, :2]) / [0.25, 0.3]
        assert 0.6 < np.median(inside.max(axis=1)) < 0.95
        # the gun leans inward: it stands farther out than it points
        out = np.argmax(np.median(inside, axis=0))
        assert np.median(np.abs(stroke.position_m[on][:, out]) - np.abs(aimed[:, out])) > 0.02


def test_a_closed_part_has_no_bands() -> None:
    mesh = box(extents=(0.4, 0.4, 0.15))
    surface = Surface(vertices_m=mesh.vertices, triangles=mesh.faces)
    figures = plan_spray(surface, recipe(border=True), GUN, table=False).figures
    assert figures["n_border_strokes"] == 0
    assert figures["coverage_area_fraction"] > 0.95
