"""Holes are found, measured and filled; rims are left alone."""

import numpy as np
import pytest
import trimesh

from cell_core.errors import InputRefusedError
from cell_core.meshes.borders import borders, filled
from cell_core.meshes.topology import joints
from cell_core.surface import Surface

N = 81


def plate(n_holes=40):
    """A plate of 0.4 x 0.4 m in cells of 5 mm with square holes of 10 mm."""
    x = np.linspace(0.0, 0.4, N)
    grid = np.stack([*np.meshgrid(x, x, indexing="ij"), np.zeros((N, N))], axis=-1).reshape(-1, 3)
    rows, columns = (a.ravel() for a in np.meshgrid(np.arange(N - 1), np.arange(N - 1), indexing="ij"))
    solid = np.ones((N - 1, N - 1), bool)
    for k in range(n_holes):
        r, c = 4 + 9 * (k // 8), 4 + 9 * (k % 8)
        solid[r : r + 2, c : c + 2] = False
    i = (rows * N + columns)[solid.ravel()]
    faces = np.concatenate([np.stack([i, i + N, i + N + 1], 1), np.stack([i, i + N + 1, i + 1], 1)])
    surface = Surface(vertices_m=grid, triangles=faces, fields={"x_m": grid[:, 0]})
    return surface.select_triangles(np.ones(len(faces), bool))


def test_forty_holes_and_one_rim():
    found = borders(plate())
    rims, holes = [b for b in found if b.is_rim], [b for b in found if not b.is_rim]
    assert len(rims) == 1 and len(holes) == 40
    assert rims[0].length_m == pytest.approx(1.6) and rims[0].area_m2 == pytest.approx(0.16)
    for hole in holes:
        assert hole.length_m == pytest.approx(0.04)
        assert hole.area_m2 == pytest.approx(1e-4)
        assert hole.diameter_m == pytest.approx(np.sqrt(2.0) * 0.01, rel=0.05)
        assert hole.is_flat and len(hole.vertices) == 8


def test_holes_are_filled_and_counted_and_the_rim_is_not():
    surface, n = filled(plate(), 0.02)
    assert n == 40
    assert surface.area_m2 == pytest.approx(0.16)
    assert surface.triangle_normals[:, 2] == pytest.approx(np.ones(len(surface.triangles)))
    assert surface.fields["x_m"] == pytest.approx(surface.vertices_m[:, 0])
    left = borders(surface)
    assert [b.is_rim for b in left] == [True]
    same, none = filled(plate(), 0.005)
    assert none == 0 and len(same.triangles) == len(plate().triangles)


def test_a_closed_body_with_a_hole_has_no_rim():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.2)
    kept = ball.triangles_center[:, 2] < 0.19
    surface = Surface(vertices_m=ball.vertices, triangles=ball.faces[kept])
    assert [b.is_rim for b in borders(surface)] == [False]
    whole, n = filled(surface, 0.2)
    assert n == 1 and len(joints(whole.vertices_m, whole.triangles).open) == 0
    assert trimesh.Trimesh(whole.vertices_m, whole.triangles).is_winding_consistent


def test_a_closed_body_has_no_borders():
    box = trimesh.creation.box((0.1, 0.1, 0.1))
    assert borders(Surface(vertices_m=box.vertices, triangles=box.faces)) == []


@pytest.mark.parametrize("diameter_m", [0.0, -1.0, np.nan])
def test_a_senseless_diameter_is_refused(diameter_m):
    with pytest.raises(InputRefusedError, match="must be positive"):
        filled(plate(1), diameter_m)
