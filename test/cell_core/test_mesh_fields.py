import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.errors import InputRefusedError
from cell_core.strokes.mesh_fields import MeshFields, border_loops, loop_length_m
from cell_core.surface import Surface
from cell_core.transforms import apply, transform_from_xyz_rpy
from cell_simulation.shapes import cylinder, half_cylinder, holed_plate, plane, saddle, sphere, torus

X, Y, Z = np.eye(3)


def slope(fields: MeshFields, field) -> np.ndarray:
    return np.linalg.norm((fields.gradient @ field).reshape(-1, 3), axis=1)


def share(surface: Surface, good) -> float:
    return float(surface.triangle_areas_m2 @ good / surface.area_m2)


def test_gradient_of_a_linear_field_is_exact_on_any_triangles():
    sheared = plane(edge_m=0.05).vertices_m @ np.array([[1.0, 0, 0], [6.0, 1, 0], [0, 0, 1]])
    surface = Surface(vertices_m=sheared, triangles=plane(edge_m=0.05).triangles)
    fields = MeshFields(surface=surface)
    gradient = (fields.gradient @ fields.planar([1.0, 2.0, 0.0])).reshape(-1, 3)
    assert gradient == pytest.approx(np.tile([1.0, 2.0, 0.0], (len(gradient), 1)) / np.sqrt(5.0), abs=1e-9)


@pytest.mark.parametrize(
    ("surface", "direction"),
    [(half_cylinder(), X + Y), (saddle(), X + Y), (saddle(), Y), (torus(), Z), (sphere(), Z), (cylinder(), X + 2 * Z)],
)
def test_equal_spacing_reaches_the_wanted_slope(surface, direction):
    fields = MeshFields(surface=surface)
    raw = fields.planar(direction)
    field = fields.equally_spaced(raw, 0.03)
    assert share(surface, np.abs(0.03 * slope(fields, field) - 1.0) < 0.05) > 0.95
    assert share(surface, np.abs(slope(fields, raw) - 1.0) < 0.05) < 0.9


def test_a_plane_field_on_a_plane_is_left_alone():
    fields = MeshFields(surface=plane())
    raw = fields.planar(X + 0.4 * Y)
    field = fields.equally_spaced(raw, 0.02)
    assert np.ptp(field - raw / 0.02) < 1e-6


def test_a_spacing_function_sets_the_slope_everywhere():
    surface = plane(edge_m=0.008)
    fields = MeshFields(surface=surface)
    spacing = 0.02 + 0.04 * (surface.vertices_m[:, 0] + 0.3)
    field = fields.equally_spaced(fields.planar(X), spacing)
    # the field of slope 1 / s along x is log(s) over the slope of s
    true = np.log(spacing) / 0.04
    assert np.abs(field - true - np.mean(field - true)).max() < 0.02


def test_distance_is_that_of_the_sphere():
    surface = sphere(0.25, 0.01)
    pole = int(np.argmax(surface.vertices_m[:, 2]))
    fields = MeshFields(surface=surface)
    field = fields.equally_spaced(fields.distance(np.array([pole])))
    true = 0.25 * np.arccos(np.clip(surface.vertices_m @ surface.vertices_m[pole] / 0.25**2, -1.0, 1.0))
    off = field - true
    assert np.abs(off - off.mean()).max() < 0.004


def test_distance_from_a_border_is_zero_on_it_and_straight_into_the_other():
    surface = half_cylinder()
    fields = MeshFields(surface=surface)
    start = np.flatnonzero(surface.vertices_m[:, 0] < -0.2499)
    field = fields.equally_spaced(fields.distance(start), zero=start)
    assert np.abs(field[start]).max() == 0.0
    assert field == pytest.approx(surface.vertices_m[:, 0] + 0.25, abs=3e-3)


