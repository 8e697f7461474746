"""Coats of one layer: where their lines lie, what each leaves, and what the last one mends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spray_parts import GUN, dome, recipe

from cell_core.errors import ConfigurationError
from cell_core.operator.coverage import build_coverage
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.plan import Plan
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from spray_planner import plan_spray
from spray_planner.ripple import OWN_LEAST, film_between, offset_spacing_m, stripe_of

SINGLE = recipe(coats=2, flash_off_s=120.0)
CROSS = recipe(coats=3, strategy="cross", flash_off_s=120.0)
OFFSET = recipe(coats=2, strategy="offset", flash_off_s=120.0)


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {r.strategy: plan_spray(dome(), r, GUN, table=False) for r in (SINGLE, CROSS, OFFSET)}


def coats_of(plan: Plan) -> list[list[Stroke]]:
    strokes = plan.toolpath.strokes
    return [[s for s in strokes if s.coat == k] for k in sorted({s.coat for s in strokes})]


def heading(strokes: list[Stroke]) -> Array:
    """Return the axis (3,) that strokes run along, whichever way."""
    travel = np.concatenate([s.travel for s in strokes])
    return np.linalg.eigh(travel.T @ travel)[1][:, -1]


@pytest.mark.parametrize(("name", "n"), [("single", 2), ("cross", 3), ("offset", 2)])
def test_coats_follow_each_other_with_one_wait_before_each(plans: dict[str, Plan], name: str, n: int) -> None:
    strokes = plans[name].toolpath.strokes
    assert [s.coat for s in strokes] == sorted(s.coat for s in strokes)
    coats = coats_of(plans[name])
    assert len(coats) == n == plans[name].figures["n_coats"]
    waits = [[s.wait_before_s for s in coat] for coat in coats]
    assert not any(waits[0])
    for coat in waits[1:]:
        assert coat[0] == 120.0 and not any(coat[1:])
    assert plans[name].figures["rest_time_s"] == 120.0 * (n - 1)


@pytest.mark.parametrize("name", ["single", "cross", "offset"])
def test_films_of_the_coats_add_up_to_the_target(plans: dict[str, Plan], name: str) -> None:
    plan = plans[name]
    rows = plan.figures["coats"]
    assert sum(row["mean_m"] for row in rows) == pytest.approx(plan.figures["mean_m"], rel=1e-6)
    assert plan.figures["mean_m"] == pytest.approx(50e-6, rel=0.01)
    for row in rows:
        assert row["mean_m"] == pytest.approx(50e-6 / len(rows), rel=0.03)
        assert row["p01_m"] > 0.5 * 50e-6 / len(rows)
    surface = dome()
    film = build_coverage(surface, plan.toolpath.strokes, EllipticDoubleBeta(GUN.model_copy(
        update={"flow_m3_per_s": 2.5e-6}))).predict(plan.toolpath.strokes)  # fmt: skip
    assert np.average(film, weights=surface.vertex_areas_m2) == pytest.approx(50e-6, rel=0.01)


def test_single_coats_run_along_the_same_lines(plans: dict[str, Plan]) -> None:
    first, second = coats_of(plans["single"])
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.position_m, b.position_m)


def test_cross_coats_turn_by_a_right_angle_and_back(plans: dict[str, Plan]) -> None:
    first, second, third = (heading(c) for c in coats_of(plans["cross"]))
    assert abs(first @ second) < 0.1
    assert abs(first @ third) > 0.99


def test_a_later_coat_mends_what_the_first_left(plans: dict[str, Plan]) -> None:
    figures = plans["cross"].figures
    assert figures["cv"] < 0.6 * figures["coats"][0]["cv"]


def test_offset_lines_lie_half_way_between_those_of_the_first_coat(plans: dict[str, Plan]) -> None:
    first, second = coats_of(plans["offset"])
    along = heading(first)
    across = unit(np.cross(along, [0.0, 0.0, 1.0]))
    places = [np.sort([np.median((s.position_m + 0.2 * s.tool_axis) @ across) for s in c]) for c in (first, second)]
    spacing = plans["offset"].figures["spacing_m"]
    inner = [p for p in places[1] if places[0][0] < p < places[0][-1]]
    assert len(inner) >= 3
    for place in inner:
        offset = np.abs(places[0] - place).min() / spacing
        assert 0.35 < offset < 0.6


@settings(max_examples=40, deadline=None)
@given(
    beta_1=st.floats(1.2, 4.0), beta_2=st.floats(1.2, 4.0), coats=st.integers(2, 4), standoff=st.floats(0.15, 0.28)
)
def test_offset_spacing_leaves_no_bare_stripes_and_little_ripple(
    beta_1: float, beta_2: float, coats: int, standoff: float
) -> None:
    gun = GUN.model_copy(update={"beta_1": beta_1, "beta_2": beta_2})
    scale = standoff / gun.reference_standoff_m
    stripe = stripe_of(EllipticDoubleBeta(gun), standoff, gun.a_m * scale, gun.b_m * scale)
    spacing = offset_spacing_m(*stripe, coats, 0.0, 10.0)
    assert film_between(*stripe, spacing).min() >= OWN_LEAST - 0.05
    together, alone = np.std(film_between(*stripe, spacing / coats)), np.std(film_between(*stripe, spacing))
    assert together < 0.02
    assert together < 0.5 * alone
    assert offset_spacing_m(*stripe, coats, 2.0, 3.0) == 2.0


def test_a_stripe_is_the_profile_known_in_closed_form() -> None:
    across, stripe = stripe_of(EllipticDoubleBeta(GUN), 0.2, GUN.a_m, GUN.b_m)
    known = np.maximum(1.0 - (across / GUN.a_m) ** 2, 0.0) ** 1.5
    np.testing.assert_allclose(stripe / stripe.max(), known, atol=2e-3)
    # the fundamental vanishes at 2 pi a over a zero of J2
    assert np.std(film_between(across, stripe, EllipticDoubleBeta(GUN).spacing_m())) < 0.01


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_thickness_m": 300e-6}, ["needs 0.0261 m/s", "0.08..1.0 m/s", "coats: 4 or more"]),
        ({"target_thickness_m": 300e-6, "coats": 2}, ["2 coats of 0.00015 m", "needs 0.0522 m/s", "coats: 4 or more"]),
        ({"target_thickness_m": 5e-6}, ["needs 1.5", "flow_m3_per_s of at most 1.59e-06"]),
        ({"coats": 9}, ["in 9 coats", "needs 1.4", "coats: 6 or less"]),
        ({"standoff_m": 0.5}, ["standoff_m 0.5 m outside 0.12..0.3 m"]),
        ({"flow_m3_per_s": 9e-6}, ["flow_m3_per_s 9e-06 exceeds 5e-06"]),
    ],
)
def test_films_beyond_the_gun_are_refused_with_what_would_help(changes: dict, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        plan_spray(dome(n=5), recipe(**changes), GUN)
    for word in words:
        assert word in str(refused.value)
