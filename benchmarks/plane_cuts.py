"""Cuts of parallel planes through a mesh, chained into polylines."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array, unit


@dataclass(frozen=True, eq=False)
class Cuts:
    """Where planes cross triangles: links between nodes, each node a mesh edge cut by a plane."""

    plane: NDArray[np.int64]
    """(L,) of each link, sorted."""
    nodes: NDArray[np.int64]
    """(L, 2) node at either end."""
    ends: NDArray[np.int64]
    """(N, 2) vertices of each node's edge."""
    share: Array
    """(N,) way along it."""

    def chains(self, plane: int) -> list[NDArray[np.int64]]:
        """Return the plane's chains of nodes: open ones from an end, closed ones from their first triangle."""
        first, last = np.searchsorted(self.plane, [plane, plane + 1])
        links = self.nodes[first:last].tolist()
        at: dict[int, list[int]] = {}
        for i, (a, b) in enumerate(links):
            at.setdefault(a, []).append(i)
            at.setdefault(b, []).append(i)
        free = [True] * len(links)
        starts = [node for node, here in at.items() if len(here) % 2] + [a for a, _ in links]
        chains = []
        for node in starts:
            chain = [node]
            while (i := next((i for i in at[node] if free[i]), None)) is not None:
                free[i] = False
                node = links[i][1] if links[i][0] == node else links[i][0]
                chain.append(node)
            if len(chain) > 1:
                chains.append(np.array(chain))
        return chains

    def polyline(self, surface: Surface, normals: Array, chain: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return a chain's points and normals without repeated points."""
        a, b = self.ends[chain].T
        t = self.share[chain][:, None]
        points = (1.0 - t) * surface.vertices_m[a] + t * surface.vertices_m[b]
        moved = np.r_[True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-9]
        return points[moved], unit((1.0 - t) * normals[a] + t * normals[b])[moved]


def cut_at_whole_heights(surface: Surface, heights: Array, planes: range) -> Cuts:
    """Return the cuts of planes at whole heights with every triangle; a vertex on a plane counts as above it."""
    floors = np.floor(heights).astype(np.int64)
    corners = floors[surface.triangles]
    low = np.maximum(corners.min(axis=1) + 1, planes.start)
    count = np.maximum(np.minimum(corners.max(axis=1), planes.stop - 1) - low + 1, 0)
    triangle = np.repeat(np.arange(len(count)), count)
    plane = low[triangle] + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    order = np.argsort(plane, kind="stable")
    plane, vertices = plane[order], surface.triangles[triangle[order]]
    above = floors[vertices] >= plane[:, None]
    pairs = np.sort(np.stack([vertices, np.roll(vertices, -1, axis=1)], axis=2), axis=2)
    crossed = above != np.roll(above, -1, axis=1)  # two of the three edges, always
    keys = np.column_stack([np.repeat(plane, 2), pairs[crossed]])
    nodes, index = np.unique(keys, axis=0, return_inverse=True)
    a, b = nodes[:, 1], nodes[:, 2]
    share = (nodes[:, 0] - heights[a]) / (heights[b] - heights[a])
    return Cuts(plane=plane, nodes=index.reshape(-1, 2), ends=nodes[:, 1:], share=share)
