"""Freeform parts with known defects, and noise as scans have it: the truth that `bench_defects` scores against."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cell_core.surface import Surface
from cell_core.transforms import Array, unit

EDGE_M = 1e-3
FEATURE_RADIUS_M = 0.012
"""What is bent more sharply is a feature; no defect is put within its own half length and 5 mm of one."""
CLEAR_M = 5e-3
GAP_M = 12e-3
"""Between defects."""
SHAPES = ("bump", "dent", "ridge", "groove", "pit")
SIZES = ((0.3e-3, 6e-3), (0.5e-3, 10e-3), (0.6e-3, 6e-3), (1.0e-3, 20e-3))
"""Height and width."""
EXPECTED = {"bump": "bead", "dent": "dent", "ridge": "bead", "groove": "dent", "pit": "pore"}
SIGN = {"bump": 1.0, "dent": -1.0, "ridge": 1.0, "groove": -1.0, "pit": -1.0}
LONG = 4.0
"""Length of a ridge or groove over its width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A defect as it was made."""

    shape: str
    height_m: float
    width_m: float
    centre_m: Array
    offset_m: Array
    """(V,) along the normal [m], signed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DefectivePart:
    """A part, its truth, and what was put on it."""

    name: str
    nominal: Surface
    true: Surface
    placed: tuple[Placed, ...]


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


def _smooth_step(x: Array) -> Array:
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
        recess = depth * _smooth_step(inside / 0.03 + 0.5)
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


PARTS: dict[str, Callable[[np.random.Generator, float], Surface]] = {
    "saddle": _saddle,
    "dome": _dome,
    "blade": _blade,
    "bumper": _bumper,
    "tube": _tube,
    "plate": _plate,
}


def part(name: str, seed: int, edge_m: float = EDGE_M) -> Surface:
    """Return a part without defects; the seed draws its proportions and vertices. Normals point up or outwards."""
    made = PARTS[name](np.random.default_rng([seed, 11]), edge_m)
    towards = made.vertices_m - [0.0, 0.0, -0.5] if name != "tube" else made.vertices_m * [1.0, 1.0, 0.0]
    out = np.einsum("ij,ij->i", made.vertex_normals, towards) * made.vertex_areas_m2
    if out.sum() < 0.0:
        made = Surface(vertices_m=made.vertices_m, triangles=made.triangles[:, ::-1])
    return made


def features(surface: Surface) -> NDArray[np.bool_]:
    """Return the vertices of a noiseless part that are bent more sharply than `FEATURE_RADIUS_M` or on its border."""
    a, b = surface.edges.T
    turn = np.arccos(np.clip(np.einsum("ij,ij->i", surface.vertex_normals[a], surface.vertex_normals[b]), -1.0, 1.0))
    length = np.linalg.norm(surface.vertices_m[a] - surface.vertices_m[b], axis=1)
    sharp = turn > length / FEATURE_RADIUS_M
    out = np.zeros(len(surface.vertices_m), bool)
    out[a[sharp]] = out[b[sharp]] = True
    pairs = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, count = np.unique(pairs, axis=0, return_counts=True)
    out[edges[count == 1].ravel()] = True
    return out


def profile(shape: str, height_m: float, width_m: float, along_m: Array, across_m: Array) -> Array:
    """Return the height (N,) of a defect at places on its own axes."""
    if shape in ("ridge", "groove"):
        along_m = np.maximum(np.abs(along_m) - 0.5 * (LONG - 1.0) * width_m, 0.0)
    r = np.hypot(along_m, across_m) / width_m
    if shape == "pit":
        return height_m * (1.0 - _smooth_step((r - 0.3) / 0.2))
    return height_m * np.where(r < 0.5, np.cos(np.pi * r) ** 2, 0.0)


def with_defects(name: str, seed: int, n_max: int, edge_m: float = EDGE_M) -> DefectivePart:
    """Return a part with up to so many defects, shapes and sizes in turn, at random places clear of features."""
    rng = np.random.default_rng([seed, 12])
    nominal = part(name, seed, edge_m)
    points, normals = nominal.vertices_m, nominal.vertex_normals
    room = KDTree(points[features(nominal)]).query(points)[0]
    tree = nominal.tree
    placed: list[Placed] = []
    order = [(s, h, w) for h, w in SIZES for s in SHAPES]
    order = [order[(seed * 7 + k) % len(order)] for k in range(n_max)]
    for shape, height, width in sorted(order, key=lambda o: -o[2] * (LONG if o[0] in ("ridge", "groove") else 1.0)):
        half = 0.5 * width * (LONG if shape in ("ridge", "groove") else 1.0)
        free = np.flatnonzero(room > half + CLEAR_M)
        if len(free) == 0:
            continue
        centre = int(rng.choice(free))
        near = np.array(tree.query_ball_point(points[centre], 1.2 * half + 2e-3))
        near = near[normals[near] @ normals[centre] > 0.0]
        first = unit(np.cross(normals[centre], rng.standard_normal(3)))
        second = np.cross(normals[centre], first)
        apart = points[near] - points[centre]
        offset = np.zeros(len(points))
        offset[near] = SIGN[shape] * profile(shape, height, width, apart @ first, apart @ second)
        placed.append(Placed(shape=shape, height_m=height, width_m=width, centre_m=points[centre], offset_m=offset))
        touched = np.flatnonzero(offset)
        room = np.minimum(room, KDTree(points[touched]).query(points)[0] - GAP_M + CLEAR_M)
    total = np.sum([d.offset_m for d in placed], axis=0) if placed else np.zeros(len(points))
    true = Surface(vertices_m=points + total[:, None] * normals, triangles=nominal.triangles)
    return DefectivePart(name=name, nominal=nominal, true=true, placed=tuple(placed))


def noisy(surface: Surface, seed: int, white_m: float, shared_m: float, shared_over_m: float) -> Surface:
    """Return a surface off along its normals by white noise and by noise that is shared over a length, RMS [m]."""
    rng = np.random.default_rng([seed, 13])
    wave = rng.standard_normal((256, 3)) / shared_over_m
    phase = rng.uniform(0.0, 2.0 * np.pi, 256)
    field = np.zeros(len(surface.vertices_m))
    for k, p in zip(wave, phase, strict=True):
        field += np.cos(surface.vertices_m @ k + p)
    off = shared_m * np.sqrt(2.0 / 256) * field + white_m * rng.standard_normal(len(field))
    return Surface(vertices_m=surface.vertices_m + off[:, None] * surface.vertex_normals, triangles=surface.triangles)
