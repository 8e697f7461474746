"""Repair of triangle soups: every change is counted, none is made in silence."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from cell_core.errors import InputRefusedError
from cell_core.meshes.sheets import set_apart
from cell_core.meshes.stitch import insert_on_open_edges
from cell_core.meshes.topology import Joints, half_edges, joints, winding_flips
from cell_core.meshes.visibility import escape_fractions, inside_others, unseen_triangles
from cell_core.surface import Surface
from cell_core.transforms import Array

Orient = Literal["visibility", "file"]
MERGE = 1e-6
"""Vertices nearer than this times the largest extent are one: 1 um on 1 m, beyond the rounding of a 32-bit file."""
APART = 4e-6
"""Sheets that touch in an edge or a vertex are drawn apart by this times the extent: no file merges them again."""
SLIVER = 1e-12
CRUMB = 1e-4
"""A component with less than this share of the area is a crumb."""
SCRAP, SCRAP_TRIANGLES = 1e-3, 3
"""So is an open one of at most three triangles with less than this share: no scan or drawing means it."""
OUTSIDE_MARGIN = 0.25
"""An open component is turned over only where its back sees this much more of the sky than its front."""
BURIED = 0.05
"""A front that sees less of the sky than this, past all other components, is no front where the back sees some."""
EQUAL_SIGHT = 0.02
"""Two sides that see the sky alike to this share of the rays are equal."""
DIVIDED = 0.5
"""A file speaks for a winding where its share of the area leads by this much of the whole."""
ROUNDS_MAX = 6


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """How many things loading changed."""

    merged_vertices: int = 0
    degenerate_triangles: int = 0
    duplicate_triangles: int = 0
    t_junctions: int = 0
    """Vertices that lay on another triangle's open edge and were put into it."""
    nonmanifold_edges: int = 0
    """Edges at which more than two triangles met; what of them the other repairs left is set apart into sheets."""
    inconsistent_edges: int = 0
    """Edges that two triangles ran through in the same direction."""
    split_vertices: int = 0
    """Vertices added where sheets that touch in an edge or a point were set apart."""
    flipped_triangles: int = 0
    turned_components: int = 0
    """Components turned over as a whole, outside to front; their triangles are among the flipped."""
    internal_triangles: int = 0
    """Triangles nothing can reach: buried in another body, or of a body that nothing outside sees."""
    crumb_components: int = 0
    crumb_triangles: int = 0
    unit_hint: str = ""
    """Where the size is possible but unlikely: which unit would make it likely."""

    @property
    def text(self) -> str:
        """The counts that are not zero, in words."""
        counts = {k: n for k, n in asdict(self).items() if k != "unit_hint" and n}
        text = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()) or "nothing repaired"
        return f"{text}; {self.unit_hint}" if self.unit_hint else text


@dataclass(kw_only=True, eq=False)
class _Soup:
    vertices: Array
    triangles: NDArray[np.int64]
    winding: NDArray[np.bool_]
    """Whether a triangle is turned against the file."""
    extent: float
    counts: dict[str, int]

    def count(self, name: str, n: int) -> None:
        self.counts[name] += n

    def keep(self, mask: NDArray[np.bool_]) -> None:
        self.triangles, self.winding = self.triangles[mask], self.winding[mask]

    def turn(self, mask: NDArray[np.bool_]) -> None:
        self.triangles = np.where(mask[:, None], self.triangles[:, ::-1], self.triangles)
        self.winding = self.winding ^ mask

    @property
    def centred(self) -> Surface:
        # 32-bit ray casts want small coordinates
        used = self.vertices[self.triangles].reshape(-1, 3)
        middle = 0.5 * (used.min(axis=0) + used.max(axis=0))
        return Surface(vertices_m=self.vertices - middle, triangles=self.triangles)


