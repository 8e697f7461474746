from pathlib import Path

import numpy as np
import pytest
import trimesh

from cell_core.errors import InputRefusedError
from cell_core.surface_io import load_surface, write_ply
from cell_core.vertex_fields import carried_to, vertex_field


def soup(tmp_path: Path) -> tuple[Path, trimesh.Trimesh]:
    """An STL in millimetres: every triangle has vertices of its own."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=100.0)
    path = tmp_path / "ball.stl"
    mesh.export(path)
    return path, mesh


def test_a_value_per_vertex_of_the_file_survives_the_merge(tmp_path):
    path, mesh = soup(tmp_path)
    as_read = mesh.vertices[mesh.faces].reshape(-1, 3)
    surface, report = load_surface(path, "mm")
    values = carried_to(surface, (as_read[:, 2] > 20.0).astype(float), path, "mm", "mask")
    assert report.merged_vertices > 1000
    assert values == pytest.approx((surface.vertices_m[:, 2] > 0.02).astype(float))


def test_values_of_the_repaired_surface_are_taken_as_they_are(tmp_path):
    path, _ = soup(tmp_path)
    surface, _ = load_surface(path, "mm")
    values = np.random.default_rng(0).random(len(surface.vertices_m))
    assert np.array_equal(carried_to(surface, values, path, "mm", "mask"), values)


def test_another_length_is_refused_with_all_lengths(tmp_path):
    path, mesh = soup(tmp_path)
    surface, _ = load_surface(path, "mm")
    words = f"mask: 7 values, but ball.stl has {3 * len(mesh.faces)} vertices as read and {len(mesh.vertices)} after"
    with pytest.raises(InputRefusedError, match=words):
        carried_to(surface, np.ones(7), path, "mm", "mask")


def test_fields_are_read_from_npz_and_ply(tmp_path):
    path, _ = soup(tmp_path)
    surface, _ = load_surface(path, "mm")
    mask = (surface.vertices_m[:, 0] > 0.0).astype(float)
    write_ply(tmp_path / "mask.ply", surface.with_fields(mask=mask))
    np.savez(tmp_path / "mask.npz", mask=mask)
    for name in ("mask.ply", "mask.npz"):
        assert np.array_equal(vertex_field(tmp_path / name, "mask"), mask)


def test_files_without_the_field_are_refused(tmp_path):
    path, _ = soup(tmp_path)
    np.savez(tmp_path / "other.npz", depth=np.ones(3))
    with pytest.raises(InputRefusedError, match=r"holds \['depth'\], wanted mask"):
        vertex_field(tmp_path / "other.npz", "mask")
    with pytest.raises(InputRefusedError, match=r"wanted \.npz or \.ply"):
        vertex_field(path, "mask")
