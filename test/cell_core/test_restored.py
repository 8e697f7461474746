"""What one path was to leave, left by another that the arm can run: cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import SpeedLimits, limit_acceleration, optimise_speed
from cell_core.optimise.restored import Wanted, restored_strokes
from cell_core.restoring import Attainable
from cell_core.toolpath import Stroke

LIMITS = SpeedLimits(low_m_per_s=0.05, high_m_per_s=1.0, acceleration_m_per_s2=2.0)
N = 101


def line() -> Stroke:
    return Stroke(
        kind="area",
        position_m=np.c_[np.linspace(0.0, 1.0, N), np.zeros((N, 2))],
        tool_axis=np.tile([0.0, 0.0, -1.0], (N, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (N, 1)),
        speed_m_per_s=np.full(N, 0.4),
        process_value=np.full(N, 10.0),
        on=np.ones(N, bool),
    )


def operator(weaker: np.ndarray | float = 1.0) -> CoverageOperator:
    x, at = np.linspace(0.1, 0.9, 200), np.linspace(0.0, 1.0, N)
    rates = 1e-5 * np.exp(-0.5 * ((x[:, None] - at) / 0.03) ** 2) * weaker
    return CoverageOperator(
        matrix=scipy.sparse.csr_matrix(rates.astype(np.float32)), stroke_of_column=np.zeros(N, np.int64)
    )


def wanted() -> Wanted:
    return Wanted(change_m=np.asarray(operator().predict([line()]), float), weights=np.ones(200))


def able(fastest: np.ndarray | float = 1.0) -> list[Attainable]:
    return [Attainable(fastest_m_per_s=np.broadcast_to(fastest, N), value_asked=np.full(N, 10.0))]


def left(by: CoverageOperator, strokes: list[Stroke]) -> np.ndarray:
    share = np.concatenate([s.process_value for s in strokes]) / 10.0
    return np.asarray(by.predict(share * np.concatenate([s.dwell_s for s in strokes])), float)


def test_poses_that_leave_less_are_run_as_much_slower():
    weak = operator(0.8)
    goal = wanted()
    assert goal.off(left(weak, [line()])) == pytest.approx(0.2, abs=0.01)
    (done,) = restored_strokes(weak, [line()], goal, LIMITS, able(), value_range=(2.0, 10.0), knot_m=0.05)
    assert done.speed_m_per_s[20:80] == pytest.approx(0.8 * 0.4, rel=0.01)
    assert np.all(done.process_value == 10.0)
    assert goal.off(left(weak, [done])) < 0.005


def test_a_value_that_may_rise_leaves_the_speed():
    weak = operator(0.8)
    (done,) = restored_strokes(weak, [line()], wanted(), LIMITS, able(), value_range=(2.0, 13.0), knot_m=0.05)
    assert np.array_equal(done.speed_m_per_s, line().speed_m_per_s)
    assert done.process_value[20:80] == pytest.approx(12.5, rel=0.01)
    assert wanted().off(left(weak, [done])) < 0.005


def test_where_the_arm_is_slower_the_value_falls_as_much():
    x = np.linspace(0.0, 1.0, N)
    fastest = np.where(np.abs(x - 0.5) < 0.15, 0.2, 1.0)
    (done,) = restored_strokes(
        operator(), [line()], wanted(), LIMITS, able(fastest), value_range=(2.0, 10.0), knot_m=0.05
    )
    middle = np.abs(x - 0.5) < 0.1
    assert np.all(done.speed_m_per_s <= fastest * (1.0 + 1e-9))
    assert done.process_value[middle] == pytest.approx(5.0, rel=0.02)
    assert wanted().off(left(operator(), [done])) < 0.01


def test_a_value_that_is_fixed_stays_and_what_the_arm_cannot_do_remains():
    fastest = np.where(np.abs(np.linspace(0.0, 1.0, N) - 0.5) < 0.15, 0.2, 1.0)
    (done,) = restored_strokes(operator(), [line()], wanted(), LIMITS, able(fastest), value_range=None, knot_m=0.05)
    assert np.all(done.process_value == 10.0)
    assert np.all(done.speed_m_per_s <= fastest * (1.0 + 1e-9))
    held = limit_acceleration(np.minimum(fastest, 0.4), line().step_lengths_m, LIMITS.acceleration_m_per_s2)
    slowed = replace(line(), speed_m_per_s=held)
    assert wanted().off(left(operator(), [done])) < wanted().off(left(operator(), [slowed]))


def test_at_a_standstill_the_process_is_off():
    fastest = np.where(np.arange(N) == N - 1, 0.002, 1.0)
    (done,) = restored_strokes(
        operator(), [line()], wanted(), LIMITS, able(fastest), value_range=(2.0, 10.0), knot_m=0.05
    )
    assert not done.on[-1] and done.on[:-5].all()
    assert np.all(done.process_value >= 2.0)


def test_speeds_keep_below_what_single_samples_may_have():
    fastest = np.full(N, 0.3)
    result = optimise_speed(operator(), [line()], wanted().change_m, np.ones(200), LIMITS, fastest_m_per_s=fastest)
    assert result.strokes[0].speed_m_per_s.max() <= 0.3 + 1e-9
    assert result.predicted_m.mean() > 1.2 * wanted().change_m.mean()


def test_nothing_wanted_is_refused():
    with pytest.raises(CoverageError, match="leaves nothing"):
        Wanted(change_m=np.zeros(5), weights=np.ones(5)).off(np.ones(5))
