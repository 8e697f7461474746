"""The fewest views that measure a part whose shape is known, or supposed: offline set cover."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix, eye_array, hstack

from cell_core.config.models import CameraConfig
from cell_core.raycast import RayCaster
from cell_core.sampling import points_by_area
from cell_core.surface import Surface
from cell_core.transforms import Array, unit
from cell_scanning.camera import Intrinsics, as_intrinsics
from cell_scanning.measurability import Patches, greedy_cover, measurable, surely_measurable
from cell_scanning.views import CAMERA_Z_MIN_M, CLEARANCE_M, RANGES_M, looking_at

CUT_M = 0.007
"""What stands lower on the fixture is cut away with it."""
N_POINTS = 1200
N_ROUND = 96
"""Directions over the half-space above the fixture from which candidates look at the middle of the part."""
N_NEAR = 320
"""Candidates that look at one point of it each."""
N_RARE = 240
"""Further ones, that look at the points which fewest candidates show."""
RARE = 0.15
LEAN_MAX_RAD = 1.05
NEAREST_M, FARTHEST_M = 0.33, 0.65
GOLDEN_RAD = np.pi * (3.0 - np.sqrt(5.0))
COVERED = 0.995
NODES_MAX = 60
"""Nodes the solver may open: the same answer on any machine that is not very slow."""
SOLVE_TIME_S = 4.0
TRIES = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class CoverPlan:
    """Views of a known shape."""

    T_part_camera: Array
    """(K, 4, 4) poses, the one that shows most first."""
    measurable: NDArray[np.bool_]
    """(P,) which of `cover_points` any candidate shows; of those wanted."""
    covered_fraction: float
    """Share of that which the views chosen show."""
    n_views_bound: int
    """No choice among the candidates that can be reached covers as much with fewer."""


def plan_cover(
    camera: Intrinsics | CameraConfig,
    shape: Surface,
    floor_z_m: float,
    *,
    share: float = COVERED,
    reachable: Callable[[Array], bool] | None = None,
    wanted: NDArray[np.bool_] | None = None,
    n_views: int | None = None,
) -> CoverPlan:
    """Return few views that together show what is measurable of a shape standing on a fixture.

    Integer programme over a table of candidates, started from nothing; where the solver runs out of time, the greedy
    cover stands. Candidates that cannot be reached are struck out and the rest solved again.

    Args:
        camera: intrinsics and limits.
        shape: the part, closed or open, in the part frame.
        floor_z_m: height of the fixture plane.
        share: of the measurable points that is to be covered.
        reachable: asked with T_part_camera (4, 4) about candidates that would be taken.
        wanted: mask over `cover_points(shape, floor_z_m)`; None: all of them.
        n_views: most views to return, those that show most.
    """
    camera = as_intrinsics(camera)
    points = cover_points(shape, floor_z_m)
    some = np.ones(len(points), bool) if wanted is None else wanted
    targets = Patches(points_m=points.points_m[some], normals=points.normals[some])
    none = CoverPlan(
        T_part_camera=np.zeros((0, 4, 4)), measurable=np.zeros(len(points), bool), covered_fraction=0.0, n_views_bound=0
    )
    if len(targets) == 0:
        return none
    caster = RayCaster(shape)
    candidates, seen = _table(camera, targets, shape, caster, floor_z_m)
    chosen, bound, shown = _reachable_cover(seen, candidates, share, reachable)
    if not chosen:
        return none
    order, _ = greedy_cover(seen[chosen], np.ones(len(targets)), len(chosen), 0.5)
    ranked = [chosen[k] for k in order][:n_views]
    return CoverPlan(
        T_part_camera=candidates[ranked],
        measurable=_spread(some, shown),
        covered_fraction=float(seen[ranked].any(axis=0).sum() / shown.sum()),
        n_views_bound=bound,
    )


def cover_points(shape: Surface, floor_z_m: float) -> Patches:
    """Return about N_POINTS points spread over what stands above the cut at the fixture."""
    samples = points_by_area(shape, float(np.sqrt(shape.area_m2 / N_POINTS)))
    above = samples.points_m[:, 2] > floor_z_m + CUT_M
    return Patches(points_m=samples.points_m[above], normals=samples.normals[above])


def box_surface(box_m: ArrayLike) -> Surface:
    """Return the faces of a box (2, 3), the lowest one left out: what is supposed of a part known by its size."""
    low, high = np.asarray(box_m, float)
    corners = np.array([[x, y, z] for z in (low[2], high[2]) for y in (low[1], high[1]) for x in (low[0], high[0])])
    quads = np.array([[4, 5, 7, 6], [0, 1, 5, 4], [1, 3, 7, 5], [3, 2, 6, 7], [2, 0, 4, 6]])
    return Surface(vertices_m=corners, triangles=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def fewest(seen: NDArray[np.bool_], share: float, time_s: float = SOLVE_TIME_S) -> tuple[list[int], int]:
    """Return rows of a table (K, P) that cover `share` of the columns any row covers, and a bound on their number.

    Columns seen by the same rows are one, weighted; HiGHS solves within the time given, else the greedy cover stands.
    """
    columns, weight = np.unique(seen[:, seen.any(axis=0)].T, axis=0, return_counts=True)
    if len(weight) == 0:
        return [], 0
    k, n = len(seen), len(weight)
    greedy = _greedy(columns.T, weight.astype(float), share)
    shown = hstack([csr_matrix(columns.astype(float)), -eye_array(n)], format="csr")
    total = coo_matrix(np.r_[np.zeros(k), weight.astype(float)][None, :])
    answer = milp(
        np.r_[np.ones(k), np.zeros(n)],
        integrality=np.r_[np.ones(k), np.zeros(n)],
        bounds=Bounds(0.0, 1.0),
        constraints=[LinearConstraint(shown, 0.0, np.inf), LinearConstraint(total, share * weight.sum(), np.inf)],
        options={"time_limit": time_s, "node_limit": NODES_MAX},
    )
    dual = getattr(answer, "mip_dual_bound", None)
    bound = 1 if dual is None else max(1, int(np.ceil(dual - 1e-6)))
    if answer.x is None:
        return greedy, bound
    chosen = np.flatnonzero(answer.x[:k] > 0.5).tolist()
    return (chosen, bound) if len(chosen) < len(greedy) else (greedy, bound)


def _spread(some: NDArray[np.bool_], shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    out = np.zeros(len(some), bool)
    out[some] = shown
    return out


def _greedy(table: NDArray[np.bool_], weight: Array, share: float) -> list[int]:
    order, gains = greedy_cover(table, weight, len(table), 0.0)
    enough = int(np.searchsorted(np.cumsum(gains), share * weight.sum() - 1e-6 * weight.sum())) + 1
    return order[:enough]


def _reachable_cover(
    seen: NDArray[np.bool_], candidates: Array, share: float, reachable: Callable[[Array], bool] | None
) -> tuple[list[int], int, NDArray[np.bool_]]:
    # asking costs some milliseconds each: only what would be taken is asked, and struck out when refused
    left = np.arange(len(seen))
    if reachable is None:
        chosen, bound = fewest(seen, share)
        return chosen, bound, np.asarray(np.any(seen, axis=0))
    known: dict[int, bool] = {}
    for attempt in range(TRIES):
        if attempt == TRIES - 1:
            left = np.array([k for k in left if known.setdefault(int(k), reachable(candidates[k]))], np.int64)
        if len(left) == 0:
            break
        rows, bound = fewest(seen[left], share)
        chosen = left[rows].tolist()
        refused = [k for k in chosen if not known.setdefault(k, reachable(candidates[k]))]
        if not refused:
            return chosen, bound, np.asarray(np.any(seen[left], axis=0))
        left = np.setdiff1d(left, refused)
    return [], 0, np.zeros(seen.shape[1], bool)


def _table(
    camera: Intrinsics, targets: Patches, shape: Surface, caster: RayCaster, floor_z_m: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Return candidates (K, 4, 4) and which target each shows: all around, then more for those that few show."""
    rounds = _around(shape, floor_z_m)
    some = np.linspace(0, len(targets) - 1, min(N_NEAR, len(targets))).astype(int)
    candidates = _free(np.concatenate([rounds, _near(targets, some, shape, 0)]), caster, floor_z_m)
    seen = measurable(camera, candidates, targets, caster)
    rare = np.argsort(seen.sum(axis=0), kind="stable")[: int(RARE * len(targets))]
    again = rare[np.linspace(0, len(rare) - 1, min(N_RARE, N_NEAR, 8 * len(rare))).astype(int)] if len(rare) else rare
    more = _free(_near(targets, again, shape, N_NEAR), caster, floor_z_m)
    candidates = np.concatenate([candidates, more])
    return candidates, surely_measurable(camera, candidates, targets, caster, floor_z_m)