def test_harmonic_between_the_ends_of_a_tube_is_linear():
    surface = cylinder()
    fields = MeshFields(surface=surface)
    x = surface.vertices_m[:, 0]
    field = fields.harmonic(*(np.flatnonzero(np.abs(x - end) < 1e-9) for end in (-0.25, 0.25)))
    assert field == pytest.approx(2.0 * (x + 0.25), abs=1e-6)


def test_slivers_and_loose_vertices_do_no_harm():
    even = plane(0.4, 0.4, 0.02)
    squeezed = even.vertices_m * [1.0, 1e-3, 1.0]
    needles = Surface(
        vertices_m=np.vstack([even.vertices_m, squeezed + [0.0, 0.3, 0.0], [[9.0, 9.0, 9.0]]]),
        triangles=np.vstack([even.triangles, even.triangles + len(even.vertices_m)]),
    )
    fields = MeshFields(surface=needles)
    field = fields.equally_spaced(fields.distance(np.array([0, len(even.vertices_m)])))
    assert np.isfinite(field).all()
    assert share(needles, np.abs(slope(fields, field) - 1.0) < 0.05) > 0.95


def test_borders_are_loops_with_the_surface_on_their_left():
    loops = border_loops(holed_plate())
    assert len(loops) == 41
    assert loop_length_m(holed_plate(), loops[0]) == pytest.approx(2.6)
    points = holed_plate().vertices_m
    area = [float(np.cross(points[k], np.roll(points[k], -1, axis=0))[:, 2].sum()) for k in loops]
    assert area[0] > 0.0 and max(area[1:]) < 0.0
    assert border_loops(sphere(edge_m=0.05)) == []


def test_borders_that_meet_in_a_vertex_stay_two():
    surface = plane(0.4, 0.4, 0.1)
    centre = surface.centroids_m
    corner_holes = ((centre[:, 0] > 0) & (centre[:, 0] < 0.1) & (centre[:, 1] > 0) & (centre[:, 1] < 0.1)) | (
        (centre[:, 0] < 0) & (centre[:, 0] > -0.1) & (centre[:, 1] < 0) & (centre[:, 1] > -0.1)
    )
    loops = border_loops(surface.select_triangles(~corner_holes))
    assert [len(loop) for loop in loops] == [16, 8] or [len(loop) for loop in loops] == [16, 4, 4]
    assert sum(len(loop) for loop in loops) == 24


@settings(max_examples=6, deadline=None)
@given(st.tuples(*[st.floats(-3.0, 3.0)] * 3), st.floats(0.1, 20.0))
def test_fields_turn_and_scale_with_the_part(rpy, scale):
    part = saddle(edge_m=0.03)
    T = transform_from_xyz_rpy((0.3, -0.2, 0.1), rpy)
    moved = Surface(vertices_m=scale * apply(T, part.vertices_m), triangles=part.triangles)
    here, there = MeshFields(surface=part), MeshFields(surface=moved)
    a = here.equally_spaced(here.planar(X + Y), 0.03)
    b = there.equally_spaced(there.planar(T[:3, :3] @ (X + Y)), 0.03 * scale)
    assert np.ptp(a - b) < 1e-4


def test_vertex_order_does_not_matter():
    part = saddle(edge_m=0.03)
    shuffle = np.random.default_rng(0).permutation(len(part.vertices_m))
    mixed = Surface(vertices_m=part.vertices_m[shuffle], triangles=np.argsort(shuffle)[part.triangles][::-1])
    one, two = MeshFields(surface=part), MeshFields(surface=mixed)
    a, b = (f.equally_spaced(f.planar(X + Y), 0.03) for f in (one, two))
    assert np.ptp(a[shuffle] - b) < 1e-6


def test_nothing_to_start_from_is_refused():
    fields = MeshFields(surface=plane(edge_m=0.1))
    with pytest.raises(InputRefusedError, match="0 source vertices"):
        fields.distance(np.empty(0, int))
    with pytest.raises(InputRefusedError, match="borders of 0 and 1"):
        fields.harmonic(np.empty(0, int), np.array([1]))
