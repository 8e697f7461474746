"""Pictures: what stands where, and what hides what."""

import numpy as np
import trimesh

from cell_core.surface import Surface
from cell_operator.progress import shown_figure
from cell_operator.render import render_surface, view_of


def _box() -> Surface:
    mesh = trimesh.creation.box(extents=[0.4, 0.2, 0.1])
    return Surface(vertices_m=mesh.vertices, triangles=mesh.faces)


def test_view_shows_the_whole_surface_and_fills_the_image() -> None:
    surface = _box()
    for direction in ([0, 0, -1], [-1, -1, -1], [0.3, 1, -0.2]):
        view = view_of(surface.vertices_m, direction, 300, 200)
        pixels, depth = view.project(surface.vertices_m)
        assert np.all(depth > 0)
        assert np.all(pixels >= 0)
        assert np.all(pixels <= [300, 200])
        assert np.max(np.ptp(pixels, axis=0) / [300, 200]) > 0.8


def test_values_colour_the_pixels_they_stand_on() -> None:
    surface = _box()
    view = view_of(surface.vertices_m, [0, 0, -1], 300, 200)
    picture = render_surface(surface, view, surface.vertices_m[:, 0], low=-0.2, high=0.2, colormap="gray")
    pixels, _ = view.project(np.array([[-0.18, 0.0, 0.05], [0.18, 0.0, 0.05]]))
    dark, light = (picture.rgb[int(y), int(x)].mean() for x, y in pixels)
    assert light > dark + 0.4
    assert np.allclose(picture.rgb[0, 0], 1.0)


def test_hidden_points_are_not_visible() -> None:
    surface = _box()
    picture = render_surface(surface, view_of(surface.vertices_m, [0, 0, -1], 300, 200))
    _, visible = picture.visible(np.array([[0.0, 0.0, 0.05], [0.0, 0.0, -0.05], [0.0, 0.0, 0.3]]), 1e-3)
    assert visible.tolist() == [True, False, True]


def test_figures_are_shown_in_units_people_read() -> None:
    assert shown_figure("mean_m", 50e-6) == ("mean", "50.0", "um")
    assert shown_figure("length_m", 12.3456) == ("length", "12.346", "m")
    assert shown_figure("standoff_m", 0.2) == ("standoff", "200.00", "mm")
    assert shown_figure("axis_turn_max_rad_per_m", 17.453293) == ("axis turn max", "1.000", "deg/mm")
    assert shown_figure("axis_turn_max_rad_per_s", 0.17453293) == ("axis turn max", "10.00", "deg/s")
    assert shown_figure("cv", 0.034) == ("CV", "3.40", "%")
    assert shown_figure("covered_area_fraction", 0.995) == ("covered area", "99.50", "%")
    assert shown_figure("n_strokes", 7) == ("n strokes", "7", "")
    assert shown_figure("duration_s", 61.234) == ("duration", "61.23", "s")
