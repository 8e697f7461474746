"""In which order, direction and joint position to run legs, so that little time passes in the air."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cell_core.transforms import Array
from cell_motion.ladder import EdgeRule, Policy
from cell_motion.strokes import Leg

STOP_S = 0.4
"""What a free move costs however short it is."""
GAIN_MIN = 0.03
"""The given order is left only for at least this share of its air time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One way to run a leg."""

    leg: Leg
    reverse: bool
    nodes: list[int]
    """Node per rung, first rung first."""
    enter_rad: Array
    exit_rad: Array
    cost_s: float
    """Estimated time of the move to it, and what its way costs above the leg's cheapest."""


def entries(leg: Leg, here_rad: Array, rule: EdgeRule, *, count: int = 6, policy: Policy | None = None) -> list[Entry]:
    """Return up to `count` clearly different ways to run a leg from joint position (6,), cheapest first."""
    policy, rungs = policy or leg.policy, leg.ladder.rungs
    cheapest = float(min(policy.first_cost.min(), policy.last_cost.min()))
    found: list[tuple[float, bool, int]] = []
    ways = [(False, leg.first, policy.first_cost), (True, leg.last, policy.last_cost)]
    for reverse, rung, costs in ways if leg.ladder.reversible else ways[:1]:
        move = np.abs(rule.difference(here_rad, rungs[rung].position_rad)) / rule.velocity_rad_per_s
        total = move.max(axis=1) + costs - cheapest
        found += [(float(total[i]), reverse, int(i)) for i in np.argsort(total)[:40] if np.isfinite(total[i])]
    found.sort()
    kept: list[Entry] = []
    for cost, reverse, node in found:
        nodes = policy.to_last(node) if reverse else policy.from_first(node)
        first, last = (rungs[k].position_rad[nodes[i]] for k, i in ((leg.first, 0), (leg.last, -1)))
        enter, leave = (last, first) if reverse else (first, last)
        if any(e.reverse == reverse and np.abs(rule.difference(e.enter_rad, enter)).max() < 0.5 for e in kept):
            continue
        kept.append(Entry(leg=leg, reverse=reverse, nodes=nodes, enter_rad=enter, exit_rad=leave, cost_s=STOP_S + cost))
        if len(kept) == count:
            break
    return kept


def ordered(legs: Sequence[Leg], kinds: Sequence[str], start_rad: Array, rule: EdgeRule) -> list[Leg]:
    """Return the legs in the order given, or nearest first where that saves air time; kinds stay apart.

    Args:
        legs: what to run.
        kinds: kind of each leg's stroke; strokes of one kind may be run in any order.
        start_rad: (6,) where the arm stands.
        rule: joint speeds for the estimate.
    """
    result: list[Leg] = []
    here = start_rad
    for kind in dict.fromkeys(kinds):
        group = [leg for leg, k in zip(legs, kinds, strict=True) if k == kind]
        given_s, given, end_given = _in_turn(group, here, rule)
        near_s, near, end_near = _nearest_first(group, here, rule)
        better = near_s < (1.0 - GAIN_MIN) * given_s
        result += near if better else given
        here = end_near if better else end_given
    return result


def _in_turn(legs: list[Leg], here: Array, rule: EdgeRule) -> tuple[float, list[Leg], Array]:
    total = 0.0
    for leg in legs:
        entry = entries(leg, here, rule, count=1)[0]
        total += entry.cost_s
        here = entry.exit_rad
    return total, legs, here


def _nearest_first(legs: list[Leg], here: Array, rule: EdgeRule) -> tuple[float, list[Leg], Array]:
    left, result, total = list(legs), [], 0.0
    while left:
        best = min((entries(leg, here, rule, count=1)[0] for leg in left), key=lambda e: e.cost_s)
        total += best.cost_s
        here = best.exit_rad
        result.append(best.leg)
        left = [leg for leg in left if leg is not best.leg]
    return total, result, here
