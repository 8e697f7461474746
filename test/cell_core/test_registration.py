"""Registration against known poses: partial noisy scans, symmetric parts, wrong parts, wrong units."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from cell_core.errors import InputRefusedError
from cell_core.icp import point_to_plane_step
from cell_core.registration import align, register, relied_on, without_table
from cell_core.surface import Surface
from cell_core.transforms import apply, inverse, transform_from_xyz_rpy


def bracket() -> Surface:
    """An L of two unequal plates with a boss: no symmetry."""
    meshes = [
        trimesh.creation.box([0.30, 0.16, 0.02], trimesh.transformations.translation_matrix([0, 0, 0.01])),
        trimesh.creation.box([0.02, 0.16, 0.12], trimesh.transformations.translation_matrix([-0.14, 0, 0.08])),
        trimesh.creation.cylinder(
            0.03, 0.06, sections=48, transform=trimesh.transformations.translation_matrix([0.07, 0.03, 0.05])
        ),
    ]
    # one solid: a scan never shows the foot of the boss
    mesh = trimesh.boolean.union(meshes, engine="manifold")
    points, triangles = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, 0.01)
    mesh = trimesh.Trimesh(points, triangles)
    return Surface(vertices_m=np.asarray(mesh.vertices), triangles=np.asarray(mesh.faces))


def seen_from(surface: Surface, direction, rng) -> Surface:
    """What faces a direction, with 0.1 mm of noise."""
    part = surface.select_triangles(surface.triangle_normals @ np.asarray(direction, float) > 0.25)
    return Surface(vertices_m=part.vertices_m + rng.normal(0.0, 1e-4, part.vertices_m.shape), triangles=part.triangles)


@pytest.mark.parametrize("seed", range(3))
def test_a_partial_scan_finds_its_place(seed):
    rng = np.random.default_rng(seed)
    cad = bracket()
    scan = seen_from(cad, [0.4 - 0.3 * seed, 0.3, 0.8], rng)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.normal(0.0, 0.5, 3)
    result = register(scan.transformed(T, "scan"), cad)
    error = np.linalg.norm(apply(result.T_target_source @ T, scan.vertices_m) - scan.vertices_m, axis=1)
    assert error.max() < 0.5e-3
    assert result.overlap_fraction > 0.9
    assert result.rms_m < 0.5e-3
    assert not result.ambiguous


def test_a_symmetric_part_is_called_ambiguous():
    box = trimesh.creation.box([0.3, 0.2, 0.1]).subdivide().subdivide().subdivide()
    surface = Surface(vertices_m=np.asarray(box.vertices), triangles=np.asarray(box.faces))
    result = register(surface.transformed(transform_from_xyz_rpy([0.2, 0.1, 0.3], [0.4, 0.2, 1.0]), "scan"), surface)
    assert result.overlap_fraction > 0.95
    assert result.ambiguous


def test_another_part_is_refused():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.12)
    wrong = Surface(vertices_m=np.asarray(ball.vertices), triangles=np.asarray(ball.faces))
    with pytest.raises(InputRefusedError, match="lies on the target") as caught:
        register(wrong, bracket())
    assert caught.value.facts["overlap_fraction"] < 0.4


def test_units_that_disagree_are_named():
    cad = bracket()
    with pytest.raises(InputRefusedError, match="units"):
        register(cad, Surface(vertices_m=1000.0 * cad.vertices_m, triangles=cad.triangles))


def test_units_are_named_where_the_table_hides_the_ratio():
    cad = bracket()
    small = Surface(vertices_m=cad.vertices_m / 25.4, triangles=cad.triangles)
    with pytest.raises(InputRefusedError, match="inch and mm"):
        register(cad, small)


def mirror_image(surface: Surface) -> Surface:
    return Surface(vertices_m=surface.vertices_m * [1.0, -1.0, 1.0], triangles=surface.triangles[:, ::-1])


def test_a_mirror_image_is_not_relied_on():
    cad = bracket()
    scan = seen_from(cad, [0.1, 0.3, 0.8], np.random.default_rng(1))
    with pytest.raises(InputRefusedError):
        relied_on(register(scan, mirror_image(cad)), "scan")


def beside_clutter(part: Surface) -> Surface:
    """The part on a table that is larger, seen but for what lies under the part, with a box beside it."""
    table = trimesh.creation.box([0.9, 0.9, 0.02], trimesh.transformations.translation_matrix([0, 0, -0.01]))
    table = trimesh.Trimesh(*trimesh.remesh.subdivide_to_size(table.vertices, table.faces, 0.02))
    low, high = part.bounds_m[:, :2]
    under = np.all((table.triangles_center[:, :2] > low) & (table.triangles_center[:, :2] < high), axis=1)
    table.update_faces(~under)
    box = trimesh.creation.box([0.1, 0.2, 0.15], trimesh.transformations.translation_matrix([0.0, 0.25, 0.075]))
    shift, pieces = 0, []
    for vertices, triangles in (
        (part.vertices_m, part.triangles),
        *((m.vertices, m.faces) for m in (table, box.subdivide())),
    ):
        pieces.append((vertices, np.asarray(triangles) + shift))
        shift += len(vertices)
    return Surface(vertices_m=np.concatenate([v for v, _ in pieces]), triangles=np.concatenate([t for _, t in pieces]))


def test_a_part_among_clutter_is_found_and_its_uncertainty_covers_the_error():
    rng = np.random.default_rng(3)
    cad = bracket()
    scan = beside_clutter(seen_from(cad, [0.4, 0.3, 0.8], rng))
    T = transform_from_xyz_rpy([0.8, -0.4, 0.3], [0.6, 1.1, 2.0])
    placed = relied_on(register(scan.transformed(T, "scan"), cad), "scan")
    moved = apply(placed.T_target_source @ T, cad.vertices_m) - cad.vertices_m
    error_m = np.sqrt(np.mean(np.sum(moved**2, axis=1)))
    assert placed.least_held is not None
    assert error_m < 1e-4
    assert error_m < 3.0 * placed.least_held.shift_m < 3e-4
    assert placed.overlap_fraction < 0.2
    assert placed.candidates[0].separation == 0.0
    assert all(c.score < 0.9 * placed.candidates[0].score for c in placed.candidates[1:])


def test_what_slides_is_doubted():
    sheet = trimesh.creation.box([0.3, 0.2, 0.1]).subdivide().subdivide().subdivide()
    cad = Surface(vertices_m=np.asarray(sheet.vertices), triangles=np.asarray(sheet.faces))
    top = cad.select_triangles((cad.triangle_normals[:, 2] > 0.9) & (cad.centroids_m[:, 0] < 0.0))
    placed = register(top, cad)
    assert placed.doubt
    with pytest.raises(InputRefusedError, match="scan: lies"):
        relied_on(placed, "scan")


def test_align_corrects_a_small_offset_by_the_masked_part_only():
    cad = bracket()
    T = transform_from_xyz_rpy([4e-4, -3e-4, 5e-4], [1e-3, -2e-3, 1e-3])
    scan = cad.transformed(T, "part")
    # what was ground away must not pull
    ground = cad.vertices_m[:, 2] > 0.079
    moved = scan.vertices_m - 1e-3 * ground[:, None] * scan.vertex_normals
    result = align(Surface(vertices_m=moved, triangles=scan.triangles), cad, 2e-3, ~ground)
    np.testing.assert_allclose(result.T_target_source, inverse(T), atol=2e-5)


def test_the_table_goes_and_the_part_stays():
    part = bracket()
    corners = np.array([[-0.4, -0.4, 0.0], [0.4, -0.4, 0.0], [0.4, 0.4, 0.0], [-0.4, 0.4, 0.0]])
    n = len(part.vertices_m)
    both = Surface(
        vertices_m=np.concatenate([part.vertices_m, corners]),
        triangles=np.concatenate([part.triangles, [[n, n + 1, n + 2], [n, n + 2, n + 3]]]),
    )
    tilt = transform_from_xyz_rpy([1.0, 0.2, 0.3], [0.2, -0.1, 0.5])
    left = without_table(both.transformed(tilt, "robot"))
    upright = apply(inverse(tilt), left.vertices_m)
    assert upright[:, 2].min() > 0.003
    assert upright[:, 2].max() == pytest.approx(part.bounds_m[1, 2], abs=1e-6)
    sheet = seen_from(part, [0.0, 0.0, 1.0], np.random.default_rng(0))
    assert without_table(sheet, share_min=0.99) is sheet


def test_a_plane_leaves_its_own_directions_alone():
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.1, 0.1, (500, 2)), np.zeros(500)])
    normals = np.tile([0.0, 0.0, 1.0], (500, 1))
    residual = 1e-3 + 0.01 * points[:, 0]
    T = point_to_plane_step(points, residual, normals, np.ones(500), 0.1)
    after = apply(T, points)
    np.testing.assert_allclose(after[:, 2], -residual, atol=2e-6)
    np.testing.assert_allclose(after[:, :2], points[:, :2], atol=5e-5)
