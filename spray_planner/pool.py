"""Strokes drawn from a pool: many short ones thrown at what is still thin, of which the few worth having are kept.

Patches and sheets serve what a raster can serve. Recesses, inner corners and parts smaller than the fan want single
strokes from unusual directions, each of which also paints its surroundings. Which of them to take, and how much the
strokes laid before are then still wanted, is one bounded least-squares problem over all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from cell_core.operator.coverage import coverage_of_points
from cell_core.sampling import SurfaceSamples
from cell_core.toolpath import Stroke
from cell_core.transforms import Array, unit
from spray_planner.choice import choose
from spray_planner.clearance import gun_fits, raised
from spray_planner.service import Service
from spray_planner.task import TRANSITION_S, Task

SCOUTS_PER_FAN, SCOUTS_LEAST, SCOUTS_MOST = 10.0, 2_500, 10_000
"""Samples that strokes compete on: per area of half the fan's width and height, and bounds of their number."""
POSES_PER_FAN, POSES_LEAST, POSES_MOST = 30.0, 6_000, 12_000
"""Poses tried in a round: per area of half the fan's width and height, and bounds of their number."""
LEADERS_PER_FAN, LEADERS_LEAST, LEADERS_MOST = 1.2, 200, 500
"""Poses that become strokes: those that would lower the residual most, likewise."""
ALIKE = 0.85
"""Cosine of two films above which the lesser of two leaders adds nothing."""
LENGTHS_DEPTHS = (1.5, 4.0, 8.0)
"""Lengths of the strokes made of a pose, in half heights of the fan."""
STEP_DEPTHS = 0.3
LEAN_MAX_RAD = 1.0
"""Largest angle between the gun's direction and the normal at the point it is aimed at."""
TIME_PRICE = 0.005
"""Residual fraction that strokes must gain to take as long again as the paint needs: less than a layout has to, since
what layouts leave uneven only such strokes can mend."""
ENOUGH = 0.02
"""No stroke is added to bring the residual below this: refinement does it with those there are."""
THIN = 0.02
"""Points that lack less than this of the target are hardly aimed at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """Gun poses of the pool."""

    position_m: Array
    aim: Array
    """(N, 3) from the surface to the gun."""
    travel: Array

    def __len__(self) -> int:
        return len(self.aim)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """What strokes compete on: some of the samples, and gun poses drawn from one seed."""

    task: Task
    samples: SurfaceSamples
    weights: Array
    """(S,) sums to 1."""
    target: Array
    """(S,) film wanted, over the target."""
    area_m2: float
    """Of all that is served."""
    rng: np.random.Generator

    @staticmethod
    def of(task: Task, service: Service, seed: int = 0) -> "Pool":
        """Return a pool over some of the samples that count."""
        every = task.weights(service)
        some = np.flatnonzero(every > 0.0)
        area = float(task.samples.areas_m2 @ service.mask)
        n = int(np.clip(SCOUTS_PER_FAN * area / (task.fan_m * task.depth_m), SCOUTS_LEAST, SCOUTS_MOST))
        some = some[:: max(1, len(some) // n)]
        samples = task.samples.select(some)
        return Pool(
            task=task,
            samples=samples,
            weights=every[some] / every[some].sum(),
            target=task.paint[some],
            area_m2=area,
            rng=np.random.default_rng(seed),
        )

    def chosen(self, strokes: Sequence[Stroke], rounds: int) -> list[Stroke]:
        """Return those of the strokes still wanted and those added, at a speed each that suits their company.

        Each round aims at what the strokes so far leave thin. Speeds of strokes given keep their course.
        """
        films: Any = self.films(strokes) if strokes else scipy.sparse.csc_matrix((len(self.samples), 0))
        amounts = np.ones(len(strokes))
        kept = list(strokes)
        for number in range(rounds + 1):
            # what is given is weighed first, on its own
            new = self._drawn(self.target - np.asarray(films @ amounts)) if number else []
            if new:
                films = scipy.sparse.hstack([films, self.films(new)], format="csc")
            elif number or not kept:
                continue
            kept += new
            start = np.r_[amounts, np.zeros(len(new))]
            choice = choose(
                films,
                self.target,
                self.weights,
                start,
                *self._bounds(kept),
                price=self._price(),
                waste=self._waste(kept),
                enough=ENOUGH,
            )
            films, amounts = films[:, choice.index], choice.amounts
            kept = [kept[k] for k in choice.index]
        return [replace(s, speed_m_per_s=s.speed_m_per_s / x) for s, x in zip(kept, amounts, strict=True)]

    def films(self, strokes: Sequence[Stroke]) -> Any:
        """Return (S, K) sparse: the film each stroke leaves as it is, over the target."""
        operator = self._operator(strokes)
        dwell = np.concatenate([s.dwell_s for s in strokes]) / self.task.recipe.target_thickness_m
        n = len(dwell)
        gather = scipy.sparse.csr_matrix((dwell, (np.arange(n), operator.stroke_of_column)), shape=(n, len(strokes)))
        return (operator.matrix @ gather).tocsc()

    def _operator(self, strokes: Sequence[Stroke]) -> Any:
        return coverage_of_points(
            self.samples.points_m, self.samples.normals, strokes, self.task.footprint, caster=self.task.caster
        )

    def _bounds(self, strokes: Sequence[Stroke]) -> tuple[Array, Array]:
        """Return the least and largest amounts (K,) of strokes: their samples at the gun's highest and lowest speed."""
        limits = self.task.limits
        slow = np.array([s.speed_m_per_s.min() for s in strokes]) / limits.low_m_per_s
        fast = np.array([s.speed_m_per_s.max() for s in strokes]) / limits.high_m_per_s
        return fast, np.maximum(slow, fast)

    def _price(self) -> float:
        """Return the residual fraction that a stroke must gain."""
        task = self.task
        shortest_s = self.area_m2 * task.recipe.target_thickness_m / task.footprint.volume_rate_m3_per_s
        return TIME_PRICE * TRANSITION_S / shortest_s

    def _waste(self, strokes: Sequence[Stroke]) -> Array:
        """Return what the paint of each stroke (K,) as it is adds to the squared residual."""
        on_s = np.array([float(s.dwell_s.sum()) for s in strokes])
        wanted_m3 = self.area_m2 * self.task.recipe.target_thickness_m
        return self.task.recipe.overspray_price * self.task.footprint.volume_rate_m3_per_s / wanted_m3 * on_s

    def _per_fan(self, each: float, least: int, most: int) -> int:
        return int(np.clip(each * self.area_m2 / (self.task.fan_m * self.task.depth_m), least, most))

    def _drawn(self, residual: Array) -> list[Stroke]:
        """Return strokes through those of many random poses that would lower the residual (S,) most."""
        poses = self._poses(residual)
        if len(poses) < 2:
            return []
        still = _stroke(self.task, poses.position_m, poses.aim, poses.travel)
        film = self._operator([still]).matrix.tocsc()
        norm = np.sqrt(np.asarray(film.multiply(film).T @ self.weights).ravel())
        gain = np.asarray(film.T @ (self.weights * residual)).ravel() / np.maximum(norm, 1e-30)
        n = self._per_fan(LEADERS_PER_FAN, LEADERS_LEAST, LEADERS_MOST)
        front = np.argsort(-gain, kind="stable")[: 4 * n]
        front = front[gain[front] > 0.0]
        leaders = front[_unlike(film[:, front], norm[front], self.weights)[:n]]
        return [s for length in LENGTHS_DEPTHS for s in self._swept(poses, leaders, length * self.task.depth_m)]

    def _poses(self, residual: Array) -> Poses:
        """Return poses aimed at points that lack film, from directions within LEAN_MAX_RAD of the normal.

        Half of them stand at the recipe's standoff, the others at the gun's least or largest; any spin.
        """
        task, rng = self.task, self.rng
        n = self._per_fan(POSES_PER_FAN, POSES_LEAST, POSES_MOST)
        wanted = self.weights * (np.maximum(residual, 0.0) + THIN)
        at = rng.choice(len(wanted), n, p=wanted / wanted.sum())
        normal, point = self.samples.normals[at], self.samples.points_m[at]
        side = rng.standard_normal((n, 3))
        side = unit(side - np.einsum("ij,ij->i", side, normal)[:, None] * normal)
        lean = LEAN_MAX_RAD * np.sqrt(rng.random((n, 1)))
        aim = np.cos(lean) * normal + np.sin(lean) * side
        own = task.recipe.standoff_m
        standoff = rng.choice([task.gun.standoff_m.low, own, own, task.gun.standoff_m.high], n)
        travel = unit(np.cross(aim, rng.standard_normal((n, 3))))
        aim = raised(aim, task.surroundings.lowest_rise(point, standoff))
        within = np.einsum("ij,ij->i", aim, normal) >= np.cos(task.gun.incidence_max_rad)
        fits = within & gun_fits(point, aim, task.part, standoff, task.surroundings)
        position = point + standoff[:, None] * aim
        return Poses(position_m=position[fits], aim=aim[fits], travel=travel[fits])

    def _swept(self, poses: Poses, leaders: NDArray[np.int64], length_m: float) -> list[Stroke]:
        """Return straight strokes of this length through the leaders, where the gun is clear all along."""
        task = self.task
        n = max(int(np.ceil(length_m / (STEP_DEPTHS * task.depth_m))), 3) + 1
        along = np.linspace(-0.5, 0.5, n) * length_m
        position = poses.position_m[leaders, None] + along[:, None] * poses.travel[leaders, None]
        aim = np.repeat(poses.aim[leaders, None], n, axis=1)
        # what the axis meets on the way is nobody's aim: the nozzle and the body must be clear
        standoff = task.gun.standoff_m.low
        nearest = position - standoff * aim
        flat = gun_fits(nearest.reshape(-1, 3), aim.reshape(-1, 3), task.part, standoff, task.surroundings)
        clear = flat.reshape(len(leaders), n).all(axis=1)
        travel = np.repeat(poses.travel[leaders, None], n, axis=1)
        return [_stroke(task, position[k], aim[k], travel[k]) for k in np.flatnonzero(clear)]


def _unlike(films: Any, norms: Array, weights: Array) -> NDArray[np.int64]:
    """Return columns, best first as they are given, none like one before it."""
    unit_films = films.multiply(np.sqrt(weights)[:, None]).tocsc() @ scipy.sparse.diags(1.0 / np.maximum(norms, 1e-30))
    cosines = (unit_films.T @ unit_films).toarray()
    free, taken = np.ones(len(norms), bool), []
    for k in range(len(norms)):
        if free[k]:
            taken.append(k)
            free &= cosines[k] < ALIKE
    return np.array(taken, np.int64)


def _stroke(task: Task, position_m: Array, aim: Array, travel: Array) -> Stroke:
    n = len(position_m)
    return Stroke(
        kind="area",
        position_m=position_m,
        tool_axis=-aim,
        travel=travel,
        speed_m_per_s=np.full(n, task.nominal_speed_m_per_s),
        process_value=np.full(n, task.gun.flow_m3_per_s),
        on=np.ones(n, bool),
        freedom=task.freedom,
    )
