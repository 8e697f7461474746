"""Which triangles meet at which edges, also where more than two do: what repairs reason on."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, connected_components

from cell_core.transforms import Array, unit

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Joints:
    """Pairs of half-edges that belong together. Half-edge 3 t + i runs from corner i to corner i + 1 of triangle t."""

    n_triangles: int
    first: Index
    """(M,) half-edge of each joint."""
    second: Index
    """(M,) its partner."""
    same_direction: NDArray[np.bool_]
    """(M,) whether both run the same way: their triangles are wound against each other."""
    open: Index
    """(B,) half-edges without a partner."""
    n_nonmanifold: int
    """Edges at which more than two triangles meet."""

    @property
    def components(self) -> Index:
        """(T,) component of each triangle, connected over joints."""
        t, n = np.ones(len(self.first), np.int8), self.n_triangles
        graph = scipy.sparse.coo_matrix((t, (self.first // 3, self.second // 3)), shape=(n, n))
        return connected_components(graph, directed=False)[1].astype(np.int64)

    def turned(self, over: NDArray[np.bool_]) -> "Joints":
        """Return the same joints after the triangles `over` (T,) have had their corners reversed."""

        def renumbered(h: Index) -> Index:
            return np.where(over[h // 3], h // 3 * 3 + np.array([1, 0, 2])[h % 3], h)

        return replace(
            self,
            first=renumbered(self.first),
            second=renumbered(self.second),
            same_direction=self.same_direction ^ over[self.first // 3] ^ over[self.second // 3],
            open=np.sort(renumbered(self.open)),
        )


def half_edges(triangles: Index) -> tuple[Index, Index]:
    """Return start and end vertex (3 T,) of every half-edge."""
    return triangles.ravel(), triangles[:, [1, 2, 0]].ravel()


def joints(vertices: Array, triangles: Index) -> Joints:
    """Return which half-edges meet in pairs, at most one partner each.

    Where more than two triangles share an edge, pairs wound alike come first, then the flattest, and of equals the one
    that bounds a solid: a rib is set apart from the plate it stands on, two boxes that touch along an edge likewise.
    """
    start, end = half_edges(triangles)
    n = len(vertices)
    key = np.minimum(start, end) * n + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    count = np.diff(np.r_[first, len(order)])
    two = first[count == 2]
    pairs = [np.stack([order[two], order[two + 1]], axis=1)]
    lonely = [order[first[count == 1]]]
    for k in np.unique(count[count > 2]):
        paired, rest = _match(vertices, triangles, order[first[count == k][:, None] + np.arange(k)])
        pairs.append(paired)
        lonely.append(rest)
    a, b = np.concatenate(pairs).T
    return Joints(
        n_triangles=len(triangles),
        first=a,
        second=b,
        same_direction=start[a] == start[b],
        open=np.sort(np.concatenate(lonely)),
        n_nonmanifold=int((count > 2).sum()),
    )


def _match(vertices: Array, triangles: Index, sheaf: Index) -> tuple[Index, Index]:
    # sheaf (E, k): the k half-edges at each of E edges
    start, end = half_edges(triangles)
    low, high = np.minimum(start, end)[sheaf[:, 0]], np.maximum(start, end)[sheaf[:, 0]]
    axis = unit(vertices[high] - vertices[low])[:, None]
    apex = triangles.ravel()[sheaf // 3 * 3 + (sheaf + 2) % 3]
    arm = vertices[apex] - vertices[low][:, None]
    arm = unit(arm - (arm * axis).sum(axis=2, keepdims=True) * axis)
    forward = start[sheaf] == low[:, None]
    normal = np.where(forward[..., None], 1.0, -1.0) * np.cross(axis, arm)
    folded = np.einsum("eik,ejk->eij", arm, arm)
    hollow = np.einsum("eik,ejk->eij", normal, arm)
    cost = folded + 4.0 * (forward[:, :, None] == forward[:, None, :]) + 1e-3 * (hollow + hollow.transpose(0, 2, 1))
    k = sheaf.shape[1]
    cost[:, np.arange(k), np.arange(k)] = np.inf
    rows, pairs, free = np.arange(len(sheaf)), [], np.ones(sheaf.shape, bool)
    for _ in range(k // 2):
        i, j = np.divmod(cost.reshape(len(sheaf), -1).argmin(axis=1), k)
        pairs.append(np.stack([sheaf[rows, i], sheaf[rows, j]], axis=1))
        for taken in (i, j):
            cost[rows, taken] = cost[rows, :, taken] = np.inf
            free[rows, taken] = False
    return np.concatenate(pairs), sheaf[free]


def winding_flips(found: Joints) -> tuple[NDArray[np.bool_], Joints]:
    """Return which triangles (T,) to turn so that each component is wound one way, and the joints that then hold.

    Of the two ways a component can be wound one is taken; which is for the caller to judge. Joints across which no
    winding agrees (a Moebius band) are cut: their half-edges become open. The joints are those after turning.
    """
    a, b, n = found.first // 3, found.second // 3, found.n_triangles
    _, root = np.unique(found.components, return_index=True)
    # one more node joined to a triangle of every component: one search reaches them all
    rows, columns = np.r_[a, np.full(len(root), n)], np.r_[b, root]
    graph = scipy.sparse.coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(n + 1, n + 1)).tocsr()
    parent = breadth_first_order(graph, n, directed=False)[1].astype(np.int64)
    parent[n] = n
    against = scipy.sparse.coo_matrix(
        (np.where(found.same_direction, 1, -1), (np.minimum(a, b), np.maximum(a, b))), shape=(n + 1, n + 1)
    ).tocsr()
    node = np.arange(n + 1)
    turned = np.asarray(against[np.minimum(node, parent), np.maximum(node, parent)]).ravel() > 0
    while np.any(parent != n):  # pointer doubling: parity of the way to the root
        turned = turned ^ turned[parent]
        parent = parent[parent]
    flips = turned[:n]
    agree = (flips[a] ^ flips[b]) == found.same_direction
    held = replace(
        found,
        first=found.first[agree],
        second=found.second[agree],
        same_direction=found.same_direction[agree],
        open=np.sort(np.r_[found.open, found.first[~agree], found.second[~agree]]),
    )
    return flips, held.turned(flips)


def fans(triangles: Index, found: Joints) -> Index:
    """Return for each corner (T, 3) the fan it belongs to: corners of one vertex connected over joints."""
    start, _ = half_edges(triangles)
    corner_end = np.arange(len(start)) // 3 * 3 + (np.arange(len(start)) + 1) % 3
    a, b = found.first, found.second
    along = start[a] == start[b]
    rows = np.r_[a, corner_end[a]]
    columns = np.r_[np.where(along, b, corner_end[b]), np.where(along, corner_end[b], b)]
    n = len(start)
    graph = scipy.sparse.coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64).reshape(-1, 3)
