"""What speaks against a pose: scanned where no camera could have seen it, or in one piece with it but not of it."""

import numpy as np
import pytest
import trimesh

from cell_core.pose_evidence import PoseJudge
from cell_core.pose_sights import strange_m2
from cell_core.pose_votes import facing_cells
from cell_core.surface import Surface
from cell_core.transforms import transform_from_xyz_rpy

CELL_M = 0.004


def solid(*boxes) -> Surface:
    """Boxes (size, middle) as one solid."""
    meshes = [trimesh.creation.box(size, trimesh.transformations.translation_matrix(at)) for size, at in boxes]
    mesh = trimesh.boolean.union(meshes, engine="manifold") if len(meshes) > 1 else meshes[0]
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))


def from_above(surface: Surface) -> Surface:
    """What faces up or sideways, above the floor."""
    return surface.select_triangles(surface.triangle_normals[:, 2] > -0.5)


PLATE = ([0.2, 0.12, 0.02], [0.0, 0.0, 0.01])
BOSS = ([0.04, 0.04, 0.05], [0.06, 0.02, 0.045])
TABLE = ([1.0, 1.0, 0.02], [0.0, 0.0, -0.01])


def judge(scan: Surface, target: Surface) -> PoseJudge:
    return PoseJudge(facing_cells(scan, CELL_M), CELL_M, target, CELL_M)


def test_a_face_under_a_block_that_is_not_there_is_hidden():
    with_boss, plain = solid(PLATE, ([0.04, 0.04, 0.051], [0.06, 0.02, 0.0445])), solid(PLATE)
    # the plate was seen where the target has its block: its foot, but for a rim that lines pass by
    hidden_m2 = judge(from_above(plain), with_boss).hidden_m2(np.eye(4), 0.002)
    assert hidden_m2 == pytest.approx(0.04**2, rel=0.25)
    assert judge(from_above(with_boss), with_boss).hidden_m2(np.eye(4), 0.002) < 0.02 * hidden_m2


def test_the_bottom_of_a_deep_hole_is_not_hidden():
    outer = trimesh.creation.box([0.1, 0.1, 0.06])
    hole = trimesh.creation.box([0.02, 0.02, 0.06], trimesh.transformations.translation_matrix([0.0, 0.0, 0.02]))
    mesh = trimesh.boolean.difference([outer, hole], engine="manifold")
    target = Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))
    bottom = target.select_triangles(
        (np.abs(target.centroids_m[:, :2]).max(axis=1) < 0.0101) & (target.triangle_normals[:, 2] > 0.9)
    )
    assert bottom.area_m2 == pytest.approx(4e-4, rel=1e-3)
    assert judge(bottom, target).hidden_m2(np.eye(4), 0.001) == 0.0


@pytest.mark.parametrize("table", [False, True])
def test_what_stands_on_the_part_is_strange_and_a_table_is_not(table):
    boss = solid(BOSS)
    scan = from_above(solid(PLATE, BOSS, *([TABLE] if table else [])))
    own, plain = judge(scan, solid(PLATE, BOSS)), judge(scan, solid(PLATE))
    side_and_top_m2 = boss.area_m2 - 0.04**2
    found_m2 = plain.strange_m2(plain.at(np.eye(4), 0.001).on)
    assert found_m2 == pytest.approx(side_and_top_m2, rel=0.2)
    assert own.strange_m2(own.at(np.eye(4), 0.001).on) < 0.1 * side_and_top_m2


def test_what_stands_apart_is_not_strange():
    scan = from_above(solid(PLATE, ([0.05, 0.05, 0.05], [0.16, 0.0, 0.025])))
    cells = facing_cells(scan, CELL_M)
    assert strange_m2(cells, cells.points_m[:, 0] < 0.11, CELL_M, 0.23) == 0.0


def test_poses_that_a_symmetry_parts_are_told_apart_by_nothing_and_others_by_where_they_differ():
    turn = transform_from_xyz_rpy([0.0, 0.0, 0.0], [0.0, 0.0, np.pi])
    rng = np.random.default_rng(2)
    for target, alike in ((solid(PLATE), True), (solid(PLATE, BOSS), False)):
        above = from_above(target)
        points, triangles = trimesh.remesh.subdivide_to_size(above.vertices_m, above.triangles, 0.006)
        noisy = Surface(vertices_m=points + rng.normal(0.0, 1e-4, points.shape), triangles=triangles)
        here = judge(noisy, target)
        one, other = here.at(np.eye(4), 0.001), here.at(turn, 0.001)
        less = here.less(np.eye(4), one, turn, other, 0.0005)
        if alike:
            assert not less.any()
        else:
            assert less.sum() > 0.005
            # all of it speaks for the true pose
            assert less.sum() > 0.9 * np.abs(less).sum()
