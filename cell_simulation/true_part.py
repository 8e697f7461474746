"""The physical part of the simulation: its true mesh, what was deposited on it and removed from it, and rays to it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import open3d as o3d
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array
from cell_simulation.creases import split_creases
from cell_simulation.subdivision import subdivide

EDGE_MAX_M = 4.5e-3
LEVELLING_M = 4.5e-3
"""Standard deviation of how far wet film and droplet size spread a landed droplet along the surface [m]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hits:
    """First hits of N rays; only the rays that hit something, in order."""

    ray: NDArray[np.int64]
    """(H,) index of the ray."""
    distance: Array
    """(H,) in lengths of the ray's direction."""
    triangle: NDArray[np.int64]
    """(H,) triangle hit."""
    weights: Array
    """(H, 3) barycentric weights of its vertices; rows sum to 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """Raw geometry and what was taken off it; vertices are doubled along sharp edges."""

    vertices_m: Array
    """(V, 3) in the base frame."""
    vertex_normals: Array
    triangles: NDArray[np.int64]
    source: NDArray[np.int64]
    """(V,) the vertex each is a copy of."""
    removed_m: Array
    """(V,) removed depth along the inward normal; it changes."""

    def current_vertices_m(self) -> Array:
        """(V, 3) vertices with the removed depth taken off along the normal; copies along an edge stay together."""
        count = np.bincount(self.source)
        step = self.removed_m[:, None] * self.vertex_normals
        total = np.column_stack([np.bincount(self.source, step[:, i]) for i in range(3)])
        return self.vertices_m - (total / count[:, None])[self.source]


class TruePart:
    """A mesh in the base frame that carries film volume and removed depth on its vertices.

    The raw geometry stays as it was loaded, only finer and with vertices doubled along sharp edges; removal is kept as
    a depth along the vertex normal, which `shape.current_vertices_m` takes off.
    """

    def __init__(self, surface: Surface, edge_max_m: float = EDGE_MAX_M) -> None:
        creased = split_creases(subdivide(surface, edge_max_m))
        self.surface = creased.surface
        self._source = creased.source
        self._n_given = len(surface.vertices_m)
        n = len(self.surface.vertices_m)
        self.film_volume_m3 = np.zeros(n)
        """(V,) volume of dry film landed on each vertex, before levelling."""
        self.shape = Shape(
            vertices_m=self.surface.vertices_m,
            vertex_normals=self.surface.vertex_normals,
            triangles=self.surface.triangles,
            source=self._source,
            removed_m=np.zeros(n),
        )
        self.scene = ray_scene(self.surface.vertices_m, self.surface.triangles)
        """Rays to the raw geometry."""

    def cast(self, origins_m: Array, directions: Array) -> Hits:
        """Return where rays (N, 3) first meet the raw geometry."""
        rays = np.concatenate([origins_m, directions], axis=1, dtype=np.float32, casting="same_kind")
        # one thread: a batch is small, and on a busy machine waiting for a second one costs more than it saves
        answer = self.scene.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
        distance = answer["t_hit"].numpy()
        ray = np.flatnonzero(np.isfinite(distance))
        uv = answer["primitive_uvs"].numpy()[ray].astype(float)
        return Hits(
            ray=ray,
            distance=distance[ray].astype(float),
            triangle=answer["primitive_ids"].numpy()[ray].astype(np.int64),
            weights=np.column_stack([1.0 - uv.sum(axis=1), uv]),
        )

    def deposit(self, hits: Hits, volume_m3: Array) -> None:
        """Add droplets of volume (H,) [m3] to the vertices of the triangles they hit."""
        np.add.at(
            self.film_volume_m3,
            self.surface.triangles[hits.triangle].ravel(),
            (hits.weights * volume_m3[:, None]).ravel(),
        )

    @property
    def film_thickness_m(self) -> Array:
        """(V,) film after levelling [m]; its integral over the area is the volume that landed.

        The levelling is two implicit steps of heat flow on the mesh: a kernel of LEVELLING_M that stays on the part.
        """
        if not np.any(self.film_volume_m3):
            return np.zeros_like(self.film_volume_m3)
        mass, stiffness = self._mass_and_stiffness
        matrix = (mass + 0.25 * LEVELLING_M**2 * stiffness).tocsr()
        inverse_diagonal = scipy.sparse.diags_array(np.reciprocal(np.asarray(matrix.diagonal(), float)))
        volume = self.film_volume_m3
        thickness = volume
        for _ in range(2):
            thickness, failed = scipy.sparse.linalg.cg(matrix, volume, rtol=1e-10, maxiter=2000, M=inverse_diagonal)
            if failed:
                raise ArithmeticError(f"film levelling did not converge in {failed} iterations")
            volume = mass @ thickness
        # conjugate gradients leave about 1e-10 of the volume unaccounted for; the balance is to be exact
        return thickness * (self.film_volume_m3.sum() / (mass @ thickness).sum())

    @cached_property
    def _mass_and_stiffness(self) -> tuple[scipy.sparse.dia_array, scipy.sparse.csr_array]:
        """Lumped vertex areas, and the cotangent Laplacian with negative weights dropped (keeps the film >= 0)."""
        v, t = self.surface.vertices_m, self.surface.triangles
        n = len(v)
        rows, columns, weights = [], [], []
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            e, f = v[t[:, j]] - v[t[:, i]], v[t[:, k]] - v[t[:, i]]
            doubled = np.linalg.norm(np.cross(e, f), axis=1)
            cotangent = np.einsum("ij,ij->i", e, f) / np.maximum(doubled, 1e-18)
            rows.append(t[:, j])
            columns.append(t[:, k])
            weights.append(np.clip(0.5 * cotangent, 0.0, 50.0))
        r, c, w = np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)
        off = scipy.sparse.coo_array((np.r_[w, w], (np.r_[r, c], np.r_[c, r])), shape=(n, n)).tocsr()
        stiffness = (scipy.sparse.diags_array(off.sum(axis=1)) - off).tocsr()
        return scipy.sparse.diags_array(np.maximum(self.surface.vertex_areas_m2, 1e-12)), stiffness

    @property
    def removed_m(self) -> Array:
        """(V,) removed depth along the inward normal."""
        return self.shape.removed_m

    def on_given_vertices(self, values: Array) -> Array:
        """Return values (V,) on the vertices of the surface as it was given; copies along an edge by their areas."""
        areas = np.maximum(self.surface.vertex_areas_m2, 1e-18)
        total = np.bincount(self._source, areas * values) / np.bincount(self._source, areas)
        return total[: self._n_given]


def ray_scene(vertices_m: Array, triangles: NDArray[np.int64]) -> o3d.t.geometry.RaycastingScene:
    """Return an Embree scene of one mesh."""
    scene = o3d.t.geometry.RaycastingScene()
    add_mesh(scene, vertices_m, triangles)
    return scene


def add_mesh(scene: o3d.t.geometry.RaycastingScene, vertices_m: Array, triangles: NDArray[np.int64]) -> None:
    """Add a mesh to an Embree scene."""
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(vertices_m, np.float32)),
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(triangles, np.uint32)),
    )
