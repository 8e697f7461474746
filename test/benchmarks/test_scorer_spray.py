import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import beta as beta_function

from cell_core.config import GunConfig, Interval
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import footprint_for
from cell_core.raycast import RayCaster
from cell_core.strokes.layout import stroke_from_poses
from cell_core.surface import Surface

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "scorer_spray.py"
SPEC = importlib.util.spec_from_file_location("scorer_spray", PATH)
assert SPEC is not None and SPEC.loader is not None
scorer = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scorer)

TOOL = {
    "a_m": 0.12, "b_m": 0.04, "beta_1": 2.5, "beta_2": 2.0, "reference_standoff_m": 0.2,
    "solids_volume_fraction": 0.45, "transfer_efficiency": 0.65, "flow_m3_per_s": 3e-6,
}
VOLUME_RATE = 0.45 * 0.65 * 3e-6
SPEED = 0.2


def rectangle(x_m, y_m, z_m=0.0, n=1) -> Surface:
    x, y = np.linspace(-0.5 * x_m, 0.5 * x_m, n + 1), np.linspace(-0.5 * y_m, 0.5 * y_m, n + 1)
    X, Y = np.meshgrid(x, y, indexing="ij")
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    vertices = np.column_stack([X.ravel(), Y.ravel(), np.full(X.size, z_m)])
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def joined(*surfaces: Surface) -> Surface:
    shift = np.cumsum([0, *(len(s.vertices_m) for s in surfaces)])[:-1]
    return Surface(
        vertices_m=np.concatenate([s.vertices_m for s in surfaces]),
        triangles=np.concatenate([s.triangles + k for s, k in zip(surfaces, shift, strict=True)]),
    )


def straight(y_m=0.0, standoff_m=0.2, half_m=0.4, step_m=0.01, speed=SPEED):
    x = np.linspace(-half_m, half_m, 3)
    position = np.column_stack([x, np.full(3, y_m), np.full(3, standoff_m)])
    return stroke_from_poses(
        position, np.tile([0.0, 0.0, -1.0], (3, 1)), np.ones(3, bool), step_m=step_m, speed_m_per_s=speed,
        process_value=TOOL["flow_m3_per_s"],
    )


def film_on(surface, strokes, points, step_m=0.001):
    return scorer.film_of(points, surface.vertices_m, surface.triangles, strokes, TOOL, step_m=step_m)


@pytest.mark.parametrize("standoff_m", [0.2, 0.15, 0.28])
def test_one_stroke_leaves_the_closed_form_stripe(standoff_m):
    surface = rectangle(0.04, 0.5)
    points = scorer.dense_points(surface.vertices_m, surface.triangles, 0.004)
    film = film_on(surface, [straight(standoff_m=standoff_m)], points)
    wide = standoff_m / 0.2
    a, b = 0.12 * wide, 0.04 * wide
    peak = VOLUME_RATE / (a * b * beta_function(0.5, 2.0) * beta_function(0.5, 3.0))
    stripe = peak * b * beta_function(0.5, 2.0) / SPEED * np.maximum(1.0 - (points.points_m[:, 1] / a) ** 2, 0.0) ** 2.0
    assert film == pytest.approx(stripe, abs=2e-3 * stripe.max())


def test_a_raster_leaves_flow_over_speed_and_spacing():
    surface = rectangle(0.06, 0.1)
    spacing = 0.03
    strokes = [straight(y) for y in spacing * np.arange(-8, 9)]
    judged, _, _ = scorer.score(surface.vertices_m, surface.triangles, strokes, TOOL, pitch_m=0.004)
    assert judged.mean_m == pytest.approx(VOLUME_RATE / (SPEED * spacing), rel=2e-3)
    assert judged.cv < 2e-3
    assert judged.in_15_percent_area_fraction == pytest.approx(1.0)
    assert judged.speed_low_m_per_s == judged.speed_high_m_per_s == pytest.approx(SPEED)
    assert judged.standoff_low_m == pytest.approx(0.2, abs=1e-6)


