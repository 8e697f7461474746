"""Repairs are exact in simple cases and counted; where a part lies and how it is listed do not matter."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cell_core.meshes.repair import repair
from cell_core.meshes.topology import joints


def repaired(mesh, **options):
    return repair(np.asarray(mesh.vertices, float), np.asarray(mesh.faces), "part", "here", **options)


def joined(*meshes):
    return trimesh.util.concatenate(meshes)


def volume(surface):
    return trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False).volume


def dome(inside_out):
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.2)
    faces = ball.faces[ball.triangles_center[:, 2] > 0.0]
    return trimesh.Trimesh(ball.vertices, faces[:, ::-1] if inside_out else faces, process=False)


def test_one_flipped_face_of_a_box_is_turned():
    box = trimesh.creation.box((0.1, 0.2, 0.3))
    faces = box.faces.copy()
    faces[4] = faces[4, ::-1]
    surface, report = repair(box.vertices, faces, "part", "here")
    assert report.flipped_triangles == 1 and report.turned_components == 0
    assert report.inconsistent_edges == 3
    assert volume(surface) == pytest.approx(0.006)


@pytest.mark.parametrize("orient", ["visibility", "file"])
def test_a_dome_inside_out_is_turned_unless_the_file_is_to_be_believed(orient):
    surface, report = repaired(dome(True), orient=orient)
    outward = (surface.centroids_m * surface.triangle_normals).sum(axis=1)
    if orient == "visibility":
        assert report.flipped_triangles == len(surface.triangles) and report.turned_components == 1
        assert outward.min() > 0.0
    else:
        assert report.flipped_triangles == 0
        assert outward.max() < 0.0


def test_a_shallow_panel_keeps_the_side_its_file_says():
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 15), np.linspace(-0.3, 0.3, 15))
    vertices = np.stack([x, y, 0.3 * (x**2 + y**2)], axis=-1).reshape(-1, 3)
    i = (np.arange(14)[:, None] * 15 + np.arange(14)).ravel()
    hollow = np.concatenate([np.stack([i, i + 1, i + 16], 1), np.stack([i, i + 16, i + 15], 1)])
    for faces in (hollow, hollow[:, ::-1]):
        surface, report = repair(vertices, faces, "part", "here")
        assert report.text == "nothing repaired"
        assert np.array_equal(surface.triangles, faces)


def test_the_inner_caps_of_two_spheres_go():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.2)
    other = ball.copy()
    other.apply_translation([0.25, 0.0, 0.0])
    surface, report = repaired(joined(ball, other))
    centroids = np.concatenate([ball.triangles_center, other.triangles_center])
    away = np.r_[
        np.linalg.norm(ball.triangles_center - [0.25, 0, 0], axis=1), np.linalg.norm(other.triangles_center, axis=1)
    ]
    clearly_inside = int((away < 0.185).sum())
    assert len(centroids) - len(surface.triangles) == report.internal_triangles
    assert clearly_inside <= report.internal_triangles <= int((away < 0.2).sum())
    left = np.minimum(
        np.linalg.norm(surface.centroids_m - [0.25, 0, 0], axis=1), np.linalg.norm(surface.centroids_m, axis=1)
    )
    assert left.min() > 0.185


def test_a_body_inside_another_goes_and_the_outer_stays_whole():
    outer, inner = trimesh.creation.box((0.3, 0.3, 0.3)), trimesh.creation.box((0.1, 0.1, 0.1))
    surface, report = repaired(joined(outer, inner))
    assert report.internal_triangles == 12
    assert volume(surface) == pytest.approx(0.027)


def test_a_deep_bore_is_no_internal_face():
    tube = trimesh.creation.annulus(r_min=0.002, r_max=0.05, height=0.4, sections=48)
    surface, report = repaired(tube)
    assert len(surface.triangles) == len(tube.faces) and report.internal_triangles == 0
    assert volume(surface) == pytest.approx(tube.volume)


def test_a_rib_is_set_apart_from_the_plate_it_stands_on():
    plate = [[0, 0, 0], [0, 1, 0], [-1, 0, 0], [-1, 1, 0], [1, 0, 0], [1, 1, 0]]
    vertices = np.array([*plate, [0, 0, 1], [0, 1, 1]], float)
    faces = np.array([[0, 3, 2], [0, 1, 3], [0, 4, 5], [0, 5, 1], [0, 1, 7], [0, 7, 6]])
    surface, report = repair(0.2 * vertices, faces, "part", "here")
    assert report.nonmanifold_edges == 1 and report.split_vertices == 2
    found = joints(surface.vertices_m, surface.triangles)
    assert found.n_nonmanifold == 0
    areas = np.bincount(found.components, surface.triangle_areas_m2)
    assert np.sort(areas) == pytest.approx([0.04, 0.08], rel=1e-3), "the plate stays one sheet"


def test_boxes_that_touch_in_an_edge_become_two_closed_bodies():
    a, b = trimesh.creation.box((0.1, 0.1, 0.1)), trimesh.creation.box((0.1, 0.1, 0.1))
    b.apply_translation([0.1, 0.1, 0.0])
    surface, report = repaired(joined(a, b))
    assert report.nonmanifold_edges == 1
    found = joints(surface.vertices_m, surface.triangles)
    assert found.n_nonmanifold == 0 and len(found.open) == 0
    assert found.components.max() == 1
    assert volume(surface) == pytest.approx(0.002, rel=1e-4)


def test_a_vertex_on_an_open_edge_is_put_into_it():
    vertices = np.array([[0, 0, 0], [0.2, 0, 0], [0.2, 0.2, 0], [0, 0.2, 0], [0.1, 0, 0], [0, -0.2, 0], [0.2, -0.2, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 5, 4], [4, 5, 6], [4, 6, 1]])
    surface, report = repair(vertices, faces, "part", "here")
    assert report.t_junctions == 1 and len(surface.triangles) == 6
    assert len(joints(surface.vertices_m, surface.triangles).open) == 6, "one outline is left"
    assert surface.area_m2 == pytest.approx(0.08)


def test_a_zero_area_triangle_leaves_no_crack():
    vertices = np.array([[0, 0, 0], [0.2, 0, 0], [0.1, 0, 0], [0.1, 0.2, 0.1], [0.1, -0.2, 0]])
    cap = np.array([[0, 1, 3], [0, 2, 1], [0, 4, 2], [2, 4, 1], [0, 3, 4], [1, 4, 3]])
    surface, report = repair(vertices, cap, "part", "here")
    assert report.degenerate_triangles == 1 and report.t_junctions == 1
    assert len(joints(surface.vertices_m, surface.triangles).open) == 0


def test_a_moebius_band_is_cut_and_kept():
    n = 60
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    edge = [
        np.stack([(0.3 + w * np.cos(t / 2)) * np.cos(t), (0.3 + w * np.cos(t / 2)) * np.sin(t), w * np.sin(t / 2)], 1)
        for w in (-0.05, 0.05)
    ]
    vertices = np.concatenate(edge)
    i = np.arange(n - 1)
    faces = np.concatenate([np.stack([i, i + 1, n + i], 1), np.stack([i + 1, n + i + 1, n + i], 1)])
    faces = np.concatenate([faces, [[n - 1, n, 2 * n - 1], [n, 0, 2 * n - 1]]])
    surface, _ = repair(vertices, faces, "part", "here")
    assert len(surface.triangles) == len(faces)
    assert not joints(surface.vertices_m, surface.triangles).same_direction.any()


def soup(seed):
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    box = trimesh.creation.box((0.1, 0.1, 0.1)).subdivide().subdivide()
    box.apply_translation([0.3, 0.0, 0.0])
    cap = dome(bool(seed % 2))
    cap.apply_translation([0.0, 0.5, 0.0])
    mesh = joined(ball, box, cap)
    faces = np.asarray(mesh.faces).copy()
    flipped = rng.random(len(faces)) < 0.1
    faces[flipped] = faces[flipped, ::-1]
    return np.asarray(mesh.vertices, float), np.vstack([faces, faces[rng.integers(len(faces), size=7)]])


def shape(surface):
    """Triangles as sorted rows of rounded corners, the lowest first: the same however they are listed."""
    corners = np.round(surface.vertices_m[surface.triangles], 7) + 0.0
    key = (corners * [1.0, 1e3, 1e6]).sum(axis=2)
    turn = (np.argmin(key, axis=1)[:, None] + np.arange(3)) % 3
    rows = np.take_along_axis(corners, turn[..., None], axis=1).reshape(-1, 9)
    return rows[np.lexsort(rows.T)]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_listing_order_does_not_matter(seed):
    vertices, faces = soup(seed)
    surface, report = repair(vertices, faces, "part", "here")
    rng = np.random.default_rng(seed + 1)
    order, rows = rng.permutation(len(vertices)), rng.permutation(len(faces))
    place = np.argsort(order)
    other, other_report = repair(vertices[order], np.roll(place[faces], 1, axis=1)[rows], "part", "here")
    assert shape(other) == pytest.approx(shape(surface), abs=2e-7)
    assert other_report.duplicate_triangles == report.duplicate_triangles
    assert other_report.turned_components == report.turned_components


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-1.0, 1.0))
def test_a_moved_part_is_repaired_alike(seed, shift):
    vertices, faces = soup(seed)
    R = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    surface, report = repair(vertices, faces, "part", "here")
    moved, moved_report = repair(vertices @ R.T + shift, faces, "part", "here")
    assert moved_report == report
    assert np.array_equal(moved.triangles, surface.triangles)
    assert moved.vertices_m == pytest.approx(surface.vertices_m @ R.T + shift, abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_repairing_twice_changes_nothing(seed):
    first, _ = repair(*soup(seed), "part", "here")
    second, report = repair(first.vertices_m, first.triangles, "part", "here")
    assert report.text == "nothing repaired"
    assert shape(second) == pytest.approx(shape(first), abs=0.0)
