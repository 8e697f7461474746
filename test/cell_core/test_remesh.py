"""A process mesh keeps shape, sharp edges, borders and fields, and has edges of one length."""

import numpy as np
import pytest
import trimesh

from cell_core.errors import InputRefusedError
from cell_core.meshes.decimate import decimated
from cell_core.meshes.remesh import DEVIATION_RATIO, process_mesh, split_long_edges
from cell_core.meshes.topology import joints
from cell_core.raycast import RayCaster
from cell_core.surface import Surface


def of(mesh):
    vertices = np.asarray(mesh.vertices, float)
    fields = {"plane_m": vertices @ [1.0, 2.0, 3.0]}
    return Surface(vertices_m=vertices, triangles=np.asarray(mesh.faces), fields=fields)


def edge_lengths(surface):
    i, j = surface.edges.T
    return np.linalg.norm(surface.vertices_m[i] - surface.vertices_m[j], axis=1)


SHAPES = {
    "box of two triangles a side": trimesh.creation.box((0.3, 0.2, 0.1)),
    "cylinder of slender triangles": trimesh.creation.cylinder(radius=0.1, height=0.4, sections=120),
    "fine ball": trimesh.creation.icosphere(subdivisions=6, radius=0.15),
    "tube": trimesh.creation.annulus(r_min=0.05, r_max=0.1, height=0.2, sections=64),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("edge_m", [0.01, 0.03])
def test_process_mesh_of_closed_shapes(name, edge_m):
    surface = of(SHAPES[name])
    mesh = process_mesh(surface, edge_m)
    length = edge_lengths(mesh)
    assert length.max() <= 1.5 * edge_m * (1 + 1e-9)
    assert np.median(length) > 0.6 * edge_m
    found = joints(mesh.vertices_m, mesh.triangles)
    assert len(found.open) == 0 and found.n_nonmanifold == 0 and not found.same_direction.any()
    bound = DEVIATION_RATIO * edge_m
    assert RayCaster(surface).distance(mesh.vertices_m).max() < bound + 1e-6
    assert RayCaster(mesh).distance(surface.vertices_m).max() < bound + 1e-6
    assert mesh.area_m2 == pytest.approx(surface.area_m2, rel=0.02)
    # read at the nearest point, at most the bound away, of a field that rises by sqrt(14) per metre
    assert mesh.fields["plane_m"] == pytest.approx(mesh.vertices_m @ [1.0, 2.0, 3.0], abs=np.sqrt(14.0) * bound)


def test_a_box_stays_a_box():
    mesh = process_mesh(of(SHAPES["box of two triangles a side"]), 0.02)
    assert trimesh.Trimesh(mesh.vertices_m, mesh.triangles, process=False).volume == pytest.approx(0.006, rel=1e-9)
    assert np.abs(mesh.triangle_normals).max(axis=1) == pytest.approx(np.ones(len(mesh.triangles)))


def test_an_open_sheet_keeps_its_border():
    x = np.linspace(0.0, 0.4, 201)
    grid = np.stack([*np.meshgrid(x, x, indexing="ij"), np.zeros((201, 201))], axis=-1).reshape(-1, 3)
    i = (np.arange(200)[:, None] * 201 + np.arange(200)).ravel()
    faces = np.concatenate([np.stack([i, i + 201, i + 202], 1), np.stack([i, i + 202, i + 1], 1)])
    mesh = process_mesh(Surface(vertices_m=grid, triangles=faces), 0.02)
    assert mesh.area_m2 == pytest.approx(0.16, rel=1e-9)
    assert len(mesh.triangles) < 2500, "much finer parts are decimated"
    assert mesh.triangle_normals[:, 2].min() == pytest.approx(1.0)


def test_splitting_conforms_and_keeps_shape_and_fields():
    surface = of(SHAPES["cylinder of slender triangles"])
    fine = split_long_edges(surface, 0.03)
    assert edge_lengths(fine).max() <= 0.03
    assert len(joints(fine.vertices_m, fine.triangles).open) == 0
    assert fine.area_m2 == pytest.approx(surface.area_m2, rel=1e-9)
    assert fine.fields["plane_m"] == pytest.approx(fine.vertices_m @ [1.0, 2.0, 3.0])


def test_decimation_meets_the_count_and_carries_fields():
    coarse = decimated(of(SHAPES["fine ball"]), 5000)
    tenth_m = 0.1 * np.median(edge_lengths(coarse))
    assert 4000 < len(coarse.triangles) <= 5000
    rise = coarse.vertices_m @ [1.0, 2.0, 3.0]
    assert coarse.fields["plane_m"] == pytest.approx(rise, abs=np.sqrt(14.0) * tenth_m)
    assert np.abs(np.linalg.norm(coarse.vertices_m, axis=1) - 0.15).max() < tenth_m


@pytest.mark.parametrize(("edge_m", "fact"), [(0.0, "positive"), (np.nan, "positive"), (1e-6, "at most 20000000")])
def test_senseless_edges_are_refused(edge_m, fact):
    with pytest.raises(InputRefusedError, match=fact):
        process_mesh(of(SHAPES["fine ball"]), edge_m)
