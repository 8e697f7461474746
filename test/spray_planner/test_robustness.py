from dataclasses import replace

import numpy as np
import pytest

from cell_core.config import GunConfig, Interval, load_named
from cell_core.errors import ConfigurationError, InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.toolpath import Stroke
from cell_simulation.shapes import plane
from spray_planner.disturbances import Disturbances, Draws, moved
from spray_planner.robustness import Points, exact_film, figures_of, film_model, robust_figures

NAMED = load_named(GunConfig, "guns", "hvlp_240")
GUN = NAMED.model_copy(
    update={"confidence": {"a_m": Interval(low=0.95 * NAMED.numbers["a_m"], high=1.05 * NAMED.numbers["a_m"])}}
)
SPACING_M, SPEED = 0.093, 0.15
NONE = Disturbances(position_m=0.0, axis_rad=0.0, flow_fraction=0.0, standoff_m=0.0, trigger_s=0.0)


def raster(n: int = 5) -> list[Stroke]:
    x = np.linspace(-0.25, 0.25, 401)
    return [
        Stroke(
            kind="area",
            position_m=np.column_stack([x, np.full_like(x, y), np.full_like(x, 0.2)]),
            tool_axis=np.tile([0.0, 0.0, -1.0], (len(x), 1)),
            travel=np.tile([1.0, 0.0, 0.0], (len(x), 1)),
            speed_m_per_s=np.full(len(x), SPEED),
            process_value=np.full(len(x), GUN.flow_m3_per_s),
            on=np.abs(x) < 0.21,
        )
        for y in SPACING_M * (np.arange(n) - 0.5 * (n - 1))
    ]


@pytest.fixture(scope="module")
def points() -> Points:
    surface = plane(0.36, 0.3)
    samples = sample_surface(surface, 0.012)
    flat = GUN.flow_m3_per_s * GUN.solids_volume_fraction * GUN.transfer_efficiency / (SPEED * SPACING_M)
    target = np.full(len(samples), flat)
    return Points.thinned(samples.points_m, samples.normals, samples.areas_m2, target, RayCaster(surface), 500)


@pytest.mark.parametrize(
    ("errors", "gun", "per_stroke", "share"),
    [(Disturbances(), NAMED, False, 0.06), (Disturbances(), NAMED, True, 0.06), (NONE, GUN, False, 0.06)],
)
def test_linearised_draws_are_the_exact_ones(points, errors, gun, per_stroke, share):
    strokes = raster()
    draws = Draws.of(errors, gun, len(strokes), 6, per_stroke=per_stroke, seed=3)
    linear = film_model(points, strokes, gun).films(draws)
    exact = np.column_stack([exact_film(points, strokes, gun, draws, i) for i in range(len(draws))])
    still = exact_film(points, strokes, GUN, Draws.of(NONE, NAMED, len(strokes), 1, per_stroke=False, seed=0), 0)
    change = np.sqrt(np.mean((exact - still[:, None]) ** 2))
    assert change > 0.005 * still.mean()
    assert np.sqrt(np.mean((linear - exact) ** 2)) < share * change
    for i in range(len(draws)):
        one, other = (figures_of(f[:, i : i + 1], points.target_m, points.weights).p95_cv for f in (linear, exact))
        assert one == pytest.approx(other, abs=5e-4)


def test_a_common_displacement_moves_the_film(points):
    strokes, step = raster(), 0.002
    model = film_model(points, strokes, NAMED)
    draws = Draws.of(NONE, NAMED, len(strokes), 1, per_stroke=False, seed=0)
    away = replace(draws, shift_m=np.broadcast_to([0.0, step, 0.0], draws.shift_m.shape))
    back = replace(points, points_m=points.points_m - [0.0, step, 0.0])
    assert model.films(away)[:, 0] == pytest.approx(
        exact_film(back, strokes, NAMED, draws, 0), abs=0.005 * points.target_m[0]
    )


def test_late_switching_moves_the_paint_along(points):
    strokes = raster()
    late = Draws.of(NONE, NAMED, len(strokes), 1, per_stroke=False, seed=0)
    shift = 0.01
    late = replace(late, on_s=np.full((1, 5), shift), off_s=np.full((1, 5), shift))
    still = film_model(points, strokes, NAMED)
    change = still.films(late)[:, 0] - still.nominal_m
    first = points.points_m[:, 0] < -0.14
    assert change[first].mean() < 0.0 < change[points.points_m[:, 0] > 0.14].mean()
    assert np.abs(change[np.abs(points.points_m[:, 0]) < 0.1]).max() < 1e-12
    assert points.weights @ change == pytest.approx(0.0, abs=0.02 * points.weights[first] @ still.nominal_m[first])


def test_flow_alone_leaves_the_cv(points):
    strokes = raster()
    flow = replace(NONE, flow_fraction=0.02)
    found, still = (robust_figures(points, strokes, NAMED, disturbances=d, draws=200) for d in (flow, NONE))
    assert found.p95_cv == pytest.approx(still.p95_cv, rel=1e-9)
    assert robust_figures(points, strokes, NAMED, draws=200).p95_cv > still.p95_cv
    assert found.as_figures()["robust_draws"] == 200


def test_an_uncertain_fan_costs_and_draws_are_seeded(points):
    strokes = raster()
    known, open_, again = (robust_figures(points, strokes, gun, draws=200) for gun in (NAMED, GUN, GUN))
    assert open_.p95_cv > known.p95_cv
    assert open_ == again


def test_tilting_keeps_the_nozzle_and_unit_axes():
    stroke = raster(2)[0]
    turned = moved(stroke, tilt_rad=np.array([0.01, -0.02]))
    assert np.array_equal(turned.position_m, stroke.position_m)
    angle = np.arccos(np.einsum("ij,ij->i", turned.tool_axis, stroke.tool_axis))
    assert angle == pytest.approx(np.hypot(0.01, 0.02), rel=1e-3)
    assert np.abs(np.einsum("ij,ij->i", turned.tool_axis, turned.travel)).max() < 1e-12


def test_bad_input_is_refused(points):
    with pytest.raises(ConfigurationError, match=r"trigger_s is -0\.01"):
        Disturbances(trigger_s=-0.01)
    with pytest.raises(InputRefusedError, match="none of 500 points"):
        Points.thinned(points.points_m, points.normals, points.weights, 0.0 * points.target_m, points.caster)
