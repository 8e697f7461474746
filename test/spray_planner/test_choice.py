"""Which strokes of many are taken."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from spray_planner.choice import choose


def bumps(n_points: int, n: int, width: float) -> scipy.sparse.csc_matrix:
    """Return films of n strokes evenly along a line of points."""
    x, middle = np.linspace(0.0, 1.0, n_points)[:, None], np.linspace(0.0, 1.0, n)[None, :]
    return scipy.sparse.csc_matrix(np.maximum(1.0 - ((x - middle) / width) ** 2, 0.0))


def pick(films, *, price=0.0, waste=None, enough=0.0, least=0.0, target=None):
    s, k = films.shape
    return choose(
        films,
        np.ones(s) if target is None else target,
        np.full(s, 1.0 / s),
        np.zeros(k),
        np.full(k, least),
        np.full(k, 10.0),
        price=price,
        waste=np.zeros(k) if waste is None else waste,
        enough=enough,
    )


def test_an_even_film_is_found_with_few_of_many():
    films = bumps(200, 60, 0.2)
    all_of_them, few = pick(films), pick(films, price=0.004)
    assert all_of_them.residual < 0.05
    assert len(few.index) < 0.4 * len(all_of_them.index)
    assert few.residual < all_of_them.residual + 0.1


def test_what_does_nothing_is_not_taken():
    films = scipy.sparse.hstack([bumps(200, 20, 0.2), scipy.sparse.csc_matrix((200, 5))], format="csc")
    assert pick(films, price=1e-4).index.max() < 20


def test_copies_are_taken_once():
    films = bumps(200, 8, 0.25)
    twice = scipy.sparse.hstack([films, films], format="csc")
    one, two = pick(films, price=1e-3), pick(twice, price=1e-3)
    assert len(two.index) == len(one.index)
    assert two.residual == pytest.approx(one.residual, abs=0.01)


def test_amounts_keep_their_bounds():
    found = pick(bumps(200, 40, 0.3), price=1e-3, least=0.3)
    assert len(found.index) > 2
    assert found.amounts.min() >= 0.3 and found.amounts.max() <= 10.0


def test_enough_is_enough():
    films = bumps(200, 60, 0.2)
    found = pick(films, enough=0.15)
    assert found.residual <= 0.16
    assert len(found.index) < len(pick(films).index)


def test_dear_paint_is_used_less():
    films = bumps(200, 30, 0.2)
    cheap, dear = pick(films), pick(films, waste=np.full(30, 0.05))
    assert dear.amounts.sum() < cheap.amounts.sum()


@given(seed=st.integers(0, 10_000))
def test_the_residual_is_that_of_the_amounts(seed):
    rng = np.random.default_rng(seed)
    films = scipy.sparse.csc_matrix(rng.random((30, 12)) * (rng.random((30, 12)) < 0.4))
    target = rng.random(30)
    found = pick(films, price=0.01, target=target)
    error = target - films[:, found.index] @ found.amounts
    assert found.residual == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert found.residual <= np.sqrt(np.mean(target**2)) + 1e-9
