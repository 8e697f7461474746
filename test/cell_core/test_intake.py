"""Every mesh of the data folder loads with the facts its manifest states; other formats, clouds and spoilt files."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from cell_core.errors import InputRefusedError
from cell_core.meshes.topology import joints
from cell_core.surface_io import load_surface

DATA = Path(__file__).parents[3] / "shared" / "data"
# file, unit, size [m], triangles, components, closed, counts of repairs
FACTS = [
    ("crs_part_2.stl", "m", (1.2272, 0.4209, 0.0433), 26568, 1, True, {}),
    ("crs_part_3.stl", "m", (0.7166, 0.6798, 0.1587), None, 1, False,
     {"duplicate_triangles": 43, "nonmanifold_edges": 119, "inconsistent_edges": 146}),
    ("noether_raw_mesh.ply", "m", (1.2770, 0.5623, 0.2056), 56882, 1, False,
     {"merged_vertices": 11, "degenerate_triangles": 2}),
    ("fanuc_DAC/DAC_580813_scan.ply", "m", (0.7579, 0.5309, 0.2216), 179041, 12, False, {"merged_vertices": 0}),
    ("fanuc_DAC/DAC_580813_defect.ply", "m", (0.4785, 0.4227, 0.1361), 66288, 1, False, {"merged_vertices": 165134}),
    ("fanuc_DAC/DAC_580813_cad.stl", "m", (0.8960, 0.4596, 0.1800), 34592, 1, True, {"degenerate_triangles": 4}),
    ("featuretype.STL", "inch", (0.1270, 0.0635, 0.0349), 3476, 1, True, {}),
    ("featuretype.STEP", "m", (0.1270, 0.0635, 0.0349), 8326, 1, True, {}),
    ("z1_Link01.obj", "m", (0.0650, 0.1319, 0.0660), 56264, 1, True, {}),
    ("42400-IDGH.stl", "inch", (0.3063, 0.2909, 0.1496), 11036, 1, True, {"degenerate_triangles": 3, "t_junctions": 3}),
    ("kr150r3100_2_link_1.stl", "m", (1.0455, 0.6522, 0.6023), None, 5, False,
     {"nonmanifold_edges": 665, "inconsistent_edges": 793}),
    ("puzzle_piece.ply", "m", (0.1907, 0.2086, 0.0532), 15100, 3, False, {"crumb_components": 1}),
    ("puzzle_piece_detailed.ply", "m", (0.2130, 0.1433, 0.1696), 23013, 1, False, {"merged_vertices": 0}),
    ("wu_tang_blade/turbine_blade.STL", "mm", (0.8556, 0.5296, 0.6703), 2200, 1, False, {"flipped_triangles": 0}),
    ("wu_tang_blade/turbine_blade_convex.STL", "mm", (0.8088, 0.6905, 0.8563), 3832, 1, False, {}),
]  # fmt: skip


def data(name):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not here")
    return DATA / name


@pytest.mark.parametrize(("name", "unit", "size_m", "n_triangles", "n_components", "closed", "counts"), FACTS)
def test_a_part_of_the_manifest(name, unit, size_m, n_triangles, n_components, closed, counts):
    surface, report = load_surface(data(name), unit)
    assert np.ptp(surface.bounds_m, axis=0) == pytest.approx(size_m, abs=1e-4)
    if n_triangles is not None:
        assert len(surface.triangles) == n_triangles
    found = joints(surface.vertices_m, surface.triangles)
    assert found.n_nonmanifold == 0 and not found.same_direction.any()
    assert found.components.max() + 1 == n_components
    assert (len(found.open) == 0) == closed
    assert report.unit_hint == ""
    assert {k: getattr(report, k) for k in counts} == counts


@pytest.mark.parametrize("name", ["featuretype.STL", "42400-IDGH.stl"])
def test_an_inch_file_read_in_mm_or_m_is_refused_or_doubted(name):
    for unit in ("m", "mm"):
        try:
            said = load_surface(data(name), unit)[1].unit_hint
        except InputRefusedError as error:
            said = str(error)
        assert "in inch it would be 0." in said


def test_a_step_file_states_its_own_unit():
    sizes = [np.ptp(load_surface(data("featuretype.STEP"), unit)[0].bounds_m, axis=0) for unit in ("m", "inch")]
    assert sizes[0] == pytest.approx(sizes[1]) and sizes[0][0] == pytest.approx(0.127)


DAE = """<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><unit name="meter" meter="1"/><up_axis>Z_UP</up_axis></asset>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="a" count="12">0 0 0 0.1 0 0 0 0.1 0 0 0 0.1</float_array><technique_common>
<accessor source="#a" count="4" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="4"><input semantic="VERTEX" source="#v" offset="0"/><p>0 2 1 0 1 3 0 3 2 1 2 3</p></triangles>
</mesh></geometry></library_geometries>
<library_visual_scenes><visual_scene id="s">
<node id="n1"><instance_geometry url="#g"/></node>
<node id="n2"><translate>0.5 0 0</translate><instance_geometry url="#g"/></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>
"""


def test_bodies_of_a_collada_scene_stand_where_their_nodes_say(tmp_path):
    (tmp_path / "two.dae").write_text(DAE)
    surface, _ = load_surface(tmp_path / "two.dae")
    assert len(surface.triangles) == 8
    assert surface.bounds_m == pytest.approx(np.array([[0, 0, 0], [0.6, 0.1, 0.1]]), abs=1e-6)


def test_bodies_of_a_scene_stand_where_their_nodes_say(tmp_path):
    box = trimesh.creation.box((0.1, 0.1, 0.1))
    scene = trimesh.Scene()
    for k, x in enumerate((0.0, 0.5)):
        T = trimesh.transformations.rotation_matrix(0.5 * k, [0, 0, 1])
        T[0, 3] = x
        scene.add_geometry(box, node_name=f"body{k}", geom_name="box", transform=T)
    scene.export(str(tmp_path / "two.glb"))
    surface, _ = load_surface(tmp_path / "two.glb")
    assert len(surface.triangles) == 24
    half = 0.05 * (np.cos(0.5) + np.sin(0.5))
    assert surface.bounds_m[:, 0] == pytest.approx([-0.05, 0.5 + half], abs=1e-6)


def cloud(n, radius=0.1):
    k = np.arange(n) + 0.5
    z, phi = 1.0 - 2.0 * k / n, np.pi * (3.0 - np.sqrt(5.0)) * k
    return radius * np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], axis=1)


@pytest.mark.parametrize("suffix", [".xyz", ".ply", ".pcd"])
def test_a_point_cloud_becomes_a_surface(tmp_path, suffix):
    path = tmp_path / f"ball{suffix}"
    points = cloud(4000)
    if suffix == ".xyz":
        np.savetxt(path, points)
    else:
        import open3d as o3d

        o3d.io.write_point_cloud(str(path), o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points)))
    surface, _ = load_surface(path)
    assert np.linalg.norm(surface.vertices_m, axis=1) == pytest.approx(np.full(len(surface.vertices_m), 0.1), abs=5e-4)
    assert surface.area_m2 == pytest.approx(4 * np.pi * 0.01, rel=0.01)
    assert (surface.centroids_m * surface.triangle_normals).sum(axis=1).min() > 0.0


def test_an_open_cloud_is_cut_back_to_its_points(tmp_path):
    points = cloud(4000)
    np.savetxt(tmp_path / "bowl.xyz", np.hstack([points, points / 0.1])[points[:, 2] < 0.0])
    surface, _ = load_surface(tmp_path / "bowl.xyz")
    assert surface.bounds_m[1, 2] < 0.015
    assert surface.area_m2 == pytest.approx(2 * np.pi * 0.01, rel=0.12)


def test_a_sparse_cloud_is_refused(tmp_path):
    np.savetxt(tmp_path / "few.xyz", cloud(100))
    with pytest.raises(InputRefusedError, match="100 points, at least 500 needed"):
        load_surface(tmp_path / "few.xyz")


STL = b"x" * 80 + (2).to_bytes(4, "little") + b"\0" * 50


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("cut.stl", STL, "not readable as a mesh: declares 2 triangles, 184 bytes, but has 134: truncated"),
        ("tiny.stl", b"\1\2\3\0", "at least 84"),
        ("zero.stl", STL + b"\0" * 50, "largest extent is 0 m"),
        ("cut.glb", b"glTF\2\0\0\0\xff\0\0\0", "not readable as a mesh"),
        ("letter.step", b"Dear Sir or Madam", ""),
        ("letter.xyz", b"Dear Sir or Madam", "not readable as points"),
        ("two.xyz", b"1 2\n3 4\n", "2 column(s), at least x y z wanted"),
        ("nan.xyz", b"0 0 0\n1 nan 0\n", "1 vertices are not finite"),
        ("letter.pcd", b"Dear Sir or Madam", "not readable as a mesh or as points"),
        ("letter.dae", b"Dear Sir or Madam", "not readable as a mesh"),
    ],
)
def test_spoilt_files_are_refused(tmp_path, name, content, fact):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputRefusedError) as caught:
        load_surface(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and fact in str(caught.value)


def test_an_index_beyond_the_vertices_is_refused(tmp_path):
    faces = "".join(f"3 0 1 {k}\n" for k in (2, 3, 2, 4_000_000))
    (tmp_path / "far.off").write_text(f"OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n{faces}")
    with pytest.raises(InputRefusedError, match=r"far\.off: "):
        load_surface(tmp_path / "far.off")
