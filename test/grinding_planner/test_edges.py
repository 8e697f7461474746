"""Feature edges: the convex ones of CAD bodies, the rims of sheets, the rounded ones of a scan; concave ones never."""

import numpy as np
import pytest
import trimesh

from cell_core.surface import Surface
from cell_core.transforms import Array, transform_from_xyz_rpy, unit
from grinding_planner.edge import Edge
from grinding_planner.edges import find_edges

ANGLE_RAD, LENGTH_M = 0.5236, 0.005


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces, np.int64))


def prism(outline: Array, height_m: float) -> Surface:
    """Return the solid over a simple outline (N, 2), counter-clockwise, by fans over a grid-free triangulation."""
    n = len(outline)
    k = np.arange(n)
    walls = np.concatenate([np.c_[k, (k + 1) % n, (k + 1) % n + n], np.c_[k, (k + 1) % n + n, k + n]])
    cap = ears(outline)
    vertices = np.vstack([np.c_[outline, np.zeros(n)], np.c_[outline, np.full(n, height_m)]])
    return Surface(vertices_m=vertices, triangles=np.concatenate([walls, cap[:, ::-1], cap + n]))


def ears(outline: Array) -> np.ndarray:
    left, triangles = list(range(len(outline))), []
    while len(left) > 3:
        for i in range(len(left)):
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            p, q, r = outline[[a, b, c]]
            if np.cross(q - p, r - q) <= 0.0:
                continue
            others = outline[[k for k in left if k not in (a, b, c)]]
            sides = [np.cross(v - u, others - u) for u, v in ((p, q), (q, r), (r, p))]
            if np.all(np.min(sides, axis=0) < 0.0):
                triangles.append((a, b, c))
                left.pop(i)
                break
    return np.array([*triangles, tuple(left)])


def total_m(edges: list[Edge]) -> float:
    return sum(e.length_m for e in edges)


def test_a_box_has_twelve_edges_between_square_faces():
    edges = find_edges(surface_of(trimesh.creation.box((0.06, 0.04, 0.03))), ANGLE_RAD, LENGTH_M)
    assert len(edges) == 12
    assert total_m(edges) == pytest.approx(4 * (0.06 + 0.04 + 0.03))
    for edge in edges:
        assert not edge.closed
        assert edge.opening_rad == pytest.approx(np.pi / 2)
        # from the middle of the box every edge lies outwards, its faces in their order to the left and right
        assert np.all(np.einsum("ij,ij->i", edge.position_m, edge.outward) > 0.0)
        turn = np.cross(edge.normal_left, edge.normal_right)
        assert np.einsum("ij,ij->i", turn, edge.along) == pytest.approx(1.0)


def test_an_l_shaped_part_has_no_edge_in_its_inner_corner():
    outline = 1e-3 * np.array([[0, 0], [60, 0], [60, 20], [20, 20], [20, 60], [0, 60]], float)
    edges = find_edges(prism(outline, 0.02), ANGLE_RAD, LENGTH_M)
    uprights = [e for e in edges if np.ptp(e.position_m[:, 2]) > 0.01]
    assert len(uprights) == 5
    assert all(np.linalg.norm(e.position_m[0, :2] - 0.02) > 0.01 for e in uprights)
    assert total_m(edges) == pytest.approx(2 * 0.24 + 5 * 0.02)


def test_rims_of_a_tube_are_closed_circles_and_bend_towards_and_away_from_the_tool():
    edges = find_edges(surface_of(trimesh.creation.annulus(0.012, 0.03, 0.03, sections=96)), ANGLE_RAD, LENGTH_M)
    assert [e.closed for e in edges] == [True] * 4
    for edge in (e.even(0.75e-3) for e in edges):
        radius = float(np.linalg.norm(edge.position_m[:, :2], axis=1).mean())
        sign = 1.0 if radius > 0.02 else -1.0
        assert float(np.mean(edge.curvature_per_m)) == pytest.approx(sign / (radius * np.sqrt(2.0)), rel=0.05)


def test_edges_below_the_angle_or_the_length_are_left_alone():
    wedge = prism(1e-3 * np.array([[0, 0], [50, 0], [40, 4], [0, 4]], float), 0.03)
    turns = sorted(
        round(float(np.degrees(np.pi - e.opening_rad.mean()))) for e in find_edges(wedge, ANGLE_RAD, LENGTH_M)
    )
    assert turns.count(22) == 0
    assert len(find_edges(wedge, 0.3, LENGTH_M)) == len(turns) + 1
    small = surface_of(trimesh.creation.box((0.004, 0.03, 0.02)))
    assert len(find_edges(small, ANGLE_RAD, LENGTH_M)) == 8


