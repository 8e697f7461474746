"""Which field to lay strokes by: candidates for a patch, a quick score by geometry alone, and the table of them all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import KDTree

from cell_core.errors import CoverageError
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed, lay_on_mesh, prepare
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.strokes.spacing import stroke_distances
from cell_core.strokes.working_patch import WorkingPatch
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

ANGLES = 4
"""Planar candidates turn about the patch's mean normal by half a turn over this."""
CLOSED_SHARE = 0.5
"""A patch whose area vectors cancel to less than this share of its area curves round: all axes are tried."""
SAME_SIDE_COS = 0.2


@dataclass(frozen=True, kw_only=True)
class LayoutFigures:
    """What a layout is like, by geometry."""

    covered: float
    """Share of the area within the radius of a stroke."""
    mean_visits: float
    """Passes within the radius, averaged over the covered area."""
    spacing_within: float
    """Share of the strokes' length within 5 % of the asked distance to its neighbours."""
    length_m: float
    n_strokes: int
    turning_rad: float
    """Heading change along all strokes, added up."""

    @property
    def cost(self) -> float:
        """Return a number that is lower for better: bare area above all, then repeats, spacing, strokes and turning."""
        return (
            100.0 * (1.0 - self.covered)
            + max(self.mean_visits - 1.0, 0.0)
            + (1.0 - self.spacing_within)
            + 0.01 * self.n_strokes
            + 0.002 * self.turning_rad
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One row of the table of candidates."""

    request: MeshLayoutRequest
    lines: Sequence[MeshLine]
    """Empty where no stroke fits."""
    cost: float
    """Infinite where no stroke fits."""
    figures: LayoutFigures | None

    @property
    def name(self) -> str:
        """What its field starts from, and how its strokes are linked."""
        return f"{self.request.seed}, {self.request.link}"


Score = Callable[[WorkingPatch, Sequence[MeshLine], MeshLayoutRequest, LayoutFigures], float]


def cost_of_figures(
    patch: WorkingPatch, lines: Sequence[MeshLine], request: MeshLayoutRequest, figures: LayoutFigures
) -> float:
    """Return the figures' own cost: the score when there is no operator to ask."""
    return figures.cost


def choose_layout(
    patch: Surface,
    requests: Sequence[MeshLayoutRequest],
    score: Score = cost_of_figures,
    *,
    radius_m: float,
    prepared: WorkingPatch | None = None,
) -> tuple[Candidate, list[Candidate]]:
    """Return the candidate of lowest score and all of them, best first.

    Args:
        requests: what to try, as from `candidates`; all of one spacing.
        score: lower is better; it may build the coverage operator for the lines.
        radius_m: what a stroke serves to each side, for the figures [m].

    Raises:
        CoverageError: no request gives a stroke.
    """
    work = prepared or prepare(patch, requests[0])
    rows = []
    for request in requests:
        try:
            lines = lay_on_mesh(patch, request, work)
        except CoverageError:
            rows.append(Candidate(request=request, lines=(), cost=np.inf, figures=None))
            continue
        figures = layout_figures(work, lines, request.spacing_m, radius_m)
        rows.append(
            Candidate(request=request, lines=lines, cost=score(work, lines, request, figures), figures=figures)
        )
    # a stable sort: of equal candidates the first one named wins
    rows.sort(key=lambda row: row.cost)
    if not np.isfinite(rows[0].cost):
        raise CoverageError(
            f"layout: none of {len(rows)} candidates has a stroke on {patch.area_m2:.5f} m2", area_m2=patch.area_m2
        )
    return rows[0], rows


def candidates(work: WorkingPatch, base: MeshLayoutRequest) -> list[MeshLayoutRequest]:
    """Return requests like `base` with every seed that makes sense on the patch.

    Planes turned about the mean normal (and across every principal axis where the patch curves round), distance from
    each of the two longest borders, from all borders, from the middle, harmonic between the two longest borders where
    both are long, a seed curve through the middle along the longest axis, and a spiral where a border or pole allows.
    """
    mesh = work.mesh
    weights = work.real_areas_m2
    centre = weights @ mesh.vertices_m / weights.sum()
    offset = mesh.vertices_m - centre
    _, axes = np.linalg.eigh((offset * weights[:, None]).T @ offset)
    mean = mesh.triangle_area_vectors_m2.sum(axis=0)
    flat = float(np.linalg.norm(mean)) > CLOSED_SHARE * mesh.area_m2
    normal = unit(mean) if flat else axes[:, 0]
    along = unit(axes[:, 2] - (axes[:, 2] @ normal) * normal)
    across = np.cross(normal, along)
    turns = [(k + 0.5 * ANGLES) * np.pi / ANGLES for k in range(ANGLES)]
    seeds = [_planar(np.cos(a) * along + np.sin(a) * across) for a in turns]
    if not flat:
        seeds += [_planar(normal)]
    loops = work.loops
    if loops:
        seeds.append(Seed(kind="all_borders"))
    if len(loops) > 1:
        seeds += [Seed(kind="border", borders=(k,)) for k in range(2)]
    if len(loops) > 1 and len(loops[1]) > 0.5 * len(loops[0]):
        seeds.append(Seed(kind="between_borders", borders=(0, 1)))
        seeds.append(Seed(kind="curve", points_m=_seam(work)))
    middle = mesh.vertices_m[int(np.argmin(np.linalg.norm(offset, axis=1)))]
    seeds.append(Seed(kind="point", points_m=middle[None]))
    requests = [replace(base, seed=seed) for seed in seeds]
    round_about = [s for s in seeds if s.kind in ("all_borders", "point")] if flat else [_planar(axes[:, 2])]
    return requests + [replace(base, seed=seed, link="spiral") for seed in round_about]


def layout_figures(
    work: WorkingPatch, lines: Sequence[MeshLine], spacing_m: float, radius_m: float
) -> LayoutFigures:
    """Return the figures of a layout for a round footprint of `radius_m`."""
    visits = passes(work, lines, radius_m)
    areas = work.real_areas_m2
    covered = visits > 0
    return LayoutFigures(
        covered=float(areas @ covered / areas.sum()),
        mean_visits=float(areas @ visits / max(areas @ covered, 1e-300)),
        spacing_within=stroke_distances(work.caster, lines, spacing_m).within,
        length_m=float(sum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1).sum() for line in lines)),
        n_strokes=len(lines),
        turning_rad=float(sum(_turning(line.surface_m) for line in lines)),
    )