def repair(
    vertices: Array, triangles: NDArray[np.int64], frame: str, where: str, *, orient: Orient = "visibility"
) -> tuple[Surface, RepairReport]:
    """Return the surface a triangle soup stands for: manifold, wound one way per component, outside to the front.

    In this order: vertices within 1e-6 of the extent merge; degenerate and duplicate triangles go; vertices on open
    edges of other triangles are put into them; edges of more than two triangles are taken apart into sheets; winding is
    made consistent over each component; faces nothing can reach go, and crumbs. The result is repaired again until
    nothing changes, so that repairing it twice changes nothing.

    Which side is out: a closed component's volume is positive. An open one keeps the winding of most of its area in
    the file, as a plate and a hollow panel look much the same from both sides; it is turned over only where, itself
    alone in the way, its back sees far more of the sky than its front (0.25 of the cosine-weighted rays), as a dome
    inside out, or where its front looks into a body. A table under a part so stays as scanned. Where the file itself
    is divided, the side that sees more counts, and of equal ones the upper (z). `orient="file"` leaves open components
    as most of their area is wound: for the inside of a tank.

    Raises:
        InputRefusedError: fewer than 4 triangles are left.
    """
    used, index = np.unique(triangles, return_inverse=True)
    vertices, triangles = vertices[used], index.reshape(-1, 3)
    extent = float(np.ptp(vertices, axis=0).max())
    soup = _Soup(
        vertices=vertices,
        triangles=triangles,
        winding=np.zeros(len(triangles), bool),
        extent=extent,
        counts={f.name: 0 for f in fields(RepairReport) if f.name != "unit_hint"},
    )
    _merge(soup)
    _census(soup)
    for _ in range(ROUNDS_MAX):
        before = dict(soup.counts)
        _clean(soup, where)
        if _sheets(soup, orient) and soup.counts == before:
            break
    soup.counts["flipped_triangles"] = int(soup.winding.sum())
    surface = Surface(vertices_m=soup.vertices, triangles=soup.triangles, frame=frame)
    return surface.select_triangles(np.ones(len(soup.triangles), bool)), replace(RepairReport(), **soup.counts)


def _merge(soup: _Soup) -> None:
    vertices, label = _unique_rows(soup.vertices)
    pairs = KDTree(vertices).query_pairs(MERGE * soup.extent, output_type="ndarray")
    if len(pairs):
        n = len(vertices)
        graph = scipy.sparse.coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        of = connected_components(graph, directed=False)[1]
        size = np.bincount(of)
        vertices = np.stack([np.bincount(of, vertices[:, i]) for i in range(3)], axis=1) / size[:, None]
        label = of[label]
    soup.count("merged_vertices", len(soup.vertices) - len(vertices))
    soup.vertices, soup.triangles = vertices, label[soup.triangles].astype(np.int64)


def _unique_rows(points: Array) -> tuple[Array, NDArray[np.int64]]:
    # one 64-bit mix per row sorts ten times faster than rows do; equal mixes of unequal rows fall back to the rows
    words = (points + 0.0).view(np.uint64)
    mix = np.zeros(len(points), np.uint64)
    for i in range(3):
        mix = (mix ^ words[:, i]) * np.uint64(0x9E3779B97F4A7C15)
        mix ^= mix >> np.uint64(29)
    _, first, label = np.unique(mix, return_index=True, return_inverse=True)
    if not np.array_equal(points[first][label], points):
        _, first, label = np.unique(points, axis=0, return_index=True, return_inverse=True)
    # in the order of the file
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return points[first[order]], place[label.reshape(-1)]


def _census(soup: _Soup) -> None:
    a, b, c = soup.triangles.T
    start, end = half_edges(soup.triangles[(a != b) & (b != c) & (c != a)])
    n = len(soup.vertices)
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, uses = np.unique(low * n + high, return_counts=True)
    _, ways = np.unique(start * n + end, return_counts=True)
    soup.count("nonmanifold_edges", int((uses > 2).sum()))
    soup.count("inconsistent_edges", int((ways > 1).sum()))