def _around(shape: Surface, floor_z_m: float) -> Array:
    """Return eyes and aims (K, 2, 3) on shells around the middle of the part."""
    low, high = shape.bounds_m
    middle, radius = 0.5 * (low + high), 0.5 * float(np.linalg.norm(high - low))
    k = np.arange(N_ROUND)
    height, turn = 1.0 - (k + 0.5) / N_ROUND, k * GOLDEN_RAD
    flat = np.sqrt(1.0 - height**2)
    ways = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])
    eyes = np.concatenate([middle + (d + 0.5 * radius) * ways for d in RANGES_M])
    return np.stack([eyes, np.broadcast_to(middle, eyes.shape)], axis=1)


def _near(targets: Patches, chosen: NDArray[np.int64], shape: Surface, first: int) -> Array:
    """Return eyes and aims (K, 2, 3) that look at one target each, leaning any way (a quasi-random sequence)."""
    middle = 0.5 * shape.bounds_m.sum(axis=0)
    p, n = targets.points_m[chosen], targets.normals[chosen]
    k = first + np.arange(len(p))[:, None]
    lean = LEAN_MAX_RAD * np.sqrt((0.5 + 0.8191725133961645 * k) % 1.0)
    around = k * GOLDEN_RAD
    distance = NEAREST_M + (FARTHEST_M - NEAREST_M) * ((0.5 + 0.5497004779019703 * k) % 1.0)
    side = unit(np.cross(n, np.where(np.abs(n[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])))
    across = np.cos(around) * side + np.sin(around) * np.cross(n, side)
    eyes = p + distance * (np.cos(lean) * n + np.sin(lean) * across)
    return np.stack([eyes, p + np.where(k % 2, 0.5, 0.0) * (middle - p)], axis=1)


def _free(eyes_aims: Array, caster: RayCaster, floor_z_m: float) -> Array:
    eye, aim = eyes_aims[:, 0].copy(), eyes_aims[:, 1]
    eye[:, 2] = np.maximum(eye[:, 2], floor_z_m + CAMERA_Z_MIN_M)
    keep = caster.distance(eye) > CLEARANCE_M
    return np.asarray([looking_at(e, a) for e, a in zip(eye[keep], aim[keep], strict=True)]).reshape(-1, 4, 4)
