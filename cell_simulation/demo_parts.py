"""Parts the project generates itself, so that the demonstration needs no file: a shell and a casting with a bead."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array

Distance = Callable[[Array], Array]
"""Signed distance (P,) of plane points (P, 2), negative inside."""

SHELL_SIZE_M = (0.55, 0.42)
SHELL_THICKNESS_M = 0.002
SHELL_SPACING_M = 0.0055
RECESS_DEPTH_M = 0.020
HOLES_M = ((-0.185, 0.120, 0.022), (0.190, -0.115, 0.028), (-0.180, -0.125, 0.015))
"""x, y and radius of the shell's holes."""

CASTING_SIZE_M = (0.45, 0.35, 0.12)
CASTING_SPACING_M = 0.0044
FILLET_M = 0.022
DRAFT_RAD = 0.07
BEAD_HEIGHT_M, BEAD_WIDTH_M = 0.0015, 0.014
BEAD_SPACING_M = 0.00125


def freeform_shell() -> Surface:
    """Return a closed sheet-metal cover of 0.55 x 0.42 m: doubly curved, a 20 mm recess, a lowered rim, three holes.

    Thickness 2 mm, outside up, about 35 000 triangles, standing on its rim at z = 0; frame "part", origin below the
    middle.
    """
    outline = _rounded_rectangle(SHELL_SIZE_M, 0.06, SHELL_SPACING_M)
    rings = [_circle(x, y, r, SHELL_SPACING_M) for x, y, r in HOLES_M]
    points = _fill([outline, *rings], _shell_inside, SHELL_SPACING_M)
    triangles = _delaunay(points, _shell_inside)
    top = np.column_stack([points, _shell_height(points)])
    step = 1e-5
    slope = [(_shell_height(points + d) - _shell_height(points - d)) / (2 * step) for d in step * np.eye(2)]
    normal = np.column_stack([-slope[0], -slope[1], np.ones(len(points))])
    bottom = top - SHELL_THICKNESS_M * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    n = len(points)
    walls, start = [], 0
    # the outline runs counter-clockwise, hole rings clockwise: the solid lies to the left of both
    for loop in (outline, *rings):
        a = start + np.arange(len(loop))
        b = start + (np.arange(len(loop)) + 1) % len(loop)
        walls += [np.column_stack([a, a + n, b + n]), np.column_stack([a, b + n, b])]
        start += len(loop)
    vertices = np.concatenate([top, bottom])
    vertices[:, 2] -= vertices[:, 2].min()
    return Surface(vertices_m=vertices, triangles=np.concatenate([triangles, triangles[:, ::-1] + n, *walls]))


def _shell_height(p: Array) -> Array:
    x, y = p[:, 0], p[:, 1]
    crown = 0.060 - 0.42 * x**2 - 0.30 * y**2 + 0.05 * x * y + 0.25 * x**3
    # a slot-shaped recess with walls of at most 37 degrees
    distance = np.hypot(np.maximum(np.abs(x - 0.02) - 0.075, 0.0), y - 0.01)
    recess = RECESS_DEPTH_M * _smooth_step((0.085 - distance) / 0.040)
    rim = 0.008 * _smooth_step((_rounded_rectangle_distance(p, SHELL_SIZE_M, 0.06) + 0.022) / 0.026) ** 2
    return crown - recess - rim


def _shell_inside(p: Array) -> Array:
    holes = [r - np.hypot(p[:, 0] - x, p[:, 1] - y) for x, y, r in HOLES_M]
    return np.max([_rounded_rectangle_distance(p, SHELL_SIZE_M, 0.06), *holes], axis=0)


