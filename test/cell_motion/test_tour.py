"""Tours: the shortest that brute force finds, whatever positions the stops can be taken in."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest

from cell_motion.tour import Tour, move_times

SPEED = np.array([2.0, 2.0, 2.5, 3.0, 3.0, 4.0])


def _stops(rng: np.random.Generator, n: int, n_positions: int) -> list[np.ndarray]:
    return [rng.uniform(-1.5, 1.5, (n_positions, 6)) for _ in range(n)]


def _shortest_s(start, stops) -> float:
    best = np.inf
    for order in permutations(range(len(stops))):
        for chosen in product(*(range(len(stops[k])) for k in order)):
            path = [start, *(stops[k][i] for k, i in zip(order, chosen, strict=True))]
            best = min(best, sum(move_times(a, b, SPEED) for a, b in pairwise(path)))
    return float(best)


@pytest.mark.parametrize("seed", range(6))
def test_the_tour_is_next_to_the_shortest_there_is(seed):
    rng = np.random.default_rng(seed)
    stops = _stops(rng, 5, 2)
    tour = Tour(np.zeros(6), stops, SPEED)
    assert sorted(tour.order) == list(range(5))
    shortest_s = _shortest_s(np.zeros(6), stops)
    assert shortest_s - 1e-9 <= tour.length_s(tour.order) <= 1.08 * shortest_s


def test_time_to_go_leads_along_the_best_positions():
    rng = np.random.default_rng(3)
    stops = _stops(rng, 6, 5)
    tour = Tour(np.zeros(6), stops, SPEED)
    here, spent_s = np.zeros(6), 0.0
    for stop, to_go_s in zip(tour.order, tour.to_go_s, strict=True):
        times = move_times(here, stops[stop], SPEED)
        best = int((times + to_go_s).argmin())
        assert spent_s + times[best] + to_go_s[best] == pytest.approx(tour.length_s(tour.order))
        here, spent_s = stops[stop][best], spent_s + times[best]


def test_nearest_first_is_beaten_where_it_runs_to_and_fro():
    # one joint: stops at 1, -1.1, 3.2: nearest first goes 1, -1.1, 3.2 (7.4 rad), the best -1.1, 1, 3.2 (5.4 rad)
    stops = [np.array([[x, 0, 0, 0, 0, 0.0]]) for x in (1.0, -1.1, 3.2)]
    tour = Tour(np.zeros(6), stops, np.ones(6))
    assert tour.order == [1, 0, 2]
    assert tour.length_s(tour.order) == pytest.approx(5.4)
    assert Tour(np.zeros(6), [], SPEED).order == []
