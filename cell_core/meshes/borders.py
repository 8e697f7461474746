"""Borders of a surface: which loop is the rim of an open shell, which are holes, and small ones filled."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cell_core.errors import InputRefusedError
from cell_core.meshes.topology import Joints, half_edges, joints
from cell_core.surface import Surface
from cell_core.transforms import Array

RIM_SHARE = 0.5
FLAT = 1e-3
"""A loop that leaves its mean plane by less than this share of its diameter is flat."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Border:
    """One closed loop of open edges."""

    vertices: NDArray[np.int64]
    """(N,) vertex indices in order, the surface to the left seen from outside."""
    length_m: float
    """Along the loop [m]."""
    area_m2: float
    """Of a cap, seen along the loop's mean normal [m2]."""
    diameter_m: float
    """Largest distance of two of its vertices along any of 64 directions [m]."""
    off_plane_m: float
    """How far the loop leaves its mean plane [m]."""
    component: int
    """Which component it bounds, the largest area first."""
    is_rim: bool
    """Whether it is the outer border of an open shell, and so no hole."""

    @property
    def is_flat(self) -> bool:
        """Whether the loop lies in a plane."""
        return self.off_plane_m < FLAT * self.diameter_m


def borders(surface: Surface) -> list[Border]:
    """Return every border loop of a repaired surface, longest first.

    The rim of a component is its longest loop, where that is at least half as wide as the component: a panel's
    outline, a cup's mouth, one end of a short tube. The rest are holes; so are all loops of a body that is closed but
    for small ones.
    """
    found = joints(surface.vertices_m, surface.triangles)
    component = _by_area(found, surface)
    loops = [_measured(surface, loop, int(component[t])) for loop, t in _loops(surface, found)]
    loops.sort(key=lambda b: (-b.length_m, int(b.vertices.min())))
    seen: set[int] = set()
    result = []
    for loop in loops:
        is_rim = False
        if loop.component not in seen:
            own = surface.vertices_m[np.unique(surface.triangles[component == loop.component])]
            is_rim = loop.diameter_m >= RIM_SHARE * _diameter(own)
        seen.add(loop.component)
        result.append(replace(loop, is_rim=is_rim))
    return result


def filled(surface: Surface, diameter_max_m: float) -> tuple[Surface, int]:
    """Return the surface with every hole of at most that diameter capped, and how many were.

    Three-corner loops get a triangle, others a fan from a new vertex at the mean of the loop, where fields are means
    too. Rims stay open, whatever their size.
    """
    if not (np.isfinite(diameter_max_m) and diameter_max_m > 0.0):
        raise InputRefusedError(f"fill holes up to {diameter_max_m} m: must be positive")
    holes = [b.vertices for b in borders(surface) if not b.is_rim and b.diameter_m <= diameter_max_m]
    if not holes:
        return surface, 0
    vertices, triangles = [surface.vertices_m], [surface.triangles]
    fields = {name: [values] for name, values in surface.fields.items()}
    n = len(surface.vertices_m)
    for loop in holes:
        # against the loop's own direction: the cap is wound like its neighbours
        if len(loop) == 3:
            triangles.append(loop[::-1][None])
            continue
        following = np.roll(loop, -1)
        triangles.append(np.stack([following, loop, np.full(len(loop), n)], axis=1))
        vertices.append(surface.vertices_m[loop].mean(axis=0)[None])
        for values in fields.values():
            values.append(values[0][loop].mean()[None])
        n += 1
    return Surface(
        vertices_m=np.concatenate(vertices),
        triangles=np.concatenate(triangles),
        fields={name: np.concatenate(values) for name, values in fields.items()},
        frame=surface.frame,
    ), len(holes)


def _by_area(found: Joints, surface: Surface) -> NDArray[np.int64]:
    component = found.components
    areas = np.bincount(component, surface.triangle_areas_m2)
    rank = np.empty(len(areas), np.int64)
    rank[np.argsort(-areas, kind="stable")] = np.arange(len(areas))
    return rank[component]


def _loops(surface: Surface, found: Joints) -> list[tuple[NDArray[np.int64], int]]:
    start, end = half_edges(surface.triangles)
    following = dict(zip(start[found.open].tolist(), zip(end[found.open].tolist(), (found.open // 3).tolist())))
    loops = []
    while following:
        loop, at, triangle = [], next(iter(following)), -1
        while at in following:
            loop.append(at)
            at, triangle = following.pop(at)
        if at == loop[0]:
            loops.append((np.array(loop), triangle))
    return loops


def _measured(surface: Surface, loop: NDArray[np.int64], component: int) -> Border:
    points = surface.vertices_m[loop]
    spokes = points - points.mean(axis=0)
    vector = 0.5 * np.cross(spokes, np.roll(spokes, -1, axis=0)).sum(axis=0)
    normal = np.linalg.svd(spokes, full_matrices=False)[2][-1]
    return Border(
        vertices=loop,
        length_m=float(np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1).sum()),
        area_m2=float(np.linalg.norm(vector)),
        diameter_m=_diameter(spokes),
        off_plane_m=float(np.abs(spokes @ normal).max()),
        component=component,
        is_rim=False,
    )


def _diameter(points: Array) -> float:
    i = np.arange(64) + 0.5
    z, phi = 1.0 - i / 64, np.pi * (3.0 - np.sqrt(5.0)) * i
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], axis=1)
    return float(np.ptp(points @ directions.T, axis=0).max())
