"""Shapes of freeform parts that defects are put on."""

from collections.abc import Callable

import numpy as np

from cell_core.surface import Surface
from cell_core.transforms import Array


def _grid(place: Callable[[Array, Array], Array], u: Array, v: Array, rng: np.random.Generator) -> Surface:
    # jittered rows and columns with random diagonals: vertices as irregular as a scan's
    uu, vv = np.meshgrid(u, v, indexing="ij")
    uu = uu + rng.uniform(-0.25, 0.25, uu.shape) * np.gradient(u)[:, None]
    vv = vv + rng.uniform(-0.25, 0.25, vv.shape) * np.gradient(v)[None]
    i = np.arange(uu.size).reshape(uu.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    flip = rng.random(len(a)) < 0.5
    first = np.where(flip[:, None], np.c_[a, b, c], np.c_[a, b, d])
    second = np.where(flip[:, None], np.c_[a, c, d], np.c_[b, c, d])
    return Surface(vertices_m=place(uu.ravel(), vv.ravel()), triangles=np.concatenate([first, second]))


def _steps(length_m: float, edge_m: float) -> Array:
    return np.linspace(-0.5 * length_m, 0.5 * length_m, max(int(length_m / edge_m) + 1, 3))


def smooth_step(x: Array) -> Array:
    """Return 0 to 1 over 0 to 1, flat to second order at both ends."""
    t = np.clip(x, 0.0, 1.0)
    return t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def _saddle(rng: np.random.Generator, edge_m: float) -> Surface:
    r = rng.uniform(0.12, 0.3, 2)
    s = _steps(0.26, edge_m)
    return _grid(lambda x, y: np.c_[x, y, x**2 / (2 * r[0]) - y**2 / (2 * r[1])], s, s, rng)


def _dome(rng: np.random.Generator, edge_m: float) -> Surface:
    a, b = rng.uniform(2.0, 5.0), rng.uniform(-6.0, 6.0)
    s = _steps(0.26, edge_m)
    return _grid(lambda x, y: np.c_[x, y, -a * x**2 - 2.5 * y**2 + b * x**3 + 0.5 * b * x * y**2], s, s, rng)


def _along(points: Array, edge_m: float) -> Array:
    # a polyline (N, 2) resampled at equal steps
    at = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    new = np.linspace(0.0, at[-1], max(int(at[-1] / edge_m) + 1, 3))
    return np.stack([np.interp(new, at, points[:, k]) for k in range(2)], axis=1)


def _swept(
    section: Array, place: Callable[[Array, Array, Array], Array], v: Array, rng: np.random.Generator
) -> Surface:
    u = np.arange(len(section)).astype(float)

    def at(k: Array, along: Array) -> Array:
        return place(np.interp(k, u, section[:, 0]), np.interp(k, u, section[:, 1]), along)

    return _grid(at, u, v, rng)


def _blade(rng: np.random.Generator, edge_m: float) -> Surface:
    twist = rng.uniform(1.0, 2.5)
    t = np.linspace(-0.45 * np.pi, 1.0 * np.pi - 0.15, 4000)
    section = _along(np.c_[0.070 * np.cos(t), 0.014 * np.sin(t) - 1.6 * (0.070 * np.cos(t)) ** 2], edge_m)

    def place(x: Array, z: Array, along: Array) -> Array:
        c, s = np.cos(twist * along), np.sin(twist * along)
        return np.c_[c * x - s * z, along, s * x + c * z]

    return _swept(section[::-1], place, _steps(0.24, edge_m), rng)


def _bumper(rng: np.random.Generator, edge_m: float) -> Surface:
    depth, crease = rng.uniform(6e-3, 12e-3), rng.uniform(0.1, 0.25)
    x, y = _steps(0.32, edge_m), _steps(0.26, edge_m)

    def place(x: Array, y: Array) -> Array:
        inside = np.minimum(0.07 - np.abs(x), 0.045 - np.abs(y + 0.04))
        recess = depth * smooth_step(inside / 0.03 + 0.5)
        bend = crease * 0.5 * (np.hypot(y - 0.06, 5e-3) - (y - 0.06))
        return np.c_[x, y, -0.6 * x**2 - 1.5 * y**2 - recess - bend]

    return _grid(place, x, y, rng)


def _arc(centre: tuple[float, float], radius: float, start: float, stop: float) -> Array:
    t = np.linspace(start, stop, 200)
    return np.c_[centre[0] + radius * np.cos(t), centre[1] + radius * np.sin(t)]


def _tube(rng: np.random.Generator, edge_m: float) -> Surface:
    r, f = rng.uniform(0.028, 0.04), rng.uniform(0.012, 0.018)
    section = np.concatenate(
        [[[r, 0.14]], _arc((r + f, f), f, np.pi, 1.5 * np.pi), _arc((0.097, -0.003), 3e-3, 0.5 * np.pi, 0.0),
         [[0.100, -0.012]]]
    )  # fmt: skip
    section = _along(section, edge_m)
    turn = np.linspace(0.0, 1.9 * np.pi, int(1.9 * np.pi * 0.05 / edge_m))
    return _swept(section, lambda rho, z, t: np.c_[rho * np.cos(t), rho * np.sin(t), z], turn, rng)


def _plate(rng: np.random.Generator, edge_m: float) -> Surface:
    pieces, foot, height = [np.array([[-0.13, 0.0]])], 4e-3, 12e-3
    for x in (-0.065, 0.065):
        h = 4e-3
        pieces += [
            _arc((x - h - foot, foot), foot, -0.5 * np.pi, 0.0),
            _arc((x - h + 1e-3, height - 1e-3), 1e-3, np.pi, 0.5 * np.pi),
            _arc((x + h - 1e-3, height - 1e-3), 1e-3, 0.5 * np.pi, 0.0),
            _arc((x + h + foot, foot), foot, np.pi, 1.5 * np.pi),
        ]
    section = _along(np.concatenate([*pieces, [[0.13, 0.0]]]), edge_m)
    whole = _swept(section, lambda x, z, y: np.c_[x, y, z - 0.5 * x**2], _steps(0.24, edge_m), rng)
    keep = np.ones(len(whole.triangles), bool)
    for x, y, radius in ((-0.1, 0.05, 9e-3), (0.02, -0.06, 12e-3), (0.0, 0.07, 6e-3), (0.1, 0.0, 8e-3)):
        keep &= np.hypot(*(whole.centroids_m[:, :2] - [x, y]).T) > radius
    return whole.select_triangles(keep)


def _propeller(rng: np.random.Generator, edge_m: float) -> Surface:
    pitch, camber, sweep = rng.uniform(0.2, 0.4), rng.uniform(0.06, 0.1), rng.uniform(-0.3, 0.3)
    across = np.linspace(-1.0, 1.0, int(0.11 / edge_m))

    def place(share: Array, radius: Array) -> Array:
        along = (radius - 0.06) / 0.24
        half = 0.05 * (0.7 + 0.5 * np.sin(np.pi * np.clip(along, 0.0, 1.0)))
        x, z = half * share, camber * half * (1.0 - share**2)
        turn = np.arctan2(pitch, 2.0 * np.pi * radius)
        c, s = np.cos(turn), np.sin(turn)
        return np.c_[c * x - s * z + sweep * along**2 * 0.1, radius, s * x + c * z]

    return _grid(place, across, 0.18 + _steps(0.24, edge_m), rng)


def _fender(rng: np.random.Generator, edge_m: float) -> Surface:
    arch, flare, line = rng.uniform(0.08, 0.1), rng.uniform(4e-3, 8e-3), rng.uniform(2e-3, 4e-3)

    def place(x: Array, y: Array) -> Array:
        off = np.hypot(x, y + 0.13) - arch
        swage = y - 0.06 - 0.8 * x**2
        z = -0.5 * x**2 - 2.2 * y**2 + flare * np.exp(-((off / 0.018) ** 2)) + line * np.tanh(swage / 6e-3)
        return np.c_[x, y, z]

    whole = _grid(place, _steps(0.32, edge_m), _steps(0.26, edge_m), rng)
    return whole.select_triangles(np.hypot(whole.centroids_m[:, 0], whole.centroids_m[:, 1] + 0.13) > arch)


def _highest(a: Array, b: Array, blend_m: float) -> Array:
    h = np.clip(blend_m - np.abs(a - b), 0.0, None) / blend_m
    return np.maximum(a, b) + 0.25 * blend_m * h**2


def _casting(rng: np.random.Generator, edge_m: float) -> Surface:
    foot, rounding, slope = rng.uniform(5e-3, 1e-2), 4e-3, 1.4
    bosses = [(-0.07, -0.05, rng.uniform(0.022, 0.03)), (0.06, 0.05, rng.uniform(0.026, 0.034)), (0.07, -0.07, 0.02)]
    bosses = [(x, y, radius, rng.uniform(0.008, 0.016)) for x, y, radius in bosses]

    def place(x: Array, y: Array) -> Array:
        z = -0.9 * x**2 + 0.6 * x * y - 0.5 * y**2 + 0.05 * np.hypot(x + 0.1, 0.02)
        ground = z
        for cx, cy, radius, height in bosses:
            flank = height + slope * (radius - np.hypot(x - cx, y - cy))
            z = _highest(z, ground - _highest(-np.full_like(x, height), -flank, rounding), foot)
        rib = 0.007 + slope * (0.012 - np.abs(y - 0.1 - 0.2 * x))
        return np.c_[x, y, _highest(z, ground - _highest(-np.full_like(x, 0.007), -rib, rounding), foot)]

    return _grid(place, _steps(0.26, edge_m), _steps(0.26, edge_m), rng)


def _vase(rng: np.random.Generator, edge_m: float) -> Surface:
    n, deep, waist = int(rng.integers(4, 8)), rng.uniform(1e-3, 3e-3), rng.uniform(0.05, 0.15)

    def place(turn: Array, z: Array) -> Array:
        r = 0.05 * (1.0 - waist * np.cos(28.0 * z)) + deep * np.cos(n * turn + 8.0 * z)
        return np.c_[r * np.cos(turn), r * np.sin(turn), z]

    return _grid(place, np.linspace(0.0, 1.97 * np.pi, int(2.0 * np.pi * 0.05 / edge_m)), _steps(0.2, edge_m), rng)


PARTS: dict[str, Callable[[np.random.Generator, float], Surface]] = {
    "saddle": _saddle,
    "dome": _dome,
    "blade": _blade,
    "bumper": _bumper,
    "tube": _tube,
    "plate": _plate,
    "fender": _fender,
    "casting": _casting,
    "propeller": _propeller,
    "vase": _vase,
}
OUTWARDS = ("tube", "vase")
"""Shapes round an axis: their normals point away from it, the others' up."""