def casting_with_bead() -> Surface:
    """Return a closed casting of 0.45 x 0.35 x 0.12 m with a gently domed top that carries a weld bead.

    The bead is 1.5 mm high and 14 mm wide, along a curved line of about 0.34 m; edges are at most 1.5 mm on and beside
    it, about 4.4 mm elsewhere, more on the base. It stands on z = 0; frame "part", origin below the middle.
    """
    # the mesh is made in a plane where everything outside the top's flat region is unrolled outwards: fillet, then wall
    wall = CASTING_SIZE_M[2] - FILLET_M
    arc = FILLET_M * (0.5 * np.pi - DRAFT_RAD)
    inner = (CASTING_SIZE_M[0] - 2 * _casting_offset(), CASTING_SIZE_M[1] - 2 * _casting_offset())
    full = arc + wall
    size = (inner[0] + 2 * full, inner[1] + 2 * full)
    corner = 0.035

    def inside(p: Array) -> Array:
        return _rounded_rectangle_distance(p, size, corner + full)

    outline = _rounded_rectangle(size, corner + full, 2.2 * CASTING_SPACING_M)
    points = _fill([outline], inside, CASTING_SPACING_M, refine=_bead_distance)
    triangles = _delaunay(points, inside)
    s = _rounded_rectangle_distance(points, inner, corner)
    outward = _gradient(lambda p: _rounded_rectangle_distance(p, inner, corner), points)
    beyond = np.maximum(s, 0.0)
    foot = points - beyond[:, None] * outward
    angle = np.minimum(beyond / FILLET_M, 0.5 * np.pi - DRAFT_RAD)
    down = np.minimum(np.maximum(beyond - arc, 0.0) / wall, 1.0)
    offset = FILLET_M * np.sin(angle) + down * wall * np.sin(DRAFT_RAD)
    height = _casting_top(foot)
    shoulder = height - FILLET_M * (1.0 - np.cos(angle))
    # the wall runs from the fillet's end to z = 0, wherever the dome left the edge
    z = shoulder * (1.0 - down)
    vertices = np.column_stack([foot + offset[:, None] * outward, z + _bead_height(points)])
    k = len(outline)
    vertices[:k, 2] = 0.0
    rim = vertices[:k, :2]
    base = _fill([rim], lambda p: _polygon_distance(p, rim), 3.0 * CASTING_SPACING_M)
    base_triangles = _delaunay(base, lambda p: _polygon_distance(p, rim))[:, ::-1]
    index = np.concatenate([np.arange(k), len(vertices) + np.arange(len(base) - k)])
    vertices = np.concatenate([vertices, np.column_stack([base[k:], np.zeros(len(base) - k)])])
    return Surface(vertices_m=vertices, triangles=np.concatenate([triangles, index[base_triangles]]))


def _casting_offset() -> float:
    return FILLET_M * np.cos(DRAFT_RAD) + (CASTING_SIZE_M[2] - FILLET_M) * np.sin(DRAFT_RAD)


def _casting_top(p: Array) -> Array:
    return CASTING_SIZE_M[2] - 0.32 * p[:, 0] ** 2 - 0.22 * p[:, 1] ** 2 + 0.06 * p[:, 0] * p[:, 1]


def _bead_distance(p: Array) -> Array:
    """Return the distance (P,) to the bead's middle line (its points stand 0.1 mm apart); inf beyond 30 mm."""
    x = np.linspace(-0.16, 0.16, 4000)
    return KDTree(np.column_stack([x, 0.035 * np.sin(13.0 * x) + 0.12 * x])).query(p, distance_upper_bound=0.03)[0]


def _bead_height(p: Array) -> Array:
    """Return the bead's height over the dome: a rounded ridge with a foot of finite slope and slight weld ripples."""
    across = np.clip(2.0 * _bead_distance(p) / BEAD_WIDTH_M, 0.0, 1.0)
    ripple = 1.0 + 0.04 * np.cos(2.0 * np.pi * p[:, 0] / 0.006) * (1.0 - across)
    return BEAD_HEIGHT_M / 1.04 * (1.0 - across**2) ** 1.2 * ripple


def _smooth_step(u: Array) -> Array:
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def _rounded_rectangle_distance(p: Array, size: tuple[float, float], radius: float) -> Array:
    """Return the signed distance (P,) to a rounded rectangle about the origin, negative inside."""
    q = np.abs(p) - 0.5 * np.asarray(size) + radius
    return np.linalg.norm(np.maximum(q, 0.0), axis=1) + np.minimum(q.max(axis=1), 0.0) - radius