def _clean(soup: _Soup, where: str) -> None:
    a, b, c = (soup.vertices[soup.triangles[:, i]] for i in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    sound = area > SLIVER * soup.extent**2
    soup.count("degenerate_triangles", int((~sound).sum()))
    soup.keep(sound)
    if len(soup.triangles):
        corners = np.sort(soup.triangles, axis=1)
        _, first = np.unique(_triple_key(corners), return_index=True)
        single = np.zeros(len(corners), bool)
        single[first] = True
        soup.count("duplicate_triangles", int((~single).sum()))
        soup.keep(single)
    if len(soup.triangles) < 4:
        raise InputRefusedError(f"{where}: {len(soup.triangles)} sound triangle(s), at least 4 needed for a surface")
    found = joints(soup.vertices, soup.triangles)
    if len(found.open):
        soup.triangles, origin, n = insert_on_open_edges(
            soup.vertices, soup.triangles, found.open, MERGE * soup.extent
        )
        soup.winding = soup.winding[origin]
        soup.count("t_junctions", n)


def _triple_key(corners: NDArray[np.int64]) -> NDArray:
    # rows of three sorted indices as one number each: pairs first, so that nothing overflows
    n = int(corners.max()) + 1
    _, pair = np.unique(corners[:, 0] * n + corners[:, 1], return_inverse=True)
    return pair.astype(np.int64) * n + corners[:, 2]


def _sheets(soup: _Soup, orient: Orient) -> bool:
    flips, found = winding_flips(joints(soup.vertices, soup.triangles))
    soup.turn(flips)
    component = found.components
    over = _to_turn_over(soup, found, component, orient)[component]
    soup.turn(over)
    found = found.turned(over)
    surface = soup.centred
    kept = _reachable(surface, component)
    soup.count("internal_triangles", int((~kept).sum()))
    areas = np.bincount(component, np.where(kept, surface.triangle_areas_m2, 0.0))
    n_kept, n_open = np.bincount(component, kept), np.bincount(component[found.open // 3], minlength=len(areas))
    share = np.where((n_kept <= SCRAP_TRIANGLES) & (n_open > 0), SCRAP, CRUMB)
    crumb = (areas < share * areas.sum()) & (n_kept > 0)
    crumbs = crumb[component] & kept
    soup.count("crumb_components", int(crumb.sum()))
    soup.count("crumb_triangles", int(crumbs.sum()))
    kept &= ~crumbs
    if not kept.all():
        soup.keep(kept)
        return False
    soup.vertices, soup.triangles, origin, n_split = set_apart(
        soup.vertices, soup.triangles, found, APART * soup.extent
    )
    soup.winding = soup.winding[origin]
    soup.count("split_vertices", n_split)
    return True


def _to_turn_over(soup: _Soup, found: Joints, component: NDArray[np.int64], orient: Orient) -> NDArray[np.bool_]:
    surface, n = soup.centred, int(component.max()) + 1
    areas = surface.triangle_areas_m2
    closed = np.ones(n, bool)
    closed[component[found.open // 3]] = False
    # share of the area wound as in the file, -1 to 1
    own = np.bincount(component, np.where(soup.winding, -areas, areas), n) / np.bincount(component, areas, n)
    rise = np.bincount(component, surface.triangle_area_vectors_m2[:, 2], n)
    volume = np.bincount(component, np.einsum("ij,ij->i", surface.centroids_m, surface.triangle_area_vectors_m2), n)
    over = np.where(own == 0.0, rise < 0.0, own < 0.0)
    if orient == "visibility" and not closed.all():
        alone, together = (escape_fractions(surface, component, own_only=own_only) for own_only in (True, False))
        front, back = together.T
        by_sight = np.where(np.abs(back - front) > EQUAL_SIGHT, back > front, rise < 0.0)
        swap = (own < 0.0)[:, None]
        front, back = np.where(swap, together[:, ::-1], together).T
        lead = np.where(swap[:, 0], -1.0, 1.0) * (alone[:, 1] - alone[:, 0])
        inside_out = (lead > OUTSIDE_MARGIN) | ((front < BURIED) & (back > OUTSIDE_MARGIN))
        over = np.where(np.abs(own) < DIVIDED, by_sight, (own < 0.0) ^ inside_out)
    over = np.where(closed, volume < 0.0, over)
    soup.counts["turned_components"] = int((over ^ (own < 0.0)).sum())
    return over


def _reachable(surface: Surface, component: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept = np.ones(len(component), bool)
    if component.max() == 0:
        return kept  # one sheet buries nothing but itself: a deep bore is no reason to tear it open
    unseen = unseen_triangles(surface)
    wholly = np.bincount(component, ~unseen) == 0
    if wholly.all():
        return kept
    kept[wholly[component]] = False
    doubtful = np.flatnonzero(unseen & kept)
    kept[doubtful[inside_others(surface, doubtful)]] = False
    return kept
