from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.errors import CoverageError, InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.strokes.mesh_choice import candidates, choose_layout, layout_figures, passes
from cell_core.strokes.mesh_edges import border_lines, edge_lines
from cell_core.strokes.mesh_layout import MeshLayoutRequest, Seed, lay_on_mesh, prepare, strokes_on_mesh
from cell_core.strokes.spacing import stroke_distances
from cell_core.surface import Surface
from cell_core.transforms import apply, transform_from_xyz_rpy
from cell_simulation.shapes import cylinder, half_cylinder, helix_tube, holed_plate, plane, saddle, sphere, torus

X, Y, Z = np.eye(3)
SPACING = 0.027


def across(direction) -> Seed:
    return Seed(kind="planar", direction=direction)


def request(seed=None, **changes) -> MeshLayoutRequest:
    base = {"seed": seed or across(Y), "spacing_m": SPACING, "step_m": 0.01}
    return MeshLayoutRequest(**{**base, **changes})


def rough_saddle() -> Surface:
    part = saddle(edge_m=0.006)
    noise = np.random.default_rng(1).normal(0.0, 2e-4, len(part.vertices_m))
    return Surface(vertices_m=part.vertices_m + noise[:, None] * part.vertex_normals, triangles=part.triangles)


SHAPES = {
    "plane": (plane(), across(X + 2 * Y)),
    "saddle": (saddle(), across(Y)),
    "saddle, askew": (saddle(), across(X + Y)),
    "half cylinder, askew": (half_cylinder(), across(X + Y)),
    "tube, rings": (cylinder(), across(X)),
    "tube, rows": (cylinder(), across(Z)),
    "sphere": (sphere(), across(Z)),
    "torus": (torus(), across(Z)),
    "tube, from its end": (cylinder(), Seed(kind="border", borders=(0,))),
    "tube, end to end": (cylinder(), Seed(kind="between_borders", borders=(0, 1))),
    "holed plate": (holed_plate(), across(Y)),
    "scan": (rough_saddle(), across(Y)),
}


@pytest.fixture(scope="module", params=SHAPES)
def laid(request):
    surface, seed = SHAPES[request.param]
    wanted = MeshLayoutRequest(
        seed=seed, spacing_m=SPACING, step_m=0.01, overtravel_m=0.01, on_margin_m=0.008
    )
    work = prepare(surface, wanted)
    return surface, work, wanted, lay_on_mesh(surface, wanted, work)


def test_neighbours_lie_the_asked_distance_apart_and_nothing_is_left_out(laid):
    _, work, _, lines = laid
    distances = stroke_distances(work.caster, lines, SPACING)
    assert distances.within > 0.95
    assert distances.with_neighbour > 0.8
    figures = layout_figures(work, lines, SPACING, 0.015)
    assert figures.covered > 0.995
    assert figures.mean_visits < 1.5


def test_strokes_keep_to_the_surface_between_samples_too(laid):
    surface, _, _, lines = laid
    caster = RayCaster(surface)
    for line in lines:
        both = line.served[1:] & line.served[:-1]
        for t in (0.0, 0.3, 0.5, 0.8):
            points = (1.0 - t) * line.surface_m[:-1][both] + t * line.surface_m[1:][both]
            assert caster.distance(points).max(initial=0.0) < 2e-4
        assert np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1).max() < 0.0101


def test_normals_never_flip_and_agree_with_the_face(laid):
    surface, work, _, lines = laid
    for line in lines:
        assert np.einsum("ij,ij->i", line.normal[1:], line.normal[:-1]).min() > 0.9
        face = surface.triangle_normals[work.caster.closest(line.surface_m[line.served])[1]]
        assert np.einsum("ij,ij->i", line.normal[line.served], face).min() > 0.5


def test_strokes_carry_what_was_asked(laid):
    _, _, wanted, lines = laid
    strokes = strokes_on_mesh(lines, wanted)
    assert len(strokes) == len(lines)
    for stroke in strokes:
        assert np.abs(np.einsum("ij,ij->i", stroke.travel, stroke.tool_axis)).max() < 1e-9
        along = np.einsum("ij,ij->i", np.diff(stroke.position_m, axis=0), stroke.travel[:-1])
        assert (along > 0.0).mean() > 0.99


@pytest.mark.parametrize(("surface", "seed"), [(sphere(), across(Z)), (torus(), across(Z)), (cylinder(), across(X))])
def test_rings_close(surface, seed):
    lines = lay_on_mesh(surface, request(seed))
    assert len(lines) > 10 and all(line.closed for line in lines)
    for line in lines:
        assert line.surface_m[0] == pytest.approx(line.surface_m[-1], abs=1e-9)
    (longer,) = lay_on_mesh(surface, request(seed, overlap_m=0.03))[:1]
    assert longer.surface_m[-1] != pytest.approx(longer.surface_m[0], abs=0.02)