def _polygon_distance(p: Array, polygon: Array) -> Array:
    """Return the signed distance (P,) to a convex counter-clockwise polygon's edges, negative inside."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    normal = np.column_stack([edge[:, 1], -edge[:, 0]]) / np.linalg.norm(edge, axis=1, keepdims=True)
    return (p @ normal.T - np.einsum("ij,ij->i", normal, polygon)).max(axis=1)


def _gradient(function: Distance, p: Array) -> Array:
    step = 1e-6
    g = np.column_stack([(function(p + d) - function(p - d)) / (2 * step) for d in step * np.eye(2)])
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12)


def _rounded_rectangle(size: tuple[float, float], radius: float, spacing: float) -> Array:
    """Return points (N, 2) round a rounded rectangle, counter-clockwise, about `spacing` apart."""
    hx, hy = 0.5 * size[0] - radius, 0.5 * size[1] - radius
    corners = [(hx, hy, 0.0), (-hx, hy, 0.5), (-hx, -hy, 1.0), (hx, -hy, 1.5)]
    n_arc = max(int(np.ceil(0.5 * np.pi * radius / spacing)), 3)
    points = []
    for i, (x, y, turn) in enumerate(corners):
        angle = np.pi * turn + np.linspace(0.0, 0.5 * np.pi, n_arc + 1)
        arc = np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])
        nx, ny, turn_next = corners[(i + 1) % 4]
        start = np.array([nx + radius * np.cos(np.pi * turn_next), ny + radius * np.sin(np.pi * turn_next)])
        n_line = max(int(np.ceil(np.linalg.norm(start - arc[-1]) / spacing)), 1)
        line = arc[-1] + np.linspace(0.0, 1.0, n_line + 1)[1:-1, None] * (start - arc[-1])
        points += [arc, line]
    return np.concatenate(points)


def _circle(x: float, y: float, radius: float, spacing: float) -> Array:
    """Return points (N, 2) round a circle, clockwise."""
    n = max(int(np.ceil(2.0 * np.pi * radius / spacing)), 12)
    angle = -2.0 * np.pi * np.arange(n) / n
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])


def _hexagonal(low: Array, high: Array, spacing: float) -> Array:
    row = spacing * np.sqrt(0.75)
    y = np.arange(low[1], high[1] + row, row)
    x = np.arange(low[0], high[0] + spacing, spacing)
    X, Y = np.meshgrid(x, y)
    X = X + 0.5 * spacing * (np.arange(len(y)) % 2)[:, None]
    return np.column_stack([X.ravel(), Y.ravel()])


def _fill(loops: list[Array], inside: Distance, spacing: float, refine: Distance | None = None) -> Array:
    """Return the loops' points, then a hexagonal grid inside them; near the `refine` distance's zero, finer grids."""
    low, high = loops[0].min(axis=0), loops[0].max(axis=0)
    bands = [(spacing, 0.016, np.inf)]
    if refine is not None:
        bands = [(BEAD_SPACING_M, -1.0, 0.0095), (2.1 * BEAD_SPACING_M, 0.0095, 0.016), *bands]
    grids = []
    for step, near, far in bands:
        grid = _hexagonal(low, high, step)
        if refine is not None:
            distance = refine(grid)
            grid = grid[(distance > near) & (distance <= far)]
        grids.append(grid[inside(grid) < -0.55 * step])
    return np.concatenate([*loops, *grids])


def _delaunay(points: Array, inside: Distance) -> NDArray[np.int64]:
    """Return the counter-clockwise Delaunay triangles whose middle lies inside."""
    triangles = Delaunay(points).simplices.astype(np.int64)
    a, b, c = (points[triangles[:, i]] for i in range(3))
    doubled = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles[doubled < 0.0] = triangles[doubled < 0.0][:, ::-1]
    keep = (inside((a + b + c) / 3.0) < 0.0) & (np.abs(doubled) > 1e-12)
    return triangles[keep]
