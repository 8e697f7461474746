"""Speeds and forces along lines: what belongs to a sample, what the arm can drive, unknowns of any size."""

import numpy as np
import pytest
import scipy.sparse

from grinding_planner.schedule import driven, dwell_at
from grinding_planner.strokes import Line
from grinding_planner.thinning import LeastSquares


def straight(n: int, step_m: float) -> Line:
    x = np.arange(n) * step_m
    return Line(
        position_m=np.c_[x, 0 * x, 0 * x],
        tool_axis=np.tile([0.0, 0.0, -1.0], (n, 1)),
        travel=np.tile([1.0, 0.0, 0.0], (n, 1)),
    )


def test_dwell_of_a_sample_is_time_weighted_by_nearness():
    speed, steps = np.array([0.05, 0.2, 0.1, 0.1]), np.array([0.02, 0.03, 0.01])
    s = np.linspace(0.0, 0.06, 600_001)
    at = np.r_[0.0, np.cumsum(steps)]
    v = np.sqrt(np.interp(s, at, speed**2))
    for k in range(4):
        near = np.interp(s, at, np.eye(4)[k])
        assert dwell_at(speed, steps)[k] == pytest.approx(np.trapezoid(near / v, s), rel=1e-6)
    assert dwell_at(speed, steps).sum() == pytest.approx(np.sum(2.0 * steps / (speed[1:] + speed[:-1])), rel=1e-12)


def test_where_the_arm_is_too_slow_the_force_gives_way(orbital):
    line = straight(41, 0.01)
    top, arm = orbital.speed_m_per_s.high, orbital.acceleration_m_per_s2
    wanted = np.full(41, 1.0 / 0.05)
    wanted[20:] = 1.0 / top / 0.8
    plan = driven([line], wanted, orbital, np.full(41, 0.3))
    speed = plan.speed_m_per_s[0]
    assert np.abs(np.diff(speed**2)).max() <= 2.0 * arm * 0.01 * (1.0 + 1e-9)
    assert speed.min() >= orbital.speed_m_per_s.low
    assert speed.max() <= top * (1.0 + 1e-12)
    # what was wanted comes out: just after the jump at less force, since the arm gets no faster in time
    assert plan.slowness([line]) == pytest.approx(wanted, rel=0.02)
    assert plan.force_share[:15] == pytest.approx(1.0, rel=0.01)
    assert plan.force_share[20] < 0.8


def test_least_squares_find_unknowns_of_any_size():
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(80, 30)) * np.logspace(-1.0, 1.0, 30)
    wanted = rng.uniform(1.0, 2.0, 30) / np.logspace(-1.0, 1.0, 30)
    problem = LeastSquares(
        matrix=scipy.sparse.csr_matrix(matrix),
        goal=matrix @ wanted,
        weights=np.ones(80),
        low=np.zeros(30),
        high=3.0 / np.logspace(-1.0, 1.0, 30),
    )
    assert problem.solve(np.zeros(30), 200) == pytest.approx(wanted, rel=1e-4)
