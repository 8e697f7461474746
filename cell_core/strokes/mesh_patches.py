"""Split a mesh into smooth patches: bounded by creases and by a cone of normals, each with a margin over its seams.

A crease is judged at the scale of the tool: an edge and a fillet much smaller than the tool are the same to it, and the
wall of a thin pipe, as curved as a fillet everywhere, is no crease. So bending is measured over a neighbourhood, and
its ridges part the surface as ridges part catchments of rain (watershed with persistence; Edelsbrunner, Letscher,
Zomorodian 2002).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, dijkstra

from cell_core.sampling import SurfaceSamples, sample_surface
from cell_core.strokes.patches import sphere_directions
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

CREASE_RAD = np.deg2rad(45.0)
PERSISTENCE_RAD = np.deg2rad(15.0)
"""A ridge stands out where it bends by this much more than the flattest place on either side."""
OTHER_SIDE_COS = -0.3
"""Faces turned farther apart than this belong to two sides of a wall."""
SAME_FACE_COS = 0.3
"""Faces turned less than this belong to one side of an edge."""
DIRECTIONS = 200
ROUNDS_MAX = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class MeshPatch:
    """A connected piece of a surface that strokes are laid over as one."""

    surface: Surface
    """The piece with its margin."""
    triangles: NDArray[np.int64]
    """(K,) which triangles of the parent it consists of."""
    core: NDArray[np.bool_]
    """(K,) triangles that are this patch's own; the others are margin, another patch's own."""
    direction: Array
    """(3,) unit, mean normal of the core; zero where the normals cancel, as on a closed part."""

    @property
    def core_area_m2(self) -> float:
        """Area that is the patch's own [m2]."""
        return float(self.surface.triangle_areas_m2[self.core].sum())


def split_mesh(
    surface: Surface,
    keep: NDArray[np.bool_],
    *,
    scale_m: float,
    crease_rad: float = CREASE_RAD,
    cone_rad: float | None = None,
    overlap_m: float = 0.0,
    area_min_m2: float = 0.0,
) -> list[MeshPatch]:
    """Return the patches of the triangles kept, largest first; every kept triangle is the core of one patch at most.

    Patches meet at ridges across which the surface bends by more than `crease_rad` within about `scale_m`. Where a cone
    is given, each piece is split further until the normals of a patch lie within `cone_rad` of one direction.

    Args:
        keep: (T,) triangles to be served; much smaller than `scale_m`.
        scale_m: half the tool's radius or so.
        overlap_m: every patch is grown by this along the surface, across seams but not across creases.
        area_min_m2: smaller pieces first go to the neighbour they share the longest seam with; those without are
            dropped.
    """
    graph = _TriangleGraph.of(surface, keep)
    samples = sample_surface(surface, scale_m / 3.0)
    basin = np.where(keep, graph.watershed(bending(surface, samples, scale_m), crease_rad), -1)
    normals = unit(samples.mean_normals(surface.centroids_m, surface.triangle_normals, scale_m, SAME_FACE_COS))
    label = basin
    if cone_rad is not None:
        label = _split_by_cone(graph, surface, label, normals, cone_rad)
    if area_min_m2 > 0.0:
        label = _absorb_small(graph, surface, label, normals, area_min_m2, cone_rad)
    patches = []
    for k in np.unique(label[label >= 0]):
        core = np.flatnonzero(label == k)
        if surface.triangle_areas_m2[core].sum() < area_min_m2:
            continue
        own = graph.grown(core, surface, overlap_m, basin == basin[core[0]]) if overlap_m > 0.0 else core
        patches.append(
            MeshPatch(
                surface=surface.select_triangles(own),
                triangles=own,
                core=np.isin(own, core),
                direction=unit(surface.triangle_areas_m2[core] @ normals[core]),
            )
        )
    return sorted(patches, key=lambda p: -p.core_area_m2)


