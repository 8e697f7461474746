"""Collapse of short edges and flip of poor ones, many at once, each within a bound on what it moves the surface.

Arrays go in and come out; nothing here knows of fields. Vertices only vanish, they never move: what is left of a
sharp edge lies on it.
"""

import numpy as np
from numpy.typing import NDArray

from cell_core.meshes.subdivide import triangle_edges
from cell_core.meshes.topology import Index
from cell_core.transforms import Array, unit

KEPT_COS = 0.2
"""A triangle's normal may turn by about 80 degrees when one of its corners is collapsed: noise does, folds do more."""
CREASE_COS = np.cos(np.radians(40.0))
FLIP_COS = 0.5
SELECTION_ROUNDS = 3


def collapse_round(
    points: Array, triangles: Index, strain: Array, *, short_m: float, long_m: float, bound_m: float
) -> tuple[Index, Array, int]:
    """Collapse an independent set of the edges shorter than `short_m` into one of their ends.

    `strain` (V,) [m] is how far the surface near each vertex has moved so far; no collapse lifts it above `bound_m`.
    None makes an edge longer than `long_m`, but where it was. Borders collapse along themselves only, topology stays.

    Returns triangles, strain and the number of collapses.
    """
    edges, of_triangle = triangle_edges(triangles)
    uses = np.bincount(of_triangle.ravel(), minlength=len(edges))
    lines = _lines(points, triangles, of_triangle, uses)
    n_lines = np.bincount(edges[lines].ravel(), minlength=len(points))
    gone, into = _candidates(points, triangles, edges[uses <= 2], lines[uses <= 2], n_lines > 1, short_m)
    at, row = _incident(triangles, len(points), gone)
    corner = np.argmax(triangles[at] == gone[row, None], axis=1)
    p, q = (triangles[at, (corner + k) % 3] for k in (1, 2))
    a, b = points[gone][row], points[into][row]
    stays = (p != into[row]) & (q != into[row])
    strained, sound = _fits(points, a, b, p, q, long_m)
    ok = np.bincount(row, stays & ~sound, len(gone)) == 0
    ok &= _links_once(edges, uses, gone, into, p, q, row)
    moved = np.full(len(gone), np.inf)
    np.minimum.at(moved, row[stays], strained[stays])
    moved = np.maximum(moved, _line_moves(points, edges[lines], n_lines, gone, into))
    length = np.linalg.norm(points[gone] - points[into], axis=1)
    # strain adds up along chains of collapses; none moves the surface further than it moves the vertex, and a corner
    # goes only where it is a small one: an edge of half the bound
    total = strain[gone] + np.minimum(moved, 2.0 * length)
    ok &= total <= bound_m
    chosen = _independent(triangles, len(points), gone[ok], length[ok])
    chosen = np.flatnonzero(ok)[chosen]
    target = np.arange(len(points))
    target[gone[chosen]] = into[chosen]
    strain = strain.copy()
    touched = np.isin(row, chosen)
    for ring in (p, q):
        np.maximum.at(strain, ring[touched], total[row[touched]])
    triangles = target[triangles]
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)], strain, len(chosen)


def _lines(points: Array, triangles: Index, of_triangle: Index, uses: Index) -> NDArray[np.bool_]:
    # edges that must keep their course: borders and creases
    normal = np.repeat(unit(_area_vectors(points, triangles)), 3, axis=0)
    flat = of_triangle.ravel()
    total = np.stack([np.bincount(flat, x, len(uses)) for x in normal.T], axis=1)
    # |n1 + n2|^2 = 2 + 2 cos
    sharp = np.einsum("ij,ij->i", total, total) < 2.0 + 2.0 * CREASE_COS
    return (uses != 2) | sharp


def _area_vectors(points: Array, triangles: Index) -> Array:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def _candidates(
    points: Array, triangles: Index, edges: Index, lines: NDArray[np.bool_], held: NDArray[np.bool_], short_m: float
) -> tuple[Index, Index]:
    # of each vertex the short edge that leaves the planes around it least: along a crease, not across
    vector = points[edges[:, 1]] - points[edges[:, 0]]
    short = np.flatnonzero(np.linalg.norm(vector, axis=1) < short_m)
    gone = np.r_[edges[short, 0], edges[short, 1]]
    into = np.r_[edges[short, 1], edges[short, 0]]
    step = np.r_[vector[short], vector[short]]
    allowed = ~held[gone] | np.r_[lines[short], lines[short]]
    gone, into, step = gone[allowed], into[allowed], step[allowed]
    cross = _area_vectors(points, triangles)
    area = np.linalg.norm(cross, axis=1)
    outer = cross[:, [0, 1, 2, 0, 0, 1]] * cross[:, [0, 1, 2, 1, 2, 2]] / np.maximum(area, 1e-300)[:, None]
    n, flat = len(points), triangles.ravel()
    tensor = np.stack([np.bincount(flat, np.repeat(column, 3), n) for column in outer.T], axis=1)
    weight = np.maximum(np.bincount(flat, np.repeat(area, 3), n), 1e-300)
    x, y, z = step.T
    xx, yy, zz, xy, xz, yz = (tensor / weight[:, None])[gone].T
    off = xx * x * x + yy * y * y + zz * z * z + 2.0 * (xy * x * y + xz * x * z + yz * y * z)
    cost = np.sqrt(np.maximum(off, 0.0)) + 1e-3 * np.linalg.norm(step, axis=1)
    order = np.lexsort((cost, gone))
    best = order[np.diff(gone[order], prepend=-1) != 0]
    return gone[best], into[best]


