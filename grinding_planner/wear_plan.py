"""Plan for an abrasive that wears: speeds follow the wear, within the tool's limits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from cell_core.config import GrindToolConfig
from cell_core.optimise.dwell import limit_acceleration
from cell_core.toolpath import Stroke
from grinding_planner.results import Removal, Served
from grinding_planner.wear import Wear, compensated, preston_along, preston_factor

ROUNDS_MAX = 3
MARGIN = 1.02
"""Speed bounds are drawn in by this much more than the last round needed."""
Tool = TypeVar("Tool", bound=GrindToolConfig)


def with_wear(
    plan: Callable[[Tool], tuple[Served, Removal]], tool: Tool, disc_energy_j: float
) -> tuple[Served, Removal, Wear]:
    """Plan for the abrasive as it is at the start and let speeds follow its wear, within the tool's limits.

    What the plan predicts stays true. Where the slowest speed or the acceleration would be broken, the job is planned
    again with bounds that leave room.

    Raises:
        LimitError: see `compensated`.
    """
    law = tool.wear
    if law is None:
        served, removal = plan(tool)
        return served, removal, preston_along(removal.strokes, tool, disc_energy_j)
    start = float(preston_factor(law, disc_energy_j))
    lowest, highest = 1.0, 1.0
    for round_ in range(ROUNDS_MAX + 1):
        if round_ == ROUNDS_MAX:
            lowest, highest = float(preston_factor(law, law.energy_max_j)) / start, 1.0 / start
        now = _as_worn(tool, start * tool.preston_per_pa, min(lowest, 1.0), max(highest, 1.0))
        served, removal = plan(now)
        wear = compensated(removal.strokes, tool, disc_energy_j, planned_preston_per_pa=now.preston_per_pa)
        if _within(wear.strokes, tool):
            break
        lowest, highest = float(wear.factor.min()) / start / MARGIN, float(wear.factor.max()) / start * MARGIN
    strokes = tuple(_driven(stroke, tool) for stroke in wear.strokes)
    wear = preston_along(strokes, tool, disc_energy_j, wear.disc_changes)
    return served, replace(removal, strokes=strokes), wear


def replan_rest(strokes: Sequence[Stroke], tool: GrindToolConfig, share: float, factor: float) -> tuple[Stroke, ...]:
    """Return what is left of a job when `share` of its impulse is spent, for a coefficient `factor` times the planned.

    For a change that the log of a running job tells. Speeds go with the factor, within the tool's limits: where the
    slowest is reached, less is removed than planned.

    Args:
        share: 0..1 of the strokes' force times time; the stroke under way is cut at its next sample.
    """
    impulse = [stroke.process_value * stroke.dwell_s for stroke in strokes]
    spent, wanted = np.cumsum([0.0, *(own.sum() for own in impulse)]), share * sum(float(own.sum()) for own in impulse)
    first = int(np.clip(np.searchsorted(spent, wanted, side="right") - 1, 0, len(strokes) - 1))
    at = int(np.searchsorted(spent[first] + np.cumsum(impulse[first]), wanted, side="right"))
    # a stroke has two samples at least
    rest = [strokes[first].part(at, len(strokes[first]))] if at <= len(strokes[first]) - 2 else []
    rest += strokes[first + 1 :]
    return tuple(_driven(replace(s, speed_m_per_s=factor * s.speed_m_per_s), tool) for s in rest)


def _as_worn(tool: Tool, preston_per_pa: float, lowest: float, highest: float) -> Tool:
    # speeds planned with this tool stay within the true tool's limits when multiplied by lowest..highest
    speed = tool.speed_m_per_s
    bounds = {"low": speed.low / lowest, "high": max(speed.high / highest, speed.low / lowest)}
    return tool.model_copy(
        update={
            "preston_per_pa": preston_per_pa,
            "speed_m_per_s": speed.model_copy(update=bounds),
            "acceleration_m_per_s2": tool.acceleration_m_per_s2 / highest**2,
        }
    )


def _within(strokes: Sequence[Stroke], tool: GrindToolConfig) -> bool:
    low, high = tool.speed_m_per_s.low / (1.0 + 1e-6), tool.speed_m_per_s.high * (1.0 + 1e-6)
    return all(low <= stroke.speed_m_per_s.min() and stroke.speed_m_per_s.max() <= high for stroke in strokes)


def _driven(stroke: Stroke, tool: GrindToolConfig) -> Stroke:
    # the factor falls along a stroke, by so little that a step at full deceleration becomes a hair steeper
    speed = np.clip(stroke.speed_m_per_s, tool.speed_m_per_s.low, tool.speed_m_per_s.high)
    held = limit_acceleration(speed, stroke.step_lengths_m, tool.acceleration_m_per_s2)
    return replace(stroke, speed_m_per_s=np.maximum(held, tool.speed_m_per_s.low))