def test_tiny_rings_go_and_poles_are_served():
    surface = sphere(0.25, 0.008)
    for spacing in (0.024, 0.027, 0.031):
        wanted = request(across(Z), spacing_m=spacing, stretch=0.0)
        lines = lay_on_mesh(surface, wanted)
        assert min(np.linalg.norm(np.ptp(line.surface_m, axis=0)) for line in lines) > spacing / 3.0
        assert layout_figures(prepare(surface, wanted), lines, spacing, 0.6 * spacing).covered > 0.999


def test_a_spiral_is_one_stroke():
    (line,) = lay_on_mesh(sphere(), request(across(Z), link="spiral"))
    length = np.linalg.norm(np.diff(line.surface_m, axis=0), axis=1).sum()
    assert length == pytest.approx(sphere().area_m2 / SPACING, rel=0.03)


def test_raster_goes_there_and_back_and_one_way_does_not():
    there = [line.surface_m[-1, 0] - line.surface_m[0, 0] for line in lay_on_mesh(plane(), request())]
    assert all(a * b < 0.0 for a, b in pairwise(there))
    same = lay_on_mesh(plane(), request(link="one_way"))
    assert all(line.surface_m[-1, 0] > line.surface_m[0, 0] for line in same)


def test_small_holes_are_crossed_with_the_process_off_and_large_ones_cut():
    plate = holed_plate()
    crossed = lay_on_mesh(plate, request())
    rows = lay_on_mesh(plane(0.8, 0.5), request())
    assert len(crossed) == len(rows)
    assert any(not line.on.all() for line in crossed)
    assert all(line.on.all() for line in lay_on_mesh(plate, request(bridge_on=True)))
    assert len(lay_on_mesh(plate, request(gap_m=0.01))) > len(rows) + 20


def test_overtravel_is_straight_and_off_beyond_its_margin():
    for line in lay_on_mesh(half_cylinder(), request(across(Y), overtravel_m=0.04, on_margin_m=0.015)):
        past = np.abs(line.surface_m[:, 0]) - 0.25
        assert past.max() == pytest.approx(0.04, abs=1e-3)
        assert not line.on[past > 0.017].any() and line.on[past < 0.013].all()
    for line in lay_on_mesh(plane(), request(overtravel_m=-0.05)):
        assert np.abs(line.surface_m[:, 0]).max() == pytest.approx(0.25, abs=1e-6)


def test_outermost_strokes_lie_where_asked():
    y = [line.surface_m[0, 1] for line in lay_on_mesh(plane(), request(inset_m=0.005, stretch=0.05))]
    assert 0.195 - max(y) < 0.004 and min(y) + 0.195 < 0.004
    close = [line.surface_m[0, 1] for line in lay_on_mesh(plane(), request(stretch=0.0))]
    assert np.diff(sorted(close)) == pytest.approx(SPACING, rel=1e-3)


