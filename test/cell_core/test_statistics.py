"""Area-weighted figures."""

import numpy as np
import pytest

from cell_core.statistics import field_statistics


def test_shares_never_exceed_one():
    sums = []
    for seed in range(200):
        areas = np.random.default_rng(seed).random(500)
        sums.append(float((areas / areas.sum()) @ np.ones(500)))
        film = np.full(500, 50e-6)
        found = field_statistics(film, film, areas, 0.1, np.ones(500, bool))
        assert found.in_tolerance_area_fraction <= 1.0
        assert found.covered_area_fraction <= 1.0
        assert 1.0 - found.covered_area_fraction == pytest.approx(0.0, abs=1e-12)
    # the case that it guards against does occur
    assert max(sums) > 1.0


def test_figures_are_weighted_by_area():
    film, areas = np.array([40e-6, 60e-6, 0.0]), np.array([3.0, 1.0, 9.0])
    found = field_statistics(film, np.full(3, 50e-6), areas, 0.15, np.array([True, True, False]))
    assert found.area_m2 == 4.0
    assert found.mean_m == pytest.approx(45e-6)
    assert found.cv == pytest.approx(np.sqrt(75.0) / 45.0)
    assert found.in_tolerance_area_fraction == 0.0
    assert found.covered_area_fraction == 1.0
