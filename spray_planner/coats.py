"""The coats of one layer: the lines of each, and speeds fitted coat by coat so that later coats mend earlier ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult, optimise_speed
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.candidates import Layout, laid_again
from spray_planner.service import Service
from spray_planner.task import Task

OWN_SHARE = 0.5
"""However much earlier coats left, a coat is asked for at least this share of its even part everywhere."""
SPEED_KNOT_DEPTHS = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """What all coats of a layer leave."""

    coats: tuple[DwellResult, ...]
    operators: tuple[CoverageOperator, ...]
    """One per coat, over all samples."""

    @property
    def strokes(self) -> list[Stroke]:
        """Strokes of all coats in the order they are run."""
        return [s for coat in self.coats for s in coat.strokes]

    @property
    def predicted_m(self) -> Array:
        """(P,) film of all coats [m]."""
        return np.sum([coat.predicted_m for coat in self.coats], axis=0)

    def with_last(self, coat: DwellResult) -> "Film":
        """Return the film with another last coat."""
        return replace(self, coats=(*self.coats[:-1], coat))


def n_patterns(task: Task) -> int:
    """Return how many coats differ in their lines; the next repeat them in turn."""
    recipe = task.recipe
    return {"single": 1, "cross": min(2, recipe.coats), "offset": recipe.coats}[recipe.strategy]


def for_target(task: Task, share: float) -> Task:
    """Return the task for this share of the film."""
    target = share * task.recipe.target_thickness_m
    return replace(task, recipe=task.recipe.model_copy(update={"target_thickness_m": target}))


def lay_coat(task: Task, layouts: Sequence[Layout], index: int) -> list[Stroke]:
    """Return the strokes of one of the coats that differ, the first having those of the layouts.

    Crossing lines are laid over the same patches, turned by 90 degrees; offset ones between those of the first coat.
    A patch too narrow for that keeps the lines it has.
    """
    if index == 0:
        return [s for layout in layouts for s in layout.strokes]
    strokes: list[Stroke] = []
    for layout in layouts:
        if task.recipe.strategy == "cross":
            change = {"angle_rad": layout.request.angle_rad + 0.5 * np.pi}
        else:
            change = {"phase": index / n_patterns(task)}
        strokes += laid_again(task, layout, **change) or layout.strokes
    return strokes


def fitted(
    task: Task,
    service: Service,
    operator: CoverageOperator,
    strokes: Sequence[Stroke],
    target_m: Array,
    *,
    stress: Array | float = 1.0,
    most_m: Array | None = None,
) -> DwellResult:
    """Return the strokes at speeds that leave this film (P,), errors weighted by area times `stress` (P,)."""
    weights = task.weights(service) * stress
    return optimise_speed(
        operator,
        strokes,
        target_m,
        weights,
        task.limits,
        knot_m=SPEED_KNOT_DEPTHS * task.depth_m,
        most_m=most_m,
        dwell_price_per_s=task.goal_on(weights, target_m).price_per_s,
    )


def fit_coats(task: Task, service: Service, patterns: Sequence[tuple[DwellResult, CoverageOperator]]) -> Film:
    """Return the film coat by coat: each is fitted to its even part of the target, less what earlier coats left.

    Args:
        patterns: strokes of the coats that differ, and their operators; coats take them in turn.
    """
    n, target = task.recipe.coats, task.target_m
    if n == 1:
        return Film(coats=(patterns[0][0],), operators=(patterns[0][1],))
    done = np.zeros(len(task.samples))
    coats: list[DwellResult] = []
    for k in range(n):
        pattern, operator = patterns[k % len(patterns)]
        strokes = [replace(s, coat=k + 1) for s in pattern.strokes]
        if k > 0:
            strokes[0] = replace(strokes[0], wait_before_s=task.recipe.flash_off_s)
        wanted = np.maximum((k + 1) / n * target - done, OWN_SHARE * target / n)
        coats.append(fitted(task, service, operator, strokes, wanted))
        done = done + coats[-1].predicted_m
    return Film(coats=tuple(coats), operators=tuple(patterns[k % len(patterns)][1] for k in range(n)))