def test_spacing_follows_a_function_of_the_place():
    part = plane(edge_m=0.008)
    asked = 0.02 + 0.05 * (part.vertices_m[:, 1] + 0.2)
    lines = lay_on_mesh(part.with_fields(spacing_m=asked), request(spacing_field="spacing_m"))
    y = np.sort([line.surface_m[len(line.surface_m) // 2, 1] for line in lines])
    middle = 0.5 * (y[1:] + y[:-1])
    assert len(y) > 8
    assert np.diff(y) == pytest.approx(0.02 + 0.05 * (middle + 0.2), rel=0.05)
    at = [0.02 + 0.05 * (line.surface_m[:, 1] + 0.2) for line in lines]
    assert stroke_distances(RayCaster(part), lines, at).within > 0.95


def test_a_tip_between_two_levels_gets_a_stroke_of_its_own():
    whole = plane(0.3, 0.3, 0.006)
    low = (whole.centroids_m[:, 0] < 0.0) | (whole.centroids_m[:, 1] < 0.071)
    part = whole.select_triangles(low)
    wanted = request(across(Y), stretch=0.0, spacing_m=0.03)
    lines = lay_on_mesh(part, wanted)
    (tip,) = [line for line in lines if line.level % 1.0 == 0.5]
    # what the stroke at y = 0.045 leaves bare lies between 0.0615 and the border at 0.072
    assert tip.level == 6.5 and tip.surface_m[:, 0].min() > -0.01
    assert tip.surface_m[:, 1].min() > 0.0615 and tip.surface_m[:, 1].max() < 0.072
    assert layout_figures(prepare(part, wanted), lines, 0.03, 0.016).covered > 0.995


def test_borders_and_sharp_edges_are_strokes():
    rims = border_lines(cylinder(), request(), 0.01)
    assert sorted(round(float(abs(line.surface_m[0, 0])), 3) for line in rims) == [0.24, 0.24]
    (rim,) = border_lines(plane(), request(overlap_m=0.02), 0.0)
    assert rim.closed and np.abs(rim.surface_m[:, :2]).max(axis=0) == pytest.approx([0.3, 0.2])
    from trimesh.creation import box

    cube = box(extents=(0.1, 0.1, 0.1))
    edges = edge_lines(Surface(vertices_m=cube.vertices, triangles=cube.faces), request(), 1.0)
    assert len(edges) == 12
    for line in edges:
        assert np.abs(line.normal).max() == pytest.approx(np.sqrt(0.5), abs=0.25)
        assert np.linalg.norm(line.surface_m[-1] - line.surface_m[0]) == pytest.approx(0.1)


def test_choice_names_every_candidate_and_takes_the_cheapest():
    part = helix_tube(turns=0.7, edge_m=0.016)
    base = request(across(X), spacing_m=0.036, overtravel_m=0.01, on_margin_m=0.01)
    work = prepare(part, base)
    best, rows = choose_layout(part, candidates(work, base), radius_m=0.02, prepared=work)
    assert len(rows) >= 8 and len({row.name for row in rows}) == len(rows)
    assert best is rows[0] and [row.cost for row in rows] == sorted(row.cost for row in rows)
    assert best.figures is not None and best.figures.covered > 0.995 and best.figures.spacing_within > 0.95
    fewest, _ = choose_layout(
        part, [row.request for row in rows], lambda _, lines, *__: len(lines), radius_m=0.02, prepared=work
    )
    assert len(fewest.lines) == min(len(row.lines) for row in rows)


def test_passes_count_a_stroke_that_comes_back_twice():
    part = plane(0.3, 0.3, 0.02)
    work = prepare(part, request())
    lines = lay_on_mesh(part, request(across(Y), spacing_m=0.1, step_m=0.01))
    there_and_back = lines[1]
    order = np.r_[np.arange(len(there_and_back.on)), np.arange(len(there_and_back.on))[::-1]]
    from dataclasses import replace

    twice = replace(
        there_and_back,
        surface_m=there_and_back.surface_m[order] + np.linspace(0.0, 1e-4, len(order))[:, None] * Y,
        normal=there_and_back.normal[order],
        on=there_and_back.on[order],
        served=there_and_back.served[order],
    )
    near = np.abs(work.mesh.vertices_m[:, 1] - twice.surface_m[0, 1]) < 0.01
    middle = near & (np.abs(work.mesh.vertices_m[:, 0]) < 0.05)
    assert middle.any()
    assert passes(work, [there_and_back], 0.02)[middle] == pytest.approx(1.0)
    assert passes(work, [twice], 0.02)[middle] == pytest.approx(2.0)


@settings(max_examples=5, deadline=None)
@given(st.tuples(*[st.floats(-3.0, 3.0)] * 3))
def test_layout_turns_with_the_part(rpy):
    part = saddle(edge_m=0.015)
    T = transform_from_xyz_rpy((0.3, -0.1, 0.2), rpy)
    here = lay_on_mesh(part, request(across(Y)))
    there = lay_on_mesh(part.transformed(T, "part"), request(across(T[:3, :3] @ Y)))
    assert len(here) == len(there)
    a = RayCaster(part)
    for one, two in zip(here, there, strict=True):
        assert two.surface_m[len(two.surface_m) // 2] == pytest.approx(
            apply(T, one.surface_m)[len(one.surface_m) // 2], abs=2e-3
        )
        assert a.distance(one.surface_m).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spacing_m": 0.0}, "spacing_m is 0.0"),
        ({"stretch": 0.5}, "stretch is 0.5"),
        ({"inset_m": -0.01}, "inset_m is -0.01"),
        ({"seed": Seed(kind="border", borders=(3,))}, "the patch has 1"),
        ({"seed": Seed(kind="given", name="nope")}, "no field 'nope'"),
        ({"spacing_field": "nope"}, "no field 'nope'"),
        ({"seed": Seed(kind="planar")}, "needs a direction"),
    ],
)
def test_what_cannot_be_laid_is_refused(changes, said):
    with pytest.raises(InputRefusedError, match=said):
        lay_on_mesh(plane(edge_m=0.05), request(**changes))


def test_no_stroke_long_enough_is_told_with_the_area():
    with pytest.raises(CoverageError, match=r"at least 5.000 m fits a patch of 0.24"):
        lay_on_mesh(plane(edge_m=0.05), request(min_length_m=5.0))
    with pytest.raises(CoverageError, match="no border"):
        border_lines(sphere(edge_m=0.05), request(), 0.0)
