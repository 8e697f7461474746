import numpy as np
import pytest

from cell_core.config import GunConfig, load_named
from cell_core.errors import InputRefusedError
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import EllipticDoubleBeta
from cell_core.optimise.dwell import SpeedLimits, optimise_speed
from cell_core.optimise.robust import P95_TAIL, optimise_speed_robust, robust_spacing, scenario_box, score_scenarios
from cell_core.toolpath import Stroke

LIMITS = SpeedLimits(low_m_per_s=0.1, high_m_per_s=1.0, acceleration_m_per_s2=2.0)
SIDE_M = 0.5
AT = np.arange(0.01, SIDE_M, 0.02)
POINTS = np.c_[np.repeat(AT, len(AT)), np.tile(AT, len(AT)), np.zeros(len(AT) ** 2)]
TARGET, WEIGHTS = np.full(len(POINTS), 50e-6), np.ones(len(POINTS))


def raster(spacing: float, standoff: float) -> list[Stroke]:
    x = np.linspace(-0.1, SIDE_M + 0.1, 61)
    ones = np.ones(len(x))
    return [
        Stroke(
            kind="area",
            position_m=np.c_[x, y * ones, standoff * ones],
            tool_axis=np.tile([0.0, 0.0, -1.0], (len(x), 1)),
            travel=np.tile([1.0, 0.0, 0.0], (len(x), 1)),
            speed_m_per_s=0.3 * ones,
            process_value=5e-6 * ones,
            on=ones.astype(bool),
        )
        for y in np.arange(0.0, SIDE_M + spacing, spacing)
    ]


def layout(spacing: float):
    """Strokes and scenarios of a fan 10 % narrower and wider at the same flow."""
    gun = load_named(GunConfig, "guns", "hvlp_240")
    strokes = raster(spacing, gun.reference_standoff_m)

    def build(deviation):
        own = gun.model_copy(update={"a_m": gun.a_m * (1.0 + deviation.get("fan", 0.0))})
        normals = np.tile([0.0, 0.0, 1.0], (len(POINTS), 1))
        return coverage_of_points(POINTS, normals, strokes, EllipticDoubleBeta(own), caster=None)

    return strokes, scenario_box(build, {"fan": 0.1})


@pytest.fixture(scope="module")
def sharp():
    """A flat raster at the spacing where the nominal ripple vanishes."""
    return layout(EllipticDoubleBeta(load_named(GunConfig, "guns", "hvlp_240")).spacing_m())


def test_the_worst_case_is_better_than_the_nominal_optimum_leaves_it(sharp):
    strokes, scenarios = sharp
    nominal = optimise_speed(scenarios[0].operator, strokes, TARGET, WEIGHTS, LIMITS)
    before = score_scenarios(scenarios, nominal.strokes, TARGET, WEIGHTS)
    robust = optimise_speed_robust(scenarios, strokes, TARGET, WEIGHTS, LIMITS)
    assert robust.converged and robust.optimality_gap < 1e-3
    assert max(s.residual_rms_m for s in before) > 2.0 * before[0].residual_rms_m
    assert robust.worst.residual_rms_m < 0.97 * max(s.residual_rms_m for s in before)
    assert robust.nominal.residual_rms_m >= before[0].residual_rms_m * (1 - 1e-6)
    assert robust.shares.sum() == pytest.approx(1.0)
    assert robust.p95_residual_rms_m == robust.worst.residual_rms_m
    for stroke in robust.strokes:
        v = stroke.speed_m_per_s
        assert v.min() >= LIMITS.low_m_per_s * (1 - 1e-9) and v.max() <= LIMITS.high_m_per_s * (1 + 1e-9)
        assert np.all(np.abs(np.diff(v**2)) <= 2.0 * LIMITS.acceleration_m_per_s2 * stroke.step_lengths_m * (1 + 1e-9))


def test_one_scenario_is_the_nominal_problem(sharp):
    strokes, scenarios = sharp
    nominal = optimise_speed(scenarios[0].operator, strokes, TARGET, WEIGHTS, LIMITS)
    alone = optimise_speed_robust(scenarios[:1], strokes, TARGET, WEIGHTS, LIMITS)
    assert alone.worst.residual_rms_m == pytest.approx(nominal.residual_rms_m, rel=2e-3)


def test_a_wider_tail_gives_up_the_worst_for_the_rest(sharp):
    strokes, scenarios = sharp
    worst = optimise_speed_robust(scenarios, strokes, TARGET, WEIGHTS, LIMITS, tail=P95_TAIL)
    most = optimise_speed_robust(scenarios, strokes, TARGET, WEIGHTS, LIMITS, tail=0.8)
    assert most.worst.residual_rms_m > worst.worst.residual_rms_m
    squares = [np.mean([s.residual_rms_m**2 for s in r.scores]) for r in (most, worst)]
    assert squares[0] < squares[1]


def test_spacings_are_ranked_by_their_worst_case():
    gun = load_named(GunConfig, "guns", "hvlp_240")
    spacings = [gun.a_m * share for share in (1.22, 0.744, 0.4)]
    ranked = robust_spacing(spacings, layout, TARGET, WEIGHTS, LIMITS)
    worst = [s.result.worst.residual_rms_m for s in ranked]
    assert worst == sorted(worst) and {s.spacing_m for s in ranked} == set(spacings)
    assert ranked[-1].spacing_m == spacings[0]


def test_a_box_has_ends_and_corners():
    names = [s.name for s in scenario_box(lambda deviation: deviation, {"fan": 0.1, "flow": 0.05})]
    assert len(names) == 1 + 4 + 4 and names[0] == "nominal" and "fan -0.1, flow +0.05" in names


def test_impossible_requests_are_refused(sharp):
    strokes, scenarios = sharp
    with pytest.raises(InputRefusedError, match="0 scenarios"):
        optimise_speed_robust([], strokes, TARGET, WEIGHTS, LIMITS)
    with pytest.raises(InputRefusedError, match=r"tail 1\.5"):
        optimise_speed_robust(scenarios, strokes, TARGET, WEIGHTS, LIMITS, tail=1.5)
    with pytest.raises(InputRefusedError, match=r"half width of fan is -0\.1"):
        scenario_box(lambda deviation: deviation, {"fan": -0.1})
