"""Find what stands above its surroundings: weld beads, sprues, runs; and say what else stands high, and why not."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from cell_core.errors import CoverageError
from cell_core.surface import Surface
from cell_core.transforms import Array
from grinding_planner.samples import SurfaceSamples

HEIGHT_MIN_M = 0.35e-3
"""A bead somewhere stands at least this high."""
TOP_SIGMAS = 6.0
"""And this many times the noise around it."""
FOOT_M, FOOT_SIGMAS = 0.10e-3, 2.5
"""It reaches down to this height, or to this many times the noise."""
AREA_MIN_M2 = 0.2e-4
RIM_M, RIM_SHARE_MAX = 0.005, 0.3
"""Scans are worst near their rims: no more than this share of a bead may lie so near to one."""
RING_M = 0.012
RING_FLAT_MIN = 0.7
"""Share of a bead's surroundings that must lie on the parent."""
SIDE_SHARE_MIN = 0.2
"""Share of the surroundings that must be parent seen on either side."""
NOISE_WINDOW_M, NOISE_NEAREST, NOISE_SAMPLES_MAX = 0.020, 64, 6000
TOLD_MAX = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Bead:
    """One raised region."""

    members: NDArray[np.int64]
    """(M,) samples on it."""
    points_m: Array
    """(M, 3) their positions [m]."""
    spacing_m: float
    """Distance between them [m]."""
    middle_m: Array
    """(L, 3) polyline along its middle, end to end [m]."""
    width_m: float
    """Typical width: area over length [m]."""

    @property
    def length_m(self) -> float:
        """Length of the middle line [m]."""
        return float(np.linalg.norm(np.diff(self.middle_m, axis=0), axis=1).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Refused:
    """Something raised that is not taken for a bead."""

    middle_m: Array
    """(3,) [m]."""
    area_m2: float
    height_m: float
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Beads, largest volume first, and what else stands high but gives no evidence of being one."""

    beads: tuple[Bead, ...]
    refused: tuple[Refused, ...]

    @property
    def told(self) -> str:
        """What was refused and why, the largest first; empty where nothing was."""
        return "; ".join(
            f"{r.height_m * 1e3:.2f} mm over {r.area_m2 * 1e4:.2g} cm2 at "
            f"({', '.join(f'{x:.3f}' for x in r.middle_m)}) m: {r.reason}"
            for r in self.refused[:TOLD_MAX]
        )


def find_beads(samples: SurfaceSamples, height_m: Array, scatter_m: Array, rim_m: Array | None = None) -> Found:
    """Return what stands on its parent with evidence of being a bead, a sprue or a run.

    Connected above its foot; high against the noise around, which is told by what lies below the parent, where no bead
    can be; large enough; away from the rim of the scan; with parent seen on both sides of it.

    Args:
        height_m: (S,) over the parent.
        scatter_m: (S,) of the parent; infinite where it is not known.
        rim_m: (S,) distance to the scan's open border; None: it has none.

    Raises:
        CoverageError: there is none; `facts` carries what was refused.
    """
    graph = _neighbours(samples)
    sure = np.isfinite(scatter_m)
    calm = _averaged(graph, np.where(sure, height_m, 0.0), samples.areas_m2 * sure)
    noise = _noise_below(samples, calm, sure)
    foot = np.maximum(FOOT_M, FOOT_SIGMAS * noise)
    label = _components(graph, (np.minimum(calm, height_m) > foot) & sure)
    rim = np.full(len(samples), np.inf) if rim_m is None else rim_m
    beads: list[Bead] = []
    refused: list[Refused] = []
    for k in range(label.max() + 1):
        members = np.flatnonzero(label == k)
        height = float(np.quantile(calm[members], 0.9))
        area = float(samples.areas_m2[members].sum())
        if height < HEIGHT_MIN_M and area < AREA_MIN_M2:
            continue
        bead = _bead(samples, graph, members, height_m)
        reason = _doubt(samples, graph, bead, calm, sure, foot, noise, rim)
        if reason is None:
            beads.append(bead)
        else:
            refused.append(
                Refused(middle_m=samples.points_m[members].mean(axis=0), area_m2=area, height_m=height, reason=reason)
            )
    refused.sort(key=lambda r: -r.area_m2 * r.height_m)
    found = Found(
        beads=tuple(sorted(beads, key=lambda b: -float(samples.areas_m2[b.members] @ height_m[b.members]))),
        refused=tuple(refused),
    )
    if not beads:
        raise CoverageError(
            f"bead: nothing stands {HEIGHT_MIN_M * 1e3:.2f} mm above its surroundings over {AREA_MIN_M2 * 1e4:g} cm2 "
            f"({float(samples.areas_m2[sure].sum()):.4g} of {float(samples.areas_m2.sum()):.4g} m2 could be judged)"
            + (f"; refused: {found.told}" if refused else ""),
            refused=found.refused,
        )
    return found


def rim_distance(surface: Surface, points_m: Array) -> Array:
    """Return how far points (N, 3) lie from the open border of a surface (N,) [m]; infinite where it is closed."""
    pairs = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    keys, counts = np.unique(pairs[:, 0] * len(surface.vertices_m) + pairs[:, 1], return_counts=True)
    border = np.unique(np.stack(np.divmod(keys[counts == 1], len(surface.vertices_m))))
    if len(border) == 0:
        return np.full(len(points_m), np.inf)
    return KDTree(surface.vertices_m[border]).query(points_m)[0]


def _doubt(
    samples: SurfaceSamples,
    graph: scipy.sparse.csr_matrix,
    bead: Bead,
    height_m: Array,
    sure: NDArray[np.bool_],
    foot_m: Array,
    noise_m: Array,
    rim_m: Array,
) -> str | None:
    """Return why a raised region is no bead, or None."""
    members, areas = bead.members, samples.areas_m2
    height = float(np.quantile(height_m[members], 0.9))
    noise = float(np.median(noise_m[members]))
    if height < HEIGHT_MIN_M:
        return f"lower than {HEIGHT_MIN_M * 1e3:g} mm"
    if height < TOP_SIGMAS * noise:
        return f"lower than {TOP_SIGMAS:g} times the noise around it, {noise * 1e3:.2g} mm"
    if areas[members].sum() < AREA_MIN_M2:
        return f"smaller than {AREA_MIN_M2 * 1e4:g} cm2"
    at_rim = float(areas[members[rim_m[members] < RIM_M]].sum() / areas[members].sum())
    if at_rim > RIM_SHARE_MAX:
        return f"{at_rim:.0%} of it within {RIM_M * 1e3:g} mm of the scan's rim"
    inside = np.zeros(len(samples), bool)
    inside[members] = True
    ring = inside
    for _ in range(int(np.ceil(RING_M / samples.spacing_m))):
        ring = ring | ((graph @ ring.astype(np.int8)) > 0)
    around = np.flatnonzero(ring & ~inside)
    flat = sure[around] & (np.abs(height_m[around]) < 2.0 * foot_m[around])
    share = float(areas[around[flat]].sum() / areas[around].sum())
    if share < RING_FLAT_MIN:
        return f"only {share:.0%} of what surrounds it lies on the parent"
    tangent = np.gradient(bead.middle_m, axis=0)
    _, near = KDTree(bead.middle_m).query(samples.points_m[around])
    side = np.cross(samples.normals[around], tangent[near])
    left = np.einsum("ij,ij->i", samples.points_m[around] - bead.middle_m[near], side) > 0.0
    seen = float(min(areas[around[flat & own]].sum() for own in (left, ~left)) / areas[around].sum())
    if seen < SIDE_SHARE_MIN:
        return "parent is seen on one side of it only"
    return None


def _averaged(graph: scipy.sparse.csr_matrix, values: Array, weights: Array) -> Array:
    # the mean over the samples around, each by its area
    ones = graph.copy()
    ones.data = np.ones_like(ones.data)
    ones.setdiag(1.0)
    total = ones @ weights
    return np.divide(ones @ (weights * values), total, out=np.zeros_like(values), where=total > 0.0)


def _noise_below(samples: SurfaceSamples, height_m: Array, sure: NDArray[np.bool_]) -> Array:
    # root mean square of what lies below the parent within NOISE_WINDOW_M, at least as much as over the whole
    below = np.flatnonzero(sure & (height_m < 0.0))
    if len(below) == 0:
        return np.zeros(len(samples))
    whole = float(np.sqrt(np.mean(np.minimum(np.abs(height_m[below]), 3.0 * np.median(np.abs(height_m[below]))) ** 2)))
    some = below[:: max(1, len(below) // NOISE_SAMPLES_MAX)]
    k = min(NOISE_NEAREST, len(some))
    distance, near = KDTree(samples.points_m[some]).query(samples.points_m, k=k)
    distance, near = distance.reshape(-1, k), near.reshape(-1, k)
    weight = np.exp(-0.5 * (distance / NOISE_WINDOW_M) ** 2) + 1e-12
    local = np.einsum("nk,nk->n", weight, height_m[some][near] ** 2) / weight.sum(axis=1)
    return np.maximum(np.sqrt(local), whole)


def known_beads(samples: SurfaceSamples, known_m: Array) -> list[Bead]:
    """Return the beads that stand, or stood, where the map (S,) is above 0, however high they are by now.

    Raises:
        CoverageError: there is none of any size.
    """
    graph = _neighbours(samples)
    label = _components(graph, known_m > 0.0)
    beads = []
    for k in range(label.max() + 1):
        members = np.flatnonzero(label == k)
        if samples.areas_m2[members].sum() >= AREA_MIN_M2:
            beads.append(_bead(samples, graph, members, known_m))
    if not beads:
        raise CoverageError(f"bead: the map is above 0 m nowhere over {AREA_MIN_M2 * 1e4:g} cm2")
    return beads


def _bead(samples: SurfaceSamples, graph: scipy.sparse.csr_matrix, members: NDArray[np.int64], height_m: Array) -> Bead:
    middle = _middle_line(samples, graph, members, height_m)
    length = max(np.linalg.norm(np.diff(middle, axis=0), axis=1).sum(), 1e-6)
    return Bead(
        members=members,
        points_m=samples.points_m[members],
        spacing_m=samples.spacing_m,
        middle_m=middle,
        width_m=float(samples.areas_m2[members].sum() / length),
    )


def _neighbours(samples: SurfaceSamples) -> scipy.sparse.csr_matrix:
    pairs = samples.tree.query_pairs(1.7 * samples.spacing_m, output_type="ndarray")
    pairs = pairs[np.einsum("ij,ij->i", samples.normals[pairs[:, 0]], samples.normals[pairs[:, 1]]) > 0.3]
    length = np.linalg.norm(samples.points_m[pairs[:, 0]] - samples.points_m[pairs[:, 1]], axis=1)
    n = len(samples)
    half = scipy.sparse.coo_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return (half + half.T).tocsr()


def _components(graph: scipy.sparse.csr_matrix, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    inner = np.flatnonzero(mask)
    label = np.full(len(mask), -1, np.int64)
    if len(inner):
        label[inner] = connected_components(graph[inner][:, inner], directed=False)[1]
    return label


def _middle_line(
    samples: SurfaceSamples, graph: scipy.sparse.csr_matrix, members: NDArray[np.int64], height_m: Array
) -> Array:
    inner = graph[members][:, members]
    first = int(np.argmax(_finite(dijkstra(inner, indices=0))))
    along = _finite(dijkstra(inner, indices=first))
    weight = samples.areas_m2[members] * np.maximum(height_m[members], 0.0)
    n_bins = max(2, int(along.max() / (2.5 * samples.spacing_m)))
    position = along / max(along.max(), 1e-9) * (n_bins - 1)
    nodes = np.arange(n_bins)
    spread = np.exp(-0.5 * ((position[None, :] - nodes[:, None]) / 0.7) ** 2) * weight
    return spread @ samples.points_m[members] / np.maximum(spread.sum(axis=1, keepdims=True), 1e-30)


def _finite(distance: Array) -> Array:
    return np.where(np.isfinite(distance), distance, 0.0)
