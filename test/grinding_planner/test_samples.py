import numpy as np
import pytest

from grinding_planner.samples import linear_fit


def test_linear_fields_come_through_exactly_and_noise_is_averaged():
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(0.0, 0.1, (4000, 2)), np.zeros(4000)]
    at = np.c_[rng.uniform(0.02, 0.08, (50, 2)), np.zeros(50)]
    up = np.array([0.0, 0.0, 1.0])
    carry = linear_fit(points, np.tile(up, (4000, 1)), at, np.tile(up, (50, 1)), 0.004)
    field = 1.0 + 3.0 * points[:, 0] - 2.0 * points[:, 1]
    assert carry @ field == pytest.approx(1.0 + 3.0 * at[:, 0] - 2.0 * at[:, 1], rel=1e-4)
    assert np.std(carry @ rng.normal(size=4000)) < 0.6


def test_a_single_value_is_carried_as_it_is():
    point, up = np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]])
    assert linear_fit(point, up, point + 0.01, up, 0.005) @ [7.0] == pytest.approx([7.0])
