"""The layered search: no flips, fewest breaks, where they harm least."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_motion.ladder import EdgeRule, Rung, solve, split

RULE = EdgeRule(velocity_rad_per_s=np.full(2, 1.0), turns=np.array([False, True]))


def _rung(*positions: tuple[float, float], cost: tuple[float, ...] | None = None) -> Rung:
    return Rung(position_rad=np.array(positions, float).reshape(-1, 2), cost=np.array(cost or np.zeros(len(positions))))


def _edges(rungs: list[Rung], duration_s: float = 0.5) -> list[np.ndarray]:
    return [RULE.edges(a, b, duration_s) for a, b in pairwise(rungs)]


def test_the_cheapest_nodes_are_not_taken_where_they_would_flip() -> None:
    # branch A is free of cost on all rungs but the middle one, where only branch B (1.5 rad away) is cheap
    rungs = [_rung((0.0, 0.0), (1.5, 0.0), cost=(0.0, 0.3)) for _ in range(4)]
    rungs.insert(2, _rung((1.5, 0.1), cost=(0.0,)))
    policy = solve(rungs, _edges(rungs))
    assert policy is not None
    way = policy.from_first(int(np.argmin(policy.first_cost)))
    joints = np.array([r.position_rad[n] for r, n in zip(rungs, way, strict=True)])
    assert np.abs(np.diff(joints, axis=0)).max() < 0.5
    assert way == [1, 1, 0, 1, 1]
    assert policy.to_last(1) == way


def test_whole_turns_count_as_one_position_only_where_the_joint_has_them() -> None:
    a, b = _rung((0.0, 3.1)), _rung((0.0, -3.1))
    assert np.isfinite(RULE.edges(a, b, 0.5)).all()
    a, b = _rung((3.1, 0.0)), _rung((-3.1, 0.0))
    assert np.isinf(RULE.edges(a, b, 0.5)).all()


def test_no_way_is_none_and_a_break_splits_where_it_harms_least() -> None:
    low, high = _rung((0.0, 0.0)), _rung((2.0, 0.0))
    both = _rung((0.0, 0.0), (2.0, 0.0))
    rungs = [low, both, both, both, high]
    edges = _edges(rungs)
    assert solve(rungs, edges) is None
    assert split(rungs, edges, np.array([20.0, 20.0, 4.0, 20.0])) == [(0, 2), (3, 4)]
    assert split(rungs, edges, np.array([4.0, 20.0, 20.0, 20.0])) == [(0, 0), (1, 4)]


def test_rungs_without_nodes_belong_to_no_range() -> None:
    some, none = _rung((0.0, 0.0)), _rung()
    rungs = [none, some, some, none, none, some, some, some]
    assert split(rungs, _edges(rungs), np.full(7, 20.0)) == [(1, 2), (5, 7)]
    assert split([none, none], _edges([none, none]), np.full(1, 20.0)) == []


def test_an_edge_too_fast_costs_and_one_far_too_fast_is_refused() -> None:
    a = _rung((0.0, 0.0))
    slow, fast, far = (float(RULE.edges(a, _rung((x, 0.0)), 0.2)[0, 0]) for x in (0.19, 0.4, 0.6))
    assert slow < 0.5 < fast
    assert np.isfinite(fast)
    assert np.isinf(far)
    assert np.isinf(RULE.edges(a, _rung((0.4, 0.0)), 0.05)[0, 0])


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_the_policy_is_the_brute_force_minimum(seed: int, n_rungs: int, n_nodes: int) -> None:
    rng = np.random.default_rng(seed)
    rungs = [
        Rung(position_rad=rng.uniform(-0.4, 0.4, (n_nodes, 2)), cost=rng.uniform(0.0, 0.2, n_nodes))
        for _ in range(n_rungs)
    ]
    edges = _edges(rungs)
    ways = np.stack(np.meshgrid(*[np.arange(n_nodes)] * n_rungs, indexing="ij"), -1).reshape(-1, n_rungs)
    cost = sum(rungs[k].cost[ways[:, k]] for k in range(n_rungs))
    cost = cost + sum(edges[k][ways[:, k], ways[:, k + 1]] for k in range(n_rungs - 1))
    policy = solve(rungs, edges)
    if policy is None:
        assert np.isinf(cost).all()
        return
    assert np.isclose(policy.first_cost.min(), cost.min())
    assert np.isclose(policy.last_cost.min(), cost.min())
    best = policy.from_first(int(policy.first_cost.argmin()))
    assert best[-1] == policy.first_ends_at[best[0]]
    assert np.isclose(cost[(ways == best).all(axis=1)][0], cost.min())
