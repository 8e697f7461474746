"""A patch made ready for layouts: an even mesh to reckon on, small holes closed, the real surface to put points on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from cell_core.meshes.remesh import quick_mesh, split_long_edges
from cell_core.raycast import RayCaster
from cell_core.strokes.mesh_fields import MeshFields, border_loops, loop_length_m
from cell_core.surface import Surface
from cell_core.transforms import Array, unit

EDGES_PER_SPACING = 3.0
LONGEST_EDGE = 0.6
"""A patch whose edges are no longer than this many spacings, and which is no finer than asked, is taken as it is."""
TRIANGLES_MAX = 150_000
"""Fields are smooth: beyond this a finer mesh changes no curve that matters."""
CROWDED = 2.0
CELL_EDGES = 0.7
HOLE_SHARE = 0.5
"""Only loops shorter than this share of the longest border are holes."""
FINE_ENOUGH = 4.0
"""A patch of up to so many times the triangles needed is taken as it is: remeshing would cost more than it saves."""
FILLER = "filler"


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkingPatch:
    """The mesh fields are computed on, next to the surface it stands for."""

    real: Surface
    """The patch as given: strokes lie on it."""
    mesh: Surface
    """Even triangles over the same shape, small holes closed."""
    filler: NDArray[np.bool_]
    """(T,) triangles of `mesh` that close a hole: nothing is there."""

    @cached_property
    def fields(self) -> MeshFields:
        """Fields on the mesh."""
        return MeshFields(surface=self.mesh)

    @cached_property
    def caster(self) -> RayCaster:
        """Closest points on the real surface."""
        return RayCaster(self.real)

    @cached_property
    def loops(self) -> list[NDArray[np.int64]]:
        """Border loops of the mesh, longest first; holes that were closed are none."""
        return self.fields.loops

    @cached_property
    def real_vertices(self) -> NDArray[np.bool_]:
        """(V,) vertices of the mesh with a triangle that is not filler."""
        used = np.zeros(len(self.mesh.vertices_m), bool)
        used[self.mesh.triangles[~self.filler]] = True
        return used

    @cached_property
    def real_areas_m2(self) -> Array:
        """(V,) vertex areas without filler [m2]."""
        shares = np.where(self.filler, 0.0, self.mesh.triangle_areas_m2) / 3.0
        sums = np.bincount(self.mesh.triangles.ravel(), np.repeat(shares, 3), len(self.mesh.vertices_m))
        return np.asarray(sums, float)

    def nearest(self, points_m: Array) -> tuple[NDArray[np.int64], Array]:
        """Return the mesh's vertices (3K,) around points (K, 3) and their weights: barycentric, where nearest."""
        found, triangle = RayCaster(self.mesh).closest(points_m)
        corners = self.mesh.triangles[triangle]
        a, b, c = (self.mesh.vertices_m[corners[:, k]] - found for k in range(3))
        opposite = np.stack([np.linalg.norm(np.cross(x, y), axis=1) for x, y in ((b, c), (c, a), (a, b))], axis=1)
        return corners.ravel(), (opposite / np.maximum(opposite.sum(axis=1, keepdims=True), 1e-300)).ravel()

    def smooth_normals(self, radius_m: float) -> Array:
        """Return vertex normals (V, 3) averaged by area over about a disc of `radius_m`, each from its own side.

        Repeated means over neighbours, weighted by area and by how far they face the same way, so that nothing from
        the back of a thin part or from behind a sharp edge enters.
        """
        mesh = self.mesh
        normals = mesh.vertex_normals
        i, j = np.concatenate([mesh.edges, mesh.edges[:, ::-1], np.repeat(np.arange(len(normals))[:, None], 2, 1)]).T
        facing = np.maximum(np.einsum("ij,ij->i", normals[i], normals[j]), 0.0)
        weight = facing * mesh.vertex_areas_m2[j]
        # a disc varies by r^2 / 4 along each axis, one mean over a ring of edge h by about 0.43 h^2
        rounds = max(1, round(radius_m**2 / (1.7 * self.fields.mean_edge_m**2)))
        for _ in range(rounds):
            total = np.stack([np.bincount(i, weight * normals[j, k], len(normals)) for k in range(3)], axis=1)
            mean = unit(total)
            normals = np.where(np.linalg.norm(mean, axis=1)[:, None] > 0.5, mean, normals)
        return normals


def working_patch(patch: Surface, spacing_m: float, *, hole_m: float) -> WorkingPatch:
    """Return the patch meshed for strokes `spacing_m` apart, holes up to `hole_m` across closed."""
    finest = float(np.sqrt(patch.area_m2 / (0.433 * TRIANGLES_MAX)))
    edge_m = max(spacing_m / EDGES_PER_SPACING, finest)
    mesh = _even(patch, edge_m, LONGEST_EDGE * EDGES_PER_SPACING * edge_m)
    filler = np.zeros(len(mesh.triangles), bool)
    holes = _small_holes(mesh, hole_m)
    if holes:
        mesh, filler = _closed(mesh, holes, edge_m)
    return WorkingPatch(real=patch, mesh=mesh, filler=filler)


