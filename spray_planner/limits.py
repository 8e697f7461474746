"""What keeps a film from its specification, where, and what a person could change."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.strokes.patches import sphere_directions
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.clearance import BODY_LENGTH_M
from spray_planner.coats import Film, for_target
from spray_planner.masks import MASKED
from spray_planner.service import LIFT_M, Service
from spray_planner.task import Task

DIRECTIONS = 160
SCOUTS_MAX = 2_000
"""Unserved samples whose surroundings are looked at; the shares of the others follow."""
GRAZING_COS = 0.1
DRIVEN = 0.5
"""A bound limits a point that gets more than this share of its paint while it binds."""
PASSED = 0.6
"""No stroke passes over a point that gets less than this share of the target at the speed of a flat raster."""
LEAST_AREA = 1e-4
"""Shares below this are left out."""
HIDDEN = "hidden from every gun pose"
CHANGES = {
    "gun would stand below the part": "turn the part over, or hang it free (--free-hanging)",
    HIDDEN: "turn the part, or paint these places by hand",
    "recess: the gun's body would touch": "a gun with a longer reach or a larger standoff_m",
    "recess: no room for the standoff": "a standoff_m that fits, within the gun's standoff_m limits",
    "no pose within the gun's incidence": "a gun with a larger incidence_max_rad, or a smaller one that fits in",
    "no stroke fits: too narrow for the fan": "a narrower fan, or a shorter standoff_m",
    "lowest speed": "more coats, or a higher flow_m3_per_s",
    "highest speed": "a lower flow_m3_per_s, fewer coats, or a larger standoff_m",
    "acceleration": "a lower flow_m3_per_s, so that strokes are slower, or a higher acceleration_m_per_s2",
    "lines of the strokes": "closer spacing_m, a narrower fan, or refine: true",
}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One reason, and how much of the area it holds."""

    reason: str
    area_fraction: float
    of: str
    """surface: all of it; serviceable: what the gun can serve."""

    def as_dict(self) -> dict[str, Any]:
        """Return what figures.json holds."""
        change = CHANGES.get(self.reason, "see the plan's picture for where")
        return {"reason": self.reason, "area_fraction": self.area_fraction, "of": self.of, "change": change}


def find_limits(task: Task, service: Service, film: Film, unmet: NDArray[np.bool_]) -> list[Limit]:
    """Return why samples are not served, and why served ones miss the specification (`unmet` (P,)); most area first."""
    areas = task.samples.areas_m2
    found = []
    for reason, mask in {**_why_unserved(task, service), **_why_unmet(task, film, service.mask & unmet)}.items():
        of = "serviceable" if service.mask[mask].any() else "surface"
        whole = areas @ service.mask if of == "serviceable" else areas.sum()
        found.append(Limit(reason=reason, area_fraction=float(areas @ mask / whole), of=of))
    return sorted((f for f in found if f.area_fraction >= LEAST_AREA), key=lambda f: -f.area_fraction)


def _why_unserved(task: Task, service: Service) -> dict[str, NDArray[np.bool_]]:
    """Return the service's reasons, hidden samples told apart by what a gun with more freedom would see."""
    reasons = {reason: mask for reason, mask in service.reasons.items() if reason != MASKED}
    hidden = np.flatnonzero(reasons.get(HIDDEN, np.zeros(0, bool)))
    if len(hidden) == 0:
        return reasons
    scouts = hidden[:: max(1, len(hidden) // SCOUTS_MAX)]
    points, normals = task.samples.points_m[scouts], task.samples.normals[scouts]
    standoff, cos_max = task.recipe.standoff_m, np.cos(task.gun.incidence_max_rad)
    touch, near, steep = (np.zeros(len(scouts), bool) for _ in range(3))
    rise = task.surroundings.lowest_rise(points, standoff)
    for direction in sphere_directions(DIRECTIONS):
        cos = normals @ direction
        allowed = (cos > GRAZING_COS) & (direction[2] >= rise)
        inside = cos >= cos_max
        touch |= _free(task, points, direction, standoff, allowed & inside & ~touch)
        near |= _free(task, points, direction, task.gun.standoff_m.low, allowed & inside & ~touch & ~near)
        steep |= _free(task, points, direction, standoff + BODY_LENGTH_M, allowed & ~inside & ~steep)
    _, nearest = KDTree(points).query(task.samples.points_m[hidden])
    masks = {
        "recess: the gun's body would touch": touch,
        "recess: no room for the standoff": near & ~touch,
        "no pose within the gun's incidence": steep & ~near & ~touch,
        HIDDEN: ~(touch | near | steep),
    }
    for reason, mask in masks.items():
        reasons[reason] = np.zeros(len(task.samples), bool)
        reasons[reason][hidden] = mask[nearest]
    return reasons


def _free(
    task: Task, points_m: Array, direction: Array, distance_m: float, asked: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return where the straight line of that length from a point (N, 3) towards `direction` is free, of those asked."""
    free = np.zeros(len(points_m), bool)
    at = np.flatnonzero(asked)
    if len(at):
        free[at] = ~task.caster.blocked(points_m[at] + distance_m * direction, points_m[at], LIFT_M)
    return free


def _why_unmet(task: Task, film: Film, unmet: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return which of the samples that miss the specification are held back by which bound."""
    got = film.predicted_m
    thin = got < task.recipe.target_thickness_m
    slow, fast, eager, plain = np.zeros((4, len(got)))
    nominal = for_target(task, 1.0 / task.recipe.coats).nominal_speed_m_per_s
    for coat, operator in zip(film.coats, film.operators, strict=True):
        dwell = np.concatenate([s.dwell_s for s in coat.strokes])
        flags = [_bound_samples(task, s) for s in coat.strokes]
        for total, at in zip((slow, fast, eager), (np.concatenate(f) for f in zip(*flags, strict=True)), strict=True):
            total += operator.predict(dwell * at)
        plain += operator.predict(np.concatenate([s.dwell_s * s.speed_m_per_s for s in coat.strokes])) / nominal
    share = DRIVEN * np.maximum(got, 1e-12)
    out: dict[str, NDArray[np.bool_]] = {}
    left = unmet.copy()
    for reason, mask in (
        ("lowest speed", thin & (slow > share)),
        ("no stroke fits: too narrow for the fan", thin & (plain < PASSED * task.recipe.target_thickness_m)),
        ("highest speed", ~thin & (fast > share)),
        ("acceleration", eager > share),
    ):
        out[reason] = left & mask
        left &= ~mask
    out["lines of the strokes"] = left
    return out


def _bound_samples(task: Task, stroke: Stroke) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where (N,) a stroke is at the lowest speed, at the highest, and next to a step at full acceleration."""
    limits, v = task.limits, stroke.speed_m_per_s
    step = np.abs(np.diff(v**2)) > 1.9 * limits.acceleration_m_per_s2 * stroke.step_lengths_m
    beside = np.r_[step, False] | np.r_[False, step]
    return v < 1.01 * limits.low_m_per_s, v > 0.99 * limits.high_m_per_s, beside
