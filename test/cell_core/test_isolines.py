import numpy as np
import pytest

from cell_core.errors import InputRefusedError
from cell_core.strokes.isolines import chains, iso_curves
from cell_core.strokes.mesh_fields import turns_about
from cell_core.surface import Surface
from cell_simulation.shapes import cylinder, plane, sphere

Z = np.array([0.0, 0.0, 1.0])


def length(curve) -> float:
    points = np.vstack([curve.points_m, curve.points_m[:1]]) if curve.closed else curve.points_m
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def test_levels_of_a_sphere_are_one_ring_each_of_the_right_length():
    surface, levels = sphere(0.25, 0.01), np.linspace(-0.2, 0.2, 9)
    curves = iso_curves(surface, surface.vertices_m[:, 2], levels)
    assert [curve.level for curve in curves] == list(range(9)) and all(curve.closed for curve in curves)
    for curve, level in zip(curves, levels, strict=True):
        assert curve.points_m[:, 2] == pytest.approx(level, abs=1e-12)
        assert length(curve) == pytest.approx(2.0 * np.pi * np.sqrt(0.25**2 - level**2), rel=2e-3)


def test_points_lie_on_edges_of_the_triangles_they_bound():
    surface = cylinder()
    field = surface.vertices_m @ [0.3, 1.0, 0.2]
    curves = iso_curves(surface, field, np.array([-0.05, 0.02]))
    assert curves
    for curve in curves:
        n = len(curve.triangles)
        after = (np.arange(n) + 1) % len(curve.points_m)
        corners = surface.triangles[curve.triangles]
        for ends in (curve.corners[:n], curve.corners[after]):
            assert (ends[:, :, None] == corners[:, None, :]).any(axis=2).all()
        assert curve.interpolated(field) == pytest.approx([-0.05, 0.02][curve.level], abs=1e-12)
        assert curve.interpolated(surface.vertices_m) == pytest.approx(curve.points_m)


def test_higher_values_are_on_the_left():
    surface = plane(edge_m=0.02)
    (curve,) = iso_curves(surface, surface.vertices_m[:, 1], np.array([0.013]))
    assert not curve.closed and curve.points_m[-1, 0] - curve.points_m[0, 0] == pytest.approx(0.6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_level_through_a_row_of_vertices_gives_one_plain_curve(axis):
    surface = plane(0.4, 0.4, 0.1)
    (curve,) = iso_curves(surface, np.round(surface.vertices_m[:, axis], 9), np.array([0.1]))
    assert length(curve) == pytest.approx(0.4)
    assert not curve.closed


def test_a_flat_top_at_the_level_is_ringed_once():
    surface = plane(0.4, 0.4, 0.1)
    field = (np.abs(surface.vertices_m[:, :2]).max(axis=1) < 0.15).astype(float)
    (curve,) = iso_curves(surface, field, np.array([1.0]))
    assert curve.closed


def test_a_field_that_winds_gives_one_spiral():
    surface = sphere(0.25, 0.01)
    turns, windings = turns_about(surface, np.zeros(3), Z)
    rows = 0.25 * np.arcsin(surface.vertices_m[:, 2] / 0.25) / 0.03
    curves = iso_curves(surface, rows + turns, np.arange(-30.0, 31.0), windings)
    (spiral,) = [curve for curve in curves if len(curve.points_m) > 20]
    angle = np.unwrap(np.arctan2(spiral.points_m[:, 1], spiral.points_m[:, 0]))
    assert abs(angle[-1] - angle[0]) / (2.0 * np.pi) == pytest.approx(0.25 * np.pi / 0.03, abs=1.0)


def test_edges_of_three_triangles_end_curves():
    fin = Surface(
        vertices_m=[[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.5, -1, 0], [0.5, 0, 1]],
        triangles=[[0, 1, 2], [1, 0, 3], [0, 1, 4]],
    )
    curves = iso_curves(fin, fin.vertices_m[:, 0], np.array([0.4]))
    assert len(curves) == 3 and not any(curve.closed for curve in curves)


def test_chains_join_open_runs_and_rings():
    runs = chains(np.array([[1, 2], [0, 1], [5, 6], [6, 5], [2, 3]]))
    assert [(run.tolist(), closed) for run, closed in runs] == [([1, 0, 4], False), ([2, 3], True)]


def test_bad_input_is_refused_with_its_place():
    surface = plane(edge_m=0.1)
    field = surface.vertices_m[:, 0].copy()
    field[7] = np.nan
    with pytest.raises(InputRefusedError, match=r"field\[7\]"):
        iso_curves(surface, field, np.array([0.0]))
    with pytest.raises(InputRefusedError, match="increase"):
        iso_curves(surface, surface.vertices_m[:, 0], np.array([0.1, 0.1]))
