from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.coverage import CoverageOperator
from cell_core.dwell import SpeedLimits, limit_acceleration, optimise_speed
from cell_core.errors import CoverageError
from cell_core.toolpath import Stroke

LIMITS = SpeedLimits(low_m_per_s=0.1, high_m_per_s=1.0, acceleration_m_per_s2=2.0)


def line(length=1.0, step=0.01, speed=0.3) -> Stroke:
    n = round(length / step) + 1
    return Stroke(
        kind="area",
        position_m=np.c_[np.linspace(0.0, length, n), np.zeros((n, 2))],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, speed),
        process_value=np.ones(n),
        on=np.ones(n, bool),
    )


def bell(strokes, points=200, width=0.03, strength=1e-5) -> CoverageOperator:
    """Points along x that every stroke serves with a Gaussian."""
    x = np.linspace(0.1, 0.9, points)
    at = np.concatenate([s.position_m[:, 0] for s in strokes])
    rates = strength * np.exp(-0.5 * ((x[:, None] - at) / width) ** 2)
    columns = np.repeat(np.arange(len(strokes)), [len(s) for s in strokes])
    return CoverageOperator(matrix=scipy.sparse.csr_matrix(rates.astype(np.float32)), stroke_of_column=columns)


def test_a_reachable_target_is_met_by_the_strokes_as_they_are():
    strokes = [line()]
    operator = bell(strokes)
    x = np.linspace(0.1, 0.9, 200)
    target = 2.5e-6 * (1.0 + 0.3 * np.sin(2.0 * np.pi * x / 0.4))
    result = optimise_speed(operator, strokes, target, np.ones(200), LIMITS)
    assert result.residual_rms_m < 0.01 * target.mean()
    assert result.predicted_m == pytest.approx(operator.predict(result.strokes))
    assert result.converged


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 20.0), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_speed_and_acceleration_bounds_hold_for_any_target(level, depth, seed):
    strokes = [line(), line(0.7).reversed()]
    x = np.linspace(0.1, 0.9, 200)
    target = level * 2.5e-6 * (1.0 + depth * np.sin(2.0 * np.pi * x / 0.1 + seed))
    result = optimise_speed(bell(strokes), strokes, target, np.ones(200), LIMITS)
    for stroke in result.strokes:
        v = stroke.speed_m_per_s
        assert v.min() >= LIMITS.low_m_per_s * (1 - 1e-9) and v.max() <= LIMITS.high_m_per_s * (1 + 1e-9)
        assert np.all(np.abs(np.diff(v**2)) <= 2.0 * LIMITS.acceleration_m_per_s2 * stroke.step_lengths_m * (1 + 1e-9))


def test_over_weight_keeps_the_change_below_the_target():
    strokes = [line()]
    x = np.linspace(0.1, 0.9, 200)
    target = np.where((x > 0.45) & (x < 0.55), 1e-6, 3e-6)
    limits = SpeedLimits(low_m_per_s=0.05, high_m_per_s=2.0, acceleration_m_per_s2=5.0)
    even = optimise_speed(bell(strokes), strokes, target, np.ones(200), limits)
    shy = optimise_speed(bell(strokes), strokes, target, np.ones(200), limits, over_weight=100.0)
    assert (shy.predicted_m - target).max() < 0.4 * (even.predicted_m - target).max()


def test_off_samples_leave_nothing():
    stroke = line()
    half = replace(stroke, on=stroke.position_m[:, 0] < 0.5)
    result = optimise_speed(bell([half]), [half], np.full(200, 2e-6), np.ones(200), LIMITS)
    assert result.predicted_m[-20:].max() < 1e-9


def test_nothing_to_serve_is_refused():
    strokes = [line()]
    operator = bell(strokes, strength=0.0)
    operator.matrix.eliminate_zeros()
    with pytest.raises(CoverageError, match="serves any"):
        optimise_speed(operator, strokes, np.ones(200), np.ones(200), LIMITS)
    with pytest.raises(CoverageError, match="target above 0"):
        optimise_speed(bell(strokes), strokes, np.zeros(200), np.ones(200), LIMITS)


def test_limit_acceleration_only_slows_down():
    rng = np.random.default_rng(1)
    speed, steps = rng.uniform(0.1, 1.0, 50), rng.uniform(0.005, 0.02, 49)
    limited = limit_acceleration(speed, steps, 2.0)
    assert (limited <= speed + 1e-12).all()
    assert (np.abs(np.diff(limited**2)) <= 4.0 * steps + 1e-12).all()
    assert limited == pytest.approx(limit_acceleration(limited, steps, 2.0))