def test_paint_balances_when_speed_changes_and_the_gun_switches():
    surface = rectangle(1.6, 0.8)
    stroke = straight(step_m=0.05)
    speed = np.linspace(0.1, 0.6, len(stroke))
    on = np.arange(len(stroke)) >= 6
    stroke = replace(stroke, speed_m_per_s=speed, on=on)
    points = scorer.dense_points(surface.vertices_m, surface.triangles, 0.008)
    film = film_on(surface, [stroke], points)
    ds = stroke.step_lengths_m
    # switched half way of step 5: from there to the end of the step at the step's own acceleration
    v_half = np.sqrt(0.5 * (speed[5] ** 2 + speed[6] ** 2))
    seconds = ds[5] / (v_half + speed[6]) + float((2.0 * ds[6:] / (speed[6:-1] + speed[7:])).sum())
    assert points.areas_m2 @ film == pytest.approx(VOLUME_RATE * seconds, rel=3e-3)


def test_what_stands_in_the_way_throws_a_shadow_and_backs_stay_bare():
    floor, roof = rectangle(0.3, 0.3), rectangle(0.04, 0.4, 0.1)
    both = joined(floor, roof)
    points = scorer.dense_points(floor.vertices_m, floor.triangles, 0.005)
    gun_above = straight(half_m=0.0005, step_m=0.001)
    open_film, film = film_on(floor, [gun_above], points), film_on(both, [gun_above], points)
    # the roof, half way up, hides twice its width
    hidden = np.abs(points.points_m[:, 0]) < 0.037
    assert open_film[hidden].max() > 0.0 and film[hidden].max() == 0.0
    beyond = np.abs(points.points_m[:, 0]) > 0.043
    assert film[beyond] == pytest.approx(open_film[beyond])
    under = replace(points, normals=-points.normals)
    assert film_on(floor, [gun_above], under).max() == 0.0


def test_points_cover_the_area_evenly():
    surface = rectangle(0.3, 0.2, n=3)
    points = scorer.dense_points(surface.vertices_m, surface.triangles, 0.005)
    assert points.areas_m2.sum() == pytest.approx(0.06)
    assert len(points.areas_m2) >= 0.06 / 0.005**2
    centroid = points.areas_m2 @ points.points_m / 0.06
    assert centroid == pytest.approx(np.zeros(3), abs=1e-12)


PATTERNS = {
    "elliptic_double_beta": {},
    "axisymmetric_beta": {"radius_m": 0.07, "beta": 2.2},
    "bell_ring": {"ring_radius_m": 0.05, "ring_width_m": 0.02, "hollow_fill": 0.4},
    "gaussian_sum": {
        "gaussians": (
            {"share": 0.7, "offset_x_m": 0.005, "offset_y_m": -0.03, "sigma_x_m": 0.015, "sigma_y_m": 0.03},
            {"share": 0.3, "offset_x_m": -0.01, "offset_y_m": 0.04, "sigma_x_m": 0.02, "sigma_y_m": 0.02},
        )
    },
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_it_agrees_with_the_planner_on_a_bent_sheet(kind):
    flat = rectangle(0.4, 0.4, n=40)
    v = flat.vertices_m
    surface = Surface(
        vertices_m=np.column_stack([v[:, :2], 0.8 * v[:, 0] ** 2 - 0.5 * v[:, 1] ** 2]), triangles=flat.triangles
    )
    strokes = [straight(y, standoff_m=0.22) for y in (-0.1, 0.0, 0.1)]
    points = scorer.dense_points(surface.vertices_m, surface.triangles, 0.01)
    fan = ("a_m", "b_m", "beta_1", "beta_2")
    common = TOOL if kind == "elliptic_double_beta" else {k: v for k, v in TOOL.items() if k not in fan}
    gun = GunConfig(
        format="grind_spray_cell/gun", version=1, name="test", kind=kind, on_delay_s=0.0,
        off_delay_s=0.0, standoff_m=Interval(low=0.1, high=0.3), speed_m_per_s=Interval(low=0.05, high=1.0),
        acceleration_m_per_s2=2.0, tilt_max_rad=0.3, incidence_max_rad=1.0, **common, **PATTERNS[kind],
    )
    fine = [straight(y, standoff_m=0.22, step_m=0.003) for y in (-0.1, 0.0, 0.1)]
    planner = coverage_of_points(
        points.points_m, points.normals, fine, footprint_for(gun), caster=RayCaster(surface)
    ).predict(fine)
    judged = scorer.film_of(points, surface.vertices_m, surface.triangles, strokes, gun.as_block(), step_m=0.001)
    assert judged.max() > 1e-6
    assert judged == pytest.approx(np.asarray(planner), abs=0.004 * judged.max())
