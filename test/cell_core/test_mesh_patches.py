import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from cell_core.meshes.remesh import process_mesh
from cell_core.raycast import RayCaster
from cell_core.sampling import sample_surface
from cell_core.strokes.access import RoundTool, body_is_free, reached, seats
from cell_core.strokes.mesh_patches import split_mesh
from cell_core.surface import Surface
from cell_core.transforms import transform_from_xyz_rpy

TOOL = RoundTool.of_radius(0.015)
EDGE_M = 0.005


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    mesh.merge_vertices()
    return Surface(vertices_m=mesh.vertices, triangles=mesh.faces)


def fine(mesh: trimesh.Trimesh) -> Surface:
    return process_mesh(surface_of(mesh), EDGE_M)


def rounded_box(extents=(0.3, 0.2, 0.1), radius=0.003) -> trimesh.Trimesh:
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * (0.5 * np.array(extents) - radius)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=radius).vertices
    return trimesh.convex.convex_hull((corners[:, None] + ball).reshape(-1, 3))


def split(surface: Surface, **options):
    return split_mesh(surface, np.ones(len(surface.triangles), bool), scale_m=0.5 * TOOL.radius_m, **options)


@pytest.mark.parametrize(
    ("mesh", "n"),
    [
        (trimesh.creation.box(extents=(0.3, 0.2, 0.1)), 6),
        (rounded_box(), 6),
        (trimesh.creation.icosphere(subdivisions=5, radius=0.1), 1),
        (trimesh.creation.torus(0.12, 0.04, major_sections=120, minor_sections=48), 1),
        (trimesh.creation.cylinder(radius=0.05, height=0.15, sections=96), 3),
        (trimesh.creation.cylinder(radius=0.01, height=0.15, sections=48), 3),
    ],
    ids=["box", "fillets of 3 mm", "sphere", "torus", "cylinder", "thin pipe"],
)
def test_creases_part_and_smooth_bends_do_not(mesh, n):
    surface = fine(mesh)
    patches = [p for p in split(surface) if p.core_area_m2 > 0.2 * TOOL.radius_m**2]
    assert len(patches) == n
    assert sum(p.core_area_m2 for p in patches) == pytest.approx(surface.area_m2, rel=1e-3)


def test_every_triangle_is_one_patchs_own_and_margins_overlap():
    surface = fine(trimesh.creation.cylinder(radius=0.08, height=0.15, sections=96))
    patches = split(surface, cone_rad=np.deg2rad(50.0), overlap_m=0.02, area_min_m2=5e-4)
    cores = np.concatenate([p.triangles[p.core] for p in patches])
    assert len(np.unique(cores)) == len(cores) == len(surface.triangles)
    side = [p for p in patches if abs(p.direction[2]) < 0.5]
    assert len(side) >= 4
    for p in side:
        facing = surface.triangle_normals[p.triangles[p.core]] @ p.direction
        assert facing.min() > np.cos(np.deg2rad(52.0))
        margin = p.surface.triangle_areas_m2[~p.core].sum()
        assert 0.5 * 0.02 * 0.15 < margin < 2.0 * 2 * 0.02 * 0.15


def test_crumbs_go_to_their_neighbour():
    surface = fine(trimesh.creation.box(extents=(0.2, 0.1, 0.004)))
    all_pieces, merged = split(surface), split(surface, area_min_m2=0.002)
    assert len(merged) == 2 <= len(all_pieces)
    assert sum(p.core_area_m2 for p in merged) == pytest.approx(surface.area_m2)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.floats(-2.0, 2.0)] * 3), st.tuples(*[st.floats(-3.0, 3.0)] * 3))
def test_patches_move_with_the_part(xyz, rpy):
    surface = fine(trimesh.creation.box(extents=(0.1, 0.07, 0.05)))
    moved = surface.transformed(transform_from_xyz_rpy(xyz, rpy), "cell")
    here, there = (np.sort([p.core_area_m2 for p in split(s)]) for s in (surface, moved))
    assert len(here) == len(there) == 6
    assert there == pytest.approx(here, rel=0.1)  # seams run between triangles, samples lie on a grid of the frame


