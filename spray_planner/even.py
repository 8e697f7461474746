"""One pattern of strokes made to leave as even a film as it can: speeds, strokes from the pool, refined poses."""

from collections.abc import Sequence
from dataclasses import dataclass

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator
from cell_core.optimise.dwell import DwellResult
from cell_core.plan import Progress
from cell_core.surface import Surface
from cell_core.toolpath import Stroke
from spray_planner.pool import Pool
from spray_planner.refined import refine_plan
from spray_planner.service import Service
from spray_planner.speeds import fit_speeds
from spray_planner.task import Task
from spray_planner.trimming import trimmed

VERY_UNEVEN, UNEVEN = 0.06, 0.025
"""Above these residuals over the target, before and after refinement, strokes are drawn from the pool."""
POOL_ROUNDS = 3
ON_MASK_MOST = 0.004
"""Share of what is sprayed that may land deep in a mask."""
KEEP_OUT_FACTORS = (1.0, 3.0, 9.0, 27.0, 81.0)
"""How much more film on masks counts, one after the other until that is kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Laid:
    """Strokes with speeds fitted to their part of the film."""

    result: DwellResult
    operator: CoverageOperator
    steps: Sequence[dict[str, object]] = ()
    """What refinement did."""


def even_film(
    task: Task, surface: Surface, service: Service, pool: Pool | None, strokes: Sequence[Stroke], progress: Progress
) -> Laid:
    """Return the strokes at fitted speeds, with strokes from the pool where the film would be uneven, refined.

    A raster that is nearly even is refined alone, since strokes cost time; where that does not do, and at once where
    it cannot, the pool is asked.

    Args:
        pool: None for lines that are to be even only together with those of another coat.
    """
    if pool is not None and len(strokes) != 1:
        # parts and patches too small for lines have strokes from the pool alone
        strokes = pool.chosen(strokes, 0 if strokes else POOL_ROUNDS)
    if not strokes:
        area = float(task.samples.areas_m2 @ service.mask)
        raise CoverageError(f"no stroke fits the {area:.5f} m2 that the gun could serve", area_m2=area)
    laid = _laid(task, service, strokes, progress)
    drawn = pool is None or _uneven(task, service, laid, VERY_UNEVEN)
    if pool is not None and drawn:
        laid = _better(task, service, pool, laid, progress)
    # coat by coat, whatever the pattern: offset coats refined together leave each other more to mend
    laid = _refined(task, surface, service, laid, progress)
    if pool is not None and not drawn and _uneven(task, service, laid, UNEVEN):
        other = _better(task, service, pool, laid, progress)
        laid = _refined(task, surface, service, other, progress) if other is not laid else laid
    return laid


def _laid(task: Task, service: Service, strokes: Sequence[Stroke], progress: Progress) -> Laid:
    result, operator = fit_speeds(task, service, strokes, progress)
    return Laid(result=result, operator=operator)


def _uneven(task: Task, service: Service, laid: Laid, limit: float) -> bool:
    return laid.result.residual_rms_m > limit * task.goal(service).mean_m


def _better(task: Task, service: Service, pool: Pool, laid: Laid, progress: Progress) -> Laid:
    """Return the strokes with others from the pool, or as they are where that is no better."""
    progress(0.7, f"looking for strokes that even out {1e6 * laid.result.residual_rms_m:.1f} um")
    other = _laid(task, service, pool.chosen(laid.result.strokes, POOL_ROUNDS), progress)
    goal = task.goal(service)
    return other if goal.merit(other.result) < goal.merit(laid.result) else laid


def _refined(task: Task, surface: Surface, service: Service, laid: Laid, progress: Progress) -> Laid:
    """Return a coat with poses refined and triggers trimmed, masks weighed up until little enough lands on them."""
    steps: list[dict[str, object]] = list(laid.steps)
    for factor in KEEP_OUT_FACTORS:
        stricter = task.keeping_out(factor)
        goal = stricter.goal(service)
        result, operator = laid.result, laid.operator
        if factor > 1.0:
            result = goal.fitted(operator, result.strokes)
        if task.recipe.refine:
            refined = refine_plan(stricter, surface, service, result, operator, progress)
            result, operator, steps = refined.result, refined.operator, [*steps, *refined.steps]
        if not task.wastes_freely:
            result = trimmed(goal, result, operator, task.depth_m)
        laid = Laid(result=result, operator=operator, steps=steps)
        if task.on_mask_fraction(result.predicted_m, result.strokes) <= ON_MASK_MOST:
            break
    return laid
