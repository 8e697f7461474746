"""The film kept within its bounds: no more than sags anywhere, no less than hides where the gun can serve."""

import numpy as np

from cell_core.errors import CoverageError
from cell_core.transforms import Array
from spray_planner.coats import Film, fitted
from spray_planner.service import Service
from spray_planner.task import Task

ROUNDS = 8
STRESS = 4.0
"""Errors where a bound is broken weigh so many times more in the next round."""
STRESS_MAX = 1e4
ROOM = 0.002
"""Bounds are aimed at with this share to spare: films are carried from samples to vertices and into a file."""
HOPELESS = 0.5
"""Points that got less than this share of the least film are out of the strokes' way: no speed brings it there."""
RESIDUAL_MOST = 1.3
"""The film's deviation may grow by this factor at most to bring fewer places beyond a bound; or, where it is small,"""
UNEVEN_MOST = 0.03
"""to this share of the target."""
NEAR = 0.97
"""Points above this share of the cap are held below it; others are looked at again."""


def keep_bounds(task: Task, service: Service, film: Film) -> Film:
    """Return the film with the last coat's speeds fitted anew where it breaks the recipe's bounds.

    Errors at points beyond a bound weigh more, round after round; points above the most are capped as well, as far as
    the highest speed and the coats before allow. Fewer places beyond are not bought with an uneven film; what cannot
    be kept is left to the report.
    """
    recipe = task.recipe
    low, high = recipe.min_thickness_m or 0.0, recipe.max_thickness_m or np.inf
    best, least = film, _broken(task, service, film, low, high)
    if least <= 0.0:
        return film
    earlier = film.predicted_m - film.coats[-1].predicted_m
    # a bound may be next to the target: what is aimed at lies between the two, not beyond either
    inner = (low * (1.0 + ROOM), high * (1.0 - ROOM))
    aim = float(np.clip(recipe.target_thickness_m, *inner)) if inner[0] < inner[1] else 0.5 * (low + high)
    wanted = np.maximum(aim * task.paint - earlier, 0.0)
    stress, capped = np.ones(len(wanted)), np.zeros(len(wanted), bool)
    hopeful = service.mask & (film.predicted_m > HOPELESS * low)
    most = max(RESIDUAL_MOST * _deviation(task, service, film, aim), UNEVEN_MOST * recipe.target_thickness_m)
    trial = film
    for _ in range(ROUNDS):
        now = trial.predicted_m
        under, over = hopeful & (now < inner[0]), now > inner[1]
        stress = np.minimum(np.where(under | over, STRESS, 1.0) * stress, STRESS_MAX)
        capped |= now > NEAR * inner[1]
        trial = _refitted(task, service, film, wanted, stress, np.where(capped, inner[1] - earlier, np.inf))
        broken = _broken(task, service, trial, low, high)
        if broken < least and _deviation(task, service, trial, aim) <= most:
            best, least = trial, broken
        if least <= 0.0:
            break
    return best


def _refitted(task: Task, service: Service, film: Film, wanted: Array, stress: Array, most: Array) -> Film:
    """Return the film with the last coat fitted anew; without caps where speeds that keep them are not found."""
    operator, strokes = film.operators[-1], film.coats[-1].strokes
    path = [s.step_lengths_m / task.limits.high_m_per_s for s in strokes]
    dwell = np.concatenate([np.r_[0.5 * t, 0.0] + np.r_[0.0, 0.5 * t] for t in path])
    least = operator.predict(dwell * np.concatenate([s.on for s in strokes]))
    most = np.where(least < (1.0 - ROOM) * most, most, np.inf)
    try:
        return film.with_last(fitted(task, service, operator, strokes, wanted, stress=stress, most_m=most))
    except CoverageError:
        return film.with_last(fitted(task, service, operator, strokes, wanted, stress=stress))


def _deviation(task: Task, service: Service, film: Film, aim: float) -> float:
    """Return the root mean square of the film's deviation over the area served [m]."""
    return float(np.sqrt(np.average((film.predicted_m - aim) ** 2, weights=task.samples.areas_m2 * service.mask)))


def _broken(task: Task, service: Service, film: Film, low: float, high: float) -> float:
    """Return the area beyond the bounds [m2], each piece times how far beyond, over the target."""
    now = film.predicted_m
    under = np.maximum(low - now, 0.0) * service.mask
    over = np.maximum(now - high, 0.0) if np.isfinite(high) else 0.0
    beyond = (under + over) / task.recipe.target_thickness_m
    return float(task.samples.areas_m2 @ (beyond + (beyond > 0.0)))
