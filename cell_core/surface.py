"""A triangle surface with per-vertex fields; derived quantities are computed once and kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.arrays import frozen_array
from cell_core.errors import InputRefusedError
from cell_core.transforms import Array, apply, unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """Triangles in one frame. Outward normals follow the right-hand rule of the winding."""

    vertices_m: Array
    """(V, 3) vertex positions [m] in `frame`."""
    triangles: NDArray[np.int64]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    fields: Mapping[str, Array] = field(default_factory=dict)
    """Per-vertex scalars (V,) by name; names carry units."""
    frame: str = "part"
    """Name of the frame the vertices are given in."""

    def __post_init__(self) -> None:
        try:
            vertices = frozen_array(self.vertices_m, (None, 3), "vertices_m")
            triangles = frozen_array(self.triangles, (None, 3), "triangles", np.int64)
            fields = {k: frozen_array(v, (len(vertices),), f"field {k}") for k, v in self.fields.items()}
        except ValueError as error:
            raise InputRefusedError(f"surface: {error}") from error
        if len(triangles) == 0:
            raise InputRefusedError("surface: 0 triangles, at least 1 needed")
        if triangles.min() < 0 or triangles.max() >= len(vertices):
            raise InputRefusedError(f"surface: triangle index {triangles.max()} outside 0..{len(vertices) - 1}")
        object.__setattr__(self, "vertices_m", vertices)
        object.__setattr__(self, "triangles", triangles)
        object.__setattr__(self, "fields", MappingProxyType(fields))

    @cached_property
    def triangle_area_vectors_m2(self) -> Array:
        """(T, 3) triangle normals times area [m2]."""
        a, b, c = (self.vertices_m[self.triangles[:, i]] for i in range(3))
        return 0.5 * np.cross(b - a, c - a)

    @cached_property
    def triangle_areas_m2(self) -> Array:
        """(T,) triangle areas [m2]."""
        return np.linalg.norm(self.triangle_area_vectors_m2, axis=1)

    @cached_property
    def triangle_normals(self) -> Array:
        """(T, 3) unit normals; zero for a degenerate triangle."""
        return unit(self.triangle_area_vectors_m2)

    @cached_property
    def centroids_m(self) -> Array:
        """(T, 3) triangle centroids [m]."""
        return self.vertices_m[self.triangles].mean(axis=1)

    @cached_property
    def vertex_areas_m2(self) -> Array:
        """(V,) a third of the area of the triangles around each vertex [m2]; sums to the surface area."""
        shares_m2 = np.repeat(self.triangle_areas_m2 / 3.0, 3)
        sums_m2 = np.bincount(self.triangles.ravel(), weights=shares_m2, minlength=len(self.vertices_m))
        return np.asarray(sums_m2, float)

    @cached_property
    def vertex_normals(self) -> Array:
        """(V, 3) area-weighted unit normals; zero for a vertex without area."""
        total = np.zeros_like(self.vertices_m)
        for i in range(3):
            np.add.at(total, self.triangles[:, i], self.triangle_area_vectors_m2)
        return unit(total)

    @cached_property
    def area_m2(self) -> float:
        """Whole area [m2]."""
        return float(self.triangle_areas_m2.sum())

    @cached_property
    def bounds_m(self) -> Array:
        """(2, 3) lowest and highest coordinates [m]."""
        return np.stack([self.vertices_m.min(axis=0), self.vertices_m.max(axis=0)])

    @cached_property
    def tree(self) -> KDTree:
        """Nearest-vertex tree."""
        return KDTree(self.vertices_m)

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """(E, 2) unique undirected edges, lower index first."""
        pairs = np.sort(self.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        n = len(self.vertices_m)
        # one integer per pair: sorted several times faster than rows
        keys = np.sort(pairs[:, 0] * n + pairs[:, 1])
        return np.stack(np.divmod(keys[np.r_[True, np.diff(keys) > 0]], n), axis=1)

    @cached_property
    def adjacency(self) -> scipy.sparse.csr_matrix:
        """(V, V) symmetric matrix of edge lengths [m]."""
        i, j = self.edges.T
        length = np.linalg.norm(self.vertices_m[i] - self.vertices_m[j], axis=1)
        n = len(self.vertices_m)
        return scipy.sparse.csr_matrix((np.r_[length, length], (np.r_[i, j], np.r_[j, i])), shape=(n, n))

    def with_fields(self, **fields: Array) -> "Surface":
        """Return the surface with these fields added or replaced."""
        return Surface(
            vertices_m=self.vertices_m, triangles=self.triangles, fields={**self.fields, **fields}, frame=self.frame
        )

    def transformed(self, T: Array, frame: str) -> "Surface":
        """Return the surface moved by the 4x4 transform, now in `frame`."""
        return Surface(vertices_m=apply(T, self.vertices_m), triangles=self.triangles, fields=self.fields, frame=frame)

    def select_triangles(self, keep: NDArray) -> "Surface":
        """Return the sub-surface of the triangles kept (mask or indices), unused vertices dropped."""
        triangles = self.triangles[keep]
        if len(triangles) == 0:
            raise InputRefusedError("surface: selection keeps 0 triangles")
        used, inverse = np.unique(triangles, return_inverse=True)
        return Surface(
            vertices_m=self.vertices_m[used],
            triangles=inverse.reshape(-1, 3),
            fields={k: v[used] for k, v in self.fields.items()},
            frame=self.frame,
        )
