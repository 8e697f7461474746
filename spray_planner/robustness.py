"""How a coat fares under the errors of a real cell: figures over seeded draws, from the film linearised in the errors.

The film's derivative by each stroke's displacement, tilt, standoff and switching and by the gun's numbers is taken by
central differences of the coverage operator at a standard deviation; a draw is then a sum of columns. That leaves out
what is of second order in the strokes' errors: `exact_film` computes a draw without leaving it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from cell_core.config import GunConfig
from cell_core.errors import InputRefusedError
from cell_core.operator.coverage import coverage_of_points
from cell_core.operator.footprint import footprint_for
from cell_core.raycast import RayCaster
from cell_core.statistics import weighted_quantile
from cell_core.toolpath import Stroke
from cell_core.transforms import Array
from spray_planner.disturbances import Disturbances, Draws, box_names, moved

DRAWS = 1000
POINTS_MOST = 2000
TOLERANCE = 0.12
STEPS = Disturbances()


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Where film is looked at: points on the part and what is wanted there."""

    points_m: Array
    normals: Array
    weights: Array
    """(P,) area each stands for [m2]."""
    target_m: Array
    """(P,) > 0."""
    caster: RayCaster

    @staticmethod
    def thinned(
        points_m: Array, normals: Array, weights: Array, target_m: Array, caster: RayCaster, most: int = POINTS_MOST
    ) -> "Points":
        """Return at most so many of the points that have weight and a target, drawn evenly.

        Raises:
            InputRefusedError: there are none.
        """
        own = np.flatnonzero((np.asarray(weights) > 0.0) & (np.asarray(target_m) > 0.0))
        if len(own) == 0:
            raise InputRefusedError(f"robustness: none of {len(points_m)} points has a weight and a target above 0")
        some = np.sort(np.random.default_rng(0).permutation(own)[:most])
        return Points(
            points_m=points_m[some],
            normals=normals[some],
            weights=np.asarray(weights, float)[some],
            target_m=np.asarray(target_m, float)[some],
            caster=caster,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmModel:
    """The film at points, linear in the errors of each stroke, quadratic in those of the gun."""

    nominal_m: Array
    """(P,)."""
    shift: tuple[Any, Any, Any]
    """(P, S) csr each: film per displacement along x, y, z of each stroke."""
    tilt: tuple[Any, Any]
    """(P, S) csr each [m/rad]."""
    back: Array
    """(P,) film per displacement of all strokes against their axes."""
    late: Any
    """(P, 2 S) csr: film per second that a stroke switches on late, then off [m/s]."""
    numbers: Array
    """(P, K) film per change of each of the gun's open numbers."""
    number_squares: Array
    """(P, K) film per square of that change: a box is wide enough for it."""

    def films(self, draws: Draws) -> Array:
        """Return the film (P, N) of each draw."""
        change = self.back[:, None] * draws.back_m + self.late @ draws.late_s.T
        change += self.numbers @ draws.numbers.T + self.number_squares @ draws.numbers.T**2
        for axis, columns in enumerate(self.shift):
            change += columns @ draws.shift_m[:, :, axis].T
        for axis, columns in enumerate(self.tilt):
            change += columns @ draws.tilt_rad[:, :, axis].T
        return (self.nominal_m[:, None] + change) * (1.0 + draws.flow)


@dataclass(frozen=True, kw_only=True)
class RobustFigures:
    """What seeded draws leave; the worse of errors common to all strokes and of errors by stroke."""

    p95_cv: float
    """95 % of the draws have no larger CV."""
    in_12_percent_area_fraction: float
    """Share of the area within 12 % of the target, mean over the draws."""
    in_12_percent_area_fraction_p05: float
    """5 % of the draws have less."""
    draws: int

    def as_figures(self) -> dict[str, float]:
        """Return the figures of a plan."""
        return {
            "robust_p95_cv": self.p95_cv,
            "robust_in_12_percent_area_fraction": self.in_12_percent_area_fraction,
            "robust_in_12_percent_area_p05_fraction": self.in_12_percent_area_fraction_p05,
            "robust_draws": self.draws,
        }


def robust_figures(
    points: Points,
    strokes: Sequence[Stroke],
    gun: GunConfig,
    *,
    disturbances: Disturbances | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> RobustFigures:
    """Return the figures over so many draws of errors common to all strokes and as many of errors by stroke."""
    errors = disturbances or Disturbances()
    model = film_model(points, strokes, gun)
    both = [
        figures_of(
            model.films(Draws.of(errors, gun, len(strokes), draws, per_stroke=per_stroke, seed=seed)),
            points.target_m,
            points.weights,
        )
        for per_stroke in (False, True)
    ]
    return RobustFigures(
        p95_cv=max(f.p95_cv for f in both),
        in_12_percent_area_fraction=min(f.in_12_percent_area_fraction for f in both),
        in_12_percent_area_fraction_p05=min(f.in_12_percent_area_fraction_p05 for f in both),
        draws=draws,
    )


def figures_of(films_m: Array, target_m: Array, weights: Array) -> RobustFigures:
    """Return the figures of films (P, N)."""
    share = weights / weights.sum()
    mean = share @ films_m
    cv = np.sqrt(share @ (films_m - mean) ** 2) / mean
    inside = share @ (np.abs(films_m - target_m[:, None]) <= TOLERANCE * target_m[:, None])
    even = np.ones(len(cv))
    return RobustFigures(
        p95_cv=weighted_quantile(cv, even, 0.95),
        in_12_percent_area_fraction=float(inside.mean()),
        in_12_percent_area_fraction_p05=weighted_quantile(inside, even, 0.05),
        draws=len(cv),
    )


def film_model(points: Points, strokes: Sequence[Stroke], gun: GunConfig) -> FilmModel:
    """Return the film linearised about the strokes as they are."""
    step, angle, back = STEPS.position_m, STEPS.axis_rad, STEPS.standoff_m
    nominal = _operator(points, strokes, gun)
    dwell = np.concatenate([s.dwell_s for s in strokes])

    def slope(either: Sequence[Sequence[Stroke]], over: float) -> Any:
        plus, minus = (_by_stroke(_operator(points, own, gun), dwell) for own in either)
        return (plus - minus) / (2.0 * over)

    def shifted(axis: int) -> Any:
        return slope([[moved(s, shift_m=sign * step * np.eye(3)[axis]) for s in strokes] for sign in (1, -1)], step)

    def tilted(axis: int) -> Any:
        return slope([[moved(s, tilt_rad=sign * angle * np.eye(2)[axis]) for s in strokes] for sign in (1, -1)], angle)

    still = np.asarray(nominal.predict(strokes), float)

    def numbered(name: str) -> tuple[Array, Array]:
        """Return the first and second coefficient of the parabola through the box's ends and the number itself."""
        box, number = gun.confidence[name], gun.numbers[name]
        ends = [
            np.asarray(_operator(points, strokes, gun.with_numbers({name: end})).predict(strokes), float) - still
            for end in (box.low, box.high)
        ]
        low, high = box.low - number, box.high - number
        if low == 0.0 or high == 0.0:
            return (ends[1] - ends[0]) / (high - low), np.zeros(len(still))
        square = (ends[1] / high - ends[0] / low) / (high - low)
        return ends[1] / high - square * high, square

    retreat = slope([[moved(s, back_m=sign * back) for s in strokes] for sign in (1, -1)], back)
    numbers = np.array([numbered(name) for name in box_names(gun)]).reshape(-1, 2, len(still))
    return FilmModel(
        nominal_m=still,
        shift=(shifted(0), shifted(1), shifted(2)),
        tilt=(tilted(0), tilted(1)),
        back=np.asarray(retreat.sum(axis=1), float).ravel(),
        late=(nominal.matrix @ switching(strokes)).tocsr(),
        numbers=numbers[:, 0].T,
        number_squares=numbers[:, 1].T,
    )


def exact_film(points: Points, strokes: Sequence[Stroke], gun: GunConfig, draws: Draws, i: int) -> Array:
    """Return the film (P,) of draw i, not linearised."""
    dwell = np.concatenate([s.dwell_s for s in strokes]) + switching(strokes) @ draws.late_s[i]
    operator = _operator(points, draws.strokes(i, strokes), draws.gun(i, gun))
    return (1.0 + draws.flow[i]) * np.asarray(operator.predict(dwell), float)


def switching(strokes: Sequence[Stroke]) -> Any:
    """Return the change of each sample's dwell (N, 2 S) per second that a stroke switches on late, then off."""
    n, rows, columns, signs = 0, [], [], []
    for k, stroke in enumerate(strokes):
        before, after = np.r_[False, stroke.on[:-1]], np.r_[stroke.on[1:], False]
        for at, column, sign in ((stroke.on & ~before, k, -1.0), (stroke.on & ~after, len(strokes) + k, 1.0)):
            own = np.flatnonzero(at)
            rows.append(n + own)
            columns.append(np.full(len(own), column))
            signs.append(np.full(len(own), sign))
        n += len(stroke)
    entries = (np.concatenate(signs), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_matrix(entries, shape=(n, 2 * len(strokes)))


def _operator(points: Points, strokes: Sequence[Stroke], gun: GunConfig) -> Any:
    footprint = footprint_for(gun)
    return coverage_of_points(points.points_m, points.normals, strokes, footprint, caster=points.caster)


def _by_stroke(operator: Any, dwell_s: Array) -> Any:
    """Return the film (P, S) that each stroke leaves."""
    n = len(dwell_s)
    own = scipy.sparse.csr_matrix((dwell_s, (np.arange(n), operator.stroke_of_column)), shape=(n, operator.n_strokes))
    return (operator.matrix @ own).tocsr()
