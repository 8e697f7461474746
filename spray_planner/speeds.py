"""Speeds of all strokes together, and which strokes are not wanted at any speed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cell_core.errors import CoverageError
from cell_core.operator.coverage import CoverageOperator, coverage_of_points
from cell_core.optimise.dwell import DwellResult, SpeedLimits
from cell_core.plan import Progress
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.service import Service
from spray_planner.task import Task
from spray_planner.trimming import trimmed

PRUNINGS_MAX = 5
RUSHED = 0.5
"""Strokes with more than this share of their paint at nearly the highest speed may be dropped."""
PRUNING_LOSS = 1.01
"""They are, when the residual grows by no more than this factor."""
CATCH_MIN = 0.02
"""The gun stays off at a stroke's ends while less than this of its paint would land on what is to be coated."""


def fit_speeds(
    task: Task, service: Service, strokes: Sequence[Stroke], progress: Progress
) -> tuple[DwellResult, CoverageOperator]:
    """Return optimised strokes, those dropped that are only rushed through, and their operator over all samples."""
    samples = task.samples
    operator = coverage_of_points(samples.points_m, samples.normals, strokes, task.footprint, caster=task.caster)
    catch = operator.adjoint(samples.areas_m2 * service.mask) / task.footprint.volume_rate_m3_per_s
    own = np.split(catch, np.cumsum([len(s) for s in strokes])[:-1])
    strokes = [_triggered(s, c) for s, c in zip(strokes, own, strict=True)]
    keep = np.array([k for k, s in enumerate(strokes) if s.on.any()])
    if len(keep) == 0:
        raise CoverageError(
            f"none of {len(strokes)} strokes lands {CATCH_MIN:.0%} of its paint on what the gun can serve"
        )
    operator = operator.columns_of(keep)
    goal = task.goal(service)
    result = goal.fitted(operator, [strokes[k] for k in keep])
    for attempt in range(PRUNINGS_MAX):
        progress(0.65 + 0.05 * attempt, f"fitting the speed of {len(result.strokes)} strokes")
        # border bands were asked for, and spare the area strokes what lies beside them
        haste = np.array([0.0 if s.kind == "border" else _haste(s, task.limits) for s in result.strokes])
        rushed = np.flatnonzero(haste > RUSHED)
        if len(rushed) == 0 or len(rushed) == len(haste):
            break
        worst = rushed[np.argsort(-haste[rushed], kind="stable")][: max(1, len(rushed) // 2)]
        keep = np.setdiff1d(np.arange(len(haste)), worst)
        fewer = operator.columns_of(keep)
        trial = goal.fitted(fewer, [result.strokes[k] for k in keep])
        if goal.score(trial) > PRUNING_LOSS * goal.score(result):
            break
        result, operator = trial, fewer
    return result if task.masking is None else trimmed(goal, result, operator, task.depth_m), operator


def _triggered(stroke: Stroke, catch: Array) -> Stroke:
    """Switch the gun off at both ends while it would miss, and all along where it always would."""
    useful = np.flatnonzero((catch >= CATCH_MIN) & stroke.on)
    on = np.zeros(len(stroke), bool)
    if len(useful):
        on[useful[0] : useful[-1] + 1] = stroke.on[useful[0] : useful[-1] + 1]
    return replace(stroke, on=on)


def _haste(stroke: Stroke, limits: SpeedLimits) -> float:
    """Return the share of the painting samples near the highest speed: paint that is hardly wanted."""
    return float((stroke.speed_m_per_s[stroke.on] > 0.9 * limits.high_m_per_s).mean())
