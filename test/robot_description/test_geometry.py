"""Meshes, SRDF, the scene and the written URDF."""

import importlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import trimesh

from cell_core.errors import ConfigurationError
from cell_core.transforms import apply
from robot_description import Cell, cell_urdf, load_cell, scene_colours, scene_meshes, write_urdf
from robot_description.generate_meshes import BODIES, MESHES
from robot_description.generate_srdf import never_and_always
from robot_description.semantics import adjacent_pairs, disabled_pairs, write_srdf
from robot_description.urdf import parse_urdf

VISUALS = sorted((MESHES / "visual").glob("*.stl"))
COLLISIONS = sorted((MESHES / "collision").glob("*.stl"))


@pytest.fixture(scope="module")
def cell() -> Cell:
    return load_cell("default")


def test_every_body_has_its_meshes_and_they_are_small() -> None:
    assert {p.stem for p in VISUALS} == set(BODIES)
    assert {p.stem.rpartition("_")[0] for p in COLLISIONS} == set(BODIES)
    assert sum(p.stat().st_size for p in [*VISUALS, *COLLISIONS]) < 1_500_000


@pytest.mark.parametrize("path", VISUALS, ids=lambda p: p.stem)
def test_a_visual_mesh_is_closed_and_inside_its_collision_meshes(path: Path) -> None:
    visual = trimesh.load_mesh(path)
    assert visual.is_watertight
    assert visual.volume > 1e-5
    outside = np.full(len(visual.vertices), np.inf)
    pieces = sorted((MESHES / "collision").glob(f"{path.stem}_?.stl"))
    assert pieces
    for piece in pieces:
        hull = trimesh.load_mesh(piece)
        planes = np.einsum("ij,ij->i", hull.face_normals, hull.triangles[:, 0])
        outside = np.minimum(outside, (visual.vertices @ hull.face_normals.T - planes).max(axis=1))
    assert outside.max() < 1e-5


@pytest.mark.parametrize("path", COLLISIONS, ids=lambda p: p.stem)
def test_a_collision_mesh_is_closed_and_convex(path: Path) -> None:
    piece = trimesh.load_mesh(path)
    assert piece.is_watertight
    assert piece.volume == pytest.approx(piece.convex_hull.volume, rel=1e-4)
    assert len(piece.vertices) <= 256


@pytest.mark.parametrize("name", ["link_2", "gun"])
def test_committed_meshes_are_what_the_generator_makes(name: str) -> None:
    pytest.importorskip("manifold3d")
    body = BODIES[name]()
    made, kept = body.visual(), trimesh.load_mesh(MESHES / "visual" / f"{name}.stl")
    assert np.allclose(made.bounds, kept.bounds, atol=1e-6)
    assert made.volume == pytest.approx(kept.volume, rel=1e-5)


def test_srdf_names_the_chain_the_home_and_only_existing_links(cell: Cell) -> None:
    root = ElementTree.fromstring(cell.robot.srdf_xml)
    chain = root.find("./group[@name='manipulator']/chain")
    assert chain is not None
    assert (chain.get("base_link"), chain.get("tip_link")) == ("base_link", "tool0")
    home = {j.get("name"): float(j.get("value", "nan")) for j in root.findall("./group_state[@name='home']/joint")}
    assert np.allclose([home[n] for n in cell.robot.joint_names], cell.robot.home_rad)
    end = root.find("end_effector")
    assert end is not None and end.get("parent_link") == "tool0"
    assert set().union(*disabled_pairs(cell.robot.srdf_xml)) <= set(cell.robot.frames)


def test_disabled_pairs_are_adjacent_or_never_meet(cell: Cell) -> None:
    # sampled afresh: other seed, fewer samples, so it may only find more pairs that do not meet
    never = {frozenset(p) for p in never_and_always(cell.robot, np.random.default_rng(99), samples=1500)[0]}
    adjacent = {frozenset(p) for p in adjacent_pairs(cell.robot.tree)}
    disabled = disabled_pairs(cell.robot.srdf_xml)
    assert adjacent <= disabled
    assert len(disabled - adjacent) > 5
    assert disabled - adjacent <= never
    assert frozenset(("gun", "base_link")) not in disabled, "a tool can hit the base: never exempt"


def test_srdf_derived_without_a_file_exempts_neighbours_only(cell: Cell) -> None:
    text = write_srdf(cell.robot.tree, cell.robot.config, adjacent_pairs(cell.robot.tree), [])
    pairs = disabled_pairs(text)
    assert frozenset(("link_1", "link_2")) in pairs and frozenset(("gun", "sander_pad")) in pairs
    assert frozenset(("link_1", "link_3")) not in pairs


def test_scene_follows_the_arm(cell: Cell) -> None:
    q = cell.robot.home_rad + 0.2
    scene = scene_meshes(cell, q)
    names = [name for name, *_ in scene]
    assert len(set(names)) == len(names)
    assert set(names) <= set(scene_colours(cell))
    assert {"link_6", "gun", "sander_pad", "camera_link", "table", "fixture"} <= set(names)
    assert not {"ceiling", "wall_front"} & set(names)
    _, vertices, triangles, T_base_link = scene[names.index("gun")]
    tip = apply(T_base_link, vertices)[np.argmax(vertices[:, 2])]
    assert np.allclose(tip, cell.robot.forward(q, "gun_tcp")[:3, 3], atol=0.006), (
        "the nozzle's rim is 4 mm from its centre"
    )
    assert triangles.max() < len(vertices)
    pad = scene[names.index("sander_pad")]
    assert pad[1][:, 2].max() == pytest.approx(0.0, abs=1e-6), "the sander's TCP lies on the pad's face"
    assert np.hypot(pad[1][:, 0], pad[1][:, 1]).max() == pytest.approx(cell.tool("grind").config.radius_m, abs=1e-4)


def test_written_urdf_opens_elsewhere_with_meshes_and_the_same_kinematics(cell: Cell, tmp_path: Path) -> None:
    pinocchio = importlib.import_module("pinocchio")
    path = tmp_path / "deep" / "cell.urdf"
    write_urdf(cell, path)
    model = pinocchio.buildModelFromUrdf(str(path))
    shapes = pinocchio.buildGeomFromUrdf(model, str(path), pinocchio.GeometryType.VISUAL)
    assert shapes.ngeoms == len(cell.robot.tree.visuals) + len(cell.obstacles)
    data = model.createData()
    pinocchio.framesForwardKinematics(model, data, np.array(cell.robot.home_rad))
    for frame in ("gun_tcp", "sander_tcp", "camera_optical_frame"):
        expected = cell.robot.forward(cell.robot.home_rad, frame)
        assert np.allclose(data.oMf[model.getFrameId(frame)].homogeneous, expected, atol=1e-9)
    assert np.allclose(data.oMf[model.getFrameId("part")].homogeneous, cell.T_base_fixture)
    tree = parse_urdf(cell_urdf(cell), "cell")
    assert {box.name for box in cell.obstacles} <= set(tree.links)


def test_an_unwritable_place_is_refused(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_urdf(cell, tmp_path / "file" / "cell.urdf")