def passes(work: WorkingPatch, lines: Sequence[MeshLine], radius_m: float) -> Array:
    """Return how often a stroke with the process on comes within `radius_m` of each vertex (V,), on its own side.

    A stroke that leaves and comes back counts twice.
    """
    pitch = 0.25 * radius_m
    points, normals, number = [], [], []
    start = 0
    for line in lines:
        length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1))]
        at = np.linspace(0.0, length[-1], int(np.ceil(length[-1] / pitch)) + 2)
        on = line.on[np.clip(np.searchsorted(0.5 * (length[1:] + length[:-1]), at), 0, len(line.on) - 1)]
        points.append(np.stack([np.interp(at, length, line.surface_m[:, k]) for k in range(3)], axis=1)[on])
        normals.append(np.stack([np.interp(at, length, line.normal[:, k]) for k in range(3)], axis=1)[on])
        number.append(start + np.flatnonzero(on))
        # a step of 2 in the numbering parts one stroke from the next
        start += len(at) + 2
    point, normal, order = np.concatenate(points), np.concatenate(normals), np.concatenate(number)
    mesh = work.mesh
    near = KDTree(mesh.vertices_m).sparse_distance_matrix(KDTree(point), radius_m, output_type="ndarray")
    vertex, sample = near["i"], near["j"]
    facing = np.einsum("ij,ij->i", mesh.vertex_normals[vertex], normal[sample]) > SAME_SIDE_COS
    vertex, sample = vertex[facing], sample[facing]
    rank = np.lexsort((sample, vertex))
    vertex, step = vertex[rank], order[sample[rank]]
    fresh = np.r_[True, (np.diff(vertex) != 0) | (np.diff(step) > 1)] if len(vertex) else np.empty(0, bool)
    return np.bincount(vertex[fresh], minlength=len(mesh.vertices_m)).astype(float)


def _planar(direction: Array) -> Seed:
    return Seed(kind="planar", direction=direction)


def _seam(work: WorkingPatch) -> Array:
    """Return the shortest chain of edges from the longest border to the next one (K, 3)."""
    from scipy.sparse.csgraph import dijkstra

    one, other = work.loops[0], work.loops[1]
    distance, before, _ = dijkstra(work.mesh.adjacency, indices=one, min_only=True, return_predecessors=True)
    at = int(other[np.argmin(distance[other])])
    chain = [at]
    while before[at] >= 0:
        at = int(before[at])
        chain.append(at)
    return work.mesh.vertices_m[chain]


def _turning(points: Array) -> float:
    heading = unit(np.diff(points, axis=0))
    cosine = np.clip(np.einsum("ij,ij->i", heading[1:], heading[:-1]), -1.0, 1.0)
    return float(np.arccos(cosine).sum())
