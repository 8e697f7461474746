"""Meshes that must be refused, meshes that are repaired and counted, and what comes back from disk."""

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_core.errors import InputRefusedError
from cell_core.surface_io import load_surface, read_ply, repair, write_ply


@pytest.fixture
def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3, radius=0.2)


def save(path, vertices, triangles):
    trimesh.Trimesh(vertices, triangles, process=False).export(str(path))
    return path


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".off"])
def test_a_ball_is_loaded_from_every_format(tmp_path, ball, suffix):
    surface, report = load_surface(save(tmp_path / f"ball{suffix}", ball.vertices, ball.faces))
    assert len(surface.triangles) == len(ball.faces)
    assert len(surface.vertices_m) == len(ball.vertices), "an STL's split corners are merged"
    assert report.degenerate_triangles == report.duplicate_triangles == report.flipped_triangles == 0
    assert (surface.vertices_m * surface.vertex_normals).sum(axis=1).min() > 0.19, "normals point out"


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000.0), ("inch", 1.0 / 0.0254)])
def test_units_end_in_metres(tmp_path, ball, unit, scale):
    surface, _ = load_surface(save(tmp_path / "ball.ply", ball.vertices * scale, ball.faces), unit)
    assert np.ptp(surface.vertices_m, axis=0) == pytest.approx([0.4] * 3, rel=1e-5)


def refused(path, fact, **options):
    with pytest.raises(InputRefusedError) as caught:
        load_surface(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and fact in message
    assert "\n" not in message
    return message


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    refused(tmp_path / "none.stl", "no such file")
    (tmp_path / "empty.stl").touch()
    refused(tmp_path / "empty.stl", "empty file, 0 bytes")
    (tmp_path / "part.dwg").write_text("1 2 3")
    refused(tmp_path / "part.dwg", "'.dwg' is no mesh format")


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".off", ".glb"])
def test_text_instead_of_a_mesh_is_refused(tmp_path, suffix):
    path = tmp_path / f"letter{suffix}"
    path.write_text("Dear Sir or Madam,\nthis is not a mesh.\n")
    refused(path, "")


def test_nan_is_refused_with_its_count(tmp_path, ball):
    vertices = ball.vertices.copy()
    vertices[[3, 7]] = np.nan
    refused(save(tmp_path / "nan.ply", vertices, ball.faces), "2 vertices are not finite")


def test_nan_in_an_unused_vertex_is_no_reason(tmp_path, ball):
    vertices = np.vstack([ball.vertices, [[np.nan] * 3]])
    surface, _ = load_surface(save(tmp_path / "nan.ply", vertices, ball.faces))
    assert np.isfinite(surface.vertices_m).all()


def test_one_triangle_is_no_surface(tmp_path):
    path = save(tmp_path / "one.ply", [[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], [[0, 1, 2]])
    refused(path, "1 sound triangle(s), at least 4 needed")


def test_no_triangles_at_all(tmp_path):
    path = tmp_path / "points.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    refused(path, "")


@pytest.mark.parametrize("factor", [1000.0, 1e-3])
def test_a_unit_wrong_by_a_thousand_is_refused(tmp_path, ball, factor):
    path = save(tmp_path / "ball.ply", ball.vertices * factor, ball.faces)
    message = refused(path, "is the unit right?")
    assert f"{0.4 * factor:.3g}"[:3] in message


def test_unknown_unit(tmp_path, ball):
    refused(save(tmp_path / "ball.ply", ball.vertices, ball.faces), "unit 'cm' unknown; known: m, mm, inch", unit="cm")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.floats(0.0, 0.999))
def test_a_truncated_ply_is_refused_wherever_it_ends(tmp_path, ball, kept):
    whole = save(tmp_path / "whole.ply", ball.vertices, ball.faces).read_bytes()
    path = tmp_path / "cut.ply"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(InputRefusedError, match=r"cut\.ply: "):
        load_surface(path)


def test_repairs_are_counted(ball):
    triangles = np.vstack([ball.faces, ball.faces[:3], [[0, 0, 1]]])
    triangles[5:9] = triangles[5:9, ::-1]
    crumb = np.array([[1, 1, 1], [1.001, 1, 1], [1, 1.001, 1]]) * 0.3
    n = len(ball.vertices)
    vertices = np.vstack([ball.vertices, crumb])
    surface, report = repair(vertices, np.vstack([triangles, [[n, n + 1, n + 2]]]), "part", "here")
    assert report.duplicate_triangles == 3
    assert report.degenerate_triangles == 1
    assert report.flipped_triangles == 4
    assert report.crumb_components == report.crumb_triangles == 1
    assert len(surface.triangles) == len(ball.faces)
    assert trimesh.Trimesh(surface.vertices_m, surface.triangles, process=False).volume == pytest.approx(ball.volume)
    for word in ("3 duplicate", "1 degenerate", "4 flipped"):
        assert word in report.text


def test_an_inside_out_ball_is_turned(ball):
    surface, report = repair(ball.vertices, ball.faces[:, ::-1], "part", "here")
    assert report.flipped_triangles == len(ball.faces)
    assert (surface.vertices_m * surface.vertex_normals).sum(axis=1).min() > 0.0


def test_repairing_twice_changes_nothing_more(ball):
    first, _ = repair(ball.vertices, np.vstack([ball.faces, ball.faces[:5, ::-1]]), "part", "here")
    second, report = repair(first.vertices_m, first.triangles, "part", "here")
    assert report.text == "nothing repaired"
    assert len(second.triangles) == len(first.triangles)


def test_a_surface_comes_back_with_its_fields(tmp_path, ball):
    surface, _ = repair(ball.vertices, ball.faces, "part", "here")
    surface = surface.with_fields(height_m=surface.vertices_m[:, 2])
    write_ply(tmp_path / "s.ply", surface)
    again = read_ply(tmp_path / "s.ply")
    assert np.array_equal(again.triangles, surface.triangles)
    assert again.vertices_m == pytest.approx(surface.vertices_m, abs=1e-7)
    assert again.fields["height_m"] == pytest.approx(surface.vertices_m[:, 2], abs=1e-7)
    assert trimesh.load(str(tmp_path / "s.ply"), process=False).faces.shape == surface.triangles.shape
    data = (tmp_path / "s.ply").read_bytes()
    (tmp_path / "cut.ply").write_bytes(data[:-1])
    with pytest.raises(InputRefusedError, match="truncated"):
        read_ply(tmp_path / "cut.ply")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [], "nothing is left aside"
