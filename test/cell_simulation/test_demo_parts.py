import numpy as np
import pytest
import trimesh

from cell_core.surface import Surface
from cell_simulation.creases import split_creases
from cell_simulation.demo_parts import casting_with_bead, freeform_shell
from cell_simulation.subdivision import subdivide


@pytest.fixture(scope="module")
def shell() -> Surface:
    return freeform_shell()


@pytest.fixture(scope="module")
def casting() -> Surface:
    return casting_with_bead()


def as_mesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False)


def test_shell_is_a_closed_sheet_with_three_holes(shell: Surface) -> None:
    mesh = as_mesh(shell)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(0.5 * shell.area_m2 * 0.002, rel=0.02)
    # a closed sheet with three holes is a sphere with three handles
    assert mesh.euler_number == 2 - 2 * 3
    assert np.ptp(shell.bounds_m, axis=0)[:2] == pytest.approx([0.55, 0.42], abs=1e-3)
    assert 20_000 < len(shell.triangles) < 40_000


def test_shell_has_a_recess_twenty_millimetres_deep(shell: Surface) -> None:
    v = shell.vertices_m[shell.vertex_normals[:, 2] > 0.5]
    floor = v[np.hypot(v[:, 0] - 0.02, v[:, 1] - 0.01) < 0.02, 2].mean()
    brim = v[np.abs(np.abs(v[:, 1] - 0.01) - 0.095) < 0.006]
    brim = brim[np.abs(brim[:, 0] - 0.02) < 0.03, 2].mean()
    assert brim - floor == pytest.approx(0.018, abs=0.004)


def test_casting_is_closed_and_of_the_promised_size(casting: Surface) -> None:
    mesh = as_mesh(casting)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0.0
    assert mesh.euler_number == 2
    assert np.ptp(casting.bounds_m, axis=0) == pytest.approx([0.45, 0.35, 0.12], abs=0.003)


def test_bead_stands_a_millimetre_and_a_half_on_fine_triangles(casting: Surface) -> None:
    ends = casting.vertices_m[casting.edges]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    middle = ends.mean(axis=1)
    line = 0.035 * np.sin(13.0 * middle[:, 0]) + 0.12 * middle[:, 0]
    on_bead = (np.abs(middle[:, 0]) < 0.15) & (np.abs(middle[:, 1] - line) < 0.007) & (middle[:, 2] > 0.08)
    assert on_bead.sum() > 1000
    assert length[on_bead].max() <= 1.5e-3
    v = casting.vertices_m
    top = v[:, 2] > 0.1
    dome = 0.12 - 0.32 * v[:, 0] ** 2 - 0.22 * v[:, 1] ** 2 + 0.06 * v[:, 0] * v[:, 1]
    inner = top & (np.abs(v[:, 0]) < 0.17) & (np.abs(v[:, 1]) < 0.1)
    assert (v[:, 2] - dome)[inner].max() == pytest.approx(1.5e-3, abs=1e-5)
    assert np.median((v[:, 2] - dome)[inner & (np.abs(v[:, 1] - 0.09) < 0.01)]) == pytest.approx(0.0, abs=1e-9)


def test_parts_are_the_same_every_time(shell: Surface) -> None:
    again = freeform_shell()
    assert np.array_equal(shell.vertices_m, again.vertices_m)
    assert np.array_equal(shell.triangles, again.triangles)


def test_subdivision_keeps_shape_indices_and_closure(shell: Surface) -> None:
    fine = subdivide(shell, 0.0035)
    ends = fine.vertices_m[fine.edges]
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).max() <= 0.0035
    assert np.array_equal(fine.vertices_m[: len(shell.vertices_m)], shell.vertices_m)
    assert fine.area_m2 == pytest.approx(shell.area_m2, rel=1e-9)
    assert as_mesh(fine).is_watertight
    assert as_mesh(fine).is_winding_consistent


def test_subdivision_bounds_memory() -> None:
    long = Surface(vertices_m=[[0, 0, 0], [5, 0, 0], [5, 5, 0], [0, 5, 0]], triangles=[[0, 1, 2], [0, 2, 3]])
    fine = subdivide(long, 0.001, triangles_max=20_000)
    assert 5_000 < len(fine.triangles) < 45_000


def test_creases_part_the_faces_of_a_box_but_not_a_smooth_ball() -> None:
    box = trimesh.creation.box((0.2, 0.2, 0.2))
    creased = split_creases(Surface(vertices_m=box.vertices, triangles=box.faces))
    assert len(creased.surface.vertices_m) == 24
    assert np.array_equal(creased.surface.vertices_m, box.vertices[creased.source])
    assert np.abs(creased.surface.vertex_normals).max(axis=1) == pytest.approx(1.0)
    ball = trimesh.creation.icosphere(3, 0.1)
    smooth = split_creases(Surface(vertices_m=ball.vertices, triangles=ball.faces))
    assert np.array_equal(smooth.source, np.arange(len(ball.vertices)))
    assert np.array_equal(smooth.surface.triangles, ball.faces)
