from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from cell_core.errors import CoverageError, InputRefusedError
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.strokes.layout import LayoutRequest, lay_lines, lay_strokes, sheet_for
from cell_core.strokes.patches import raise_to, split_patches
from cell_core.strokes.sheet import fit_sheet
from cell_core.surface import Surface
from cell_core.transforms import apply, transform_from_xyz_rpy

UP = np.array([0.0, 0.0, 1.0])


def dome(radius=0.5, half=0.25, n=41) -> Surface:
    g = np.linspace(-half, half, n)
    X, Y = np.meshgrid(1.4 * g, g, indexing="ij")
    vertices = np.stack([X, Y, np.sqrt(radius**2 - X**2 - Y**2) - radius], axis=-1).reshape(-1, 3)
    i = np.arange(X.size).reshape(X.shape)
    a, b, c, d = i[:-1, :-1].ravel(), i[1:, :-1].ravel(), i[1:, 1:].ravel(), i[:-1, 1:].ravel()
    return Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])


def tube(radius=0.1, length=0.5, n=48) -> Surface:
    phi, z = np.linspace(0.0, 2.0 * np.pi, n, endpoint=False), np.linspace(0.0, length, 30)
    P, Z = np.meshgrid(phi, z, indexing="ij")
    vertices = np.stack([Z, radius * np.cos(P), radius * np.sin(P)], axis=-1).reshape(-1, 3)
    i = np.arange(P.size).reshape(P.shape)
    j = np.roll(i, -1, axis=0)
    a, b, c, d = i[:, :-1].ravel(), j[:, :-1].ravel(), j[:, 1:].ravel(), i[:, 1:].ravel()
    mesh = Surface(vertices_m=vertices, triangles=np.r_[np.c_[a, b, c], np.c_[a, c, d]])
    outward = np.einsum("ij,ij->i", mesh.triangle_normals, mesh.centroids_m * [0.0, 1.0, 1.0])
    return mesh if outward.mean() > 0 else Surface(vertices_m=vertices, triangles=mesh.triangles[:, ::-1])


def request(**changes) -> LayoutRequest:
    base = {"direction": UP, "spacing_m": 0.05, "step_m": 0.008, "wavelength_m": 0.1, "speed_m_per_s": 0.3}
    return LayoutRequest(**{**base, **changes})


def test_samples_stand_for_the_whole_area_whatever_the_triangles():
    part = dome()
    slivers = Surface(
        vertices_m=[[0, 0, 0], [1, 0, 0], [1, 0.004, 0], [0, 0.004, 0]], triangles=[[0, 1, 2], [0, 2, 3]]
    )
    for surface in (part, slivers):
        samples = sample_surface(surface, 0.01)
        assert samples.areas_m2.sum() == pytest.approx(surface.area_m2, rel=5e-4)
        flat = np.abs(samples.points_m[:, 2]).max() == 0.0
        assert flat or RayCaster(surface).distance(samples.points_m).max() < 1e-5
        gaps = KDTree(samples.points_m).query(surface.centroids_m)[0]
        assert len(samples) > 90 and gaps.max() < 0.02


def test_a_thin_sheet_keeps_its_two_sides_apart():
    plate = [[0, 0, 0], [0.2, 0, 0], [0.2, 0.2, 0], [0, 0.2, 0], [0, 0, 0.001], [0.2, 0, 0.001], [0.2, 0.2, 0.001],
             [0, 0.2, 0.001]]
    surface = Surface(vertices_m=plate, triangles=[[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]])
    samples = sample_surface(surface, 0.01)
    assert samples.areas_m2[samples.normals[:, 2] > 0.9].sum() == pytest.approx(0.04)
    assert samples.areas_m2[samples.normals[:, 2] < -0.9].sum() == pytest.approx(0.04)


def test_samples_carry_a_field_back():
    part = dome()
    samples = sample_surface(part, 0.01)
    (x,) = samples.spread(part, samples.points_m[:, 0])
    assert np.abs(x - part.vertices_m[:, 0]).max() < 0.01


