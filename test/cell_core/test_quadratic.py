import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, minimize

from cell_core.errors import CoverageError
from cell_core.optimise.quadratic import Rows, improvement_bound, solve_quadratic


def problem(seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(30, n)), rng.normal(size=30)


@given(st.integers(0, 10_000))
def test_bounds_alone_agree_with_scipy(seed):
    A, b = problem(seed)
    x = solve_quadratic(scipy.sparse.csc_matrix(A.T @ A), -A.T @ b, 0.0, 0.3, Rows.none(12)).x
    other = lsq_linear(A, b, (0.0, 0.3), tol=1e-12).x
    assert x.min() >= 0.0 and x.max() <= 0.3
    assert np.linalg.norm(A @ x - b) <= np.linalg.norm(A @ other - b) * (1 + 1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_rows_agree_with_scipy_and_the_bound_is_one(seed):
    A, b = problem(seed, 6)
    C = np.random.default_rng(seed + 1).normal(size=(4, 6))
    rows = Rows(matrix=scipy.sparse.csr_matrix(C), most=np.full(4, 0.1))
    found = solve_quadratic(scipy.sparse.csc_matrix(A.T @ A), -A.T @ b, -1.0, 1.0, rows)

    def value(x):
        return 0.5 * np.sum((A @ x - b) ** 2)

    other = minimize(
        value,
        np.zeros(6),
        jac=lambda x: A.T @ (A @ x - b),
        bounds=[(-1.0, 1.0)] * 6,
        constraints={"type": "ineq", "fun": lambda x: 0.1 - C @ x, "jac": lambda x: -C},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert (C @ found.x).max() <= 0.1 + 1e-7
    assert value(found.x) <= other.fun * (1 + 1e-6)
    # from anywhere that meets the rows, and with any multipliers, the optimum is not below the bound
    for x, multipliers in ((found.x, found.multipliers), (np.zeros(6), found.multipliers), (np.zeros(6), np.ones(4))):
        below = improvement_bound(x, A.T @ (A @ x - b), -1.0, 1.0, rows, multipliers)
        assert value(x) - below <= value(found.x) * (1 + 1e-6)
    tight = improvement_bound(found.x, A.T @ (A @ found.x - b), -1.0, 1.0, rows, found.multipliers)
    assert tight < 1e-5 * value(found.x)


def test_singular_curvature_is_no_trouble():
    A, b = problem(1)
    twice = np.hstack([A, A])
    x = solve_quadratic(scipy.sparse.csc_matrix(twice.T @ twice), -twice.T @ b, -5.0, 5.0, Rows.none(24)).x
    best = np.linalg.lstsq(A, b, rcond=None)[0]
    assert np.linalg.norm(twice @ x - b) == pytest.approx(np.linalg.norm(A @ best - b), rel=1e-6)


def test_rows_that_exclude_each_other_are_refused():
    rows = Rows(matrix=scipy.sparse.csr_matrix([[1.0, 0.0], [-1.0, 0.0]]), most=np.array([0.1, -0.2]))
    with pytest.raises(CoverageError, match="2 unknowns and 2 rows"):
        solve_quadratic(scipy.sparse.eye(2, format="csc"), np.ones(2), -1.0, 1.0, rows)