def _incident(triangles: Index, n: int, wanted: Index) -> tuple[Index, Index]:
    # triangles around each wanted vertex, and which of the wanted each belongs to
    flat = triangles.ravel()
    order = np.argsort(flat, kind="stable")
    start = np.r_[0, np.cumsum(np.bincount(flat, minlength=n))]
    counts = (start[1:] - start[:-1])[wanted]
    row = np.repeat(np.arange(len(wanted)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[start[wanted][row] + place] // 3, row


def _fits(points: Array, a: Array, b: Array, p: Index, q: Index, long_m: float) -> tuple[Array, NDArray[np.bool_]]:
    # triangle (a, p, q) becomes (b, p, q): how far a is from it; whether it neither folds, degenerates nor stretches
    P, Q = points[p], points[q]
    old, new = np.cross(P - a, Q - a), np.cross(P - b, Q - b)
    old_area, new_area = np.linalg.norm(old, axis=1), np.linalg.norm(new, axis=1)
    longest = np.maximum(np.linalg.norm(P - b, axis=1), np.linalg.norm(Q - b, axis=1))
    before = np.maximum(np.linalg.norm(P - a, axis=1), np.linalg.norm(Q - a, axis=1))
    base = np.linalg.norm(P - Q, axis=1)
    flat = np.einsum("ij,ij->i", old, new) >= KEPT_COS * old_area * new_area
    thick = new_area > np.minimum(1e-3 * np.maximum(longest, base) ** 2, old_area)
    sound = flat & thick & (longest <= np.maximum(long_m, before))
    return triangle_distance(a, b, P, Q), sound


def triangle_distance(x: Array, a: Array, b: Array, c: Array) -> Array:
    """Return the distance (N,) from points to triangles, row by row."""
    normal = np.cross(b - a, c - a)
    area = np.maximum(np.linalg.norm(normal, axis=1), 1e-300)
    inside = np.ones(len(x), bool)
    nearest = np.full(len(x), np.inf)
    for u, v in ((a, b), (b, c), (c, a)):
        inside &= np.einsum("ij,ij->i", np.cross(v - u, x - u), normal) >= 0.0
        nearest = np.minimum(nearest, segment_distance(x, u, v))
    return np.where(inside, np.abs(np.einsum("ij,ij->i", x - a, normal)) / area, nearest)


def segment_distance(x: Array, a: Array, b: Array) -> Array:
    """Return the distance (N,) from points to segments, row by row."""
    step = b - a
    t = np.einsum("ij,ij->i", x - a, step) / np.maximum(np.einsum("ij,ij->i", step, step), 1e-300)
    return np.linalg.norm(x - a - np.clip(t, 0.0, 1.0)[:, None] * step, axis=1)


def _links_once(
    edges: Index, uses: Index, gone: Index, into: Index, p: Index, q: Index, row: Index
) -> NDArray[np.bool_]:
    # link condition: the two ends share no neighbours but those across from their edge
    n = int(edges.max()) + 1
    keys = edges[:, 0] * n + edges[:, 1]

    def known(i: Index, j: Index) -> tuple[NDArray[np.bool_], Index]:
        key = np.minimum(i, j) * n + np.maximum(i, j)
        place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return keys[place] == key, place

    # neighbours of the vertex that goes: first corners of its triangles, and the last one where its fan is open
    ring = np.unique(np.r_[row, row] * n + np.r_[p, q])
    owner, neighbour = ring // n, ring % n
    shared = np.bincount(owner, known(into[owner], neighbour)[0] & (neighbour != into[owner]), len(gone))
    return shared == uses[known(gone, into)[1]]


def _line_moves(points: Array, line_edges: Index, n_lines: Index, gone: Index, into: Index) -> Array:
    # a line's vertex to the line that is left: the edge between its two neighbours there; corners must not go
    total = np.zeros(len(n_lines), np.int64)
    np.add.at(total, line_edges[:, 0], line_edges[:, 1])
    np.add.at(total, line_edges[:, 1], line_edges[:, 0])
    moves = np.where(n_lines[gone] > 2, np.inf, 0.0)
    on = np.flatnonzero(n_lines[gone] == 2)
    other = total[gone[on]] - into[on]
    a, b, c = points[gone[on]], points[into[on]], points[other]
    bends = np.einsum("ij,ij->i", unit(b - a), unit(a - c)) < CREASE_COS
    moves[on] = np.where(bends, np.inf, segment_distance(a, b, c))
    return moves


def _independent(triangles: Index, n: int, gone: Index, length: Array) -> Index:
    # no two whose rings touch: shortest first within two rings, a few rounds
    rank = np.empty(len(gone))
    # multiplicative hash against ties, which regular meshes are full of
    rank[np.lexsort((gone * 2654435761 % 4294967296, length))] = np.arange(len(gone), dtype=float)
    chosen = np.zeros(len(gone), bool)
    waiting = np.ones(len(gone), bool)
    for _ in range(SELECTION_ROUNDS):
        at = np.full(n, np.inf)
        at[gone[waiting]] = rank[waiting]
        near = _ring_minimum(triangles, _ring_minimum(triangles, at))
        new = waiting & (near[gone] == rank)
        chosen |= new
        taken = np.full(n, np.inf)
        taken[gone[chosen]] = 0.0
        waiting &= ~np.isfinite(_ring_minimum(triangles, _ring_minimum(triangles, taken))[gone])
        if not waiting.any():
            break
    return np.flatnonzero(chosen)


def _ring_minimum(triangles: Index, values: Array) -> Array:
    lowest = values[triangles].min(axis=1)
    out = values.copy()
    for i in range(3):
        np.minimum.at(out, triangles[:, i], lowest)
    return out


def flip_round(
    points: Array, triangles: Index, strain: Array, *, long_m: float, bound_m: float
) -> tuple[Index, Array, int]:
    """Flip an independent set of edges that are not Delaunay, where that moves the surface no further than the bound.

    Returns triangles, strain and the number of flips.
    """
    edges, of_triangle = triangle_edges(triangles)
    order = np.argsort(of_triangle.ravel(), kind="stable")
    uses = np.bincount(of_triangle.ravel(), minlength=len(edges))
    inner = np.flatnonzero(uses == 2)
    first = order[(np.cumsum(uses) - uses)[inner]]
    second = order[(np.cumsum(uses) - uses)[inner] + 1]
    flat = triangles.ravel()

    def corner(h: Index, k: int) -> Index:
        return flat[h // 3 * 3 + (h + k) % 3]

    a, b, c, d = corner(first, 0), corner(first, 1), corner(first, 2), corner(second, 2)
    A, B, C, D = points[a], points[b], points[c], points[d]
    gain = _angle(A, C, B) + _angle(A, D, B) - np.pi
    keep = (gain > 1e-3) & (corner(second, 0) == b) & (c != d)
    ends, gain = np.stack([a, b, c, d, first, second])[:, keep], gain[keep]
    a, b, c, d, first, second = ends
    A, B, C, D = points[a], points[b], points[c], points[d]
    mean = unit(np.cross(B - A, C - A)) + unit(np.cross(A - B, D - B))
    mean = unit(mean)
    one, two = np.cross(D - C, B - C), np.cross(C - D, A - D)
    fits = np.ones(len(a), bool)
    for normal in (one, two):
        fits &= np.einsum("ij,ij->i", unit(normal), mean) > FLIP_COS
    fits &= np.linalg.norm(C - D, axis=1) <= np.maximum(long_m, np.linalg.norm(A - B, axis=1))
    n = int(edges.max()) + 1
    new_key = np.minimum(c, d) * n + np.maximum(c, d)
    fits &= ~np.isin(new_key, edges[:, 0] * n + edges[:, 1])
    moved = _diagonal_gap(A, B, C, D) + np.max([strain[v] for v in (a, b, c, d)], axis=0)
    fits &= moved <= bound_m
    a, b, c, d, first, second = ends[:, fits]
    gain, moved, new_key = gain[fits], moved[fits], new_key[fits]
    rank = np.empty(len(a), np.int64)
    rank[np.lexsort((new_key, -gain))] = np.arange(len(a))
    lowest = np.full(len(triangles), len(a))
    for h in (first, second):
        np.minimum.at(lowest, h // 3, rank)
    chosen = (lowest[first // 3] == rank) & (lowest[second // 3] == rank)
    once = np.zeros(len(a), bool)
    once[np.unique(np.where(chosen, new_key, -1), return_index=True)[1]] = True
    chosen = np.flatnonzero(chosen & once)
    triangles, strain = triangles.copy(), strain.copy()
    triangles[first[chosen] // 3] = np.stack([c, d, b], axis=1)[chosen]
    triangles[second[chosen] // 3] = np.stack([d, c, a], axis=1)[chosen]
    for v in (a, b, c, d):
        np.maximum.at(strain, v[chosen], moved[chosen])
    return triangles, strain, len(chosen)


def _angle(a: Array, apex: Array, b: Array) -> Array:
    u, v = a - apex, b - apex
    return np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), np.einsum("ij,ij->i", u, v))


def _diagonal_gap(a: Array, b: Array, c: Array, d: Array) -> Array:
    # distance between the diagonals ab and cd where they pass each other; infinite where they do not
    u, v, w = b - a, d - c, c - a
    across = np.cross(u, v)
    square = np.maximum(np.einsum("ij,ij->i", across, across), 1e-300)
    s = np.einsum("ij,ij->i", np.cross(w, v), across) / square
    t = np.einsum("ij,ij->i", np.cross(w, u), across) / square
    gap = np.abs(np.einsum("ij,ij->i", w, across)) / np.sqrt(square)
    return np.where((s > 0.0) & (s < 1.0) & (t > 0.0) & (t < 1.0), gap, np.inf)