def test_a_sheet_reproduces_a_plane_beyond_its_border_and_flattens_noise():
    rng = np.random.default_rng(0)
    uv = rng.uniform(-0.2, 0.2, (3000, 2))
    noise = rng.normal(0.0, 0.001, 3000)
    points = np.c_[uv, 0.3 * uv[:, 0] - 0.2 * uv[:, 1] + noise]
    sheet = fit_sheet(points, np.full(3000, 0.16 / 3000), UP, wavelength_m=0.2, margin_m=0.1)
    there = rng.uniform(-0.28, 0.28, (200, 2))
    local = np.c_[there, np.zeros(200)]
    on = sheet.points(sheet.uvw(np.c_[local[:, :2], 0.3 * there[:, 0] - 0.2 * there[:, 1]])[:, :2])
    assert np.abs(on[:, 2] - (0.3 * on[:, 0] - 0.2 * on[:, 1])).max() < 0.001
    with pytest.raises(InputRefusedError, match="at least 3"):
        fit_sheet(points[:2], np.ones(2), UP, wavelength_m=0.2, margin_m=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
@pytest.mark.parametrize("field", ["arc_length", "planar"])
def test_neighbouring_strokes_keep_the_asked_distance(angle, field):
    strokes = lay_strokes(dome(), request(angle_rad=angle, field=field))
    assert len(strokes) >= 6
    distances = [
        KDTree(b.position_m).query(a.position_m[len(a) // 6 : -len(a) // 6])[0] for a, b in pairwise(strokes)
    ]
    inner = np.concatenate([d[d < 0.08] for d in distances])
    tolerance = 0.05 if field == "arc_length" else 0.12
    assert np.median(inner) == pytest.approx(0.05, rel=0.03)
    assert (np.abs(inner / 0.05 - 1.0) < tolerance).mean() > 0.95


def test_strokes_stay_on_the_surface_and_square_to_it():
    part = dome()
    strokes = lay_strokes(part, request(overtravel_m=-0.01, edge_offset_m=-0.01, keep_spacing=False, snap_m=0.005))
    points = np.concatenate([s.position_m for s in strokes])
    axes = np.concatenate([s.tool_axis for s in strokes])
    outward = (points + [0.0, 0.0, 0.5]) / 0.5
    assert RayCaster(part).distance(points).max() < 2e-4
    assert np.einsum("ij,ij->i", axes, -outward).min() > np.cos(0.12)


def test_overtravel_runs_on_along_the_tangent_with_the_process_off():
    strokes = lay_strokes(dome(), request(overtravel_m=0.06, on_margin_m=0.03, standoff_m=0.2))
    half = 0.25 * 1.4
    for stroke in strokes[1:-1]:
        x = stroke.position_m[:, 0] + 0.2 * stroke.tool_axis[:, 0]
        assert np.ptp(x) > 2.0 * half + 0.08
        assert not stroke.on[0] and not stroke.on[-1] and stroke.on[len(stroke) // 2]
        assert np.ptp(x[stroke.on]) < 2.0 * half + 0.08
        turn = np.einsum("ij,ij->i", stroke.travel[1:], stroke.travel[:-1])
        assert turn.min() > np.cos(0.1)
        assert np.ptp(stroke.step_lengths_m) < 0.1 * stroke.step_lengths_m.mean()


def test_raster_alternates_and_small_holes_are_bridged():
    part = dome()
    centre = np.linalg.norm(part.centroids_m[:, :2], axis=1)
    holed = part.select_triangles(centre > 0.04)
    strokes = lay_strokes(holed, request())
    assert len(strokes) == len(lay_strokes(part, request()))
    heading = [float(s.travel[len(s) // 2, 0]) for s in strokes]
    assert all(a * b < 0.0 for a, b in pairwise(heading))
    split = lay_strokes(part.select_triangles(centre > 0.1), request(gap_m=0.1))
    assert len(split) > len(strokes)


def test_a_hollow_tighter_than_the_standoff_does_not_fold_the_path():
    bowl = dome(radius=0.3, half=0.12)
    inside = Surface(vertices_m=bowl.vertices_m * [1, 1, -1], triangles=bowl.triangles[:, ::-1])
    samples = sample_surface(inside, 0.01)
    wanted = request(standoff_m=0.25)
    hollow = sheet_for(samples, wanted).concave_curvature(np.zeros((1, 2)))[0]
    assert hollow < 0.7 / 0.25
    for line in lay_lines(samples, wanted):
        path = line.surface_m + 0.25 * line.normal
        assert np.einsum("ij,ij->i", np.diff(path, axis=0), np.diff(line.surface_m, axis=0)).min() > 0.0


@settings(max_examples=5, deadline=None)
@given(st.floats(-3.0, 3.0), st.tuples(*[st.floats(-1.0, 1.0)] * 3))
def test_layout_turns_with_the_part(yaw, xyz):
    T = transform_from_xyz_rpy(xyz, (0.0, 0.0, yaw))
    part = dome(n=21)
    here = lay_strokes(part, request(step_m=0.02))
    there = lay_strokes(part.transformed(T, "part"), request(step_m=0.02))
    a = KDTree(np.concatenate([s.position_m for s in there]))
    moved = apply(T, np.concatenate([s.position_m for s in here]))
    assert np.quantile(a.query(moved)[0], 0.95) < 0.012


def test_no_stroke_long_enough_is_refused_with_the_area():
    with pytest.raises(CoverageError, match="fits a patch"):
        lay_strokes(dome(), request(min_length_m=2.0))


def test_a_tube_is_served_from_several_sides_and_all_of_it():
    surface = tube()
    samples = sample_surface(surface, 0.01)
    patches = split_patches(samples, RayCaster(surface), reach_m=0.3)
    members = np.concatenate([p.members for p in patches])
    assert len(patches) >= 3
    assert len(np.unique(members)) == len(members)
    outside = np.linalg.norm(samples.normals - samples.points_m * [0, 1, 1] / 0.1, axis=1) < 0.3
    assert outside.all()
    assert samples.areas_m2[members].sum() > 0.98 * samples.areas_m2.sum()
    for patch in patches:
        assert (samples.normals[patch.members] @ patch.direction).min() > np.cos(1.31)


def test_no_patch_is_served_from_below_the_lowest_elevation():
    surface = tube()
    samples = sample_surface(surface, 0.01)
    patches = split_patches(samples, RayCaster(surface), reach_m=0.3, lowest_elevation_rad=0.0)
    assert patches and min(p.direction[2] for p in patches) > -1e-9
    assert raise_to(np.array([0.6, 0.0, -0.8]), 0.0) == pytest.approx([1.0, 0.0, 0.0])


def test_a_box_gets_one_patch_per_face():
    from trimesh.creation import box

    mesh = box(extents=(0.3, 0.4, 0.2))
    surface = Surface(vertices_m=mesh.vertices, triangles=mesh.faces)
    samples = sample_surface(surface, 0.015)
    patches = split_patches(samples, RayCaster(surface), reach_m=0.3)
    assert len(patches) == 6
    for patch in patches:
        assert np.abs(patch.direction).max() > 0.97


@settings(max_examples=25, deadline=None)
@given(
    phase=st.floats(0.05, 0.95), spacing=st.floats(0.03, 0.12), offset=st.floats(-0.03, 0.05), keep=st.booleans()
)
def test_a_phase_moves_every_line_by_its_share_of_the_spacing(phase, spacing, offset, keep):
    samples = sample_surface(dome(), 0.01)
    plain = request(spacing_m=spacing, edge_offset_m=offset, field="planar", keep_spacing=keep)
    sheet = sheet_for(samples, plain)
    lines = [lay_lines(samples, r, sheet=sheet) for r in (plain, replace(plain, phase=phase))]
    across = [np.array([line.surface_m[len(line.surface_m) // 2, 1] for line in own]) for own in lines]
    steps = np.diff(np.unique(across[0].round(3)))
    step = float(np.median(steps[steps > 0.3 * spacing])) if (steps > 0.3 * spacing).any() else spacing
    for place in across[1]:
        # planar cuts of a dome are evenly spaced but for its slope
        nearest = (place - across[0]) / step
        shares = np.abs(np.mod(nearest, 1.0))
        assert np.minimum(np.abs(shares - phase), np.abs(shares - 1.0 + phase)).min() < 0.12
    assert len(across[0]) > 0 and len(across[1]) > 0