def _even(patch: Surface, edge_m: float, longest_m: float) -> Surface:
    i, j = patch.triangles[:, [0, 1, 2]], patch.triangles[:, [1, 2, 0]]
    longest = float(np.linalg.norm(patch.vertices_m[i] - patch.vertices_m[j], axis=2).max())
    enough = 1.5 * patch.area_m2 / (0.433 * edge_m**2)
    if longest <= longest_m and len(patch.triangles) <= FINE_ENOUGH * enough:
        return patch
    mesh = quick_mesh(patch, edge_m)
    # the needles of a CAD tessellation halve into very many
    return _merged(mesh, CELL_EDGES * edge_m) if len(mesh.triangles) > CROWDED * enough else mesh


def _merged(mesh: Surface, cell_m: float) -> Surface:
    """Return the mesh with vertices that are linked inside one cubic cell made one; thin walls keep their two sides."""
    n = len(mesh.vertices_m)
    keys = np.floor((mesh.vertices_m - mesh.bounds_m[0]) / cell_m).astype(np.int64)
    size = keys.max(axis=0) + 1
    cell = (keys[:, 0] * size[1] + keys[:, 1]) * size[2] + keys[:, 2]
    i, j = mesh.edges[cell[mesh.edges[:, 0]] == cell[mesh.edges[:, 1]]].T
    links = scipy.sparse.coo_matrix((np.ones(len(i), np.int8), (i, j)), shape=(n, n))
    n_groups, group = connected_components(links, directed=False)
    # a border keeps its place: only its own vertices count there
    weight = np.full(n, 1e-6)
    weight[np.concatenate([np.empty(0, np.int64), *border_loops(mesh)])] = 1.0
    total = np.bincount(group, weight, n_groups)

    def mean(values: Array) -> Array:
        return np.bincount(group, weight * values, n_groups) / total

    triangles = group.astype(np.int64)[mesh.triangles]
    a, b, c = triangles.T
    triangles = _without_folds(triangles[(a != b) & (b != c) & (c != a)])
    merged = Surface(
        vertices_m=np.stack([mean(mesh.vertices_m[:, k]) for k in range(3)], axis=1),
        triangles=triangles,
        fields={name: mean(values) for name, values in mesh.fields.items()},
        frame=mesh.frame,
    )
    return merged.select_triangles(np.ones(len(merged.triangles), bool))


def _without_folds(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the triangles once each; two on the same corners that face each other both go."""
    start = np.argmin(triangles, axis=1)
    turned = np.take_along_axis(triangles, (start[:, None] + np.arange(3)) % 3, axis=1)
    sign = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, first, group = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True, return_inverse=True)
    total = np.bincount(group.ravel(), sign)
    kept = turned[first]
    reverse = total * sign[first] < 0.0
    kept[reverse] = kept[reverse][:, [0, 2, 1]]
    return kept[total != 0.0]


def _small_holes(mesh: Surface, hole_m: float) -> list[NDArray[np.int64]]:
    loops = border_loops(mesh)
    if not loops:
        return []
    longest = loop_length_m(mesh, loops[0])
    return [
        loop
        for loop in loops[1:]
        if loop_length_m(mesh, loop) < HOLE_SHARE * longest
        and float(np.linalg.norm(np.ptp(mesh.vertices_m[loop], axis=0))) <= np.sqrt(2.0) * hole_m
    ]


def _closed(mesh: Surface, holes: list[NDArray[np.int64]], edge_m: float) -> tuple[Surface, NDArray[np.bool_]]:
    """Return the mesh with a fan over each hole, split to the mesh's edge length, and which triangles those are."""
    n = len(mesh.vertices_m)
    centres = np.stack([mesh.vertices_m[loop].mean(axis=0) for loop in holes])
    fans = [np.column_stack([np.roll(loop, -1), loop, np.full(len(loop), n + k)]) for k, loop in enumerate(holes)]
    inside = np.r_[np.zeros(n), np.ones(len(holes))]
    values = {k: np.r_[v, [v[loop].mean() for loop in holes]] for k, v in mesh.fields.items()}
    whole = Surface(
        vertices_m=np.vstack([mesh.vertices_m, centres]),
        triangles=np.concatenate([mesh.triangles, *fans]),
        fields={**values, FILLER: inside},
        frame=mesh.frame,
    )
    split = split_long_edges(whole, 1.5 * edge_m)
    return split, np.any(split.fields[FILLER][split.triangles] > 0.0, axis=1)