def test_edges_move_with_the_part():
    box = surface_of(trimesh.creation.box((0.06, 0.04, 0.03)))
    T = transform_from_xyz_rpy([0.3, -0.2, 0.1], [0.4, -0.7, 1.1])
    here = find_edges(box, ANGLE_RAD, LENGTH_M)
    there = find_edges(box.transformed(T, "part"), ANGLE_RAD, LENGTH_M)
    assert [e.length_m for e in there] == pytest.approx([e.length_m for e in here])
    middles = [np.sort(np.linalg.norm([e.position_m.mean(axis=0) - c for e in group], axis=1)) for group, c in
               ((here, 0.0), (there, T[:3, 3]))]  # fmt: skip
    assert middles[1] == pytest.approx(middles[0])


def test_the_border_of_a_crisp_sheet_is_the_edge_of_a_plate(make_sheet):
    plate = make_sheet((0.06, 0.04), 0.02, lambda x, y: 0.0 * x)
    edges = find_edges(plate, ANGLE_RAD, LENGTH_M)
    assert {e.kind for e in edges} == {"border"}
    assert len(edges) == 4
    assert total_m(edges) == pytest.approx(0.2)
    for edge in edges:
        face, wall = (edge.normal_left, edge.normal_right)[:: 1 if edge.normal_left[0, 2] > 0.5 else -1]
        assert face[:, 2] == pytest.approx(1.0)
        assert np.all(np.einsum("ij,ij->i", wall, edge.position_m) > 0.0)


def noisy_scan(surface: Surface, noise_m: float, seed: int) -> Surface:
    rng = np.random.default_rng(seed)
    moved = surface.vertices_m + noise_m * rng.standard_normal(surface.vertices_m.shape)
    return Surface(vertices_m=moved, triangles=surface.triangles)


def rounded_box(half_m: Array, radius_m: float, mesh_m: float) -> Surface:
    """Return a box with rounded edges in even triangles."""
    mesh = trimesh.creation.box(2.0 * half_m).subdivide_to_size(1.5 * mesh_m)
    points = np.asarray(mesh.vertices)
    core = np.clip(points, radius_m - half_m, half_m - radius_m)
    rounded = core + radius_m * unit(points - core)
    return Surface(vertices_m=rounded, triangles=np.asarray(mesh.faces, np.int64))


def test_rounded_edges_of_a_scanned_box_are_traced_between_its_corners():
    half, voxel = np.array([0.05, 0.035, 0.025]), 0.002
    scan = noisy_scan(rounded_box(half, 2.0 * voxel, voxel), 0.05 * voxel, 3)
    assert float(np.mean(np.einsum("ij,ij->i", scan.centroids_m, scan.triangle_normals))) > 0.0
    edges = find_edges(scan, ANGLE_RAD, LENGTH_M)
    assert len(edges) == 12
    assert {e.kind for e in edges} == {"round"}
    # all but the corners
    assert 0.75 * 8 * half.sum() < total_m(edges) < 8 * half.sum()
    # the round's own crest lies on the bisector of the faces, this far inside both
    crest = half - 2.0 * voxel * (1.0 - np.sqrt(0.5))
    for edge in edges:
        away = np.sort(np.abs(np.abs(edge.position_m) - crest), axis=1)
        assert np.quantile(away[:, 1], 0.9) < 0.25 * voxel
        assert np.degrees(np.median(edge.opening_rad)) == pytest.approx(90.0, abs=12.0)
        assert np.median(edge.rounding_m) == pytest.approx(2.0 * voxel, rel=0.15)


def test_the_staircase_rim_of_a_scanned_sheet_is_smoothed_and_keeps_its_corners(make_sheet):
    def wavy(x: Array, y: Array) -> Array:
        return 0.02 * (x**2 + y**2)

    fine = make_sheet((0.12, 0.09), 0.003, wavy)
    middle = fine.centroids_m
    # cells kept whose middle lies in a turned rectangle: its rim is a staircase of 3 mm
    turn = np.deg2rad(17.0)
    u = np.cos(turn) * middle[:, 0] + np.sin(turn) * middle[:, 1]
    v = np.cos(turn) * middle[:, 1] - np.sin(turn) * middle[:, 0]
    part = noisy_scan(fine.select_triangles((np.abs(u) < 0.035) & (np.abs(v) < 0.025)), 0.1e-3, 5)
    edges = find_edges(part, ANGLE_RAD, LENGTH_M)
    assert {e.kind for e in edges} == {"border"}
    assert total_m(edges) == pytest.approx(0.24, rel=0.06)
    # the way turns by a right angle at the corners and hardly elsewhere
    wobble = [float(np.degrees(np.arccos(np.clip(e.along @ e.along.mean(axis=0), -1, 1))).mean()) for e in edges]
    assert np.average(wobble, weights=[e.length_m for e in edges]) < 15.0
