"""A coarser surface for pictures keeps place, size and mean."""

import numpy as np
import trimesh

from cell_core.meshes.decimate import clustered
from cell_core.surface import Surface


def _sphere() -> Surface:
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.2)
    vertices = np.asarray(mesh.vertices)
    return Surface(vertices_m=vertices, triangles=np.asarray(mesh.faces), fields={"height_m": vertices[:, 2]})


def test_a_small_surface_stays_as_it_is():
    surface = _sphere()
    assert clustered(surface, len(surface.triangles)) is surface


def test_a_large_one_keeps_area_place_and_fields():
    surface = _sphere()
    small = clustered(surface, 2000)
    assert 500 < len(small.triangles) <= 2000
    assert abs(small.area_m2 / surface.area_m2 - 1.0) < 0.15
    assert np.abs(np.linalg.norm(small.vertices_m, axis=1) - 0.2).max() < 0.02
    assert np.allclose(small.fields["height_m"], small.vertices_m[:, 2])
