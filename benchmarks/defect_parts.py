"""Freeform parts with known defects, and noise as scans have it: the truth that `bench_defects` scores against."""

from dataclasses import dataclass

import numpy as np
from defect_shapes import OUTWARDS, PARTS, smooth_step
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


def part(name: str, seed: int, edge_m: float = EDGE_M) -> Surface:
    """Return a part without defects; the seed draws its proportions and vertices. Normals point up or outwards."""
    made = PARTS[name](np.random.default_rng([seed, 11]), edge_m)
    towards = made.vertices_m - [0.0, 0.0, -0.5] if name not in OUTWARDS else made.vertices_m * [1.0, 1.0, 0.0]
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
        return height_m * (1.0 - smooth_step((r - 0.3) / 0.2))
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
