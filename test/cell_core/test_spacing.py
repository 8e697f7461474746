import numpy as np
import pytest

from cell_core.raycast import RayCaster
from cell_core.strokes.mesh_lines import MeshLine
from cell_core.strokes.spacing import path_lengths, stroke_distances
from cell_simulation.shapes import cylinder, plane, saddle, sphere, torus


def line(points, level, closed=False) -> MeshLine:
    n = len(points)
    return MeshLine(
        surface_m=np.asarray(points, float), normal=np.tile([0.0, 0.0, 1.0], (n, 1)), on=np.ones(n, bool),
        served=np.ones(n, bool), level=float(level), closed=closed,
    )  # fmt: skip


def ring(radius, x) -> np.ndarray:
    a = np.linspace(0.0, 2.0 * np.pi, 181)
    return np.stack([np.full_like(a, x), radius * np.cos(a), radius * np.sin(a)], axis=1)


def test_rows_along_a_tube_are_an_arc_apart():
    surface = cylinder(0.05, 0.4, 0.002)
    x = np.linspace(-0.15, 0.15, 61)
    rows = [
        line(np.stack([x, np.full_like(x, 0.05 * np.cos(a)), np.full_like(x, 0.05 * np.sin(a))], axis=1), k)
        for k, a in enumerate((0.0, 0.6, 1.2))
    ]
    distances = stroke_distances(RayCaster(surface), rows, 0.03)
    assert distances.ratio == pytest.approx(1.0, abs=2e-3)
    assert distances.within == pytest.approx(1.0)
    # the outer rows have one neighbour, the middle one two
    assert distances.with_neighbour == pytest.approx(4.0 / 6.0, abs=0.02)


def test_a_wrong_distance_is_seen_and_weighted_by_length():
    surface = cylinder(0.1, 0.6, 0.004)
    rings = [line(ring(0.1, x), k, closed=True) for k, x in enumerate((0.0, 0.03, 0.063))]
    distances = stroke_distances(RayCaster(surface), rings, 0.03)
    assert distances.within == pytest.approx(0.5, abs=0.01)
    assert distances.quantile(0.99) == pytest.approx(1.1, abs=3e-3)


def test_free_ends_and_far_strokes_are_no_neighbours():
    surface = plane()
    x = np.linspace(0.0, 0.1, 11)[:, None] * [1.0, 0.0, 0.0]
    beside = stroke_distances(RayCaster(surface), [line(x, 0), line(x + [0.15, 0.02, 0.0], 1)], 0.02)
    assert len(beside.ratio) == 0 and beside.with_neighbour == 0.0
    far = stroke_distances(RayCaster(surface), [line(x, 0), line(x + [0.0, 0.05, 0.0], 1)], 0.02)
    assert len(far.ratio) == 0
    between = stroke_distances(RayCaster(surface), [line(x, 0), line(x + [0.0, 0.01, 0.0], 0.5)], 0.02)
    assert len(between.ratio) == 0


@pytest.mark.parametrize("surface", [saddle(0.12, 0.12, 0.006), sphere(0.05, 0.005), torus(0.06, 0.025, 0.005)])
def test_paths_laid_on_the_surface_are_as_long_as_exact_geodesics(surface):
    igl = pytest.importorskip("igl")
    rng = np.random.default_rng(3)
    pairs = []
    for start in rng.integers(len(surface.vertices_m), size=12).tolist():
        reach = np.linalg.norm(surface.vertices_m - surface.vertices_m[start], axis=1)
        ends = np.flatnonzero((reach > 0.024) & (reach < 0.036))[::5]
        exact = igl.exact_geodesic(
            surface.vertices_m, surface.triangles, VS=np.array([start]), VT=ends.astype(np.int64)
        )
        pairs += [(start, int(end), float(d)) for end, d in zip(ends, np.atleast_1d(exact), strict=True)]
    assert len(pairs) > 100
    start, end, exact = (np.array(column) for column in zip(*pairs, strict=True))
    found = path_lengths(RayCaster(surface), surface.vertices_m[start], surface.vertices_m[end])
    assert np.abs(found / exact - 1.0).max() < 0.01