def groove(width: float) -> Surface:
    """A block with a slot 30 mm deep along x, floor at z = 0."""
    y = np.array([-0.1, -0.5 * width, -0.5 * width, 0.5 * width, 0.5 * width, 0.1])
    z = np.array([0.03, 0.03, 0.0, 0.0, 0.03, 0.03])
    left, right = np.c_[np.full(6, -0.1), y, z], np.c_[np.full(6, 0.1), y, z]
    quads = [[i, i + 6, i + 7, i + 1] for i in range(5)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Surface(vertices_m=np.r_[left, right], triangles=triangles)


@pytest.mark.parametrize(("width", "fits"), [(0.024, False), (0.06, True)])
def test_a_tool_stands_on_the_floor_of_a_slot_as_far_as_its_body_fits(width, fits):
    part = groove(width)
    caster, mesh = RayCaster(part), process_mesh(part, 0.003)
    free, outward = seats(mesh, caster, TOOL)
    floor = (np.abs(mesh.centroids_m[:, 2]) < 1e-6) & (np.abs(mesh.centroids_m[:, 0]) < 0.08)
    y = np.abs(mesh.centroids_m[:, 1])
    assert floor.sum() > 50
    if not fits:
        assert not free[floor].any()
        return
    inner = 0.5 * width - TOOL.body_radius_m
    assert free[floor & (y < inner - 0.003)].all()
    assert not free[floor & (y > inner + 0.003)].any()
    touched = reached(mesh.centroids_m, mesh.triangle_normals, mesh.centroids_m[free], outward[free], TOOL)
    assert touched[floor].all()  # the face is wider than the body


def test_a_tool_cannot_stand_inside_a_closed_box():
    mesh = trimesh.creation.box(extents=(0.09, 0.09, 0.09))
    inside = Surface(vertices_m=mesh.vertices, triangles=mesh.faces[:, ::-1])
    free, _ = seats(process_mesh(inside, 0.01), RayCaster(inside), TOOL)
    assert not free.any()
    point = np.array([[0.0, 0.0, 0.045]])
    up = np.array([[0.0, 0.0, 1.0]])
    assert body_is_free(RayCaster(inside), point, up, TOOL)[0]
    assert not body_is_free(RayCaster(inside), point, -up, TOOL)[0]


def test_reach_ends_at_the_rim_the_depth_and_the_incidence():
    contact, up = np.zeros((1, 3)), np.array([[0.0, 0.0, 1.0]])
    points = np.array([[0.0149, 0, 0], [0.0151, 0, 0], [0, 0, 0.0074], [0, 0, -0.0076], [0.005, 0, 0]])
    normals = np.tile(up, (5, 1))
    normals[4] = [np.sin(1.1), 0.0, np.cos(1.1)]
    assert reached(points, normals, contact, up, TOOL).tolist() == [True, False, True, False, False]


def test_mean_normals_do_not_mix_the_sides_of_a_sheet_and_are_short_on_an_edge():
    thin = surface_of(trimesh.creation.box(extents=(0.1, 0.1, 0.001)))
    samples = sample_surface(thin, 0.003)
    at = np.array([[0.0, 0.0, 0.0005], [0.0, 0.0, -0.0005]])
    up = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    assert samples.mean_normals(at, up, 0.009, -0.3) == pytest.approx(up)
    cube = surface_of(trimesh.creation.box(extents=(0.1, 0.1, 0.1)))
    edge = sample_surface(cube, 0.003).mean_normals(np.array([[0.05, 0.0, 0.05]]), up[:1], 0.009, -0.3)
    assert np.linalg.norm(edge) == pytest.approx(np.cos(np.pi / 4.0), abs=0.03)