def bending(surface: Surface, samples: SurfaceSamples, scale_m: float) -> Array:
    """Return by how much the surface bends around each triangle (T,) [rad].

    Where normals within `scale_m` disagree their mean is short: two faces that meet at an angle leave a mean of
    cos(angle / 2) on the edge.
    """
    mean = samples.mean_normals(surface.centroids_m, surface.triangle_normals, scale_m, OTHER_SIDE_COS)
    return 2.0 * np.arccos(np.clip(np.linalg.norm(mean, axis=1), 0.0, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class _TriangleGraph:
    """Triangles that share an edge."""

    n: int
    pairs: NDArray[np.int64]
    """(P, 2) neighbouring triangles, both kept."""
    length_m: Array
    """(P,) length of the edge they share."""
    turn_rad: Array
    """(P,) angle between their normals."""

    @staticmethod
    def of(surface: Surface, keep: NDArray[np.bool_]) -> "_TriangleGraph":
        corners = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        owner = np.repeat(np.arange(len(surface.triangles)), 3)
        edge = np.sort(corners, axis=1)
        order = np.lexsort((owner, edge[:, 1], edge[:, 0]))
        edge, owner = edge[order], owner[order]
        same = np.flatnonzero((edge[1:] == edge[:-1]).all(axis=1))
        pairs, ends = np.column_stack([owner[same], owner[same + 1]]), edge[same]
        kept = keep[pairs].all(axis=1)
        length = np.linalg.norm(surface.vertices_m[ends[:, 0]] - surface.vertices_m[ends[:, 1]], axis=1)
        pairs = pairs[kept]
        normals = surface.triangle_normals
        turn = np.arccos(np.clip(np.einsum("ij,ij->i", normals[pairs[:, 0]], normals[pairs[:, 1]]), -1.0, 1.0))
        return _TriangleGraph(n=len(surface.triangles), pairs=pairs, length_m=length[kept], turn_rad=turn)

    def watershed(self, height: Array, level: float) -> NDArray[np.int64]:
        """Return the catchment (T,) of each triangle: pools join below `level` and where no ridge stands out between.

        Edges are taken from the lowest up; each joins two pools unless both lie PERSISTENCE_RAD deeper than the pass.
        The angle at the edge itself comes on top in that order, so that triangles beside a crease join their own face
        before anything joins across it.
        """
        crossing = height[self.pairs].max(axis=1)
        low = crossing < level
        graph = scipy.sparse.coo_matrix((np.ones(low.sum(), np.int8), self.pairs[low].T), shape=(self.n, self.n))
        n_pools, pool = connected_components(graph, directed=False)
        bottom = np.full(n_pools, np.inf)
        np.minimum.at(bottom, pool, height)
        rest = np.flatnonzero(~low)
        rest = rest[np.argsort((crossing + self.turn_rad)[rest], kind="stable")]
        parent, depth = list(range(n_pools)), bottom.tolist()

        def root(k: int) -> int:
            while parent[k] != k:
                parent[k] = parent[parent[k]]
                k = parent[k]
            return k

        for (a, b), at in zip(pool[self.pairs[rest]].tolist(), crossing[rest].tolist(), strict=True):
            a, b = root(a), root(b)
            if a != b and at - max(depth[a], depth[b]) < PERSISTENCE_RAD:
                parent[max(a, b)] = min(a, b)
                depth[min(a, b)] = min(depth[a], depth[b])
        return np.array([root(k) for k in range(n_pools)])[pool]

    def components(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return component labels (T,) of the triangles in the mask; the others' labels mean nothing."""
        inner = self.pairs[mask[self.pairs].all(axis=1)]
        graph = scipy.sparse.coo_matrix((np.ones(len(inner), np.int8), inner.T), shape=(self.n, self.n))
        return connected_components(graph, directed=False)[1].astype(np.int64)

    def grown(
        self, core: NDArray[np.int64], surface: Surface, distance_m: float, keep: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the triangles within `distance_m` of the core, by steps from centroid to centroid."""
        inside = np.zeros(self.n, bool)
        inside[core] = True
        centre = surface.centroids_m
        # only what can be near takes part: the graph of a large part is not walked for each of its patches
        low, high = centre[core].min(axis=0) - distance_m, centre[core].max(axis=0) + distance_m
        near = keep & ((centre >= low) & (centre <= high)).all(axis=1)
        inner = self.pairs[near[self.pairs].all(axis=1)]
        touched, local = np.unique(inner, return_inverse=True)
        local = local.reshape(-1, 2)
        step = np.linalg.norm(centre[inner[:, 0]] - centre[inner[:, 1]], axis=1)
        step = np.where(inside[inner].all(axis=1), 0.0, step) + 1e-12
        n = len(touched)
        # one source joined to the whole core
        source = np.full(inside[touched].sum(), n)
        rows, columns = np.r_[local[:, 0], source], np.r_[local[:, 1], np.flatnonzero(inside[touched])]
        weights = np.r_[step, np.full(len(source), 1e-12)]
        graph = scipy.sparse.csr_matrix((weights, (rows, columns)), shape=(n + 1, n + 1))
        distance = dijkstra(graph, directed=False, indices=n, limit=distance_m + 1e-9)[:n]
        return np.union1d(core, touched[distance <= distance_m])


def _split_by_cone(
    graph: _TriangleGraph, surface: Surface, label: NDArray[np.int64], normals: Array, cone_rad: float
) -> NDArray[np.int64]:
    """Split each piece until its normals fit the cone: the direction that serves most of what is left, head-on more."""
    areas, directions = surface.triangle_areas_m2, sphere_directions(DIRECTIONS)
    out, fresh = label.copy(), int(label.max()) + 1
    for k in np.unique(label[label >= 0]):
        left = label == k
        mean = unit(areas[left] @ normals[left])
        if np.any(mean) and (normals[left] @ mean).min() >= np.cos(cone_rad):
            continue
        while left.any():
            at = np.flatnonzero(left)
            facing = normals[at] @ directions.T
            worth = areas[at] @ np.where(facing >= np.cos(0.8 * cone_rad), facing**4, 0.0)
            direction = directions[int(np.argmax(worth))]
            for _ in range(3):
                seen = normals[at] @ direction >= np.cos(0.8 * cone_rad)
                direction = unit(areas[at[seen]] @ normals[at[seen]]) if seen.any() else direction
            mask = np.zeros(len(label), bool)
            mask[at[normals[at] @ direction >= np.cos(cone_rad)]] = True
            if not mask.any():
                mask[at] = True
            component = graph.components(mask)
            chosen = np.flatnonzero(mask)
            sizes = np.bincount(component[chosen], areas[chosen])
            best = chosen[component[chosen] == int(np.argmax(sizes))]
            out[best], left[best] = fresh, False
            fresh += 1
    return out


def _absorb_small(
    graph: _TriangleGraph,
    surface: Surface,
    label: NDArray[np.int64],
    normals: Array,
    area_min_m2: float,
    cone_rad: float | None,
) -> NDArray[np.int64]:
    """Give pieces below the least area to the neighbour with the longest common seam, smallest first."""
    out = label.copy()
    for _ in range(ROUNDS_MAX):
        ids, compact = np.unique(out, return_inverse=True)
        area = np.bincount(compact, surface.triangle_areas_m2)
        ends = compact[graph.pairs]
        seam = (ends[:, 0] != ends[:, 1]) & (ids[ends] >= 0).all(axis=1)
        small = (area < area_min_m2) & (ids >= 0)
        if not small.any() or not seam.any():
            break
        n = len(ids)
        both = np.r_[ends[seam], ends[seam][:, ::-1]]
        shared = scipy.sparse.csr_matrix((np.tile(graph.length_m[seam], 2), both.T), shape=(n, n))
        target = np.arange(n)
        for k in np.flatnonzero(small)[np.argsort(area[small], kind="stable")]:
            row = shared.getrow(k)
            # two small ones may not swap: the smaller goes to the larger
            allowed = [j for j in row.indices if area[j] > area[k] or (area[j] == area[k] and j < k)]
            if allowed:
                target[k] = max(allowed, key=lambda j: float(row[0, j]))
        if np.all(target == np.arange(n)):
            break
        out = np.where(out >= 0, ids[target][compact], -1)
    return out
