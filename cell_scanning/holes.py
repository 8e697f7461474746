"""Boundary loops of a surface: what the scan left open."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cell_core.surface import Surface
from cell_core.transforms import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Hole:
    """One boundary loop."""

    vertices: NDArray[np.int64]
    """(L,) vertex indices in order along the loop."""
    length_m: float
    area_m2: float
    """Area of the flat patch that spans the loop best (length of its area vector)."""
    centre_m: Array
    """(3,) mean of its vertices."""
    kind: str
    """floor: cut off above the fixture; border: the longest remaining loop of its component; hole: any other."""
    reason: str = "unknown"
    """Why nothing was measured beyond most of it: one of `cell_scanning.hole_reasons.REASONS`."""
    reasons: Mapping[str, float] = field(default_factory=dict)
    """Share of its length by reason; sums to 1, empty where nobody asked."""

    def as_dict(self) -> dict[str, object]:
        """Return the figures for a report."""
        return {
            "kind": self.kind,
            "length_m": self.length_m,
            "area_m2": self.area_m2,
            "centre_m": self.centre_m.tolist(),
            "n_vertices": len(self.vertices),
            "reason": self.reason,
            "reasons": dict(self.reasons),
        }


def boundary_edges(surface: Surface) -> NDArray[np.int64]:
    """Return directed edges (E, 2) that belong to one triangle only, in that triangle's winding."""
    directed = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n = len(surface.vertices_m)
    key = np.minimum(directed[:, 0], directed[:, 1]) * n + np.maximum(directed[:, 0], directed[:, 1])
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return directed[count[inverse] == 1]


def find_holes(surface: Surface, labels: NDArray[np.int64], floor_z_m: float | None, floor_band_m: float) -> list[Hole]:
    """Return all boundary loops, longest first; `labels` (V,) names each vertex's component.

    A loop that runs mostly within `floor_band_m` of `floor_z_m` is where the fixture was cut away.
    """
    holes = [_hole(surface, loop, floor_z_m, floor_band_m) for loop in _loops(boundary_edges(surface))]
    holes.sort(key=lambda h: -h.length_m)
    bordered = {int(labels[h.vertices[0]]) for h in holes if h.kind == "floor"}
    named = []
    for hole in holes:
        component = int(labels[hole.vertices[0]])
        if hole.kind == "hole" and component not in bordered:
            bordered.add(component)
            hole = Hole(**{**hole.__dict__, "kind": "border"})
        named.append(hole)
    return named


def _loops(edges: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    following: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        following.setdefault(a, []).append(b)
    loops = []
    while following:
        start = next(iter(following))
        loop, at = [start], start
        while at in following:
            successors = following[at]
            at = successors.pop()
            if not successors:
                del following[loop[-1]]
            if at == start:
                break
            loop.append(at)
        if len(loop) > 2:
            loops.append(np.array(loop, np.int64))
    return loops


def _hole(surface: Surface, loop: NDArray[np.int64], floor_z_m: float | None, floor_band_m: float) -> Hole:
    p = surface.vertices_m[loop]
    steps = np.roll(p, -1, axis=0) - p
    lengths = np.linalg.norm(steps, axis=1)
    relative = p - p.mean(axis=0)
    area = 0.5 * float(np.linalg.norm(np.cross(relative, np.roll(relative, -1, axis=0)).sum(axis=0)))
    on_floor = floor_z_m is not None and lengths[np.abs(p[:, 2] - floor_z_m) < floor_band_m].sum() > 0.6 * lengths.sum()
    return Hole(
        vertices=loop,
        length_m=float(lengths.sum()),
        area_m2=area,
        centre_m=p.mean(axis=0),
        kind="floor" if on_floor else "hole",
    )
