import numpy as np
import pytest
import scipy.sparse

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import SpeedLimits, optimise_speed
from cell_core.optimise.dwell_solver import DwellSolver
from cell_core.toolpath import Stroke

LIMITS = SpeedLimits(low_m_per_s=0.1, high_m_per_s=1.0, acceleration_m_per_s2=20.0)
X = np.linspace(0.3, 0.7, 160)
TARGET = np.full(len(X), 2.5e-6)


def line(length=1.0, step=0.01) -> Stroke:
    n = round(length / step) + 1
    return Stroke(
        kind="area",
        position_m=np.c_[np.linspace(0.0, length, n), np.zeros((n, 2))],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
        speed_m_per_s=np.full(n, 0.3),
        process_value=np.ones(n),
        on=np.ones(n, bool),
    )


def bell(strokes) -> CoverageOperator:
    """Points along the middle of a stroke that runs far past them on both sides."""
    at = np.concatenate([s.position_m[:, 0] for s in strokes])
    rates = 1e-5 * np.exp(-0.5 * ((X[:, None] - at) / 0.03) ** 2)
    columns = np.repeat(np.arange(len(strokes)), [len(s) for s in strokes])
    return CoverageOperator(matrix=scipy.sparse.csr_matrix(rates.astype(np.float32)), stroke_of_column=columns)


def fitted(price_per_s, weights=None, **kwargs):
    strokes = [line()]
    weights = np.ones(len(X)) if weights is None else weights
    return optimise_speed(
        bell(strokes), strokes, TARGET, weights, LIMITS, dwell_price_per_s=price_per_s, knot_m=0.01, **kwargs
    )


def time_s(result) -> float:
    return sum(float(s.dwell_s.sum()) for s in result.strokes)


def test_no_price_changes_nothing():
    free, priced = fitted(0.0), optimise_speed(bell([line()]), [line()], TARGET, np.ones(160), LIMITS, knot_m=0.01)
    assert np.array_equal(free.strokes[0].speed_m_per_s, priced.strokes[0].speed_m_per_s)


def test_a_price_shortens_the_time_that_misses_and_leaves_the_mean():
    results = [fitted(price) for price in (0.0, 1e-4, 1e-3, 3e-3)]
    times, residuals = [time_s(r) for r in results], [r.residual_rms_m for r in results]
    assert np.all(np.diff(times) < 0.0) and times[-1] < 0.95 * times[0]
    assert np.all(np.diff(residuals) > 0.0)
    for result in results:
        assert result.predicted_m.mean() == pytest.approx(TARGET.mean(), rel=0.005)


def test_paint_where_none_is_wanted_earns_nothing():
    # the same film on the right half, as target and as a point that is to stay free
    weights = np.where(X < 0.5, 1.0, 1e-3)
    target = np.where(X < 0.5, TARGET, 0.0)
    strokes = [line()]
    results = [
        optimise_speed(bell(strokes), strokes, h, weights, LIMITS, dwell_price_per_s=1e-3, knot_m=0.01)
        for h in (TARGET, target)
    ]
    right = results[0].strokes[0].position_m[:, 0] > 0.6
    dwell = [float(r.strokes[0].dwell_s[right].sum()) for r in results]
    # there the stroke runs as fast as it may
    assert dwell[1] == pytest.approx(0.395 / LIMITS.high_m_per_s, rel=0.01)
    assert dwell[0] > 1.2 * dwell[1]


def test_the_gradient_of_the_priced_objective_is_its_derivative():
    strokes = [line()]
    solver = DwellSolver.of(
        bell(strokes), strokes, TARGET, np.ones(len(X)), LIMITS, 0.05, 1e-3, 1.0, None, dwell_price_per_s=0.01
    )
    rng = np.random.default_rng(0)
    z = solver.start * rng.uniform(0.8, 1.2, solver.path.spread.shape[1])
    d = solver.start * rng.normal(size=len(z))
    h = 1e-3
    ahead, behind = (solver.value(solver.path.spread @ (z + s * h * d)) for s in (1.0, -1.0))
    assert (ahead - behind) / (2 * h) == pytest.approx(float(solver._look(z).gradient @ d), rel=2e-3)
